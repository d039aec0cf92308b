"""One call from pictures to features: cached, resumable, with progress, and saying what made them."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinov2_edu.checks import check_at_least, check_one_of, checked, require
from dinov2_edu.data import ImageSet
from dinov2_edu.features.cache import FeatureCache
from dinov2_edu.features.job import Job
from dinov2_edu.features.preprocessing import WHOLE_PICTURE, Preprocessing
from dinov2_edu.features.runner import PRECISIONS, Runner, said_precision
from dinov2_edu.features.sources import Pictures, as_pictures
from dinov2_edu.numerics import best_precision, torch_defaults
from dinov2_edu.shapes import ClassTokens
from dinov2_edu.vit import VisionTransformer, fingerprint

_FORMAT = 2  # raise when the same inputs would give other features: it is part of every cache key


@checked
@dataclass(frozen=True)
class ExtractOptions:
    """How an extraction runs.

    Attributes:
        n_layers: class tokens of so many last blocks, for `Features.linear_eval`.
        precision: "float32", "bfloat16", "float16", or "auto" for half precision where the chip has it.
        batch_size: images through the model at once; None for what suits the device. One that does not fit is halved.
        shard_size: pictures between two writes to the cache: what an interrupted run loses at most.
        progress: show a bar with images a second and time left.
        wait_s: seconds to wait for another run that fills the same cache.
    """

    n_layers: int = 1
    precision: str = "auto"
    batch_size: int | None = None
    shard_size: int = 1024
    progress: bool = True
    wait_s: float = 3600.0

    def __post_init__(self) -> None:
        check_one_of(("auto", *PRECISIONS), precision=self.precision)
        check_at_least(1, n_layers=self.n_layers, batch_size=self.batch_size, shard_size=self.shard_size)
        check_at_least(0, wait_s=self.wait_s)


DEFAULT_OPTIONS = ExtractOptions()
"""One layer, half precision where the chip has it, a batch that fits, a bar."""


@dataclass(frozen=True)
class Features:
    """Features of a set of pictures, one row each, in the order of the pictures.

    Attributes:
        linear_eval: class tokens of the last `n_layers` blocks (earliest first) and the mean patch token of
            the last one, side by side: what the paper's linear evaluation reads.
        width: width of one token.
        indices: which picture of the set each row is: all of them, unless some were skipped.
        labels: class index of each row, None where the pictures had no labels.
        class_names: names that the labels index.
        skipped: (name, reason) of each picture that could not be read by this call; the cache keeps no failures.
        provenance: which model, pictures, preprocessing and precision made the rows, and what it cost.
        seconds: time the extraction took; with `from_cache`, when it was made.
        from_cache: True where nothing had to be computed.
    """

    linear_eval: Float[Tensor, "n f"]
    width: int
    indices: Int[Tensor, " n"]
    labels: Int[Tensor, " n"] | None
    class_names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    provenance: str
    seconds: float
    from_cache: bool

    def __len__(self) -> int:
        return len(self.linear_eval)

    @property
    def cls(self) -> ClassTokens:
        """Class tokens of the last block."""
        return self.linear_eval[:, -2 * self.width : -self.width]

    @property
    def patch_mean(self) -> ClassTokens:
        """Mean patch token of the last block, registers left out."""
        return self.linear_eval[:, -self.width :]

    @property
    def known_labels(self) -> Int[Tensor, " n"]:
        """The labels, for what cannot do without.

        Raises:
            ValueError: the pictures had none.
        """
        if self.labels is None:
            raise ValueError(
                "this needs labels: give an ImageSet, or folders with a subfolder for each class"
            )
        return self.labels

    @property
    def images_per_second(self) -> float:
        """Speed of the extraction, input and model together."""
        return len(self) / max(self.seconds, 1e-9)


@checked
@torch_defaults()
def extract_features(
    model: VisionTransformer,
    images: ImageSet | Pictures | Tensor | str | os.PathLike | Sequence[Any],
    *,
    preprocessing: Preprocessing = WHOLE_PICTURE,
    cache_dir: str | os.PathLike | None = None,
    on_error: str = "raise",
    options: ExtractOptions = DEFAULT_OPTIONS,
) -> Features:
    """Turn pictures into frozen features; a second call with the same inputs reads them from the cache.

    Pictures stay bytes at their own size until their batch is resized and normalised on the model's device; each is
    read once. Features go to the cache shard by shard, so an interrupted call, started again, goes on where it
    stopped; the cache knows weights, preprocessing, precision, layers and the content of every picture, and other
    sets find the pictures that they share. With a cache, memory holds a shard at a time, and in
    the end the rows of all pictures. A picture that cannot be read
    is tried again at every call. An autocast or default dtype around the call changes nothing.

    Args:
        model: a backbone, on the device to work on; it is left as it is.
        images: an `ImageSet`, a uint8 tensor `b c height width`, a folder (a subfolder a class, or flat), or
            a list of paths and PIL images of any size.
        preprocessing: what the pictures are made into.
        cache_dir: folder for the cache; None keeps nothing. What is finished can be read from a read-only disk.
        on_error: what a picture that cannot be read leads to: "raise", or "skip", which names it in
            `skipped`.
        options: precision, batch size, layers, progress.

    Raises:
        ValueError: pictures or options that cannot be used.
        PictureError: with "raise", the first picture that could not be read; shards finished before it
            are kept.
        CacheError: another run holds the cache, or it lacks pictures and cannot be written; nothing is computed then.
    """
    check_one_of(("raise", "skip"), on_error=on_error)
    patch = model.config.patch_size
    fits = preprocessing.size % patch == 0
    nearest = max(1, round(preprocessing.size / patch)) * patch
    require(fits, f"size {preprocessing.size} is not a multiple of the patch size {patch}: try {nearest}")
    pictures = as_pictures(images)
    device = model.pos_embed.device
    precision = best_precision(device) if options.precision == "auto" else options.precision
    how = said_precision(precision, device)
    weights = fingerprint(model)
    runner = Runner(model, precision, options.n_layers, options.batch_size, preprocessing.size)
    made_by = {
        "weights": weights,
        "preprocessing": repr(preprocessing),
        "precision": how,
        "n_layers": options.n_layers,
        "format": _FORMAT,
    }
    with contextlib.ExitStack() as held:
        cache = None
        if cache_dir is not None:
            cache = held.enter_context(FeatureCache(cache_dir, made_by, runner.n_columns, options.wait_s))
        job = Job(pictures, preprocessing, runner, on_error, options.shard_size, cache)
        found = job.run(options.progress)
    config, skipped, cached = model.config, sorted(job.skipped), job.computed == 0
    indices = torch.tensor(found.rows)
    speed = f"{found.seconds:.1f} s, {len(indices) / max(found.seconds, 1e-9):.1f} images/s"
    what = f"{pictures.name}, {len(indices)} pictures" + (f" ({len(skipped)} skipped)" if skipped else "")
    backbone = (
        f"{model.name} (width {config.width}, {config.depth} blocks, patch {patch}, weights {weights[:12]})"
    )
    return Features(
        linear_eval=found.features,
        width=config.width,
        indices=indices,
        labels=None if pictures.labels is None else pictures.labels[indices],
        class_names=tuple(pictures.class_names),
        skipped=tuple((pictures.name_of(row), reason) for row, reason in skipped),
        provenance=f"{backbone}; {what}; {preprocessing}; {how}; {speed}"
        + (" (read from the cache)" if cached else ""),
        seconds=found.seconds,
        from_cache=cached,
    )
