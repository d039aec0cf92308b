"""The book's own checkpoint: written half precise beside its model card, read back into a backbone."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from dinov2_edu.checks import checked, require
from dinov2_edu.files import local_path, write_together
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights.errors import WeightsRefused, WeightsUnavailable
from dinov2_edu.weights.reading import read_weights, recorded_sizes

ASSETS = Path(__file__).parent.parent / "assets"
"""The package's folder of recorded runs and of the book's checkpoint, `book.safetensors` and `book.json`."""


@checked
def save_book_checkpoint(model: VisionTransformer, card: dict, folder: str | Path | None = None) -> Path:
    """Write a backbone in half precision as `book.safetensors`, and its card as `book.json`.

    The sizes of the model go into the metadata of the weights, so the file suffices to build it again. Both files are
    written, or neither.

    Args:
        model: the backbone, usually the teacher's.
        card: what a reader should know (data, seeds, hours, curves, accuracies) as numbers, strings, lists and
            dicts; the model's sizes are added as "config".
        folder: where to write, made if absent; `ASSETS` if None.

    Returns:
        The path of the weights.

    Raises:
        ValueError: a weight is not finite in half precision, or the card does not fit into JSON; nothing is
            written.
    """
    config = asdict(model.config)
    try:
        words = json.dumps({**card, "config": config}, indent=1, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the card must hold finite numbers, strings, lists and dicts alone: {error}"
        ) from error
    halves = {name: tensor.detach().to("cpu", torch.float16) for name, tensor in model.state_dict().items()}
    bad = [name for name, tensor in halves.items() if not tensor.isfinite().all()]
    require(not bad, f"not finite in half precision: {', '.join(bad[:3])}: has the training diverged?")
    folder = local_path(folder or ASSETS)
    content = save(
        {name: tensor.contiguous() for name, tensor in halves.items()}, recorded_sizes(model.config)
    )
    write_together(folder, {"book.json": words, "book.safetensors": content})
    return folder / "book.safetensors"


def _kept(name: str) -> Path:
    """One of the two files, if it is there; a page shows the error, so it names no path of a machine."""
    path = ASSETS / name
    if not path.is_file():
        raise WeightsUnavailable(
            f"the book's own checkpoint is not there (dinov2_edu/assets/{name}): chapter 07's training writes it"
        )
    return path


def read_book_card() -> dict:
    """The model card that `save_book_checkpoint` wrote: what made the weights, and what they reach.

    Raises:
        WeightsUnavailable: there is no card.
    """
    return json.loads(_kept("book.json").read_text())


def read_book_checkpoint() -> tuple[ViTConfig, dict[str, Tensor]]:
    """Read back what `save_book_checkpoint` wrote: the sizes, and the tensors in half precision.

    Raises:
        WeightsUnavailable: there is no checkpoint.
        WeightsRefused: the file is cut short or was not written by `save_book_checkpoint`.
    """
    path = _kept("book.safetensors")
    config, tensors = read_weights(path)
    if config is None:
        raise WeightsRefused(f"{path} is not the book's checkpoint, it records no sizes: restore it")
    return config, dict(tensors)
