"""Checks that every probe makes of the features and labels it is given."""

import torch
from torch import Tensor

from dinov2_edu.checks import describe, require

HIGHEST_LABEL = 100_000
"""Labels end below it: each takes a column in every row of votes."""


def check_rows(features: Tensor, name: str) -> None:
    """Refuse rows `n d` of which there is none, or that hold numbers that are not finite.

    Raises:
        ValueError: no row, or numbers that are not finite.
    """
    require(features.numel() > 0, f"{name} holds no row")
    bad = ~torch.isfinite(features).all(dim=1)
    count = int(bad.sum())
    first = int(bad.nonzero()[0]) if count else 0
    require(
        count == 0,
        f"{name}: {count} of {len(features)} rows hold numbers that are not finite, first row {first}: "
        "look at the model or the precision that made them",
    )


def check_labelled(features: Tensor, labels: Tensor, name: str) -> None:
    """Refuse rows that cannot be used, and labels that do not number classes from 0.

    Raises:
        ValueError: as `check_rows`; labels below 0, or so high that they can only be ids.
    """
    check_rows(features, f"{name} features")
    low, high = int(labels.min()), int(labels.max())
    require(low >= 0, f"{name} labels must be 0 or above, got {low}")
    require(
        high < HIGHEST_LABEL,
        f"{name} labels number classes from 0, got {high}: "
        "number ids with labels = ids.unique(return_inverse=True)[1]",
    )


def check_training(features: Tensor, labels: Tensor) -> None:
    """Refuse a training set that nothing can be learnt from.

    Raises:
        ValueError: as `check_labelled`, or fewer than two classes.
    """
    check_labelled(features, labels, "training")
    several = int(labels.min()) != int(labels.max())
    require(
        several,
        f"the training labels hold one class only ({int(labels[0])}): "
        "a probe needs at least two to tell apart",
    )


def check_pair(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> None:
    """Refuse a training and a test set that cannot be probed together.

    Raises:
        ValueError: as `check_training` and `check_labelled`; a class in the test set that the
            training set does not hold.
    """
    check_training(train, train_labels)
    check_labelled(test, test_labels, "test")
    strange = sorted(set(test_labels.unique().tolist()) - set(train_labels.unique().tolist()))
    require(
        not strange,
        f"classes {describe(strange)} are in the test labels but have no training picture: "
        "add some, or leave them out of the test",
    )
