"""What a probe found: accuracy with its interval, each class, confusion, calibration, and the mistakes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest
from torch import Tensor

from dinov2_edu.checks import checked, require
from dinov2_edu.shapes import Labels, check_probs

MOST_CLASSES = 10_000
"""Classes of a report: its table of mix-ups has a row and a column for each."""


class Calibration(NamedTuple):
    """How far confidence and accuracy agree.

    Attributes:
        error: expected calibration error: their mean distance over the predictions, 0 to 1.
        confidence: mean confidence of each bin, NaN where empty; bins part 0 to 1 evenly.
        accuracy: share correct in each bin, NaN where empty.
        counts: predictions in each bin.
    """

    error: float
    confidence: Float[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    counts: Int[np.ndarray, " bins"]


def calibrate(confidence: Float[np.ndarray, " n"], correct: np.ndarray, n_bins: int = 15) -> Calibration:
    """Compare confidence with accuracy in `n_bins` equal bins.

    scikit-learn's `calibration_curve` takes two classes, and does not say how many predictions a bin holds.

    Source: Guo et al., "On calibration of modern neural networks", 2017, equation 3.
    """
    confidence = confidence.astype(np.float64)
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    counts = np.bincount(bins, minlength=n_bins)
    safe = np.where(counts > 0, counts, np.nan)
    mean_confidence = np.bincount(bins, confidence, n_bins) / safe
    accuracy = np.bincount(bins, correct.astype(float), n_bins) / safe
    error = float(np.nansum(counts * np.abs(accuracy - mean_confidence)) / counts.sum())
    return Calibration(error, mean_confidence, accuracy, counts)


@dataclass(frozen=True)
class ProbeReport:
    """A probe's result on a test set.

    Attributes:
        method: which probe, with its settings.
        accuracy: share correct, 0 to 1.
        interval: 95 % Wilson interval of the accuracy.
        per_class: share correct of each true class, NaN where the test set holds none of it.
        confusion: counts, true class by row, prediction by column.
        calibration: confidence against accuracy.
        predictions: predicted class of each test row.
        confidence: probability given to the prediction, 0 to 1.
        mistakes: test rows classified wrongly, the most confident mistake first.
        class_names: names of the classes.
        notes: sentences that the reader of the numbers needs, such as "did not converge".
    """

    method: str
    accuracy: float
    interval: tuple[float, float]
    per_class: Float[np.ndarray, " classes"]
    confusion: Int[np.ndarray, "classes classes"]
    calibration: Calibration
    predictions: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    mistakes: Int[np.ndarray, " wrong"]
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """Method, accuracy and interval in one line."""
        low, high = (100 * end for end in self.interval)
        reached = f"{100 * self.accuracy:.2f} % of {len(self.predictions)}"
        return f"{self.method}: {reached}, 95 % interval {low:.2f} to {high:.2f}"

    def __str__(self) -> str:
        """The report as a few lines of text."""
        lines = [
            self.headline,
            f"calibration error {100 * self.calibration.error:.2f} %, {len(self.mistakes)} mistakes",
        ]
        for label, (name, share, row) in enumerate(
            zip(self.class_names, self.per_class, self.confusion, strict=True)
        ):
            lines.append(f"  {name:12s} {100 * share:6.2f} % of {int(row.sum())}{self._mix_up(label, row)}")
        return "\n".join([*lines, *self.notes])

    def _mix_up(self, label: int, row: np.ndarray) -> str:
        wrong = row.copy()
        wrong[label] = 0
        return (
            f", most often taken for {self.class_names[wrong.argmax()]} ({wrong.max()})"
            if wrong.any()
            else ""
        )


@checked
def make_report(
    probabilities: Float[Tensor, "n classes"],
    labels: Labels,
    class_names: tuple[str, ...] = (),
    method: str = "probe",
    notes: tuple[str, ...] = (),
) -> ProbeReport:
    """Compare class probabilities with the true labels.

    Args:
        probabilities: rows that sum to 1.
        labels: true classes.
        class_names: one a class; numbers if left out.
        method: which probe made the probabilities.
        notes: sentences to hand on.

    Raises:
        ValueError: shapes that do not fit, or a label beyond the classes.
    """
    require(probabilities.numel() > 0, "wanted at least one row to report on and one class, got none")
    require(bool(probabilities.isfinite().all()), "probabilities hold numbers that are not finite")
    check_probs(probabilities, "probabilities")
    n_classes = max(probabilities.shape[1], len(class_names))
    names = tuple(class_names) or tuple(str(label) for label in range(n_classes))
    require(len(names) == n_classes, f"{len(names)} class names for {n_classes} classes")
    require(n_classes <= MOST_CLASSES, f"{n_classes} classes: at most {MOST_CLASSES} can be set side by side")
    inside = 0 <= int(labels.min()) and int(labels.max()) < n_classes
    require(
        inside, f"labels must lie in 0 to {n_classes - 1}, got {int(labels.min())} to {int(labels.max())}"
    )
    probabilities = probabilities.detach().cpu()
    truth, predictions = labels.cpu().long().numpy(), probabilities.argmax(dim=1).numpy()
    confidence = probabilities.max(dim=1).values.double().numpy()
    correct = predictions == truth
    confusion = np.bincount(truth * n_classes + predictions, minlength=n_classes**2).reshape(
        n_classes, n_classes
    )
    totals = confusion.sum(axis=1)
    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    wrong = np.flatnonzero(~correct)
    return ProbeReport(
        method=method,
        accuracy=float(correct.mean()),
        interval=(float(interval.low), float(interval.high)),
        per_class=np.diag(confusion) / np.where(totals > 0, totals, np.nan),
        confusion=confusion,
        calibration=calibrate(confidence, correct),
        predictions=predictions,
        confidence=confidence,
        mistakes=wrong[np.argsort(-confidence[wrong], kind="stable")],
        class_names=names,
        notes=notes,
    )
