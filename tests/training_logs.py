"""Logs for the doctor's tests: the broken ones of `doctor_logs`, the recorded runs, and each as others write it."""

import json
import math
from pathlib import Path
from typing import Any

from dinov2_edu.experiments.ablations import RUNS_FOLDER

BROKEN = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parent / "doctor_logs").glob("*.json"))
}
"""Name of what is broken -> {"config", "history"}."""
RECORDED = {path.stem: json.loads(path.read_text()) for path in sorted(RUNS_FOLDER.glob("*.json"))}
"""The book's recorded runs, by file name."""


def rows(log: dict) -> list[dict[str, float]]:
    """The records of a history; a part that was switched on later has the last ones."""
    history, n = log["history"], len(log["history"]["step"])
    curves = {
        name: [None] * (n - len(curve)) + curve
        for name, curve in history.items()
        if not name.startswith("knn")
    }
    found = [{name: curve[i] for name, curve in curves.items()} for i in range(n)]
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def official_text(log: dict) -> str:
    """A log as the official logger writes it: half of iBOT and of KoLeo, weights 1, 1 and 0.1, no entropies."""
    config, lines = log["config"], []
    for row in rows(log):
        parts = {}
        if "dino_local" in row:
            parts["dino_local_crops_loss"] = row["dino_local"]
            parts["dino_global_crops_loss"] = row["dino_global"]
        else:
            parts["dino_global_crops_loss"] = row["dino_global"] * 2 / 3
        if "koleo" in row:
            parts["koleo_loss"] = 0.1 * row["koleo"] / (2 * (config["koleo_weight"] or 0.02))
        if "ibot" in row:
            parts["ibot_loss"] = row["ibot"] / (config["ibot_weight"] or 0.3) / 2
        schedules = {"lr": row["lr"], "wd": 0.04, "mom": row["momentum"], "last_layer_lr": row["lr"]}
        head = {"iteration": int(row["step"]), "iter_time": 0.5, "data_time": 0.1, **schedules}
        head["current_batch_size"] = float(config["batch_size"])
        lines.append(json.dumps({**head, "total_loss": sum(parts.values()), **parts}))
    return "\n".join(lines) + "\n"


def lightning_text(log: dict, *, parts: bool = True) -> str:
    """A log as Lightning's CSVLogger writes it: a row for the rate and one for the losses, cells of others blank."""
    names = ["epoch", "lr-AdamW", "step", "train_loss", *(LIGHTLY if parts else ())]
    lines = [",".join(names)]
    for row in rows(log):
        cells: dict[str, Any] = {"step": int(row["step"]), "epoch": 0, "train_loss": row["loss"]}
        cells |= {name: row.get(key, 0.0) for name, key in LIGHTLY.items()}
        if "dino_local" not in row:  # lightly, as the official code, divides by 3 then
            cells["train_loss/dino_global_loss"] *= 2 / 3
        lines.append(
            ",".join(str({"step": cells["step"], "lr-AdamW": row["lr"]}.get(name, "")) for name in names)
        )
        lines.append(",".join(str(cells.get(name, "")) for name in names))
    return "\n".join(lines) + "\n"


LIGHTLY = {"train_loss/dino_global_loss": "dino_global", "train_loss/dino_local_loss": "dino_local"}


def official_rows(
    dino: list[float], *, k: int = 65_536, ibot: float = 1.0, koleo: float = 0.0, **more: float
) -> str:
    """An official log from formulas: 8 local crops, `dino` and `ibot` as shares of ln K, KoLeo without its weight."""
    top, lines = math.log(k), []
    for i, share in enumerate(dino):
        parts = {
            "dino_local_crops_loss": 16 / 18 * share * top,
            "dino_global_crops_loss": 2 / 18 * share * top,
            "koleo_loss": 0.1 * koleo,
            "ibot_loss": 0.25 * ibot * top,
        }
        lines.append(json.dumps({"iteration": 100 * i, **more, "total_loss": sum(parts.values()), **parts}))
    return "\n".join(lines) + "\n"
