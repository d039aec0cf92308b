"""Weighted k-nearest-neighbour probe: no training, the closest training features vote."""

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torch.nn.functional import normalize

from dinov2_edu.checks import check_above_zero, check_at_least, checked, require
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.probe.checks import check_labelled, check_pair, check_rows
from dinov2_edu.probe.report import ProbeReport, make_report
from dinov2_edu.shapes import Labels

_SIMILARITIES_AT_ONCE = 2**24  # 64 MB of float32


@checked
@torch_defaults()
@torch.no_grad()
def nearest(
    train: Float[Tensor, "n d"], queries: Float[Tensor, "m d"], k: int
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]:
    """The k training rows most similar to each query by cosine, the most similar first.

    Args:
        train: rows to search.
        queries: rows to find neighbours of, on the same device.
        k: neighbours; at most the number of training rows.

    Returns:
        Cosine similarities and training indices.

    Raises:
        ValueError: rows of another shape, or k out of range.
    """
    check_rows(train, "training features")
    check_rows(queries, "query features")
    require(1 <= k <= len(train), f"k must lie in 1 to {len(train)}, the number of training rows; got {k}")
    directions = normalize(train.float(), dim=1).T
    chunk = max(1, _SIMILARITIES_AT_ONCE // len(train))
    parts = [(normalize(rows.float(), dim=1) @ directions).topk(k) for rows in queries.split(chunk)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


@checked
def knn_predict(
    train: Float[Tensor, "n d"],
    labels: Labels,
    test: Float[Tensor, "m d"],
    k: int = 20,
    temperature: float = 0.07,
) -> Float[Tensor, "m classes"]:
    """Share of the neighbours' vote for each class; `argmax(dim=1)` is the prediction.

    A neighbour of cosine similarity s votes with weight exp(s / temperature).

    Args:
        train: training features.
        labels: class of each, from 0.
        test: features to classify, on the same device.
        k: neighbours that vote; fewer where there are fewer training rows.
        temperature: smaller lets the nearest decide alone.

    Returns:
        Votes that sum to 1 over the classes 0 to the largest label.

    Raises:
        ValueError: shapes, k or temperature that cannot be used.

    Source: DINO `eval_knn.py`; official `dinov2/eval/knn.py` @ b8931f7 (k = 20, T = 0.07).
    """
    check_labelled(train, labels, "training")
    check_above_zero(temperature=temperature)
    check_at_least(1, k=k)
    similarities, indices = nearest(train, test, min(k, len(train)))
    # Less the largest: the same shares, and no overflow at small temperatures.
    weights = ((similarities - similarities[:, :1]) / temperature).exp()
    votes = weights.new_zeros(len(test), int(labels.max()) + 1)
    votes.scatter_add_(1, labels.to(indices)[indices], weights)
    return votes / votes.sum(dim=1, keepdim=True)


@checked
def knn_accuracy(
    train: Float[Tensor, "n d"],
    train_labels: Labels,
    test: Float[Tensor, "m d"],
    test_labels: Integer[Tensor, " m"],
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Share of test rows that the weighted k-NN vote classifies right, 0 to 1.

    Raises:
        ValueError: as `knn_predict`.
    """
    check_labelled(test, test_labels, "test")
    votes = knn_predict(train, train_labels, test, k, temperature)
    return float((votes.argmax(dim=1) == test_labels.to(votes.device)).double().mean())


@checked
def knn_report(
    train: Float[Tensor, "n d"],
    train_labels: Labels,
    test: Float[Tensor, "m d"],
    test_labels: Integer[Tensor, " m"],
    class_names: tuple[str, ...] = (),
) -> ProbeReport:
    """Classify the test rows by weighted k-NN and report on it.

    Raises:
        ValueError: as `knn_predict`, or classes that cannot be learnt (one only, or missing from training).
    """
    check_pair(train, train_labels, test, test_labels)
    votes = knn_predict(train, train_labels, test)
    method = f"weighted k-NN, k = {min(20, len(train))}, temperature 0.07"
    return make_report(votes, test_labels, class_names, method)
