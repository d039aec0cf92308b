"""A run on disk: written whole or not at all, refused where it has changed since, and resumed to the same numbers."""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from dinov2_edu.checks import checked, require
from dinov2_edu.files import local_path, write_whole
from dinov2_edu.numerics import checksum, torch_defaults
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.state import TrainState, build_state

FORMAT = 2
_ADVICE = "take a copy of it, or delete it and start again"


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
    write_whole(path, partial(torch.save, {**content, "format": FORMAT, "checksum": checksum(content)}))


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, to the bit, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, is no checkpoint, was written by another version, or has changed since.
    """
    path = local_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: start the run without resuming")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is cut short or is no checkpoint ({error}): {_ADVICE}") from error
    good = isinstance(content, dict) and content.pop("format", None) == FORMAT
    require(good, f"{path} is no checkpoint of this version (format {FORMAT}): {_ADVICE}")
    written = content.pop("checksum", None)
    try:
        same = checksum(content) == written
    except Exception:  # of what no run holds, such as a sparse tensor
        same = False
    require(same, f"{path} has another checksum than when it was written, so it has changed since: {_ADVICE}")
    return content


@checked
@torch_defaults()
def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> TrainState:
    """Read a run back, ready for its next step.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, is no checkpoint, was written by another version, or has changed since it
            was written, if only by one bit.
    """
    content = read_checkpoint(path)
    try:
        config = TrainConfig.from_dict(content["config"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: its config makes no run ({error}): {_ADVICE}") from error
    state = build_state(config, device)
    try:
        state.student_network.load_state_dict(content["student"])
        state.teacher.load_state_dict(content["teacher"])
        state.optimizer.load_state_dict(content["optimizer"])
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: its networks are not those of its config ({error}): {_ADVICE}") from error
    state.centers = {name: center.to(device) for name, center in content["centers"].items()}
    for name in ("step", "history", "data", "origin"):
        setattr(state, name, content[name])
    return state


def fingerprint_of(state: TrainState, *, backbones_only: bool = False) -> str:
    """Sixteen digits that tell a run's networks from any others."""
    networks = state.student_network, state.teacher
    kept = [network.backbone if backbones_only else network for network in networks]
    return checksum([network.state_dict() for network in kept])[:16]


@checked
@torch_defaults()
def start_from(previous: TrainState, config: TrainConfig, *, fresh_heads: bool = False) -> TrainState:
    """A new run whose networks begin as another's ended: optimiser, schedules, step and history are fresh.

    For going on with other crops, as DINOv2's last steps at a higher resolution, or with a longer schedule.

    Args:
        previous: the run that has been trained.
        config: of the new one; what is kept must have the sizes of the old.
        fresh_heads: keep the backbones alone: heads (of any size) and centres begin as those of a new run.

    Raises:
        ValueError: the sizes differ, or a weight is not a finite number; names the first.
    """
    heads = ("n_prototypes", "head_hidden", "head_bottleneck", "ibot_bottleneck", "separate_heads")
    for name in ("vit", *(() if fresh_heads else heads)):
        had, asked = getattr(previous.config, name), getattr(config, name)
        require(had == asked, f"{name} must stay what the networks were made with, {had}, got {asked}")
    state = build_state(config, previous.device)
    networks = {"student": previous.student_network, "teacher": previous.teacher}
    old = {who: (one.backbone if fresh_heads else one).state_dict() for who, one in networks.items()}
    for who, tensors in (old if fresh_heads else {**old, "centres": previous.centers}).items():
        for name, tensor in tensors.items():
            finite = bool(tensor.isfinite().all())
            require(finite, f"the run to start from: its {who}: {name!r} has a number that is not finite")
    if fresh_heads:
        state.student_network.backbone.load_state_dict(old["student"])
        state.teacher.backbone.load_state_dict(old["teacher"])
    else:
        state.student_network.load_state_dict(old["student"])
        state.teacher.load_state_dict(old["teacher"])
        for name in state.centers.keys() & previous.centers.keys():
            state.centers[name] = previous.centers[name].clone()
    state.origin = fingerprint_of(previous, backbones_only=fresh_heads)
    return state
