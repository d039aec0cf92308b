"""Diagrams of chapter 05: the DINO loss on class tokens, the iBOT loss on patch tokens."""
# ruff: noqa: RUF001 -- the multiplication and minus signs belong in shapes and formulas.

from collections.abc import Sequence

from dinov2_edu.plots.parts import (
    bars,
    chip,
    heading,
    layer,
    legend,
    loss,
    network,
    no_gradient,
    token,
    token_row,
)
from dinov2_edu.plots.svg import SMALL, Box, Canvas, Diagram

LOGITS = (0.45, 0.6, 0.3, 0.75, 0.5, 0.95, 0.55, 0.4)
TARGET = (0.02, 0.06, 0.0, 0.25, 0.03, 1.0, 0.05, 0.0)
ANSWER = (0.15, 0.3, 0.1, 0.5, 0.2, 0.8, 0.25, 0.1)
"""Heights of bars: a token's scores, the teacher's sharp target, the student's softer answer."""

STUDENT, TEACHER = 90, 270
"""Middles of the student's column and of the teacher's."""


def diagram_dino_loss() -> Diagram:
    """Draw one pair of views on its way to the DINO loss."""
    canvas = Canvas()
    heading(canvas, 12, "any view", x=STUDENT)
    heading(canvas, 12, "a global view", x=TEACHER)
    chip(canvas, Box(STUDENT - 15, 26, 30, 30), "L1")
    chip(canvas, Box(TEACHER - 15, 26, 30, 30), "G2")
    y = draw_networks(canvas, 56)
    for x, role in ((STUDENT, "student"), (TEACHER, "teacher")):
        token(canvas, Box(x - 15, y, 30, 30), "cls", "cls")
        canvas.arrow([(x, y + 30), (x, y + 50)], role)
        layer(canvas, Box(x - 70, y + 50, 140, 28), "DINO head", "cls")
    end = draw_comparison(canvas, y + 78, "DINO loss")
    note = "the same for every pair of different views:\nsummed, then divided by their number, 18"
    canvas.text((180, end + 14), note, size=SMALL)
    words = tell_comparison("DINO")
    return canvas.finish(
        "dino-loss",
        end + 42,
        title="The DINO loss",
        alt=f"""Two columns. On the left any view, here the local view L1, goes through the student; on the
            right a global view, here G2, through the teacher, drawn in a double frame. Each gives a class
            token, which its own DINO head turns into scores. {words} The same is done for every pair of
            different views, and the sum is divided by their number, 18.""",
    )


def diagram_ibot_loss() -> Diagram:
    """Draw one masked crop and its whole twin on their way to the iBOT loss."""
    canvas = Canvas()
    heading(canvas, 12, "G1, masked", x=STUDENT)
    heading(canvas, 12, "G1, whole", x=TEACHER)
    kinds = ["patch", "mask", "mask", "patch"]
    token_row(canvas, STUDENT - 51, 28, kinds, size=22, gap=5)
    token_row(canvas, TEACHER - 51, 28, ["patch"] * 4, size=22, gap=5)
    y = draw_networks(canvas, 52)
    student = token_row(canvas, STUDENT - 51, y, kinds, size=22, gap=5)
    teacher = token_row(canvas, TEACHER - 51, y, ["patch"] * 4, size=22, gap=5)
    for row, x, role in ((student, STUDENT, "student"), (teacher, TEACHER, "teacher")):
        join_masked(canvas, row[1:3], x, y + 38, role)
        layer(canvas, Box(x - 70, y + 58, 140, 28), "iBOT head", "patch")
    canvas.text((180, y + 38), "masked\nplaces\nonly", size=SMALL)
    end = draw_comparison(canvas, y + 86, "iBOT loss")
    note = "the same at every masked place: the mean over an\nimage's masked places, then over all images"
    canvas.text((180, end + 14), note, size=SMALL)
    legend(canvas, end + 50, [("patch", "patch token"), ("mask", "masked place")], x=70)
    words = tell_comparison("iBOT")
    return canvas.finish(
        "ibot-loss",
        end + 64,
        title="The iBOT loss",
        alt=f"""Two columns with the same global crop. On the left it is masked: two of the four patches
            drawn are replaced by the mask token; it goes through the student. On the right it is whole and
            goes through the teacher, drawn in a double frame. Of the tokens that come out, both sides take
            only those at the masked places; each side's own iBOT head turns them into scores. {words} The
            same is done at every masked place: the mean is taken over an image's masked places, then over
            all images, those without a mask included.""",
    )


def join_masked(canvas: Canvas, places: Sequence[Box], x: float, y: float, role: str) -> None:
    """Gather the tokens at masked places and lead them on."""
    ends = [place.bottom for place in places]
    for end in ends:
        canvas.line([end, (end[0], y)], role)
    canvas.line([(ends[0][0], y), (ends[-1][0], y)], role)
    canvas.arrow([(x, y), (x, y + 20)], role)


def draw_networks(canvas: Canvas, y: float) -> float:
    """Draw the student and the teacher side by side, with arrows in and out; return where they end."""
    for x, role in ((STUDENT, "student"), (TEACHER, "teacher")):
        canvas.arrow([(x, y), (x, y + 22)], role)
        box = network(canvas, Box(x - 70, y + 22, 140, 40), role, role)
        canvas.arrow([box.bottom, (x, y + 84)], role)
    return y + 86


def draw_comparison(canvas: Canvas, y: float, name: str) -> float:
    """Draw how scores become probabilities on either side and meet in a loss; return the lowest y."""
    sides = (
        (STUDENT, "student", "÷ 0.1\nsoftmax", ANSWER, "the student's answer"),
        (TEACHER, "teacher", "subtract the centre\n÷ 0.04 to 0.07\nsoftmax", TARGET, "the teacher's target"),
    )
    for x, role, operation, heights, words in sides:
        canvas.arrow([(x, y), (x, y + 18)], role)
        bars(canvas, Box(x - 50, y + 20, 100, 34), LOGITS, role)
        canvas.arrow([(x, y + 56), (x, y + 74)], role)
        layer(canvas, Box(x - 74, y + 74, 148, 58), operation, role)
        canvas.arrow([(x, y + 132), (x, y + 150)], role)
        bars(canvas, Box(x - 50, y + 152, 100, 40), heights, role)
        canvas.text((x, y + 204), words, size=SMALL)
    y += 16
    canvas.text((180, y + 22), "scores", size=SMALL)
    end = loss(canvas, Box(104, y + 226, 152, 40), name)
    canvas.arrow([(STUDENT + 20, y + 200), (STUDENT + 20, y + 213), (150, y + 213), (150, end.y)], "student")
    canvas.arrow([(TEACHER - 20, y + 200), (TEACHER - 20, y + 213), (210, y + 213), (210, end.y)], "teacher")
    no_gradient(canvas, (228, y + 213), upright=False)
    canvas.text((270, y + 246), "no gradient\nthis way", size=SMALL, anchor="start")
    canvas.arrow([(104, y + 246), (8, y + 246), (8, y - 30), (20, y - 30)], dash="5 4")
    canvas.text((14, y + 260), "gradient", size=SMALL, anchor="start")
    canvas.text((180, y + 284), "cross-entropy  − Σ target · log(answer)", size=SMALL)
    return y + 294


def tell_comparison(name: str) -> str:
    """Say in words what `draw_comparison` shows."""
    return (
        "The student's scores are divided by its temperature, 0.1, and go through a softmax: a rather flat "
        "distribution. From the teacher's scores the centre is subtracted, they are divided by a smaller "
        "temperature, 0.04 to 0.07, and go through a softmax: a sharp distribution, the target. Both meet in "
        f"the {name} loss, the cross-entropy: minus the sum of target times logarithm of the answer. A "
        "dashed arrow carries the gradient back into the student; the teacher's arrow is crossed by two "
        "strokes: no gradient flows that way."
    )
