"""The command `python -m dinov2_edu probe`: this book's two probes, or an official evaluation by its name."""

import argparse
from typing import Any

from dinov2_edu.checks import require
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.inputs import (
    backbone_of,
    c_grid_of,
    check_size,
    default_sizes,
    device_of,
    extraction_of,
    pictures_of,
)
from dinov2_edu.features import Features, Preprocessing, extract_features
from dinov2_edu.features.sources import as_pictures
from dinov2_edu.probe.knn import knn_report
from dinov2_edu.probe.logistic import logistic_probe
from dinov2_edu.probe.protocols import official_probe
from dinov2_edu.probe.report import ProbeReport


def run(options: argparse.Namespace) -> None:
    """Extract, classify, and print the reports.

    Raises:
        ValueError: options or pictures that cannot be used.
    """
    c_grid, n_layers = c_grid_of(options), options.layers or 1
    backbone = backbone_of(options, device_of(options.device))
    depth = backbone.model.config.depth
    require(n_layers <= depth, f"--layers must lie in 1 to {depth} with {backbone.name}, got {n_layers}")
    official = options.protocol is None or (options.layers, options.c, options.all_c) == (None, None, False)
    require(official, "--protocol chooses layers and C itself: leave out --layers, --c and --all-c")
    require(options.steps is None or options.protocol == "linear", "--steps goes with --protocol linear")
    size = options.size or default_sizes(backbone)[0]
    check_size(size, backbone, "--size")
    say("reading the pictures")
    train, test = pictures_of(options)
    extraction = extraction_of(options, n_layers=n_layers)
    if options.protocol:
        print_protocol(options, backbone.model, (train, test), size, extraction)
        return
    learn, held = (
        extract_features(backbone.model, pictures, preprocessing=Preprocessing(size=size), **extraction)
        for pictures in (train, test)
    )
    for features in (learn, held):
        print(features.provenance)
        for name, reason in features.skipped:
            print(f"skipped {name}: {reason}")
    labels, truth = learn.known_labels, held.known_labels
    print(knn_report(learn.cls, labels, held.cls, truth, held.class_names))
    say("choosing C")
    report = logistic_probe(learn.cls, labels, c_grid=c_grid).report(held.cls, truth, held.class_names)
    print(report)
    print_mistakes(report, held, test)
    if options.layers is not None:
        fitted = logistic_probe(learn.linear_eval, labels, c_grid=c_grid)
        report = fitted.report(held.linear_eval, truth, held.class_names)
        print(f"class tokens of the last {n_layers} blocks and the mean patch token: {report.headline}")


def print_protocol(
    options: argparse.Namespace, model: Any, sets: tuple[Any, Any], size: int, how: dict
) -> None:
    """Evaluate by an official protocol; print its report, and the settings that did best on the held-out tenth."""
    say(f"evaluating as the official {options.protocol} does")
    how |= {"steps": options.steps} if options.steps else {}
    train, test = sets
    found = official_probe(model, train, test, options.protocol, size=size, **how)
    print(found.provenance)
    print(found.report)
    for choice in sorted(found.choices, key=lambda one: -one.held_out)[:5]:
        print(f"  {choice.setting}: held-out {100 * choice.held_out:.2f} %, test {100 * choice.test:.2f} %")


def print_mistakes(report: ProbeReport, held: Features, test: Any) -> None:
    """Name the five pictures that the probe was surest of and wrong about."""
    for row in report.mistakes[:5]:
        name = as_pictures(test).name_of(int(held.indices[row]))
        taken, truth = (
            report.class_names[report.predictions[row]],
            report.class_names[int(held.known_labels[row])],
        )
        print(
            f"  sure and wrong: {name}, a {truth} taken for {taken} with {100 * report.confidence[row]:.1f} %"
        )
