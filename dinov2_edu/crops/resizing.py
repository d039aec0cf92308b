"""Cropping and resizing as two matrix products an image: rows @ picture @ columns transposed.

A resized row is a weighted sum of source rows, so resizing is a (small, banded) matrix on the left for the
height and one on the right for the width. The crop is part of the matrices (columns outside the box are
zero), and so is the horizontal flip (the rows of the width matrix in reverse order). A batch then needs two
batched matrix products and no loop, each image with its own box.

Source: PIL's Image.resize and torch.nn.functional.interpolate, whose numbers these are.
"""

import math

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dinov2_edu.checks import check_at_least, check_one_of, checked, require
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import Boxes, can_look, check_pixels

RADIUS = {"bilinear": 1, "bicubic": 2}
"""How many source pixels the kernel reaches to each side, before it is stretched for shrinking."""


@checked
def resize_matrix(
    starts: Float[Tensor, " n"],
    lengths: Float[Tensor, " n"],
    sides: tuple[int, int],
    *,
    flips: Bool[Tensor, " n"] | None = None,
    interpolation: str = "bicubic",
    antialias: bool = True,
) -> Float[Tensor, "n new old"]:
    """Build the matrices that cut [start, start + length) out of one side and resize it; each row sums to 1.

    With `antialias` the kernel widens when shrinking, ends at the crop's edge and is renormalised there
    (bicubic a = -0.5, as in PIL). Without it four (bilinear: two) neighbours are blended and the crop's edge
    pixels repeated (bicubic a = -0.75).

    Args:
        starts: first source pixel of each crop.
        lengths: source pixels of each crop, at least 1 and at most the old side.
        sides: the side before and after, in pixels.
        flips: True where the result is mirrored.
        interpolation: "bicubic" or "bilinear".
        antialias: whether shrinking averages over all the pixels it covers.

    Raises:
        ValueError: an unknown interpolation or a side below 1.
    """
    check_one_of(RADIUS, interpolation=interpolation)
    require(min(sides) >= 1, f"sides (old, new) must be at least 1 pixel, got {sides!r}")
    old, new = sides
    radius = RADIUS[interpolation]
    scale = lengths[:, None] / new
    outputs = torch.arange(new, device=starts.device, dtype=scale.dtype).expand(len(starts), new)
    if flips is not None:
        outputs = torch.where(flips[:, None], new - 1 - outputs, outputs)
    centres = scale * (outputs + 0.5)  # n new; inside the crop, where pixel j covers [j, j + 1)
    starts, lengths = starts[:, None, None], lengths[:, None, None]
    if antialias:
        stretch = scale.clamp(min=1)
        n_taps = min(old, 2 * math.ceil(radius * max(1, old / new)) + 1)
        first = torch.floor(centres + starts[..., 0] - radius * stretch + 0.5).clamp(0, old - n_taps)
        taps = first[..., None] + torch.arange(n_taps, device=starts.device)  # n new taps, all in the image
        inside = taps - starts
        weights = _kernel((inside - centres[..., None] + 0.5) / stretch[..., None], interpolation, -0.5)
        weights = torch.where((inside > -0.5) & (inside < lengths - 0.5), weights, 0)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        matrix = weights.new_zeros(len(scale), new, old)
        return matrix.scatter_(2, taps.long(), weights)
    first = torch.floor(centres - 0.5) - (radius - 1)
    inside = first[..., None] + torch.arange(2 * radius, device=starts.device)
    weights = _kernel(inside - centres[..., None] + 0.5, interpolation, -0.75)
    taps = starts + torch.minimum(inside.clamp(min=0), lengths - 1)
    matrix = weights.new_zeros(len(scale), new, old)
    return matrix.scatter_add_(2, taps.long(), weights)


def _kernel(distances: Tensor, interpolation: str, a: float) -> Tensor:
    """Evaluate the interpolation kernel; zero from its radius on."""
    x = distances.abs()
    if interpolation == "bilinear":
        return (1 - x).clamp(min=0)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    x = x.clamp(max=2)  # the outer piece is zero at 2
    return torch.where(x < 1, near, ((x - 5) * x + 8) * x * a - 4 * a)


@checked
@torch_defaults()
def crop_and_resize(
    images: Float[Tensor, "b c height width"] | UInt8[Tensor, "b c height width"],
    boxes: Boxes,
    size: int,
    *,
    flips: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, "b c size size"]:
    """Cut each image's box out and resize it to `size` x `size`, bicubic; the result is clamped to 0..1.

    Equal to torchvision's `resized_crop` on floats; PIL clips and rounds to bytes after each of its two
    passes, this does not.

    Args:
        images: bytes, or floats in 0 to 1 (checked on the CPU only: looking would stall a GPU).
        boxes: one box an image; they may lie on the CPU.
        size: side of the result in pixels.
        flips: True where the crop is mirrored left to right.

    Raises:
        ValueError: images, boxes or flips of the wrong shape, floats outside 0 to 1, a box that leaves its
            image, or a size below 1.
    """
    check_pixels(images)
    check_at_least(1, size=size)
    _check_boxes(boxes, images)
    flips = flips if flips is None else flips[:, None]
    return crop_views(images, boxes[:, None], size, flips)[0]


def crop_views(
    images: Tensor,
    boxes: Float[Tensor, "b v 4"],
    size: int,
    flips: Bool[Tensor, "b v"] | None = None,
) -> Float[Tensor, "v b c size size"]:
    """Cut v boxes out of every image at once, unchecked; all first crops come before all second ones."""
    if boxes.device.type == "cpu":  # known here without waiting for a GPU: leave out what no box covers
        images, boxes = _window(images, boxes)
    b, c, height, width = images.shape
    v = boxes.shape[1]
    boxes = boxes.reshape(b * v, 4).to(images.device, torch.float32, non_blocking=True)
    top, left, box_height, box_width = boxes.unbind(1)
    flips = None if flips is None else flips.reshape(b * v).to(images.device, non_blocking=True)
    rows = resize_matrix(top, box_height, (height, size))
    columns = resize_matrix(left, box_width, (width, size), flips=flips)
    if not images.is_floating_point():
        rows = rows / 255
    pixels = images.permute(0, 2, 1, 3).to(torch.float32, memory_format=torch.contiguous_format)
    cut = torch.bmm(rows.view(b, v * size, height), pixels.reshape(b, height, c * width))
    cut = torch.bmm(cut.view(b * v, size * c, width), columns.transpose(1, 2))
    cut = cut.view(b, v, size, c, size).permute(1, 0, 3, 2, 4)
    return torch.clamp(cut, 0, 1, out=torch.empty(v, b, c, size, size, device=images.device))


def _window(images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Narrow the images to the smallest window that holds all boxes."""
    corners = boxes.reshape(-1, 4)
    top, left = corners[:, :2].amin(0).floor().long().tolist()
    bottom, right = (corners[:, :2] + corners[:, 2:]).amax(0).ceil().long().tolist()
    return images[:, :, top:bottom, left:right], boxes - torch.tensor([top, left, 0.0, 0.0])


@checked
@torch_defaults()
def resize(
    images: Float[Tensor, "b c height width"] | UInt8[Tensor, "b c height width"],
    size: int | tuple[int, int],
) -> Float[Tensor, "b c new_height new_width"]:
    """Resize whole images, bicubic, with one pair of matrices for all; the result is clamped to 0..1.

    Args:
        images: bytes, or floats in 0 to 1.
        size: (height, width) of the result in pixels; one number means a square.

    Raises:
        ValueError: images of the wrong shape or range, or a size below 1.
    """
    check_pixels(images)
    height, width = (size, size) if isinstance(size, int) else size
    check_at_least(1, height=height, width=width)
    matrices = []
    for old, new in ((images.shape[2], height), (images.shape[3], width)):
        whole = torch.tensor([0.0, float(old)]).to(images.device, non_blocking=True)
        matrices.append(resize_matrix(whole[:1], whole[1:], (old, new))[0])
    rows, columns = matrices
    if not images.is_floating_point():
        rows = rows / 255
    return torch.matmul(torch.matmul(rows, images.float()), columns.T).clamp_(0, 1)


def _check_boxes(boxes: Tensor, images: Tensor) -> None:
    """Refuse boxes that are empty or leave their image (looked at on the CPU only)."""
    if not can_look(boxes):
        return
    height, width = images.shape[-2:]
    good = (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    good = good and (boxes[:, 0] + boxes[:, 2] <= height).all() and (boxes[:, 1] + boxes[:, 3] <= width).all()
    wanted = f"boxes (top, left, height, width) must lie inside the {height} x {width} image and hold a pixel"
    require(bool(good), f"{wanted}, got {boxes.tolist()}")
