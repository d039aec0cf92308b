"""The kinds of bad arguments, and the table that the files beside this one fill with them, room by room.

A row is a call with one argument changed, and the sentence it must give. Most rows come from kinds: what no whole
number may be, what no images may be.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

NAN, INF = math.nan, math.inf
Kind = list[tuple[Any, str]]


@dataclass(frozen=True)
class Case:
    """A call with one bad argument, and a pattern of the sentence that it must give."""

    function: Callable
    arguments: dict[str, Any]
    name: str
    value: Any
    sentence: str

    def __str__(self) -> str:
        """The row's name: function, argument, and the kind of value; no random number and no address is in it."""
        shape = "x".join(map(str, getattr(self.value, "shape", ())))
        value = self.value if isinstance(self.value, str | int | float | None) else type(self.value).__name__
        name = getattr(self.function, "func", self.function).__qualname__
        return f"{name}-{self.name}={f'{value} {shape}'.strip()[:30]}"


CASES: list[Case] = []
GOOD: list[tuple[Callable, dict[str, Any]]] = []


def refuses(function: Callable, good: dict[str, Any], /, *, run: bool = True, **kinds: Kind) -> None:
    """Add rows for a function: a good call, and for each argument the values that it must refuse."""
    if run:
        GOOD.append((function, good))
    for name, kind in kinds.items():
        CASES.extend(
            Case(function, good, name, value, sentence.replace("NAME", name)) for value, sentence in kind
        )


# Kinds


def real(*more: tuple[Any, str]) -> Kind:
    """What no number may be."""
    wanted = r"^NAME: wanted a finite number.*, got "
    return [
        (NAN, wanted + "nan"),
        (INF, wanted + "inf"),
        ("0.1", wanted + "'0.1'"),
        (True, wanted + "True"),
        *more,
    ]


def above_zero() -> Kind:
    return real((0, "^NAME must be a finite number above 0.*, got 0"), (-1.0, "above 0.*, got -1"))


def share() -> Kind:
    return real(
        (-0.1, "^NAME must lie between 0 and 1, got -0.1"), (1.1, "^NAME must lie between 0 and 1, got 1.1")
    )


def whole(low: int | None = 1, sentence: str = "") -> Kind:
    """What no whole number from `low` on may be."""
    wanted = r"^NAME: wanted a whole number.*, got "
    kind = [(1.5, wanted + "1.5"), ("3", wanted + "'3'"), (True, wanted + "True"), (NAN, wanted + "nan")]
    return (
        kind
        if low is None
        else [*kind, (low - 1, sentence or f"^NAME must be at least {low}, got {low - 1}")]
    )


def flag() -> Kind:
    return [
        ("yes", "^NAME: wanted True or False, got 'yes'"),
        (None, "^NAME: wanted True or False, got None"),
    ]


def text() -> Kind:
    return [(3, r"^NAME: wanted a string.*, got 3"), (None, r"^NAME: wanted a string.*, got None")]


def one_of(*choices: str) -> Kind:
    names = " or ".join(map(repr, choices))
    return [
        ("other", f"^NAME must be {names}, got 'other'"),
        (3, r"^NAME: wanted a string, got 3"),
        ([], r"got \[\]"),
    ]


def generator() -> Kind:
    wanted = r"^NAME: wanted a torch.Generator.*, got "
    return [
        (0, wanted + r"0 .*manual_seed\(0\)"),
        (None, wanted + "None"),
        ("cpu", wanted),
        (np.random, wanted),
    ]


def optional_generator() -> Kind:
    return [row for row in generator() if row[0] is not None]


def pair(numbers: str = "finite numbers") -> Kind:
    wanted = f"^NAME: wanted (a whole number or )?2 {numbers}.*, got "
    return [
        (0.5, wanted + "0.5"),
        ((0.1,), wanted),
        ((0.1, 0.2, 0.3), wanted),
        ((0.1, NAN), wanted),
        (("a", 1), wanted),
    ]


def ranged() -> Kind:
    return [*pair(), ((0.9, 0.1), "^NAME must be .*swap them"), ((0.0, 0.5), "^NAME must be .*above 0")]


def three() -> Kind:
    wanted = "^NAME: wanted (3|a tuple of) finite numbers, got "
    return [((0.5, NAN, 0.5), wanted), (("a", "b", "c"), wanted), (0.5, wanted)]


def tensor(shape: str, rank: int) -> Kind:
    """What no floating-point tensor may be; `rank` is the number of its axes."""
    wanted = rf"^NAME: wanted .*a floating-point tensor of shape {re.escape(shape)}.*, got "
    sizes = (2, 3, 4, 5)
    return [
        (None, wanted + "None"),
        ([[0.5]], wanted + r".*use torch.as_tensor"),
        (np.zeros(sizes[:rank]), wanted + "a float64 array"),
        (torch.zeros(sizes[:rank], dtype=torch.int64), wanted + r"an int64 tensor.*use .float\(\)"),
        (torch.zeros((1, *sizes[:rank])), wanted + r"a float32 tensor of shape \(1, "),
    ]


def labels(axis: str = "n") -> Kind:
    wanted = rf"^NAME: wanted an integer tensor of shape \({axis}(: rows)?,\).*, got "
    return [
        ([0, 1] * 25_000, wanted + r"\[0, 1, .*use torch.as_tensor"),
        (torch.zeros(8), wanted + r"a float32 tensor.*use .long\(\)"),
        (torch.zeros(8, 1).long(), wanted),
        (torch.zeros(8).bool(), wanted),
        (torch.zeros(3).long(), wanted + r"an int64 tensor of shape \(3,\)"),
    ]


IMAGES = torch.rand(2, 3, 14, 14)
BYTES = (255 * IMAGES).byte()


def images(dtype: str = "floating-point") -> Kind:
    """What no batch of images may be."""
    wrong = IMAGES if dtype == "uint8" else BYTES
    return [
        (None, r"^NAME: wanted .*\(b: images, c: channels, height, width\).*, got None"),
        (np.zeros((2, 3, 14, 14)), r"^NAME: wanted .*, got a float64 array.*use torch.as_tensor"),
        (IMAGES[0] if dtype != "uint8" else BYTES[0], r"add the batch axis with images\[None\]"),
        ((BYTES if dtype == "uint8" else IMAGES).permute(0, 2, 3, 1), "channels come last here"),
        ((BYTES if dtype == "uint8" else IMAGES)[:0], "at least one image|with b = 0 as in images"),
        (
            (BYTES if dtype == "uint8" else IMAGES)[:, :1],
            r"wanted a batch of images of shape \(b, 3, height, width\)",
        ),
        (wrong, r"use \(255 \* images\)" if dtype == "uint8" else "divide bytes by 255"),
    ]


def pixels() -> Kind:
    """What no images in 0 to 1 may be."""
    return [
        *images(),
        (IMAGES * 255, "must lie in 0 to 1.*divide bytes by 255"),
        (IMAGES - 0.5, "must lie in 0 to 1.*undo a normalisation"),
        (IMAGES * NAN, "must lie in 0 to 1.*got nan"),
    ]


def probs(rank: int = 2) -> Kind:
    """What no rows of probabilities may be."""
    logits = torch.linspace(-3, 3, math.prod((2, 3, 4)[:rank])).reshape((2, 3, 4)[:rank])
    wanted = r"^NAME: wanted probabilities, rows that sum to 1, got .*use softmax\(logits / temperature\)"
    return [(logits, wanted), (logits.softmax(-1) * 2, wanted), (logits.abs() + 1, wanted)]


def device() -> Kind:
    return [(3, "^NAME: wanted .*torch.device.*, got 3"), (None, "^NAME: wanted .*torch.device.*, got None")]


def config(kind: str) -> Kind:
    wanted = f"^NAME: wanted an? {kind}.*, got "
    return [(None, wanted + "None"), ({"steps": 3}, wanted + ".*dict"), ("small", wanted + "'small'")]


def function() -> Kind:
    return [(3, "^NAME: wanted a function.*, got 3.*without brackets"), ("f", "^NAME: wanted a function")]


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)
