"""What a run holds and changes: both networks, the optimiser, centres, schedules, step and history.

Source: `SSLMetaArch` and `build_optimizer`, `build_schedulers` in official `dinov2/train/` @ b8931f7.
"""

from dataclasses import dataclass, field, replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dinov2_edu.checks import checked, require
from dinov2_edu.ema import make_teacher
from dinov2_edu.numerics import best_precision, stream, torch_defaults
from dinov2_edu.schedules import cosine_schedule, linear_schedule, parameter_multipliers
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.network import Network
from dinov2_edu.training.processes import is_distributed


class Schedules:
    """What changes with the step: learning rate, weight decay, momentum, teacher temperature (arrays by step)."""

    @checked
    def __init__(self, config: TrainConfig) -> None:
        n = config.steps
        self.lr = cosine_schedule(*config.lr, n, warmup_steps=config.warmup_steps)
        self.last_layer_lr = self.lr.copy()
        self.last_layer_lr[: config.freeze_last_layer_steps] = 0.0
        self.weight_decay = cosine_schedule(*config.weight_decay, n)
        self.momentum = cosine_schedule(*config.momentum, n)
        rising = config.teacher_temperature_steps
        self.teacher_temperature = linear_schedule(*config.teacher_temperature, rising, n_total=n)

    @checked
    def at(self, step: int) -> dict[str, float]:
        """All of them at a step, by name.

        Raises:
            ValueError: a step before the first or after the last.
        """
        require(0 <= step < len(self.lr), f"step must lie in 0 to {len(self.lr) - 1}, got {step}")
        return {name: float(schedule[step]) for name, schedule in vars(self).items()}


@dataclass
class TrainState:
    """Everything that a run changes. Only `train_step` does."""

    config: TrainConfig
    student: nn.Module
    teacher: Network
    optimizer: torch.optim.Optimizer
    centers: dict[str, Float[Tensor, " k"]]
    schedules: Schedules
    step: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    data: str = ""
    """Which images it learns from, as `fit` fingerprints them; empty before it has seen any."""
    origin: str = ""
    """Fingerprint of the networks that it started from; empty where they were drawn."""
    interrupted: bool = False
    """Whether the last call of `fit` was, before all that it was asked for was done; kept in no checkpoint."""

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return next(self.teacher.parameters()).device

    @property
    def student_network(self) -> Network:
        """The student without the wrapper of DistributedDataParallel."""
        return cast(Network, getattr(self.student, "module", self.student))


def training_precision(device: torch.device) -> str:
    """bfloat16 where the chip has units for it; float16, which would need its loss scaled, nowhere."""
    return "bfloat16" if best_precision(device) == "bfloat16" else "float32"


@checked
@torch_defaults()
def build_state(config: TrainConfig, device: torch.device | str = "cpu") -> TrainState:
    """A fresh run: seeded student, its copy as teacher, AdamW, and for centering its centres at zero.

    In a process group the student is wrapped in DistributedDataParallel. Where the config's precision is "auto", the
    state's config names what it became on this device.
    """
    if config.precision == "auto":
        config = replace(config, precision=training_precision(torch.device(device)))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(stream("weights", config.seed).get_state())
        student = Network(config)
    student = student.to(device).train()
    teacher = cast(Network, make_teacher(student))
    if config.compile:
        for network in (student, teacher):
            for block in network.backbone.blocks:
                block.compile()
    centered = ("cls", "patch") if config.targets == "centering" else ()
    centers = {name: torch.zeros(config.n_prototypes, device=device) for name in centered}
    optimizer = build_optimizer(student, config)
    wrapped: nn.Module = student
    if is_distributed():  # averages gradients over processes
        resting = not (config.dino_weight and config.ibot_weight)  # a head or the mask token gets no gradient
        wrapped = nn.parallel.DistributedDataParallel(student, find_unused_parameters=resting)
    return TrainState(config, wrapped, teacher, optimizer, centers, Schedules(config))


def build_optimizer(student: Network, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW with a group for each pair of multipliers, so that a schedule is one number a group.

    Each group carries `lr_multiplier`, `wd_multiplier` and `is_last_layer`, which `train_step` reads.
    """
    multipliers = parameter_multipliers(
        student, layer_decay=config.layer_decay, patch_embed_multiplier=config.patch_embed_multiplier
    )
    groups: dict[tuple, list[nn.Parameter]] = {}
    for name, parameter in student.named_parameters():
        groups.setdefault((*multipliers[name], "last_layer" in name), []).append(parameter)
    keys = ("lr_multiplier", "wd_multiplier", "is_last_layer")
    described = [{"params": params, **dict(zip(keys, key, strict=True))} for key, params in groups.items()]
    return torch.optim.AdamW(described, lr=config.lr[0], betas=(0.9, 0.999), fused=True)
