"""The command `python -m dinov2_edu probe`: probe frozen features, or study what changes them."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from dinov2_edu.data import DataUnavailable, cache_dir, cifar10_or_patterns
from dinov2_edu.door import require
from dinov2_edu.experiments.study import run_study, study_preprocessings
from dinov2_edu.experiments.study_text import study_summary, study_table, write_csv
from dinov2_edu.features import CacheError, ExtractOptions, Preprocessing, extract_features
from dinov2_edu.features.sources import FilePictures, as_pictures
from dinov2_edu.probe.knn import knn_report
from dinov2_edu.probe.logistic import C_GRID, SHORT_C_GRID, logistic_probe
from dinov2_edu.weights import LoadedBackbone, WeightsUnavailable, available_backbone, load_backbone


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dinov2_edu probe",
        description="Extract frozen features, then classify by k-NN and by logistic regression. "
        "Everything is cached: an interrupted run, started again, goes on where it stopped.",
        epilog="Own pictures: --train and --test name folders with a subfolder for each class.",
    )
    add = parser.add_argument
    add(
        "--study",
        action="store_true",
        help="vary normalisation, interpolation, input size and C; print a table",
    )
    add(
        "--weights",
        metavar="NAME",
        help="backbone: vits14, vits14_reg4, book, random ... (default: best at hand)",
    )
    add(
        "--train", metavar="FOLDER", help="training pictures (default: CIFAR-10, or Patterns10 with a notice)"
    )
    add("--test", metavar="FOLDER", help="test pictures; goes with --train")
    add(
        "--limit",
        type=int,
        metavar="N",
        help="at most N training and N test pictures, spread over the classes",
    )
    add(
        "--sizes",
        type=int,
        nargs="+",
        metavar="PIXELS",
        help="input sizes; without --study the first one counts",
    )
    add("--c", type=float, nargs="+", metavar="C", help="values of C to choose from (default: six decades)")
    add("--all-c", action="store_true", help="the official evaluation's 45 values of C")
    add(
        "--skip-unreadable",
        action="store_true",
        help="name pictures that cannot be read and go on without them",
    )
    add(
        "--layers",
        type=int,
        metavar="N",
        help="fit also on the class tokens of the last N blocks and the mean patch token (the paper's linear "
        "evaluation: 1 or 4)",
    )
    add("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    add("--precision", default="auto", help="auto, float32, bfloat16 or float16 (default: auto)")
    add("--cache", metavar="FOLDER", help="feature cache (default: the package's cache folder)")
    add("--out", metavar="FILE", help="with --study: write every cell to a CSV file")
    return parser


def _spread(pictures: Any, limit: int | None) -> Any:
    """Every so-manieth picture of a folder, so that each class keeps its share."""
    pictures = as_pictures(pictures)
    require(
        pictures.labels is not None,
        f"{pictures.name} has no class folders: the probe needs a subfolder for each class",
    )
    if limit is None or limit >= len(pictures):
        return pictures
    rows = [number * len(pictures) // limit for number in range(limit)]
    items = [pictures.items[row] for row in rows]
    return FilePictures(items, pictures.labels[rows], pictures.class_names, f"{pictures.name} (part)")


def _pictures(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """Training and test pictures."""
    require(
        arguments.limit is None or arguments.limit >= 1, f"--limit must be at least 1, got {arguments.limit}"
    )
    require(
        (arguments.train is None) == (arguments.test is None),
        "--train and --test go together: give both or neither",
    )
    if arguments.train is None:
        limits = [arguments.limit and min(arguments.limit, most) for most in (50000, 10000)]
        return cifar10_or_patterns("train", limits[0]), cifar10_or_patterns("test", limits[1])
    train, test = (_spread(folder, arguments.limit) for folder in (arguments.train, arguments.test))
    same = train.class_names == test.class_names
    require(
        same,
        f"{arguments.train} has classes {train.class_names}, {arguments.test} has {test.class_names}: "
        "make them alike",
    )
    return train, test


def _default_sizes(backbone: LoadedBackbone) -> tuple[int, ...]:
    """Native size first for small models; sizes that two cores can pay for with the official ones."""
    config = backbone.model.config
    wanted = (
        (224, 168, 112) if config.img_size > 64 else tuple(config.img_size * part // 2 for part in (2, 3, 4))
    )
    return tuple(size // config.patch_size * config.patch_size for size in wanted)


def _probe(
    backbone: LoadedBackbone, train: Any, test: Any, size: int, c_grid: Any, extraction: dict, layers: bool
) -> None:
    """One preprocessing: both probes with their reports; with `layers` also the features of several layers."""
    how = Preprocessing(size=size)
    learn, held = (
        extract_features(backbone.model, data, preprocessing=how, **extraction) for data in (train, test)
    )
    for features in (learn, held):
        print(features.provenance)
        for name, reason in features.skipped:
            print(f"skipped {name}: {reason}")
    print(knn_report(learn.cls, learn.labels, held.cls, held.labels, held.class_names))
    probe = logistic_probe(learn.cls, learn.labels, c_grid=c_grid)
    report = probe.report(held.cls, held.labels, held.class_names)
    print(report)
    for row in report.mistakes[:5]:
        name = as_pictures(test).name_of(int(held.indices[row]))
        taken, truth = report.class_names[report.predictions[row]], report.class_names[int(held.labels[row])]
        print(
            f"  sure and wrong: {name}, a {truth} taken for {taken} with {100 * report.confidence[row]:.1f} %"
        )
    if layers:
        probe = logistic_probe(learn.linear_eval, learn.labels, c_grid=c_grid)
        report = probe.report(held.linear_eval, held.labels, held.class_names)
        n_layers = extraction["options"].n_layers
        print(f"class tokens of the last {n_layers} blocks and the mean patch token: {report.headline}")


def _device(name: str | None) -> torch.device:
    """The device to work on, tried out before anything is loaded."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        raise ValueError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}") from error


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments ask.

    Raises:
        ValueError: arguments or pictures that cannot be used.
    """
    device = _device(arguments.device)
    if arguments.weights:
        backbone = LoadedBackbone(load_backbone(arguments.weights, device=device), arguments.weights, "")
    else:
        backbone = available_backbone(device=device)
    train, test = _pictures(arguments)
    sizes = tuple(arguments.sizes or _default_sizes(backbone))
    c_grid = C_GRID if arguments.all_c else tuple(arguments.c or SHORT_C_GRID)
    extraction = {
        "cache_dir": Path(arguments.cache) if arguments.cache else cache_dir() / "features",
        "on_error": "skip" if arguments.skip_unreadable else "raise",
        "options": ExtractOptions(1 if arguments.layers is None else arguments.layers, arguments.precision),
    }
    if not arguments.study:
        _probe(backbone, train, test, sizes[0], c_grid, extraction, arguments.layers is not None)
        return
    pictures = as_pictures(train)
    # Pictures of a folder have any size: there no combination is left out.
    smallest = min(pictures.images.shape[-2:]) if hasattr(pictures, "images") else max(sizes) + 1
    rows = run_study(
        backbone.model, train, test, study_preprocessings(sizes, smallest), c_grid=c_grid, **extraction
    )
    print(f"\nWeights: {backbone.name}. {backbone.notice}")
    held = as_pictures(test)
    print(f"Training: {len(pictures)} pictures, {pictures.name}. Test: {len(held)} pictures, {held.name}.\n")
    print(study_table(rows) + "\n\n" + study_summary(rows))
    if arguments.out:
        write_csv(rows, arguments.out)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 if all went well, 2 with a sentence on what was wrong."""
    try:
        run(_parser().parse_args(arguments))
    except (ValueError, CacheError, DataUnavailable, WeightsUnavailable, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
