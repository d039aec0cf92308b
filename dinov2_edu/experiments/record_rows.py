"""The table of records: how soon small DINOv2s reached fixed k-NN accuracies, from the runs in `assets/records.json`.

Each line of that file is a run as `python -m dinov2_edu record ... --out FILE` writes it.
"""

import json
import statistics
from itertools import groupby
from pathlib import Path
from typing import Any

from dinov2_edu.checks import checked
from dinov2_edu.experiments.provenance import machine_words
from dinov2_edu.experiments.record import TASKS
from dinov2_edu.files import local_path

RECORDED = Path(__file__).parents[1] / "assets" / "records.json"
HEADER = (
    "k-NN",
    "minutes of training",
    "pictures seen",
    "seeds there",
    "setting",
    "parameters",
    "on",
    "commit",
)
"""Titles of the columns of `record_rows`."""
OPEN = "open: run it and send the row"


@checked
def load_records(path: str | Path = RECORDED) -> list[dict[str, Any]]:
    """The recorded runs as the command wrote them, sorted by setting and seed."""
    return json.loads(local_path(path).read_text("utf-8"))


@checked
def record_rows(path: str | Path = RECORDED) -> list[list[str]]:
    """The table of records, with the titles of `HEADER`: a row for each target, setting, machine and commit.

    Of the seeds that got there the median, with the least and the most. A target nobody has run for is open; of a run
    that was interrupted the targets count that it had reached.
    """

    def alike(one: dict[str, Any]) -> str:
        rest = {key: one[key] for key in ("setting", "machine", "torch", "commit", "parameters")}
        return json.dumps(rest, sort_keys=True)

    groups = [list(runs) for _, runs in groupby(sorted(load_records(path), key=alike), alike)]
    rows = []
    for name, task in TASKS.items():
        own = [runs for runs in groups if runs[0]["setting"].startswith(name)]
        for target in task.targets:
            title = f"{task.title} {target:g} %"
            tried = [[run for run in runs if _note(run, target)] for runs in own]
            rows += [_row(title, target, runs) for runs in tried if runs] or [
                [title, OPEN, *[""] * (len(HEADER) - 2)]
            ]
    return rows


def _note(run: dict[str, Any], target: float) -> dict[str, Any] | None:
    """What a run has noted of a target; None where it was not after it, or was interrupted on the way there."""
    note = next((one for one in run["reached"] if one["target"] == target), None)
    return note if run["finished"] or (note and note["step"] is not None) else None


def _row(title: str, target: float, runs: list[dict[str, Any]]) -> list[str]:
    """What these seeds of one setting needed for a target."""
    notes = [note for run in runs if (note := _note(run, target))]
    there = [note for note in notes if note["step"] is not None]
    minutes, pictures = f"not reached ({max(max(run['curve']['knn']) for run in runs):.1%} at best)", ""
    if there:
        minutes = _spread([one["seconds"] / 60 for one in there], "{:.1f}")
        pictures = _spread([one["pictures"] for one in there], "{:,.0f}")
    first, seeds = runs[0], ", ".join(str(run["seed"]) for run in runs)
    threads = first["machine"].get("threads", 2)
    return [
        title,
        minutes,
        pictures,
        f"{len(there)} of {len(runs)} ({seeds})",
        f"`{first['setting']}{f' --threads {threads}' if threads != 2 else ''}`",
        f"{first['parameters'] / 1e6:.2f} M",
        machine_words(first["machine"]),
        f"`{first['commit'][:7]}`",
    ]


def _spread(values: list[float], form: str) -> str:
    middle, *ends = (form.format(one) for one in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({ends[0]} to {ends[1]})" if len(values) > 1 else middle
