"""Where a number comes from: the machine it was timed on, and the commit of the code."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

from dinov2_edu.numerics import best_precision


def machine_of(device: torch.device) -> dict[str, Any]:
    """What a run is timed on; `bfloat16`: whether it has units that gain by it."""
    fast = {"bfloat16": best_precision(device) == "bfloat16"}
    if device.type != "cpu":
        return {"gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type, **fast}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": cpu_name(), "cores": cores, "threads": torch.get_num_threads(), **fast}


def machine_words(machine: dict[str, Any]) -> str:
    """A machine for a table."""
    if "gpu" in machine:
        return f"one {machine['gpu']}"
    threads = machine["threads"]
    count = f"{threads} thread{'s' * (threads != 1)}"
    return f"{count} of {machine['cpu']}, {'with' if machine['bfloat16'] else 'without'} bfloat16 units"


def cpu_name() -> str:
    """The processor as Linux names it, with family and model where it has them; else as Python does."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        text = ""
    lines = dict(re.findall(r"^(model name|cpu family|model)\s*: (.+)$", text, re.MULTILINE))
    if "model name" not in lines:
        return platform.processor() or platform.machine()
    more = ", ".join(f"{key.split()[-1]} {lines[key]}" for key in ("cpu family", "model") if key in lines)
    return f"{lines['model name']} ({more})" if more else lines["model name"]


def commit() -> str | None:
    """The checkout's commit, with `-dirty` behind it where files were changed; None where this is no checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    words = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
