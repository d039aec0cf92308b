"""What a run draws at a step: one generator for each step and process, and the order of the images."""

import torch
from jaxtyping import Int
from torch import Tensor

from dinov2_edu.checks import check_at_least, checked
from dinov2_edu.numerics import stream
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.processes import rank, world_size


@checked
def step_generator(config: TrainConfig, step: int) -> torch.Generator:
    """The random numbers of one step on this process: its crops, then its masks, then its stochastic depth.

    They follow from the seed, the step and the process alone, so a run that was stopped and resumed sees what it
    would have seen.
    """
    check_at_least(0, step=step)
    return stream("step", config.seed, step, rank())


class EpochOrder:
    """Which images make up a step: a new shuffle each epoch, known from the seed and the step alone."""

    def __init__(self, n_images: int, config: TrainConfig) -> None:
        self.n_images, self.config = n_images, config
        self.steps_per_epoch = n_images // config.batch_size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def batch(self, step: int) -> Int[Tensor, " b"]:
        """This process's images at a step; the last, incomplete batch of an epoch is left out."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = stream("order of images", self.config.seed, epoch)
            self._epoch, self._order = epoch, torch.randperm(self.n_images, generator=generator)
        start = position * self.config.batch_size
        return self._order[start : start + self.config.batch_size][rank() :: world_size()]
