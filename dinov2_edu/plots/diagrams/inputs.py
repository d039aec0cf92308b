"""Diagrams of chapters 01 and 02: the crops of an image, who sees which, and masks."""
# ruff: noqa: RUF001 -- the multiplication and minus signs belong in shapes and formulas.

from dinov2_edu.plots.parts import (
    GLOBAL_CROPS,
    LOCAL_CROPS,
    chip,
    chip_row,
    crop_outline,
    heading,
    loss,
    network,
    no_gradient,
    patch_grid,
    photo,
    token_row,
)
from dinov2_edu.plots.svg import SMALL, Box, Canvas, Diagram

MASKED = ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 5), (4, 6), (4, 7), (5, 5), (5, 6), (5, 7))
"""Two blocks of masked patches (row, column) on an 8 x 8 grid."""


LOCAL_NAMES = [f"L{i + 1}" for i in range(len(LOCAL_CROPS))]


def diagram_crops() -> Diagram:
    """Draw one photo, the boxes cut from it, and the 2 global and 8 local crops, sizes to scale."""
    canvas = Canvas()
    heading(canvas, 12, "one photo and the boxes cut from it")
    stage = photo(canvas, Box(30, 26, 300, 200))
    for i, crop in enumerate(GLOBAL_CROPS):
        crop_outline(canvas, crop, f"G{i + 1}", "global_crop", inside=stage)
    for name, crop in zip(LOCAL_NAMES, LOCAL_CROPS, strict=True):
        crop_outline(canvas, crop, name, "local_crop", inside=stage)
    canvas.arrow([(180, 232), (180, 254)])
    heading(canvas, 266, "2 global crops")
    canvas.text((180, 284), "32 to 100 % of the area, resized to 224 × 224", size=SMALL)
    for i, crop in enumerate(GLOBAL_CROPS):
        place = photo(canvas, Box(52 + 136 * i, 298, 120, 120), crop)
        canvas.rect(place, "global_crop", tint=0, line=3, corner=2)
        canvas.text((place.centre[0], 430), f"G{i + 1}", size=SMALL, bold=True)
    heading(canvas, 460, "8 local crops")
    canvas.text((180, 478), "5 to 32 % of the area, resized to 98 × 98", size=SMALL)
    side = 120 * 98 / 224
    for i, (name, crop) in enumerate(zip(LOCAL_NAMES, LOCAL_CROPS, strict=True)):
        place = photo(canvas, Box(52 + 67.8 * (i % 4), 492 + 78 * (i // 4), side, side), crop)
        canvas.rect(place, "local_crop", tint=0, line=2, corner=2, dash="5 3")
        canvas.text((place.centre[0], place.y + side + 11), name, size=SMALL, bold=True)
    return canvas.finish(
        "crops",
        648,
        title="One photo becomes 2 global and 8 local crops",
        alt="""A photo of a cat before hills and a tree. Two large boxes with solid outlines, G1 and G2, and
            8 small boxes with dashed outlines, L1 to L8, lie over it and overlap. Below the photo stand the
            two global crops, each covering 32 to 100 percent of the photo's area and resized to 224 by 224
            pixels; below those the 8 local crops, each covering 5 to 32 percent and resized to 98 by 98
            pixels, drawn to the same scale and so less than half as wide. Each crop is stretched to a
            square.""",
    )


def diagram_views() -> Diagram:
    """Draw which view goes to which network, and which pairs of views the DINO loss matches."""
    canvas = Canvas()
    heading(canvas, 12, "every view", x=90)
    chip_row(canvas, 61, 26, ["G1", "G2"])
    chip_row(canvas, 29, 58, LOCAL_NAMES[:4])
    chip_row(canvas, 29, 90, LOCAL_NAMES[4:])
    heading(canvas, 12, "global views only", x=270)
    chip_row(canvas, 241, 26, ["G1", "G2"])
    student = network(canvas, Box(20, 146, 140, 40), "student", "student")
    teacher = network(canvas, Box(200, 146, 140, 40), "teacher", "teacher")
    canvas.arrow([(90, 120), student.top], "student")
    canvas.arrow([(270, 56), teacher.top], "teacher")
    heading(canvas, 216, "which pairs the DINO loss compares")
    canvas.text((62, 236), "what the student saw", size=SMALL, anchor="start")
    canvas.text((52, 263), "teacher", size=SMALL, anchor="end")
    for column, view in enumerate(["G1", "G2", *LOCAL_NAMES]):
        x = 62 + 30 * column
        chip(canvas, Box(x, 249, 26, 26), view)
        draw_pair(canvas, Box(x, 282, 26, 26), matched=column != 0)
        draw_pair(canvas, Box(x, 312, 26, 26), matched=column != 1)
    chip(canvas, Box(26, 282, 26, 26), "G1")
    chip(canvas, Box(26, 312, 26, 26), "G2")
    words = "2 pairs of global views + 2 × 8 pairs with a local view\n= 18 terms; a view is never compared with itself"
    canvas.text((180, 364), words, size=SMALL)
    return canvas.finish(
        "views",
        390,
        title="Which network sees which view, and which pairs are compared",
        alt="""On the left the student receives every view: the global views G1 and G2 and the local views
            L1 to L8. On the right the teacher receives only G1 and G2. Below, a table with one row for each
            of the teacher's two views and one column for each of the student's 10: every cell is marked as
            compared, except where both saw the same view, G1 with G1 and G2 with G2, which are crossed out.
            That makes 2 pairs of global views and 16 pairs with a local view, 18 terms in all.""",
    )


def draw_pair(canvas: Canvas, cell: Box, *, matched: bool) -> None:
    """Draw a cell of the table of pairs: a dot where they are compared, a cross where they are not."""
    canvas.rect(cell, tint=0.12 if matched else 0, line=1, corner=3)
    x, y = cell.centre
    if matched:
        canvas.circle((x, y), 4.5, tint=0.9, line=0)
    else:
        canvas.line([(x - 5, y - 5), (x + 5, y + 5)])
        canvas.line([(x - 5, y + 5), (x + 5, y - 5)])


def diagram_masking() -> Diagram:
    """Draw the same global crop as the student sees it, masked, and as the teacher sees it, whole."""
    canvas = Canvas()
    crop = GLOBAL_CROPS[0]
    heading(canvas, 12, "one global crop, 8 × 8 patches")
    whole = patch_grid(canvas, Box(120, 26, 120, 120), 8, view=crop)
    canvas.arrow([(112, whole.centre[1]), (86, whole.centre[1]), (86, 178)], "student")
    canvas.arrow([(248, whole.centre[1]), (274, whole.centre[1]), (274, 178)], "teacher")
    canvas.text((80, 108), "10 to 50 %\nmasked, in\nhalf of all", size=SMALL, anchor="end")
    canvas.text((280, 108), "always\nwhole", size=SMALL, anchor="start")
    patch_grid(canvas, Box(18, 180, 136, 136), 8, MASKED, view=crop)
    patch_grid(canvas, Box(206, 180, 136, 136), 8, view=crop)
    student = network(canvas, Box(18, 340, 136, 44), "student", "student", "guesses the gaps")
    teacher = network(canvas, Box(206, 340, 136, 44), "teacher", "teacher", "sees them")
    canvas.arrow([(86, 316), student.top], "student")
    canvas.arrow([(274, 316), teacher.top], "teacher")
    canvas.arrow([student.bottom, (86, 408)], "student")
    canvas.arrow([teacher.bottom, (274, 408)], "teacher")
    guesses = token_row(canvas, 18, 410, ["cls", "patch", "mask", "mask", "patch", "patch"], size=19)
    answers = token_row(canvas, 206, 410, ["cls", *["patch"] * 5], size=19)
    compared = loss(canvas, Box(118, 468, 124, 34), "iBOT loss")
    for place, depth in ((2, 477), (3, 492)):
        down = guesses[place].bottom
        canvas.arrow([down, (down[0], depth), (compared.x, depth)], "student")
        down = answers[place].bottom
        canvas.arrow([down, (down[0], depth), (compared.x + compared.width, depth)], "teacher")
        no_gradient(canvas, (down[0], 448))
    canvas.text((304, 460), "no\ngradient", size=SMALL, anchor="start")
    canvas.text((180, 526), "compared at the masked places only.\nLocal crops are never masked.", size=SMALL)
    return canvas.finish(
        "masking",
        550,
        title="The student sees a masked crop, the teacher the whole one",
        alt="""At the top one global crop, cut into 8 by 8 patches. An arrow to the left leads to
            the student's copy: in half of all global crops 10 to 50 percent of the patches, here two
            blocks, are replaced by the mask token, drawn as hatched grey squares. An arrow to the right
            leads to the teacher's copy, which is always whole. Each network turns its copy into a row of
            tokens, one class token and one token a patch. The tokens at the masked places, the student's
            guess and the teacher's answer, meet in the iBOT loss; no gradient flows to the teacher. Tokens
            at other places are not compared. Local crops are never masked.""",
    )
