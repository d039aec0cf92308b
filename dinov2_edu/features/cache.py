"""The feature cache: a file a shard, written whole or not at all, in which each row is named by its picture's SHA-256.

A folder holds what one backbone, preprocessing and precision made, and every file in it says so. So nothing stale can
be read, a run goes on where another stopped, and sets that share pictures share their rows. A file whose checksum,
shape or description is not what it should be counts as not there.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from dinov2_edu.files import hold_folder, local_path, write_whole

_LOG = logging.getLogger(__name__)
_UNREADABLE = (safetensors.SafetensorError, OSError, LookupError, TypeError, ValueError)


class CacheError(RuntimeError):
    """The cache cannot be written, or another run holds it."""


@dataclass
class _Shard:
    """A file of features `m f`, mapped into memory, and the picture that each row is of."""

    path: Path
    features: np.ndarray
    digests: np.ndarray
    seconds_a_row: float
    about: str
    checksum: str
    whole: bool = False

    def is_whole(self) -> bool:
        """Whether every byte is the one that was written; looked at once, half a second a gigabyte."""
        self.whole = self.whole or _checksum(self.about, self.digests, self.features) == self.checksum
        return self.whole


class FeatureCache:
    """A folder of shards, filled by one run at a time (use with `with`); a finished one may be read-only.

    Args:
        root: the cache folder, made if missing.
        made_by: what the features depend on besides the pictures; its hash names the folder inside.
        n_columns: width of a row.
        wait_s: seconds to wait for another run that holds the same folder.

    Raises:
        CacheError: the other run did not end in time.
    """

    def __init__(
        self, root: str | os.PathLike, made_by: dict[str, Any], n_columns: int, wait_s: float
    ) -> None:
        self.made_by, self.n_columns, self.wait_s = made_by, n_columns, wait_s
        name = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:32]
        self.folder = local_path(root) / name
        self._held, self._asking = contextlib.ExitStack(), threading.Lock()
        self._refusal: OSError | None = None
        self._places: dict[bytes, tuple[_Shard, int]] = {}

    def __enter__(self) -> "FeatureCache":
        try:
            self._hold()
            for unfinished in self.folder.glob(".*.part"):  # of a killed run: the lock says that none works
                shutil.rmtree(unfinished, ignore_errors=True)
        except OSError as error:  # it can be read all the same
            self._refusal = error
        for path in sorted(self.folder.glob("*.safetensors")):
            self._open(path)
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def _hold(self) -> None:
        hold = partial(hold_folder, self.folder, "features", elsewhere="choose another cache_dir")
        try:
            self._held.enter_context(hold())
        except TimeoutError:
            _LOG.warning(
                "another run holds the cache %s: waiting for it up to %.0f s", self.folder, self.wait_s
            )
            try:
                self._held.enter_context(hold(wait_s=self.wait_s))
            except TimeoutError as error:
                raise CacheError(str(error)) from None

    def _open(self, path: Path) -> None:
        """Take up a file, if it is one of this cache."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                meta = file.metadata()
                features, digests = (file.get_tensor(name).numpy() for name in ("features", "digests"))
            about = json.loads(meta["about"])
            good = about["made_by"] == self.made_by and features.dtype == np.float32
            good = good and features.shape == (len(digests), self.n_columns)
            if not good or digests.dtype != np.uint8 or digests.shape[1:] != (32,):
                raise ValueError(
                    f"it holds {features.dtype} of shape {features.shape}, or is of another folder"
                )
            seconds = float(about["seconds_a_row"])
            shard = _Shard(path, features, digests, seconds, meta["about"], meta["crc32"])
        except _UNREADABLE as error:
            _LOG.warning("%s is damaged (%s): its pictures are computed again", path.name, error)
            return
        self._places.update((digest.tobytes(), (shard, row)) for row, digest in enumerate(digests))

    def has(self, digest: bytes) -> bool:
        """Whether the row of a picture is there, and its file undamaged. Threads may ask at once."""
        with self._asking:
            shard, _ = self._places.get(digest, (None, 0))
            if shard is None or shard.is_whole():
                return shard is not None
            _LOG.warning("%s is damaged (wrong checksum): its pictures are computed again", shard.path.name)
            self._places = {one: place for one, place in self._places.items() if place[0] is not shard}
            with contextlib.suppress(OSError):
                shard.path.unlink()
            return False

    def check_writable(self) -> None:
        """Stop before anything is computed that could not be kept.

        Raises:
            CacheError: the folder cannot be written.
        """
        if self._refusal is not None:
            raise CacheError(
                f"the feature cache lacks some of these pictures, and {self._refusal.strerror or self._refusal}"
            ) from self._refusal

    def add(self, digests: Sequence[bytes], features: Float[Tensor, "m f"], seconds: float) -> None:
        """Keep rows, the pictures that they are of, and the seconds that they took.

        Raises:
            CacheError: they cannot be written.
        """
        rows = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32).copy()
        about = json.dumps({"made_by": self.made_by, "seconds_a_row": seconds / len(rows)})
        meta = {"about": about, "crc32": _checksum(about, rows, features.numpy())}
        content = safetensors.torch.save({"features": features, "digests": torch.from_numpy(rows)}, meta)
        path = self.folder / f"shard-{hashlib.sha256(rows.data).hexdigest()[:32]}.safetensors"
        try:
            write_whole(path, content)
        except OSError as error:
            raise CacheError(
                f"{error}. What was finished before is kept: make room and run the same call again, and it goes "
                "on from there"
            ) from error
        self._open(path)

    def rows(self, digests: Sequence[bytes]) -> tuple[Float[Tensor, "n f"], float]:
        """The rows of pictures that are all there, in this order, and the seconds that they took once."""
        places = [self._places[digest] for digest in digests]
        features = np.stack([shard.features[row] for shard, row in places])
        return torch.from_numpy(features), sum(shard.seconds_a_row for shard, _ in places)


def _checksum(about: str, digests: np.ndarray, features: np.ndarray) -> str:
    """CRC-32 of a file's whole content: no flipped bit leaves it as it was."""
    return f"{zlib.crc32(features.data, zlib.crc32(digests.data, zlib.crc32(about.encode()))):08x}"
