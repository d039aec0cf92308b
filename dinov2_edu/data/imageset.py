"""A labelled set of equally large pictures that says which data it holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from dinov2_edu.checks import check_at_least, checked, describe, require
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import ByteImages, Labels, check_images


class DataUnavailable(RuntimeError):
    """The data asked for cannot be read on this machine, nor be had over the network; the message says what to do."""


@checked
@dataclass(frozen=True)
class ImageSet:
    """Pictures as bytes in memory, their labels, and the name of the data they are.

    Attributes:
        images: `n c height width`, 0 to 255.
        labels: `n`, each the index of a class name.
        class_names: one name a class.
        name: which data this is, for captions, such as "CIFAR-10 (JPEG copy), test split".
        notice: a sentence for the reader where this data stands in for other data; "" where it does not.
    """

    images: ByteImages
    labels: Labels
    class_names: tuple[str, ...]
    name: str
    notice: str = ""

    def __post_init__(self) -> None:
        check_images(self.images)
        require(self.images.dtype == torch.uint8, f"images must be uint8, got {describe(self.images)}")
        good = isinstance(self.labels, Tensor) and self.labels.dtype == torch.int64
        good = good and self.labels.shape == (len(self.images),)
        wanted = f"an int64 tensor of shape ({len(self.images)},)"
        require(good, f"labels: wanted {wanted}, got {describe(self.labels)}")
        low, high = int(self.labels.min()), int(self.labels.max())
        fits = 0 <= low and high < len(self.class_names)
        require(fits, f"labels must lie in 0 to {len(self.class_names) - 1}, got {low} to {high}")

    def __len__(self) -> int:
        return len(self.images)

    @torch_defaults()
    def subset(self, indices: Tensor | Sequence[int]) -> "ImageSet":
        """Take the pictures at these indices, in this order; the name then says how many of how many.

        Args:
            indices: whole numbers from 0 to `len(self) - 1`, at least one.

        Raises:
            ValueError: no index, one that is not a whole number (as in a boolean mask), or one out of range.
        """
        chosen = torch.as_tensor(indices)
        require(chosen.ndim == 1 and len(chosen) > 0, f"wanted a list of indices, got {describe(indices)}")
        whole = not (chosen.is_floating_point() or chosen.dtype == torch.bool)
        require(whole, f"wanted whole numbers (of a mask: mask.nonzero()[:, 0]), got {describe(chosen)}")
        chosen = chosen.long()  # torch takes bytes for a mask
        n, low, high = len(self), int(chosen.min()), int(chosen.max())
        require(0 <= low and high < n, f"indices must lie in 0 to {n - 1}, got {low} to {high}")
        name = self.name if len(chosen) == n else f"{self.name}, {len(chosen):,} of {n:,} pictures"
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], name=name)


@checked
def even_rows(total: int, count: int) -> Int[Tensor, " n"]:
    """Rows at even distances, all of them where no more are there: of what is sorted by class, an even share of each.

    Args:
        total: how many rows there are.
        count: how many are wanted.
    """
    check_at_least(0, total=total, count=count)
    count = min(count, total)
    return torch.arange(count) * total // max(count, 1)
