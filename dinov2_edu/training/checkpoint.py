"""A run on disk: written whole or not at all, and resumed to the same numbers."""

import os
import tempfile
from pathlib import Path

import torch

from dinov2_edu.door import require
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.state import TrainState, build_state

FORMAT = 1


def save_checkpoint(state: TrainState, path: str | Path) -> None:
    """Write a run to `path`: networks, optimiser, centres, step, history and config.

    The file is written beside the target, flushed to the disk, and then renamed over it, so a crash leaves the old
    file or the new one, never half of one. Random states need no saving: every draw follows from seed and step.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "config": state.config.to_dict(),
        "student": state.student_network.state_dict(),
        "teacher": state.teacher.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "centers": state.centers,
        "step": state.step,
        "history": state.history,
    }
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> TrainState:
    """Read a run back, ready for its next step.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, is no checkpoint, or was written by another version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: start the run without resuming")
    try:
        # First to the CPU: that a GPU is missing or full is no fault of the file.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} is cut short or is no checkpoint ({error}): delete it and start again"
        ) from error
    good = isinstance(content, dict) and content.get("format") == FORMAT
    require(good, f"{path} is no checkpoint of this version (format {FORMAT})")
    state = build_state(TrainConfig.from_dict(content["config"]), device)
    state.student_network.load_state_dict(content["student"])
    state.teacher.load_state_dict(content["teacher"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.centers = {name: center.to(device) for name, center in content["centers"].items()}
    state.step = content["step"]
    state.history = content["history"]
    return state


def start_from(previous: TrainState, config: TrainConfig) -> TrainState:
    """A new run whose networks begin as another's ended: optimiser, schedules, step and history are fresh.

    For going on with other crops, as DINOv2's last steps at a higher resolution, or with a longer schedule.

    Args:
        previous: the run that has been trained.
        config: of the new one; backbone and heads must have the sizes of the old.

    Raises:
        ValueError: the sizes differ; names the first that does.
    """
    sizes = ("vit", "n_prototypes", "head_hidden", "head_bottleneck", "ibot_bottleneck", "separate_heads")
    for name in sizes:
        old, new = getattr(previous.config, name), getattr(config, name)
        require(old == new, f"{name} must stay what the networks were made with, {old}, got {new}")
    state = build_state(config, previous.device)
    state.student_network.load_state_dict(previous.student_network.state_dict())
    state.teacher.load_state_dict(previous.teacher.state_dict())
    state.centers = {name: center.clone() for name, center in previous.centers.items()}
    return state
