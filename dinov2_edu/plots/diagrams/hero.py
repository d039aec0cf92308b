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
    """Draw one photo, two networks and one loss, to be seen 360 to 800 pixels wide."""
    canvas = Canvas(width=480)
    size = 17.5
    stage = photo(canvas, Box(8, 106, 150, 100))
    for crop in LOCAL_CROPS:
        crop_outline(canvas, crop, "", "local_crop", inside=stage)
    crop_outline(canvas, GLOBAL_CROPS[0], "", "global_crop", inside=stage)
    rows = (
        ("student", 56, 102, MASKED, "guesses the gaps"),
        ("teacher", 256, 210, (), "sees everything"),
    )
    for role, y, start, masked, note in rows:
        grid = patch_grid(canvas, Box(182, y - 44, 88, 88), 8, masked, view=GLOBAL_CROPS[0])
        canvas.arrow([(83, start), (83, y), grid.left], role)
        box = network(canvas, Box(296, y - 34, 174, 68), role, role, note, size=size)
        canvas.arrow([grid.right, box.left], role)
    meet = loss(canvas, Box(366, 135, 88, 42), "agree?", size=size)
    canvas.arrow([(410, 90), meet.top], "student")
    canvas.arrow([(410, 222), meet.bottom], "teacher")
    no_gradient(canvas, (410, 206))
    canvas.arrow([(322, 90), (322, 222)], "teacher", dash="2 4", width=2.4)
    canvas.text((310, 156), "follows as a\nmoving average", size=size, anchor="end")
    return canvas.finish(
        "hero",
        312,
        title="DINOv2 in one picture",
        alt="""A photo of a cat, with overlapping boxes that mark crops of it. A masked crop, some of its
            patches hidden behind hatched squares, goes to the student, which guesses the gaps. The same
            crop, whole, goes to the teacher, which sees everything. A loss asks whether the two agree; no
            gradient flows to the teacher. A dotted arrow from the student to the teacher: the teacher
            follows the student as a moving average.""",
    )
