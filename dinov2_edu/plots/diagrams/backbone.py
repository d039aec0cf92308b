"""Diagrams of chapter 03: from image to tokens, and what happens inside a block."""
# ruff: noqa: RUF001 -- the multiplication and minus signs belong in shapes and formulas.

from dinov2_edu.plots.parts import heading, layer, patch_grid, photo, token, token_row
from dinov2_edu.plots.svg import SMALL, Box, Canvas, Diagram, Point

SQUARE = Box(30, 0, 80, 80)
"""The square part of the scene that the backbone is shown."""

SAMPLES = ((0.02, 0.8), (0.35, 0.35), (0.55, 0.75), (0.52, 0.62), (0.78, 0.4), (0.97, 0.97))
"""Where the patches that are drawn one by one lie in the image: shares of its height and width."""

COLUMN, SHAPES = 130, 226
"""Middle of the column of a block's operations, and where the shapes beside it begin."""


def diagram_patches(
    img_size: int = 224, patch_size: int = 14, width: int = 384, n_registers: int = 0
) -> Diagram:
    """Draw an image becoming patches and then tokens, with every shape.

    Raises:
        ValueError: the image cannot be cut into whole patches.
    """
    if img_size % patch_size:
        raise ValueError(f"an image of {img_size} pixels cannot be cut into patches of {patch_size}")
    grid = img_size // patch_size
    n = grid * grid
    numbers = 3 * patch_size**2
    canvas = Canvas()
    draw_cutting(canvas, img_size, patch_size)
    canvas.arrow([(180, 256), (180, 278)])
    layer(canvas, Box(80, 280, 200, 30), f"linear: {numbers} → {width}")
    canvas.arrow([(180, 310), (180, 332)])
    t = 1 + n_registers + n
    draw_joining(canvas, f"{n} × {width}: patch tokens", n_registers)
    parts = f"1 + {n_registers} + {n}" if n_registers else f"1 + {n}"
    canvas.text((180, 542), f"t × d = {t} × {width}    (t = {parts})", size=SMALL)
    canvas.arrow([(180, 556), (180, 578)])
    layer(canvas, Box(80, 580, 200, 30), "the blocks")
    registers = f"Then {n_registers} registers, hexagons, join after the class token, without a position."
    registers = registers if n_registers else ""
    return canvas.finish(
        "patches",
        618,
        title="From an image to patches to tokens",
        alt=f"""From top to bottom. An image of 3 by {img_size} by {img_size} numbers is cut into {grid} by
            {grid} squares, {n} patches of 3 by {patch_size} by {patch_size}, which is {numbers} numbers
            each. One linear layer turns every patch's {numbers} numbers into {width}: {n} patch tokens,
            drawn as green squares. The class token, a purple circle, is put in front. A learned position
            vector is added to each of them. {registers} The result, {t} tokens of width {width}, goes into
            the blocks.""",
    )


def draw_cutting(canvas: Canvas, img_size: int, patch_size: int) -> None:
    """Draw the image, some of its patches in a row with dots before the last, and their shape."""
    grid = img_size // patch_size
    heading(canvas, 12, f"image: 3 × {img_size} × {img_size}")
    patch_grid(canvas, Box(110, 26, 140, 140), grid, view=SQUARE)
    canvas.arrow([(180, 170), (180, 194)])
    canvas.text((192, 182), f"cut into {grid} × {grid} squares", size=SMALL, anchor="start")
    side = SQUARE.width / grid
    for i, (down, across) in enumerate(SAMPLES):
        x = 56 + 38 * i + (28 if i == len(SAMPLES) - 1 else 0)
        view = Box(SQUARE.x + int(across * grid) * side, SQUARE.y + int(down * grid) * side, side, side)
        canvas.rect(photo(canvas, Box(x, 198, 32, 32), view), "patch", tint=0, corner=0)
    canvas.text((256, 214), "…", size=16)
    shape = f"3 × {patch_size} × {patch_size} = {3 * patch_size**2} numbers"
    canvas.text((180, 244), f"{grid * grid} patches of {shape}", size=SMALL)


def draw_joining(canvas: Canvas, shape: str, n_registers: int) -> None:
    """Draw the patch tokens, then the class token, positions and registers that join them."""
    draw_tokens(canvas, 336, ["patch"] * 7)
    canvas.text((180, 372), shape, size=SMALL)
    canvas.arrow([(180, 386), (180, 410)])
    canvas.text((192, 397), "class token in front", size=SMALL, anchor="start")
    draw_tokens(canvas, 414, ["cls", *["patch"] * 6])
    canvas.line([(180, 440), (180, 455)])
    draw_sum(canvas, (180, 466))
    canvas.text((200, 466), "position: learned,\none vector a place", size=SMALL, anchor="start")
    canvas.arrow([(180, 476), (180, 502)])
    if n_registers:
        canvas.text((20, 486), f"{n_registers} registers join,\nwithout position", size=SMALL, anchor="start")
    front = ["cls", *["register"] * min(n_registers, 4)]
    draw_tokens(canvas, 506, [*front, *["patch"] * (7 - len(front))])


def draw_tokens(canvas: Canvas, y: float, kinds: list[str]) -> None:
    """Draw the first tokens, some dots and a last patch token, in a row across the middle."""
    names = ["cls" if kind == "cls" else "r" if kind == "register" else "" for kind in kinds]
    row = token_row(canvas, 50, y, kinds, size=26, gap=5, names=names)
    x = row[-1].x + 31
    canvas.text((x + 10, y + 13), "…", size=16)
    token(canvas, Box(x + 24, y, 26, 26), "patch")


def draw_sum(canvas: Canvas, at: Point) -> None:
    """Draw a plus in a circle."""
    canvas.circle(at, 10, tint=0.06)
    canvas.text(at, "+", size=16, bold=True)


def diagram_block(width: int = 384, heads: int = 6, n_tokens: int = 257, mlp_ratio: float = 4) -> Diagram:
    """Draw the inside of a block: attention and MLP, each with its residual path, and every shape.

    Raises:
        ValueError: the width cannot be shared out among the heads.
    """
    if width % heads:
        raise ValueError(f"a width of {width} cannot be shared out among {heads} heads")
    canvas = Canvas()
    hidden, head_width = round(width * mlp_ratio), width // heads
    tokens, wide = f"{n_tokens} × {width}", f"{n_tokens} × {hidden}"
    attention = [
        ("LayerNorm", tokens),
        ("query, key, value", f"3 × {tokens}"),
        (f"split into {heads} heads", f"3 × {heads} × {n_tokens} × {head_width}"),
        (f"softmax( q kᵀ / √{head_width} )", f"{heads} × {n_tokens} × {n_tokens}"),
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
        alt=f"""A column of operations from top to bottom, with the shape after each on the right. Tokens
            come in as {n_tokens} by {width}. Attention: LayerNorm; a linear layer makes queries, keys and
            values, three times {n_tokens} by {width}; they are split into {heads} heads of width
            {head_width}; softmax of q k transposed over the square root of {head_width} gives {heads}
            tables of {n_tokens} by {n_tokens}; these weigh the values and the heads are joined; a linear
            layer; LayerScale and drop path. A line on the left carries the input around all this, and the
            two are added. The MLP: LayerNorm; a linear layer to {hidden}; GELU; a linear layer back to
            {width}; LayerScale and drop path; again a line around it, and a sum. What comes out has the
            shape of what came in.""",
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
