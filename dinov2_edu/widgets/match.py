"""A patch of one photo and where it is found in a second one, by pixels, random and trained weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import traitlets

from dinov2_edu.checks import require
from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import BookWidget, array_bytes, bundle, image_bytes, inside, one_of


class MatchWidget(BookWidget):
    """Choose a patch of the left photo, and see where each network finds it in the right one, and where it is.

    Traitlets, all readable from Python after a reader moved the control:
        patch: (row, column) in the left photo, counted from 0.
        seen_by: name of what finds it.
        marked: whether what is found right, at most one patch off, is outlined.

    Args:
        left, right: the two photos, of one shape.
        found: name to the patch of the right photo (its index, row by row) found for each patch of the left one.
        truth: (row, column) in the right photo of each patch of the left one, in patches, NaN where unknown.
        grid: rows and columns of patches.
        source: which photos and weights these are, in a sentence for the caption.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: nothing found, numbers that do not fit the grid, or no place that is known.
    """

    _esm = bundle("match.js")
    left = traitlets.Bytes().tag(sync=True)
    right = traitlets.Bytes().tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    cols = traitlets.Int().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    found = traitlets.Bytes().tag(sync=True)
    truth = traitlets.Bytes().tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)

    patch = traitlets.List(traitlets.Int(), minlen=2, maxlen=2).tag(sync=True)
    seen_by = traitlets.Unicode().tag(sync=True)
    marked = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        left: Picture,
        right: Picture,
        found: Mapping[str, np.ndarray],
        truth: np.ndarray,
        *,
        grid: tuple[int, int],
        **values: Any,
    ) -> None:
        n = grid[0] * grid[1]
        require(len(found) > 0, "found is empty: wanted at least one name with its matches")
        for name, places in found.items():
            whole = isinstance(places, np.ndarray) and places.shape == (n,) and places.dtype.kind in "iu"
            good = whole and bool(((places >= 0) & (places < n)).all())
            require(good, f"found by {name!r}: wanted {n} whole numbers from 0 to {n - 1}, one a patch")
        fits = truth.shape == (n, 2)
        require(fits, f"truth: wanted {n} places of shape ({n}, 2), got shape {truth.shape}")
        require(not np.isnan(truth).any(axis=1).all(), "truth: no place is known, all are NaN")
        values = {"patch": [grid[0] // 2, grid[1] // 2], "seen_by": next(iter(found)), **values}
        super().__init__(
            left=image_bytes(left, longest=560), right=image_bytes(right, longest=560),
            rows=grid[0], cols=grid[1], names=list(found),
            found=array_bytes(np.stack(list(found.values())), "int32"), truth=array_bytes(truth, "float32"),
            **values,
        )  # fmt: skip

    @traitlets.validate("seen_by")
    def _known(self, proposal: dict[str, Any]) -> str:
        return one_of(self.names, proposal)

    @traitlets.validate("patch")
    def _within(self, proposal: dict[str, Any]) -> list[int]:
        return inside((self.rows, self.cols), proposal)
