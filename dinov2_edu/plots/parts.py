"""The parts that the diagrams share, so that a reader meets each of them again in the whole step.

The student stands on the left, the teacher on the right and in a double frame. A class token is a circle, a
patch token a square, a mask token a hatched square. A head is an hourglass: wide,
narrow, wide.
"""

from collections.abc import Collection, Sequence

from dinov2_edu.plots.svg import BODY, SMALL, Box, Canvas, Point, number

SCENE = Box(0, 0, 120, 80)
"""The photo of all diagrams, in its own coordinates."""

GLOBAL_CROPS = (Box(12, 2, 88, 73), Box(54, 17, 63, 60))
LOCAL_CROPS = (
    Box(82, 2, 26, 24), Box(60, 44, 30, 27), Box(9, 17, 26, 30), Box(93, 49, 25, 27),
    Box(36, 50, 25, 26), Box(68, 27, 23, 20), Box(3, 50, 24, 27), Box(33, 20, 20, 23),
)  # fmt: skip
"""Crops of the scene, in its coordinates."""


def photo(canvas: Canvas, box: Box, view: Box = SCENE) -> Box:
    """Draw the photo, or the part of it that `view` cuts out, stretched into `box`."""
    with canvas.window(box, view):
        canvas.rect(SCENE, "muted", tint=0.13, line=0, corner=0)
        canvas.circle((100, 15), 6.5, tint=0, line=1.6)
        canvas.path(SUN_RAYS, line=1.6)
        canvas.path("M0 54 L26 26 L46 44 L70 20 L98 46 L120 34 V80 H0 Z", "muted", tint=0.32, line=0)
        canvas.path("M0 62 Q50 48 120 60 V80 H0 Z", "muted", tint=0.5, line=0)
        canvas.path("M20 44 H25 V66 H20 Z M22 18 A13 14 0 1 1 21.9 18 Z", "muted", tint=1, line=0)
        canvas.path(CAT, tint=1, line=0)
    canvas.rect(box, "muted", tint=0, line=1.2, corner=0)
    return box


SUN_RAYS = "M100 5.5 V3 M106.7 8.3 L108.5 6.5 M109.5 15 H112 M106.7 21.7 L108.5 23.5 M93.3 8.3 L91.5 6.5"
CAT = (
    "M66 70 C62 56 72 48 82 50 C80 44 81 39 83 36 L87 40 Q91 38.5 95 40 L99 36 C101 40 101 47 97 51 "
    "C99 57 98 64 98 70 Z M67 68 C58 68 52 60 56 50 C57 47 61 49 60 52 C58 58 62 62 68 62 Z"
)


def crop_outline(canvas: Canvas, box: Box, name: str, role: str, *, inside: Box) -> Box:
    """Outline a crop (in scene coordinates) on the photo drawn in `inside`, with its name if it has one."""
    scale_x, scale_y = inside.width / SCENE.width, inside.height / SCENE.height
    place = Box(
        inside.x + box.x * scale_x, inside.y + box.y * scale_y, box.width * scale_x, box.height * scale_y
    )
    canvas.rect(place, role, tint=0.08, line=2, corner=2, dash="5 3" if role == "local_crop" else "")
    if name:
        canvas.rect(Box(place.x, place.y, 23, 17), role, tint=1, line=0, corner=2)
        canvas.text((place.x + 11.5, place.y + 8.5), name, size=SMALL, bold=True, fill="#ffffff")
    return place


def chip(canvas: Canvas, box: Box, name: str) -> Box:
    """Draw a view as a small box with its name: G1, G2 global and solid, L1... local and dashed."""
    role = "local_crop" if name.startswith("L") else "global_crop"
    canvas.rect(box, role, tint=0.16, line=1.6, corner=3, dash="4 2.5" if role == "local_crop" else "")
    canvas.text(box.centre, name, size=SMALL, bold=True)
    return box


def chip_row(canvas: Canvas, x: float, y: float, names: Sequence[str]) -> None:
    """Draw views in a row."""
    for i, name in enumerate(names):
        chip(canvas, Box(x + 32 * i, y, 27, 27), name)


def hatch(canvas: Canvas, box: Box, lines: int = 3) -> None:
    """Cover a box with the mask's grey and its slanted lines."""
    canvas.rect(box, "mask", tint=1, line=1, corner=1)
    strokes = []
    for part in (i / lines for i in range(1, 2 * lines)):
        # A line goes from the left or lower side to the upper or right one.
        near, far = min(part, 1), max(part - 1, 0)
        start = (box.x + far * box.width, box.y + near * box.height)
        end = (box.x + near * box.width, box.y + far * box.height)
        strokes.append(f"M{number(start[0])} {number(start[1])} L{number(end[0])} {number(end[1])}")
    canvas.path(" ".join(strokes), line=0.9, opacity=0.7)


def patch_grid(
    canvas: Canvas, box: Box, grid: int, masked: Collection[tuple[int, int]] = (), view: Box = SCENE
) -> Box:
    """Draw the photo cut into `grid` x `grid` patches, with the masked ones (row, column) hatched."""
    photo(canvas, box, view)
    wide, high = box.width / grid, box.height / grid
    verticals = [f"M{number(box.x + i * wide)} {number(box.y)} v{number(box.height)}" for i in range(1, grid)]
    horizontals = [
        f"M{number(box.x)} {number(box.y + i * high)} h{number(box.width)}" for i in range(1, grid)
    ]
    canvas.path(" ".join(verticals + horizontals), "patch", line=1)
    for row, column in sorted(masked):
        hatch(canvas, Box(box.x + column * wide, box.y + row * high, wide, high), lines=2)
    canvas.rect(box, "patch", tint=0, line=1.5, corner=0)
    return box


def token(canvas: Canvas, box: Box, kind: str, name: str = "") -> Box:
    """Draw a token: class = circle, patch = square, mask = hatched square."""
    if kind == "cls":
        canvas.circle(box.centre, box.width / 2, "cls", tint=0.25)
    elif kind == "mask":
        hatch(canvas, box)
    else:
        canvas.rect(box, "patch", tint=0.25, corner=2)
    if name:
        canvas.text(box.centre, name, size=SMALL)
    return box


def token_row(
    canvas: Canvas, x: float, y: float, kinds: Sequence[str], *, size: float = 18, gap: float = 4
) -> list[Box]:
    """Draw tokens in a row, from the left; a large class token says so."""
    boxes = [Box(x + i * (size + gap), y, size, size) for i in range(len(kinds))]
    for box, kind in zip(boxes, kinds, strict=True):
        token(canvas, box, kind, "cls" if kind == "cls" and size > 24 else "")
    return boxes


def network(canvas: Canvas, box: Box, role: str, name: str, note: str = "", *, size: float = BODY) -> Box:
    """Draw the student, or the teacher with its double frame."""
    canvas.rect(box, role, line=2, corner=8)
    if role == "teacher":
        canvas.rect(box.grown(-4), role, tint=0, line=1, corner=5)
    x, y = box.centre
    canvas.text((x, y - (0.7 * size if note else 0)), name, size=size, bold=True)
    if note:
        canvas.text((x, y + 0.7 * size), note, size=max(SMALL, size - 0.5))
    return box


def layer(canvas: Canvas, box: Box, name: str, role: str | None = None) -> Box:
    """Draw one operation: a plain box with its name."""
    canvas.rect(box, role, tint=0.12 if role else 0.05, line=1.4, corner=5)
    canvas.text(box.centre, name)
    return box


def head(canvas: Canvas, box: Box, role: str, name: str) -> Box:
    """Draw a projection head: an hourglass, for it narrows to the bottleneck and widens to the prototypes."""
    x0, x1, y0, y1 = box.x, box.x + box.width, box.y, box.y + box.height
    waist, middle = box.width * 0.24, box.y + box.height * 0.62
    right = f"L{number(x1)} {number(y0)} L{number(x1 - waist)} {number(middle)} L{number(x1)} {number(y1)}"
    left = f"L{number(x0)} {number(y1)} L{number(x0 + waist)} {number(middle)} Z"
    canvas.path(f"M{number(x0)} {number(y0)} {right} {left}", role, tint=0.14, line=1.8)
    canvas.text((box.centre[0], y0 + box.height * 0.36), name, size=SMALL)
    return box


def bars(canvas: Canvas, box: Box, heights: Sequence[float], role: str) -> Box:
    """Draw scores or probabilities as bars on a base line; heights are shares of the box's height."""
    step = box.width / len(heights)
    for i, share in enumerate(heights):
        tall = share * box.height
        bar = Box(box.x + (i + 0.15) * step, box.y + box.height - tall, 0.7 * step, tall)
        canvas.rect(bar, role, tint=0.6, line=0.8, corner=0)
    canvas.line([(box.x, box.y + box.height), (box.x + box.width, box.y + box.height)])
    return box


def loss(canvas: Canvas, box: Box, name: str, *, size: float = BODY) -> Box:
    """Draw a loss: a dark-edged box with round ends."""
    canvas.rect(box, tint=0.08, line=2.2, corner=box.height / 2)
    canvas.text(box.centre, name, size=size, bold=True)
    return box


def no_gradient(canvas: Canvas, at: Point, *, upright: bool = True) -> None:
    """Cross an arrow with two short strokes: no gradient passes here."""
    x, y = at
    for s in (-2.5, 2.5):
        ends = [(x - 8, y + s), (x + 8, y + s)] if upright else [(x + s, y - 8), (x + s, y + 8)]
        canvas.line(ends, width=2)


def legend(canvas: Canvas, y: float, kinds: Sequence[tuple[str, str]], *, x: float) -> None:
    """Explain tokens in a row, (kind, words) each."""
    for kind, words in kinds:
        token(canvas, Box(x, y - 7, 14, 14), kind)
        canvas.text((x + 20, y), words, size=SMALL, anchor="start")
        x += 32 + 7.2 * len(words)


def heading(canvas: Canvas, y: float, words: str, *, x: float = 180) -> None:
    """Write a line above a part of the drawing."""
    canvas.text((x, y), words, bold=True)
