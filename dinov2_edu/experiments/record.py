"""The command `python -m dinov2_edu record`: how soon a small DINOv2 reaches a fixed k-NN accuracy.

`RULES` says what counts. A run is one JSON object with its machine, commit, config, seed and k-NN curve, and `--out`
writes it. `record_rows` makes the table of those that were sent in.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from dinov2_edu import __version__
from dinov2_edu.checks import require
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.inputs import device_of
from dinov2_edu.experiments.presets import PRESETS, with_steps
from dinov2_edu.experiments.provenance import commit, machine_of, machine_words
from dinov2_edu.experiments.train import load_data
from dinov2_edu.files import write_whole
from dinov2_edu.shapes import ByteImages
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.state import TrainState, build_state
from dinov2_edu.vit import VisionTransformer

RULES = (
    "A preset is trained from fresh weights, without labels, by one process: at most two CPU threads, or one GPU; "
    "`--seed` and `--steps` are free.",
    "The teacher's class tokens name the whole test set by 20 nearest neighbours: on Patterns10 every 50 steps (2,000 "
    "pictures; 5,000 neighbours, drawn once), on CIFAR-10 every 250 (10,000 pictures; all 50,000 neighbours). A target "
    "is reached at the first such step at or above it.",
    "The clock counts training, crops included; drawing or reading the data and evaluating are left out. A row "
    "names its seeds, three where it is complete, and how many of them got there.",
)
"""What counts, in three lines."""


class Task(NamedTuple):
    """What runs on some data are held to.

    Attributes:
        title: name of the data.
        targets: k-NN accuracies in per cent.
        every: steps between two evaluations.
        neighbours: labelled training pictures that vote.
    """

    title: str
    targets: tuple[float, ...]
    every: int
    neighbours: int


TASKS = {
    "patterns10": Task("Patterns10", (50, 75, 90), 50, 5_000),
    "cifar10": Task("CIFAR-10", (60, 65, 70, 75), 250, 50_000),
}


def run(options: argparse.Namespace) -> None:
    """Train until the last target is reached or the run ends; say when each was reached, and write it where asked.

    Raises:
        KeyboardInterrupt: it was interrupted; the file holds what was measured until then.
    """
    device, task = device_of(options.device), TASKS[options.preset.split("-")[0]]
    config = replace(with_steps(PRESETS[options.preset](), options.steps), seed=options.seed)
    torch.set_num_threads(options.threads)
    targets = sorted(set(options.targets or task.targets))
    state = build_state(config, device)
    found = {
        "setting": options.preset + (f" --steps {options.steps}" if options.steps else ""),
        "seed": options.seed,
        "machine": machine_of(device),
        "torch": torch.__version__,
        "version": __version__,
        "commit": commit(),
        "parameters": sum(weight.numel() for weight in state.teacher.backbone.parameters()),
        "neighbours": task.neighbours,
        "config": config.to_dict(),
    }
    points: list[dict[str, float]] = []

    def keep(finished: bool) -> None:
        curve = {name: [point[name] for point in points] for name in ("step", "seconds", "knn")}
        found.update(finished=finished, reached=reached(points, targets), curve=curve)
        if options.out:
            write_whole(options.out, json.dumps(found) + "\n")

    if options.out and options.out.is_file():
        check_unfinished(options.out)
    keep(False)  # a place that takes no file is found now
    train, test = load_data(options.preset)
    evaluate = knn_evaluator(train, test, n_train=task.neighbours)
    found["data"] = [train.name, test.name]
    say(f"training at most {config.steps:,} steps, with the k-NN accuracy after every {task.every}")

    def noted(point: dict[str, float]) -> bool:
        points.append(point)
        found["evaluation_seconds"] = point["evaluation_seconds"]
        words = f"step {point['step']:,}: k-NN {point['knn']:.1%} after {point['seconds']:.0f} s of training"
        tqdm.write(words, file=sys.stderr)
        done = point["step"] == config.steps or reached(points, targets)[-1]["step"] is not None
        keep(done)
        return done

    follow(state, train.images, evaluate, task.every, noted)
    if not found["finished"]:
        raise KeyboardInterrupt
    print(said(found))


def check_unfinished(out: Path) -> None:
    """Refuse to begin anew over a measured row.

    Raises:
        ValueError: the file holds one that is finished.
    """
    try:
        finished = json.loads(out.read_text("utf-8"))["finished"]
    except (ValueError, KeyError, TypeError):
        return
    require(not finished, f"{out} holds a finished row: name another file by --out, or remove it")


class _Enough(Exception):
    """Ends `fit` before its last step."""


def follow(
    state: TrainState,
    images: ByteImages,
    evaluate: Callable[[VisionTransformer], float],
    every: int,
    noted: Callable[[dict[str, float]], bool],
) -> None:
    """Train until there is enough, to the end of the schedules, or until it is interrupted.

    Args:
        state: new; changed in place.
        images: the training set.
        evaluate: gives a backbone's k-NN accuracy, 0 to 1.
        every: steps between two evaluations; the last step is evaluated too.
        noted: says whether that is enough. It is given `step`, `pictures` seen, `knn`, and of the whole run `seconds`
            of training and `evaluation_seconds`.
    """
    start, idle = time.perf_counter(), 0.0

    def measured(backbone: VisionTransformer) -> float:
        nonlocal idle
        begun, before = time.perf_counter(), idle  # the log of this step has waited for a GPU to finish
        knn = evaluate(backbone)
        point = {
            "step": state.step,
            "pictures": state.step * state.config.batch_size,
            "seconds": round(begun - start - before, 1),
            "evaluation_seconds": round(before + time.perf_counter() - begun, 1),
            "knn": round(knn, 4),
        }
        if noted(point):
            raise _Enough
        idle += time.perf_counter() - begun
        return knn

    options = FitOptions(evaluate=measured, evaluate_every=every, log_every=every, stop_on_collapse=False)
    with contextlib.suppress(_Enough):
        fit(state, images, options)


def reached(points: Sequence[dict[str, float]], targets: Sequence[float]) -> list[dict[str, Any]]:
    """For each target in per cent the first of the points at or above it; its `step` is None where there is none."""
    kept = ("step", "pictures", "seconds", "knn")
    found: list[dict[str, Any]] = []
    for target in targets:
        first = next((point for point in points if round(100 * point["knn"], 2) >= target), None)
        found.append({"target": target, **{name: first[name] if first else None for name in kept}})
    return found


def said(found: dict[str, Any]) -> str:
    """A run in words, a line for each target."""
    lines, curve = [], found["curve"]
    for one in found["reached"]:
        if one["step"] is None:
            words = f"not reached in {curve['step'][-1]:,} steps; {max(curve['knn']):.1%} at best"
        else:
            words = (
                f"{one['seconds']:.0f} s of training, {one['step']:,} steps, {one['pictures']:,} pictures seen: "
                f"{one['knn']:.1%}"
            )
        lines.append(f"{one['target']:g} % k-NN: {words}")
    spent = f"{curve['seconds'][-1]:.0f} s of training and {found['evaluation_seconds']:.0f} s of evaluation"
    return "\n".join([*lines, f"{spent} on {machine_words(found['machine'])}, commit {found['commit']}"])
