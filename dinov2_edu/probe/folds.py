"""Folds for tasks on patches: all patches of a picture are learnt from, or all are tested."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from dinov2_edu.checks import check_at_least, checked, require
from dinov2_edu.numerics import torch_defaults


class Fold(NamedTuple):
    """Indices of the pictures to learn from and of those to test on."""

    train: Int[Tensor, " i"]
    test: Int[Tensor, " j"]


@checked
@torch_defaults()
def image_folds(n_images: int, n_folds: int, *, generator: torch.Generator) -> list[Fold]:
    """Deal pictures out to folds; each is tested once.

    Patches of one picture are alike, so that a fold over *patches* would test on near copies of what was learnt.

    Args:
        n_images: how many pictures there are.
        n_folds: at least 2, at most one a picture (leave one out).
        generator: shuffles the pictures.

    Raises:
        ValueError: numbers outside these bounds.
    """
    check_at_least(2, n_images=n_images, n_folds=n_folds)
    require(n_folds <= n_images, f"n_folds must be at most n_images = {n_images}, got {n_folds}")
    parts = torch.randperm(n_images, generator=generator, device=generator.device).cpu().tensor_split(n_folds)
    return [Fold(torch.cat([*parts[:i], *parts[i + 1 :]]), part) for i, part in enumerate(parts)]
