"""Exercises of chapter 12: the patch loss of distillation, and groups of copies that reach along chains."""

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from dinov2_edu.exercises import Exercise
from dinov2_edu.losses import ibot_loss


def _patches(generator: torch.Generator) -> dict:
    images, patches = torch.randint(2, 6, (2,), generator=generator).tolist()
    shape = images, patches, 8
    return {
        "student_logits": torch.randn(shape, generator=generator),
        "targets": (3 * torch.randn(shape, generator=generator)).softmax(dim=-1),
        "temperature": 0.1 + 0.2 * torch.rand((), generator=generator).item(),
    }


def _patch_loss(student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    everywhere = torch.ones(student_logits.shape[:2], dtype=torch.bool)
    rows = student_logits.flatten(0, 1), targets.flatten(0, 1)
    return ibot_loss(*rows, everywhere, temperature=temperature)


def _chain(generator: torch.Generator) -> dict[str, Tensor]:
    """A chain through most of the pictures, in random order, and a pair beside it."""
    n = int(torch.randint(8, 12, (), generator=generator))
    chain = torch.randperm(n - 2, generator=generator)
    # The lowest pictures stand at the chain's far ends, so that a number has a long way to go.
    at = {int(picture): place for place, picture in enumerate(chain)}
    for picture, place in ((0, 0), (1, n - 3)):
        other = int(chain[place])
        chain[[at[picture], place]] = chain[[place, at[picture]]]
        at[picture], at[other] = place, at[picture]
    similar = torch.eye(n, dtype=torch.bool)
    similar[chain[:-1], chain[1:]] = similar[chain[1:], chain[:-1]] = True
    similar[n - 1, n - 2] = similar[n - 2, n - 1] = True
    return {"similar": similar}


def _groups(similar: Tensor) -> Tensor:
    _, names = connected_components(similar.numpy(), directed=False)
    found = torch.from_numpy(names)
    lowest = [int((found == name).nonzero()[0]) for name in found]
    return torch.tensor(lowest)


EXERCISES = {
    "patch_loss": Exercise(
        task="the mean over all images and patches of the cross-entropy between `targets` (images, patches, k) and the "
        "softmax of `student_logits` (the same shape) divided by `temperature`, in nats",
        reference=_patch_loss,
        make_inputs=_patches,
        hint="log_softmax over the last axis, times the targets, summed over the last axis; then a mean with a minus.",
        mistakes={
            "the temperature was left out": lambda logits, targets, temperature: _patch_loss(
                logits, targets, 1.0
            ),
            "the patches were added up, where a mean is wanted": lambda logits, targets, temperature: (
                logits.shape[1] * _patch_loss(logits, targets, temperature)
            ),
            "the mean was taken over the prototypes as well": lambda logits, targets, temperature: (
                _patch_loss(logits, targets, temperature) / logits.shape[2]
            ),
        },
    ),
    "groups": Exercise(
        task="for each picture the lowest index in its group, where `similar` (n, n) is True for two pictures that are "
        "copies, and copies of copies belong to one group",
        reference=_groups,
        make_inputs=_chain,
        hint="When two groups meet, every member of one must get the other's number, not only the two that met.",
    ),
}
