"""Train from the command line: `python -m dinov2_edu train patterns10 runs/first`.

Run it again with the same folder and it goes on where it stopped. Under `torchrun --nproc-per-node N -m
dinov2_edu.training ...` N processes share each batch.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from dinov2_edu.data import ImageSet, load_cifar10, patterns10
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.presets import PRESETS
from dinov2_edu.experiments.sparklines import TerminalCurves
from dinov2_edu.training.checkpoint import load_checkpoint, start_from
from dinov2_edu.training.diagnosis import diagnose
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.processes import process_group, rank
from dinov2_edu.training.state import TrainState, build_state


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m dinov2_edu train", description=__doc__.splitlines()[0])
    parser.add_argument("preset", choices=sorted(PRESETS), help="which data, and which settings for it")
    parser.add_argument(
        "folder", type=Path, help="where checkpoint.pt and history.json are kept; resumes from there"
    )
    parser.add_argument("--steps", type=int, help="length of the run and of its schedules, of a new run")
    parser.add_argument(
        "--start-from",
        type=Path,
        metavar="FOLDER",
        help="begin a new run with the networks of this finished one",
    )
    parser.add_argument("--until", type=int, help="stop after this step; run again to go on")
    parser.add_argument("--seed", type=int, help="of a new run")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpoint-every", type=int, default=500, help="steps between two checkpoints")
    parser.add_argument("--evaluate-every", type=int, default=500, help="steps between two k-NN accuracies")
    return parser.parse_args(arguments)


def load_data(preset: str) -> tuple[ImageSet, ImageSet]:
    """The training and test images of a preset; labels serve evaluation alone."""
    if preset == "patterns10":
        return patterns10(10_000), patterns10(2_000, split="test")
    return load_cifar10("train"), load_cifar10("test")


def start(options: argparse.Namespace, device: torch.device) -> TrainState:
    """Resume from the folder, or begin a new run."""
    checkpoint = options.folder / "checkpoint.pt"
    if checkpoint.exists():
        return load_checkpoint(checkpoint, device)
    changes = {
        name: getattr(options, name) for name in ("steps", "seed") if getattr(options, name) is not None
    }
    config = replace(PRESETS[options.preset](), **changes)
    if options.start_from is None:
        return build_state(config, device)
    return start_from(load_checkpoint(options.start_from / "checkpoint.pt", device), config)


def main(arguments: list[str] | None = None) -> None:
    """Train, keep the run, and say how it went."""
    options = parse(arguments)
    with process_group(options.device) as device:
        train, test = load_data(options.preset)
        state = start(options, device)
        watch = FitOptions(
            evaluate=knn_evaluator(train, test),
            folder=options.folder,
            checkpoint_every=options.checkpoint_every,
            evaluate_every=options.evaluate_every,
            on_log=TerminalCurves() if rank() == 0 else None,
        )
        fit(state, train.images, watch, until=options.until)
        if rank() == 0 and state.history:
            report(state, options.folder)


def report(state: TrainState, folder: Path) -> None:
    """Write the curves as JSON and print the verdict."""
    content = {"config": state.config.to_dict(), "history": state.history}
    (folder / "history.json").write_text(json.dumps(content))
    verdict = diagnose(state.history, state.config.n_prototypes)
    accuracy = f" k-NN {state.history['knn'][-1]:.1%}." if state.history.get("knn") else ""
    print(
        f"step {state.step} of {state.config.steps}: {verdict.name}.{accuracy} {verdict.evidence} {verdict.advice}"
    )


if __name__ == "__main__":
    main()
