"""Records the logs of this folder: short runs on Patterns10, each with one thing broken that is not among the recorded
runs of the book. `PYTHONPATH=. python tests/doctor_logs/make.py [NAME ...]`, about half a minute each.
"""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from dinov2_edu.data import ImageSet, patterns10
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.training import Batch, TrainConfig, build_state, compute_losses, draw_batch, step_generator
from dinov2_edu.training.step import train_step
from dinov2_edu.training.streams import EpochOrder

STEPS, EVERY = 100, 2
BASE = replace(patterns10_run(), steps=STEPS, warmup_steps=15)


def same(thing):
    """Nothing is broken here."""
    return thing


@dataclass(frozen=True)
class Break:
    """What is broken: the config, the pictures (with their labels), or each batch (with its pictures' numbers)."""

    config: TrainConfig = BASE
    pictures: Callable[[ImageSet], ImageSet] = same
    batch: Callable[[Batch, Tensor], Batch] | None = None
    half_koleo: bool = False


def tinted(pictures: ImageSet) -> ImageSet:
    """Pictures that show their label: a colour for each class."""
    colours = torch.rand(10, 3, generator=torch.Generator().manual_seed(5)) * 160 - 80
    shown = pictures.images.float() + colours[pictures.labels][:, :, None, None]
    return replace(pictures, images=shown.clamp(0, 255).to(torch.uint8))


def watermarked(batch: Batch, chosen: Tensor) -> Batch:
    """Crops that show which picture they are from: its own tile, the same in every patch."""
    tiles = torch.randn(1_000, 3, 8, 8, generator=torch.Generator().manual_seed(6))[chosen]

    def mark(crops: Tensor) -> Tensor:
        views, side = len(crops) // len(tiles), crops.shape[-1] // 8
        return crops + 3 * tiles.repeat(views, 1, side, side)

    return replace(batch, global_crops=mark(batch.global_crops), local_crops=mark(batch.local_crops))


def koleo_in_half(features: Tensor) -> Tensor:
    """The official loss on half-precision features, whose epsilon of 1e-8 is 0."""
    units = torch.nn.functional.normalize(features, dim=-1).half()
    nearest = (units @ units.T).fill_diagonal_(-1).argmax(1)
    return -torch.log((units - units[nearest]).norm(dim=-1).half() + 1e-8).mean().float()


def twins(pictures: ImageSet) -> ImageSet:
    """Every picture twice, side by side."""
    return replace(pictures, images=pictures.images[::2].repeat_interleave(2, 0))


def change(**changes) -> Break:
    """One setting of the config is wrong."""
    return Break(replace(BASE, **changes))


PLAIN = replace(BASE.crops, global_scale=(1.0, 1.0), flip=0.0, jitter=0.0, grayscale=0.0, solarize=0.0)
BREAKS = {
    "batch": change(batch_size=4),
    "prototypes": change(n_prototypes=16_384),
    "normalisation": change(crops=replace(BASE.crops, mean=(0.0,) * 3, std=(1 / 255,) * 3)),
    "temperature": change(teacher_temperature=(0.2, 0.2)),
    "momentum": change(momentum=(0.9999, 1.0)),
    "koleo": Break(replace(BASE, crops=PLAIN), pictures=twins, half_koleo=True),
    "masks": change(mask_probability=0.04),
    "lr": change(lr=(0.3, 1e-5), warmup_steps=0),
    "shortcut": Break(batch=watermarked),
    "leak": Break(pictures=tinted),
}
"""Which of the doctor's causes the log shows, and how it is made."""


def record(broken: Break) -> dict:
    """Train, and return config and history."""
    train, test = broken.pictures(patterns10(1_000)), broken.pictures(patterns10(300, split="test"))
    evaluate = knn_evaluator(train, test, n_train=500)
    state = build_state(broken.config)
    order = EpochOrder(len(train.images), broken.config)
    history: dict[str, list[float]] = {}
    for _ in range(STEPS):
        chosen = torch.arange(broken.config.batch_size) if broken.half_koleo else order.batch(state.step)
        generator = step_generator(broken.config, state.step)
        batch = draw_batch(train.images[chosen], broken.config, generator)
        batch = broken.batch(batch, chosen) if broken.batch else batch
        seen = (scaled_step if broken.half_koleo else train_step)(state, batch, generator)
        if state.step % EVERY == 0:
            for name, value in {"step": state.step, **seen}.items():
                history.setdefault(name, []).append(float(f"{torch.as_tensor(value).item():.5g}"))
        if state.step % 25 == 0:
            history.setdefault("knn_step", []).append(state.step)
            history.setdefault("knn", []).append(float(f"{evaluate(state.teacher.backbone):.4g}"))
    return {"config": broken.config.to_dict(), "history": history}


def scaled_step(state, batch: Batch, generator: torch.Generator) -> dict:
    """A step as a loss scaler has it: where a part of the loss is not finite, nothing changes."""
    now = state.schedules.at(state.step)
    before = generator.get_state()
    losses = compute_losses(state, batch, now["teacher_temperature"], generator)
    generator.set_state(before)
    if torch.isfinite(losses.total):
        return train_step(state, batch, generator)
    state.step += 1
    shown = {name: now[name] for name in ("lr", "momentum", "teacher_temperature")}
    return {"loss": losses.total, **losses.parts, **losses.metrics, **shown}


def main(names: list[str]) -> None:
    """Record the logs of these names, or all."""
    for name in names or BREAKS:
        broken = BREAKS[name]
        half = (
            patch("dinov2_edu.training.step.koleo_loss", koleo_in_half)
            if broken.half_koleo
            else nullcontext()
        )
        with half:
            found = record(broken)
        (Path(__file__).parent / f"{name}.json").write_text(json.dumps(found) + "\n")
        print(name, {key: values[-1] for key, values in found["history"].items()}, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
