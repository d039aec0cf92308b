"""Exercises of chapter 05: KoLeo, the temperature for a wanted certainty, and iBOT's average."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dinov2_edu.exercises import Exercise
from dinov2_edu.losses import entropy, koleo_loss


def _features(generator: torch.Generator) -> dict[str, Tensor]:
    rows = int(torch.randint(4, 12, (), generator=generator))
    return {"features": torch.randn(rows, 16, generator=generator)}


def _koleo_without_norm(features: Tensor) -> Tensor:
    distances = torch.cdist(features, features).fill_diagonal_(torch.inf)
    return -torch.log(distances.min(dim=1).values + 1e-8).mean()


def _koleo_of_itself(features: Tensor) -> Tensor:
    unit = F.normalize(features, dim=-1)
    return -torch.log(torch.cdist(unit, unit).fill_diagonal_(0.0).min(dim=1).values + 1e-8).mean()


def _uneven_logits(generator: torch.Generator) -> dict:
    logits = 0.2 * torch.randn(8, 6, generator=generator)
    center = torch.rand(6, generator=generator)
    return {
        "logits": logits + center,
        "center": center,
        "wanted": 0.4 + float(torch.rand((), generator=generator)),
    }


def _temperature(logits: Tensor, center: Tensor, wanted: float) -> float:
    low, high = 1e-3, 10.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        if entropy(((logits - center) / middle).softmax(dim=-1)).mean() < wanted:
            low = middle
        else:
            high = middle
    return middle


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
        hint="Hold it beside the formula: what stands inside the logarithm?",
        mistakes={
            "the rows were not brought to length 1 first": _koleo_without_norm,
            "each row was taken as its own nearest neighbour": _koleo_of_itself,
        },
    ),
    "temperature": Exercise(
        task="the temperature at which the mean entropy of softmax((logits - center) / temperature) is `wanted`",
        reference=_temperature,
        make_inputs=_uneven_logits,
        hint="Keep a low and a high bound, try the middle, and move the bound on whose side the entropy lies.",
        mistakes={
            "the centre was not subtracted": lambda logits, center, wanted: _temperature(
                logits, torch.zeros_like(center), wanted
            ),
            "its inverse was returned": lambda *given: 1 / _temperature(*given),
        },
        tolerance=2e-3,
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
