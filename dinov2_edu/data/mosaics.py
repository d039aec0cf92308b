"""Pictures of four textures each, with a class for every place: what a dense measure on Patterns10 asks."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from dinov2_edu.checks import check_at_least, checked, require
from dinov2_edu.data.patterns import patterns10
from dinov2_edu.shapes import ByteImages


@dataclass(frozen=True)
class Mosaics:
    """Pictures of two by two textures.

    Attributes:
        images: square pictures.
        quarters: the class of each quarter, rows of two.
    """

    images: ByteImages
    quarters: Int[Tensor, "n 2 2"]

    @checked
    def patch_labels(self, rows: int) -> Int[Tensor, "n rows rows"]:
        """The class of each patch of a grid.

        Args:
            rows: of patches, an even number, so that each lies in one quarter.
        """
        require(rows >= 2 and rows % 2 == 0, f"rows must be even, so that a patch has one class; got {rows}")
        return self.quarters.repeat_interleave(rows // 2, dim=1).repeat_interleave(rows // 2, dim=2)


@checked
def pattern_mosaics(n: int, *, split: str = "train", size: int = 32) -> Mosaics:
    """Draw mosaics: each quarter is the middle of another picture of Patterns10, of any class.

    Args:
        n: how many.
        split: "train" or "test".
        size: side in pixels, a multiple of 4, at least 8; the pictures that the quarters are cut from have the same.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check_at_least(1, n=n)
    require(size % 4 == 0, f"size must be a multiple of 4, got {size}")
    # Another world than the default, so that no mosaic is made of pictures that a run has learnt from.
    drawn = patterns10(4 * n, split=split, size=size, seed=1)
    # Seeds 0 and 1: this world's pictures are drawn from 2 and 3.
    order = torch.randperm(4 * n, generator=torch.Generator().manual_seed(int(split == "test"))).view(n, 2, 2)
    start, side = size // 4, size // 2
    middle = drawn.images[:, :, start : start + side, start : start + side]
    rows = [torch.cat([middle[order[:, row, 0]], middle[order[:, row, 1]]], dim=3) for row in (0, 1)]
    return Mosaics(torch.cat(rows, dim=2), drawn.labels[order])
