"""What the curves of a run say: learning, or collapsed, and how."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dinov2_edu.door import check_at_least, checked, require

WINDOW = 0.1
"""Share of the log, at its end, that is averaged."""

READ = ("loss", "target_entropy", "mean_target_entropy", "feature_spread")
"""Curves that the verdict rests on."""

MIN_MUTUAL_INFORMATION = 0.04
"""Targets that tell less of their image than this share of ln K count as one and the same."""


@dataclass(frozen=True)
class Diagnosis:
    """A verdict with the numbers that it rests on.

    Attributes:
        name: "learning", "uniform", "one prototype", "constant", "features" or "diverged".
        collapsed: True for every name but "learning".
        evidence: a sentence with the numbers.
        advice: what to try; empty where nothing is wrong.
    """

    name: str
    evidence: str
    advice: str = ""

    @property
    def collapsed(self) -> bool:
        """Whether something is wrong."""
        return self.name != "learning"


@checked
def diagnose(history: Mapping[str, Sequence[Any]], n_prototypes: int) -> Diagnosis:
    """Name the state of a run from the end of its curves.

    The decisive number is what a target tells of its image: the entropy of the mean target less the mean entropy of
    the targets, their mutual information. It is 0 when every image gets the same target, whatever that target is;
    then the entropy says which collapse it is: ln K is uniform, 0 is one prototype for all.

    Args:
        history: as `fit` records it; needs loss, target_entropy, mean_target_entropy and feature_spread (nats).
        n_prototypes: K.

    Raises:
        ValueError: an empty history, or one that lacks a curve.
    """
    check_at_least(2, n_prototypes=n_prototypes)
    require(bool(history), "the history is empty: run some steps first")
    for name in READ:
        require(
            len(history.get(name, ())) > 0, f"the history is empty or lacks {name!r}: run some steps first"
        )
    broken = [name for name in READ if not all(map(math.isfinite, history[name]))]
    if broken:
        return Diagnosis(
            "diverged",
            f"The {broken[0].replace('_', ' ')} is no longer a finite number.",
            "Lower the learning rate, warm up longer, or use float32; duplicate images make KoLeo infinite.",
        )
    entropy = _end(history["target_entropy"])
    mean_entropy = _end(history["mean_target_entropy"])
    spread = _end(history["feature_spread"])
    top = math.log(n_prototypes)
    mutual_information = mean_entropy - entropy
    numbers = (
        f"target entropy {entropy:.3f} of at most ln {n_prototypes} = {top:.3f}; "
        f"mutual information of target and image {max(mutual_information, 0):.3f} nats; feature spread {spread:.3f}"
    )
    if mutual_information < MIN_MUTUAL_INFORMATION * top:
        return _same_target(entropy / top, numbers)
    if spread < 0.05:
        return Diagnosis(
            "features",
            f"All images have nearly one feature: {numbers}.",
            "Raise KoLeo's weight, or check that images differ and are normalised.",
        )
    return Diagnosis("learning", f"Targets differ from image to image: {numbers}.")


def _same_target(relative_entropy: float, numbers: str) -> Diagnosis:
    if relative_entropy > 0.98:
        return Diagnosis(
            "uniform",
            f"Every target is the uniform distribution: {numbers}.",
            "Sharpen the teacher (a lower teacher temperature), spread the features at the start (KoLeo), "
            "or wait: small runs stay here for their first few hundred steps.",
        )
    if relative_entropy < 0.1:
        return Diagnosis(
            "one prototype",
            f"Every image is sent to one prototype: {numbers}.",
            "Centre the teacher's logits or use Sinkhorn-Knopp, and let the teacher lag (momentum near 1).",
        )
    return Diagnosis(
        "constant",
        f"Every image gets one and the same target, neither sharp nor uniform: {numbers}.",
        "Let the teacher lag (momentum near 1), and check the centring and both temperatures.",
    )


def _end(values: Sequence[float]) -> float:
    count = max(1, round(len(values) * WINDOW))
    return sum(values[-count:]) / count


class CollapseGuard:
    """Sees a run whose targets once depended on their images and do no longer.

    It remembers the highest value, so a record costs the same however long the run is.
    """

    def __init__(self, history: Mapping[str, Sequence[float]], n_prototypes: int) -> None:
        self.n_prototypes = n_prototypes
        self.most = max(_mutual_information(history), default=0.0)

    def seen(self, history: Mapping[str, Sequence[float]]) -> Diagnosis | None:
        """The verdict on the last records, if the run has collapsed since it began to learn."""
        end = {name: values[-5:] for name, values in history.items()}
        recent, top = max(_mutual_information(end)), math.log(self.n_prototypes)
        self.most = max(self.most, recent)
        if self.most <= 0.1 * top or recent > MIN_MUTUAL_INFORMATION * top:
            return None
        verdict = diagnose(end, self.n_prototypes)
        return verdict if verdict.collapsed else None


def _mutual_information(history: Mapping[str, Sequence[float]]) -> list[float]:
    """What a target tells of its image at each record, in nats: entropy of the mean target less mean entropy."""
    means, entropies = (history.get(name, []) for name in ("mean_target_entropy", "target_entropy"))
    return [mean - each for mean, each in zip(means, entropies, strict=True)]
