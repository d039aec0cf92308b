"""What the choices of `own_run` are worth: the same short run with one of them changed, recorded for chapter 13.

`python -m dinov2_edu.experiments.own_study` trains them one after the other, 2,000 training pictures of CIFAR-10 each,
and writes `assets/own_study.json`; a row that is there is not trained again.
"""

import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dinov2_edu.data import ImageSet, load_cifar10
from dinov2_edu.data.imageset import even_rows
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.own import baselines
from dinov2_edu.experiments.own_run import own_run
from dinov2_edu.experiments.recipes import default_recipe
from dinov2_edu.files import write_whole
from dinov2_edu.schedules import scaled_lr
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import diagnose
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.state import build_state

RECORD = Path(__file__).parents[1] / "assets" / "own_study.json"
N_TRAIN, N_TEST, STEPS, SEEDS = 2000, 2000, 600, (0, 1)


def variants() -> dict[str, TrainConfig]:
    """The run as `own_run` chooses it, with one setting changed, and with those of the official default.

    Of these last, durations are the same shares of the run, and 4,096 prototypes stand in for 65,536.
    """
    chosen = own_run(N_TRAIN, 32, STEPS).config
    crops = chosen.crops
    official = default_recipe()
    names = ("targets", "ibot_weight", "koleo_weight", "teacher_temperature", "weight_decay", "momentum")
    return {
        "as chosen": chosen,
        "settings of the official default": replace(
            chosen,
            **{name: getattr(official, name) for name in (*names, "patch_embed_multiplier")},
            n_prototypes=4096,
            lr=(scaled_lr(0.004, chosen.batch_size), 1e-6),
            teacher_temperature_steps=3 * STEPS // 10,
            warmup_steps=STEPS // 10,
        ),
        "momentum 0.99": replace(chosen, momentum=(0.99, 1.0)),
        "16 prototypes": replace(chosen, n_prototypes=16),
        "4,096 prototypes": replace(chosen, n_prototypes=4096),
        "global crops from 80 %": replace(chosen, crops=replace(crops, global_scale=(0.8, 1.0))),
    }


WITH_CURVES = ("as chosen", "settings of the official default")
"""Whose curves are kept too, of seed 0."""


def one_run(config: TrainConfig, train: ImageSet, test: ImageSet, curves: bool) -> dict[str, Any]:
    """Train, and say what came out: k-NN accuracy, the diagnosis; with `curves` the history too.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    state = build_state(config)
    if fit(state, train.images, FitOptions(progress=False, stop_on_collapse=False)).interrupted:
        raise KeyboardInterrupt
    accuracy = knn_evaluator(train, test)(state.teacher.backbone)
    verdict = diagnose(state.history, config.n_prototypes).name
    found = {"seed": config.seed, "knn": round(accuracy, 4), "verdict": verdict}
    if curves:
        history = {name: [float(f"{one:.4g}") for one in values] for name, values in state.history.items()}
        found |= {"config": config.to_dict(), "history": history}
    return found


def pictures() -> tuple[ImageSet, ImageSet]:
    """The same share of every class of CIFAR-10's training and test pictures."""
    train, test = load_cifar10("train"), load_cifar10("test")
    return tuple(part.subset(even_rows(len(part), n)) for part, n in ((train, N_TRAIN), (test, N_TEST)))  # type: ignore[return-value]


def record(path: Path = RECORD) -> None:
    """Train what is not recorded yet."""
    train, test = pictures()
    if path.is_file():
        content = json.loads(path.read_text("utf-8"))
    else:
        controls = baselines((train, test), variants()["as chosen"])
        content = {
            "data": train.name,
            "judged_on": test.name,
            "steps": STEPS,
            "device": platform.machine(),
            "torch": torch.__version__,
            "baselines": {name: round(value, 4) for name, value in controls.items()},
            "runs": {},
        }
    for seed in SEEDS:
        for name, config in variants().items():
            runs = content["runs"].setdefault(name, [])
            if seed not in [run["seed"] for run in runs]:
                curves = seed == 0 and name in WITH_CURVES
                runs.append(one_run(replace(config, seed=seed), train, test, curves))
                write_whole(path, json.dumps(content) + "\n")
                print(f"{name}: {runs[-1]['knn']:.1%}, seed {seed}", flush=True)


if __name__ == "__main__":
    record()
