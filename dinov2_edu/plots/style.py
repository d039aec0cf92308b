"""The look of every matplotlib figure, and how a notebook shows it.

A figure is 5 inches wide with no letter under 10 points: on a phone, where those 5 inches shrink to 330
pixels, the letters are still more than 9 pixels high. It is shown 560 pixels wide on a larger screen, from up
to twice as many pixels. Photos are sent as JPEG and charts as PNG of 128 colours, which keeps pages light.
"""

import base64
import io
import json
from collections.abc import Callable, Iterable
from functools import wraps
from itertools import cycle
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.transforms import Bbox
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dinov2_edu.checks import check_above_zero, check_at_least, checked, describe, require
from dinov2_edu.palette import CARD, CYCLE, INK, PALETTE, role_colour
from dinov2_edu.pictures import read_rgb

WIDTH = 5.0
"""Inches; every figure of the book has this width."""

SHOWN_WIDTH = 560
"""CSS pixels a notebook or page gives a figure, where there is room."""

CHART_DPI = 2 * SHOWN_WIDTH / WIDTH
PHOTO_DPI = 1.5 * SHOWN_WIDTH / WIDTH

STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "figure.facecolor": CARD,
    "savefig.facecolor": CARD,
    "axes.facecolor": CARD,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dcdedf",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "axes.prop_cycle": cycler(color=CYCLE),
    "figure.constrained_layout.use": True,
    "figure.figsize": (WIDTH, 3.2),
    "figure.dpi": SHOWN_WIDTH / WIDTH,
    "savefig.dpi": CHART_DPI,
}

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Numbers = Any  # an array, a list or a CPU tensor of numbers
Series = Any  # y values (Numbers), or a pair (x, y) of them


class Figure(MatplotlibFigure):
    """A matplotlib figure that a notebook shows once, at the book's width, without pyplot."""

    photo = False

    def encoded(self) -> tuple[str, bytes]:
        """Draw the figure: the MIME type (JPEG if it holds photos, else PNG) and the file's bytes.

        The file says where pictures lie in it, so that a dark page can turn the ink around them: the PNG's text
        `pictures` or the JPEG's comment is a JSON list of [left, top, right, bottom], in pixels.
        """
        drawn, file = io.BytesIO(), io.BytesIO()
        with mpl.rc_context(STYLE):
            self.savefig(drawn, format="png", dpi=PHOTO_DPI if self.photo else CHART_DPI)
        pixels = Image.fromarray(read_rgb(drawn))
        places = json.dumps(self._picture_places(*pixels.size))
        if self.photo:
            pixels.save(file, "jpeg", quality=86, optimize=True, comment=places)
            return "image/jpeg", file.getvalue()
        said = PngInfo()
        said.add_text("pictures", places)
        pixels.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            file, "png", optimize=True, pnginfo=said
        )
        return "image/png", file.getvalue()

    def _picture_places(self, width: int, height: int) -> list[list[int]]:
        """Where photos, heat maps and colour bars lie in the drawn figure of that many pixels, edges left out."""
        scale = np.array([width, height, width, height]) / [*self.bbox.size, *self.bbox.size]
        places = []
        for axes in self.axes:
            for one in (*axes.images, *(mesh for mesh in axes.collections if isinstance(mesh, QuadMesh))):
                seen = Bbox.intersection(one.get_window_extent(), axes.bbox)
                if seen is None or not one.get_visible() or not axes.get_visible():
                    continue
                left, below, right, above = seen.extents * scale
                corners = np.ceil([left, height - above]), np.floor([right, height - below])
                places.append([int(edge) for edge in np.concatenate(corners)])
        return places

    def publish(self, display_id: str | None = None, *, update: bool = False) -> None:
        """Show the figure in a notebook: as an output of its own, or in the place of the one with that `display_id`."""
        from IPython.display import display

        mime, data = self.encoded()
        bundle = {mime: base64.b64encode(data).decode(), "text/plain": repr(self)}
        metadata = {mime: {"width": SHOWN_WIDTH}}
        display(bundle, metadata=metadata, raw=True, display_id=display_id, update=update)

    def _ipython_display_(self) -> None:
        self.publish()


def use() -> None:
    """Give the reader's own matplotlib drawings in this session the look of the book."""
    mpl.rcParams.update(STYLE)


def styled(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Hold a function to its annotations, and make it draw in the book's style without a change to matplotlib's own."""

    @checked
    @wraps(draw)
    def in_style(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return in_style


@styled
def figure(
    height: float = 3.2, *, photo: bool = False, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Begin a figure of the book's width with a grid of axes.

    Args:
        height: in inches (the width is always 5).
        photo: whether it holds photos, which are sent as JPEG.
        rows, columns: of the grid of axes.
        options: passed to `Figure.subplots`, such as `sharex=True` or `height_ratios=...`.

    Returns:
        The figure and its axes, an array of shape (rows, columns).
    """
    check_above_zero(height=height)
    check_at_least(1, rows=rows, columns=columns)
    drawing = Figure(figsize=(WIDTH, height))
    drawing.photo = photo
    return drawing, drawing.subplots(rows, columns, squeeze=False, **options)


def bare(axes: Axes) -> Axes:
    """Take ticks, frame and grid away, for a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(False)
    return axes


def hide_unused(axes: Iterable[Axes], used: int) -> list[Axes]:
    """Hide the axes of a grid after the first `used` ones; return those that stay."""
    axes = list(axes)
    for extra in axes[used:]:
        extra.set_visible(False)
    return axes[:used]


DASHES = (
    "-",
    (0, (6, 1.5)),
    (0, (3, 1.5)),
    (0, (1, 1)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (6, 1.5, 1, 1.5, 1, 1.5)),
)


def draw_series(axes: Axes, series: dict[str, Series]) -> None:
    """Draw named lines, each with its own dash and the colour of the role in its name, or a free one."""
    free = cycle(CYCLE)
    for (name, values), dash in zip(series.items(), cycle(DASHES), strict=False):
        x, y = split_series(values)
        marker = "o" if len(x) < 12 else ""
        axes.plot(
            x,
            y,
            label=name,
            color=role_colour(name) or next(free),
            linestyle=dash,
            marker=marker,
            markersize=4,
        )


def as_numbers(values: Numbers, name: str) -> np.ndarray:
    """Turn an array, a list or a CPU tensor of numbers into float64.

    Raises:
        ValueError: not numbers, or rows of different lengths.
    """
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: wanted an array of numbers, got {describe(values)}") from error


def split_series(values: Series) -> tuple[np.ndarray, np.ndarray]:
    """Turn y values or a pair (x, y) into the two arrays; x counts from 0 where it is not given.

    Raises:
        ValueError: x and y differ in length, or there is nothing to draw.
    """
    pair = isinstance(values, tuple) and len(values) == 2 and np.ndim(values[0]) == 1
    y = as_numbers(values[1] if pair else values, "a series")
    x = as_numbers(values[0], "a series") if pair else np.arange(len(np.atleast_1d(y)))
    fits = y.ndim == x.ndim == 1 and len(x) == len(y) > 0
    require(fits, f"a series needs as many x as y values, and at least one: got {x.shape} and {y.shape}")
    return x, y


def draw_levels(axes: Axes, levels: dict[str, float] | None, *, below: bool = False) -> None:
    """Draw horizontal dashed lines with their names at the right end, above them or below."""
    offset, side = (-2, "top") if below else (2, "bottom")
    for name, level in (levels or {}).items():
        axes.axhline(level, color=PALETTE["muted"], linestyle=(0, (4, 3)), linewidth=1.2)
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(name, (1, level), (0, offset), ha="right", va=side, fontsize=10.5, **place)
