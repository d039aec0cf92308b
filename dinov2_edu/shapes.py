"""The axis letters, the tensor aliases used in every signature, and the checks that hold arguments to them.

Axes:
    b  images (or crops of images) in a batch     v  views of one image
    n  patches of one image                       t  tokens of one image: class token, registers, patches
    d  width of a token                           h  attention heads
    k  prototypes                                 p  side of a patch in pixels
    m  rows gathered from a batch, such as all masked patches

Images are `b c height width`. Masks are boolean and True means masked.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Images = Float[Tensor, "b c height width"]
ByteImages = UInt8[Tensor, "b c height width"]
PatchMask = Bool[Tensor, "b n"]
ClassTokens = Float[Tensor, "b d"]
PatchTokens = Float[Tensor, "b n d"]
AttentionMaps = Float[Tensor, "b h t t"]
Logits = Float[Tensor, "*batch k"]
Probs = Float[Tensor, "*batch k"]
Boxes = Float[Tensor, "b 4"]
Labels = Int[Tensor, " n"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means (red, green, blue; images in 0 to 1) that every official model was trained with."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel standard deviations that go with `IMAGENET_MEAN`."""


def require(condition: bool, message: str) -> None:
    """Raise a ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def describe(value: Any) -> str:
    """Say in a few words what a value is, for error messages: a tensor's dtype and shape, else its type."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    if isinstance(value, (list, tuple)) and (shapes := _shapes(value)):
        return f"a {type(value).__name__} of tensors of shapes {shapes[1:-1]}"
    return f"{value!r} ({type(value).__name__})"


def _shapes(value: Any) -> str:
    """The shapes of a list of tensors, or of lists of them; "" where anything else is inside."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    inner = [_shapes(one) for one in value] if isinstance(value, (list, tuple)) else []
    return f"[{', '.join(inner)}]" if inner and all(inner) else ""


def check_images(images: Any, *, channels: int = 3, multiple_of: int = 1) -> None:
    """Refuse anything that is not a non-empty batch of images `b c height width`.

    Raises:
        ValueError: wrong type, rank, channel order, an empty batch, or a side that is not a multiple of
            `multiple_of` (a patch size).
    """
    wanted = f"a batch of images of shape (b, {channels}, height, width)"
    require(isinstance(images, Tensor), f"wanted {wanted}, got {describe(images)}")
    if images.ndim == 3:
        raise ValueError(f"wanted {wanted}, got {describe(images)}: add the batch axis with images[None]")
    require(images.ndim == 4, f"wanted {wanted}, got {describe(images)}")
    if images.shape[1] != channels and images.shape[-1] == channels:
        raise ValueError(
            f"wanted {wanted}, got {describe(images)}: channels come last here, use images.permute(0, 3, 1, 2)"
        )
    require(images.shape[1] == channels, f"wanted {wanted}, got {describe(images)}")
    require(images.numel() > 0, f"wanted {wanted} with at least one image and pixel, got {describe(images)}")
    height, width = images.shape[-2:]
    if height % multiple_of or width % multiple_of:
        nearest = tuple(max(multiple_of, round(side / multiple_of) * multiple_of) for side in (height, width))
        raise ValueError(
            f"height and width must be multiples of the patch size {multiple_of}, got {height} x {width}: "
            f"resize or crop to {nearest[0]} x {nearest[1]}"
        )


def check_float_images(images: Any, *, channels: int = 3, multiple_of: int = 1) -> None:
    """Refuse anything but a batch of floating-point images, with a hint for bytes.

    Raises:
        ValueError: as `check_images`, or the dtype is not floating point.
    """
    check_images(images, channels=channels, multiple_of=multiple_of)
    if not images.is_floating_point():
        raise ValueError(
            f"wanted floating-point images, scaled to 0..1 and normalised, got {describe(images)}: "
            "divide bytes by 255, then normalise"
        )


def check_mask(masks: Any, *, batch: int, patches: int) -> None:
    """Refuse anything that is not a boolean mask `b n` for this batch; True means masked.

    Raises:
        ValueError: wrong type, dtype or shape.
    """
    wanted = f"a bool tensor of shape ({batch}, {patches}), True = masked"
    good = isinstance(masks, Tensor) and masks.dtype == torch.bool and tuple(masks.shape) == (batch, patches)
    require(good, f"masks: wanted {wanted}, got {describe(masks)}")


def check_temperature(temperature: float, name: str = "temperature") -> None:
    """Refuse a temperature that is not a finite number above 0.

    Raises:
        ValueError: the temperature is zero, negative, infinite or not a number.
    """
    good = 0 < float(temperature) < float("inf")
    require(good, f"{name} must be a finite number above 0 (such as 0.07), got {temperature!r}")


def check_probability(value: float, name: str) -> None:
    """Refuse a number outside 0 to 1.

    Raises:
        ValueError: the value is below 0, above 1 or not a number.
    """
    require(0 <= float(value) <= 1, f"{name} must lie between 0 and 1, got {value!r}")
