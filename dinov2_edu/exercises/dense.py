"""Exercises of chapter 11: intersection over union, the classes that a patch holds, and places found right."""

import torch
from torch import Tensor

from dinov2_edu.exercises import Exercise
from dinov2_edu.probe import class_shares, confusion, correct_keypoints


def _counts(generator: torch.Generator) -> dict[str, Tensor]:
    n_classes = int(torch.randint(12, 16, (), generator=generator))
    truth, guess = torch.randint(n_classes, (2, 400), generator=generator)
    predicted = torch.where(torch.rand(400, generator=generator) < 0.6, truth, guess)
    return {"counts": confusion(predicted, truth, n_classes)}


def _ious(counts: Tensor) -> Tensor:
    right = counts.diagonal().double()
    return right / (counts.sum(dim=0) + counts.sum(dim=1) - counts.diagonal())


def _recall(counts: Tensor) -> Tensor:
    return counts.diagonal().double() / counts.sum(dim=1)


def _precision(counts: Tensor) -> Tensor:
    return counts.diagonal().double() / counts.sum(dim=0)


def _dice(counts: Tensor) -> Tensor:
    return 2 * counts.diagonal().double() / (counts.sum(dim=0) + counts.sum(dim=1))


def _label_map(generator: torch.Generator) -> dict:
    rows, cols, patch = torch.randint(2, 5, (3,), generator=generator).tolist()
    labels = torch.randint(4, (rows * patch, cols * patch), generator=generator)
    return {"labels": labels, "patch": patch, "n_classes": 5}


def _shares(labels: Tensor, patch: int, n_classes: int) -> Tensor:
    return class_shares(labels[None], patch, n_classes)[0]


def _as_counts(labels: Tensor, patch: int, n_classes: int) -> Tensor:
    return _shares(labels, patch, n_classes) * patch**2


def _hard(labels: Tensor, patch: int, n_classes: int) -> Tensor:
    most = _shares(labels, patch, n_classes).argmax(dim=1)
    return torch.nn.functional.one_hot(most, n_classes).float()


def _column_by_column(labels: Tensor, patch: int, n_classes: int) -> Tensor:
    rows, cols = (side // patch for side in labels.shape)
    shares = _shares(labels, patch, n_classes).unflatten(0, (rows, cols))
    return shares.transpose(0, 1).flatten(0, 1)


def _places(generator: torch.Generator) -> dict:
    n = int(torch.randint(20, 40, (), generator=generator))
    truth = 10 * torch.rand(n, 2, generator=generator)
    found = truth + torch.randn(n, 2, generator=generator)
    truth[torch.randperm(n, generator=generator)[: n // 4]] = torch.nan
    return {"found": found, "truth": truth, "distance": 1.0}


def _pck(found: Tensor, truth: Tensor, distance: float) -> float:
    known = ~truth[:, 0].isnan()
    return correct_keypoints(found[known], truth[known], (distance,))[0]


def _unknown_are_wrong(found: Tensor, truth: Tensor, distance: float) -> float:
    return float(((found - truth).norm(dim=1) <= distance).float().mean())


def _each_axis(found: Tensor, truth: Tensor, distance: float) -> float:
    known = ~truth[:, 0].isnan()
    return float(((found - truth)[known].abs() <= distance).all(dim=1).float().mean())


EXERCISES = {
    "iou": Exercise(
        task="for each class the intersection over union, from `counts` (classes, classes), true classes in rows",
        reference=_ious,
        make_inputs=_counts,
        hint="The union holds a class's row and its column, and the diagonal is in both: take it off once.",
        mistakes={
            "a class was divided by its true pixels alone: that is recall": _recall,
            "a class was divided by its predicted pixels alone: that is precision": _precision,
            "the diagonal was counted twice: that is the Dice coefficient": _dice,
        },
    ),
    "shares": Exercise(
        task="the share of each patch's pixels that each class has, (patches, classes), patches row by row",
        reference=_shares,
        make_inputs=_label_map,
        hint="View one_hot(labels, n_classes) as (rows, patch, cols, patch, classes); take the mean over both patches.",
        mistakes={
            "pixels were counted, and not divided by their number": _as_counts,
            "each patch got its commonest class alone": _hard,
            "patches were listed column by column": _column_by_column,
        },
    ),
    "pck": Exercise(
        task="the share of points found at most `distance` from the truth, of those whose truth is known (not NaN)",
        reference=_pck,
        make_inputs=_places,
        hint="First keep the rows whose truth is not NaN; then compare the norm of found - truth with distance.",
        mistakes={
            "a point without a known truth counted as wrong": _unknown_are_wrong,
            "rows and columns were compared one by one, not by distance": _each_axis,
        },
    ),
}
