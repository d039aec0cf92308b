"""The book's own checkpoint: written half precise beside its model card and its heads, and read back."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from dinov2_edu.checks import checked, require
from dinov2_edu.files import local_path, write_together
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights.errors import WeightsRefused, WeightsUnavailable
from dinov2_edu.weights.reading import read_weights, recorded_sizes

ASSETS = Path(__file__).parent.parent / "assets"
"""The package's folder of recorded runs and of the book's checkpoint: `book.safetensors`, `book.json` and
`book.heads.safetensors`."""


@checked
def save_book_checkpoint(
    model: VisionTransformer,
    card: dict,
    folder: str | Path | None = None,
    *,
    heads: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write a backbone in half precision as `book.safetensors`, its card as `book.json`, and the heads of its run.

    The sizes of the model go into the metadata of the weights, so the file suffices to build it again; heads are
    written as `book.heads.safetensors`, which says by a checksum whose they are; without them those of other weights
    are taken away. All files are written, or none.

    Args:
        model: the backbone, usually the teacher's.
        card: what a reader should know (data, seeds, hours, curves, accuracies) as numbers, strings, lists and
            dicts; the model's sizes are added as "config".
        folder: where to write, made if absent; `ASSETS` if None.
        heads: the projection heads of both networks, by names such as "teacher.dino_head.mlp.0.weight".

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
    content = save(_halves(model.state_dict()), recorded_sizes(model.config))
    folder = local_path(folder or ASSETS)
    files: dict[str, str | bytes] = {"book.json": words}
    if heads is not None:
        files["book.heads.safetensors"] = save(_halves(heads), {"backbone": _digest(content)})
    write_together(folder, {**files, "book.safetensors": content})
    if heads is None:
        (folder / "book.heads.safetensors").unlink(missing_ok=True)
    return folder / "book.safetensors"


def _halves(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in half precision, where every number of them is finite."""
    halves = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in tensors.items()}
    bad = [name for name, tensor in halves.items() if not tensor.isfinite().all()]
    require(not bad, f"not finite in half precision: {', '.join(bad[:3])}: has the training diverged?")
    return halves


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _kept(name: str, what: str = "the book's own checkpoint is") -> Path:
    """One of the files, if it is there; a page shows the error, so it names no path of a machine."""
    path = ASSETS / name
    if not path.is_file():
        raise WeightsUnavailable(
            f"{what} not there (dinov2_edu/assets/{name}): chapter 07's training and `publish` write it"
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


def read_book_heads() -> dict[str, Tensor]:
    """The projection heads that `save_book_checkpoint` wrote, of both networks, in half precision.

    Returns:
        Tensors by name, such as "student.dino_head.last_layer.weight_v".

    Raises:
        WeightsUnavailable: there are none.
        WeightsRefused: the file is cut short, or its heads belong to other weights than `book.safetensors` holds.
    """
    path = _kept("book.heads.safetensors", "the heads of the book's own run are")
    weights = _kept("book.safetensors").read_bytes()
    config, tensors = read_weights(path)
    with safe_open(path, framework="pt") as file:
        whose = (file.metadata() or {}).get("backbone")
    if config is not None or whose != _digest(weights):
        raise WeightsRefused(
            f"{path.name} holds no heads of the backbone in book.safetensors: restore both files"
        )
    return dict(tensors)
