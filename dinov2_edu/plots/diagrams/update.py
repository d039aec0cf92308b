"""Diagram of chapter 06: how both networks are updated."""
# ruff: noqa: RUF001 -- the minus sign belongs in formulas.

from dinov2_edu.plots.parts import layer, loss, network
from dinov2_edu.plots.svg import SMALL, Box, Canvas, Diagram


def diagram_update() -> Diagram:
    """Draw how the student learns by AdamW and the teacher follows as a moving average."""
    canvas = Canvas()
    canvas.text((180, 12), "two paths, every step", bold=True)
    loss(canvas, Box(34, 34, 112, 36), "the loss")
    canvas.arrow([(90, 70), (90, 104)], dash="5 4")
    canvas.text((100, 87), "gradient", size=SMALL, anchor="start")
    layer(canvas, Box(20, 106, 140, 58), "AdamW, gradient\nclipped at 3")
    canvas.arrow([(90, 164), (90, 190)], "student")
    student = network(canvas, Box(20, 192, 140, 52), "student", "student", "learns")
    teacher = network(canvas, Box(200, 192, 140, 52), "teacher", "teacher", "follows")
    canvas.line([(270, 70), (270, 104)], dash="5 4")
    canvas.text((270, 52), "the loss", size=SMALL)
    canvas.line([(260, 94), (280, 114)], width=2.2)
    canvas.line([(260, 114), (280, 94)], width=2.2)
    canvas.text((270, 136), "no gradient, no\noptimiser", size=SMALL)
    canvas.line([student.bottom, (90, 276)], "student", dash="2 4", width=2)
    layer(canvas, Box(20, 278, 320, 54), "teacher ← m · teacher + (1 − m) · student", "teacher")
    canvas.arrow([(270, 278), teacher.bottom], "teacher", dash="2 4", width=2)
    words = "m = 0.994: each step moves the teacher\n6 thousandths of the way to the student"
    canvas.text((180, 352), words, size=SMALL)
    canvas.text((180, 392), "m rises to 1 on a cosine: at the end the\nteacher stands still", size=SMALL)
    return canvas.finish(
        "update",
        416,
        title="How the two networks are updated",
        alt="""Two columns. On the left the loss sends its gradient, a dashed arrow, to AdamW, which clips
            it at 3 and changes the student. On the right the path from the loss to the teacher is crossed
            out: no gradient, no optimiser. Instead a dotted arrow leads from the student, through a box
            that reads: teacher becomes m times teacher plus 1 minus m times student, up to the teacher.
            With m at 0.994 each step moves the teacher 6 thousandths of the way to the student. The
            momentum m rises to 1 on a cosine, so that at the end the teacher stands still.""",
    )
