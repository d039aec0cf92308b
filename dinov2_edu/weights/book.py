"""The book's own checkpoint: written half precise beside its model card, read back into a backbone."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dinov2_edu.shapes import require
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights.fetch import WeightsRefused, WeightsUnavailable

ASSETS = Path(__file__).parent.parent / "assets"
"""The package's folder of recorded runs and of the book's checkpoint, `book.safetensors` and `book.json`."""


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that under its name there is never a half one."""
    handle, workplace = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(workplace, 0o644)  # mkstemp makes it private, and this file is to be shipped
        os.replace(workplace, path)
    except BaseException:
        Path(workplace).unlink(missing_ok=True)
        raise


def save_book_checkpoint(model: VisionTransformer, card: dict, folder: str | Path | None = None) -> Path:
    """Write a backbone in half precision as `book.safetensors`, and its card as `book.json`.

    The sizes of the model go into the metadata of the weights, so the file suffices to build it again.

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
    folder = Path(folder or ASSETS)
    folder.mkdir(parents=True, exist_ok=True)
    content = save(
        {name: tensor.contiguous() for name, tensor in halves.items()}, {"config": json.dumps(config)}
    )
    _write_whole(folder / "book.safetensors", content)
    _write_whole(folder / "book.json", words.encode())
    return folder / "book.safetensors"


def _absent(path: Path, named: bool) -> WeightsUnavailable:
    """What to say if a file is not there; a page shows this, so it names no path of a machine unless it was given."""
    where = path if named else f"dinov2_edu/assets/{path.name}"
    return WeightsUnavailable(
        f"the book's own checkpoint is not there ({where}): chapter 07's training writes it"
    )


def read_book_card(folder: str | Path | None = None) -> dict:
    """The model card that `save_book_checkpoint` wrote: what made the weights, and what they reach.

    Args:
        folder: where it lies; `ASSETS` if None.

    Raises:
        WeightsUnavailable: there is no card in `folder`.
    """
    path = Path(folder or ASSETS, "book.json")
    if not path.is_file():
        raise _absent(path, named=folder is not None)
    return json.loads(path.read_text())


def read_book_checkpoint(folder: str | Path | None = None) -> tuple[ViTConfig, dict[str, Tensor]]:
    """Read back what `save_book_checkpoint` wrote: the sizes, and the tensors in half precision.

    Args:
        folder: where it lies; `ASSETS` if None.

    Raises:
        WeightsUnavailable: there is no checkpoint in `folder`.
        WeightsRefused: the file is cut short or was not written by `save_book_checkpoint`.
    """
    path = Path(folder or ASSETS, "book.safetensors")
    if not path.is_file():
        raise _absent(path, named=folder is not None)
    return read_weights_file(path)


def read_weights_file(path: str | Path) -> tuple[ViTConfig, dict[str, Tensor]]:
    """Read a `.safetensors` file that says which model it holds: the sizes, and the tensors as they are stored.

    The book's own checkpoint is one, and what a reader saves from a run in the page is another.

    Args:
        path: a file with a `ViTConfig` as JSON in its metadata, under "config".

    Raises:
        WeightsUnavailable: there is no such file.
        WeightsRefused: the file is cut short, or does not say which model it holds.
    """
    if not Path(path).is_file():
        raise WeightsUnavailable(f"there is no file {path}: name one that was saved from a run")
    try:
        with safe_open(path, framework="pt") as file:
            config = ViTConfig(**json.loads(file.metadata()["config"]))
            return config, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsRefused(
            f"{path} is cut short or was not written by this book's code, restore it ({error})"
        ) from error
