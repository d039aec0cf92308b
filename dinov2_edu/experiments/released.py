"""How the released models were made, in small, on Patterns10: a teacher, students that are distilled from it, students
that learn alone, and a last phase of the teacher at a higher resolution; all but the teacher from three seeds.

`python -m dinov2_edu released FOLDER` trains the teacher into FOLDER and writes what was measured to the package's
`assets/released.json`, where chapter 12 reads it. What is there already is not trained again; a teacher that was
stopped goes on from FOLDER, and a finished one is read from there.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from dinov2_edu.checks import checked, require
from dinov2_edu.data import ImageSet, patterns10
from dinov2_edu.data.mosaics import pattern_mosaics
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.evaluation import dense_evaluator, knn_evaluator
from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.files import local_path, write_whole
from dinov2_edu.training.checkpoint import load_checkpoint, save_checkpoint, start_from
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.distillation import distill_from
from dinov2_edu.training.folder import CHECKPOINT, say_differences
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.state import TrainState, build_state
from dinov2_edu.training.step import LossFunction, compute_losses
from dinov2_edu.vit import VisionTransformer

RECORDED = Path(__file__).parents[1] / "assets" / "released.json"
SEEDS = (0, 1, 2)
SIZES = (32, 64)
"""Sides in pixels that the last phase compares."""
LAST_STEPS = 100
"""Of the last phase."""
STUDENT_STEPS = 500
SAMPLE = (10_000, 2_000)
"""Pictures to learn from and pictures to test on."""
N_MOSAICS = (600, 300)
"""The same for the dense measure."""

KEPT = (
    "step",
    "loss",
    "dino_local",
    "ibot",
    "target_entropy",
    "mean_target_entropy",
    "feature_spread",
    "knn",
    "knn_step",
)
"""Curves of a run that are recorded."""

Measure = Callable[[VisionTransformer], float]


@checked
def student_run(seed: int = 0, steps: int = STUDENT_STEPS) -> TrainConfig:
    """A backbone half as wide as the teacher's, a fourth of its weights; all else as in the teacher's run."""
    config = patterns10_run()
    return replace(config, vit=replace(config.vit, width=48), steps=steps, seed=seed)


@checked
def last_phase(config: TrainConfig, size: int, seed: int = 0, steps: int = LAST_STEPS) -> TrainConfig:
    """The last steps at another resolution: crops of this size, local ones half as large, a third of the learning rate.

    Source: paper, section 4 ("Adapting the resolution") and appendix B.2: a short phase after pretraining.
    """
    return replace(
        config,
        crops=replace(config.crops, global_size=size, local_size=size // 2),
        lr=(config.lr[0] / 3, config.lr[1]),
        warmup_steps=steps // 10,
        steps=steps,
        seed=seed,
    )


@cache
def pictures(size: int = SIZES[0]) -> tuple[ImageSet, ImageSet]:
    """Patterns10 at a size: what is learnt from, and what is tested on."""
    return patterns10(SAMPLE[0], size=size), patterns10(SAMPLE[1], split="test", size=size)


@cache
def measures(size: int = SIZES[0]) -> dict[str, Measure]:
    """k-NN accuracy of whole pictures and of single patches at a size."""
    mosaics = [
        pattern_mosaics(n, split=split, size=size)
        for n, split in zip(N_MOSAICS, ("train", "test"), strict=True)
    ]
    return {"knn": knn_evaluator(*pictures(size)), "dense": dense_evaluator(*mosaics)}


def followed(
    state: TrainState,
    *,
    every: int,
    losses_of: LossFunction = compute_losses,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Train to the end; return the curves with both measures, and the seconds that training alone took.

    With a folder, the dense measure and the seconds are kept in the history of its checkpoint, so that a run that was
    stopped ends with the curves of one that was not. A run that a signal ended without waiting loses the time since its
    last measure.

    Args:
        state: new, or read back from the folder.
        every: steps between two measures.
        losses_of: as in `fit`.
        folder: where the run is kept, or None for nowhere.

    Raises:
        ValueError: the folder holds another run.
        KeyboardInterrupt: it was interrupted.
    """
    learnt_from = pictures()[0].images  # before the clock starts: drawing them takes minutes
    history, begun = state.history, state.step
    if begun and "dense" not in history:
        say(f"{folder} holds no dense measure: that and the seconds count from step {begun} on")
    steps, dense, seconds = (history.setdefault(name, []) for name in ("dense_step", "dense", "seconds"))
    start = time.perf_counter()

    def evaluate(backbone: VisionTransformer) -> float:
        nonlocal start
        seconds.append(time.perf_counter() - start)
        try:
            found = {name: measure(backbone) for name, measure in measures().items()}
        finally:
            start = time.perf_counter()
        if state.step not in steps:
            steps.append(state.step)
            dense.append(found["dense"])
        return found["knn"]

    options = FitOptions(
        evaluate=evaluate,
        evaluate_every=every,
        log_every=every // 5,
        folder=folder,
        progress=False,
        checkpoint_every=every,
    )
    fit(state, learnt_from, options, losses_of=losses_of)
    if state.step > begun:
        seconds.append(time.perf_counter() - start)
        if folder is not None:
            save_checkpoint(state, folder / CHECKPOINT)
    if state.interrupted:
        raise KeyboardInterrupt
    if state.step not in steps:  # it had ended, and this did not follow it
        evaluate(state.teacher.backbone)
    curves = {key: [float(f"{value:.4g}") for value in history[key]] for key in KEPT}
    curves["dense"] = [round(value, 4) for value in dense]
    curves["dense_step"] = [float(step) for step in steps]
    return {"config": said(state.config), "history": curves, "seconds": round(sum(seconds), 1)}


def said(config: TrainConfig) -> dict[str, Any]:
    """The teacher's whole config; of any other run what differs from it."""
    changes = {name: value for name, (_, value) in patterns10_run().differences(config).items()}
    return changes or config.to_dict()


def record_teacher(folder: Path) -> dict[str, Any]:
    """The whole preset, kept in the folder: begun, taken up where it was stopped, or read where it has ended.

    Raises:
        ValueError: the folder holds another run.
        KeyboardInterrupt: it was interrupted.
    """
    config, path = patterns10_run(), folder / CHECKPOINT
    state = load_checkpoint(path) if path.exists() else build_state(config)
    differences = state.config.differences(config)
    require(not differences, say_differences(folder, differences))
    return followed(state, every=100, folder=folder)


def teacher(folder: Path) -> TrainState:
    """The teacher that has been trained.

    Raises:
        ValueError: its run has not ended.
    """
    state = load_checkpoint(folder / CHECKPOINT)
    require(
        state.step == state.config.steps, f"the teacher is at step {state.step}: train it to its end first"
    )
    return state


def record_student(seed: int, folder: Path, *, distilled: bool) -> dict[str, Any]:
    """A student of this seed, distilled from the teacher or alone; both see the same crops in the same order."""
    state = build_state(student_run(seed))
    losses_of = distill_from(teacher(folder).teacher) if distilled else compute_losses
    found = followed(state, every=50, losses_of=losses_of)
    student = state.student_network.backbone
    return found | {"student": {name: round(one(student), 4) for name, one in measures().items()}}


def record_last_phase(seed: int, folder: Path, size: int) -> dict[str, Any]:
    """What the teacher is worth at each size, after a last phase at this one (0: before it)."""
    state, seconds = teacher(folder), 0.0
    if size:
        state = start_from(state, last_phase(state.config, size, seed))
        start = time.perf_counter()
        quiet = FitOptions(progress=False, log_every=20)
        if fit(state, pictures(size)[0].images, quiet).interrupted:
            raise KeyboardInterrupt
        seconds = round(time.perf_counter() - start, 1)
    return {
        "config": said(state.config),
        "measured": measured(state.teacher.backbone),
        "seconds": seconds,
    }


def record_untrained() -> dict[str, Any]:
    """The teacher's random weights, as a baseline."""
    state = build_state(patterns10_run())
    return {"config": said(state.config), "measured": measured(state.teacher.backbone), "seconds": 0.0}


def measured(backbone: VisionTransformer) -> dict[str, dict[str, float]]:
    """Both measures at each size in pixels."""
    return {
        str(size): {name: round(one(backbone), 4) for name, one in measures(size).items()} for size in SIZES
    }


def all_runs(folder: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """Key of a run to what makes it, in the order in which they need each other."""
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "teacher": partial(record_teacher, folder),
        "before": partial(record_last_phase, 0, folder, 0),
    }
    for seed in SEEDS:
        for name, distilled in (("alone", False), ("distilled", True)):
            runs[f"{name}.{seed}"] = partial(record_student, seed, folder, distilled=distilled)
    for seed in SEEDS:
        for size in SIZES:
            runs[f"last{size}.{seed}"] = partial(record_last_phase, seed, folder, size)
    return runs | {"untrained": record_untrained}


@checked
def load_released(path: str | Path = RECORDED) -> dict[str, dict[str, Any]]:
    """The recorded runs: key, such as "distilled.1" (of seed 1), to `config`, `history` or `measured`, and `seconds`.

    Raises:
        ValueError: nothing has been recorded.
    """
    path = local_path(path)
    require(
        path.is_file(), f"no recorded runs in {path}: make them with `python -m dinov2_edu released FOLDER`"
    )
    return json.loads(path.read_text("utf-8"))


def run(options: argparse.Namespace) -> None:
    """Train what is not recorded yet."""
    path = options.out or RECORDED
    found = load_released(path) if path.is_file() else {}
    torch.set_num_threads(1)
    for name, make in all_runs(options.folder).items():
        if name not in found:
            say(f"{name}: drawing pictures and training, some minutes before the next line")
            found[name] = make()
            write_whole(path, json.dumps(found) + "\n")
        ends = found[name].get("measured") or {
            key: found[name]["history"][key][-1] for key in ("knn", "dense")
        }
        print(f"{name:>12}  {found[name]['seconds']:7.1f} s  {ends}", flush=True)
