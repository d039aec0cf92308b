"""Many short runs on Patterns10, each with something changed, recorded for chapter 07 and the log.

`python -m dinov2_edu.experiments.short_runs tuned` gives each stage of the objective (DINO alone, and iBOT, and KoLeo,
and Sinkhorn-Knopp) the same budget: all of `SETTINGS`, 500 steps, one seed, judged on pictures drawn for this; then
its best setting is trained from three other seeds and judged on the test set. `... short_runs questions` changes one
thing of the whole at a time, three seeds each, and looks at patches as well; what did best is trained again from three
other seeds, alone and together, and for longer. A run that is recorded is not trained again. One to four minutes of
one core a run.
"""

import argparse
import functools
import json
import multiprocessing
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dinov2_edu.checks import require
from dinov2_edu.data import ImageSet, patterns10
from dinov2_edu.data.mosaics import pattern_mosaics
from dinov2_edu.experiments.ablations import SEEDS, STAGES, ablation_run
from dinov2_edu.experiments.evaluation import dense_evaluator, knn_evaluator
from dinov2_edu.experiments.presets import with_steps
from dinov2_edu.files import write_whole
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import diagnose
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.state import build_state

ASSETS = Path(__file__).parents[1] / "assets"
TUNED, QUESTIONS = ASSETS / "tuned.json", ASSETS / "questions.json"
N_TRAIN, N_JUDGED = 10_000, 2_000
TUNING_SEED = 3
"""Of the runs that choose a setting; those that are reported have `SEEDS`."""
AGAIN_SEEDS = (10, 11, 12)
"""Of the runs that try again what did best in `questions` from `SEEDS`: the best of many is best by luck as well."""

LOW_RATE = (1e-3, 1e-5)
SETTINGS: dict[str, dict[str, Any]] = {
    "as the whole": {},
    "rate / 3": {"lr": LOW_RATE},
    "rate / 3, momentum 0.97": {"lr": LOW_RATE, "momentum": (0.97, 1.0)},
    "rate / 3, momentum 0.99": {"lr": LOW_RATE, "momentum": (0.99, 1.0)},
    "momentum 0.97": {"momentum": (0.97, 1.0)},
    "temperature 0.04": {"teacher_temperature": (0.04, 0.04)},
    "rate / 3, momentum 0.97, temperature 0.04": {
        "lr": LOW_RATE,
        "momentum": (0.97, 1.0),
        "teacher_temperature": (0.04, 0.04),
    },
    "rate / 3, momentum 0.97, 128 prototypes": {
        "lr": LOW_RATE,
        "momentum": (0.97, 1.0),
        "n_prototypes": 128,
    },
}
"""What each stage of the objective is tried with: name -> changes of its settings."""


@dataclass(frozen=True)
class Job:
    """One run: what it is recorded as, and its settings. With `tunes` it is judged on pictures drawn for choosing."""

    row: str
    setting: str
    config: TrainConfig
    tunes: bool = False

    @property
    def key(self) -> str:
        """Under which it is recorded."""
        return f"{self.row}: {self.setting}: seed {self.config.seed}"


AS_IT_IS, RANDOM = "as it is", "random weights"
"""Of `questions`, those that change nothing: the whole, and the networks that it starts from."""


def questions() -> dict[str, TrainConfig]:
    """The whole objective, the networks it starts from, and the whole with one thing of it changed."""
    whole = ablation_run()

    def change(**settings: Any) -> TrainConfig:
        return replace(whole, **settings)

    def vit(**settings: Any) -> TrainConfig:
        return change(vit=replace(whole.vit, **settings))

    def crops(**settings: Any) -> TrainConfig:
        return change(crops=replace(whole.crops, **settings))

    return {
        AS_IT_IS: whole,
        RANDOM: whole,
        "1 register": vit(n_registers=1),
        "4 registers": vit(n_registers=4),
        "no KoLeo": change(koleo_weight=0.0),
        "KoLeo weight 0.1": change(koleo_weight=0.1),
        "temperature 0.04": change(teacher_temperature=(0.04, 0.04)),
        "temperature 0.07": change(teacher_temperature=(0.07, 0.07)),
        "no iBOT": change(ibot_weight=0.0),
        "no DINO": change(dino_weight=0.0),
        "all global crops masked": change(mask_probability=1.0),
        "a head for each loss": change(separate_heads=True),
        "16 prototypes": change(n_prototypes=16),
        "64 prototypes": change(n_prototypes=64),
        "256 prototypes": change(n_prototypes=256),
        "mimetic start": vit(init="mimetic"),
        "official start": vit(init_std=0.02),
        "width 72, depth 5": vit(width=72, depth=5),
        "width 132, depth 2": vit(width=132, depth=2),
        "batch 128, 64 prototypes": with_steps(change(batch_size=128, n_prototypes=64), 250),
        "momentum 0.95": change(momentum=(0.95, 1.0)),
        "momentum 0.99": change(momentum=(0.99, 1.0)),
        "half the rate": change(lr=(1.5e-3, 1e-5)),
        "twice the rate": change(lr=(6e-3, 1e-5)),
        "8 local crops": crops(n_local=8),
        "global crops from 20 %": crops(global_scale=(0.2, 1.0)),
    }


BEST = ("KoLeo weight 0.1", "half the rate", "8 local crops")
"""Of `questions` what did best from `SEEDS`, on class tokens and on patches."""


def again() -> dict[str, TrainConfig]:
    """What is trained again from `AGAIN_SEEDS`: the whole, each of `BEST`, and all of them, also in 1,700 steps."""
    asked = questions()
    whole = asked[AS_IT_IS]
    koleo, rate, crops = (asked[name] for name in BEST)
    together = replace(whole, koleo_weight=koleo.koleo_weight, lr=rate.lr, crops=crops.crops)
    short = {AS_IT_IS: whole, **{name: asked[name] for name in BEST}, "all three": together}
    longer = {name: with_steps(short[name], 1700) for name in (AS_IT_IS, "all three")}
    return short | {f"{name}, 1,700 steps": config for name, config in longer.items()}


# ---- one run ----------------------------------------------------------------------------------------------


@functools.cache
def pictures() -> tuple[ImageSet, ImageSet, ImageSet]:
    """Patterns10: what is trained on, what settings are chosen by, and the test set."""
    drawn = patterns10(N_TRAIN + N_JUDGED)
    rows = torch.arange(len(drawn))
    return drawn.subset(rows[:N_TRAIN]), drawn.subset(rows[N_TRAIN:]), patterns10(N_JUDGED, split="test")


@functools.cache
def _patches() -> Callable[..., float]:
    return dense_evaluator(pattern_mosaics(500), pattern_mosaics(250, split="test"))


def train(job: Job, dense: bool = False) -> dict[str, Any]:
    """Train, and say what came out: k-NN accuracy, the diagnosis; with `dense` the accuracy of single patches too.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    known, chosen_by, test = pictures()
    state = build_state(job.config)
    if job.setting != RANDOM:
        if fit(state, known.images, FitOptions(progress=False, stop_on_collapse=False)).interrupted:
            raise KeyboardInterrupt
    backbone = state.teacher.backbone
    found = {
        "row": job.row,
        "setting": job.setting,
        "seed": job.config.seed,
        "knn": round(knn_evaluator(known, chosen_by if job.tunes else test)(backbone), 4),
        "verdict": diagnose(state.history, job.config.n_prototypes).name if state.history else "untrained",
    }
    return found | ({"dense": round(_patches()(backbone), 4)} if dense else {})


# ---- all of them ------------------------------------------------------------------------------------------


def _results(jobs: Sequence[Job], processes: int, dense: bool) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Each job with what came out, in the order in which they end."""
    if processes == 1:
        yield from ((job, train(job, dense)) for job in jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, torch.set_num_threads, (1,)) as pool:
        running = {pool.submit(train, job, dense): job for job in jobs}
        for done in as_completed(running):
            yield running[done], done.result()


def _train_all(jobs: Iterable[Job], path: Path, processes: int, dense: bool) -> dict[str, dict[str, Any]]:
    """Train what is not recorded yet, some at a time, each with one thread; the record after the last."""
    content = json.loads(path.read_text("utf-8")) if path.is_file() else {"runs": {}}
    content |= {
        "data": f"{N_TRAIN:,} training and {N_JUDGED:,} test pictures of Patterns10",
        "device": f"{platform.machine()}, one thread a run",
        "torch": torch.__version__,
    }
    left = [job for job in jobs if job.key not in content["runs"]]
    for job, found in _results(left, processes, dense):
        content["runs"][job.key] = found
        write_whole(path, json.dumps(content, indent=0) + "\n")
        print(f"{job.key}: {found['knn']:.1%} ({found['verdict']})", flush=True)
    return content["runs"]


def best_settings(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Of each stage the setting that did best where settings were chosen."""
    tried = [run for run in runs.values() if run["seed"] == TUNING_SEED]
    return {
        stage: max((run for run in tried if run["row"] == stage), key=lambda run: run["knn"])["setting"]
        for stage in dict.fromkeys(run["row"] for run in tried)
    }


def record_tuned(path: Path = TUNED, processes: int = 1) -> None:
    """Choose a setting for each stage of the objective, then train it from other seeds."""

    def job(stage: str, setting: str, seed: int) -> Job:
        config = replace(STAGES[stage].change(ablation_run()), seed=seed, **SETTINGS[setting])
        return Job(stage, setting, config, tunes=seed == TUNING_SEED)

    tried = [job(stage, setting, TUNING_SEED) for setting in SETTINGS for stage in STAGES]
    best = best_settings(_train_all(tried, path, processes, dense=False))
    final = [job(stage, best[stage], seed) for seed in SEEDS for stage in STAGES]
    _train_all(final, path, processes, dense=False)


def tuned_rows(path: Path = TUNED) -> list[list[str]]:
    """The table of chapter 07: each stage of the objective with its best setting, and what it came to from `SEEDS`.

    Raises:
        ValueError: not all of it is recorded.
    """
    runs = json.loads(path.read_text("utf-8"))["runs"]
    best = best_settings(runs)
    final = {(run["row"], run["seed"]): run for run in runs.values() if run["seed"] in SEEDS}
    missing = [(stage, seed) for stage in STAGES for seed in SEEDS if (stage, seed) not in final]
    require(
        not missing,
        f"{path} lacks {missing}: make them with `python -m dinov2_edu.experiments.short_runs tuned`",
    )
    rows = []
    for stage, experiment in STAGES.items():
        seeds = [final[stage, seed] for seed in SEEDS]
        verdicts = sorted({run["verdict"] for run in seeds})
        accuracies = ", ".join(f"{run['knn']:.1%}" for run in seeds)
        rows.append([experiment.title, best[stage], accuracies, ", ".join(verdicts)])
    return rows


def _asked() -> dict[str, tuple[tuple[int, ...], dict[str, TrainConfig]]]:
    """Row -> its seeds, and its settings."""
    return {"questions": (SEEDS, questions()), "again": (AGAIN_SEEDS, again())}


def record_questions(path: Path = QUESTIONS, processes: int = 1) -> None:
    """Train the whole with one thing changed, from each seed; then what did best, from others."""
    jobs = [
        Job(row, name, replace(config, seed=seed))
        for row, (seeds, asked) in _asked().items()
        for seed in seeds
        for name, config in asked.items()
    ]
    _train_all(jobs, path, processes, dense=True)


def load_questions(row: str = "questions", path: Path = QUESTIONS) -> dict[str, dict[str, list[float]]]:
    """What came out, the best k-NN first: setting -> "knn" and "dense", accuracies of 0 to 1, one for each seed.

    Args:
        row: "questions" from `SEEDS`, or "again" from `AGAIN_SEEDS`.
        path: of the recorded runs.

    Raises:
        ValueError: no such row, or not all of it is recorded.
    """
    rows = _asked()
    require(row in rows, f"row must be one of {sorted(rows)}, got {row!r}")
    seeds, asked = rows[row]
    runs = json.loads(path.read_text("utf-8"))["runs"]
    keys = {name: [f"{row}: {name}: seed {seed}" for seed in seeds] for name in asked}
    missing = [key for found in keys.values() for key in found if key not in runs]
    require(
        not missing,
        f"{path} lacks {missing}: make them with `python -m dinov2_edu.experiments.short_runs questions`",
    )
    found = {
        name: {measure: [runs[key][measure] for key in own] for measure in ("knn", "dense")}
        for name, own in keys.items()
    }
    return dict(sorted(found.items(), key=lambda one: -sum(one[1]["knn"])))


def main() -> None:
    """What the command does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=("tuned", "questions"))
    parser.add_argument("--processes", type=int, default=1, help="so many runs at a time (1)")
    options = parser.parse_args()
    study = {"tuned": record_tuned, "questions": record_questions}[options.study]
    study(processes=options.processes)


if __name__ == "__main__":
    main()
