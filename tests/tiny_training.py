"""A run small enough for a test: its config, its pictures, and how two runs are compared."""

import signal

import pytest
import torch

from dinov2_edu.crops import CropConfig
from dinov2_edu.training import Batch, TrainConfig, TrainState, draw_batch, step_generator
from dinov2_edu.training import loop as loop_module
from dinov2_edu.vit import ViTConfig

TINY = TrainConfig(
    vit=ViTConfig(img_size=16, patch_size=4, width=24, depth=2, heads=2, layer_scale=None),
    crops=CropConfig(global_size=16, local_size=8, n_local=2, blur=(0, 0, 0)),
    n_prototypes=32,
    head_hidden=32,
    head_bottleneck=16,
    batch_size=8,
    steps=20,
    warmup_steps=2,
    teacher_temperature_steps=5,
)

QUIET = {"log_every": 1, "progress": False, "stop_on_collapse": False}
"""Options of `fit` that record every step and show nothing."""


def byte_images(n: int = 8, size: int = 16) -> torch.Tensor:
    """Pictures of noise."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)


def draw(config: TrainConfig, step: int = 0) -> tuple[Batch, torch.Generator]:
    """A step's batch of noise, and the generator that drew it: what `train_step` takes."""
    generator = step_generator(config, step)
    return draw_batch(byte_images(), config, generator), generator


def interrupt_step(patch: pytest.MonkeyPatch, step: int) -> None:
    """Let Ctrl-C come once, inside the step that so many others are before."""
    real, left = loop_module.train_step, [True]

    def train_step(state, *rest):
        if state.step == step and left:
            left.clear()
            signal.raise_signal(signal.SIGINT)
        return real(state, *rest)

    patch.setattr(loop_module, "train_step", train_step)


def interrupted_call(function, number: int = 1):
    """The same function, but for Ctrl-C in its call of this number."""
    left = [None] * number

    def called(*args, **more):
        if left:
            left.pop()
            if not left:
                signal.raise_signal(signal.SIGINT)
        return function(*args, **more)

    return called


def weights(state: TrainState) -> list[torch.Tensor]:
    """Every tensor that a run learns."""
    networks = (state.student_network, state.teacher)
    return [*(w for network in networks for w in network.state_dict().values()), *state.centers.values()]


def same(one: TrainState, other: TrainState) -> bool:
    """Whether two runs hold the same numbers, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
