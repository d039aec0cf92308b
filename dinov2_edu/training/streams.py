"""Random streams: a generator for each purpose, seed, step and process, so that no two of them share numbers."""

import hashlib

import torch

from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.processes import rank


def stream(purpose: str, *numbers: int) -> torch.Generator:
    """A generator that belongs to a purpose: the same words and numbers give the same draws, any others new ones.

    Sums such as `seed + step` would meet again at another seed and step. A digest does not (torch's CPU generator
    reads 32 bits of it, so two of a thousand steps share their draws once in ten thousand runs).

    Args:
        purpose: what is drawn, such as "step".
        *numbers: which one, such as seed and step.
    """
    digest = hashlib.sha256(f"{purpose} {numbers}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def step_generator(config: TrainConfig, step: int) -> torch.Generator:
    """The random numbers of one step on this process: its crops, then its masks, then its stochastic depth.

    They follow from the seed, the step and the process alone, so a run that was stopped and resumed sees what it
    would have seen.
    """
    return stream("step", config.seed, step, rank())
