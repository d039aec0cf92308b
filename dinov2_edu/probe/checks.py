"""Checks that every probe makes of the features and labels it is given."""

from typing import Any

import torch
from torch import Tensor

from dinov2_edu.shapes import describe, require


def check_rows(features: Any, name: str) -> None:
    """Refuse anything but a non-empty, finite, floating-point tensor of rows `n d`.

    Raises:
        ValueError: another type, rank or dtype, no row, or numbers that are not finite.
    """
    good = isinstance(features, Tensor) and features.ndim == 2 and features.is_floating_point()
    require(good, f"{name}: wanted a floating-point tensor of shape (n, d), got {describe(features)}")
    require(len(features) > 0, f"{name} holds no row")
    bad = ~torch.isfinite(features).all(dim=1)
    count = int(bad.sum())
    first = int(bad.nonzero()[0]) if count else 0
    require(
        count == 0,
        f"{name}: {count} of {len(features)} rows hold numbers that are not finite, first row {first}: "
        "look at the model or the precision that made them",
    )


def check_labelled(features: Any, labels: Any, name: str) -> None:
    """Refuse rows and labels that do not fit together; labels are whole numbers from 0.

    Raises:
        ValueError: as `check_rows`; labels of another length, dtype or below 0.
    """
    check_rows(features, f"{name} features")
    whole = isinstance(labels, Tensor) and labels.ndim == 1
    whole = whole and not (labels.is_floating_point() or labels.dtype == torch.bool)
    require(whole, f"{name} labels: wanted a tensor of whole numbers of shape (n,), got {describe(labels)}")
    same = len(labels) == len(features)
    require(same, f"{name}: {len(features)} rows of features and {len(labels)} labels; each row needs one")
    require(int(labels.min()) >= 0, f"{name} labels must be 0 or above, got {int(labels.min())}")


def check_training(features: Any, labels: Any) -> None:
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


def check_pair(train: Any, train_labels: Any, test: Any, test_labels: Any) -> None:
    """Refuse a training and a test set that cannot be probed together.

    Raises:
        ValueError: as `check_training` and `check_labelled`; other widths; a class in the test set that the
            training set does not hold.
    """
    check_training(train, train_labels)
    check_labelled(test, test_labels, "test")
    same = train.shape[1] == test.shape[1]
    require(
        same,
        f"training features are {train.shape[1]} wide and test features {test.shape[1]}: extract both alike",
    )
    strange = sorted(set(test_labels.unique().tolist()) - set(train_labels.unique().tolist()))
    require(
        not strange,
        f"classes {strange} are in the test labels but have no training picture: "
        "add some, or leave them out of the test",
    )
