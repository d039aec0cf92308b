"""The picture that opens README and book."""

from dinov2_edu.plots.diagrams.inputs import MASKED
from dinov2_edu.plots.parts import (
    GLOBAL_CROPS,
    LOCAL_CROPS,
    crop_outline,
    loss,
    network,
    no_gradient,
    patch_grid,
    photo,
)
from dinov2_edu.plots.svg import Box, Canvas, Diagram


def hero() -> Diagram:
    """Draw one photo, two networks and what is compared, to be seen 360 to 800 pixels wide."""
    canvas = Canvas(width=500)
    size = 18.4
    stage = photo(canvas, Box(8, 106, 150, 100))
    for crop in LOCAL_CROPS:
        crop_outline(canvas, crop, "", "local_crop", inside=stage)
    for crop in GLOBAL_CROPS:
        crop_outline(canvas, crop, "", "global_crop", inside=stage)
    for i, crop in enumerate(LOCAL_CROPS[:4]):
        small = photo(canvas, Box(178 + 31.5 * i, 8, 26, 26), crop)
        canvas.rect(small, "local_crop", tint=0, line=2, corner=2, dash="5 3")
    rows = (
        ("student", 42, 54, 102, MASKED, "parts, gaps"),
        ("teacher", 222, 251, 210, (), "sees it whole"),
    )
    for role, y, middle, start, masked, note in rows:
        for i, crop in enumerate(GLOBAL_CROPS):
            patch_grid(canvas, Box(178 + 63 * i, y, 58, 58), 8, () if i else masked, view=crop)
        canvas.arrow([(83, start), (83, middle), (172, middle)], role)
        box = network(canvas, Box(346, middle - 34, 147, 68), role, role, note, size=size)
        canvas.arrow([(303, middle), box.left], role)
    canvas.line([(207, 103), (207, 219)], "patch", width=2.4)
    canvas.line([(268, 103), (212, 219)], "cls", width=2.4)
    canvas.text((203, 124), "iBOT", size=size, anchor="end")
    canvas.text((262, 124), "DINO", size=size, anchor="start")
    meet = loss(canvas, Box(398, 131, 88, 42), "agree?", size=size)
    canvas.arrow([(442, 88), meet.top], "student")
    canvas.arrow([(442, 217), meet.bottom], "teacher")
    no_gradient(canvas, (442, 200))
    canvas.arrow([(368, 88), (368, 217)], "teacher", dash="2 4", width=2.4)
    canvas.text((360, 174), "follows as\na moving\naverage", size=size, anchor="end")
    return canvas.finish(
        "hero",
        292,
        title="DINOv2 in one picture",
        alt="""A photo of a cat, with two large and eight small boxes that mark crops of it. To the student go
            small crops and the two large ones, one of these with patches hidden behind hatched squares. To
            the teacher go the two large crops, whole. A line between the student's masked crop and the
            teacher's whole one is called iBOT; a line between different crops of the two is called DINO. A
            loss asks whether the networks agree; no gradient flows to the teacher. A dotted arrow from the
            student to the teacher: the teacher follows the student as a moving average.""",
    )
