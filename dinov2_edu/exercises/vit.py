"""Exercises of chapter 03: cutting patches, attention, and the class token's map over the patches."""

from collections.abc import Callable

import torch
from torch import Tensor

from dinov2_edu.exercises import Exercise
from dinov2_edu.vit import Attention


def _images(generator: torch.Generator) -> dict:
    p = int(torch.randint(2, 5, (), generator=generator))
    rows, cols = torch.randint(2, 5, (2,), generator=generator).tolist()
    cols += rows == cols  # never square, so that rows and columns cannot be mixed up unseen
    return {"images": torch.randn(2, 3, rows * p, cols * p, generator=generator), "p": p}


def _patches(images: Tensor, p: int) -> Tensor:
    cut = images.unfold(2, p, p).unfold(3, p, p)  # b c rows cols p p
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def _patches_by_columns(images: Tensor, p: int) -> Tensor:
    cut = images.unfold(2, p, p).unfold(3, p, p)
    return cut.permute(0, 3, 2, 1, 4, 5).flatten(3).flatten(1, 2)


def _patches_channels_last(images: Tensor, p: int) -> Tensor:
    cut = images.unfold(2, p, p).unfold(3, p, p)
    return cut.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


def _only_reshaped(images: Tensor, p: int) -> Tensor:
    return images.reshape(len(images), -1, images.shape[1] * p * p)


def _query_and_key(generator: torch.Generator) -> dict[str, Tensor]:
    tokens = int(torch.randint(9, 14, (), generator=generator))  # never as many as a head is wide
    query, key = 2 * torch.randn(2, 2, 3, tokens, 8, generator=generator)
    return {"query": query, "key": key}


def _attention(query: Tensor, key: Tensor) -> Tensor:
    return Attention(query.shape[1] * query.shape[-1], query.shape[1]).weights(query, key)


def _scaled_by(width: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Attention whose scores are divided by the root of `width`, which the heads' own width should be."""
    return lambda query, key: (query @ key.transpose(-2, -1) / width**0.5).softmax(dim=-1)


def _columns_to_one(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(dim=-2)


def _table(generator: torch.Generator) -> dict:
    n_registers = int(torch.randint(1, 5, (), generator=generator))
    rows, cols = torch.randint(3, 6, (2,), generator=generator).tolist()
    tokens = 1 + n_registers + rows * cols
    scores = torch.randn(3, tokens, tokens, generator=generator)
    return {"attention": scores.softmax(dim=-1), "n_registers": n_registers, "rows": rows, "cols": cols}


def _class_map(attention: Tensor, n_registers: int, rows: int, cols: int) -> Tensor:
    return attention[:, 0, 1 + n_registers :].unflatten(-1, (rows, cols))


def _registers_kept(attention: Tensor, n_registers: int, rows: int, cols: int) -> Tensor:
    return attention[:, 0, 1 : 1 + rows * cols].unflatten(-1, (rows, cols))


def _towards_class(attention: Tensor, n_registers: int, rows: int, cols: int) -> Tensor:
    return attention[:, 1 + n_registers :, 0].unflatten(-1, (rows, cols))


EXERCISES = {
    "patches": Exercise(
        task="one row (c*p*p numbers, channel by channel) for each p x p patch of `images`, top row first",
        reference=_patches,
        make_inputs=_images,
        hint="Reshape to b, c, rows, p, cols, p; permute to b, rows, cols, c, p, p; then reshape.",
        mistakes={
            "patches were taken column by column": _patches_by_columns,
            "the channels come last within a patch; the convolution has them first": _patches_channels_last,
            "the pixels were reshaped without a permute, which cuts no squares": _only_reshaped,
        },
    ),
    "attention": Exercise(
        task="softmax(q k^T / sqrt(d_head)) of `query` and `key` (b, h, t, d_head), rows summing to 1",
        reference=_attention,
        make_inputs=_query_and_key,
        hint="What are the scores divided by the root of? It must not depend on the size of the picture.",
        mistakes={
            "the scores were not divided by the root of the head's width": _scaled_by(1),
            "the scores were divided by the root of the whole width instead of the head's": _scaled_by(24),
            "the softmax runs over the queries: columns sum to 1": _columns_to_one,
        },
    ),
    "class_map": Exercise(
        task="where the class token looks, as a grid of patches for each head of `attention` (h, t, t)",
        reference=_class_map,
        make_inputs=_table,
        hint="Take row 0, drop the columns of class token and registers, then reshape to rows x cols.",
        mistakes={
            "the registers were not dropped: everything sits too far to the right": _registers_kept,
            "the column was taken: who looks at the class token": _towards_class,
        },
    ),
}
