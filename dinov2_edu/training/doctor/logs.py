"""Reads a training log, whoever wrote it, into curves of one set of names and one scale."""

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dinov2_edu.checks import checked, require
from dinov2_edu.files import local_path
from dinov2_edu.training.doctor.words import WORDS, refusal

MAX_BYTES = 32 * 2**20
"""The official log of a published run, a line every 10 of 625,000 steps, has 20 MB."""

NAMES = ("history.json", "training_metrics.json", "metrics.csv", "metrics.jsonl")
"""Where a folder is given, the first of these in it is read."""

KNOWN = (
    *("target_entropy", "mean_target_entropy", "patch_target_entropy", "feature_spread"),
    *("knn", "lr", "momentum", "teacher_temperature"),
)
"""Curves that are taken as they are where a log has them under these names."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?", re.IGNORECASE)
Row = dict[str, float]


class Curve(NamedTuple):
    """Values, and the steps at which they were recorded."""

    steps: list[float]
    values: list[float]


@dataclass(frozen=True)
class Log:
    """A training log in one form.

    Attributes:
        kind: who wrote it: "ours", "official" or "lightning".
        curves: by name. `dino` is the mean cross-entropy of a pair, `ibot` that of a masked patch averaged over all
            images, unmasked ones too, `koleo` the mean of -log(distance to the nearest other image); `loss` is the
            sum as it was logged.
        facts: what the log says of its run beside the curves, such as `n_prototypes` or `batch`.
        notes: what was left out or assumed in reading it.
    """

    kind: str
    curves: dict[str, Curve]
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@checked
def read_log(source: str | os.PathLike) -> Log:
    """Read a log; who wrote it is seen from what is in it.

    Args:
        source: a file, the folder of a run, or the text of a log.

    Raises:
        ValueError: it is empty, too large, not text, broken in the middle, or has no loss that is known here.
        OSError: the file cannot be read.
    """
    is_text = isinstance(source, str) and ("\n" in source or source.lstrip().startswith("{"))
    text = str(source) if is_text else _read(source)
    require(bool(text.strip()), refusal("empty"))
    require(len(text) <= MAX_BYTES, _too_large(len(text)))
    kind, rows, facts, notes = _parse(text.lstrip("\ufeff").strip())
    if rows and not any("step" in row or "iteration" in row for row in rows):
        facts["by_epoch"] = True
    curves: dict[str, Curve] = {}
    for row in _forward(rows):
        for name, value in _in_one_scale(kind, row, facts).items():
            if value is not None:
                curve = curves.setdefault(name, Curve([], []))
                curve.steps.append(row["step"])
                curve.values.append(value)
    names = sorted({name for row in rows for name in row})
    found = f"{', '.join(names[:12])}{' ...' if len(names) > 12 else ''}"
    why = refusal("no loss", names=found) if names else refusal("no number")
    require("loss" in curves or "dino" in curves, why)
    return Log(kind, curves, facts, notes)


def _read(path: str | os.PathLike) -> str:
    path = local_path(path)
    if path.is_dir():
        path = next((path / name for name in NAMES if (path / name).is_file()), path / NAMES[0])
    size = path.stat().st_size
    require(size <= MAX_BYTES, _too_large(size))
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    why = "checkpoint" if path.suffix == ".pt" else "no text"
    require("\0" not in text, refusal(why, name=path.name))
    return text


def _too_large(size: int) -> str:
    return refusal("large", size=f"{size / 2**20:.0f}")


def _parse(text: str) -> tuple[str, list[Row], dict[str, Any], tuple[str, ...]]:
    """Kind, rows of numbers by step, facts and notes."""
    if not text.startswith("{"):
        return "lightning", _csv_rows(text), {}, ()
    whole = _json(text)
    if isinstance(whole, dict) and isinstance(whole.get("history", whole.get("loss")), (dict, list)):
        return _ours(whole)
    rows, notes = _json_rows(text)
    official = any("total_loss" in row or "dino_global_crops_loss" in row for row in rows)
    # The official log lists half of iBOT and of KoLeo.
    facts = {"weights": (1.0, 0.5), "koleo_scale": 0.1, "per_gpu": True} if official else {}
    return "official" if official else "lightning", rows, facts, notes


def _json(text: str) -> Any:
    """The value, or None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_rows(text: str) -> tuple[list[Row], tuple[str, ...]]:
    lines = [line for line in text.splitlines() if line.strip()]
    rows, notes = [], []
    for number, line in enumerate(lines, 1):
        found = _json(line)
        if isinstance(found, dict):
            rows.append(_numbers(found))
            continue
        require(
            number == len(lines) and number > 1,
            refusal("line", number=number, line=repr(line[:40])),
        )
        notes.append(WORDS["notes"]["cut off"])
    return rows, tuple(notes)


def _numbers(values: Mapping[str, Any]) -> Row:
    return {key: float(value) for key, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e300
    )


def _csv_rows(text: str) -> list[Row]:
    names, *lines = [[cell.strip().strip('"') for cell in line.split(",")] for line in text.splitlines()]
    cells = (zip(names, line, strict=False) for line in lines)
    return [{name: float(cell) for name, cell in row if _NUMBER.fullmatch(cell)} for row in cells]


def _forward(rows: Iterable[Row]) -> list[Row]:
    """Rows with their step, in order: of one step they are one, and a run that went back wrote over what it undid."""
    found: list[Row] = []
    for number, row in enumerate(rows):
        step = next((row[name] for name in ("step", "iteration", "epoch") if name in row), float(number))
        if not math.isfinite(step):
            continue
        while found and found[-1]["step"] > step:
            found.pop()
        if found and found[-1]["step"] == step:
            found[-1].update(row)
        else:
            found.append({**row, "step": step})
    return found


def _ours(whole: Mapping[str, Any]) -> tuple[str, list[Row], dict[str, Any], tuple[str, ...]]:
    config = whole.get("config")
    history = whole["history"] if isinstance(whole.get("history"), dict) else whole
    by_step: dict[float, Row] = {}
    for name, values in history.items():
        steps = history.get(f"{name}_step", history.get("step"))
        if name.endswith("step") or not (isinstance(values, list) and isinstance(steps, list)):
            continue
        require(
            len(values) <= len(steps), refusal("lengths", values=len(values), name=name, steps=len(steps))
        )
        # A part of the loss that was switched on later has the last steps.
        for step, value in zip(steps[-len(values) :], values, strict=False):
            if _is_number(step) and _is_number(value):
                by_step.setdefault(float(step), {"step": float(step)})[name] = float(value)
    notes = () if isinstance(config, dict) else (WORDS["notes"]["no config"],)
    facts = _facts(config if isinstance(config, dict) else {})
    return "ours", [by_step[step] for step in sorted(by_step)], facts, notes


def _facts(config: Mapping[str, Any]) -> dict[str, Any]:
    crops = config.get("crops")
    given = {**config, "n_local": crops.get("n_local") if isinstance(crops, dict) else None}
    copied = {
        "n_prototypes": "n_prototypes",
        "batch": "batch_size",
        "steps": "steps",
        "warmup": "warmup_steps",
    }
    copied |= {name: name for name in ("student_temperature", "koleo_weight", "mask_probability", "n_local")}
    facts = {name: given[key] for name, key in copied.items() if _is_number(given.get(key))}
    if isinstance(config.get("targets"), str):
        facts["targets"] = config["targets"]
    weights = [config.get(name, 1.0) for name in ("dino_weight", "ibot_weight")]
    facts |= {} if config else {"assumed": True}
    facts["weights"] = tuple(weights) if all(map(_is_number, weights)) else (1.0, 1.0)
    facts["koleo_scale"] = 2 * facts.get("koleo_weight", 0.1)
    return facts


def _in_one_scale(kind: str, row: Row, facts: Mapping[str, Any]) -> dict[str, float | None]:
    """A row by the names of this module."""
    read = {"ours": _ours_scaled, "official": _official_scaled, "lightning": _lightning_scaled}[kind]
    return {**{name: row.get(name) for name in KNOWN}, **read(row, facts)}


def _ours_scaled(row: Row, facts: Mapping[str, Any]) -> dict[str, float | None]:
    dino_weight, ibot_weight = facts["weights"]
    both = (row.get("dino_global"), row.get("dino_local", 0.0))
    return {
        "loss": row.get("loss"),
        "dino": None if both[0] is None else _times(both[0] + both[1], 1, dino_weight),
        "ibot": _times(row.get("ibot"), 1, ibot_weight),
        "koleo": _times(row.get("koleo"), 1, facts["koleo_scale"]),
    }


def _official_scaled(row: Row, facts: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        "loss": row.get("total_loss"),
        "dino": _pairs(row.get("dino_global_crops_loss"), row.get("dino_local_crops_loss")),
        "ibot": _times(row.get("ibot_loss"), 2),
        "koleo": _times(row.get("koleo_loss"), 1, facts["koleo_scale"]),
        "momentum": row.get("mom"),
        "batch": row.get("current_batch_size"),
    }


def _lightning_scaled(row: Row, facts: Mapping[str, Any]) -> dict[str, float | None]:
    def first(*names: str) -> float | None:
        found = (row.get(name + end) for name in names for end in ("", "_step", "_epoch"))
        return next((value for value in found if value is not None), None)

    rates = [value for name, value in row.items() if name.startswith("lr-")]
    knn = first("val_knn_top1", "knn")
    return {
        "loss": first("train_loss", "loss"),
        "dino": _pairs(first("train_loss/dino_global_loss"), first("train_loss/dino_local_loss")),
        "ibot": first("train_loss/ibot_loss"),
        "koleo": _times(first("train_loss/koleo_loss"), 1, 2),
        "lr": max(rates) if rates else first("train_lr", "lr"),
        "momentum": first("schedule/momentum", "momentum"),
        "teacher_temperature": first("schedule/teacher_temp", "teacher_temperature"),
        "knn": _times(first("kNN_accuracy"), 1, 100) if knn is None else knn,
    }


def _pairs(on_global: float | None, on_local: float | None) -> float | None:
    """The mean over pairs; without local crops the official code divides by 3 where there are 2."""
    if on_global is None:
        return None
    return on_global + on_local if on_local else 1.5 * on_global


def _times(value: float | None, factor: float, divisor: float = 1.0) -> float | None:
    return None if value is None or divisor == 0 else value * factor / divisor
