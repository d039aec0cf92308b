"""Where a token looks: the real attention of a model beside its photo, by layer and head."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import traitlets

from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import BookWidget, array_bytes, bundle, image_bytes, inside, one_of

COARSEST = 4
"""Rows are kept for every patch, or for every 2nd, 3rd or at most 4th one along each side of the grid."""


class AttentionWidget(BookWidget):
    """Point at a patch, or choose the class token, and see where it looks.

    Attention is shipped in 8 bits, each row with its own scale, so a weight is off by at most 1/510 of its
    row's largest. All keys are kept. If all queries exceed `limit` bytes, only those of every 2nd (3rd, 4th)
    patch are kept, and the page says so. A 16 x 16 grid takes 66 kB a layer and head, 17 kB with every 2nd.

    Traitlets, all readable from Python after a reader moved the control:
        query: "cls", "register 1" ..., or "patch".
        patch: (row, column) of the patch that looks, counted from 0; only recorded patches are chosen.
        layer: index into the layers given.
        head: index of the head, -1 for the mean of all.
        keep: only the patches that hold this share of the attention on patches are marked; 1 marks none.

    Args:
        photo: the very picture that the model saw (resized and cropped alike, not normalised).
        attention: name of a layer ("block 12") to its softmaxed attention `h t t`, tokens in the order class,
            registers, patches.
        grid: rows and columns of patches.
        n_registers: register tokens between the class token and the patches.
        limit: bytes that the attention may take.
        source: which model and photo this is, in a few words for the caption.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: no layer, shapes that do not fit, weights outside 0 to 1, or too much data for `limit`.
    """

    _esm = bundle("attention.js")
    photo = traitlets.Bytes().tag(sync=True)
    attention = traitlets.Bytes().tag(sync=True)
    scales = traitlets.Bytes().tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    cols = traitlets.Int().tag(sync=True)
    n_registers = traitlets.Int(0).tag(sync=True)
    n_heads = traitlets.Int().tag(sync=True)
    every = traitlets.Int(1).tag(sync=True)
    layers = traitlets.List(traitlets.Unicode()).tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)

    query = traitlets.Unicode("cls").tag(sync=True)
    patch = traitlets.List(traitlets.Int(), minlen=2, maxlen=2).tag(sync=True)
    layer = traitlets.Int(0, min=0).tag(sync=True)
    head = traitlets.Int(-1, min=-1).tag(sync=True)
    keep = traitlets.Float(1.0, min=0.05, max=1.0).tag(sync=True)

    def __init__(
        self,
        photo: Picture,
        attention: Mapping[str, np.ndarray],
        *,
        grid: tuple[int, int],
        n_registers: int = 0,
        limit: int = 700_000,
        **values: Any,
    ) -> None:
        weights = _stacked(attention, grid, n_registers)  # layers h t t
        every = _coarseness(weights.shape, grid, n_registers, limit)
        kept = recorded_queries(grid, n_registers, every)
        levels, scales = quantise_rows(weights[:, :, kept])
        places = recorded_places(grid, every)
        values = {"layer": len(weights) - 1, "patch": list(places[len(places) // 2]), **values}
        super().__init__(
            photo=image_bytes(photo, longest=560), layers=list(attention),
            attention=array_bytes(levels, "uint8"), scales=array_bytes(scales, "float32"), rows=grid[0],
            cols=grid[1], n_registers=n_registers, n_heads=weights.shape[1], every=every, **values,
        )  # fmt: skip

    @traitlets.validate("query", "layer", "head")
    def _known(self, proposal: dict[str, Any]) -> Any:
        queries = ["cls", *(f"register {i + 1}" for i in range(self.n_registers)), "patch"]
        allowed = {"query": queries, "layer": range(len(self.layers)), "head": range(-1, self.n_heads)}
        return one_of(allowed[proposal["trait"].name], proposal)

    @traitlets.validate("patch")
    def _recorded(self, proposal: dict[str, Any]) -> list[int]:
        row, col = inside((self.rows, self.cols), proposal)
        return [recorded_place(row, self.every, self.rows), recorded_place(col, self.every, self.cols)]


def quantise_rows(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round each row (last axis) of non-negative weights to 256 levels between 0 and its largest.

    Returns:
        The uint8 levels, and each row's largest as float32; a weight is about `level / 255 * largest`.
    """
    largest = weights.max(axis=-1).astype(np.float32)
    levels = np.rint(255 * weights / np.maximum(largest, 1e-30)[..., None])
    return levels.clip(0, 255).astype(np.uint8), largest


def recorded_place(place: int, every: int, side: int) -> int:
    """The recorded row (or column) that stands for one: the middle of its block of `every`."""
    return min(place // every * every + every // 2, side - 1)


def recorded_places(grid: tuple[int, int], every: int) -> list[tuple[int, int]]:
    """List (row, column) of the patches whose attention is recorded: the middle of each block."""
    rows, cols = ([recorded_place(start, every, side) for start in range(0, side, every)] for side in grid)
    return [(row, col) for row in rows for col in cols]


def recorded_queries(grid: tuple[int, int], n_registers: int, every: int) -> list[int]:
    """List the tokens whose attention is recorded: class token, registers, then `recorded_places`."""
    prefix = 1 + n_registers
    return [*range(prefix), *(prefix + row * grid[1] + col for row, col in recorded_places(grid, every))]


def _stacked(attention: Mapping[str, np.ndarray], grid: tuple[int, int], n_registers: int) -> np.ndarray:
    if not attention:
        raise ValueError(
            "no layer given: pass a dict such as {'block 12': attention of shape (heads, tokens, tokens)}"
        )
    n_tokens = 1 + n_registers + grid[0] * grid[1]
    wanted = f"(heads, {n_tokens}, {n_tokens}) for a {grid[0]} x {grid[1]} grid and {n_registers} registers"
    for name, weights in attention.items():
        if np.ndim(weights) != 3 or np.shape(weights)[1:] != (n_tokens, n_tokens):
            raise ValueError(f"attention of {name!r}: wanted shape {wanted}, got {np.shape(weights)}")
    if len({len(weights) for weights in attention.values()}) != 1:
        raise ValueError("the layers have different numbers of heads: give layers of one model")
    stacked = np.stack([np.asarray(weights, dtype=np.float32) for weights in attention.values()])
    if not (stacked.min() >= 0 and stacked.max() <= 1.001):
        raise ValueError("attention lies outside 0 to 1: pass softmax(q k^T / sqrt(d)), not scores")
    return stacked


def _coarseness(shape: tuple[int, ...], grid: tuple[int, int], n_registers: int, limit: int) -> int:
    n_layers, n_heads, n_tokens, _ = shape
    for every in range(1, COARSEST + 1):
        if n_layers * n_heads * len(recorded_queries(grid, n_registers, every)) * n_tokens <= limit:
            return every
    raise ValueError(
        f"{n_layers} layers of {n_heads} heads and {n_tokens} tokens do not fit in {limit} bytes even with "
        f"every {COARSEST}th patch: give fewer layers"
    )
