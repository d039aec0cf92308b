"""The folder of a run: one process at a time, one run, and a disk that takes it."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from dinov2_edu.checks import require
from dinov2_edu.files import hold_folder, local_path
from dinov2_edu.training.checkpoint import read_checkpoint, save_checkpoint
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.processes import rank
from dinov2_edu.training.state import TrainState

CHECKPOINT = "checkpoint.pt"


def hold_run(folder: str | Path) -> AbstractContextManager[Path]:
    """Hold a run's folder as `files.hold_folder` does; of processes that share a run the first holds it."""
    return hold_folder(folder, "a run") if rank() == 0 else nullcontext(local_path(folder))


def say_differences(folder: Path, found: dict) -> str:
    """A sentence that names the first fields in which the run in a folder is another: name -> (there, asked for)."""
    named = [
        f"{name} is {there!r} there, and {asked!r} is asked for" for name, (there, asked) in found.items()
    ]
    rest = f" (and {len(named) - 3} more)" if len(named) > 3 else ""
    return (
        f"{folder} holds another run: {'; '.join(named[:3])}{rest}. Name another folder, or ask for the same"
    )


def try_folder(state: TrainState, folder: Path) -> None:
    """Make sure, before the first step, that a run may be kept in a folder: it holds no other, and has the room.

    Raises:
        ValueError: the folder holds another run, or this one at a later step.
        OSError: a checkpoint cannot be written there.
    """
    if rank() > 0:
        return
    if (folder / CHECKPOINT).exists():
        kept = read_checkpoint(folder / CHECKPOINT)
        differences = TrainConfig.from_dict(kept["config"]).differences(state.config)
        if kept["data"] not in ("", state.data):  # empty before its first step
            differences["data"] = kept["data"], state.data
        if kept["origin"] != state.origin:
            differences["origin"] = kept["origin"], state.origin
        require(not differences, say_differences(folder, differences))
        require(
            kept["step"] <= state.step,
            f"{folder} holds this run at step {kept['step']}, and this state is at step {state.step}: go on from "
            f"load_checkpoint({str(folder / CHECKPOINT)!r}), or name another folder",
        )
    trial = folder / ".trial"
    save_checkpoint(state, trial)
    trial.unlink()
