"""Decoded pictures on disk: one file, each array beside its checksum."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dinov2_edu.files import write_whole

Split = tuple[np.ndarray, np.ndarray]
"""Images `n 3 height width` as bytes, and labels `n`."""


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.data).hexdigest()


def keep_splits(path: Path, splits: dict[str, Split]) -> None:
    """Write decoded splits to `path`; only warn where that cannot be, as on a read-only disk."""
    arrays = {
        f"{name}_{kind}": array
        for name, pair in splits.items()
        for kind, array in zip(_KINDS, pair, strict=True)
    }
    try:
        write_whole(path, save(arrays, {name: _checksum(array) for name, array in arrays.items()}))
    except OSError as error:
        warnings.warn(
            f"the decoded pictures are not kept, so each run decodes them anew: {error.strerror}",
            stacklevel=2,
        )


def kept_split(path: Path, name: str) -> Split | None:
    """Read one split back; None where there is none, or where a single bit of it has changed."""
    try:
        with safe_open(path, framework="np") as file:
            images, labels = (file.get_tensor(f"{name}_{kind}") for kind in _KINDS)
            good = all(
                _checksum(array) == file.metadata()[f"{name}_{kind}"]
                for kind, array in zip(_KINDS, (images, labels), strict=True)
            )
            return (images, labels) if good else None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


_KINDS = ("images", "labels")
