"""Figures made of numbers: curves, histograms and bars.

A series is an array of y values, or a pair (x, y). Series come in a dict from name to values; a name that
holds a role of the palette ("teacher", "student temperature") takes that role's colour.
"""

from collections.abc import Collection, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes

from dinov2_edu.checks import check_at_least, describe, require
from dinov2_edu.palette import CYCLE, PALETTE, role_colour
from dinov2_edu.plots.style import (
    DASHES,
    Figure,
    Numbers,
    Series,
    as_numbers,
    draw_levels,
    draw_series,
    figure,
    styled,
)

LEGEND_LETTERS = 53
"""Letters that fit side by side in a legend as wide as a figure's axes."""


@styled
def plot_curves(
    series: dict[str, Series],
    *,
    x_label: str,
    y_label: str,
    levels: dict[str, float] | None = None,
    log_y: bool = False,
) -> Figure:
    """Draw named curves in one chart.

    Args:
        series: name to values.
        x_label, y_label: what the axes measure, with the unit.
        levels: name to y of horizontal reference lines, such as `{"ln K": 8.32}`.
        log_y: whether the y axis is logarithmic.

    Raises:
        ValueError: a series is empty, or its x and y differ in length.
    """
    require(bool(series), "series is empty: wanted at least one curve")
    drawing, grid = figure()
    axes = grid[0, 0]
    draw_series(axes, series)
    draw_levels(axes, levels)
    axes.set(xlabel=x_label, ylabel=y_label, yscale="log" if log_y else "linear")
    if len(series) > 1:
        legend_above(axes, series)
    return drawing


def legend_above(axes: Axes, names: Collection[str]) -> None:
    """Put the legend above the chart, where it hides no data, in as many columns as the names leave room for."""
    spacing = {"borderaxespad": 0.3, "handlelength": 1.8, "columnspacing": 1.2}
    fitting = LEGEND_LETTERS // (max(map(len, names)) + 6)  # the line beside a name is as wide as 6 letters
    columns = max(1, min(len(names), 3, fitting))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, **spacing)


@styled
def plot_histogram(groups: dict[str, Numbers], *, x_label: str, bins: int = 30) -> Figure:
    """Draw histograms of several groups over the same bins.

    Args:
        groups: name to values.
        x_label: what is counted.
        bins: how many at most; whole numbers are binned by whole numbers.

    Raises:
        ValueError: there are no values.
    """
    check_at_least(1, bins=bins)
    values = {name: as_numbers(group, name).ravel() for name, group in groups.items()}
    everything = np.concatenate(list(values.values())) if values else np.zeros(0)
    good = everything.size > 0 and bool(np.isfinite(everything).all())
    require(good, "wanted finite values to count, got none, or some that are not")
    low, high = everything.min(), everything.max()
    edges = np.histogram_bin_edges(everything, bins)
    if np.all(everything == np.round(everything)):  # bins of unlike many whole numbers would look spiky
        step = np.ceil((high - low + 1) / bins)
        edges = np.arange(low - 0.5, high + step, step)
    drawing, grid = figure()
    axes = grid[0, 0]
    free = cycle(CYCLE)
    colours = [role_colour(name) or next(free) for name in values]
    for (name, group), colour, dash in zip(values.items(), colours, cycle(DASHES), strict=False):
        look = {"facecolor": colour + "55", "edgecolor": colour, "linewidth": 1.6}
        _, _, (area,) = axes.hist(group, edges, label=name, histtype="stepfilled", **look)
        area.set_linestyle(dash)  # matplotlib 3.10 takes a dash given to `hist` for a list of styles
    axes.set(xlabel=x_label, ylabel="count")
    if len(groups) > 1:
        legend_above(axes, groups)
    return drawing


@styled
def plot_few_shot(
    shots: Sequence[int], accuracies: dict[str, Numbers], *, chance: float | None = None
) -> Figure:
    """Draw accuracy against the number of labels a class; repeats show as a band from lowest to highest.

    Args:
        shots: labels a class.
        accuracies: name to accuracies in 0 to 1, (shots) or (repeats shots).
        chance: accuracy of guessing, drawn as a dashed line.

    Raises:
        ValueError: the accuracies do not have one column for each number of labels.
    """
    require(len(shots) > 0 and min(shots) >= 1, f"shots must be labels a class from 1, got {describe(shots)}")
    require(bool(accuracies), "accuracies holds nothing to draw")
    means, bands = {}, {}
    for name, values in accuracies.items():
        table = np.atleast_2d(as_numbers(values, name))
        if table.shape[1] != len(shots):
            raise ValueError(f"{name}: wanted {len(shots)} accuracies a repeat, got shape {np.shape(values)}")
        means[name], bands[name] = (np.asarray(shots), table.mean(0)), (table.min(0), table.max(0))
    drawing, grid = figure()
    axes = grid[0, 0]
    draw_series(axes, means)
    for line, (low, high) in zip(axes.get_lines(), bands.values(), strict=True):
        axes.fill_between(shots, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    draw_levels(axes, None if chance is None else {"chance": chance}, below=True)
    axes.set_xscale("log")
    axes.set_xticks(list(shots), [str(shot) for shot in shots])
    axes.minorticks_off()
    axes.set(xlabel="labels a class", ylabel="accuracy", ylim=(0, 1))
    legend_above(axes, means)
    return drawing


@styled
def plot_bars(
    values: dict[str, float], *, x_label: str, highlight: str | None = None, percent: bool = False
) -> Figure:
    """Draw horizontal bars with their names and numbers written out.

    Args:
        values: name to number.
        x_label: what is measured, with the unit.
        highlight: the bar that the text is about.
        percent: write 0.95 as 95.0 %.

    Raises:
        ValueError: there is no bar, or `highlight` is none of them.
    """
    if not values or (highlight is not None and highlight not in values):
        raise ValueError(f"wanted bars, and highlight among them: got {sorted(values)} and {highlight!r}")
    drawing, grid = figure(0.7 + 0.36 * len(values))
    axes = grid[0, 0]
    plain = {name: role_colour(name) or PALETTE["mask"] for name in values}
    colours = [PALETTE["good"] if name == highlight else plain[name] for name in values]
    bars = axes.barh(list(values), list(values.values()), color=colours, height=0.65)
    texts = [f"{100 * value:.1f} %" if percent else f"{value:.4g}" for value in values.values()]
    axes.bar_label(bars, texts, padding=4, fontsize=10.5)
    axes.margins(x=0.16)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(x_label)
    return drawing


@styled
def plot_seeds(
    panels: dict[str, dict[str, Numbers]], *, reference: str, baseline: str, percent: bool = False
) -> Figure:
    """Draw settings as rows: a dot for each seed and a stroke for their mean, beside what two of them reach.

    Args:
        panels: what is measured, with the unit -> setting -> a number for each seed. Side by side; all hold the same
            settings, and the rows stand in the order of the first.
        reference: the setting whose least and most are a band behind all rows.
        baseline: the setting whose mean is a dashed line behind all rows.
        percent: write 0.95 as 95.

    Raises:
        ValueError: there is no panel, the settings of two differ, one has no finite numbers, or `reference` or
            `baseline` is none of them.
    """
    require(bool(panels), "panels holds nothing to draw")
    names = list(next(iter(panels.values())))
    for title, rows in panels.items():
        same = sorted(rows) == sorted(names)
        require(same, f"wanted the settings {sorted(names)} in each panel, {title} has {sorted(rows)}")
    for role, name in {"reference": reference, "baseline": baseline}.items():
        require(name in names, f"{role} must be one of the settings {sorted(names)}, got {name!r}")
    drawing, grid = figure(0.8 + 0.225 * len(names), columns=len(panels), sharey=True)
    for axes, (title, rows) in zip(grid[0], panels.items(), strict=True):
        for place, name in enumerate(names):
            seeds = as_numbers(rows[name], name) * (100 if percent else 1)
            good = seeds.ndim == 1 and len(seeds) > 0 and bool(np.isfinite(seeds).all())
            require(good, f"{name}: wanted a finite number for each seed, got {describe(rows[name])}")
            colour = PALETTE["good"] if name == reference else CYCLE[0]
            if name == reference:
                axes.axvspan(seeds.min(), seeds.max(), color=colour, alpha=0.15, linewidth=0)
            if name == baseline:
                axes.axvline(seeds.mean(), color=PALETTE["muted"], linestyle=(0, (4, 3)), linewidth=1.2)
            axes.plot(
                seeds, [place] * len(seeds), "o", color=colour, markersize=4.5, alpha=0.6, markeredgewidth=0
            )
            axes.plot(seeds.mean(), place, "|", color=colour, markersize=11, markeredgewidth=2.2)
        axes.set(xlabel=title, yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
        axes.tick_params(axis="y", length=0)
    return drawing
