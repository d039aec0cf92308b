"""The pictures of CIFAR-10 that "Your picture" compares a reader's with, and how trained and random weights see them.

A build that has CIFAR-10 puts the file beside the pages; it is never part of the repository or of the package.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import normalize

from dinov2_edu.checks import checked
from dinov2_edu.data import DataUnavailable, ImageSet, cache_dir, load_cifar10
from dinov2_edu.data.cifar import cifar10_at_hand
from dinov2_edu.data.imageset import even_rows
from dinov2_edu.experiments import page_weights
from dinov2_edu.experiments.page_weights import page_random_backbone
from dinov2_edu.features import ExtractOptions, Preprocessing, extract_features
from dinov2_edu.files import write_whole
from dinov2_edu.pictures import read_rgb
from dinov2_edu.probe import knn_accuracy
from dinov2_edu.vit import VisionTransformer
from dinov2_edu.weights import ASSETS, load_backbone

COLUMNS = 50
"""Pictures side by side in the mosaic, which no browser finds too large."""
MOST_BYTES = 1_900_000
"""Of the mosaic: the finer of three JPEG qualities that it fits."""


def nearest_bank() -> Path | None:
    """The file with 3,000 training pictures of CIFAR-10, made once and kept in `cache_dir()`; None without CIFAR-10.

    Nothing is fetched: CIFAR-10 counts where `DINOV2_EDU_CIFAR10` names it or an earlier call has left it in the cache.
    """
    if not cifar10_at_hand():
        return None
    try:
        train, test = load_cifar10("train"), load_cifar10("test")
    except DataUnavailable:
        return None
    known = train.subset(even_rows(len(train), 3000))
    asked = test.subset(even_rows(len(test), 1000))
    weights = (ASSETS / "book.safetensors").read_bytes()
    makers = b"".join(Path(module).read_bytes() for module in (__file__, page_weights.__file__))
    digest = hashlib.sha256(weights + known.images.numpy().tobytes() + makers).hexdigest()
    path = cache_dir() / f"nearest-{digest[:16]}.safetensors"
    return path if path.is_file() else write_whole(path, make_bank(known, asked))


@checked
def make_bank(known: ImageSet, asked: ImageSet) -> bytes:
    """A .safetensors file with a mosaic of pictures, their labels and their features, and how often a vote is right.

    Args:
        known: pictures to be found, square; what the mosaic's JPEG makes of them is what is embedded.
        asked: pictures of the same size, whose vote (k = 20, temperature 0.07) is counted by trained weights, by random
            ones and by pixels less their mean.
    """
    content, shown = mosaic(known.images)
    backbone, side = load_backbone("book"), known.images.shape[-1]
    random = page_random_backbone(backbone.config)
    found = {"trained": _cls(backbone, shown, asked.images), "random": _cls(random, shown, asked.images)}
    pixels = [Preprocessing(size=side)(one).flatten(1) for one in (shown, asked.images)]
    found["pixels"] = [one - pixels[0].mean(0) for one in pixels]
    for name in ("trained", "random"):
        unit = normalize(found[name][0], dim=1)
        # Whole numbers of one byte; a row's length is of no account to a cosine.
        found[name][0] = (unit * (127 / unit.abs().amax(1, keepdim=True))).round()
    right = {name: knn_accuracy(rows, known.labels, ask, asked.labels) for name, (rows, ask) in found.items()}
    about = {
        "weights": hashlib.sha256((ASSETS / "book.safetensors").read_bytes()).hexdigest(),
        "data": known.name,
        "classes": known.class_names,
        "side": side,
        "columns": COLUMNS,
        "measured_on": asked.name,
        "right": right,
    }
    tensors = {
        "pictures": torch.frombuffer(bytearray(content), dtype=torch.uint8),
        "features": found["trained"][0].to(torch.int8),
        "random": found["random"][0].to(torch.int8),
        "labels": known.labels.to(torch.uint8),
    }
    return save(tensors, {"bank": json.dumps(about)})


def mosaic(images: Tensor) -> tuple[bytes, Tensor]:
    """A JPEG file of pictures in rows of `COLUMNS`, and the pictures as they are read back from it."""
    n, side = len(images), images.shape[-1]
    rows = -(-n // COLUMNS)
    cells = np.zeros((rows * COLUMNS, side, side, 3), np.uint8)
    cells[:n] = images.permute(0, 2, 3, 1)
    cells = cells.reshape(rows, COLUMNS, side, side, 3).swapaxes(1, 2)
    whole = Image.fromarray(cells.reshape(rows * side, COLUMNS * side, 3))
    content = b""
    for quality in (85, 70, 50):
        file = io.BytesIO()
        whole.save(file, "JPEG", quality=quality, subsampling=0, optimize=True)
        content = file.getvalue()
        if len(content) <= MOST_BYTES:
            break
    read = read_rgb(content).reshape(rows, side, COLUMNS, side, 3).swapaxes(1, 2)
    read = read.reshape(-1, side, side, 3)[:n]
    return content, torch.from_numpy(read.copy()).permute(0, 3, 1, 2)


def _cls(backbone: VisionTransformer, *sets: Tensor) -> list[Tensor]:
    """Class tokens of some sets of pictures at their own size."""
    how = Preprocessing(size=sets[0].shape[-1])
    options = ExtractOptions(precision="float32", progress=False)
    return [extract_features(backbone, one, preprocessing=how, options=options).cls for one in sets]
