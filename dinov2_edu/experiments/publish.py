"""Make a trained backbone the book's own checkpoint: `python -m dinov2_edu publish RUN [RUN ...]`.

The runs are those that led to it, in order; the teacher of the last one is measured beside random weights and raw
pixels, and written with its model card and the heads of its run to the package's assets. Where the first run began
with what the book shipped until now, the card keeps the runs before it.
"""

import argparse
import contextlib
import itertools
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinov2_edu.checks import require
from dinov2_edu.data import ImageSet, load_cifar10
from dinov2_edu.experiments.book_run import book_run
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.evaluation import pixel_rows, quiet_features
from dinov2_edu.probe import knn_accuracy, logistic_probe
from dinov2_edu.training.checkpoint import fingerprint_of, load_checkpoint
from dinov2_edu.training.folder import CHECKPOINT
from dinov2_edu.training.state import TrainState
from dinov2_edu.vit import VisionTransformer
from dinov2_edu.weights import (
    ASSETS,
    WeightsUnavailable,
    load_backbone,
    read_book_card,
    save_book_checkpoint,
)

C_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
C_GRID_PIXELS = (1e-5, 1e-4, 1e-3)
CURVE_POINTS = 150
"""A curve of the card holds at most about so many points."""

Accuracies = dict[str, float]


def measure(
    train: ImageSet,
    test: ImageSet,
    backbone: VisionTransformer | None = None,
    c: Mapping[str, float] | None = None,
) -> tuple[Accuracies, dict[str, float]]:
    """Accuracies on `test`, 0 to 1, of a backbone's features, or of raw pixels (less the mean picture) without one.

    Args:
        train: what is known.
        test: what is asked.
        backbone: whose features; None for raw pixels.
        c: the linear probes to fit, each with its C; None fits all and chooses C on a held-out tenth of `train`.

    Returns:
        "knn" (k = 20, temperature 0.07) and "linear" (logistic regression) of the class token, and of a backbone also
        "linear_all": class token and mean patch token side by side, and "linear_4": the same with the class tokens of
        the last four blocks (the paper's linear evaluation tries both). Then the C of each linear probe.
    """
    grid: tuple[float, ...] = C_GRID
    if backbone is None:
        sets, grid = {"": pixel_rows(train, test)}, C_GRID_PIXELS
    else:
        found = quiet_features(backbone, train, test, n_layers=min(4, backbone.config.depth))
        last = [torch.cat([part.cls, part.patch_mean], dim=1) for part in found]
        sets = {
            "": [part.cls for part in found],
            "_all": last,
            "_4": [part.linear_eval for part in found],
        }
    rows, queries = sets[""]
    accuracies = {"knn": knn_accuracy(rows, train.labels, queries, test.labels)}
    chosen = {}
    for name, (rows, queries) in sets.items():
        name = "linear" + name
        if c is not None and name not in c:
            continue
        given = None if c is None else c[name]
        probe = logistic_probe(rows, train.labels, c=given, c_grid=grid)
        accuracies[name] = probe.report(queries, test.labels, test.class_names).accuracy
        chosen[name] = probe.c
    return accuracies, chosen


def stage_of(state: TrainState) -> dict:
    """What the card says of one run: its choices, its length, its curves (thinned)."""
    curves = {}
    for name, values in state.history.items():
        every = math.ceil(len(values) / CURVE_POINTS)
        kept = values[::-1][::every][::-1]  # the last value is always among them
        curves[name] = [float(f"{value:.4g}") for value in kept]
    images = state.step * state.config.batch_size
    return {
        "config": state.config.to_dict(),
        "steps": state.step,
        "images": images,
        "origin": state.origin,
        "ends": sorted(_ends(state)),
        "curves": curves,
    }


def _ends(state: TrainState) -> set[str]:
    """How a run that began with this one knows it: by all its networks, or by the backbones alone."""
    return {fingerprint_of(state), fingerprint_of(state, backbones_only=True)}


def card_before(first: TrainState) -> dict[str, Any]:
    """Of the card that ships, what was before a run: its runs, seeds and hours up to the one that this began with.

    Raises:
        ValueError: the run began with networks that the card does not know.
    """
    none: dict[str, Any] = {"stages": [], "seeds": [], "hours": 0}
    if not first.origin:
        return none
    card, shipped = none, set()
    with contextlib.suppress(WeightsUnavailable):
        card = none | read_book_card()
        shipped.add(fingerprint_of(book_run(heads=False), backbones_only=True))
        shipped.add(fingerprint_of(book_run()))
    stages = card["stages"]
    if stages:  # what ships is in half precision, and other runs may begin with it
        stages[-1]["ends"] = sorted(shipped.union(stages[-1].get("ends", ())))
    again = [i for i, stage in enumerate(stages) if stage.get("origin") == first.origin]
    ended = [i + 1 for i, stage in enumerate(stages) if first.origin in stage.get("ends", ())]
    require(
        bool(again or ended),
        "the first of these runs began with networks that neither they nor the card of the book's checkpoint know: "
        "name the runs before it too",
    )
    n = [*again, *ended][0]
    hours = card["hours"] - sum(stage.get("hours", 0) for stage in stages[n:])
    return {"stages": stages[:n], "seeds": card["seeds"][:n], "hours": hours}


def check_chain(states: list[TrainState], folders: Sequence[Path]) -> None:
    """Refuse runs of which one did not begin where the one before it ended.

    Raises:
        ValueError: names both.
    """
    for (one, folder), (other, after) in itertools.pairwise(zip(states, folders, strict=True)):
        require(
            other.origin in _ends(one), f"{after} did not begin with the networks in which {folder} ended"
        )


def make_card(
    states: list[TrainState],
    backbone: VisionTransformer,
    sets: tuple[ImageSet, ImageSet],
    hours: Sequence[float],
    device: str,
) -> dict:
    """The model card of a backbone, the last of these runs' teacher, with accuracies measured now."""
    before, (train, test) = card_before(states[0]), sets
    new = [stage_of(state) | {"hours": spent} for state, spent in zip(states, hours, strict=True)]
    stages = before["stages"] + new
    images = sum(stage["images"] for stage in stages)
    subjects = {
        "book": backbone,
        "random weights": load_backbone("random"),
        "raw pixels": None,
    }
    measured = {name: measure(train, test, backbone) for name, backbone in subjects.items()}
    return {
        "data": f"{train.name}, without labels",
        "measured_on": f"{len(train):,} labelled training pictures, {test.name}",
        "weights": "teacher, half precision",
        "seeds": before["seeds"] + [state.config.seed for state in states],
        "hours": round(before["hours"] + sum(hours), 2),
        "device": device,
        "torch": torch.__version__,
        "images_seen": images,
        "epochs": round(images / len(train), 2),
        "accuracy": {name: accuracies for name, (accuracies, _) in measured.items()},
        "c": {name: chosen for name, (_, chosen) in measured.items()},
        "stages": stages,
    }


def heads_of(state: TrainState) -> dict[str, Tensor]:
    """What both networks have besides their backbones, by names such as "teacher.dino_head.mlp.0.weight"."""
    networks = {"student": state.student_network, "teacher": state.teacher}
    return {
        f"{who}.{name}": weight
        for who, network in networks.items()
        for name, weight in network.state_dict().items()
        if not name.startswith("backbone.")
    }


def run(options: argparse.Namespace) -> None:
    """Measure, write, and print the accuracies.

    Raises:
        ValueError: not one number of hours a run, or runs that did not begin where the one before ended.
    """
    require(
        len(options.hours) == len(options.runs),
        f"--hours wants a number for each run, {len(options.runs)}, got {len(options.hours)}",
    )
    states = [load_checkpoint(folder / CHECKPOINT) for folder in options.runs]
    check_chain(states, options.runs)
    say("reading CIFAR-10")
    train, test = load_cifar10("train"), load_cifar10("test")
    teacher = states[-1].teacher.backbone
    backbone = VisionTransformer(teacher.config)  # what is measured is what will be read back
    backbone.load_state_dict({name: weight.half().float() for name, weight in teacher.state_dict().items()})
    say("measuring the backbone, random weights and raw pixels")
    device = options.device or platform.machine()
    card = make_card(states, backbone.eval(), (train, test), options.hours, device)
    path = save_book_checkpoint(backbone, card, options.folder or ASSETS, heads=heads_of(states[-1]))
    for name, accuracies in card["accuracy"].items():
        print(f"{name:>15}: " + ", ".join(f"{key} {value:.1%}" for key, value in accuracies.items()))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
