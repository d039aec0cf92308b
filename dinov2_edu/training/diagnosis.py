"""What the curves of a run say: learning, on a plateau, or collapsed, and how."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dinov2_edu.checks import check_at_least, checked, require

WINDOW = 0.1
"""Share of the log, at its end, that is averaged."""

READ = ("loss", "target_entropy", "mean_target_entropy", "feature_spread")
"""Curves that the verdict rests on."""

MIN_MUTUAL_INFORMATION = 0.04
"""Targets that tell less of their image than this share of ln K count as one and the same."""
MIN_SPREAD = 0.05
"""Features below this spread count as one point."""


@dataclass(frozen=True)
class Diagnosis:
    """A verdict with the numbers that it rests on.

    Attributes:
        name: "learning", "plateau", "uniform", "one prototype", "constant", "features" or "diverged".
        collapsed: True for every name but "learning" and "plateau".
        evidence: a sentence with the numbers.
        advice: what to try; empty where nothing is wrong.
    """

    name: str
    evidence: str
    advice: str = ""

    @property
    def collapsed(self) -> bool:
        """Whether the run has lost, or cannot get, what it learns from."""
        return self.name not in ("learning", "plateau")


@checked
def diagnose(history: Mapping[str, Sequence[Any]], n_prototypes: int) -> Diagnosis:
    """Name the state of a run from the end of its curves.

    The decisive number is what a target tells of its image: the entropy of the mean target less the mean entropy of
    the targets, their mutual information. It is 0 when every image gets the same target, whatever that target is;
    then the entropy says which collapse it is: ln K is uniform, 0 is one prototype for all. Uniform targets are a
    plateau, which a run may yet leave, as long as nothing has been lost: targets have never told images apart, and
    the features still do.

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
    return _judge(history, n_prototypes, most=max(_mutual_information(history)))


def _judge(history: Mapping[str, Sequence[Any]], n_prototypes: int, *, most: float) -> Diagnosis:
    """The verdict on the end of these curves; `most`: mutual information at its highest, also before they begin."""
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
        fresh = most < MIN_MUTUAL_INFORMATION * top and spread >= MIN_SPREAD
        return _same_target(entropy / top, numbers, fresh)
    if spread < MIN_SPREAD:
        return Diagnosis(
            "features",
            f"All images have nearly one feature: {numbers}.",
            "Raise KoLeo's weight, or check that images differ and are normalised.",
        )
    return Diagnosis("learning", f"Targets differ from image to image: {numbers}.")


def _same_target(relative_entropy: float, numbers: str, fresh: bool) -> Diagnosis:
    if relative_entropy > 0.98 and fresh:
        return Diagnosis(
            "plateau",
            f"Every target is uniform, as it has been since the start, and the features differ: {numbers}.",
            "Wait, for small runs stay here for their first few hundred steps; sharpen the teacher (a lower teacher "
            "temperature); or draw the heads anew, if uniform targets have trained them.",
        )
    if relative_entropy > 0.98:
        return Diagnosis(
            "uniform",
            f"Every target has become the uniform distribution: {numbers}.",
            "Sharpen the teacher (a lower teacher temperature), and keep the features apart (KoLeo).",
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
        verdict = _judge(end, self.n_prototypes, most=self.most)
        return verdict if verdict.collapsed else None


def _mutual_information(history: Mapping[str, Sequence[float]]) -> list[float]:
    """What a target tells of its image at each record, in nats: entropy of the mean target less mean entropy."""
    means, entropies = (history.get(name, []) for name in ("mean_target_entropy", "target_entropy"))
    return [mean - each for mean, each in zip(means, entropies, strict=False)]
