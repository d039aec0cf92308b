"""Diagrams of chapter 03: from image to tokens, and what happens inside a block."""
# ruff: noqa: RUF001 -- the multiplication and minus signs belong in shapes and formulas.

from dinov2_edu.plots.parts import heading, layer, patch_grid, photo, token, token_row
from dinov2_edu.plots.svg import SMALL, Box, Canvas, Diagram, Point

SQUARE = Box(30, 0, 80, 80)
"""The square part of the scene that the backbone is shown."""

SAMPLES = ((0, 12), (5, 5), (8, 12), (8, 9), (12, 6), (15, 15))
"""Row and column of the patches that are drawn one by one."""

COLUMN, SHAPES = 130, 226
"""Middle of the column of a block's operations, and where the shapes beside it begin."""


def diagram_patches() -> Diagram:
    """Draw an image becoming patches and then tokens, with every shape."""
    canvas = Canvas()
    draw_cutting(canvas)
    canvas.arrow([(180, 256), (180, 278)])
    layer(canvas, Box(80, 280, 200, 30), "linear: 588 → 384")
    canvas.arrow([(180, 310), (180, 332)])
    draw_joining(canvas)
    canvas.text((180, 542), "t × d = 257 × 384    (t = 1 + 256)", size=SMALL)
    canvas.arrow([(180, 556), (180, 578)])
    layer(canvas, Box(80, 580, 200, 30), "the blocks")
    return canvas.finish(
        "patches",
        618,
        title="From an image to patches to tokens",
        alt="""From top to bottom. An image of 3 by 224 by 224 numbers is cut into 16 by 16 squares, 256
            patches of 3 by 14 by 14, which is 588 numbers each. One linear layer turns every patch's 588
            numbers into 384: 256 patch tokens, drawn as green squares. The class token, a purple circle, is
            put in front. A learned position vector is added to each of them. The result, 257 tokens of
            width 384, goes into the blocks.""",
    )


def draw_cutting(canvas: Canvas) -> None:
    """Draw the image, some of its patches in a row with dots before the last, and their shape."""
    heading(canvas, 12, "image: 3 × 224 × 224")
    patch_grid(canvas, Box(110, 26, 140, 140), 16, view=SQUARE)
    canvas.arrow([(180, 170), (180, 194)])
    canvas.text((192, 182), "cut into 16 × 16 squares", size=SMALL, anchor="start")
    side = SQUARE.width / 16
    for i, (row, column) in enumerate(SAMPLES):
        x = 56 + 38 * i + (28 if i == len(SAMPLES) - 1 else 0)
        view = Box(SQUARE.x + column * side, SQUARE.y + row * side, side, side)
        canvas.rect(photo(canvas, Box(x, 198, 32, 32), view), "patch", tint=0, corner=0)
    canvas.text((256, 214), "…", size=16)
    canvas.text((180, 244), "256 patches of 3 × 14 × 14 = 588 numbers", size=SMALL)


def draw_joining(canvas: Canvas) -> None:
    """Draw the patch tokens, then the class token and the positions that join them."""
    draw_tokens(canvas, 336, ["patch"] * 7)
    canvas.text((180, 372), "256 × 384: patch tokens", size=SMALL)
    canvas.arrow([(180, 386), (180, 410)])
    canvas.text((192, 397), "class token in front", size=SMALL, anchor="start")
    draw_tokens(canvas, 414, ["cls", *["patch"] * 6])
    canvas.line([(180, 440), (180, 455)])
    draw_sum(canvas, (180, 466))
    canvas.text((200, 466), "position: learned,\none vector a place", size=SMALL, anchor="start")
    canvas.arrow([(180, 476), (180, 502)])
    draw_tokens(canvas, 506, ["cls", *["patch"] * 6])


def draw_tokens(canvas: Canvas, y: float, kinds: list[str]) -> None:
    """Draw the first tokens, some dots and a last patch token, in a row across the middle."""
    row = token_row(canvas, 50, y, kinds, size=26, gap=5)
    x = row[-1].x + 31
    canvas.text((x + 10, y + 13), "…", size=16)
    token(canvas, Box(x + 24, y, 26, 26), "patch")


def draw_sum(canvas: Canvas, at: Point) -> None:
    """Draw a plus in a circle."""
    canvas.circle(at, 10, tint=0.06)
    canvas.text(at, "+", size=16, bold=True)


def diagram_block() -> Diagram:
    """Draw the inside of a block: attention and MLP, each with its residual path, and every shape."""
    canvas = Canvas()
    tokens, wide = "257 × 384", "257 × 1536"
    attention = [
        ("LayerNorm", tokens),
        ("query, key, value", f"3 × {tokens}"),
        ("split into 6 heads", "3 × 6 × 257 × 64"),
        ("softmax( q kᵀ / √64 )", "6 × 257 × 257"),
        ("times v, join heads", tokens),
        ("linear", tokens),
        ("LayerScale, drop path", tokens),
    ]
    mlp = [
        ("LayerNorm", tokens),
        ("linear", wide),
        ("GELU", wide),
        ("linear", tokens),
        ("LayerScale, drop path", tokens),
    ]
    heading(canvas, 12, "tokens", x=COLUMN)
    heading(canvas, 12, "shape", x=SHAPES + 40)
    token_row(canvas, COLUMN - 70, 26, ["cls", *["patch"] * 5], size=20)
    canvas.text((SHAPES, 36), tokens, size=SMALL, anchor="start")
    middle = residual_part(canvas, 48, "attention", attention, tokens)
    end = residual_part(canvas, middle, "MLP", mlp, tokens)
    canvas.arrow([(COLUMN, end), (COLUMN, end + 14)])
    token_row(canvas, COLUMN - 70, end + 16, ["cls", *["patch"] * 5], size=20)
    canvas.text((SHAPES, end + 26), tokens, size=SMALL, anchor="start")
    return canvas.finish(
        "block",
        end + 44,
        title="Inside a transformer block",
        alt="""A column of operations from top to bottom, with the shape after each on the right. Tokens
            come in as 257 by 384. Attention: LayerNorm; a linear layer makes queries, keys and values,
            three times 257 by 384; they are split into 6 heads of width 64; softmax of q k transposed over
            the square root of 64 gives 6 tables of 257 by 257; these weigh the values and the heads are
            joined; a linear layer; LayerScale and drop path. A line on the left carries the input around
            all this, and the two are added. The MLP: LayerNorm; a linear layer to 1536; GELU; a linear
            layer back to 384; LayerScale and drop path; again a line around it, and a sum. What comes out
            has the shape of what came in.""",
    )


def residual_part(canvas: Canvas, y: float, name: str, layers: list[tuple[str, str]], shape: str) -> float:
    """Draw layers below each other from height `y`, the path around them and the sum; return the lowest y."""
    top, pitch = y, 44
    lowest = y + pitch * len(layers)
    canvas.rect(Box(COLUMN - 86, y + 11, 172, lowest - y + 2), tint=0.05, line=0)
    for words, after in layers:
        canvas.arrow([(COLUMN, y), (COLUMN, y + 17)])
        box = layer(canvas, Box(COLUMN - 78, y + 17, 156, 27), words)
        canvas.text((SHAPES, box.centre[1]), after, size=SMALL, anchor="start")
        y += pitch
    canvas.line([(COLUMN, y), (COLUMN, y + 18)])
    canvas.arrow([(COLUMN, top + 5), (COLUMN - 98, top + 5), (COLUMN - 98, y + 28), (COLUMN - 10, y + 28)])
    draw_sum(canvas, (COLUMN, y + 28))
    canvas.text((SHAPES, y + 28), shape, size=SMALL, anchor="start")
    with canvas.inside(f'<g transform="rotate(-90 {COLUMN - 108} {(top + y) / 2 + 14})">', "</g>"):
        canvas.text((COLUMN - 108, (top + y) / 2 + 14), name, bold=True)
    return y + 38
