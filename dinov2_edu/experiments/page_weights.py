"""The random backbone that a page draws for itself, made here, so that what it says can be computed beforehand.

Twin: `Model.random` in `widgets/live/model.js` with `initialise` and `uniforms`; a test holds both to the same tokens.
"""

from dataclasses import replace

import numpy as np
import torch

from dinov2_edu.checks import checked
from dinov2_edu.vit import VisionTransformer, ViTConfig


class _Stream:
    """Uniform and normal numbers, one after the other (mulberry32; Box and Muller)."""

    def __init__(self, seed: int) -> None:
        self.seed, self.used = seed, 0

    def uniform(self, n: int) -> np.ndarray:
        """The next n in [0, 1)."""
        counts = np.arange(self.used + 1, self.used + n + 1, dtype=np.uint64)
        self.used += n
        state = (self.seed + counts * 0x6D2B79F5).astype(np.uint32)
        bits = (state ^ state >> 15) * (state | 1)
        bits ^= bits + (bits ^ bits >> 7) * (bits | 61)
        return (bits ^ bits >> 14) / 2**32

    def normal(self, n: int) -> np.ndarray:
        """The next n; each takes two uniform ones."""
        first, second = self.uniform(2 * n).reshape(n, 2).T
        return np.sqrt(-2 * np.log(1 - first)) * np.cos(2 * np.pi * second)

    def cut(self, n: int) -> np.ndarray:
        """The next n normal ones that lie within two standard deviations."""
        start, tries = self.used, n + n // 10 + 100  # one in 22 is refused
        drawn = self.normal(tries)
        kept = np.flatnonzero(np.abs(drawn) <= 2)[:n]
        self.used = start + 2 * (int(kept[-1]) + 1)
        return drawn[kept]


@checked
def page_random_backbone(config: ViTConfig) -> VisionTransformer:
    """A ViT of these sizes with the random weights that a page draws, in official initialisation."""
    model = VisionTransformer(replace(config, init="official"))
    stream, fan_in = _Stream(1), config.in_channels * config.patch_size**2
    for name, weight in model.state_dict().items():
        n = weight.numel()
        if "patch_embed" in name:
            values = fan_in**-0.5 * (2 * stream.uniform(n) - 1)
        elif name.endswith("gamma"):
            values = np.full(n, config.layer_scale)
        elif "norm" in name and name.endswith("weight"):
            values = np.ones(n)
        elif name.endswith("pos_embed"):
            values = 0.02 * stream.cut(n)
        elif name.endswith(("cls_token", "register_tokens")):
            values = 1e-6 * stream.normal(n)
        elif name.endswith(("bias", "mask_token")):
            values = np.zeros(n)
        else:
            values = config.init_std * stream.cut(n)
        weight.copy_(torch.from_numpy(values).reshape(weight.shape))
    return model.eval().requires_grad_(False)
