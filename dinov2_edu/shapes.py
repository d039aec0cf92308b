"""The axis letters, the tensor aliases used in every signature, and the checks of images and probabilities.

Axes:
    b  images (or crops of images) in a batch     v  views of one image
    n  patches of one image                       t  tokens of one image: class token, registers, patches
    d  width of a token                           h  attention heads
    k  prototypes                                 p  side of a patch in pixels
    m  rows gathered from a batch, such as all masked patches

Images are `b c height width`. Masks are boolean and True means masked.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from dinov2_edu.checks import describe, require

Images = Float[Tensor, "b c height width"]
ByteImages = UInt8[Tensor, "b c height width"]
PatchMask = Bool[Tensor, "b n"]
ClassTokens = Float[Tensor, "b d"]
PatchTokens = Float[Tensor, "b n d"]
AttentionMaps = Float[Tensor, "b h t t"]
Logits = Float[Tensor, "*batch k"]
Probs = Float[Tensor, "*batch k"]
Boxes = Float[Tensor, "b top_left_height_width=4"]
Labels = Integer[Tensor, " n"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means (red, green, blue; images in 0 to 1) that every official model was trained with."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel standard deviations that go with `IMAGENET_MEAN`."""


def in_graph() -> bool:
    """Whether this call is being compiled, exported or traced."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def can_look(values: Tensor) -> bool:
    """Whether numbers can be looked at without a cost: not on a GPU, which would stall, nor while a graph is made."""
    return values.device.type == "cpu" and not in_graph()


def check_probs(probs: Tensor, name: str) -> None:
    """Refuse rows that are no probabilities: negative, or not summing to 1 (looked at on the CPU only).

    Rows that hold NaN pass: they come from a run that failed elsewhere, and stay visible in what is computed.

    Raises:
        ValueError: a negative number, or a row whose sum is not 1.
    """
    require(probs.ndim >= 1, f"{name}: wanted rows that sum to 1, got {describe(probs)}")
    if not probs.numel() or not can_look(probs):
        return
    numbers = probs.detach().float()
    slack = 0.05 if probs.element_size() < 4 else 0.001
    off = (numbers.sum(-1) - 1).abs().nan_to_num(0.0, posinf=math.inf).max().item()
    lowest = numbers.nan_to_num(0.0).min().item()
    require(
        lowest >= -slack and off <= slack,
        f"{name}: wanted probabilities, rows that sum to 1, got numbers from {lowest:.4g} on and a sum that is "
        f"{off:.4g} off: use softmax(logits / temperature)",
    )


def check_images(images: Any, *, channels: int = 3, multiple_of: int = 1) -> None:
    """Refuse anything that is not a non-empty batch of images `b c height width`.

    Raises:
        ValueError: wrong type, rank, channel order, an empty batch, or a side that is not a multiple of
            `multiple_of` (a patch size).
    """
    wanted = f"wanted a batch of images of shape (b, {channels}, height, width)"
    require(isinstance(images, Tensor), f"{wanted}, got {describe(images)}")
    if images.ndim == 3:
        raise ValueError(f"{wanted}, got {describe(images)}: add the batch axis with images[None]")
    require(images.ndim == 4, f"{wanted}, got {describe(images)}")
    if images.shape[1] != channels and images.shape[-1] == channels:
        advice = "channels come last here, use images.permute(0, 3, 1, 2)"
        raise ValueError(f"{wanted}, got {describe(images)}: {advice}")
    require(images.shape[1] == channels, f"{wanted}, got {describe(images)}")
    require(images.numel() > 0, f"{wanted} with at least one image and pixel, got {describe(images)}")
    height, width = images.shape[-2:]
    if height % multiple_of or width % multiple_of:
        nearest = tuple(max(multiple_of, round(side / multiple_of) * multiple_of) for side in (height, width))
        raise ValueError(
            f"height and width must be multiples of the patch size {multiple_of}, got {height} x {width}: "
            f"resize or crop to {nearest[0]} x {nearest[1]}"
        )


def check_pixels(images: Any) -> None:
    """Refuse anything but a batch of bytes or of floats in 0 to 1 (the range is looked at on the CPU only).

    Raises:
        ValueError: wrong type, shape or dtype, or values outside 0 to 1, or NaN.
    """
    check_images(images)
    if images.dtype == torch.uint8:
        return
    require(images.is_floating_point(), f"wanted bytes (uint8) or floats in 0 to 1, got {describe(images)}")
    if can_look(images):
        low, high = (value.item() for value in images.detach().aminmax())
        good = low >= -1e-4 and high <= 1 + 1e-4  # false for NaN as well
        require(
            good,
            f"floating-point images must lie in 0 to 1 before augmentation, got {low:.4g} to {high:.4g}: "
            "divide bytes by 255, undo a normalisation with `denormalize`",
        )
