"""Train from the command line: `python -m dinov2_edu train patterns10 runs/first`.

`train folder runs/mine --data DIR` learns from pictures of one's own. Run a command again with the same folder and it
goes on where it stopped. Under `torchrun --nproc-per-node N -m dinov2_edu train ...` N processes share each batch.
"""

import argparse
import contextlib
import json
from dataclasses import replace
from pathlib import Path

import torch

from dinov2_edu.checks import require
from dinov2_edu.data import ImageSet, load_cifar10, patterns10
from dinov2_edu.experiments.book_run import book_run
from dinov2_edu.experiments.commands import INTERRUPTED, say
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.inputs import device_of
from dinov2_edu.experiments.own import baselines, read_for_training
from dinov2_edu.experiments.own_run import OwnRun
from dinov2_edu.experiments.presets import PRESETS, with_steps
from dinov2_edu.experiments.sparklines import TerminalCurves
from dinov2_edu.files import write_whole
from dinov2_edu.training.checkpoint import fingerprint_of, load_checkpoint, start_from
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import diagnose
from dinov2_edu.training.folder import CHECKPOINT, hold_run, say_differences
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.processes import process_group, rank
from dinov2_edu.training.state import TrainState, build_state
from dinov2_edu.weights import WeightsUnavailable


def load_data(preset: str) -> tuple[ImageSet, ImageSet]:
    """The training and test images of a preset; labels serve evaluation alone."""
    if preset == "patterns10":
        say("drawing 12,000 pictures of Patterns10, which takes up to two minutes")
        return patterns10(10_000), patterns10(2_000, split="test")
    say("reading CIFAR-10")
    return load_cifar10("train"), load_cifar10("test")


def config_asked(options: argparse.Namespace, own: OwnRun | None = None) -> TrainConfig:
    """The preset, or what own pictures lead to, with the changes that were asked for.

    Raises:
        ValueError: `--steps` leaves nothing after the warm-up.
    """
    config = PRESETS[options.preset]() if own is None else own.config
    changes = {name: getattr(options, name) for name in ("seed", "precision")}
    config = replace(config, **{name: value for name, value in changes.items() if value is not None})
    return with_steps(config, options.steps)


def previous_run(options: argparse.Namespace, device: torch.device) -> TrainState | None:
    """The run whose networks a new one begins with, where one was asked for."""
    require(
        options.start_from is not None or not options.fresh_heads,
        "--fresh-heads goes with --start-from: a run from fresh weights has fresh heads",
    )
    if options.start_from is None:
        return None
    if options.start_from == "book":
        try:
            return book_run(device, heads=not options.fresh_heads)
        except WeightsUnavailable as error:
            raise ValueError(
                f"--start-from book: {error}. With --fresh-heads the backbone is enough"
            ) from error
    return load_checkpoint(options.start_from / CHECKPOINT, device)


def start(
    options: argparse.Namespace,
    folder: Path,
    asked: TrainConfig,
    previous: TrainState | None,
    device: torch.device,
) -> TrainState:
    """Resume from the folder, or begin a new run, from the networks of `previous` where it is given.

    Raises:
        ValueError: the folder holds another run than the one asked for.
    """
    if not (folder / CHECKPOINT).exists():
        if previous is None:
            return build_state(asked, device)
        return start_from(previous, asked, fresh_heads=options.fresh_heads)
    state = load_checkpoint(folder / CHECKPOINT, device)
    differences = state.config.differences(asked)
    for name in ("steps", "seed", "precision", "compile"):  # what was not asked for stays as it was begun
        if getattr(options, name, None) in (None, "auto"):
            differences.pop(name, None)
    if previous is not None:
        begun_from = fingerprint_of(previous, backbones_only=options.fresh_heads)
        if state.origin != begun_from:
            differences["--start-from"] = state.origin or None, begun_from
    require(not differences, say_differences(folder, differences))
    return state


def run(options: argparse.Namespace) -> int:
    """Train, keep the run, and say how it went."""
    device = options.device or device_of(None).type
    device_of(device)
    own = options.preset == "folder"
    require(
        own or (options.data, options.side) == (None, None), "--data and --side go with the preset folder"
    )
    require(
        own or not options.skip_unreadable,
        f"--skip-unreadable goes with the preset folder, whose pictures are files, and not with {options.preset}: "
        "leave it out",
    )
    asked = None if own else config_asked(options)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(process_group(device))
        previous = previous_run(options, place)
        folder = stack.enter_context(hold_run(options.folder))
        if asked is None:
            pictures, chosen = read_for_training(options)
            asked, images, sets = config_asked(options, chosen), pictures.learnt_from, pictures.judged_by()
        state = start(options, folder, asked, previous, place)
        last = min(options.until or state.config.steps, state.config.steps)
        if not own:
            sets = load_data(options.preset)
            images = sets[0].images
        say(f"training from step {state.step} to {last} of {state.config.steps} in {folder}")
        follow = FitOptions(
            evaluate=knn_evaluator(*sets) if sets else None,
            folder=folder,
            checkpoint_every=options.checkpoint_every,
            evaluate_every=options.evaluate_every,
            on_log=TerminalCurves() if rank() == 0 else None,
        )
        fit(state, images, follow, until=options.until)
        if rank() == 0 and state.history:
            report(state, folder)
            if own and sets and state.history.get("knn"):
                beside = baselines(sets, state.config)
                print(
                    "k-NN without training: " + ", ".join(f"{n} {share:.1%}" for n, share in beside.items())
                )
    return INTERRUPTED if state.interrupted else 0


def report(state: TrainState, folder: Path) -> None:
    """Write the curves as JSON and print the verdict."""
    content = {"config": state.config.to_dict(), "history": state.history}
    write_whole(folder / "history.json", json.dumps(content))
    verdict = diagnose(state.history, state.config.n_prototypes)
    accuracy = f" k-NN {state.history['knn'][-1]:.1%}." if state.history.get("knn") else ""
    print(
        f"step {state.step} of {state.config.steps}: {verdict.name}.{accuracy} {verdict.evidence} {verdict.advice}"
    )
