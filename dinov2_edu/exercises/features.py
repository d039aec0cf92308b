"""Exercises of chapter 09: the threshold of an attention map, nearest patches, and a mean of patches alone."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dinov2_edu.exercises import Exercise
from dinov2_edu.features import top_share_mask

LONG = 3
"""An artefact is longer than so many median lengths of its image's patches."""


def _weights(generator: torch.Generator) -> dict:
    n = int(torch.randint(8, 20, (), generator=generator))
    weights = torch.rand(n, generator=generator, dtype=torch.float64) ** 3 + 0.01
    share = 0.3 + 0.5 * torch.rand((), generator=generator).item()
    return {"weights": weights / weights.sum(), "share": share}


def _top_share(weights: Tensor, share: float) -> Tensor:
    return torch.from_numpy(top_share_mask(weights[None, None].numpy(), share)[0, 0])


def _above_share_of_largest(weights: Tensor, share: float) -> Tensor:
    return weights > share * weights.max()


def _share_of_the_count(weights: Tensor, share: float) -> Tensor:
    kept = torch.zeros(len(weights), dtype=torch.bool)
    kept[weights.argsort(descending=True)[: round(share * len(weights))]] = True
    return kept


def _stops_before_share(weights: Tensor, share: float) -> Tensor:
    order = weights.argsort(descending=True)
    kept = torch.zeros(len(weights), dtype=torch.bool)
    kept[order] = weights[order].cumsum(dim=0) <= share * weights.sum()
    return kept


def _two_pictures(generator: torch.Generator) -> dict[str, Tensor]:
    n, m = torch.randint(6, 12, (2,), generator=generator).tolist()
    # Lengths differ, so that the largest product and the largest cosine are not the same.
    lengths = torch.rand(m, 1, generator=generator) * 5 + 0.2
    others = torch.randn(m, 8, generator=generator) * lengths
    return {"patches": torch.randn(n, 8, generator=generator), "others": others}


def _nearest(patches: Tensor, others: Tensor) -> Tensor:
    return (F.normalize(patches, dim=-1) @ F.normalize(others, dim=-1).T).argmax(dim=1)


def _largest_product(patches: Tensor, others: Tensor) -> Tensor:
    return (patches @ others.T).argmax(dim=1)


def _other_way_round(patches: Tensor, others: Tensor) -> Tensor:
    return _nearest(others, patches)


def _tokens_with_artefacts(generator: torch.Generator) -> dict:
    n_registers = int(torch.randint(1, 5, (), generator=generator))
    tokens = torch.randn(3, 1 + n_registers + 25, 16, generator=generator)
    tokens[:, 1 : 1 + n_registers] += 1  # registers pull a mean that takes them in
    far = torch.randint(25, (3,), generator=generator) + 1 + n_registers
    tokens[torch.arange(3), far] *= 12
    return {"tokens": tokens, "n_registers": n_registers}


def _mean_of(patches: Tensor) -> Tensor:
    length = patches.norm(dim=-1, keepdim=True)
    good = length <= LONG * length.median(dim=1, keepdim=True).values
    return (patches * good).sum(dim=1) / good.sum(dim=1)


def _patch_mean(tokens: Tensor, n_registers: int) -> Tensor:
    return _mean_of(tokens[:, 1 + n_registers :])


def _registers_averaged_in(tokens: Tensor, n_registers: int) -> Tensor:
    return _mean_of(tokens[:, 1:])


def _artefacts_averaged_in(tokens: Tensor, n_registers: int) -> Tensor:
    return tokens[:, 1 + n_registers :].mean(dim=1)


def _divided_by_all(tokens: Tensor, n_registers: int) -> Tensor:
    patches = tokens[:, 1 + n_registers :]
    length = patches.norm(dim=-1, keepdim=True)
    return (patches * (length <= LONG * length.median(dim=1, keepdim=True).values)).mean(dim=1)


EXERCISES = {
    "top_share": Exercise(
        task="True for the fewest of `weights` (n,) that together hold at least `share` of their sum",
        reference=_top_share,
        make_inputs=_weights,
        hint="argsort from the largest; keep a patch while the sum of those before it is below share * weights.sum().",
        mistakes={
            "weights above a share of the largest one were kept": _above_share_of_largest,
            "a share of the number of patches was kept": _share_of_the_count,
            "the patch that crosses the share was left out": _stops_before_share,
        },
    ),
    "nearest": Exercise(
        task="for each row of `patches` (n, d) the index of the row of `others` (m, d) with the largest cosine",
        reference=_nearest,
        make_inputs=_two_pictures,
        hint="Bring the rows of others to length 1 (those of patches do not matter), multiply, argmax over others.",
        mistakes={
            "lengths count: the product was taken, not the cosine": _largest_product,
            "the search went from others to patches": _other_way_round,
        },
    ),
    "patch_mean": Exercise(
        task="the mean over patch tokens alone of `tokens` (b, t, d), those longer than 3 medians left out",
        reference=_patch_mean,
        make_inputs=_tokens_with_artefacts,
        hint="Drop 1 + n_registers tokens, compare each length with 3 x the median of its image, and average the rest.",
        mistakes={
            "the registers were averaged in": _registers_averaged_in,
            "the artefacts were averaged in": _artefacts_averaged_in,
            "the sum was divided by the number of all patches, not of those kept": _divided_by_all,
        },
    ),
}
