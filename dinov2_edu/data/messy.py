"""A messy collection whose mess is known: copies of several kinds among originals.

A small model of what a crawl of the web brings, so that each stage of a curation can be held to the truth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, resize

from dinov2_edu.checks import check_at_least, checked, require
from dinov2_edu.data.imageset import ImageSet
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.pictures import read_tensor
from dinov2_edu.shapes import ByteImages


def _crop(image: Tensor) -> Tensor:
    """The upper right three quarters of each side, enlarged."""
    side = image.shape[-1]
    part = image[:, : 3 * side // 4, side // 4 :]
    return resize(part, [side, side], InterpolationMode.BICUBIC, antialias=True)


def _jpeg(image: Tensor) -> Tensor:
    file = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=25)
    return read_tensor(file.getvalue())


def _darker(image: Tensor) -> Tensor:
    return (0.7 * image.float()).round().byte()


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "same bytes": lambda image: image,
    "JPEG, quality 25": _jpeg,
    "darker by 30 %": _darker,
    "mirrored": lambda image: image.flip(2),
    "cropped to 75 %": _crop,
}
"""How a copy is made: the kinds 1, 2 ... of `MessyCollection`, in this order."""


@dataclass(frozen=True)
class MessyCollection:
    """Pictures in random order, and the truth about each.

    Attributes:
        pictures: the images with their classes.
        kinds: 0 for an original, else 1 + the index in `COPIES`.
        sources: which original each picture is, or was made of; two pictures with one number are copies.
    """

    pictures: ImageSet
    kinds: Int[Tensor, " n"]
    sources: Int[Tensor, " n"]


@checked
@torch_defaults()
def messy_collection(originals: ImageSet, n_copies: int, generator: torch.Generator) -> MessyCollection:
    """Mix copies among originals: so many of each kind, each of an original of its own.

    Args:
        originals: pictures of equal size, no two of one picture.
        n_copies: of each kind in `COPIES`.
        generator: draws which originals are copied, and the order.

    Raises:
        ValueError: fewer originals than copies.
    """
    check_at_least(1, n_copies=n_copies)
    n, total = len(originals), n_copies * len(COPIES)
    require(n >= total, f"{len(COPIES)} x {n_copies} copies need as many originals, got {n}")
    chosen = torch.randperm(n, generator=generator)[:total].split(n_copies)
    made: list[ByteImages] = [originals.images]
    for change, rows in zip(COPIES.values(), chosen, strict=True):
        made.append(torch.stack([change(image) for image in originals.images[rows]]))
    sources = torch.cat([torch.arange(n), *chosen])
    kinds = torch.cat(
        [torch.zeros(n, dtype=torch.int64), torch.arange(len(COPIES)).repeat_interleave(n_copies) + 1]
    )
    order = torch.randperm(n + total, generator=generator)
    name = f"{originals.name}, with {total:,} copies"
    mixed = ImageSet(torch.cat(made)[order], originals.labels[sources][order], originals.class_names, name)
    return MessyCollection(mixed, kinds[order], sources[order])
