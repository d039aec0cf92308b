"""Colour operations for batches: every image has its own factor.

They take and return floats in 0 to 1 and equal torchvision's functions of the same names. The functions whose
names end in an underscore check nothing and work in place.

Source: torchvision.transforms.v2.functional.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dinov2_edu.checks import checked, require
from dinov2_edu.crops.config import SOLARIZE_THRESHOLD, check_statistics
from dinov2_edu.shapes import Images, can_look, check_images, check_pixels

GRAY_WEIGHTS = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in gray, as torchvision rounds them."""

Factors = Float[Tensor, " b"]


@checked
def adjust_brightness(images: Images, factors: Factors) -> Images:
    """Multiply every image by its factor; 1 changes nothing.

    Raises:
        ValueError: images or factors of the wrong shape or dtype.
    """
    check_factors(images, factors)
    return brightness_(images.clone(), factors)


@checked
def adjust_contrast(images: Images, factors: Factors) -> Images:
    """Pull every image towards (factor below 1) or away from its mean gray; 1 changes nothing.

    Raises:
        ValueError: images or factors of the wrong shape or dtype.
    """
    check_factors(images, factors)
    return contrast_(images.clone(), factors)


@checked
def adjust_saturation(images: Images, factors: Factors) -> Images:
    """Pull every pixel towards (factor below 1) or away from its own gray; 1 changes nothing, 0 is gray.

    Raises:
        ValueError: images or factors of the wrong shape or dtype.
    """
    check_factors(images, factors)
    return saturation_(images.clone(), factors)


@checked
def adjust_hue(images: Images, turns: Factors) -> Images:
    """Turn every image's hue by its share of the colour circle, -0.5 to 0.5; 0 changes nothing.

    Raises:
        ValueError: images or turns of the wrong shape or dtype.
    """
    check_factors(images, turns)
    return hue_(images.clone(), turns)


@checked
def grayscale(images: Images) -> Images:
    """Replace the three channels by their weighted mean.

    Raises:
        ValueError: images of the wrong shape or dtype.
    """
    check_pixels(images)
    return _gray(images)[:, None].expand_as(images).contiguous()


@checked
def solarize(images: Images, threshold: float = SOLARIZE_THRESHOLD) -> Images:
    """Invert every value from the threshold up.

    Raises:
        ValueError: images of the wrong shape or dtype.
    """
    check_pixels(images)
    return torch.where(images >= threshold, 1 - images, images)


@checked
def normalize(images: Images, mean: tuple[float, ...], std: tuple[float, ...]) -> Images:
    """Subtract the channels' mean and divide by their standard deviation.

    Raises:
        ValueError: images of the wrong shape or dtype, or a mean or std that is not one number a channel.
    """
    check_pixels(images)
    return normalize_(images, mean, std)


def normalize_(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Do what `normalize` says, without a look at the numbers."""
    shift, gain = _channel_statistics(images, mean, std)
    return torch.addcmul(-shift / gain, images, 1 / gain)


@checked
def denormalize(images: Images, mean: tuple[float, ...], std: tuple[float, ...]) -> Images:
    """Undo `normalize`, for showing; the result is clamped to 0..1.

    Raises:
        ValueError: as `normalize`.
    """
    shift, gain = _channel_statistics(images, mean, std)
    return torch.addcmul(shift, images, gain).clamp_(0, 1)


def _channel_statistics(
    images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Check the arguments; return both statistics as 3 x 1 x 1 on the images' device, without a stall."""
    check_images(images)
    check_statistics(mean, std)
    both = torch.tensor([mean, std], dtype=images.dtype).to(images.device, non_blocking=True).view(2, 3, 1, 1)
    return both[0], both[1]


def check_factors(images: Tensor, factors: Tensor) -> None:
    """Refuse images outside 0 to 1, and factors that are not finite (looked at on the CPU only).

    Raises:
        ValueError: images of the wrong shape or range, or a factor that is not finite.
    """
    check_pixels(images)
    if can_look(factors):
        require(bool(factors.isfinite().all()), "a factor is not a finite number")


def column(factors: Tensor) -> Tensor:
    """Shape a number an image so that it spreads over channels, rows and columns."""
    return factors.view(-1, 1, 1, 1)


def _gray(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(1)
    r, g, b = GRAY_WEIGHTS
    return (red * r).add_(green, alpha=g).add_(blue, alpha=b)


def brightness_(images: Tensor, factors: Tensor) -> Tensor:
    return images.mul_(column(factors)).clamp_(0, 1)


def contrast_(images: Tensor, factors: Tensor) -> Tensor:
    red, green, blue = images.mean(dim=(2, 3)).unbind(1)
    r, g, b = GRAY_WEIGHTS
    mean = column(red * r + green * g + blue * b)  # the mean of the gray image
    factors = column(factors)
    return torch.addcmul(mean * (1 - factors), images, factors, out=images).clamp_(0, 1)


def saturation_(images: Tensor, factors: Tensor) -> Tensor:
    gray, factors = _gray(images)[:, None], column(factors)
    return torch.addcmul(gray * (1 - factors), images, factors, out=images).clamp_(0, 1)


def hue_(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue without going through saturation and value.

    With the largest and smallest channel of a pixel fixed, the hue only says where between them each channel
    lies: a trapezoid of the hue (0 to 6), the same for all three channels but shifted by a third of the
    circle.
    """
    red, green, blue = images.unbind(1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    hue = torch.where(green == high, (blue - red).add_(chroma, alpha=2), (red - green).add_(chroma, alpha=4))
    hue = torch.where(red == high, green - blue, hue)
    hue.div_(chroma.clamp(min=torch.finfo(chroma.dtype).tiny)).add_(6 * turns.view(-1, 1, 1))
    hue.sub_(torch.floor(hue / 6), alpha=6)  # into 0 to 6
    for channel, centre in enumerate((3, 2, 4)):
        share = (hue - centre).abs_()
        share = share.sub_(1) if channel == 0 else share.neg_().add_(2)
        torch.addcmul(low, share.clamp_(0, 1), chroma, out=images[:, channel])
    return images
