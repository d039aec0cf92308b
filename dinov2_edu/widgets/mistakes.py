"""A confusion matrix whose cells open their images, with the probe's probabilities and nearest neighbours."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import traitlets
from numpy.typing import ArrayLike
from PIL import Image

from dinov2_edu.checks import check_at_least, require
from dinov2_edu.widgets._base import BookWidget, array_bytes, bundle, image_bytes


@runtime_checkable
class LabelledImages(Protocol):
    """What `dinov2_edu.data.ImageSet` offers: uint8 images `n c height width`, labels and class names."""

    images: ArrayLike
    labels: ArrayLike
    class_names: tuple[str, ...]


class MistakesWidget(BookWidget):
    """What a probe confuses with what.

    Each cell of the matrix holds up to `per_cell` of its images, those that the probe was surest of first;
    fewer if all of them exceed `limit` bytes. All images lie in one JPEG; a 32 x 32 image takes about 1 kB.

    Traitlets, all readable from Python after a reader moved the control:
        actual, predicted: the open cell, as indices of classes.
        shown: which of the cell's images is looked at, from 0.
        chosen: that image's index in the test set, -1 in an empty cell.

    Args:
        test: the images that were classified.
        probs: `n c`, the probe's probabilities; the largest is its answer.
        train: the images in which neighbours were looked for.
        neighbours: `n k`, indices of each test image's nearest training images, nearest first; k of 2 or 3.
        similarities: `n k`, their cosine similarities.
        per_cell: images a cell at most.
        limit: bytes that the images may take.
        source: which data and model this is, in a few words for the caption.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: arrays that do not fit, `per_cell` below 1, or images that do not fit in `limit` even with
            one a cell.
    """

    _esm = bundle("mistakes.js")
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    counts = traitlets.Bytes().tag(sync=True)
    sprite = traitlets.Bytes().tag(sync=True)
    tile = traitlets.Int().tag(sync=True)
    side = traitlets.Int().tag(sync=True)
    n_neighbours = traitlets.Int().tag(sync=True)
    entries = traitlets.Bytes().tag(sync=True)
    probs = traitlets.Bytes().tag(sync=True)
    neighbours = traitlets.Bytes().tag(sync=True)
    similarities = traitlets.Bytes().tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)

    actual = traitlets.Int(0, min=0).tag(sync=True)
    predicted = traitlets.Int(0, min=0).tag(sync=True)
    shown = traitlets.Int(0, min=0).tag(sync=True)
    chosen = traitlets.Int(-1).tag(sync=True)

    def __init__(
        self,
        test: LabelledImages,
        probs: np.ndarray,
        *,
        train: LabelledImages,
        neighbours: np.ndarray,
        similarities: np.ndarray,
        per_cell: int = 6,
        limit: int = 800_000,
        **values: Any,
    ) -> None:
        labels, probs, neighbours = np.asarray(test.labels), np.asarray(probs), np.asarray(neighbours)
        check_at_least(1, per_cell=per_cell)
        _check(labels, probs, neighbours, np.shape(similarities), len(test.class_names))
        n_train = len(np.asarray(train.labels))
        inside = 0 <= neighbours.min() and neighbours.max() < n_train
        ends = f"{neighbours.min()} to {neighbours.max()}"
        require(inside, f"neighbours are indices of training images, 0 to {n_train - 1}, got {ends}")
        counts = confusion_counts(labels, probs.argmax(axis=1), len(test.class_names))
        chosen, sprite, places = _fit(test, probs, train, neighbours, per_cell, limit)
        near = neighbours[chosen]
        rows = [chosen, labels[chosen], probs[chosen].argmax(axis=1), places["test"]]
        near_rows = [near, np.asarray(train.labels)[near], places["train"]]
        worst = counts - np.diag(np.diag(counts))
        start = np.unravel_index(int(worst.argmax()), counts.shape)
        values = {"actual": int(start[0]), "predicted": int(start[1]), **values}
        super().__init__(
            classes=list(test.class_names), counts=array_bytes(counts, "int32"),
            sprite=sprite, tile=places["tile"], side=places["side"], n_neighbours=neighbours.shape[1],
            entries=array_bytes(np.stack(rows, axis=1), "int32"), probs=array_bytes(probs[chosen], "float32"),
            neighbours=array_bytes(np.stack(near_rows, axis=2), "int32"),
            similarities=array_bytes(np.asarray(similarities)[chosen], "float32"), **values,
        )  # fmt: skip

    @traitlets.validate("actual", "predicted")
    def _known(self, proposal: dict[str, Any]) -> int:
        if proposal["value"] >= len(self.classes):
            raise traitlets.TraitError(
                f"there are {len(self.classes)} classes, counted from 0; got {proposal['value']}"
            )
        return proposal["value"]


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, n_classes: int) -> np.ndarray:
    """How often each actual class (row) was taken for each class (column)."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def surest_of_each_cell(labels: np.ndarray, probs: np.ndarray, per_cell: int) -> np.ndarray:
    """Indices of up to `per_cell` images of every cell of the confusion matrix, the surest of each first."""
    predictions = probs.argmax(axis=1)
    order = np.lexsort((-probs.max(axis=1), predictions, labels))
    cells = labels[order] * probs.shape[1] + predictions[order]
    starts = np.searchsorted(cells, cells)  # cells are sorted: where each one's images begin
    return order[np.arange(len(order)) - starts < per_cell]


def sprite_sheet(tiles: np.ndarray) -> Image.Image:
    """Lay tiles `n side side 3` out in rows on a nearly square sheet, left to right."""
    n, side = len(tiles), tiles.shape[1]
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, side, side, 3), dtype=np.uint8)
    sheet[:n] = tiles
    grid = sheet.reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    return Image.fromarray(np.ascontiguousarray(grid.reshape(rows * side, columns * side, 3)))


def _fit(
    test: LabelledImages,
    probs: np.ndarray,
    train: LabelledImages,
    neighbours: np.ndarray,
    per_cell: int,
    limit: int,
) -> tuple[np.ndarray, bytes, dict[str, Any]]:
    """The images to ship, their sheet, and where on it each lies: as many a cell as `limit` allows."""
    for count in range(per_cell, 0, -1):
        chosen = surest_of_each_cell(np.asarray(test.labels), probs, count)
        trained, where = np.unique(neighbours[chosen], return_inverse=True)
        tiles = np.concatenate([tiles_of(test, chosen), tiles_of(train, trained)])
        sprite = image_bytes(sprite_sheet(tiles), quality=88)
        if len(sprite) <= limit:
            near = where.reshape(len(chosen), -1) + len(chosen)
            size = {"tile": tiles.shape[1], "side": np.asarray(test.images).shape[-1]}
            return chosen, sprite, {"test": np.arange(len(chosen)), "train": near, **size}
    raise ValueError(f"one image a cell takes {len(sprite)} bytes, more than {limit}: give fewer neighbours")


def tiles_of(images: LabelledImages, indices: np.ndarray) -> np.ndarray:
    """Images as `n side side 3`, padded by their last pixels to multiples of 16: no JPEG block mixes two."""
    pixels = np.asarray(images.images)[indices].transpose(0, 2, 3, 1)
    spare = [-length % 16 for length in pixels.shape[1:3]]
    return np.pad(pixels, ((0, 0), (0, spare[0]), (0, spare[1]), (0, 0)), mode="edge")


def _check(
    labels: np.ndarray, probs: np.ndarray, neighbours: np.ndarray, similar: tuple, n_classes: int
) -> None:
    n = len(labels)
    check_probabilities(probs, (n, n_classes))
    if (
        neighbours.ndim != 2
        or len(neighbours) != n
        or neighbours.shape[1] == 0
        or similar != neighbours.shape
    ):
        raise ValueError(
            f"neighbours and similarities: wanted two arrays of shape ({n}, k), "
            f"got {neighbours.shape} and {similar}"
        )


def check_probabilities(probs: np.ndarray, shape: tuple[int, int]) -> None:
    """Refuse what is not a row of probabilities for each of at least one image."""
    if shape[0] == 0 or probs.shape != shape:
        raise ValueError(f"probs: wanted shape {shape}, an image a row (at least one), got {probs.shape}")
    sums = probs.sum(axis=1)
    good = bool((probs >= 0).all()) and np.allclose(sums, 1, atol=1e-3)
    got = f"rows that sum to {sums.min():.3g} to {sums.max():.3g}, lowest number {probs.min():.3g}"
    require(
        good, f"probs: wanted probabilities, rows that sum to 1, got {got}: pass the softmax, not the logits"
    )
