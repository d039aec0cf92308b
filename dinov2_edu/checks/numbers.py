"""What an annotation cannot say of numbers: their ranges. Each check is named after what it wants."""

import math
from typing import Any

from dinov2_edu.checks.words import describe


def require(condition: bool, message: str) -> None:
    """Raise a ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


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
