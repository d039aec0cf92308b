"""Exercises of chapter 08: the weighted vote, standardising without looking ahead, the calibration error."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dinov2_edu.exercises import Exercise
from dinov2_edu.probe import knn_predict
from dinov2_edu.probe.report import calibrate


def _few_classes(generator: torch.Generator) -> dict:
    classes, width = torch.randint(3, 6, (2,), generator=generator).tolist()
    labels = torch.arange(10 * classes) % classes
    centres = torch.randn(classes, width, generator=generator)
    lengths = 0.2 + 5 * torch.rand(len(labels), 1, generator=generator)  # so that cosine and product differ
    train = lengths * (centres[labels] + torch.randn(len(labels), width, generator=generator))
    return {"train": train, "labels": labels, "test": torch.randn(8, width, generator=generator), "k": 5}


def _vote(train: Tensor, labels: Tensor, test: Tensor, k: int) -> Tensor:
    return knn_predict(train, labels, test, k=k)


def _vote_with(similarity: Tensor, labels: Tensor, k: int, temperature: float = 0.07) -> Tensor:
    found = similarity.topk(k)
    weights = ((found.values - found.values[:, :1]) / temperature).exp()
    votes = torch.zeros(len(similarity), int(labels.max()) + 1)
    votes.scatter_add_(1, labels[found.indices], weights)
    return votes / votes.sum(dim=1, keepdim=True)


def _cosines(train: Tensor, test: Tensor) -> Tensor:
    return normalize(test, dim=1) @ normalize(train, dim=1).T


def _one_voice_each(train: Tensor, labels: Tensor, test: Tensor, k: int) -> Tensor:
    return _vote_with(_cosines(train, test), labels, k, temperature=torch.inf)


def _by_product(train: Tensor, labels: Tensor, test: Tensor, k: int) -> Tensor:
    return _vote_with(test @ train.T, labels, k)


def _not_shared(train: Tensor, labels: Tensor, test: Tensor, k: int) -> Tensor:
    """The votes as they are, before they are made to sum to 1."""
    shares = _vote_with(_cosines(train, test), labels, k)
    return shares * (_cosines(train, test).topk(k).values / 0.07).exp().sum(dim=1, keepdim=True)


def _two_sets(generator: torch.Generator) -> dict[str, Tensor]:
    width = int(torch.randint(3, 7, (), generator=generator))
    scale, offset = torch.rand(2, width, generator=generator) * 4 + 0.5
    train = torch.randn(30, width, generator=generator) * scale + offset
    test = 1.5 * torch.randn(12, width, generator=generator) * scale + offset + 1
    train[:, 0] = test[:, 0] = 3.0  # a feature that never changes
    return {"train": train, "test": test}


def _statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    std = rows.std(dim=0, correction=0)
    return rows.mean(dim=0), torch.where(std > 0, std, 1.0)


def _standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = _statistics(train)
    return (train - mean) / std, (test - mean) / std


def _each_by_its_own(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    train, test = ((rows - mean) / std for rows in (train, test) for mean, std in [_statistics(rows)])
    return train, test


def _by_both(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = _statistics(torch.cat([train, test]))
    return (train - mean) / std, (test - mean) / std


def _divided_by_zero(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
    return (train - mean) / std, (test - mean) / std


def _answers(generator: torch.Generator) -> dict:
    n = int(torch.randint(60, 90, (), generator=generator))
    confidence = torch.rand(n, generator=generator, dtype=torch.float64) ** 0.5
    correct = torch.rand(n, generator=generator) < 0.7
    return {"confidence": confidence, "correct": correct, "n_bins": 10}


def _error(confidence: Tensor, correct: Tensor, n_bins: int) -> float:
    return calibrate(confidence.numpy(), correct.numpy(), n_bins).error


def _bins_alike(confidence: Tensor, correct: Tensor, n_bins: int) -> float:
    found = calibrate(confidence.numpy(), correct.numpy(), n_bins)
    return float(abs(found.accuracy - found.confidence)[found.counts > 0].mean())


def _one_bin(confidence: Tensor, correct: Tensor, n_bins: int) -> float:
    return _error(confidence, correct, 1)


EXERCISES = {
    "vote": Exercise(
        task="each class's share of the weighted vote of the `k` rows of `train` nearest by cosine",
        reference=_vote,
        make_inputs=_few_classes,
        hint="Bring all rows to length 1, take topk of test @ train.T, weigh by exp(similarity / 0.07), "
        "add up by class, and divide each row by its sum.",
        mistakes={
            "every neighbour has one voice, however far it is": _one_voice_each,
            "the rows were not brought to length 1": _by_product,
            "the votes of a picture do not sum to 1 yet": _not_shared,
        },
    ),
    "standardise": Exercise(
        task="`train` and `test`, both less the mean and divided by the standard deviation of `train`",
        reference=_standardise,
        make_inputs=_two_sets,
        hint="Use std(dim=0, correction=0), and divide by 1 where it is 0.",
        mistakes={
            "each set was standardised by its own statistics": _each_by_its_own,
            "the statistics were taken over both sets, so the test pictures were used": _by_both,
            "a feature that never changes was divided by 0": _divided_by_zero,
        },
    ),
    "calibration": Exercise(
        task="the mean distance of confidence and accuracy in `n_bins` equal bins, weighted by their counts",
        reference=_error,
        make_inputs=_answers,
        hint="A prediction's bin is int(confidence * n_bins); weigh each bin's distance by its share of "
        "all predictions, and skip empty bins.",
        mistakes={
            "all bins weigh the same, however few predictions they hold": _bins_alike,
            "everything was taken as one bin": _one_bin,
        },
    ),
}
