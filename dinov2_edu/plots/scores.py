"""Figures about predictions: confusion, reliability, probabilities, and points on the sphere."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from dinov2_edu.checks import describe, require
from dinov2_edu.palette import CARD, CYCLE, INK, PALETTE, role_colour
from dinov2_edu.plots.style import WIDTH, Figure, Numbers, as_numbers, figure, styled

SHARE_COLOURS = LinearSegmentedColormap.from_list("share", [CARD, PALETTE["student"], "#0b2f55"])
"""From the card's ground (none) to dark blue (all)."""


def whole_counts(counts: Numbers) -> np.ndarray:
    """Counts as whole numbers.

    Raises:
        ValueError: one is negative, broken or no number.
    """
    counts = as_numbers(counts, "counts")
    good = bool((counts >= 0).all() and (counts == counts.round()).all())
    require(good, "counts holds numbers that count nothing: negative, broken or NaN")
    return counts.astype(int)


@styled
def plot_confusion(counts: Numbers, class_names: Sequence[str]) -> Figure:
    """Show a confusion matrix: rows are what an image is, columns what was predicted.

    Colour is the share of the row; the numbers are counts, written for up to 12 classes, zeros left out.

    Args:
        counts: (c c).
        class_names: c names.

    Raises:
        ValueError: the matrix is not square, or the names do not fit.
    """
    counts = whole_counts(counts)
    size = len(class_names)
    if counts.shape != (size, size):
        raise ValueError(
            f"wanted counts of shape ({size}, {size}), one row and column a class, got {counts.shape}"
        )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    drawing, grid = figure(4.9)
    axes = grid[0, 0]
    axes.imshow(share, cmap=SHARE_COLOURS, vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xticks(range(size), class_names, rotation=50, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), class_names)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="what it is")
    for row, column in zip(*np.nonzero(counts), strict=True) if size <= 12 else ():
        ink = "white" if share[row, column] > 0.35 else INK
        number = str(counts[row, column])
        axes.text(column, row, number, ha="center", va="center", color=ink, fontsize=10)
    return drawing


@styled
def plot_reliability(accuracy: Numbers, counts: Numbers, error: float) -> Figure:
    """Show whether confidence can be trusted: accuracy within bins of confidence, against the diagonal.

    The three are fields of a report's `calibration`.

    Args:
        accuracy: share correct within each of equal bins of confidence, NaN where a bin is empty.
        counts: predictions in each bin, drawn in the lower chart.
        error: the mean gap to the diagonal.

    Raises:
        ValueError: nothing given, or accuracies and counts of unequal number.
    """
    accuracy, counts = as_numbers(accuracy, "accuracy"), whole_counts(counts)
    outside = bool(((accuracy < 0) | (accuracy > 1)).any())
    require(not outside, f"accuracy must lie in 0 to 1, got up to {np.nanmax(accuracy, initial=0):.3g}")
    fits = accuracy.ndim == 1 and accuracy.shape == counts.shape and counts.sum() > 0
    require(
        fits, f"wanted an accuracy and a count for each bin, got shapes {accuracy.shape} and {counts.shape}"
    )
    drawing, grid = figure(4.2, rows=2, sharex=True, height_ratios=[3, 1])
    upper, lower = grid[:, 0]
    edges, width = np.arange(len(counts)) / len(counts), 1 / len(counts)
    upper.bar(edges, np.nan_to_num(accuracy), width, align="edge", color=PALETTE["student"], edgecolor=CARD)
    upper.plot([0, 1], [0, 1], color=INK, linestyle=(0, (4, 3)), linewidth=1.2, label="confidence = accuracy")
    upper.set(ylabel="accuracy", ylim=(0, 1), xlim=(0, 1))
    upper.set_title(f"mean gap to the diagonal {error:.3f}")
    upper.legend(loc="upper left")
    lower.bar(edges, counts, width, align="edge", color=PALETTE["mask"], edgecolor=CARD)
    lower.set(xlabel="confidence", ylabel="images")
    return drawing


@styled
def plot_probabilities(rows: dict[str, Numbers]) -> Figure:
    """Show probability distributions side by side, such as the teacher's target and the student's answer.

    Args:
        rows: name to probabilities (k) of the prototypes.

    Raises:
        ValueError: the rows differ in length, or one of them is no distribution.
    """
    lines = [as_numbers(row, name) for name, row in rows.items()]
    require(
        len({line.shape for line in lines}) <= 1,
        "wanted one or more rows of probabilities, all of one length",
    )
    table = np.array(lines)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError("wanted one or more rows of probabilities, all of one length")
    if table.min() < 0 or not np.allclose(table.sum(axis=1), 1, atol=1e-3):
        raise ValueError(f"each row of probabilities sums to 1, got {table.sum(axis=1).round(3).tolist()}")
    places = np.arange(table.shape[1])
    drawing, grid = figure(2.9)
    axes = grid[0, 0]
    width = 0.84 / len(rows)
    free = cycle(CYCLE)
    for i, (name, probs, hatch) in enumerate(zip(rows, table, cycle(("", "////", "....")), strict=False)):
        offsets = places + (i - (len(rows) - 1) / 2) * width
        look = {"color": role_colour(name) or next(free), "hatch": hatch, "edgecolor": CARD, "linewidth": 0.5}
        axes.bar(offsets, probs, width, label=name, **look)
    axes.set_xticks(places)
    axes.grid(axis="x", visible=False)
    axes.set(ylabel="probability", xlabel="prototype")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=min(len(rows), 3), borderaxespad=0.3)
    return drawing


@styled
def plot_sphere(
    clouds: dict[str, Numbers],
    *,
    groups: Numbers | None = None,
    prototypes: Numbers | None = None,
) -> Figure:
    """Show points on the unit sphere, one sphere beside the other: a batch before and after KoLeo, say.

    Args:
        clouds: title to points (m 3); they are scaled to length 1. Points behind the sphere are pale.
        groups: a whole number for each point, which colours it.
        prototypes: directions (k 3), drawn as diamonds on every sphere.

    Raises:
        ValueError: points are not (m 3), or one lies at the centre and has no direction.
    """
    require(bool(clouds), "clouds is empty: wanted points to show")
    for title, points in clouds.items():
        fits = groups is None or len(groups) == len(points)
        require(
            fits,
            f"groups: wanted a number for each of {len(points)} points of {title!r}, got {describe(groups)}",
        )
    drawing = Figure(figsize=(WIDTH, WIDTH / max(len(clouds), 1.4) + 0.3))
    for i, (title, points) in enumerate(clouds.items()):
        axes = drawing.add_subplot(1, len(clouds), i + 1)
        axes.set_aspect("equal")
        axes.axis("off")
        axes.set_title(title, loc="center")
        draw_globe(axes)
        colours = PALETTE["cls"] if groups is None else [CYCLE[int(group) % len(CYCLE)] for group in groups]
        draw_points(axes, unit_rows(points), colours, marker="o", size=26)
        if prototypes is not None:
            draw_points(axes, unit_rows(prototypes), INK, marker="D", size=44)
    return drawing


def unit_rows(points: Numbers) -> np.ndarray:
    """Scale points (m 3) to length 1.

    Raises:
        ValueError: the shape is wrong, or a point has no direction.
    """
    points = as_numbers(points, "points")
    good = points.ndim == 2 and points.shape[1] == 3 and bool(np.isfinite(points).all())
    lengths = np.linalg.norm(points, axis=-1, keepdims=True) if good else np.zeros(1)
    good = good and bool((lengths > 0).all())
    require(good, f"wanted points (m 3), finite and none at the centre, got shape {points.shape}")
    return points / lengths


VIEW = np.array([[-0.6, 0.8, 0.0], [-0.3, -0.225, 0.927], [0.742, 0.556, 0.375]])
"""Rows: the directions in space that point right, up and towards the eye."""


def draw_globe(axes: Axes) -> None:
    """Draw the sphere: its outline, the equator and two meridians, the far half dotted."""
    turn = np.linspace(0, 2 * np.pi, 181)
    axes.plot(np.cos(turn), np.sin(turn), color=PALETTE["muted"], linewidth=1)
    for axis in range(3):
        circle = np.insert(np.stack([np.cos(turn), np.sin(turn)]), axis, 0, axis=0)
        right, up, near = VIEW @ circle
        for visible, style in ((near >= -0.01, "-"), (near <= 0.01, ":")):
            x, y = np.where(visible, (right, up), np.nan)
            axes.plot(x, y, style, color="#b9bcc0", linewidth=0.8)


def draw_points(
    axes: Axes, points: np.ndarray, colours: str | list[str], *, marker: str, size: float
) -> None:
    """Draw points of the sphere as seen by the eye, those on the far side pale."""
    right, up, near = VIEW @ points.T
    look: dict[str, Any] = {"alpha": np.where(near >= 0, 0.95, 0.3), "edgecolors": CARD, "linewidths": 0.6}
    axes.scatter(right, up, size, c=colours, marker=marker, zorder=3, **look)
