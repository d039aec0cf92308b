"""Says what a training log shows: learning, a plateau, or which collapse; by what evidence; and what to try."""

import math
from dataclasses import dataclass

from dinov2_edu.checks import check_at_least, checked
from dinov2_edu.training.diagnosis import READ, diagnose
from dinov2_edu.training.doctor.case import FEWEST, Case, exact_k
from dinov2_edu.training.doctor.causes import RULES, gains_nothing
from dinov2_edu.training.doctor.logs import Curve, Log, read_log
from dinov2_edu.training.doctor.words import WORDS, say

__all__ = ["Cause", "Curve", "Findings", "Log", "examine", "read_log"]


@dataclass(frozen=True)
class Cause:
    """What may have brought a run where it is: a name, the numbers that point to it, and what to try."""

    name: str
    title: str
    evidence: str
    advice: str


@dataclass(frozen=True)
class Findings:
    """What `examine` found.

    Attributes:
        state: a key of the states in `assets/doctor.json`.
        title: the verdict in words.
        advice: what to try where no cause is seen; empty where nothing is wrong.
        evidence: the numbers that it rests on, a sentence each.
        causes: suspects, the strongest first; none without a number in this log that points to it.
        unseen: what would help to decide and is not in this log.
        n_prototypes: K, as given, read from the log or found; None where it is unknown.
    """

    state: str
    title: str
    advice: str
    evidence: tuple[str, ...]
    causes: tuple[Cause, ...]
    unseen: tuple[str, ...]
    n_prototypes: int | None


@checked
def examine(log: Log, n_prototypes: int | None = None) -> Findings:
    """Examine a log.

    With the entropies of the targets in it, `diagnose` decides. Without them the loss is held to ln K: one that
    stands there is uniform, one near 0 has one prototype for all, one well above has a student that follows nobody;
    what lies between may learn or not, and that is said.

    Args:
        log: from `read_log`.
        n_prototypes: K, where the log does not say it; else it is read off the loss where that can be done.

    Raises:
        ValueError: fewer than 2 prototypes.
    """
    check_at_least(2, n_prototypes=n_prototypes)
    case = Case(log, n_prototypes)
    state, said = _state(case)
    if state == "learning" and gains_nothing(case):
        state = "astray"
    evidence = [say(WORDS["evidence"][key], values) for key, values in said]
    title, advice = WORDS["states"][state]
    causes, unseen = _causes(case, state), _unseen(case, state)
    return Findings(state, title, advice, tuple(evidence), causes, unseen, case.k or None)


def _causes(case: Case, state: str) -> tuple[Cause, ...]:
    found = []
    for name, (states, rule) in RULES.items():
        suspect = rule(case, state) if state in states else None
        if suspect:
            weight, values = suspect
            title, evidence, advice = WORDS["causes"][name]
            found.append((-weight, Cause(name, title, say(evidence, values), advice)))
    return tuple(cause for _, cause in sorted(found, key=lambda pair: pair[0]))


def _unseen(case: Case, state: str) -> tuple[str, ...]:
    if state in ("learning", "astray", "diverged"):
        return ()
    missing = [] if all(case.values(name) for name in READ) else [WORDS["unseen"]["entropies"]]
    known = {*case.log.curves, *case.facts, "entropies"}
    return (*missing, *(text for name, text in WORDS["unseen"].items() if name not in known))


Said = list[tuple[str, dict]]


def _state(case: Case) -> tuple[str, Said]:
    """The state's key, and the sentences with their numbers."""
    if case.broken:
        return "diverged", [("not finite", case.broken)]
    name = "dino" if case.values("dino") else "loss"
    n = len(case.values(name))
    if n < FEWEST:
        return "unknown", [("few", {"n": n, "fewest": FEWEST})]
    curves = case.together(READ)
    if case.k and curves["loss"]:
        return _by_entropies(case, curves)
    state, said = (_by_dino if name == "dino" else _by_sum)(case)
    return state, said + (_about_k(case) if case.k else [])


def _by_entropies(case: Case, curves: dict[str, list[float]]) -> tuple[str, Said]:
    verdict = diagnose(curves, case.k)
    said = [("diagnosis", {"said": verdict.evidence})]
    return verdict.name, said + (_numbers(case) + _about_k(case) if case.values("dino") else [])


def _by_dino(case: Case) -> tuple[str, Said]:
    """Held to ln K where K is known, else by its shape alone."""
    first, end, moved = case.first("dino"), case.end("dino"), case.drift("dino")
    top = case.top if case.k else max(first, end)
    said, still = _numbers(case), abs(moved) <= 0.005 * top
    low = min(case.values("dino"))
    if end < 0.03 * top:
        return "one prototype", [("above zero", {"dino": end})]
    if not case.k and still and abs(end - first) <= 0.02 * top:
        return "flat", [*said, ("stands", {"moved": end - first})]
    if end > 1.05 * top:
        rising = end >= first or moved > 0.005 * top
        return "unstable" if rising and case.k else "unknown", [*said, ("moves", {"moved": moved})]
    if case.k and still and end >= 0.99 * top:
        fell = low < 0.9 * top
        return ("uniform", [*said, ("fell back", {"low": low})]) if fell else ("plateau", said)
    said += [("moves", {"moved": moved}), *([("sinkhorn", {})] if case.k and end < top else [])]
    return "falling" if moved < -0.005 * top else "unknown", said


def _by_sum(case: Case) -> tuple[str, Said]:
    """Of a bare sum no more can be said than that it stands at ln K, at 0, or where it began."""
    first, end, moved = case.first("loss"), case.end("loss"), case.drift("loss")
    scale = max(abs(first), abs(end))
    said = [("loss alone", {"loss": end, "first": first})]
    still = abs(moved) <= 0.005 * scale
    if case.k and still and abs(end - case.top) <= 0.001 * case.top:
        low = min(case.values("loss"))
        return (
            ("uniform", [*said, ("fell back", {"low": low})]) if low < 0.9 * case.top else ("plateau", said)
        )
    if abs(end) < 0.03 * scale:
        return "one prototype", said
    if still and abs(end - first) <= 0.02 * scale:
        return "flat", [*said, ("stands", {"moved": end - first})]
    return "unknown", [*said, ("moves", {"moved": moved})]


def _numbers(case: Case) -> Said:
    """The loss against ln K, and the sum."""
    end = case.end("dino")
    if not case.k:
        return [("dino without K", {"dino": end, "first": case.first("dino")})]
    said: Said = [
        ("dino", {"dino": end, "share": f"{100 * end / case.top:.1f} %", "k": case.k, "top": case.top})
    ]
    weights, loss, koleo = case.facts.get("weights"), case.end("loss"), case.end("koleo")
    if weights and case.values("loss"):
        masked = case.fact("mask_probability", 0.5) if case.values("ibot") else 0
        part = say(WORDS["pieces"]["koleo"], {"koleo": koleo * case.fact("koleo_scale")})
        part = part if case.values("koleo") else ""
        said.append(
            ("sum", {"sum": (weights[0] + weights[1] * masked) * case.top, "koleo": part, "loss": loss})
        )
        said += [("halves", {})] if case.log.kind == "official" else []
    if case.log.kind != "ours" and case.values("koleo"):
        said.append(("distance", {"distance": math.exp(-koleo)}))
    return said


def _about_k(case: Case) -> Said:
    """Where K is from, or that the loss fits another."""
    if case.k_from != "given":
        return [(case.k_from, {"k": case.k, "first": case.first("dino")})]
    other = exact_k(case)
    return [("other K", {"k": other, "given": case.k})] if other not in (0, case.k) else []
