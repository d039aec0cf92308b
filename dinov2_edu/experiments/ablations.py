"""The collapse laboratory: one healthy run on Patterns10, the same run with one thing taken away, and its parts
added one by one.

`python -m dinov2_edu ablations` trains them one after another and writes one small file each to the
package's `assets/runs`, where chapter 07 and its control read them. A finished run is not trained again.
"""

import argparse
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dinov2_edu.data import ImageSet, patterns10
from dinov2_edu.door import checked, require
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.presets import patterns10_run, with_steps
from dinov2_edu.features import ExtractOptions, Preprocessing, extract_features
from dinov2_edu.files import local_path, write_whole
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import Diagnosis, diagnose
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.state import TrainState, build_state

RUNS_FOLDER = Path(__file__).parents[1] / "assets" / "runs"
N_FEATURES = 100
"""Final features kept of each run: the first so many test images, on their three main axes."""


@dataclass(frozen=True)
class Experiment:
    """One run of the laboratory: what is taken away, in words, and the change to the healthy config."""

    title: str
    change: Callable[[TrainConfig], TrainConfig]


def _without(**changes) -> Callable[[TrainConfig], TrainConfig]:
    return lambda config: replace(config, **changes)


EXPERIMENTS = {
    "healthy": Experiment("Nothing is missing", _without()),
    "no_centering": Experiment("No centering: targets are a bare softmax", _without(targets="none")),
    "no_sharpening": Experiment(
        "No sharpening: the teacher's temperature is 1", _without(teacher_temperature=(1.0, 1.0))
    ),
    "no_ema": Experiment("No lag: the teacher is the student", _without(momentum=(0.0, 0.0))),
    "no_multicrop": Experiment(
        "No local crops", lambda config: replace(config, crops=replace(config.crops, n_local=0))
    ),
    "no_koleo": Experiment("No KoLeo", _without(koleo_weight=0.0)),
}
"""The healthy run, and what becomes of it when one thing is missing."""

STAGES = {
    "stage_dino": Experiment("DINO alone", _without(targets="centering", ibot_weight=0.0, koleo_weight=0.0)),
    "stage_ibot": Experiment("and iBOT", _without(targets="centering", koleo_weight=0.0)),
    "stage_koleo": Experiment("and KoLeo", _without(targets="centering")),
    "healthy": Experiment("and Sinkhorn-Knopp instead of centering", _without()),
    "full": Experiment(
        f"and the whole preset, {patterns10_run().steps:,} steps", _without(steps=patterns10_run().steps)
    ),
}
"""The parts added one by one, up to the healthy run, and the preset at its whole length."""


@dataclass(frozen=True)
class RecordedRun:
    """A finished run as the book ships it.

    Attributes:
        name: key in `EXPERIMENTS` or `STAGES`.
        title: what is taken away.
        config: as `TrainConfig.to_dict` gives it.
        history: as `fit` records it.
        features: the first test images' class tokens on their three main axes, unit length before the projection.
        labels: their classes.
    """

    name: str
    title: str
    config: dict
    history: dict[str, list[float]]
    features: list[list[float]]
    labels: list[int]

    @property
    def diagnosis(self) -> Diagnosis:
        """The verdict on the curves."""
        return diagnose(self.history, self.config["n_prototypes"])


def ablation_run() -> TrainConfig:
    """The healthy run: `patterns10_run` cut to 700 steps, so that all can be recorded in half an hour."""
    return replace(patterns10_run(), steps=700)


@checked
def load_runs(
    experiments: Collection[str] = EXPERIMENTS, *, folder: str | Path = RUNS_FOLDER
) -> dict[str, RecordedRun]:
    """The recorded runs among these experiments, in their order.

    Raises:
        ValueError: none has been recorded.
    """
    files = {name: local_path(folder) / f"{name}.json" for name in experiments}
    found = {name: path for name, path in files.items() if path.is_file()}
    require(bool(found), f"no recorded run in {folder}: make them with `python -m dinov2_edu ablations`")
    return {name: RecordedRun(**json.loads(path.read_text())) for name, path in found.items()}


def record(name: str, config: TrainConfig, folder: Path, *, steps: int | None = None) -> RecordedRun:
    """Train one experiment, cut to `steps` where they are given, and write its file.

    Raises:
        ValueError: no more steps than its warm-up has.
        KeyboardInterrupt: it was interrupted; nothing is written.
    """
    experiment = (STAGES | EXPERIMENTS)[name]
    # After the change, because one experiment has a length of its own.
    config = with_steps(experiment.change(config), steps)
    say("drawing 12,000 pictures of Patterns10, which takes up to two minutes")
    train, test = patterns10(10_000), patterns10(2_000, split="test")
    watch = FitOptions(
        evaluate=knn_evaluator(train, test),
        log_every=10,
        evaluate_every=100,
        stop_on_collapse=False,
        progress=False,
    )
    state = fit(build_state(config), train.images, watch)
    if state.step < config.steps:  # fit keeps what it has when it is interrupted; this is no finished run
        raise KeyboardInterrupt
    history = {key: [float(f"{value:.5g}") for value in values] for key, values in state.history.items()}
    features, labels = _final_features(state, test.subset(range(N_FEATURES)))
    run = RecordedRun(name, experiment.title, state.config.to_dict(), history, features, labels)
    write_whole(folder / f"{name}.json", json.dumps(vars(run)) + "\n")
    return run


def _final_features(state: TrainState, images: ImageSet) -> tuple[list[list[float]], list[int]]:
    """Unit class tokens on their three main axes (not centred, so that a collapse to a point shows as a point)."""
    preprocessing = Preprocessing(size=images.images.shape[-1])
    options = ExtractOptions(progress=False, precision="float32")
    found = extract_features(state.teacher.backbone, images, preprocessing=preprocessing, options=options)
    unit = torch.nn.functional.normalize(found.cls, dim=-1).numpy()
    axes = np.linalg.svd(unit, full_matrices=False)[2][:3]
    return np.round(unit @ axes.T, 3).tolist(), images.labels.tolist()


def run(options: argparse.Namespace) -> None:
    """Train what is not recorded yet and print the table."""
    names = [options.only] if options.only else list(STAGES | EXPERIMENTS)
    folder = options.folder or RUNS_FOLDER
    for name in names:
        if not (folder / f"{name}.json").is_file():
            print(f"{name}: {(STAGES | EXPERIMENTS)[name].title}", flush=True)
            record(name, ablation_run(), folder, steps=options.steps)
    for name, found in load_runs(names, folder=folder).items():
        accuracy = found.history["knn"][-1]
        print(f"{name:>14}  k-NN {accuracy:6.1%}  {found.diagnosis.name}: {found.diagnosis.evidence}")
