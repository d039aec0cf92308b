"""Which rectangle each crop is cut from. A box is (top, left, height, width) in source pixels.

Source: torchvision.transforms.RandomResizedCrop.get_params, whose rule this repeats for a whole batch.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dinov2_edu.checks import check_at_least, check_range, checked, require
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import can_look

N_TRIES = 10
N_UNIFORMS = 2 * N_TRIES + 2


@checked
@torch_defaults()
def sample_boxes(
    n: int,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    *,
    generator: torch.Generator,
) -> Float[Tensor, "n 4"]:
    """Draw n random boxes inside an image of `size` (height, width), on the generator's device.

    Args:
        n: how many boxes.
        size: the image's height and width in pixels.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width / height.
        generator: where the random numbers come from.

    Raises:
        ValueError: n below 0, or as `boxes_from_uniform`.
    """
    check_at_least(0, n=n)
    uniforms = torch.rand(n, N_UNIFORMS, generator=generator, device=generator.device)
    return boxes_from_uniform(uniforms, size, scale, ratio)


@checked
def boxes_from_uniform(
    uniforms: Float[Tensor, "n 22"],
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Float[Tensor, "n 4"]:
    """Turn 22 uniform numbers a box (0 to 1, 1 excluded) into boxes: a pure function.

    Columns 0-9 choose the area of ten tries, 10-19 their log aspect ratio, 20 the top and 21 the left edge.
    The first try that fits inside the image counts; if none does, the box is the largest centred one with an
    allowed ratio. Sides and corners are whole pixels. The arithmetic is in float64, so that JavaScript gets
    the same boxes.

    Args:
        uniforms: one row a box.
        size: the image's height and width in pixels.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width / height.

    Raises:
        ValueError: the wrong number of columns, an image without pixels, or a range that is reversed or out
            of bounds.

    Source: torchvision.transforms.RandomResizedCrop.get_params.
    """
    require(min(size) >= 1, f"size must be (height, width) in pixels, at least 1 each, got {size!r}")
    check_range(scale, "scale", high=1)
    check_range(ratio, "ratio")
    if can_look(uniforms):
        good = bool(((uniforms >= 0) & (uniforms < 1)).all())
        require(good, "uniforms must lie in 0 to 1, 1 excluded, as torch.rand draws them")
    image_height, image_width = size
    device = uniforms.device
    uniforms = uniforms.to("cpu" if device.type == "mps" else device).double()  # Apple's GPUs have no float64
    areas = image_height * image_width * (scale[0] + (scale[1] - scale[0]) * uniforms[:, :N_TRIES])
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    ratios = torch.exp(log_low + (log_high - log_low) * uniforms[:, N_TRIES : 2 * N_TRIES])
    widths = torch.round(torch.sqrt(areas * ratios))
    heights = torch.round(torch.sqrt(areas / ratios))
    fits = (widths >= 1) & (widths <= image_width) & (heights >= 1) & (heights <= image_height)
    first = fits.byte().argmax(dim=1, keepdim=True)  # argmax gives the first of equal values
    height, width = heights.gather(1, first)[:, 0], widths.gather(1, first)[:, 0]
    top = torch.floor(uniforms[:, -2] * (image_height - height + 1))
    left = torch.floor(uniforms[:, -1] * (image_width - width + 1))
    drawn = torch.stack([top, left, height, width], dim=1)
    fallback = torch.tensor(_centre_box(image_height, image_width, ratio), dtype=drawn.dtype)
    fallback = fallback.to(drawn.device, non_blocking=True)
    return torch.where(fits.any(dim=1, keepdim=True), drawn, fallback).float().to(device)


def _centre_box(image_height: int, image_width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    """Return the largest centred box with an allowed ratio of width to height."""
    height, width = image_height, image_width
    if image_width / image_height < ratio[0]:
        height = round(image_width / ratio[0])
    elif image_width / image_height > ratio[1]:
        width = round(image_height * ratio[1])
    # Rounding may leave nothing of a picture one pixel high; torchvision would then fail while resizing.
    height, width = max(height, 1), max(width, 1)
    return (image_height - height) // 2, (image_width - width) // 2, height, width
