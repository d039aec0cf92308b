"""What commands are given in words, and what it becomes: a device, pictures with labels, a backbone."""

import argparse
from typing import Any

import torch
from torch import Tensor

from dinov2_edu.checks import require
from dinov2_edu.data import cache_dir, cifar10_or_patterns
from dinov2_edu.data.imageset import even_rows
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.own import labelled_halves, say_list
from dinov2_edu.features import OFFICIAL_EVAL, ExtractOptions
from dinov2_edu.features.sources import as_pictures
from dinov2_edu.probe.logistic import C_GRID, SHORT_C_GRID
from dinov2_edu.weights import LoadedBackbone, available_backbone, load_backbone


def device_of(name: str | None) -> torch.device:
    """The device to work on, tried out before anything is loaded.

    Raises:
        ValueError: it cannot be used here.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        raise ValueError(f"--device {name} cannot be used here: {str(error).splitlines()[0]}") from error


def backbone_of(options: argparse.Namespace, device: torch.device) -> LoadedBackbone:
    """The backbone that `--weights` names, or the best at hand."""
    if options.weights:
        return LoadedBackbone(load_backbone(options.weights, device=device), options.weights, "")
    return available_backbone(device=device)


def c_grid_of(options: argparse.Namespace) -> tuple[float, ...]:
    """The values of C to choose from.

    Raises:
        ValueError: one that is not above 0, or `--all-c` beside them.
    """
    require(
        not (options.c and options.all_c), "--c and --all-c both name the values of C: give one of the two"
    )
    for c in options.c or ():
        require(0 < c < float("inf"), f"--c takes finite numbers above 0, got {c}")
    return C_GRID if options.all_c else tuple(options.c or SHORT_C_GRID)


def extraction_of(options: argparse.Namespace, *, n_layers: int = 1) -> dict[str, Any]:
    """What `extract_features` gets besides model, pictures and preprocessing."""
    return {
        "cache_dir": options.cache or cache_dir() / "features",
        "on_error": "skip" if options.skip_unreadable else "raise",
        "options": ExtractOptions(n_layers, options.precision),
    }


def check_size(size: int, backbone: LoadedBackbone, option: str) -> None:
    """Refuse an input size that the patches do not tile, in the words of the option that gave it."""
    patch = backbone.model.config.patch_size
    nearest = max(1, round(size / patch)) * patch
    require(size % patch == 0, f"{option} {size} is not a multiple of the patch size {patch}: try {nearest}")


def pictures_of(options: argparse.Namespace) -> tuple[Any, Any]:
    """Training and test pictures with labels.

    Test pictures of a class that no training picture has, as a small class or a small `--limit` leaves them, are left
    out and named.

    Raises:
        ValueError: one folder without the other, two of different classes, `--data` beside them, or fewer than two
            classes are left.
    """
    train, test = _given_pictures(options)
    return train, _answerable(train, test)


def _given_pictures(options: argparse.Namespace) -> tuple[Any, Any]:
    """Training and test pictures as the options name them."""
    if options.data is not None:
        alone = options.train is None and options.test is None
        require(alone, "--data holds out its own test pictures: leave out --train and --test")
        return labelled_halves(options.data, options.limit)
    given = options.train is None, options.test is None
    require(given[0] == given[1], "--train and --test go together: give both or neither")
    if options.train is None:
        say(
            "CIFAR-10; where it cannot be had Patterns10 is drawn instead, which takes minutes without --limit"
        )
        limits = [options.limit and min(options.limit, most) for most in (50000, 10000)]
        return cifar10_or_patterns("train", limits[0]), cifar10_or_patterns("test", limits[1])
    train, test = (_spread(folder, options.limit) for folder in (options.train, options.test))
    require(
        train.class_names == test.class_names,
        f"{options.train} has classes {train.class_names}, {options.test} has {test.class_names}: make them alike",
    )
    return train, test


def _answerable(train: Any, test: Any) -> Any:
    """The test pictures whose class some training picture has; the others are named, before any work is done."""
    known = torch.isin(test.labels, train.labels)
    _check_two_classes(train.labels, train.name)
    if bool(known.all()):
        return test
    lost = (~known).nonzero()[:, 0].tolist()
    names = as_pictures(test)
    say_list(
        "left out, because no picture of their class is there to learn from",
        (f"{names.name_of(row)} ({test.class_names[test.labels[row]]})" for row in lost),
    )
    _check_two_classes(test.labels[known], test.name)
    return test.subset(known.nonzero()[:, 0])


def _check_two_classes(labels: Tensor, name: str) -> None:
    n_left = len(labels.unique())
    require(
        n_left >= 2,
        f"{name}: {n_left} of its classes have a picture to learn from, and a probe needs two: "
        "add pictures of each class, or raise --limit",
    )


def _spread(pictures: Any, limit: int | None) -> Any:
    """Pictures at even distances in a folder, so that each class keeps its share."""
    pictures = as_pictures(pictures)
    require(
        pictures.labels is not None,
        f"{pictures.name} has no class folders: the probe needs a subfolder for each class",
    )
    if limit is None or limit >= len(pictures):
        return pictures
    return pictures.subset(even_rows(len(pictures), limit))


def default_sizes(backbone: LoadedBackbone) -> tuple[int, ...]:
    """Native size first for small models; sizes that two cores can pay for with the official ones.

    Small are those made for pictures of less than the 224 pixels of the official evaluation, as own runs of all sides.
    """
    config = backbone.model.config
    small = config.img_size < OFFICIAL_EVAL.size
    wanted = tuple(config.img_size * part // 2 for part in (2, 3, 4)) if small else (224, 168, 112)
    return tuple(size // config.patch_size * config.patch_size for size in wanted)
