"""Exercises of chapter 07: what a target tells of its image, and the spread of features."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dinov2_edu.exercises import Exercise
from dinov2_edu.losses import entropy
from dinov2_edu.training.step import feature_spread


def _targets(generator: torch.Generator) -> dict[str, Tensor]:
    rows = int(torch.randint(3, 9, (), generator=generator))
    targets = (3 * torch.randn(rows, 6, generator=generator)).softmax(dim=-1)
    targets[0] = F.one_hot(torch.tensor(2), 6).float()  # a target that is quite certain has zeros
    return {"targets": targets}


def _mutual_information(targets: Tensor) -> Tensor:
    return entropy(targets.mean(dim=0)) - entropy(targets).mean()


def _features(generator: torch.Generator) -> dict[str, Tensor]:
    rows = int(torch.randint(4, 12, (), generator=generator))
    lengths = torch.rand(rows, 1, generator=generator) + 0.5
    return {"features": lengths * (torch.randn(rows, 8, generator=generator) + 0.7)}


def _spread_without_norm(features: Tensor) -> Tensor:
    return (1 - features.mean(dim=0).square().sum()).sqrt()


EXERCISES = {
    "mutual_information": Exercise(
        task="the entropy of the mean of `targets` (images, prototypes) less the mean entropy of its rows, in nats",
        reference=_mutual_information,
        make_inputs=_targets,
        hint="torch.special.entr(p) is -p ln p, and 0 where p is 0.",
        mistakes={
            "the difference was taken the other way round": lambda targets: -_mutual_information(targets),
            "0 * log(0) was not counted as 0": lambda targets: (
                -(targets.mean(0) * targets.mean(0).log()).sum() + (targets * targets.log()).sum(-1).mean()
            ),
        },
    ),
    "spread": Exercise(
        task="the square root of 1 - |mean of the rows of `features` (b, d), each of length 1|^2",
        reference=feature_spread,
        make_inputs=_features,
        hint="Give it five times the same row: it must say 0. What is the squared length of a vector?",
        mistakes={"the rows were not brought to length 1 first": _spread_without_norm},
    ),
}
