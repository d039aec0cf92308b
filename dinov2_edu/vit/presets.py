"""Backbones of the released sizes, and the book's own."""

from dataclasses import replace
from typing import Any

from dinov2_edu.vit.backbone import VisionTransformer
from dinov2_edu.vit.config import ViTConfig

BOOK_VIT = ViTConfig(
    img_size=32,
    patch_size=4,
    width=128,
    depth=6,
    heads=4,
    layer_scale=None,
    init_std=0.05,
    init="mimetic",
    interpolate_offset=0.0,
    interpolate_antialias=True,
)
"""The book's own backbone for 32-pixel images, small enough to be trained on two CPU cores: 1.2 M parameters."""


RELEASED = {
    "vits14": ViTConfig(img_size=518, width=384, depth=12, heads=6),
    "vitb14": ViTConfig(img_size=518, width=768, depth=12, heads=12),
    "vitl14": ViTConfig(img_size=518, width=1024, depth=24, heads=16),
    "vitg14": ViTConfig(img_size=518, width=1536, depth=40, heads=24, ffn="swiglu"),
}
"""The released backbones without registers, by the names of their files."""


def with_changes(default: ViTConfig, **changes: Any) -> ViTConfig:
    """Change sizes; with registers, positions are interpolated as the official register models do."""
    if changes.get("n_registers", default.n_registers):
        default = replace(default, interpolate_offset=0.0, interpolate_antialias=True)
    return replace(default, **changes)


def vit_tiny(**changes: Any) -> VisionTransformer:
    """A small one for 32-pixel images: width 192, 12 blocks, 3 heads, patch 4; 5.4 M parameters.

    Keyword arguments change fields of `ViTConfig`.
    """
    default = ViTConfig(img_size=32, patch_size=4, width=192, depth=12, heads=3)
    return VisionTransformer(with_changes(default, **changes))


def vit_small(**changes: Any) -> VisionTransformer:
    """ViT-S/14 as released: width 384, 12 blocks, 6 heads; 22.1 M parameters, 12.25 GFLOP an image at 224.

    Keyword arguments change fields of `ViTConfig`.
    """
    return VisionTransformer(with_changes(RELEASED["vits14"], **changes))


def vit_base(**changes: Any) -> VisionTransformer:
    """ViT-B/14 as released: width 768, 12 blocks, 12 heads. Keyword arguments change fields of `ViTConfig`."""
    return VisionTransformer(with_changes(RELEASED["vitb14"], **changes))


def vit_large(**changes: Any) -> VisionTransformer:
    """ViT-L/14 as released: width 1024, 24 blocks, 16 heads. Keyword arguments change fields of `ViTConfig`."""
    return VisionTransformer(with_changes(RELEASED["vitl14"], **changes))


def vit_giant2(**changes: Any) -> VisionTransformer:
    """ViT-g/14 as released: width 1536, 40 blocks, 24 heads, SwiGLU. Keyword arguments change fields of `ViTConfig`."""
    return VisionTransformer(with_changes(RELEASED["vitg14"], **changes))
