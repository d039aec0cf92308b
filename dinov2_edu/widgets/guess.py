"""A game: the reader says what a few test pictures show, then sees what a probe said and who was right more often."""

from typing import Any

import numpy as np
import traitlets

from dinov2_edu.checks import require
from dinov2_edu.widgets._base import BookWidget, array_bytes, bundle, image_bytes
from dinov2_edu.widgets.mistakes import LabelledImages, check_probabilities, sprite_sheet, tiles_of


class GuessWidget(BookWidget):
    """Pictures to name, one after the other; the probe's answer is shown when the reader has given theirs.

    Traitlets, all readable from Python after a reader moved the control:
        at: the picture that is looked at, from 0; their number when the game is over.
        guesses: the classes that the reader chose, one a picture.

    Args:
        test: the pictures, 1 to 24 of them, and their classes.
        probs: `n c`, the probe's probabilities; the largest is its answer.
        source: which data and model this is, in a few words.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: no picture or too many, or probabilities that do not fit.
    """

    _esm = bundle("guess.js")
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sprite = traitlets.Bytes().tag(sync=True)
    tile = traitlets.Int().tag(sync=True)
    side = traitlets.Int().tag(sync=True)
    labels = traitlets.List(traitlets.Int()).tag(sync=True)
    probs = traitlets.Bytes().tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)
    at = traitlets.Int(0, min=0).tag(sync=True)
    guesses = traitlets.List(traitlets.Int(min=0)).tag(sync=True)

    def __init__(self, test: LabelledImages, probs: np.ndarray, **values: Any) -> None:
        labels, probs = np.asarray(test.labels), np.asarray(probs)
        require(0 < len(labels) <= 24, f"test: wanted 1 to 24 pictures, got {len(labels)}")
        check_probabilities(probs, (len(labels), len(test.class_names)))
        tiles = tiles_of(test, np.arange(len(labels)))
        super().__init__(
            classes=list(test.class_names), labels=labels.tolist(),
            sprite=image_bytes(sprite_sheet(tiles), quality=90), tile=tiles.shape[1],
            side=np.asarray(test.images).shape[-1], probs=array_bytes(probs, "float32"), **values,
        )  # fmt: skip
