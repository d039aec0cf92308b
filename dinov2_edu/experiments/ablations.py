"""The collapse laboratory: a healthy run on Patterns10, the same run with one thing taken away, its parts added one by
one, and the broken runs taken up again with nothing missing; from several seeds, since one proves little.

`python -m dinov2_edu ablations` trains them one after another and writes one small file each to the
package's `assets/runs`, where chapter 07 and its control read them. A finished run is not trained again.
"""

import argparse
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dinov2_edu.checks import checked, require
from dinov2_edu.data import ImageSet, patterns10
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.evaluation import knn_evaluator, quiet_features
from dinov2_edu.experiments.presets import patterns10_run, with_steps
from dinov2_edu.files import local_path, write_whole
from dinov2_edu.training.checkpoint import start_from
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import Diagnosis, diagnose
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.state import TrainState, build_state

RUNS_FOLDER = Path(__file__).parents[1] / "assets" / "runs"
SEEDS = (0, 1, 2)
"""Of each short run; 0 is the one that curves and features are drawn of."""
N_FEATURES = 100
"""Final features kept of a run of seed 0: the first so many test images, on their three main axes."""


@dataclass(frozen=True)
class Experiment:
    """One run of the laboratory.

    Attributes:
        title: what is taken away, in words.
        change: of the healthy config.
        seeds: it is recorded from.
        after: name of the run whose final networks it starts from; empty where they are drawn.
        fresh_heads: of those networks the backbones alone are kept.
    """

    title: str
    change: Callable[[TrainConfig], TrainConfig]
    seeds: tuple[int, ...] = SEEDS
    after: str = ""
    fresh_heads: bool = False


def _without(**changes: Any) -> Callable[[TrainConfig], TrainConfig]:
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


@checked
def label_of(experiment: str) -> str:
    """What a legend calls one of `EXPERIMENTS`, such as "healthy" or "no local crops".

    Raises:
        ValueError: there is no such experiment.
    """
    require(experiment in EXPERIMENTS, f"experiment: wanted one of {[*EXPERIMENTS]}, got {experiment!r}")
    title = EXPERIMENTS[experiment].title.partition(":")[0]
    return experiment if experiment == "healthy" else f"{title[0].lower()}{title[1:]}"


STAGES = {
    "stage_dino": Experiment("DINO alone", _without(targets="centering", ibot_weight=0.0, koleo_weight=0.0)),
    "stage_ibot": Experiment("and iBOT", _without(targets="centering", koleo_weight=0.0)),
    "stage_koleo": Experiment("and KoLeo", _without(targets="centering")),
    "healthy": Experiment("and Sinkhorn-Knopp instead of centering", _without()),
}
"""The parts added one by one, up to the healthy run."""

LONG = {
    "full": Experiment(
        f"All parts, {patterns10_run().steps:,} steps", _without(steps=patterns10_run().steps), seeds=(0,)
    ),
    "dino_tuned": Experiment(
        f"DINO alone, tuned, {patterns10_run().steps:,} steps",
        _without(
            targets="centering",
            ibot_weight=0.0,
            koleo_weight=0.0,
            lr=(1e-3, 1e-5),
            momentum=(0.99, 1.0),
            steps=patterns10_run().steps,
        ),
        seeds=(0,),
    ),
}
"""The preset at its whole length; and DINO alone with a rate and a lag that suit it."""

REPAIRS = {
    f"{'heads' if fresh else 'repair'}_{missing}": Experiment(
        f"{words} given back{', and fresh heads' if fresh else ''}",
        _without(),
        seeds=(0, 1),
        after=f"no_{missing}",
        fresh_heads=fresh,
    )
    for missing, words in (("centering", "Centering"), ("sharpening", "Sharpening"), ("koleo", "KoLeo"))
    for fresh in (False, True)
}
"""The networks of a broken run, trained on with nothing missing: schedules and optimiser begin anew, and in half of the
runs the heads."""

ALL = STAGES | EXPERIMENTS | REPAIRS | LONG


@dataclass(frozen=True)
class RecordedRun:
    """A finished run as the book ships it.

    Attributes:
        name: key in `ALL`.
        title: what is taken away.
        config: as `TrainConfig.to_dict` gives it.
        history: as `fit` records it.
        features: the first test images' class tokens on their three main axes, unit length before the projection;
            of seed 0 alone.
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
    """The healthy run: `patterns10_run` cut to 500 steps, so that three seeds of each can be recorded."""
    return replace(patterns10_run(), steps=500)


def _file_name(name: str, seed: int) -> str:
    """Of a recorded run, such as `no_koleo.json`, and `no_koleo.2.json` from seed 2."""
    return f"{name}.{seed}.json" if seed else f"{name}.json"


def _read(path: Path) -> RecordedRun:
    return RecordedRun(**json.loads(path.read_text()))


@checked
def load_runs(
    experiments: Collection[str] = EXPERIMENTS, *, seed: int = 0, folder: str | Path = RUNS_FOLDER
) -> dict[str, RecordedRun]:
    """The recorded runs among these experiments, in their order.

    Raises:
        ValueError: none has been recorded.
    """
    files = {name: local_path(folder) / _file_name(name, seed) for name in experiments}
    found = {name: path for name, path in files.items() if path.is_file()}
    require(bool(found), f"no recorded run in {folder}: make them with `python -m dinov2_edu ablations`")
    return {name: _read(path) for name, path in found.items()}


@checked
def load_seeds(experiments: Collection[str] = EXPERIMENTS) -> dict[str, list[RecordedRun]]:
    """Every seed of the recorded runs among these experiments.

    Raises:
        ValueError: none has been recorded from seed 0.
    """
    found = {}
    for name, first in load_runs(experiments).items():
        others = [RUNS_FOLDER / _file_name(name, seed) for seed in SEEDS[1:]]
        found[name] = [first, *(_read(path) for path in others if path.is_file())]
    return found


def record(
    name: str, config: TrainConfig, folder: Path, *, seed: int = 0, steps: int | None = None
) -> RecordedRun:
    """Train one experiment, cut to `steps` where they are given, and write its file.

    Raises:
        ValueError: no more steps than its warm-up has.
        KeyboardInterrupt: it was interrupted; nothing is written.
    """
    experiment = ALL[name]
    # After the change, because one experiment has a length of its own.
    config = replace(with_steps(experiment.change(config), steps), seed=seed)
    say("drawing 12,000 pictures of Patterns10, which takes up to two minutes")
    train, test = patterns10(10_000), patterns10(2_000, split="test")
    watch = FitOptions(
        evaluate=knn_evaluator(train, test),
        log_every=10,
        evaluate_every=100,
        stop_on_collapse=False,
        progress=False,
    )
    if experiment.after:
        broken = build_state(ALL[experiment.after].change(config))
        _trained(broken, train, replace(watch, evaluate=None))
        state = start_from(broken, config)
        if experiment.fresh_heads:
            _renew_heads(state)
    else:
        state = build_state(config)
    _trained(state, train, watch)
    history = {key: [float(f"{value:.5g}") for value in values] for key, values in state.history.items()}
    features, labels = ([], []) if seed else _final_features(state, test.subset(range(N_FEATURES)))
    run = RecordedRun(name, experiment.title, state.config.to_dict(), history, features, labels)
    write_whole(folder / _file_name(name, seed), json.dumps(vars(run)) + "\n")
    return run


def _renew_heads(state: TrainState) -> None:
    """Draw the heads anew, as a run of another seed would; the teacher's are the student's once more."""
    other = replace(state.config, seed=state.config.seed + 100)
    drawn = build_state(other, state.device).student_network.state_dict()
    heads = {name: weight for name, weight in drawn.items() if not name.startswith("backbone.")}
    for network in (state.student_network, state.teacher):
        network.load_state_dict(heads, strict=False)


def _trained(state: TrainState, train: ImageSet, options: FitOptions) -> None:
    """Train to the end."""
    if fit(state, train.images, options).interrupted:
        raise KeyboardInterrupt


def _final_features(state: TrainState, images: ImageSet) -> tuple[list[list[float]], list[int]]:
    """Unit class tokens on their three main axes (not centred, so that a collapse to a point shows as a point)."""
    (found,) = quiet_features(state.teacher.backbone, images)
    unit = torch.nn.functional.normalize(found.cls, dim=-1).numpy()
    axes = np.linalg.svd(unit, full_matrices=False)[2][:3]
    return np.round(unit @ axes.T, 3).tolist(), images.labels.tolist()


def run(options: argparse.Namespace) -> None:
    """Train what is not recorded yet and print the table."""
    names = [options.only] if options.only else list(ALL)
    folder = options.folder or RUNS_FOLDER
    for name in names:
        for seed in ALL[name].seeds if options.seed is None else (options.seed,):
            if not (folder / _file_name(name, seed)).is_file():
                print(f"{name}, seed {seed}: {ALL[name].title}", flush=True)
                record(name, ablation_run(), folder, seed=seed, steps=options.steps)
    for name in names:
        for seed in SEEDS if options.seed is None else (options.seed,):
            path = folder / _file_name(name, seed)
            if path.is_file():
                found = _read(path)
                knn, verdict = found.history["knn"][-1], found.diagnosis
                print(f"{name:>17}  seed {seed}  k-NN {knn:6.1%}  {verdict.name}: {verdict.evidence}")
