"""Exercises of chapter 13: a split that copies cannot cross, a LoRA merged into its layer."""

import torch
from torch import Tensor

from dinov2_edu.exercises import Exercise


def _digests(generator: torch.Generator) -> dict:
    n = int(torch.randint(40, 60, (), generator=generator))
    digests = torch.randint(0, 10**6, (n,), generator=generator)
    copies = torch.randperm(n, generator=generator)[:8]
    digests[copies[:4]] = digests[copies[4:]]  # four pictures are there twice
    return {"digests": digests, "one_in": 5}


def _split(digests: Tensor, one_in: int) -> Tensor:
    return digests % one_in == 0


def _all_but(digests: Tensor, one_in: int) -> Tensor:
    return digests % one_in != 0


def _layer(generator: torch.Generator) -> dict:
    inputs, outputs, rank = (int(n) for n in torch.randint(4, 9, (3,), generator=generator))
    return {
        "weight": torch.randn(outputs, inputs, generator=generator),
        "down": torch.randn(rank, inputs, generator=generator),
        "up": torch.randn(outputs, rank, generator=generator),
        "alpha": float(3 * rank),
    }


def _merged(weight: Tensor, down: Tensor, up: Tensor, alpha: float) -> Tensor:
    return weight + alpha / len(down) * up @ down


def _not_scaled(weight: Tensor, down: Tensor, up: Tensor, alpha: float) -> Tensor:
    return weight + up @ down


def _alpha_alone(weight: Tensor, down: Tensor, up: Tensor, alpha: float) -> Tensor:
    return weight + alpha * up @ down


def _without_weight(weight: Tensor, down: Tensor, up: Tensor, alpha: float) -> Tensor:
    return alpha / len(down) * up @ down


EXERCISES = {
    "split": Exercise(
        task="True for each digest that `one_in` divides: a picture that is held out",
        reference=_split,
        make_inputs=_digests,
        hint="Two equal files have equal digests. What in the code looks at the digests at all?",
        mistakes={"True and False are swapped: these are learnt from": _all_but},
    ),
    "merge": Exercise(
        task="the one weight matrix that does what `weight` and its LoRA do together",
        reference=_merged,
        make_inputs=_layer,
        hint="The layer gives weight @ x + (alpha / r) * up @ (down @ x), and r is the number of rows of `down`.",
        mistakes={
            "the LoRA was added without its scale alpha / r": _not_scaled,
            "alpha was not divided by the rank": _alpha_alone,
            "the layer's own weight was left out": _without_weight,
        },
    ),
}
