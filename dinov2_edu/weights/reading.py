"""Read a file of weights without running anything from it: safetensors, torch files, folders of runs."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from dinov2_edu.data.remote import shown
from dinov2_edu.vit import ViTConfig
from dinov2_edu.weights.errors import WeightsRefused, WeightsUnavailable

_IN_FOLDERS = ("checkpoint.pt", "book.safetensors", "model.safetensors", "pytorch_model.bin")


def read_weights(path: Path) -> tuple[ViTConfig | None, Any]:
    """What a file holds, tensors by name if it is one of weights, and the sizes of its backbone where it records them.

    Args:
        path: a safetensors file, a torch file, or a folder with a run's `checkpoint.pt` or one of these.

    Raises:
        WeightsUnavailable: nothing is there.
        WeightsRefused: it is damaged, or holds something else than tensors.
    """
    if path.is_dir():
        found = [path / name for name in _IN_FOLDERS if (path / name).is_file()]
        if not found:
            raise WeightsUnavailable(
                f"{shown(path)} is a folder without {' or '.join(_IN_FOLDERS)}: name the file"
            )
        path = found[0]
    if not path.is_file():
        raise WeightsUnavailable(f"there is no file {shown(path)}: check its name")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        stored = _is_stored(path)  # then nothing is read twice: what is copied comes straight from the file
        return _of_run(torch.load(path, map_location="cpu", weights_only=True, mmap=stored), shown(path))
    except WeightsUnavailable:
        raise
    except OSError as error:
        raise WeightsUnavailable(f"{shown(path)} could not be read: {error.strerror or error}") from None
    except Exception as error:  # torch raises many kinds for damaged files, and for those that would run code
        reason = str(error).split(". ")[0].split("\n")[0]
        raise WeightsRefused(
            f"{shown(path)} is cut short, no file of torch, or holds something else than tensors, and was not loaded: "
            f"{reason:.150}. Save the state_dict() alone, best as .safetensors"
        ) from None


def _is_stored(path: Path) -> bool:
    """Whether this is an archive as `torch.save` writes it; a bomb and one in which a bit has changed are refused.

    torch itself looks at no checksum of its files.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        packed = [
            member.filename for member in archive.infolist() if member.compress_type != zipfile.ZIP_STORED
        ]
        flipped = None if packed else archive.testzip()
    if packed:
        raise WeightsRefused(
            f"{shown(path)} holds {packed[0]} compressed, as torch never does: it was not loaded"
        )
    if flipped:
        raise WeightsRefused(
            f"{shown(path)}: {flipped} is not what was saved, something in the file has changed: restore it"
        )
    return True


def _read_safetensors(path: Path) -> tuple[ViTConfig | None, Mapping[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            recorded = (file.metadata() or {}).get("config")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return recorded and _config(json.loads(recorded), shown(path)), tensors
    except (SafetensorError, ValueError) as error:
        raise WeightsRefused(
            f"{shown(path)} is cut short or no safetensors file, restore it ({error})"
        ) from None


def recorded_sizes(config: ViTConfig) -> dict[str, str]:
    """The metadata of a .safetensors file by which `read_weights` knows the sizes, whoever's names its tensors have."""
    return {"config": json.dumps(asdict(config))}


def _config(recorded: Any, origin: str) -> ViTConfig:
    """The sizes that a file records of its backbone."""
    known = {field.name for field in fields(ViTConfig)}
    good = isinstance(recorded, Mapping) and "width" in recorded and recorded.keys() <= known
    if not good:
        raise WeightsRefused(f"{origin} records sizes that no backbone here has: {recorded!r:.200}")
    try:
        return ViTConfig(**recorded)
    except (TypeError, ValueError) as error:
        raise WeightsRefused(f"{origin} records sizes that no backbone can have: {error}") from None


def _of_run(content: Any, origin: str) -> tuple[ViTConfig | None, Any]:
    """Of a run of this package its teacher's backbone and the recorded sizes; of another file what it holds."""
    config = content.get("config") if isinstance(content, Mapping) else None
    if not (isinstance(config, Mapping) and isinstance(config.get("vit"), Mapping) and "teacher" in content):
        return None, content
    teacher = content["teacher"]
    ours = {name: tensor for name, tensor in teacher.items() if name.startswith("backbone.")}
    return _config(config["vit"], origin), ours
