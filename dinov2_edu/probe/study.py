"""Why the post's accuracy and the paper's differ: every preprocessing and C that could matter, one table.

The post reports 95.01 % on CIFAR-10 with ViT-S/14, the paper 97.7 %. Normalisation, interpolation, input size
and C are what differs; each is varied here with the others held.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from dinov2_edu.features import (
    CIFAR_MEAN,
    CIFAR_STD,
    OFFICIAL_EVAL,
    ExtractOptions,
    Preprocessing,
    extract_features,
)
from dinov2_edu.probe.knn import knn_accuracy
from dinov2_edu.probe.logistic import SHORT_C_GRID, LogisticProbe, logistic_probe
from dinov2_edu.probe.report import ProbeReport
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD, require
from dinov2_edu.weights import LoadedBackbone

_STATISTICS = {"ImageNet": (IMAGENET_MEAN, IMAGENET_STD), "CIFAR-10": (CIFAR_MEAN, CIFAR_STD)}


@dataclass(frozen=True)
class StudyRow:
    """One preprocessing: what its features reach and what they cost.

    Attributes:
        preprocessing: how the pictures were made ready.
        probe: logistic regression, its C chosen on held-out training rows; `trials` has every C.
        report: the refitted regression on the test set.
        knn: k-NN accuracy on the test set, 0 to 1.
        extract_seconds: time that both sets' features took when they were made.
        images_per_second: speed of that.
        provenance: weights, pictures and precision of the test features.
    """

    preprocessing: Preprocessing
    probe: LogisticProbe
    report: ProbeReport
    knn: float
    extract_seconds: float
    images_per_second: float
    provenance: str

    @property
    def statistics(self) -> str:
        """Whose mean and standard deviation normalised the pictures."""
        return "ImageNet" if tuple(self.preprocessing.mean) == IMAGENET_MEAN else "CIFAR-10"


def study_preprocessings(sizes: Sequence[int], smallest_side: int) -> list[Preprocessing]:
    """Every combination of statistics, interpolation, antialiasing and size that differs.

    Bilinear enlarging is the same with and without antialiasing and stands in the list once; bicubic is not
    (another kernel). Where the size is the pictures' own nothing is resized, and one interpolation stands for
    all. At 224 the official evaluation's larger resize with a centre crop is added.

    Args:
        sizes: sides that the model sees.
        smallest_side: of the pictures, to tell enlarging from shrinking.

    Raises:
        ValueError: no size.
    """
    require(len(sizes) > 0, "sizes is empty: name at least one input size")
    found = []
    for size, (mean, std) in product(sizes, _STATISTICS.values()):
        kinds = [("bicubic", True)]
        kinds += [("bicubic", False), ("bilinear", True)] if size != smallest_side else []
        kinds += [("bilinear", False)] if size < smallest_side else []
        found += [Preprocessing(size, None, kind, antialias, mean, std) for kind, antialias in kinds]
    return found + [OFFICIAL_EVAL] * (OFFICIAL_EVAL.size in sizes)


def run_study(
    backbone: LoadedBackbone,
    train: Any,
    test: Any,
    preprocessings: Sequence[Preprocessing],
    *,
    c_grid: Sequence[float] = SHORT_C_GRID,
    **extraction: Any,
) -> list[StudyRow]:
    """Probe each preprocessing; with a cache, one that was interrupted goes on where it stopped.

    Args:
        backbone: the weights and their name.
        train: labelled pictures of any kind that `extract_features` takes.
        test: the same, to measure on.
        preprocessings: the rows, as `study_preprocessings` lists them.
        c_grid: values of C.
        **extraction: `cache_dir`, `on_error` and `options` of `extract_features`.

    Raises:
        ValueError: pictures without labels, and as `extract_features` and `logistic_probe`.
    """
    rows = []
    for number, preprocessing in enumerate(preprocessings, start=1):
        if extraction.get("options", ExtractOptions()).progress:
            print(f"{number} of {len(preprocessings)}: {preprocessing}", flush=True)
        learn, held = (
            extract_features(backbone, pictures, preprocessing=preprocessing, **extraction)
            for pictures in (train, test)
        )
        labelled = learn.labels is not None and held.labels is not None
        require(
            labelled, "the study needs labels: give an ImageSet, or folders with a subfolder for each class"
        )
        probe = logistic_probe(learn.cls, learn.labels, c_grid=c_grid, test=(held.cls, held.labels))
        seconds = learn.seconds + held.seconds
        rows.append(
            StudyRow(
                preprocessing,
                probe,
                probe.report(held.cls, held.labels, held.class_names),
                knn_accuracy(learn.cls, learn.labels, held.cls, held.labels),
                seconds,
                (len(learn) + len(held)) / max(seconds, 1e-9),
                held.provenance,
            )
        )
    return rows


def study_table(rows: Sequence[StudyRow]) -> str:
    """Show the study as text: a line for each preprocessing, accuracies in percent, cost in seconds.

    Under each C: test accuracy of the fit on nine tenths of the training rows, and the fit's seconds; a star
    marks the C that the held-out tenth chose. "refit": with that C, on all training rows.
    """
    heads = [f"C = {trial.c:.2g}" for trial in rows[0].probe.trials]
    table = [
        ["statistics", "interpolation", "size", *heads, "refit", "95 %", "k-NN", "extract s", "images/s"]
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
        cells += [f"{100 * row.report.accuracy:.2f}", f"{low}-{high}", f"{100 * row.knn:.2f}"]
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
    imagenet, cifar = ({"mean": mean, "std": std} for mean, std in _STATISTICS.values())
    factors = {
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
    half = max(row.report.interval[1] - row.report.interval[0] for row in rows) / 2
    return "\n".join([*lines, f"With so few test pictures one accuracy is known to {100 * half:.2f} points."])


def _mean_change(name: str, changes: Sequence[float]) -> str:
    return f"{name}: {100 * np.mean(changes):+.2f} points (mean of {len(changes)})"


def write_csv(rows: Sequence[StudyRow], path: str | Path) -> None:
    """Write a line for every preprocessing and C: accuracies from 0 to 1, and what each cost in seconds."""
    with Path(path).open("w", newline="") as file:
        writer = None
        for row in rows:
            how = row.preprocessing
            for trial in row.probe.trials:
                cell = {
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
                    "knn_accuracy": row.knn,
                    "extract_seconds": row.extract_seconds,
                    "provenance": row.provenance,
                }
                if writer is None:
                    writer = csv.DictWriter(file, cell)
                    writer.writeheader()
                writer.writerow(cell)
