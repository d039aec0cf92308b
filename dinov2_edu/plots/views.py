"""Figures of what the networks are given: the crops of a photo, and masks over it."""

from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from dinov2_edu.checks import require
from dinov2_edu.palette import PALETTE
from dinov2_edu.plots.pictures import (
    Picture,
    Pictures,
    as_picture,
    aspect_of,
    frame,
    picture_grid,
    show_picture,
)
from dinov2_edu.plots.style import WIDTH, Figure, Numbers, as_numbers, styled


@styled
def plot_crops(
    photo: Picture,
    global_boxes: Numbers,
    local_boxes: Numbers,
    global_views: Pictures,
    local_views: Pictures,
) -> Figure:
    """Show where crops were cut from a photo, and the crops.

    Args:
        photo: the whole picture.
        global_boxes, local_boxes: (v 4), each box (top, left, height, width) in the photo's pixels.
        global_views, local_views: the crops as the networks get them, denormalised, ordered like the boxes.

    Raises:
        ValueError: not as many boxes as views.
    """
    pixels = as_picture(photo)
    kinds = (
        ("G", "global_crop", 2, paired(global_boxes, global_views)),
        ("L", "local_crop", 4, paired(local_boxes, local_views)),
    )
    heights = [WIDTH * pixels.shape[0] / pixels.shape[1]]
    heights += [WIDTH / across for _, _, across, crops in kinds for _ in range(ceil(len(crops) / across))]
    drawing = Figure(figsize=(WIDTH, sum(heights) + 0.2 * len(heights)))
    drawing.photo = True
    rows = drawing.add_gridspec(len(heights), 1, height_ratios=heights)
    stage = drawing.add_subplot(rows[0])
    show_picture(stage, pixels, "the photo and the boxes cut from it")
    row = 0
    for letter, role, across, crops in kinds:
        for i, (box, view) in enumerate(crops):
            draw_box(stage, box, f"{letter}{i + 1}", role)
            if i % across == 0:
                row += 1
                strip = rows[row].subgridspec(1, across, wspace=0.04)
            axes = drawing.add_subplot(strip[i % across])
            show_picture(axes, view, f"{letter}{i + 1}")
            frame(axes, PALETTE[role], 2.5)
    return drawing


def paired(boxes: Numbers, views: Pictures) -> list[tuple[np.ndarray, Picture]]:
    """Pair each box with its view.

    Raises:
        ValueError: not as many boxes (v 4) as views.
    """
    boxes = as_numbers(boxes, "boxes")
    boxes = boxes.reshape(-1, 4) if boxes.size == 0 else boxes
    fits = boxes.ndim == 2 and boxes.shape[1] == 4 and bool(np.isfinite(boxes).all())
    require(fits, f"boxes: wanted finite numbers of shape (v, 4), got {boxes.shape}")
    if len(boxes) != len(views):
        raise ValueError(
            f"wanted one box (top, left, height, width) a view, got {len(boxes)} and {len(views)}"
        )
    return list(zip(boxes, views, strict=True))


def draw_box(axes: Axes, box: np.ndarray, name: str, role: str) -> None:
    """Outline a crop on the photo, cased in white so that it shows on any ground; local ones are dotted."""
    top, left, height, width = box
    place = {"xy": (left, top), "width": width, "height": height, "fill": False, "linewidth": 2}
    casing = [Stroke(linewidth=4, foreground="white"), Normal()]
    axes.add_patch(Rectangle(**place, edgecolor=PALETTE[role], path_effects=casing))
    if role == "local_crop":
        axes.add_patch(Rectangle(**place, edgecolor="white", linestyle=":"))
    tag = {"boxstyle": "square,pad=0.15", "facecolor": PALETTE[role], "edgecolor": "white", "linewidth": 0.8}
    axes.text(left, top, name, color="white", fontweight="bold", va="top", bbox=tag, zorder=4)


@styled
def plot_masks(photos: Picture | Pictures, masks: Numbers, *, asked: Numbers | None = None) -> Figure:
    """Show masks over photos: a masked patch is covered by grey, as the student never sees it.

    Args:
        photos: one picture for all masks, or a list of one for each.
        masks: (m rows cols) or (rows cols), boolean, True = masked.
        asked: how many patches each mask was asked to hold; the titles then set it against what it holds.

    Raises:
        ValueError: the masks are not boolean, or photos or `asked` do not fit their number.
    """
    masks = np.asarray(masks)
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.dtype != bool or masks.ndim != 3:
        raise ValueError(f"masks: wanted bool (m rows cols), True = masked, got {masks.dtype} {masks.shape}")
    asked = asked if asked is None else as_numbers(asked, "asked").astype(int)
    require(asked is None or asked.ndim == 1, f"asked: wanted a number for each mask, got {asked}")
    several = isinstance(photos, (list, tuple)) or (not hasattr(photos, "convert") and np.ndim(photos) == 4)
    photos = list(photos) if several else [photos] * len(masks)
    if len(photos) != len(masks) or (asked is not None and len(asked) != len(masks)):
        raise ValueError(
            f"{len(masks)} masks need as many photos and numbers asked, got {len(photos)} photos"
        )
    columns = min(len(masks), 2 if len(masks) in (2, 4) else 3)
    drawing, grid = picture_grid(
        len(masks), columns, aspect_of(photos[0]), title_lines=1 if asked is None else 2
    )
    for i, axes in enumerate(grid):
        masked, total = int(masks[i].sum()), masks[i].size
        wish = "" if asked is None else f"asked {asked[i]}\n"
        pixels = show_picture(axes, photos[i], f"{wish}masked {masked} of {total}")
        cover_patches(axes, masks[i], pixels.shape[:2])
    return drawing


def cover_patches(axes: Axes, mask: np.ndarray, size: tuple[int, int]) -> None:
    """Cover the masked patches of the picture in `axes`, which is `size` (height, width) pixels large."""
    patch_height, patch_width = size[0] / mask.shape[0], size[1] / mask.shape[1]
    style: dict[str, Any] = {
        "facecolor": PALETTE["mask"],
        "edgecolor": "#5d6169",
        "linewidth": 0.5,
        "hatch": "////",
    }
    for row, column in zip(*np.nonzero(mask), strict=True):
        corner = (column * patch_width - 0.5, row * patch_height - 0.5)
        axes.add_patch(Rectangle(corner, patch_width, patch_height, **style))
