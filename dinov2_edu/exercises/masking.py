"""Exercises of chapter 02: patches that no neighbour gives away, and how many patches are asked for."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dinov2_edu.exercises import Exercise


def _mask(generator: torch.Generator) -> dict[str, Tensor]:
    rows, cols = (int(n) for n in torch.randint(7, 12, (2,), generator=generator))
    mask = torch.rand(rows, cols + 1, generator=generator) < 0.5
    mask[:3, :3] = mask[4:7, 3:6] = True  # a block in the corner and one inside: each buries patches
    return {"mask": mask}


def _buried(mask: Tensor, beyond: bool = True) -> Tensor:
    wide = F.pad(mask, (1, 1, 1, 1), value=beyond)
    around = wide[1:-1, :-2] & wide[1:-1, 2:] & wide[:-2, 1:-1] & wide[2:, 1:-1]
    return (mask & around).sum() / mask.sum()


def _surrounded(mask: Tensor) -> Tensor:
    return _buried(mask) * mask.sum() / mask.numel()


def _uniforms(generator: torch.Generator) -> dict[str, object]:
    m = int(torch.randint(3, 12, (), generator=generator))
    return {"uniforms": torch.rand(m, generator=generator), "n_patches": 256, "ratio": (0.1, 0.5)}


def _asked(uniforms: Tensor, n_patches: int, ratio: tuple[float, float]) -> Tensor:
    edges = torch.linspace(*ratio, len(uniforms) + 1)
    return (n_patches * torch.lerp(edges[:-1], edges[1:], uniforms)).long()


def _asked_anywhere(uniforms: Tensor, n_patches: int, ratio: tuple[float, float]) -> Tensor:
    return (n_patches * (ratio[0] + (ratio[1] - ratio[0]) * uniforms)).long()


EXERCISES = {
    "buried": Exercise(
        task="the share of the masked patches of `mask` (rows, cols) whose four neighbours are masked, too; "
        "what lies beyond the edge counts as masked",
        reference=_buried,
        make_inputs=_mask,
        hint="Pad the mask with True on all sides and shift it: four slices are the four neighbours.",
        mistakes={
            "what lies beyond the edge was counted as visible": lambda mask: _buried(mask, beyond=False),
            "the number was divided by all patches and not by the masked ones": _surrounded,
        },
    ),
    "asked": Exercise(
        task="how many of `n_patches` patches each of m masked crops is asked to hide: `ratio` (low, high) "
        "is cut into m equal parts, and crop i draws from part i by `uniforms` (m,), rounded down",
        reference=_asked,
        make_inputs=_uniforms,
        hint="Try uniforms of 1: each crop should then be at the upper edge of its own part.",
        mistakes={"every crop draws from the whole range": _asked_anywhere},
    ),
}
