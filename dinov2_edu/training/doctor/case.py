"""A log as the rules ask it: first and last values, how a curve moves, and K."""

import math
from collections.abc import Sequence
from statistics import median

from dinov2_edu.training.diagnosis import READ
from dinov2_edu.training.doctor.logs import Curve, Log
from dinov2_edu.training.doctor.words import WORDS

POWERS = tuple(2**i for i in range(5, 19))
"""Numbers of prototypes that a loss is held against where nobody says which it is: 32 to 262,144."""

FEWEST = 5
"""Records below which nothing is said."""


class Case:
    """A log and its K, and what the rules ask of them.

    Values that are not finite are passed over; what the log lacks is NaN, and K 0.

    Attributes:
        broken: the first curve that left the finite numbers for good, and where; empty if none did.
        k, k_from, top: K, where it is from ("given", "fits", "guess") and ln K.
        batch, where: images a step or a GPU, and the words for which.
    """

    def __init__(self, log: Log, n_prototypes: int | None = None) -> None:
        self.log, self.facts = log, log.facts
        self.broken = _not_finite(log)
        given = n_prototypes or self.fact("n_prototypes", 0)
        self.k, self.k_from = (int(given), "given") if given >= 2 else _k_of(self)
        self.top = math.log(self.k) if self.k else math.nan
        batch = self.fact("batch", self.first("batch"))
        self.batch = batch if batch > 0 else math.nan
        self.where = WORDS["pieces"]["gpu" if self.facts.get("per_gpu") else "step"]

    def fact(self, name: str, default: float = math.nan) -> float:
        """A number that the log says of its run."""
        return self.facts.get(name, default)

    def values(self, name: str) -> list[float]:
        """All finite values of a curve."""
        return [value for value in self.log.curves.get(name, Curve([], [])).values if math.isfinite(value)]

    def together(self, names: Sequence[str]) -> dict[str, list[float]]:
        """The values of several curves at the steps at which all of them are finite."""
        found = [dict(zip(*self.log.curves.get(name, Curve([], [])), strict=True)) for name in names]
        steps = [step for step in found[0] if all(math.isfinite(one.get(step, math.nan)) for one in found)]
        return {name: [one[step] for step in steps] for name, one in zip(names, found, strict=True)}

    def first(self, name: str) -> float:
        """The first value of a curve."""
        return next(iter(self.values(name)), math.nan)

    def end(self, name: str) -> float:
        """The mean of a curve's last tenth."""
        values = self.values(name)
        last = values[-max(1, round(len(values) / 10)) :]
        return sum(last) / len(last) if last else math.nan

    def drift(self, name: str) -> float:
        """By how much a curve moved over its last half: its last quarter less the one before."""
        half = self.values(name)[len(self.values(name)) // 2 :]
        return median(half[len(half) // 2 :]) - median(half[: len(half) // 2])

    def last_step(self) -> float:
        """The step of the last record."""
        return max(curve.steps[-1] for curve in self.log.curves.values())


def _k_of(case: Case) -> tuple[int, str]:
    """K from a loss that stands at ln K, else from one that began at or just above it."""
    if exact := exact_k(case):
        return exact, "fits"
    curve = case.log.curves.get("dino")
    if not curve or len(curve.values) < FEWEST or curve.steps[0] > 0.01 * case.last_step():
        return 0, ""
    above = ((k, curve.values[0] - math.log(k)) for k in POWERS)
    return next(((k, "guess") for k, distance in above if -0.02 <= distance <= 0.35), (0, ""))


def exact_k(case: Case) -> int:
    """The K at whose logarithm the loss stands, to a thousandth; 0 where it stands at none."""
    name = "dino" if case.values("dino") else "loss"
    if len(case.values(name)) < FEWEST or abs(case.drift(name)) > 0.001 * case.end(name):
        return 0
    return next((k for k in POWERS if abs(case.end(name) - math.log(k)) <= 0.001 * math.log(k)), 0)


def _not_finite(log: Log) -> dict:
    """The first curve to leave the finite numbers, if any is beyond them at the end."""
    found: list[dict] = []
    for name in ("koleo", "ibot", "dino", *READ[1:], "loss"):
        curve = log.curves.get(name)
        if not curve or all(map(math.isfinite, curve.values[-max(1, len(curve.values) // 10) :])):
            continue
        at = next(i for i, value in enumerate(curve.values) if not math.isfinite(value))
        found.append({"curve": name, "step": curve.steps[at], "value": curve.values[at]})
    return min(found, key=lambda one: one["step"], default={})
