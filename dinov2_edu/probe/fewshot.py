"""Few-shot curves: how accuracy grows with the labels a class."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from dinov2_edu.checks import check_at_least, check_one_of, checked, require
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.probe.checks import check_pair
from dinov2_edu.probe.knn import knn_accuracy
from dinov2_edu.probe.logistic import logistic_probe
from dinov2_edu.shapes import Labels


class FewShotPoint(NamedTuple):
    """Accuracy with so many labels a class: a number for each draw, their mean and deviation."""

    labels_per_class: int
    accuracies: tuple[float, ...]
    mean: float
    std: float


@checked
@torch_defaults()
def few_shot_curve(
    train: tuple[Float[Tensor, "n d"], Labels],
    test: tuple[Float[Tensor, "m d"], Integer[Tensor, " m"]],
    *,
    generator: torch.Generator,
    labels_per_class: Sequence[int] = (1, 2, 5, 10),
    n_draws: int = 5,
    method: str = "logistic",
) -> list[FewShotPoint]:
    """Probe with few labels, several times with other pictures each.

    In one draw the pictures of a smaller number are among those of a larger one.

    Args:
        train: features and labels to draw from.
        test: features and labels to classify, the same each time.
        generator: draws the labelled pictures.
        labels_per_class: how many pictures of each class are labelled.
        n_draws: repetitions; their spread is `std` (0 with one).
        method: "logistic" (C = 1: too few rows to choose it on), or "knn" (the nearest picture decides).

    Raises:
        ValueError: features and labels that cannot be probed, or a class with fewer pictures than asked for.
    """
    check_pair(*train, *test)
    features, labels = train
    check_one_of(("logistic", "knn"), method=method)
    check_at_least(1, n_draws=n_draws)
    good = len(labels_per_class) > 0 and min(labels_per_class) >= 1
    require(good, f"labels_per_class must hold numbers from 1, got {tuple(labels_per_class)!r}")
    members = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
    fewest = min(len(rows) for rows in members)
    most = max(labels_per_class)
    require(
        most <= fewest, f"labels_per_class asks for {most}, but a class has only {fewest} training pictures"
    )
    found: dict[int, list[float]] = {count: [] for count in labels_per_class}
    for _ in range(n_draws):
        draws = [torch.randperm(len(rows), generator=generator, device=generator.device) for rows in members]
        for count in labels_per_class:
            rows = torch.cat(
                [own[draw[:count].to(own.device)] for own, draw in zip(members, draws, strict=True)]
            )
            found[count].append(_accuracy(features[rows], labels[rows], *test, method))
    points = []
    for count, accuracies in found.items():
        values = torch.tensor(accuracies, dtype=torch.float64)
        points.append(
            FewShotPoint(count, tuple(accuracies), float(values.mean()), float(values.std(correction=0)))
        )
    return points


def _accuracy(features: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor, method: str) -> float:
    if method == "knn":
        return knn_accuracy(features, labels, test, test_labels, k=1)
    probabilities = logistic_probe(features, labels, c=1.0).probabilities(test)
    return float((probabilities.argmax(dim=1) == test_labels.cpu()).float().mean())
