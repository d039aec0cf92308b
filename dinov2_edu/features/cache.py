"""The feature cache: shards written whole or not at all, named by what they were made from.

A folder holds what one backbone, preprocessing and precision made. In it each shard is named by the content
of its pictures, so nothing stale can be read: other pictures have another name. When all shards of a set are
there they become one array, which is mapped into memory rather than read.
"""

import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

_LOG = logging.getLogger(__name__)


class CacheError(RuntimeError):
    """The cache cannot be written, or another run holds it."""


class Shard(NamedTuple):
    """Features of consecutive pictures.

    `features` is `m f`, a row for each readable picture; `skipped` are (offset in the shard, reason);
    `seconds` is what it took.
    """

    features: Tensor
    skipped: list[tuple[int, str]]
    seconds: float


class FeatureSet(NamedTuple):
    """All shards of a set as one: `skipped` holds (row in the set, reason)."""

    features: Tensor
    skipped: list[tuple[int, str]]
    seconds: float


def key_of(*parts: Any) -> str:
    """A short name for anything that JSON or bytes can hold: the first 32 hex digits of its SHA-256."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()[:32]


def join(shards: Iterable[tuple[int, Shard]]) -> tuple[list[tuple[int, str]], float]:
    """Skipped rows of the whole set, and all seconds, from (first row, shard)."""
    skipped, seconds = [], 0.0
    for start, shard in shards:
        skipped += [(start + offset, reason) for offset, reason in shard.skipped]
        seconds += shard.seconds
    return skipped, seconds


class MemoryStore:
    """Stands in for the cache where none was asked for: keeps the shards, and nothing afterwards."""

    def __init__(self) -> None:
        self.shards: dict[str, Shard] = {}

    def __enter__(self) -> "MemoryStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.shards.clear()

    def read_set(self, key: str) -> None:
        return None

    def read_shard(self, key: str) -> Shard | None:
        return self.shards.get(key)

    def write_shard(self, key: str, shard: Shard) -> None:
        self.shards[key] = shard

    def merge(self, key: str, starts: Sequence[int], shard_keys: Sequence[str]) -> FeatureSet:
        shards = [self.shards[name] for name in shard_keys]
        return FeatureSet(
            torch.cat([shard.features for shard in shards]), *join(zip(starts, shards, strict=True))
        )


class FeatureCache:
    """A folder of shards and finished sets, held by one run at a time (use with `with`).

    Args:
        root: the cache folder, made if missing.
        made_by: what the features depend on besides the pictures; its hash names the folder inside.
        wait_s: seconds to wait for another run that holds the same folder.

    Raises:
        CacheError: the folder cannot be written, or the other run did not end in time.
    """

    def __init__(self, root: str | os.PathLike, made_by: dict[str, Any], wait_s: float) -> None:
        self.folder = Path(root) / key_of(made_by)
        self.made_by, self.wait_s = made_by, wait_s
        self._lock = filelock.FileLock(self.folder / "lock")

    def __enter__(self) -> "FeatureCache":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._acquire()
            for stale in self.folder.glob("*.tmp"):  # of a run that was killed: the lock says that none works
                stale.unlink()
            if not (self.folder / "about.json").exists():
                about = json.dumps(self.made_by, indent=1).encode()
                self._write("about.json", lambda file: file.write(about))
        except OSError as error:
            self._lock.release()
            raise CacheError(
                f"the feature cache {self.folder} cannot be written ({error}): choose another cache_dir"
            ) from error
        except CacheError:
            self._lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            _LOG.warning(
                "another run holds the cache %s: waiting for it up to %.0f s", self.folder, self.wait_s
            )
            try:
                self._lock.acquire(timeout=self.wait_s)
            except filelock.Timeout as error:
                raise CacheError(
                    f"another run is still filling the cache {self.folder} after {self.wait_s:.0f} s: "
                    "start again when it has ended, or give another cache_dir"
                ) from error

    def _write(self, name: str, fill: Any) -> None:
        """Write a file whole or not at all: under another name first, flushed to the disk, then renamed."""
        temporary = self.folder / f"{name}.{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            cause = "the disk is full" if full else str(error)
            raise CacheError(
                f"{cause}: could not write {name} in {self.folder}. What was finished before is kept: "
                "make room and run the same call again, and it goes on from there"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def read_shard(self, key: str) -> Shard | None:
        """A finished shard, or None where there is none or it is damaged."""
        path = self.folder / f"shard-{key}.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                meta = json.loads(file.metadata()["about"])
                skipped = [(int(offset), reason) for offset, reason in meta["skipped"]]
                return Shard(file.get_tensor("features"), skipped, meta["seconds"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            _LOG.warning("%s is damaged (%s): these pictures are computed again", path.name, error)
            return None

    def write_shard(self, key: str, shard: Shard) -> None:
        """Keep a shard."""
        about = json.dumps({"skipped": shard.skipped, "seconds": shard.seconds})
        content = safetensors.torch.save({"features": shard.features.contiguous()}, {"about": about})
        self._write(f"shard-{key}.safetensors", lambda file: file.write(content))

    def read_set(self, key: str) -> FeatureSet | None:
        """A finished set, mapped from the disk, or None where there is none or it is damaged."""
        about, array = self.folder / f"set-{key}.json", self.folder / f"set-{key}.npy"
        if not about.exists():
            return None
        try:
            meta = json.loads(about.read_text())
            features = np.load(array, mmap_mode="c")  # "c": writing to the tensor does not reach the file
            whole = array.stat().st_size == meta["bytes"] and list(features.shape) == meta["shape"]
            if not whole:
                raise ValueError("its size is not what was written")
            return FeatureSet(
                torch.from_numpy(features), [tuple(pair) for pair in meta["skipped"]], meta["seconds"]
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            _LOG.warning("%s is damaged (%s): its features are computed again", array.name, error)
            about.unlink(missing_ok=True)
            return None

    def merge(self, key: str, starts: Sequence[int], shard_keys: Sequence[str]) -> FeatureSet:
        """Join shards into one array on the disk, one after the other, then let go of them."""
        kept = []
        for start, name in zip(starts, shard_keys, strict=True):
            shard = self.read_shard(name)
            if shard is None:
                raise CacheError(
                    f"a shard vanished from {self.folder} while it was in use: run the same call again"
                )
            kept.append((start, shard._replace(features=shard.features.new_empty(len(shard.features), 0))))
            columns = shard.features.shape[1]
        skipped, seconds = join(kept)
        shape = (sum(len(shard.features) for _, shard in kept), columns)

        def fill(file: Any) -> None:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for name in shard_keys:
                file.write(self.read_shard(name).features.numpy().tobytes())

        self._write(f"set-{key}.npy", fill)
        size = (self.folder / f"set-{key}.npy").stat().st_size
        meta = {"shape": list(shape), "bytes": size, "skipped": skipped, "seconds": seconds}
        # Written last: an array without it does not count.
        self._write(f"set-{key}.json", lambda file: file.write(json.dumps(meta).encode()))
        for name in shard_keys:
            (self.folder / f"shard-{name}.safetensors").unlink(missing_ok=True)
        return self.read_set(key)
