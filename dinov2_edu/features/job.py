"""One extraction under way: shards in order, each from the store or computed, batch by batch.

On a GPU nothing here waits for it but `Pace`, two batches behind: the next batch is read, pinned and sent while the
model works, and a finished shard is fetched and written by `Writer` while the next one is computed.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dinov2_edu.features.cache import FeatureCache, FeatureSet, MemoryStore, Shard, key_of
from dinov2_edu.features.preprocessing import Preprocessing
from dinov2_edu.features.runner import Pace, Runner, to_host
from dinov2_edu.features.sources import Failure, Pictures
from dinov2_edu.pictures import PictureError
from dinov2_edu.shapes import require

_LOG = logging.getLogger(__name__)


class Writer:
    """Writes shards from a thread of its own, one at a time: at most one waits while the next is computed.

    Leaving it, also by an error or Ctrl+C, waits until the last shard is written.
    """

    def __init__(self, store: FeatureCache | MemoryStore) -> None:
        self.store = store
        self.pool = ThreadPoolExecutor(1)
        self.pending: Future | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        self.pool.shutdown(wait=True)
        if kind is None:
            self.settle()
        elif self.pending is not None and self.pending.exception() is not None:
            _LOG.warning("and the shard before could not be kept: %s", self.pending.exception())

    def settle(self) -> None:
        """Wait for the shard under way; what went wrong with it is raised here."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def keep(self, key: str, finish: Callable[[], Shard]) -> None:
        """Write the shard that `finish` returns, as soon as the one before it is written."""
        self.settle()
        self.pending = self.pool.submit(lambda: self.store.write_shard(key, finish()))


@dataclass
class Job:
    """What an extraction works with. Holds no results: those go to the store."""

    pictures: Pictures
    preprocessing: Preprocessing
    runner: Runner
    on_error: str
    shard_size: int
    progress: bool
    finished_at: float = field(default=float("-inf"), init=False)  # when the last shard had arrived

    def run(self, store: FeatureCache | MemoryStore) -> tuple[FeatureSet, bool]:
        """The whole set, from the store as far as it is there; True where all of it was."""
        keys, set_key = self._keys()
        starts = list(range(0, len(self.pictures), self.shard_size))
        found = store.read_set(set_key)
        if found is not None:
            self._refuse(found.skipped)
            return found, True
        readable = 0
        bar = tqdm(
            total=len(self.pictures), unit=" images", desc=self.pictures.name, disable=not self.progress
        )
        with bar, Pace(self.runner.device, bar.update) as pace, Writer(store) as writer:
            for start, key in zip(starts, keys, strict=True):
                stop = min(start + self.shard_size, len(self.pictures))
                shard = store.read_shard(key)
                if shard is None:
                    count, finish = self._compute(start, stop, pace)
                    writer.keep(key, finish)
                    readable += count
                    continue
                self._refuse([(start + offset, reason) for offset, reason in shard.skipped])
                readable += len(shard.features)
                bar.initial = getattr(bar, "initial", 0) + stop - start  # done, but no speed
                bar.update(stop - start)
        require(
            readable > 0, f"none of the {len(self.pictures)} pictures of {self.pictures.name} could be read"
        )
        return store.merge(set_key, starts, keys), False

    def _keys(self) -> tuple[list[str], str]:
        """The name of each shard and of the whole set, from the content of the pictures."""
        digests = iter(
            tqdm(
                self.pictures.digests(),
                f"fingerprint of {self.pictures.name}",
                len(self.pictures),
                unit=" images",
                leave=False,
                delay=2,  # pictures in memory take less
                disable=not self.progress,
            )
        )
        keys, whole = [], hashlib.sha256()
        while shard := list(islice(digests, self.shard_size)):
            keys.append(key_of(*shard))
            whole.update(b"".join(shard))
        return keys, key_of(whole.digest())

    def _refuse(self, skipped: Sequence[tuple[int, str]]) -> None:
        if skipped and self.on_error == "raise":
            row, reason = skipped[0]
            raise PictureError(f"{reason}, or skip it with on_error='skip'", self.pictures.name_of(row))

    def _compute(self, start: int, stop: int, pace: Pace) -> tuple[int, Callable[[], Shard]]:
        """Launch all work on the pictures from `start` to `stop`: how many, and what waits for their shard."""
        began = time.perf_counter()
        rows: list[int] = []
        skipped: list[tuple[int, str]] = []
        outputs: list[Tensor] = []
        for batch_rows, batch in self._batches(start, stop, skipped):
            outputs.append(self.runner(batch))
            rows += batch_rows
            pace.launched(len(batch_rows))
        pace.tell(len(skipped))
        features, arrived = to_host(torch.cat(outputs) if outputs else torch.empty(0, self.runner.n_columns))

        def finish() -> Shard:
            arrived()
            now = time.perf_counter()
            seconds = now - max(began, self.finished_at)
            self.finished_at = now
            array = features.numpy()  # numpy: torch would start a second team of threads beside the model's
            self._check(array, rows)
            order = np.argsort(np.array(rows, dtype=int))  # pictures of other sizes may have gone ahead
            return Shard(torch.from_numpy(array[order]), sorted(skipped), seconds)

        return len(rows), finish

    def _check(self, features: np.ndarray, rows: list[int]) -> None:
        bad = ~np.isfinite(features).all(axis=1)
        if bad.any():
            row = rows[int(bad.argmax())]
            raise ValueError(
                f"{int(bad.sum())} of {len(rows)} rows are not finite in {self.runner.precision}, first "
                f"{self.pictures.name_of(row)}: look at the weights, or take precision='float32'"
            )

    def _batches(
        self, start: int, stop: int, skipped: list[tuple[int, str]]
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Batches of prepared images with their rows; what cannot be read goes to `skipped`."""
        rows: list[int] = []
        waiting: list[Tensor] = []
        for piece in self.pictures.pieces(start, stop):
            if isinstance(piece, Failure):
                self._refuse([(piece.row, piece.reason)])
                skipped.append((piece.row - start, piece.reason))
                continue
            first = 0
            while first < len(piece.rows):  # no more is prepared at once than the batch still wants
                last = first + self.runner.batch_size - len(rows)
                rows = rows + piece.rows[first:last]
                waiting.append(self._prepare(piece.images[first:last]))
                first = last
                if len(rows) >= self.runner.batch_size:
                    yield rows, torch.cat(waiting)
                    rows, waiting = [], []
        if rows:
            yield rows, torch.cat(waiting)

    def _prepare(self, images: Tensor) -> Tensor:
        device = self.runner.device
        if device.type == "cuda" and not images.is_cuda:
            images = images.contiguous().pin_memory().to(device, non_blocking=True)
        # Waited for: on the way from a GPU to a CPU nothing else would say when the bytes are there.
        return self.preprocessing(images.to(device))
