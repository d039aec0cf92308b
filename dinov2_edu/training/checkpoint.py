"""A run on disk: written whole or not at all, refused where it cannot be right, and resumed to the same numbers."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from dinov2_edu.checks import checked, require
from dinov2_edu.files import local_path, write_whole
from dinov2_edu.numerics import checksum, torch_defaults
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.integrity import check_optimizer, check_progress, check_tensors
from dinov2_edu.training.state import TrainState, build_state

FORMAT = 2
KEYS = ("config", "student", "teacher", "optimizer", "centers", "step", "history", "data", "origin")


@checked
def save_checkpoint(state: TrainState, path: str | Path) -> None:
    """Write a run to `path`: networks, optimiser, centres, step, history, config, and of which data.

    A crash leaves the old file or the new one, never half of one. Random states need no saving: every draw follows
    from seed and step.

    Raises:
        OSError: the file cannot be written; says why, and that the old one is untouched.
    """
    content = {
        "config": state.config.to_dict(),
        "student": state.student_network.state_dict(),
        "teacher": state.teacher.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "centers": state.centers,
        "step": state.step,
        "history": state.history,
        "data": state.data,
        "origin": state.origin,
    }
    content |= {"format": FORMAT, "checksum": checksum(content)}
    write_whole(path, partial(torch.save, content))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU, with every key there; `load_checkpoint` looks at the values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, is no checkpoint, or was written by another version.
    """
    path = local_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: start the run without resuming")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} is cut short or is no checkpoint ({error}): delete it and start again"
        ) from error
    good = isinstance(content, dict) and content.get("format") == FORMAT
    require(good, f"{path} is no checkpoint of this version (format {FORMAT})")
    missing = [key for key in (*KEYS, "checksum") if key not in content]
    require(not missing, f"{path} lacks {', '.join(missing)}: delete it and start again, or take a copy")
    return content


@checked
@torch_defaults()
def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> TrainState:
    """Read a run back, ready for its next step.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, is no checkpoint, was written by another version, or holds what no run can
            have written: a step outside the run, a weight that is not a number, an optimiser without moments, one bit
            other than what was saved.
    """
    content = read_checkpoint(path)
    try:
        config = TrainConfig.from_dict(content["config"])
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: its config makes no run ({error}): {_ADVICE}") from error
    state = build_state(config, device)
    try:
        _check(content, state)
    except ValueError as error:
        raise ValueError(f"{path}: {error}: {_ADVICE}") from error
    state.student_network.load_state_dict(content["student"])
    state.teacher.load_state_dict(content["teacher"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.centers = {name: center.to(device) for name, center in content["centers"].items()}
    for name in ("step", "history", "data", "origin"):
        setattr(state, name, content[name])
    return state


_ADVICE = "take a copy of it, or delete it and start again"


def _check(content: dict[str, Any], state: TrainState) -> None:
    check_progress(content["step"], content["history"], state.config.steps)
    for name, network in (("student", state.student_network), ("teacher", state.teacher)):
        check_tensors(content[name], network.state_dict(), f"its {name}")
    check_tensors(content["centers"], state.centers, "its centres")
    check_optimizer(content["optimizer"], state, content["step"])
    for name in ("data", "origin"):
        require(isinstance(content[name], str), f"its {name} is {content[name]!r}, wanted a fingerprint")
    saved = {key: content[key] for key in KEYS}
    good = checksum(saved) == content["checksum"]
    require(good, "its checksum is another than when it was written, so something in it has changed since")


def fingerprint_of(state: TrainState) -> str:
    """Sixteen digits that tell a run's networks from any others."""
    return checksum([state.student_network.state_dict(), state.teacher.state_dict()])[:16]


@checked
@torch_defaults()
def start_from(previous: TrainState, config: TrainConfig) -> TrainState:
    """A new run whose networks begin as another's ended: optimiser, schedules, step and history are fresh.

    For going on with other crops, as DINOv2's last steps at a higher resolution, or with a longer schedule.

    Args:
        previous: the run that has been trained.
        config: of the new one; backbone and heads must have the sizes of the old.

    Raises:
        ValueError: the sizes differ, or a weight is not a finite number; names the first.
    """
    sizes = ("vit", "n_prototypes", "head_hidden", "head_bottleneck", "ibot_bottleneck", "separate_heads")
    for name in sizes:
        old, new = getattr(previous.config, name), getattr(config, name)
        require(old == new, f"{name} must stay what the networks were made with, {old}, got {new}")
    state = build_state(config, previous.device)
    pairs = (
        ("student", previous.student_network, state.student_network),
        ("teacher", previous.teacher, state.teacher),
    )
    for name, old, new in pairs:
        check_tensors(old.state_dict(), new.state_dict(), f"the run to start from: its {name}")
        new.load_state_dict(old.state_dict())
    check_tensors(previous.centers, dict(previous.centers), "the run to start from: its centres")
    for name in state.centers.keys() & previous.centers.keys():
        state.centers[name] = previous.centers[name].clone()
    state.origin = fingerprint_of(previous)
    return state
