"""A small DINOv2 that learns Patterns10 in the reader's browser, and what each part of the method is there for."""

from collections.abc import Sequence
from typing import Any

import traitlets

from dinov2_edu.widgets._base import BookWidget, bundle

BREAKS = ("centering", "sharpening", "ema", "multicrop", "koleo", "shortcut")
"""What can be taken away while it runs; "shortcut" marks each picture with a watermark of its own."""

SHOWS = ("knn", "entropy", "strip", "neighbours", "loss", "spread")
"""What a control can show, in the order of the page."""


class LearnsWidget(BookWidget):
    """Trains in the page on a press; k-NN, entropies, losses, crops, targets and neighbours are drawn as it goes.

    Nothing runs and nothing is fetched before the press. All numbers are made by `dinov2_edu/widgets/live`, whose
    step is held to the package's.

    Traitlets, all readable from Python after a reader moved the control:
        preset: how long, at the next start: "minute", "quick", or "auto", which measures what suits the device.
        seed: of weights, crops and masks, at the next start.
        delay: milliseconds between two steps.
        breaks: what is taken away, names out of `BREAKS`; it changes the run from the next step on.
        picture: of the batch, from 0: whose crops are shown.
        step, knn, verdict: where the run is; the last accuracy measured; what `diagnose` would call the curves.

    Args:
        shows: the parts that are shown, names out of `SHOWS`.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: a part to show that there is not.
    """

    _esm = bundle("learns.js")
    shows = traitlets.List(traitlets.Unicode()).tag(sync=True)
    preset = traitlets.Enum(["auto", "minute", "quick"], "auto").tag(sync=True)
    seed = traitlets.Int(0, min=0, max=9).tag(sync=True)
    delay = traitlets.Int(0, min=0).tag(sync=True)
    breaks = traitlets.List(traitlets.Enum(BREAKS)).tag(sync=True)
    picture = traitlets.Int(0, min=0, max=31).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    knn = traitlets.Float(0.0).tag(sync=True)
    verdict = traitlets.Unicode("").tag(sync=True)

    def __init__(self, *, shows: Sequence[str] = SHOWS, **values: Any) -> None:
        if unknown := sorted(set(shows) - set(SHOWS)):
            raise ValueError(f"shows: wanted names out of {list(SHOWS)}, got {unknown}")
        super().__init__(shows=list(shows), **values)
