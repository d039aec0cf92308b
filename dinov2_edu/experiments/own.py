"""Own pictures on the command line: what `train folder`, `probe --data` and `features` share."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dinov2_edu.checks import require
from dinov2_edu.data import ImageSet
from dinov2_edu.data.imageset import even_rows
from dinov2_edu.data.own import (
    NO_CLASS,
    OwnFolder,
    OwnPictures,
    labelled_rows,
    look_over,
    read_own,
)
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.evaluation import knn_evaluator, pixel_rows
from dinov2_edu.experiments.own_run import OwnRun, own_run, own_side
from dinov2_edu.features.sources import FilePictures
from dinov2_edu.probe import knn_accuracy
from dinov2_edu.training.checkpoint import read_checkpoint
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.folder import CHECKPOINT
from dinov2_edu.training.network import Network
from dinov2_edu.training.processes import rank
from dinov2_edu.training.state import build_state


def read_for_training(options: argparse.Namespace) -> tuple[OwnPictures, OwnRun]:
    """The pictures of `--data`, and the settings that follow from them; of a run under way its side and length.

    Raises:
        ValueError: no folder is named, or its pictures cannot be trained on.
    """
    require(options.data is not None, "train folder needs --data DIR, the folder of the pictures")
    kept = _begun(options.folder)
    folder = look_over(options.data)
    folder.check_whole()
    say(str(folder))
    require(
        folder.shorter_side > 0,
        f"{folder.name}: of none of the {len(folder):,} pictures the header can be read, {folder.name_of(0)} among "
        "them: they are empty, damaged or of another kind than their names say; fetch them again, or name another "
        "folder",
    )
    side = options.side or kept.get("side") or own_side(folder.shorter_side)
    on_error = "skip" if options.skip_unreadable else "raise"
    pictures = read_own(folder, side, on_error=on_error, progress=rank() == 0)
    say_left_out(pictures)
    run = own_run(len(pictures.learnt_from), side, options.steps or kept.get("steps"))
    if not kept:
        for choice in run.choices:
            say(f"  {choice.setting}: {choice.value} ({choice.why})")
    return pictures, run


def _begun(folder: Path) -> dict[str, int]:
    """Side and length of the run in a folder; nothing where there is none."""
    if not (folder / CHECKPOINT).is_file():
        return {}
    config = read_checkpoint(folder / CHECKPOINT)["config"]
    return {"side": config["vit"]["img_size"], "steps": config["steps"]}


def say_left_out(pictures: OwnPictures) -> None:
    """Name what could not be read and what was there twice, and say how the run will be judged."""
    say_list("not read", (f"{name}: {reason}" for name, reason in pictures.skipped))
    say_list("the same file twice, counted once", (f"{a} = {b}" for a, b in pictures.duplicates))
    n_held = int(pictures.held_out.sum())
    if pictures.judged_by() is None:
        say("no k-NN accuracy: fewer than two sub-folders hold enough pictures to judge by")
    else:
        say(f"{n_held} pictures with a class are held out, to judge the run by k-NN; labels train nothing")


def say_list(title: str, lines: Iterable[str]) -> None:
    """A count and the first few of some lines; nothing of none."""
    lines = list(lines)
    if lines:
        rest = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
        say(f"{title} ({len(lines)}): {'; '.join(lines[:5])}{rest}")


def baselines(sets: tuple[ImageSet, ImageSet], config: TrainConfig) -> dict[str, float]:
    """k-NN accuracy, 0 to 1, of raw pixels less the mean picture, and of the run's network before its first step."""
    known, asked = sets
    rows = pixel_rows(*sets)
    untrained: Network = build_state(config).teacher
    return {
        "raw pixels": knn_accuracy(rows[0], known.labels, rows[1], asked.labels),
        "random weights": knn_evaluator(known, asked)(untrained.backbone),
    }


def labelled_halves(path: Path, limit: int | None = None) -> tuple[FilePictures, FilePictures]:
    """A folder's pictures with a class, as files: those that `train folder` learns from, and those it holds out.

    Each picture is there once, with the class that `read_own` gives it.

    Raises:
        ValueError: fewer than two classes on either side.
    """
    folder = look_over(path)
    folder.check_whole()
    labels = torch.tensor(folder.labels)
    halves = []
    for rows in labelled_rows(folder):
        found = labels[rows].unique()
        require(
            len(found) >= 2,
            f"{folder.name} has {len(found)} sub-folders with enough pictures, and a probe needs two classes: "
            "put each class into a sub-folder of its own, or name --train and --test",
        )
        if limit is not None:
            rows = rows[even_rows(len(rows), limit)]
        halves.append(files_of(folder, rows))
    return halves[0], halves[1]


def files_of(folder: OwnFolder, rows: Tensor | None = None) -> FilePictures:
    """Pictures of a folder, decoded just ahead of their use, with labels where every one has a class."""
    labels = torch.tensor(folder.labels)
    chosen = torch.arange(len(folder)) if rows is None else rows
    known: Any = labels[chosen] if bool((labels[chosen] != NO_CLASS).all()) else None
    items = [folder.paths[row] for row in chosen.tolist()]
    return FilePictures(items, known, folder.class_names if known is not None else (), folder.name)
