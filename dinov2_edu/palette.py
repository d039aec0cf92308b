"""The colour of each role, the same in every figure, diagram and widget.

All are mid-tones: each has a contrast of at least 3 to 1 on a white page and on a dark one, so one colour
serves both. Roles that meet in one picture stay apart for red-, green- and blue-blind eyes (the tests measure
both), and colour never stands alone: a label, a pattern or a shape says the same.
"""

from itertools import pairwise

from dinov2_edu.checks import checked

PALETTE = {
    "student": "#1b7fe0",
    "teacher": "#cf730c",
    "cls": "#a2429e",
    "patch": "#137853",
    "mask": "#878b94",
    "register": "#9f894e",
    "global_crop": "#19738d",
    "local_crop": "#db2d54",
    "good": "#208b6d",
    "bad": "#d2222d",
    "muted": "#747577",
}
"""Role to colour, as a hex string."""

CARD = "#fbfbfa"
"""Background of a matplotlib figure."""

INK = "#24292f"
"""Text and axes on `CARD`."""

DARK_CARD, DARK_INK = "#1d2125", "#e8eaed"
"""What `CARD` and `INK` become on a page's dark theme."""

CYCLE = ("#332288", "#2f8f80", "#882255", "#86862a", "#c25a68", "#55606e")
"""Colours of series without a role, in the order they are handed out; readable on `CARD` only."""


@checked
def role_colour(name: str) -> str | None:
    """Find the colour of a series from its name: the role that one of the name's words is, or two are; else None.

    `"teacher"`, `"teacher temperature"`, `"class token (cls)"` and `"global crops"` find a role; `"k-NN"` finds none.
    """
    words = "".join(letter if letter.isalnum() or letter == "_" else " " for letter in name.lower()).split()
    pairs = [f"{one}_{other}".removesuffix("s") for one, other in pairwise(words)]
    return next((PALETTE[word] for word in (*pairs, *words) if word in PALETTE), None)
