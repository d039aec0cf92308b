"""From bytes to what the backbone sees: resize, centre crop, normalise, a whole batch at once."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dinov2_edu.checks import check_at_least, check_one_of, checked, require
from dinov2_edu.crops import normalize, resize_matrix
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD, ByteImages, check_images

CIFAR_MEAN = (0.49139968, 0.48215841, 0.44653091)
"""Channel means of CIFAR-10's training images (0 to 1), as the blog post used them. DINOv2 was trained with
ImageNet's."""

CIFAR_STD = (0.24703223, 0.24348513, 0.26158784)
"""Channel standard deviations that go with `CIFAR_MEAN`."""

_NUMBERS_AT_ONCE = 2**22  # of a photo, as floats: 16 MiB


@checked
@dataclass(frozen=True)
class Preprocessing:
    """How a picture is made ready: shorter side to `resize`, centre square of `size`, normalised.

    With `resize` left out nothing of a square picture is cut off. Where bicubic overshoots black or white it
    is clipped, as PIL does. PIL also rounds (and clips) to bytes between its steps, which moves most pixels
    by less than 1/255; here nothing is rounded.

    Attributes:
        size: side in pixels of the square that the model sees; a multiple of its patch size.
        resize: pixels of the shorter side before the centre crop; None for `size`.
        interpolation: "bicubic" or "bilinear".
        antialias: widen the filter when shrinking. For bicubic it also sets the kernel (-0.5 as PIL,
            otherwise -0.75).
        mean: channel means, pixels in 0 to 1.
        std: channel standard deviations.

    Source: `make_classification_eval_transform` in official `dinov2/data/transforms.py` @ b8931f7.
    """

    size: int = 224
    resize: int | None = None
    interpolation: str = "bicubic"
    antialias: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_at_least(1, size=self.size)
        check_one_of(("bicubic", "bilinear"), interpolation=self.interpolation)
        enough = self.resize is None or self.resize >= self.size
        require(
            enough, f"resize ({self.resize}) must be at least size ({self.size}): the crop is cut from it"
        )
        require(all(value > 0 for value in self.std), f"std must be above 0 in each channel, got {self.std}")

    def resized_shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture is resized to before the centre crop, its proportions kept."""
        shorter = self.resize or self.size
        if height <= width:
            return shorter, int(shorter * width / height)
        return int(shorter * height / width), shorter

    @torch_defaults()
    @torch.no_grad()
    @checked
    def __call__(self, images: ByteImages) -> Float[Tensor, "b c size size"]:
        """Make a batch of equally large pictures ready, on the device that it is on.

        Args:
            images: bytes, `b c height width`.

        Returns:
            `b c size size`, float32, normalised.

        Raises:
            ValueError: not a batch of bytes.
        """
        check_images(images)
        rows, columns = self._matrices(*images.shape[-2:])
        if images.shape[-2] * images.shape[-1] > self.size**2:
            resized = _shrink(images, rows) @ columns.T.to(images.device)
            return normalize(resized.div_(255).clamp_(0, 1), self.mean, self.std)
        rows, columns = rows.to(images.device), columns.to(images.device)
        # A filter's weights sum to 1, so normalising and resizing commute: the smaller picture is normalised,
        # and what bicubic overshoots is clipped to where black and white have come to lie.
        resized = rows @ normalize(images.float().contiguous().div_(255), self.mean, self.std) @ columns.T
        pixel = torch.zeros(1, 3, 1, 1, device=images.device)
        black, white = (normalize(pixel + value, self.mean, self.std) for value in (0, 1))
        # Written out, because clamp with a bound for each channel takes twice as long.
        return torch.maximum(torch.minimum(resized, white, out=resized), black, out=resized)

    def _matrices(self, height: int, width: int) -> list[Tensor]:
        """What resizes height and width, without the rows that the centre crop leaves out."""
        matrices = []
        for old, new in zip((height, width), self.resized_shape(height, width), strict=True):
            start, length = torch.zeros(1), torch.full((1,), float(old))
            kernel, antialias = self.interpolation, self.antialias
            matrix = resize_matrix(start, length, (old, new), interpolation=kernel, antialias=antialias)[0]
            corner = round((new - self.size) / 2)  # rounded as torchvision's CenterCrop does
            matrices.append(matrix[corner : corner + self.size])
        return matrices

    def __str__(self) -> str:
        """The steps in words, for captions and provenance."""
        named: dict[Any, str] = {
            (IMAGENET_MEAN, IMAGENET_STD): "ImageNet",
            (CIFAR_MEAN, CIFAR_STD): "CIFAR-10",
        }
        statistics = named.get((tuple(self.mean), tuple(self.std)), f"mean {self.mean}, std {self.std}")
        crop = f", centre {self.size}" if self.resize not in (None, self.size) else ""
        filtered = "antialiased" if self.antialias else "not antialiased"
        return (
            f"{self.interpolation} ({filtered}) to {self.resize or self.size}{crop}, {statistics} statistics"
        )


def _shrink(images: ByteImages, rows: Float[Tensor, "new height"]) -> Float[Tensor, "b c new width"]:
    """Resize the height band by band: a photo is never there as floats, and no band meets the rows that miss it."""
    b, c, height, width = images.shape
    shrunk = torch.zeros(b, c, len(rows), width, device=images.device)
    step = max(1, _NUMBERS_AT_ONCE // (b * c * width))
    for top in range(0, height, step):
        part = rows[:, top : top + step]
        met = part.any(dim=1).nonzero()[:, 0]
        if len(met):
            first, last = int(met[0]), int(met[-1]) + 1
            band = images[:, :, top : top + step].to(torch.float32, memory_format=torch.contiguous_format)
            shrunk[:, :, first:last] += part[first:last].to(images.device) @ band
    return shrunk


WHOLE_PICTURE = Preprocessing()
"""Bicubic to 224, ImageNet statistics; nothing of a square picture is cut off."""

OFFICIAL_EVAL = Preprocessing(size=224, resize=256)
"""The official evaluation: bicubic to 256, the centre 224 of it, ImageNet statistics."""

BLOG_POST = Preprocessing(size=224, interpolation="bilinear", mean=CIFAR_MEAN, std=CIFAR_STD)
"""What the blog post did: plain bilinear to 224 and CIFAR statistics."""
