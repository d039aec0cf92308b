"""Exercises of chapter 05: KoLeo, a round of Sinkhorn-Knopp, and iBOT's average."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dinov2_edu.exercises import Exercise
from dinov2_edu.losses import koleo_loss


def _features(generator: torch.Generator) -> dict[str, Tensor]:
    rows = int(torch.randint(4, 12, (), generator=generator))
    return {"features": torch.randn(rows, 16, generator=generator)}


def _koleo_without_norm(features: Tensor) -> Tensor:
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    return -torch.log(distances.min(dim=1).values + 1e-8).mean()


def _koleo_of_itself(features: Tensor) -> Tensor:
    unit = F.normalize(features, dim=-1)
    return -torch.log(torch.cdist(unit, unit).fill_diagonal_(0.0).min(dim=1).values + 1e-8).mean()


def _scores(generator: torch.Generator) -> dict[str, Tensor]:
    rows = int(torch.randint(3, 9, (), generator=generator))
    return {"scores": torch.rand(rows, 5, generator=generator) + 0.05}


def _round(scores: Tensor) -> Tensor:
    scores = scores / scores.sum(dim=0, keepdim=True)
    return scores / scores.sum(dim=1, keepdim=True)


def _rows_first(scores: Tensor) -> Tensor:
    scores = scores / scores.sum(dim=1, keepdim=True)
    return scores / scores.sum(dim=0, keepdim=True)


def _masked_losses(generator: torch.Generator) -> dict[str, Tensor]:
    masks = torch.rand(6, 9, generator=generator) < 0.4
    masks[:2] = False
    masks[2] = torch.arange(9) < 5
    return {"losses": torch.rand(int(masks.sum()), generator=generator) * 4, "masks": masks}


def _average(losses: Tensor, masks: Tensor) -> Tensor:
    patches = masks.sum(dim=1, keepdim=True).expand_as(masks)[masks]
    return (losses / patches).sum() / len(masks)


def _average_of_masked_images(losses: Tensor, masks: Tensor) -> Tensor:
    return _average(losses, masks) * len(masks) / masks.any(dim=1).sum()


EXERCISES = {
    "koleo": Exercise(
        task="the KoLeo loss of class tokens `features` (b, d), one number",
        reference=koleo_loss,
        make_inputs=_features,
        hint="Bring each row to length 1, then find for each row its nearest other row.",
        mistakes={
            "the rows were not brought to length 1 first": _koleo_without_norm,
            "each row was taken as its own nearest neighbour": _koleo_of_itself,
        },
    ),
    "sinkhorn_round": Exercise(
        task="one round of Sinkhorn-Knopp on positive `scores` (images, prototypes): columns, then rows",
        reference=_round,
        make_inputs=_scores,
        hint="Divide by the column sums, then by the row sums; keepdim=True keeps the shapes fit.",
        mistakes={"rows were scaled before columns": _rows_first},
    ),
    "ibot_average": Exercise(
        task="the mean of `losses` (m,) over each image's masked patches, then over all images of `masks`",
        reference=_average,
        make_inputs=_masked_losses,
        hint="A patch weighs 1 / (masked patches of its image); images without a mask count as 0, but they count.",
        mistakes={
            "all patches weigh the same": lambda losses, masks: losses.mean(),
            "images without a mask were left out of the second mean": _average_of_masked_images,
        },
    ),
}
