"""Frozen features: extracted once and cached, and pictures of what the tokens hold."""

from dinov2_edu.features.cache import CacheError
from dinov2_edu.features.extract import ExtractOptions, Features, extract_features
from dinov2_edu.features.maps import PcaColours, attention_over_patches, pca_colours, top_share_mask
from dinov2_edu.features.patches import patch_tokens, pixel_patches, see_patches
from dinov2_edu.features.preprocessing import (
    BLOG_POST,
    CIFAR_MEAN,
    CIFAR_STD,
    OFFICIAL_EVAL,
    WHOLE_PICTURE,
    Preprocessing,
)
from dinov2_edu.features.table import save_table, table_path

__all__ = [
    "BLOG_POST",
    "CIFAR_MEAN",
    "CIFAR_STD",
    "OFFICIAL_EVAL",
    "WHOLE_PICTURE",
    "CacheError",
    "ExtractOptions",
    "Features",
    "PcaColours",
    "Preprocessing",
    "attention_over_patches",
    "extract_features",
    "patch_tokens",
    "pca_colours",
    "pixel_patches",
    "save_table",
    "see_patches",
    "table_path",
    "top_share_mask",
]
