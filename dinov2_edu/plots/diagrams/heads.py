"""Diagrams of chapter 04: the DINO head on class tokens, the iBOT head on masked patch tokens."""

from dinov2_edu.plots.parts import bars, heading, legend, token, token_row
from dinov2_edu.plots.svg import SMALL, Box, Canvas, Diagram, number

SCORES = (0.2, 0.35, 0.15, 0.5, 0.25, 0.9, 0.3, 0.2, 0.45, 0.15, 0.6, 0.25, 0.1, 0.35, 0.2)
"""Heights of the bars that stand for one token's scores."""

LAYERS_IN_WORDS = (
    "From top to bottom: width 384; a linear layer and GELU to 2048; a linear layer and GELU to 2048 again; a linear "
    "layer down to the bottleneck of 256; the vector is scaled to length 1; then it is compared with each of 65,536 "
    "prototypes, which are directions of length 1 in the bottleneck's space. What comes out is 65,536 scores, the "
    "logits, drawn as bars."
)


def diagram_dino_head() -> Diagram:
    """Draw the head that turns a class token into scores for the prototypes, with every width."""
    canvas = Canvas()
    heading(canvas, 12, "a class token")
    token(canvas, Box(163, 24, 34, 34), "cls", "cls")
    canvas.arrow([(180, 58), (180, 74)])
    bottom = draw_layers(canvas, 76, "cls")
    return canvas.finish(
        "dino-head",
        bottom,
        title="The DINO head",
        alt=f"A class token, a purple circle, enters an hourglass. {LAYERS_IN_WORDS}",
    )


def diagram_ibot_head() -> Diagram:
    """Draw the same head on patch tokens: only those at masked places enter it."""
    canvas = Canvas()
    heading(canvas, 12, "the tokens of a masked crop")
    kinds = ["cls", "patch", "mask", "mask", "patch", "mask", "patch", "patch"]
    row = token_row(canvas, 58, 26, kinds, size=26, gap=5)
    masked = [place for place, kind in zip(row, kinds, strict=True) if kind == "mask"]
    for place in masked:
        canvas.line([place.bottom, (place.centre[0], 66)])
    canvas.line([(masked[0].centre[0], 66), (masked[-1].centre[0], 66)])
    canvas.arrow([(180, 66), (180, 92)])
    canvas.text((190, 79), "only masked places", size=SMALL, anchor="start")
    bottom = draw_layers(canvas, 94, "patch")
    legend(canvas, bottom + 14, [("cls", "class"), ("patch", "patch"), ("mask", "masked place")], x=46)
    return canvas.finish(
        "ibot-head",
        bottom + 32,
        title="The iBOT head",
        alt=f"""A row of tokens: a class token, patch tokens, and three tokens at masked places, hatched.
            Only those at masked places are gathered and enter an hourglass like the DINO head's, each by
            itself. {LAYERS_IN_WORDS} The class token and the other patches do not enter. Its weights are its own, or,
            with a shared head, those of the DINO head.""",
    )


def draw_layers(canvas: Canvas, y: float, role: str) -> float:
    """Draw the hourglass of a head from height `y`: a bar a width, layers between; return the lowest y."""
    steps = [
        ("384", 108, "linear, GELU"),
        ("2048", 208, "linear, GELU"),
        ("2048", 208, "linear"),
        ("256: the bottleneck", 170, "scale to length 1"),
        ("256", 170, "compare with each prototype"),
        ("65,536 scores", 316, ""),
    ]
    for i, (size, wide, operation) in enumerate(steps):
        bar = Box(180 - wide / 2, y + 62 * i, wide, 25)
        if operation:
            lower = steps[i + 1][1] / 2
            corners = f"L{number(180 + lower)} {bar.y + 62} L{number(180 - lower)} {bar.y + 62} Z"
            canvas.path(
                f"M{bar.x} {bar.y + 25} L{bar.x + wide} {bar.y + 25} {corners}", role, tint=0.1, line=0
            )
            canvas.text((180, bar.y + 43.5), operation, size=SMALL)
        canvas.rect(bar, role, tint=0.28, corner=3)
        canvas.text(bar.centre, size, bold=True)
    lowest = y + 62 * (len(steps) - 1) + 25
    bars(canvas, Box(22, lowest + 6, 316, 40), SCORES * 2, role)
    canvas.text((180, lowest + 60), "one score a prototype: the logits", size=SMALL)
    return lowest + 74
