"""What a shape cannot say: ranges, sums, channel order. Each check is named after what it wants."""

import math
from typing import Any

import torch
from torch import Tensor

from dinov2_edu.shapes.door import in_graph
from dinov2_edu.shapes.words import describe


def require(condition: bool, message: str) -> None:
    """Raise a ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def can_look(values: Tensor) -> bool:
    """Whether numbers can be looked at without a cost: not on a GPU, which would stall, nor while a graph is made."""
    return values.device.type == "cpu" and not in_graph()


def check_at_least(low: float, **numbers: float | None) -> None:
    """Refuse a number, given by its name, that is below `low`; None passes.

    Raises:
        ValueError: a number below `low`, or not a number.
    """
    for name, number in numbers.items():
        require(number is None or number >= low, f"{name} must be at least {low}, got {number!r}")


def check_above_zero(**numbers: float | None) -> None:
    """Refuse a number, given by its name, that is not above 0 and finite; None passes.

    Raises:
        ValueError: a number that is zero, negative, infinite or not a number.
    """
    for name, number in numbers.items():
        good = number is None or 0 < number < math.inf
        require(good, f"{name} must be a finite number above 0, got {number!r}")


def check_probability(value: float, name: str) -> None:
    """Refuse a number outside 0 to 1.

    Raises:
        ValueError: the value is below 0, above 1 or not a number.
    """
    require(0 <= value <= 1, f"{name} must lie between 0 and 1, got {value!r}")


def check_one_of(choices: Any, **values: Any) -> None:
    """Refuse a value, given by its name, that is none of the choices.

    Raises:
        ValueError: the value is none of them.
    """
    for name, value in values.items():
        words = " or ".join(repr(choice) for choice in choices)
        require(value in tuple(choices), f"{name} must be {words}, got {describe(value)}")


def check_range(bounds: tuple[float, float], name: str, *, low: float = 0.0, high: float = math.inf) -> None:
    """Refuse a pair that is not two numbers in rising order above `low` and up to `high`.

    Raises:
        ValueError: reversed, at or below `low`, above `high`, or infinite.
    """
    first, last = bounds
    require(first <= last, f"{name} must be (low, high) in this order, got {bounds!r}: swap them")
    ends = "" if high == math.inf else f" and at most {high:g}"
    good = low < first and last <= high and last < math.inf
    require(good, f"{name} must be two finite numbers above {low:g}{ends}, got {bounds!r}")


def check_temperature(temperature: float, name: str = "temperature") -> None:
    """Refuse a temperature that is not a finite number above 0.

    Raises:
        ValueError: the temperature is zero, negative, infinite or not a number.
    """
    good = 0 < temperature < math.inf
    require(good, f"{name} must be a finite number above 0 (such as 0.07), got {temperature!r}")


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
