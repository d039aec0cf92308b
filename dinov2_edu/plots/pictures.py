"""Figures made of photos: grids of images, attention maps, PCA colours.

A picture is whatever `dinov2_edu.pictures.read_rgb` reads (a path, a PIL image, an array or tensor of bytes), or an
array or tensor of floats (0 to 1) of shape (h w), (h w 3) or (3 h w). Normalised images must be denormalised first.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb

from dinov2_edu.checks import check_at_least, require
from dinov2_edu.palette import CARD, INK, PALETTE
from dinov2_edu.pictures import read_rgb
from dinov2_edu.plots.style import WIDTH, Figure, Numbers, as_numbers, bare, figure, hide_unused, styled

Picture = Any  # see above
Pictures = Any  # a sequence of them, or one array with an axis more

ATTENTION_COLOURS = LinearSegmentedColormap.from_list(
    "attention", ["#0c1428", "#45286e", "#a83766", "#ee7f3a", "#fdf2b8"]
)
"""From a dark veil (no attention) to a yellow light (the strongest): the scale of all token grids on the pages, `STOPS`
of `widgets/_tokens.js`."""
DOUBLINGS = (-2, 5)
"""Ends of the scale of attention: a fourth of an even share, and 32 of them."""


def as_picture(picture: Picture) -> np.ndarray:
    """Turn any picture into floats of shape (h w 3), 0 to 1.

    Raises:
        ValueError: the shape is not a picture's, or floats lie outside 0 to 1 (still normalised?).
    """
    pixels = np.asarray(picture) if hasattr(picture, "__array__") else None
    if pixels is None or pixels.dtype in (np.uint8, np.uint16, bool):
        return read_rgb(picture if pixels is None else pixels) / 255
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.size == 0:
        raise ValueError(f"a picture has shape (h w), (h w 3) or (3 h w), got {pixels.shape}")
    scaled = pixels.astype(float)
    if not (scaled.min() >= -1e-3 and scaled.max() <= 1 + 1e-3):
        raise ValueError(
            f"a picture of floats lies in 0 to 1, got {scaled.min():.3g} to {scaled.max():.3g}: "
            "denormalise it first, or pass bytes as uint8"
        )
    return np.broadcast_to(np.clip(scaled, 0, 1), (*scaled.shape[:2], 3))


def show_picture(axes: Axes, picture: Picture, title: str = "") -> np.ndarray:
    """Put a picture into bare axes; few pixels stay visible as squares. Returns the pixels (h w 3)."""
    pixels = as_picture(picture)
    bare(axes).imshow(pixels, interpolation="nearest" if max(pixels.shape) < 100 else "antialiased")
    axes.set_title(title, loc="center", fontsize=10.5)
    return pixels


def frame(axes: Axes, colour: str, width: float = 3) -> None:
    """Frame a picture's axes in a colour."""
    axes.spines[:].set(visible=True, edgecolor=colour, linewidth=width)


def aspect_of(picture: Picture) -> float:
    """Height over width of a picture."""
    height, width = as_picture(picture).shape[:2]
    return height / width


def picture_grid(
    count: int, columns: int, aspect: float, *, title_lines: int = 1
) -> tuple[Figure, list[Axes]]:
    """Begin a figure with `count` equal pictures of this aspect (height over width), `columns` a row.

    Raises:
        ValueError: there is nothing to show.
    """
    require(count >= 1, "wanted at least one picture, got none")
    check_at_least(1, columns=columns)
    rows = ceil(count / columns)
    height = rows * (WIDTH / columns * aspect + 0.19 * title_lines + 0.05)
    drawing, grid = figure(min(height, 14), photo=True, rows=rows, columns=columns)
    return drawing, hide_unused(grid.flat, count)


@styled
def plot_images(
    pictures: Pictures,
    labels: Sequence[str] | None = None,
    *,
    predictions: Sequence[str] | None = None,
    columns: int = 5,
) -> Figure:
    """Show a grid of images with their labels, and, if given, whether the predictions were right.

    Args:
        pictures: all of one size.
        labels: what each shows.
        predictions: what was predicted; a right one is framed green with a tick, a wrong one red with a
            cross, the prediction first and the truth below it.
        columns: pictures in a row.

    Raises:
        ValueError: labels or predictions do not fit the number of pictures.
    """
    for name, words in (("labels", labels), ("predictions", predictions)):
        if words is not None and len(words) != len(pictures):
            raise ValueError(f"{name}: wanted one for each of {len(pictures)} pictures, got {len(words)}")
    if predictions is not None and labels is None:
        raise ValueError("predictions need labels to be compared with")
    lines = (labels is not None) + (predictions is not None)
    check_at_least(1, columns=columns)
    columns = min(columns, max(len(pictures), 1))
    aspect = aspect_of(pictures[0]) if len(pictures) else 1.0
    drawing, grid = picture_grid(len(pictures), columns, aspect, title_lines=lines)
    for i, axes in enumerate(grid):
        show_picture(axes, pictures[i], labels[i] if labels is not None else "")
        if predictions is not None and labels is not None:
            right = predictions[i] == labels[i]
            axes.set_title(
                f"✓ {labels[i]}" if right else f"✗ {predictions[i]}\nis {labels[i]}",
                loc="center",
                fontsize=10.5,
            )
            frame(axes, PALETTE["good" if right else "bad"])
    return drawing


@styled
def plot_attention(
    photo: Picture,
    maps: Numbers,
    *,
    names: Sequence[str] | None = None,
    columns: int = 3,
) -> Figure:
    """Show what each head attends to: the photo, and beside it a map a head, all on one scale that does not move.

    The scale counts in even shares: 1 is what a patch gets where attention goes to all alike. It has a step of colour
    for each doubling, from 1/4 (dark, as everything below) to 32 (pale); the largest of a map stands in its title.

    Args:
        photo: the picture the model saw.
        maps: (h rows cols), attention to each patch; a map need not sum to 1.
        names: a title for each map; by default head 1, head 2, ...
        columns: pictures in a row.

    Raises:
        ValueError: the maps are not (h rows cols), or names do not fit their number.
    """
    maps = as_numbers(maps, "maps")
    if maps.ndim != 3 or len(maps) == 0:
        raise ValueError(
            f"attention maps: wanted (h rows cols), got {maps.shape}: drop prefix tokens, then reshape"
        )
    names = [f"head {i + 1}" for i in range(len(maps))] if names is None else list(names)
    if len(names) != len(maps):
        raise ValueError(f"wanted a name for each of {len(maps)} maps, got {len(names)}")
    drawing, grid = picture_grid(1 + len(maps), columns, aspect_of(photo), title_lines=2)
    pixels = show_picture(grid[0], photo, "the photo")
    height, width = pixels.shape[:2]
    low, high = DOUBLINGS
    for axes, values, name in zip(grid[1:], maps, names, strict=True):
        shares = values / max(np.abs(values).mean(), 1e-30)
        bare(axes).set_title(f"{name}\nup to {shares.max():.1f}", loc="center", fontsize=10.5)
        doublings = np.log2(np.maximum(shares, 2.0**low))
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        image = axes.imshow(doublings, ATTENTION_COLOURS, extent=extent, interpolation="nearest")
        image.set_clim(low, high)
    return drawing


@styled
def plot_pca(photos: Pictures, colours: Sequence[Numbers]) -> Figure:
    """Show photos, up to four a row, each above its patches coloured by their principal components.

    Args:
        photos: m pictures of one shape.
        colours: m arrays (rows cols 3), 0 to 1; a patch of NaN is background and stays blank.

    Raises:
        ValueError: not as many photos as colour arrays.
    """
    if len(photos) != len(colours) or len(photos) == 0:
        raise ValueError(
            f"wanted one (rows cols 3) of colours a photo, got {len(colours)} for {len(photos)} photos"
        )
    colours = [as_numbers(one, "colours") for one in colours]
    for one in colours:
        good = one.ndim == 3 and one.shape[2] == 3
        require(good, f"colours: wanted (rows cols 3) a photo, got {one.shape}")
    columns = min(4, len(photos))
    rows = 2 * ceil(len(photos) / columns)
    height = rows * (WIDTH / columns * aspect_of(photos[0]) + 0.08)
    drawing, grid = figure(height, photo=True, rows=rows, columns=columns)
    for axes in grid.flat:
        bare(axes)
    for i, (photo, components) in enumerate(zip(photos, colours, strict=True)):
        row, column = 2 * (i // columns), i % columns
        height, width = show_picture(grid[row, column], photo).shape[:2]
        shown = np.where(np.isnan(components), to_rgb(CARD), np.clip(components, 0, 1))
        extent = (0, width, height, 0)
        grid[row + 1, column].imshow(shown, interpolation="nearest", extent=extent)
        frame(grid[row + 1, column], INK, 0.5)
    return drawing
