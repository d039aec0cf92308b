"""Initial weights that look like trained ones: a head start for small data and short runs.

In trained ViTs the product of query and key matrices has a visible positive diagonal (a token looks at tokens like
itself), and the product of value and output matrices a negative one. Mimetic initialisation begins there, with
sinusoidal positions, so that neighbours are alike from the first step on.

Source: Trockman and Kolter, Mimetic Initialization of Self-Attention Layers, ICML 2023. DINOv2 does not use it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dinov2_edu.checks import check_at_least, checked, require

QUERY_KEY = (0.7, 0.7)
"""Weights of noise and identity in the product of queries and keys."""
VALUE_OUTPUT = (0.4, -0.4)
"""The same for values and output."""
POSITION_SCALE = 0.5


@checked
def sinusoidal_positions(side: int, width: int) -> Float[Tensor, "n d"]:
    """Sines and cosines of row and column at `width / 4` frequencies each, less their mean, for a square grid.

    Args:
        side: rows, and columns, of patches.
        width: numbers a token holds; a multiple of 4.

    Raises:
        ValueError: another width, or no row.
    """
    check_at_least(1, side=side, width=width)
    require(width % 4 == 0, f"sinusoidal positions need a width that is a multiple of 4, got {width}")
    frequencies = 100.0 ** -torch.linspace(0, 1, width // 4 + 1)[:-1]  # waves of 6 to 600 patches
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [places.reshape(-1, 1) * frequencies for places in (columns, rows)]
    waves = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    return waves - waves.mean(dim=0)


def _halves(width: int, noise: float, identity: float) -> tuple[Tensor, Tensor]:
    """Two matrices whose product is `noise` times a random matrix plus `identity` times the unit matrix."""
    wanted = noise * torch.randn(width, width) / width**0.5 + identity * torch.eye(width)
    left, scale, right = torch.linalg.svd(wanted)
    return left * scale.sqrt(), scale.sqrt()[:, None] * right


@torch.no_grad()
def mimetic_attention_(qkv: nn.Linear, proj: nn.Linear, heads: int) -> None:
    """Fill the weights of one self-attention layer; torch's global generator draws the noise.

    A head has too few dimensions for a whole product, and takes the ones with the largest singular values.

    Args:
        qkv: queries, keys and values of all heads, as one layer `d` to `3 d`.
        proj: the layer after the heads, `d` to `d`.
        heads: must divide `d`.
    """
    width = proj.in_features
    size = width // heads
    queries, keys, values = qkv.weight.chunk(3)
    for query, key in zip(queries.split(size), keys.split(size), strict=True):
        left, right = _halves(width, *QUERY_KEY)
        query.copy_(left[:, :size].T)
        key.copy_(right[:size])
    left, right = _halves(width, *VALUE_OUTPUT)
    values.copy_(right)
    proj.weight.copy_(left)


@torch.no_grad()
def mimetic_positions_(pos_embed: nn.Parameter) -> None:
    """Fill a position embedding `(1, 1 + side ** 2, d)` with `POSITION_SCALE` times sines; the class token's stays."""
    count, width = pos_embed.shape[1] - 1, pos_embed.shape[2]
    pos_embed[0, 1:] = POSITION_SCALE * sinusoidal_positions(round(count**0.5), width).to(pos_embed)
