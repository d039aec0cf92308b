"""Exercises of chapter 10: operations of a forward pass, the mask of a packed row, a mean over processes."""

import torch
from torch import Tensor

from dinov2_edu.exercises import Exercise


def _sizes(generator: torch.Generator) -> dict[str, int]:
    rows, heads, depth, registers = (int(n) for n in torch.randint(2, 9, (4,), generator=generator))
    patch = (8, 14, 16)[int(torch.randint(0, 3, (), generator=generator))]
    return {"side": rows * patch, "patch": patch, "width": 64 * heads, "depth": depth, "registers": registers}


def _flops(side: int, patch: int, width: int, depth: int, registers: int) -> int:
    patches = (side // patch) ** 2
    tokens = 1 + registers + patches
    return depth * (24 * tokens * width**2 + 4 * tokens**2 * width) + 6 * patches * patch**2 * width


def _flops_without_attention(side: int, patch: int, width: int, depth: int, registers: int) -> int:
    tokens = 1 + registers + (side // patch) ** 2
    return _flops(side, patch, width, depth, registers) - depth * 4 * tokens**2 * width


def _flops_embedding_all_tokens(side: int, patch: int, width: int, depth: int, registers: int) -> int:
    return _flops(side, patch, width, depth, registers) + 6 * (1 + registers) * patch**2 * width


def _lengths(generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "lengths": torch.randint(
            2, 6, (int(torch.randint(2, 5, (), generator=generator)),), generator=generator
        )
    }


def _packed_mask(lengths: Tensor) -> Tensor:
    crop = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return crop[:, None] == crop[None, :]


def _rows(generator: torch.Generator) -> dict[str, Tensor]:
    first, second = (1 + torch.randperm(6, generator=generator)[:2]).tolist()  # never equally many
    return {
        "first": torch.randn(first, 5, generator=generator),
        "second": torch.randn(second, 5, generator=generator),
    }


def _mean_of_means(first: Tensor, second: Tensor) -> Tensor:
    return (first.mean(dim=0) + second.mean(dim=0)) / 2


EXERCISES = {
    "flops": Exercise(
        task="the operations of a forward pass over one square image of `side` pixels",
        reference=_flops,
        make_inputs=_sizes,
        hint="n = (side // patch) ** 2 patches, t = n + 1 + registers tokens; only patches are embedded.",
        mistakes={
            "the quadratic part of attention was left out": _flops_without_attention,
            "class token and registers were embedded like patches": _flops_embedding_all_tokens,
            "the registers were left out": lambda side, patch, width, depth, registers: _flops(
                side, patch, width, depth, 0
            ),
            "multiplications were counted and additions were not": lambda *sizes: _flops(*sizes) // 2,
        },
        tolerance=1e-9,
    ),
    "packed_mask": Exercise(
        task="the mask (t, t) of a packed row: True where two tokens belong to the same crop",
        reference=_packed_mask,
        make_inputs=_lengths,
        hint="Number the crops, repeat each number `length` times, compare all pairs.",
        mistakes={
            "True and False are swapped": lambda lengths: ~_packed_mask(lengths),
            "a token may look only at earlier ones": lambda lengths: _packed_mask(lengths).tril(),
        },
    ),
    "mean_over_processes": Exercise(
        task="the mean row (k,) over the rows of both processes",
        reference=lambda first, second: torch.cat([first, second]).mean(dim=0),
        make_inputs=_rows,
        hint="Add up the sums, add up the numbers of rows, then divide once.",
        mistakes={
            "the processes' means were averaged, so that a row weighs more where there are few": _mean_of_means,
            "the sum was divided by the number of processes": lambda first, second: (
                torch.cat([first, second]).sum(dim=0) / 2
            ),
        },
    ),
}
