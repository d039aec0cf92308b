"""Diagram of chapter 07: the whole step, made of the parts of the chapters before it."""
# ruff: noqa: RUF001 -- the multiplication and minus signs belong in shapes and formulas.

from dinov2_edu.checks import require
from dinov2_edu.plots.diagrams.inputs import MASKED
from dinov2_edu.plots.parts import (
    GLOBAL_CROPS,
    LOCAL_CROPS,
    bars,
    chip,
    crop_outline,
    head,
    layer,
    legend,
    loss,
    network,
    no_gradient,
    patch_grid,
    photo,
    token,
)
from dinov2_edu.plots.svg import SMALL, Box, Canvas, Diagram

SIDES = (("student", 87.0, -1), ("teacher", 273.0, 1))
"""Role, middle of its column, and which way (left -1, right 1) leads out of the drawing."""

PARTS = {1: "crops", 2: "masks", 3: "ViT", 4: "heads", 5: "losses", 6: "update"}
"""The bands of the drawing, by the chapter that explains each."""

PAGES = {1: "01_crops", 2: "02_masking", 3: "03_vit", 4: "04_heads", 5: "05_losses", 6: "06_ema"}

LANE = 34.0
"""From the middle of a column outwards to its class tokens, and inwards to its patch tokens."""

SCORES = (0.4, 0.6, 0.3, 1.0, 0.5, 0.7)
"""Heights of the bars that stand for scores."""


def diagram_step() -> Diagram:
    """Draw the whole training step out of the parts of all chapters, each part a link to its chapter."""
    canvas = Canvas()
    bands = (
        (4, 134, crops_band),
        (160, 120, masks_band),
        (302, 120, networks_band),
        (432, 140, heads_band),
        (594, 226, losses_band),
        (842, 126, update_band),
    )
    for (chapter, name), (top, height, draw) in zip(PARTS.items(), bands, strict=True):
        page = PAGES[chapter]
        with canvas.link(f"{page}.html", f"{page[:2]} {name}, to the chapter"):
            canvas.rect(Box(4, top, 352, height), tint=0.05, line=0, corner=8)
            canvas.text((180, top + 17), f"{page[:2]} {name}", bold=True, text_decoration="underline")
            draw(canvas, top)
    draw_wires(canvas)
    return canvas.finish(
        "step",
        1000,
        title="The whole training step",
        alt="""From top to bottom, the student's path on the left, the teacher's on the right; each part
            links to its chapter. Chapter 01: a photo is cut into two global views and eight local views.
            Chapter 02: the student gets the global views with masked patches, and the local views; the
            teacher gets the global views whole. Chapter 03: the student and the teacher, two transformers
            of one shape, turn them into class tokens and patch tokens. Chapter 04: on each side a DINO head
            takes the class token and an iBOT head the patch tokens at masked places. Chapter 05: softmax
            makes the student's scores its answer; the teacher's are centred and sharpened into targets. The
            iBOT loss compares patch tokens, the DINO loss class tokens, and the KoLeo loss spreads the
            student's class tokens, taken before the head; the loss is their sum, KoLeo times 0.1. The
            teacher's paths are crossed by two strokes: no gradient flows back. Chapter 06: the gradient, a
            dashed arrow, goes to AdamW, which changes the student; the teacher follows the student as a
            moving average, a dotted arrow.""",
    )


def diagram_here(chapter: int) -> Diagram:
    """Draw the whole step small, its parts from left to right, with the part of one chapter lit: "you are here".

    Args:
        chapter: 1 to 6; 7 lights them all.

    Raises:
        ValueError: there is no such chapter.
    """
    require(chapter in range(1, 8), f"the step is explained in chapters 1 to 7, got {chapter}")
    canvas = Canvas()
    for role, y in (("student", 5.0), ("teacher", 61.0)):
        canvas.arrow([(4, y), (357, y)], role)
    for i, (number, name) in enumerate(PARTS.items()):
        box = Box(7 + 58 * i, 10, 56, 46)
        lit = chapter in (number, 7)
        with canvas.link(f"{PAGES[number]}.html", f"{number:02d} {name}{', here' if lit else ''}"):
            canvas.rect(box, "good" if lit else None, tint=0.3 if lit else 0.05, line=2.5 if lit else 0.6)
            canvas.text((box.x + box.width / 2, 24), f"{number:02d}", size=SMALL, bold=lit)
            canvas.text((box.x + box.width / 2, 42), name, size=SMALL, bold=lit)
    here = "all of them, as in this chapter" if chapter == 7 else f"lit is {PARTS[chapter]}, this chapter"
    return canvas.finish(
        f"here-{chapter}",
        66,
        title="You are here",
        alt=f"""The training step from left to right, a box for each part, between the path of the student above and
            that of the teacher below: crops, masks, ViT, heads, losses, update. Of these {here}. Each box links to its
            chapter; chapter 07 has the whole drawing.""",
    )


def crops_band(canvas: Canvas, top: float) -> None:
    """The photo and the boxes cut from it."""
    stage = photo(canvas, Box(113, top + 32, 134, 89))
    for crop in LOCAL_CROPS:
        crop_outline(canvas, crop, "", "local_crop", inside=stage)
    for crop in GLOBAL_CROPS:
        crop_outline(canvas, crop, "", "global_crop", inside=stage)
    chip(canvas, Box(16, top + 62, 27, 27), "G1")
    canvas.text((50, top + 76), "2 global", size=SMALL, anchor="start")
    chip(canvas, Box(259, top + 62, 27, 27), "L1")
    canvas.text((293, top + 76), "8 local", size=SMALL, anchor="start")


def masks_band(canvas: Canvas, top: float) -> None:
    """Global views, masked for the student, whole for the teacher; local views for the student alone."""
    for role, x, _ in SIDES:
        masked = MASKED if role == "student" else ()
        for left, crop in zip((x - 67, x + 3), GLOBAL_CROPS, strict=True):
            patch_grid(canvas, Box(left, top + 30, 64, 64), 8, masked, view=crop)
    left = SIDES[0][1] - 67
    for i, crop in enumerate(LOCAL_CROPS):
        view = photo(canvas, Box(left + 17 * i, top + 99, 15, 15), crop)
        canvas.rect(view, "local_crop", tint=0, corner=1)
    canvas.text((SIDES[1][1], top + 107), "no local views", size=SMALL)


def networks_band(canvas: Canvas, top: float) -> None:
    """The two transformers and the tokens they give; those at masked places are gathered."""
    for role, x, out in SIDES:
        network(canvas, Box(x - 65, top + 30, 130, 38), role, role)
        canvas.arrow([(x, top + 68), (x, top + 86)], role)
        token(canvas, Box(x + out * LANE - 10, top + 88, 20, 20), "cls")
        patches = x - out * LANE
        hidden = "mask" if role == "student" else "patch"
        for shift, kind in ((-32, "patch"), (-10.6, hidden), (10.6, hidden), (32, "patch")):
            token(canvas, Box(patches + shift - 8.5, top + 89.5, 17, 17), kind)
        canvas.brace((patches - 19, top + 109), (patches + 19, top + 109), role, depth=5)


def heads_band(canvas: Canvas, top: float) -> None:
    """A head for class tokens and one for masked patch tokens on each side, and the scores they give."""
    for role, x, out in SIDES:
        for lane, kind, name in ((x + out * LANE, "cls", "DINO"), (x - out * LANE, "patch", "iBOT")):
            head(canvas, Box(lane - 31, top + 32, 62, 54), kind, name)
            canvas.arrow([(lane, top + 86), (lane, top + 104)], role)
            bars(canvas, Box(lane - 28, top + 106, 56, 24), SCORES, role)
    canvas.text((180, top + 120), "scores", size=SMALL)


def losses_band(canvas: Canvas, top: float) -> None:
    """Answers and targets, and the losses in which they meet."""
    for place, name in ((82, "iBOT"), (132, "DINO"), (182, "KoLeo")):
        loss(canvas, Box(139, top + place, 82, 32), name)
    canvas.text((180, top + 123), "+", bold=True)
    canvas.text((180, top + 173), "+  0.1 ×", bold=True)
    for role, x, out in SIDES:
        layer(canvas, Box(x - 65, top + 32, 130, 28), "softmax" if out < 0 else "centre, sharpen", role)
        edge = 180 + out * 41
        for lane, height in ((x - out * LANE, top + 98), (x + out * LANE, top + 148)):
            canvas.arrow([(lane, top + 60), (lane, height), (edge, height)], role)
            if role == "teacher":
                no_gradient(canvas, (lane, top + 74))
    canvas.text((SIDES[1][1], top + 100), "no\ngradient", size=SMALL)


def update_band(canvas: Canvas, top: float) -> None:
    """AdamW for the student, the moving average for the teacher."""
    student, teacher = (network(canvas, Box(x - 65, top + 80, 130, 36), role, role) for role, x, _ in SIDES)
    optimiser = layer(canvas, Box(student.x, top + 32, 130, 28), "AdamW")
    canvas.arrow([optimiser.bottom, student.top], "student")
    canvas.arrow([student.right, teacher.left], "teacher", dash="2 4", width=2)
    canvas.text((180, top + 74), "moving\naverage", size=SMALL)


def draw_wires(canvas: Canvas) -> None:
    """Draw what leads from one band to another."""
    for role, x, out in SIDES:
        canvas.arrow([(x, 138), (x, 184)], role)
        canvas.arrow([(x, 280), (x, 330)], role)
        canvas.arrow([(x + out * LANE, 412), (x + out * LANE, 462)], role)
        canvas.arrow([(x - out * LANE, 416), (x - out * LANE, 462)], role)
        canvas.arrow([(x + out * LANE, 564), (x + out * LANE, 624)], role)
        canvas.arrow([(x - out * LANE, 564), (x - out * LANE, 624)], role)
    student = SIDES[0][1]
    class_token = (student - LANE - 10, 400)
    canvas.arrow([class_token, (12, 400), (12, 792), (139, 792)], "student")
    canvas.arrow([(180, 808), (180, 832), (student, 832), (student, 872)], dash="5 4")
    canvas.text((190, 831), "gradient", size=SMALL, anchor="start")
    legend(canvas, 986, [("cls", "class token"), ("patch", "patch token"), ("mask", "masked place")], x=10)
