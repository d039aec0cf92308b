"""What the doctor suspects: for each cause a rule on the numbers of a log; the words for it are in `words.WORDS`."""

import math

from dinov2_edu.training.doctor.case import Case
from dinov2_edu.training.doctor.words import WORDS, say

PIECES = WORDS["pieces"]

STUCK = ("plateau", "flat", "unknown", "falling")
COLLAPSED = ("uniform", "one prototype", "constant", "features")
BAD = (*STUCK, *COLLAPSED, "unstable")
ALL = (*BAD, "learning", "astray")

Suspect = tuple[float, dict] | None
"""How strongly a rule suspects, and the numbers for its sentence. What a log lacks is NaN: no comparison holds."""


def _koleo(case: Case, state: str) -> Suspect:
    return (10, case.broken) if case.broken["curve"] == "koleo" else None


def _rate_at_the_end(case: Case, state: str) -> Suspect:
    if case.broken["curve"] == "koleo" or not case.values("lr"):
        return None
    return 5, {"lr": max(case.values("lr")), "curve": case.broken["curve"]}


def _equal(case: Case, state: str) -> Suspect:
    end = case.end("koleo")
    return (9, {"distance": math.exp(-end)}) if end > 10 else None


def _logits(case: Case, state: str) -> Suspect:
    first = case.first("dino")
    return (8, {"first": first, "k": case.k, "top": case.top}) if first > case.top + 2 else None


def _alike(case: Case, state: str) -> Suspect:
    spread = case.first("feature_spread")
    return (4, {"spread": spread}) if spread < 0.3 else None


def _temperature(case: Case, state: str) -> Suspect:
    student, highest = (
        case.fact("student_temperature", 0.1),
        max(case.values("teacher_temperature"), default=0),
    )
    return (8, {"temperature": highest, "student": student}) if highest and highest >= 0.8 * student else None


def _targets(case: Case, state: str) -> Suspect:
    targets = case.facts.get("targets")
    return (7, {"targets": targets}) if targets == "none" else None


def _batch(case: Case, state: str) -> Suspect:
    return (min(8, 64 / case.batch), {"batch": case.batch, "where": case.where}) if case.batch <= 32 else None


def _prototypes(case: Case, state: str) -> Suspect:
    ratio = case.k / (2 * case.batch)
    # A loss below that floor says that the targets are not Sinkhorn-Knopp's, or that there were more GPUs.
    if not ratio >= 64 or case.end("dino") <= math.log(ratio):
        return None
    values = {"k": case.k, "targets": 2 * case.batch, "where": case.where, "ratio": round(ratio)}
    gpus = PIECES["gpus"] if case.facts.get("per_gpu") else ""
    return min(6, ratio / 32), {**values, "floor": math.log(ratio), "gpus": gpus}


def length_of(case: Case) -> float:
    """Steps of the whole run: by its config, else by how far its momentum has come on the cosine to 1."""
    if case.fact("steps") > 0:
        return case.fact("steps")
    curve = case.log.curves.get("momentum")
    if not curve or not curve.values[0] < 1 or case.facts.get("by_epoch"):
        return math.nan
    left = (1 - curve.values[-1]) / (1 - curve.values[0])
    angle = math.acos(max(-1.0, min(1.0, 2 * left - 1)))
    return math.pi * curve.steps[-1] / angle if angle > 0.05 else math.nan


def _lag_of(case: Case) -> tuple[float, float]:
    momentum = case.first("momentum")
    return momentum, (1 / (1 - momentum) if momentum < 1 else math.nan)


def _slow(case: Case, state: str) -> Suspect:
    (momentum, lag), length = _lag_of(case), length_of(case)
    if not lag >= length / 5:
        return None
    return 5 * lag / length, {"momentum": momentum, "lag": round(lag), "length": round(length)}


def _no_lag(case: Case, state: str) -> Suspect:
    momentum, lag = _lag_of(case)
    return (3, {"momentum": momentum, "lag": round(lag)}) if momentum < 0.5 else None


def _fast(case: Case, state: str) -> Suspect:
    momentum, lag = _lag_of(case)
    if not 0.5 <= momentum < 0.95 or case.facts.get("targets", "centering") != "centering":
        return None
    return 2, {"momentum": momentum, "lag": round(lag)}


def _masks(case: Case, state: str) -> Suspect:
    share, how = case.fact("mask_probability"), ""
    if math.isnan(share):
        share, how = _share_at_first(case), PIECES["first record"]
    if not (share < 0.25 or share > 0.75) or not case.values("ibot"):
        return None
    return 3, {"share": f"{100 * share:.0f} %", "how": how}


def _share_at_first(case: Case) -> float:
    """Of an untrained network both losses are at ln K a crop, so iBOT's part of the DINO loss is the masked share."""
    dino, ibot = case.first("dino"), case.first("ibot")
    if not dino >= 0.9 * (case.top if case.k else 2) or case.facts.get("assumed"):
        return math.nan
    # Where DINO has fallen already the share comes out too large; without ln K nobody knows.
    return math.nan if ibot > 0.75 * dino and not dino < 1.2 * case.top else ibot / dino


def _rate(case: Case, state: str) -> Suspect:
    wanted, highest = 4e-3 * math.sqrt(case.batch / 1024), max(case.values("lr"), default=0)
    if not highest >= 3.5 * wanted:
        return None
    where = say(PIECES["images"], {"where": case.where})
    return min(7, highest / wanted), {"lr": highest, "wanted": wanted, "batch": case.batch, "where": where}


def _no_rate(case: Case, state: str) -> Suspect:
    wanted, rates = 2e-4 * math.sqrt(case.batch / 1024), case.values("lr")
    low = rates and max(rates) < wanted / 10 and not _warming_up(case)
    return (4, {"lr": max(rates), "wanted": wanted}) if low else None


def _swings(case: Case, state: str) -> Suspect:
    values = case.values("dino")
    low, best = math.inf, (0.0, 0.0, 0.0)
    for value in values[len(values) // 3 :]:
        low = min(low, value)
        best = max(best, (value - low, low, value))
    rise, low, high = best
    return (
        (3, {"low": low, "high": high})
        if rise > 0 and rise >= 0.5 * (case.top if case.k else max(values))
        else None
    )


def _warming_up(case: Case) -> bool:
    rates = case.values("lr")
    return len(rates) > 1 and rates[-1] >= max(rates) > min(rates)


def _young(case: Case, state: str) -> Suspect:
    length, step, rising = length_of(case), case.last_step(), _warming_up(case)
    if not rising and not step < 0.1 * length:
        return None
    of = say(PIECES["of"], {"length": round(length)}) if length > 0 else ""
    return 7, {"step": step, "of": of, "warmup": PIECES["warmup"] if rising else ""}


def gains_nothing(case: Case) -> bool:
    """Whether k-NN accuracy was measured, and never rose by two points above the first."""
    accuracies = case.values("knn")
    return len(accuracies) > 1 and max(accuracies[1:]) <= accuracies[0] + 0.02 and accuracies[0] < 0.9


def _shortcut(case: Case, state: str) -> Suspect:
    first, end, accuracies = case.first("dino"), case.end("dino"), case.values("knn")
    if not gains_nothing(case) or not end <= 0.98 * first:
        return None
    shown = {"knn_first": f"{100 * accuracies[0]:.1f} %", "knn_end": f"{100 * accuracies[-1]:.1f} %"}
    return 4, {"first": first, "end": end, **shown}


def _leak(case: Case, state: str) -> Suspect:
    accuracy = case.first("knn")
    if not accuracy >= 0.9:
        return None
    return 6, {"knn": f"{100 * accuracy:.1f} %", "step": case.log.curves["knn"].steps[0]}


def _no_koleo(case: Case, state: str) -> Suspect:
    return (5 if state == "astray" else 1, {}) if case.fact("koleo_weight") == 0 else None


def _no_crops(case: Case, state: str) -> Suspect:
    return (0.5, {}) if case.fact("n_local") == 0 else None


RULES = {
    "koleo": (("diverged",), _koleo),
    "rate at the end": (("diverged",), _rate_at_the_end),
    "equal": (BAD, _equal),
    "logits": (ALL, _logits),
    "alike": (BAD, _alike),
    "temperature": (BAD, _temperature),
    "targets": (BAD, _targets),
    "batch": (BAD, _batch),
    "prototypes": ((*STUCK, "uniform", "astray"), _prototypes),
    "slow": (ALL, _slow),
    "no lag": (ALL, _no_lag),
    "fast": ((*COLLAPSED, "unstable"), _fast),
    "masks": (ALL, _masks),
    "rate": ((*COLLAPSED, "unstable", "plateau", "flat"), _rate),
    "no rate": (STUCK, _no_rate),
    "swings": ((*COLLAPSED, "unstable", "unknown"), _swings),
    "young": (("plateau", "flat", "unknown"), _young),
    "shortcut": (("learning", "astray", "falling", "unknown", "features"), _shortcut),
    "leak": ((*ALL, "diverged"), _leak),
    "no koleo": (ALL, _no_koleo),
    "no crops": (ALL, _no_crops),
}
"""Cause -> the states in which it is asked for, and its rule."""
