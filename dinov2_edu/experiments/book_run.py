"""The finished run behind the book's own checkpoint, to go on from: `train ... --start-from book`."""

from dataclasses import replace

import torch

from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.state import TrainState, build_state
from dinov2_edu.weights import WeightsRefused, read_book_card, read_book_checkpoint, read_book_heads


def book_run(device: torch.device | str = "cpu", *, heads: bool = True) -> TrainState:
    """Networks and config of the last run that the model card names, where it ended.

    Both networks have the backbone that ships, the teacher's; at the end of a run the two differ little. Optimiser
    and history are not kept.

    Args:
        device: where to put it.
        heads: read the heads too; otherwise they are new ones.

    Raises:
        WeightsUnavailable: the book's checkpoint or its heads are not there.
        WeightsRefused: the files do not belong together, or the card names no run.
    """
    stages = read_book_card().get("stages")
    if not stages:
        raise WeightsRefused("the card of the book's checkpoint names no run: there is nothing to go on from")
    config = TrainConfig.from_dict(stages[-1]["config"])
    state = build_state(replace(config, compile=False), device)
    backbone = {f"backbone.{name}": tensor for name, tensor in read_book_checkpoint()[1].items()}
    found = read_book_heads() if heads else {}
    for who, network in (("student", state.student_network), ("teacher", state.teacher)):
        own = {name.removeprefix(f"{who}."): one for name, one in found.items() if name.startswith(f"{who}.")}
        try:
            missing = network.load_state_dict(backbone | own, strict=False)
        except RuntimeError as error:
            raise WeightsRefused(
                f"the book's files are not of the run that its card names: {error}"
            ) from None
        drawn = [] if heads else [name for name in network.state_dict() if not name.startswith("backbone.")]
        if missing.unexpected_keys or sorted(missing.missing_keys) != sorted(drawn):
            raise WeightsRefused(
                f"the book's {who} lacks {missing.missing_keys} and has {missing.unexpected_keys} too much: "
                "restore its files"
            )
    state.step = stages[-1]["steps"]
    return state
