"""Small charts side by side: schedules, a training history, runs that collapse beside one that does not.

Series are given as in `charts`.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dinov2_edu.checks import require
from dinov2_edu.palette import PALETTE
from dinov2_edu.plots.style import (
    Figure,
    Numbers,
    Series,
    as_numbers,
    draw_levels,
    draw_series,
    figure,
    hide_unused,
    split_series,
    styled,
)

HISTORY_PANELS = {
    "loss": {"loss": "loss"},
    "entropy of the targets": {"target_entropy": "class", "patch_target_entropy": "patch"},
    "spread of the features": {"feature_spread": "spread"},
    "k-NN accuracy": {"knn": "k-NN"},
}
"""Title of a panel to the keys of a training history that share it, each with its name there."""

SMOOTHED = 3
"""The loss is averaged over so many records."""

COLUMNS = 2
"""Charts in a row."""


@styled
def plot_panels(
    panels: dict[str, dict[str, Series]],
    *,
    x_label: str,
    levels: dict[str, float] | None = None,
    one_scale: bool = True,
) -> Figure:
    """Draw several small charts side by side, one for each quantity.

    Charts whose series have the same names share one legend above them and, unless told otherwise, one scale.

    Args:
        panels: title to the series of that chart.
        x_label: what all x axes measure.
        one_scale: False where charts with the same names measure different quantities.
        levels: reference lines, drawn in every chart.

    Raises:
        ValueError: there is no panel, or a series is empty.
    """
    names = {tuple(series) for series in panels.values()}
    shared = len(names) == 1
    drawing, axes = panel_grid(len(panels), sharey=shared and one_scale)
    for place, (title, series) in zip(axes, panels.items(), strict=True):
        draw_series(place, series)
        draw_levels(place, levels)
        place.set_title(title)
        if len(series) > 1 and not shared:
            own_legend(place)
    if shared and len(names.pop()) > 1:
        lines = axes[0].get_legend_handles_labels()
        drawing.legend(*lines, loc="outside upper left", ncols=3, handlelength=1.8)
    label_bottom(axes, x_label)
    return drawing


def own_legend(axes: Axes) -> None:
    """Put a legend into a small chart, above its lines."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.3 * (high - low))
    names = axes.legend(loc="upper left", ncols=2, handlelength=1.4, borderaxespad=0.1, columnspacing=1)
    names.set_in_layout(False)  # long names may reach over the edge; the charts keep their size


def panel_grid(count: int, **options: Any) -> tuple[Figure, list[Axes]]:
    """Begin a figure of `count` small charts.

    Raises:
        ValueError: `count` is 0.
    """
    require(count >= 1, "wanted at least one panel, got none")
    rows = ceil(count / COLUMNS)
    drawing, grid = figure(2.0 * rows + 0.3, rows=rows, columns=min(COLUMNS, count), **options)
    axes = hide_unused(grid.flat, count)
    for place in axes:
        place.locator_params(axis="both", nbins=4)
    return drawing, axes


def label_bottom(axes: Sequence[Axes], x_label: str) -> None:
    """Name the x axis under the lowest chart of each column."""
    for place in axes[-COLUMNS:]:
        place.set_xlabel(x_label)


@styled
def plot_history(history: dict[str, Numbers]) -> Figure:
    """Draw a training history: a small chart for each of `HISTORY_PANELS` that it holds.

    Args:
        history: name to one value a recorded step, with the steps under `step` (and `knn_step` for `knn`).

    Raises:
        ValueError: the history holds nothing that can be drawn.
    """
    panels = {
        title: {name: history_series(history, key) for key, name in keys.items() if has_values(history, key)}
        for title, keys in HISTORY_PANELS.items()
    }
    return plot_panels({title: series for title, series in panels.items() if series}, x_label="step")


def has_values(history: dict[str, Numbers], key: str) -> bool:
    """Whether the history recorded this quantity at all."""
    return len(history.get(key, ())) > 0


def history_series(history: dict[str, Numbers], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Pair a recorded quantity with its steps; the loss is smoothed."""
    values = as_numbers(history[key], key)
    at = f"{key}_step" if has_values(history, f"{key}_step") else "step"
    steps = as_numbers(history.get(at, ()), at)
    require(
        values.shape == steps.shape, f"history: {len(values)} values of {key} at {len(steps)} steps ({at})"
    )
    width = min(SMOOTHED, len(values)) if key == "loss" else 1
    mean = np.convolve(values, np.ones(width) / width, mode="valid")
    return steps[width - 1 :], mean


@styled
def plot_runs(
    runs: dict[str, Series],
    *,
    x_label: str,
    y_label: str,
    reference: str | None = None,
    levels: dict[str, float] | None = None,
) -> Figure:
    """Draw runs as small charts of one scale, so that they can be compared: a healthy run and collapsed ones.

    Args:
        runs: name of the run to its curve.
        x_label, y_label: what the axes measure.
        reference: the run that is drawn faintly behind all others.
        levels: reference lines, drawn in every chart.

    Raises:
        ValueError: `reference` is not one of the runs, or a curve is empty.
    """
    if reference is not None and reference not in runs:
        raise ValueError(f"reference must be one of the runs {sorted(runs)}, got {reference!r}")
    drawing, axes = panel_grid(len(runs), sharex=True, sharey=True)
    for place, (name, run) in zip(axes, runs.items(), strict=True):
        if reference is not None and name != reference:
            place.plot(*split_series(runs[reference]), color=PALETTE["muted"], alpha=0.45, linewidth=1.4)
        colour = PALETTE["good" if name == reference else "bad"]
        place.plot(*split_series(run), color=colour)
        draw_levels(place, levels)
        place.set_title(name)
    label_bottom(axes, x_label)
    drawing.supylabel(y_label, fontsize=10.5)
    return drawing
