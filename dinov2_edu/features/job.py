"""One extraction under way: shards in order, each from the store or computed, batch by batch."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from dinov2_edu.features.cache import FeatureCache, FeatureSet, MemoryStore, Shard, key_of
from dinov2_edu.features.preprocessing import Preprocessing
from dinov2_edu.features.runner import Pace, Runner
from dinov2_edu.features.sources import Failure, PictureError, Pictures
from dinov2_edu.shapes import require


@dataclass
class Job:
    """What an extraction works with. Holds no results: those go to the store."""

    pictures: Pictures
    preprocessing: Preprocessing
    runner: Runner
    on_error: str
    shard_size: int
    progress: bool

    def run(self, store: FeatureCache | MemoryStore) -> tuple[FeatureSet, bool]:
        """The whole set, from the store as far as it is there; True where all of it was."""
        digests = list(self.pictures.digests())
        size = self.shard_size
        starts = list(range(0, len(digests), size))
        keys = [key_of(*digests[start : start + size]) for start in starts]
        set_key = key_of(*digests)
        found = store.read_set(set_key)
        if found is not None:
            self._refuse(found.skipped)
            return found, True
        bar = tqdm(total=len(digests), unit=" images", desc=self.pictures.name, disable=not self.progress)
        readable = 0
        with bar:
            for start, key in zip(starts, keys, strict=True):
                stop = min(start + size, len(digests))
                shard = store.read_shard(key)
                if shard is None:
                    shard = self._compute(start, stop, bar.update)
                    store.write_shard(key, shard)
                else:
                    self._refuse([(start + offset, reason) for offset, reason in shard.skipped])
                    bar.initial = getattr(bar, "initial", 0) + stop - start  # done, but no speed
                    bar.update(stop - start)
                readable += len(shard.features)
        require(readable > 0, f"none of the {len(digests)} pictures of {self.pictures.name} could be read")
        return store.merge(set_key, starts, keys), False

    def _refuse(self, skipped: Sequence[tuple[int, str]]) -> None:
        if skipped and self.on_error == "raise":
            row, reason = skipped[0]
            raise PictureError(
                f"cannot read {self.pictures.name_of(row)} ({reason}): "
                "repair or remove it, or skip it with on_error='skip'"
            )

    def _compute(self, start: int, stop: int, tell: Callable[[int], object]) -> Shard:
        """Features of the pictures from `start` to `stop`."""
        began = time.perf_counter()
        pace = Pace(self.runner.device, tell)
        rows: list[int] = []
        skipped: list[tuple[int, str]] = []
        outputs: list[Tensor] = []
        for batch_rows, batch in self._batches(start, stop, skipped):
            outputs.append(self.runner(batch))
            rows += batch_rows
            pace.launched(len(batch_rows))
        pace.finish()
        features = torch.empty(0, self.runner.n_columns)
        if outputs:
            order = torch.tensor(rows).argsort()  # pictures of other sizes may have gone ahead
            features = torch.cat(outputs).cpu()[order]
        tell(len(skipped))
        return Shard(features, sorted(skipped), time.perf_counter() - began)

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
            images = images.contiguous().pin_memory()
        return self.preprocessing(images.to(device, non_blocking=True))
