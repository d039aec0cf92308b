"""Patch features as colours: principal components of several photos' patch tokens, in one pass or two."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from PIL import Image

from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import BookWidget, array_bytes, as_image, bundle, image_bytes

N_COMPONENTS = 6
"""Components to choose the colours from."""


class PcaWidget(BookWidget):
    """Photos and the principal components of their patch tokens as red, green and blue.

    The browser computes the components itself, for any threshold, over all photos together or each alone. It
    has the tokens on their `n_dims` strongest directions, in 8 bits (one scale a direction): 33 kB for four
    photos of 16 x 16 patches. The page says how much of the tokens' variance these directions hold.

    Traitlets, all readable from Python after a reader moved the control:
        show: "first" (the first component, which splits off the background), "all" (one pass over all
            patches) or "foreground" (the second pass: components of the foreground patches alone).
        together: True for one PCA over all photos, False for one each.
        threshold: where the first component is cut, in its standard deviations from the mean.
        foreground_high: True where the foreground is what lies above the threshold.
        red, green, blue: the component, from 0, that the colour shows; -1 for none.
        flips: for red, green and blue, whether the component's sign is turned.
        patch: (photo, row, column) of the patch that is read out, counted from 0.

    Args:
        photos: the very pictures that the model saw, all of one size, not normalised.
        tokens: float array `b n d`, their patch tokens (no class token, no registers).
        grid: rows and columns of patches.
        names: what each photo shows, in a few words.
        n_dims: directions kept.
        source: which model this is, in a few words for the caption.
        still, alt: the still figure and its words, as in `BookWidget`.
        values: starting values of the traitlets.

    Raises:
        ValueError: photos, names, tokens and grid do not fit, or tokens are not finite.
    """

    _esm = bundle("pca.js")
    photos = traitlets.Bytes().tag(sync=True)
    tokens = traitlets.Bytes().tag(sync=True)
    scales = traitlets.Bytes().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    cols = traitlets.Int().tag(sync=True)
    n_dims = traitlets.Int().tag(sync=True)
    n_components = traitlets.Int().tag(sync=True)
    variance_kept = traitlets.Float().tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)

    show = traitlets.Enum(["first", "all", "foreground"], "foreground").tag(sync=True)
    together = traitlets.Bool(True).tag(sync=True)
    threshold = traitlets.Float(0.0, min=-2.0, max=2.0).tag(sync=True)
    foreground_high = traitlets.Bool(True).tag(sync=True)
    red = traitlets.Int(0, min=-1, max=N_COMPONENTS - 1).tag(sync=True)
    green = traitlets.Int(1, min=-1, max=N_COMPONENTS - 1).tag(sync=True)
    blue = traitlets.Int(2, min=-1, max=N_COMPONENTS - 1).tag(sync=True)
    flips = traitlets.List(traitlets.Bool(), [False, False, False], minlen=3, maxlen=3).tag(sync=True)
    patch = traitlets.List(traitlets.Int(), minlen=3, maxlen=3).tag(sync=True)

    def __init__(
        self,
        photos: Sequence[Picture],
        tokens: np.ndarray,
        *,
        grid: tuple[int, int],
        names: Sequence[str],
        n_dims: int = 32,
        source: str = "",
        still: Any = None,
        alt: str = "",
        **values: Any,
    ) -> None:
        tokens = np.asarray(tokens, dtype=np.float64)
        _check(len(photos), tokens.shape, grid, len(names))
        if not np.isfinite(tokens).all():
            raise ValueError("tokens hold numbers that are not finite")
        levels, scales, kept = reduce_tokens(tokens, n_dims)
        values = {"patch": [0, grid[0] // 2, grid[1] // 2], **values}
        super().__init__(
            still=still, alt=alt, photos=image_bytes(_strip(photos)), tokens=array_bytes(levels, "int8"),
            scales=array_bytes(scales, "float32"), names=list(names), rows=grid[0], cols=grid[1],
            n_dims=len(scales), n_components=min(N_COMPONENTS, len(scales)), variance_kept=kept,
            source=source, **values,
        )  # fmt: skip

    @traitlets.validate("patch")
    def _known(self, proposal: dict[str, Any]) -> list[int]:
        limits = (len(self.names), self.rows, self.cols)
        if not all(0 <= at < limit for at, limit in zip(proposal["value"], limits, strict=True)):
            raise traitlets.TraitError(
                f"patch: wanted (photo, row, column) below {limits}, got {proposal['value']}"
            )
        return proposal["value"]

    @property
    def n_bytes(self) -> int:
        """Bytes of data that this control adds to a page, before base64 makes them a third more."""
        return len(self.photos) + len(self.tokens) + len(self.scales)


def reduce_tokens(tokens: np.ndarray, n_dims: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Write tokens on the strongest principal directions of them all, rounded to 8 bits.

    Args:
        tokens: `b n d`.
        n_dims: directions kept, at most d.

    Returns:
        int8 levels `b n n_dims`, a float32 scale for each direction (a coordinate is about `level * scale`),
        and the share of the variance that the kept directions hold.
    """
    centred = tokens - tokens.mean(axis=(0, 1))
    flat = centred.reshape(-1, tokens.shape[-1])
    variances, directions = np.linalg.eigh(flat.T @ flat)  # ascending
    coordinates = centred @ directions[:, ::-1][:, :n_dims]
    scales = np.maximum(np.abs(coordinates).max(axis=(0, 1)) / 127, 1e-12).astype(np.float32)
    levels = np.rint(coordinates / scales).clip(-127, 127).astype(np.int8)
    kept = variances[::-1][:n_dims].sum() / max(variances.sum(), 1e-300)
    return levels, scales, float(kept)


def _strip(photos: Sequence[Picture]) -> Image.Image:
    """All photos side by side, each at most 320 pixels wide."""
    pictures = [as_image(photo) for photo in photos]
    width, height = pictures[0].size
    if any(picture.size != (width, height) for picture in pictures):
        raise ValueError(f"photos differ in size: {[picture.size for picture in pictures]}; crop them alike")
    shrink = min(1.0, 320 / width)
    size = (round(width * shrink), round(height * shrink))
    strip = Image.new("RGB", (size[0] * len(pictures), size[1]))
    for i, picture in enumerate(pictures):
        strip.paste(picture.resize(size, Image.Resampling.LANCZOS), (i * size[0], 0))
    return strip


def _check(n_photos: int, shape: tuple[int, ...], grid: tuple[int, int], n_names: int) -> None:
    n_patches = grid[0] * grid[1]
    if n_photos == 0 or len(shape) != 3 or shape[:2] != (n_photos, n_patches):
        raise ValueError(
            f"tokens: wanted shape ({n_photos}, {n_patches}, d) for {n_photos} photos (at least one) of "
            f"{grid[0]} x {grid[1]} patches, got {shape}"
        )
    if n_names != n_photos:
        raise ValueError(f"wanted a name for each of the {n_photos} photos, got {n_names}")
