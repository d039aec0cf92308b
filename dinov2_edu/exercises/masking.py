"""Exercises of chapter 02: a block as a mask, how many patches are asked for, the mask token's place."""

import torch
from torch import Tensor

from dinov2_edu.exercises import Exercise


def _place(generator: torch.Generator) -> dict[str, object]:
    rows, cols = (int(n) for n in torch.randint(7, 12, (2,), generator=generator))
    top, left = (int(n) for n in torch.randint(0, 4, (2,), generator=generator))
    height, width = (2 + int(n) for n in torch.randint(0, 2, (2,), generator=generator))
    return {"block": (top, left, height, width + 1), "grid": (rows, cols + 1)}


def _block(block: tuple[int, int, int, int], grid: tuple[int, int]) -> Tensor:
    top, left, height, width = block
    mask = torch.zeros(grid, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask.flatten()


def _uniforms(generator: torch.Generator) -> dict[str, object]:
    m = int(torch.randint(3, 12, (), generator=generator))
    return {"uniforms": torch.rand(m, generator=generator), "n_patches": 256, "ratio": (0.1, 0.5)}


def _asked(uniforms: Tensor, n_patches: int, ratio: tuple[float, float]) -> Tensor:
    edges = torch.linspace(*ratio, len(uniforms) + 1)
    return (n_patches * torch.lerp(edges[:-1], edges[1:], uniforms)).long()


def _asked_anywhere(uniforms: Tensor, n_patches: int, ratio: tuple[float, float]) -> Tensor:
    return (n_patches * (ratio[0] + (ratio[1] - ratio[0]) * uniforms)).long()


def _tokens(generator: torch.Generator) -> dict[str, Tensor]:
    b, n, d = 3, int(torch.randint(6, 12, (), generator=generator)), 4
    return {
        "patches": torch.randn(b, n, d, generator=generator),
        "masks": torch.rand(b, n, generator=generator) < 0.4,
        "mask_token": torch.randn(d, generator=generator),
        "positions": torch.randn(n, d, generator=generator),
    }


def _embed(patches: Tensor, masks: Tensor, mask_token: Tensor, positions: Tensor) -> Tensor:
    return torch.where(masks[..., None], mask_token, patches) + positions


def _embed_without_place(patches: Tensor, masks: Tensor, mask_token: Tensor, positions: Tensor) -> Tensor:
    return torch.where(masks[..., None], mask_token, patches + positions)


EXERCISES = {
    "block": Exercise(
        task="the mask (rows * cols,) of one `block` (top, left, height, width) on a `grid` (rows, cols), "
        "boolean, True inside the block, patches in row order",
        reference=_block,
        make_inputs=_place,
        hint="Fill a matrix of False (rows, cols) and flatten it at the end.",
        mistakes={
            "the polarity is turned round: True should mean masked": lambda block, grid: ~_block(block, grid),
            "the patches stand in column order": lambda block, grid: (
                _block(block, grid).view(grid).T.flatten()
            ),
        },
    ),
    "asked": Exercise(
        task="how many of `n_patches` patches each of m masked crops is asked to hide: `ratio` (low, high) "
        "is cut into m equal parts, and crop i draws from part i by `uniforms` (m,), rounded down",
        reference=_asked,
        make_inputs=_uniforms,
        hint="torch.linspace(low, high, m + 1) gives the edges of the parts.",
        mistakes={"every crop draws from the whole range": _asked_anywhere},
    ),
    "embed": Exercise(
        task="what enters the first block: `patches` (b, n, d), with `mask_token` (d,) in place of those "
        "where `masks` (b, n) is True, and `positions` (n, d) added to all of them",
        reference=_embed,
        make_inputs=_tokens,
        hint="torch.where(masks[..., None], ..., ...) chooses; think about what comes first.",
        mistakes={
            "the mask token took the place of patch and position": _embed_without_place,
            "the patches that should be seen were masked": lambda patches, masks, *rest: _embed(
                patches, ~masks, *rest
            ),
        },
    ),
}
