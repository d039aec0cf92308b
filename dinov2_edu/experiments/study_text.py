"""What a study found, in words and numbers: the table, what each factor is worth, and a CSV file."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dinov2_edu.experiments.study_rows import STATISTICS, StudyRow
from dinov2_edu.files import write_whole
from dinov2_edu.probe.logistic import Trial


def study_table(rows: Sequence[StudyRow]) -> str:
    """Show the study as text: a line for each preprocessing, accuracies in percent, cost in seconds.

    Under each C: test accuracy of the fit on nine tenths of the training rows, and the fit's seconds; a star
    marks the C that the held-out tenth chose. "refit": with that C, on all training rows. "post": the post's
    own regression on the same features.
    """
    heads = [f"C = {trial.c:.2g}" for trial in rows[0].probe.trials]
    table = [
        [
            "statistics",
            "interpolation",
            "size",
            *heads,
            "refit",
            "95 %",
            "post",
            "k-NN",
            "extract s",
            "images/s",
        ]
    ]
    for row in rows:
        how = row.preprocessing
        kind = how.interpolation + ("" if how.antialias else ", no antialias")
        size = f"{how.size}" + (f" of {how.resize}" if how.resize else "")
        cells = []
        for trial in row.probe.trials:
            star = "*" if trial.c == row.probe.c else " "
            cells.append(f"{100 * trial.test_accuracy:.2f}{star}({trial.seconds:.1f})")
        low, high = (f"{100 * end:.2f}" for end in row.report.interval)
        cells += [f"{100 * row.report.accuracy:.2f}", f"{low}-{high}"]
        cells += [f"{100 * row.post.accuracy:.2f} ({row.post.seconds:.1f})", f"{100 * row.knn:.2f}"]
        table.append(
            [row.statistics, kind, size, *cells, f"{row.extract_seconds:.1f}", f"{row.images_per_second:.1f}"]
        )
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table
    )


def study_summary(rows: Sequence[StudyRow]) -> str:
    """Say what each factor changes on average over the rows that differ in it alone, in points of "refit"."""
    accuracies = {row.preprocessing: row.report.accuracy for row in rows}
    imagenet, cifar = ({"mean": mean, "std": std} for mean, std in STATISTICS.values())
    factors: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "CIFAR-10 statistics instead of ImageNet's": (imagenet, cifar),
        "bilinear instead of bicubic": ({"interpolation": "bicubic"}, {"interpolation": "bilinear"}),
        "without antialiasing (for enlarging: bicubic's other kernel)": (
            {"antialias": True},
            {"antialias": False},
        ),
    }
    for small, large in pairwise(sorted({how.size for how in accuracies})):
        factors[f"size {large} instead of {small}"] = ({"size": small}, {"size": large})
    lines = []
    for name, (before, after) in factors.items():
        changes = [
            accuracies[changed] - accuracy
            for how, accuracy in accuracies.items()
            if replace(how, **before) == how and (changed := replace(how, **after)) in accuracies
        ]
        lines += [_mean_change(name, changes)] if changes else []
    plain = [
        trial.test_accuracy - next(best for best in row.probe.trials if best.c == row.probe.c).test_accuracy
        for row in rows
        for trial in row.probe.trials
        if trial.c == 1.0
    ]
    lines += [_mean_change("C = 1 instead of the chosen C", plain)] if plain else []
    posted = [row.post.accuracy - row.report.accuracy for row in rows]
    lines += [_mean_change("the post's regression instead of ours", posted), *_ends(rows)]
    half = max(row.report.interval[1] - row.report.interval[0] for row in rows) / 2
    return "\n".join([*lines, f"With so few test pictures one accuracy is known to {100 * half:.2f} points."])


def _ends(rows: Sequence[StudyRow]) -> list[str]:
    """The ends that the study lies between: all of the post's choices, and the row that held-out rows prefer."""
    lines = []
    for row in rows:
        how = row.preprocessing
        if row.statistics == "CIFAR-10" and how.interpolation == "bilinear" and how.antialias:  # as PIL's
            lines.append(
                f"all of the post's choices, size {how.size}: {100 * row.post.accuracy:.2f} %; "
                f"its pictures with our regression: {100 * row.report.accuracy:.2f} %"
            )
    best = max(rows, key=lambda row: max(trial.accuracy for trial in row.probe.trials))
    return [*lines, f"best on the held-out tenth: {100 * best.report.accuracy:.2f} %, {best.preprocessing}"]


def _mean_change(name: str, changes: Sequence[float]) -> str:
    return f"{name}: {100 * np.mean(changes):+.2f} points (mean of {len(changes)})"


_RECORDED = (
    *("statistics", "interpolation", "antialias", "size", "resize", "c"),
    *("refit_test_accuracy", "post_test_accuracy", "knn_accuracy", "extract_seconds"),
)


def study_records(rows: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """A record for every preprocessing, with the chosen C alone: accuracies from 0 to 1."""
    records = []
    for row in rows:
        chosen = _cell(row, next(trial for trial in row.probe.trials if trial.c == row.probe.c))
        low, high = row.report.interval
        records.append({name: chosen[name] for name in _RECORDED} | {"interval": [low, high]})
    return records


def write_csv(rows: Sequence[StudyRow], path: str | Path) -> None:
    """Write a line for every preprocessing and C: accuracies from 0 to 1, and what each cost in seconds."""
    cells = [_cell(row, trial) for row in rows for trial in row.probe.trials]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, cells[0])
    writer.writeheader()
    writer.writerows(cells)
    write_whole(path, text.getvalue())


def _cell(row: StudyRow, trial: Trial) -> dict[str, object]:
    how = row.preprocessing
    return {
        "statistics": row.statistics,
        "interpolation": how.interpolation,
        "antialias": how.antialias,
        "size": how.size,
        "resize": how.resize or how.size,
        "c": trial.c,
        "chosen": trial.c == row.probe.c,
        "held_out_accuracy": trial.accuracy,
        "test_accuracy": trial.test_accuracy,
        "fit_seconds": trial.seconds,
        "refit_test_accuracy": row.report.accuracy,
        "post_test_accuracy": row.post.accuracy,
        "post_fit_seconds": row.post.seconds,
        "post_iterations": row.post.iterations,
        "knn_accuracy": row.knn,
        "extract_seconds": row.extract_seconds,
        "provenance": row.provenance,
    }
