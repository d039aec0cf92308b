"""One extraction under way: shards in order, each picture's row from the cache or computed, batch by batch."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from dinov2_edu.checks import require
from dinov2_edu.features.cache import FeatureCache
from dinov2_edu.features.preprocessing import Preprocessing
from dinov2_edu.features.runner import Runner
from dinov2_edu.features.sources import Failure, Pictures
from dinov2_edu.pictures import OR_SKIP, PictureError


class Extracted(NamedTuple):
    """Features of a set, the picture that each row is of, and seconds."""

    features: Float[Tensor, "n f"]
    rows: list[int]
    seconds: float


@dataclass
class Job:
    """What an extraction works with, and what it has seen; `cache` is None where nothing is kept.

    Attributes:
        digests: of each picture that was read, the SHA-256 of what it was decoded from (with a cache alone).
        skipped: (picture, reason) of each that was not.
        computed: pictures that the cache did not have.
    """

    pictures: Pictures
    preprocessing: Preprocessing
    runner: Runner
    on_error: str
    shard_size: int
    cache: FeatureCache | None
    digests: dict[int, bytes] = field(default_factory=dict)
    skipped: list[tuple[int, str]] = field(default_factory=list)
    computed: int = 0

    def run(self, progress: bool) -> Extracted:
        """The whole set, from the cache as far as it is there."""
        n, cache, began = len(self.pictures), self.cache, time.perf_counter()
        made = torch.empty(0 if cache is not None else n, self.runner.n_columns)
        with tqdm(total=n, unit=" images", desc=self.pictures.name, disable=not progress) as bar:
            for start in range(0, n, self.shard_size):
                shard = self._shard(start, min(start + self.shard_size, n), bar)
                if cache is None:
                    made[self.computed : self.computed + len(shard.rows)] = shard.features
                elif shard.rows:
                    cache.add([self.digests[row] for row in shard.rows], shard.features, shard.seconds)
                self.computed += len(shard.rows)
        require(len(self.digests) > 0, f"none of the {n} pictures of {self.pictures.name} could be read")
        rows = sorted(self.digests)
        if cache is None:
            return Extracted(made[: len(rows)], rows, time.perf_counter() - began)
        features, seconds = cache.rows([self.digests[row] for row in rows])
        return Extracted(features, rows, seconds)

    def _shard(self, start: int, stop: int, bar: tqdm) -> Extracted:
        """Read the pictures from `start` to `stop`, and compute what the cache does not have of them."""
        began = time.perf_counter()
        rows: list[int] = []
        outputs = [torch.empty(0, self.runner.n_columns, device=self.runner.device)]
        for batch_rows, batch in self._batches(start, stop):
            outputs.append(self.runner(batch))
            rows += batch_rows
            bar.update(len(batch_rows))
        bar.initial = getattr(bar, "initial", 0) + stop - start - len(rows)  # done, but no speed
        bar.update(stop - start - len(rows))
        features = torch.cat(outputs).cpu()
        bad = ~features.isfinite().all(dim=1)
        if bad.any():
            raise ValueError(
                f"{int(bad.sum())} of {len(rows)} rows are not finite in {self.runner.precision}, first "
                f"{self.pictures.name_of(rows[int(bad.int().argmax())])}: look at the weights, or take "
                "precision='float32'"
            )
        order = torch.tensor(rows, dtype=torch.int64).argsort()  # pictures of other sizes may have gone ahead
        return Extracted(features[order], sorted(rows), time.perf_counter() - began)

    def _batches(self, start: int, stop: int) -> Iterator[tuple[list[int], Tensor]]:
        """Batches of prepared images with their rows; notes digests, and what cannot be read."""
        rows: list[int] = []
        waiting: list[Tensor] = []
        for piece in self.pictures.pieces(start, stop, None if self.cache is None else self.cache.has):
            if isinstance(piece, Failure):
                if self.on_error == "raise":
                    raise PictureError(piece.reason + OR_SKIP, self.pictures.name_of(piece.row))
                self.skipped.append((piece.row, piece.reason))
                continue
            self.digests.update(zip(piece.rows, piece.digests, strict=True))
            if piece.images is None:
                continue
            if self.cache is not None:
                self.cache.check_writable()
            rows += piece.rows
            waiting.append(self.preprocessing(piece.images.to(self.runner.device)))
            del piece  # the next photo comes when this one has gone
            while len(rows) >= (size := self.runner.batch_size):
                images = torch.cat(waiting)
                yield rows[:size], images[:size]
                rows, waiting = rows[size:], [images[size:]]
        if rows:
            yield rows, torch.cat(waiting)
