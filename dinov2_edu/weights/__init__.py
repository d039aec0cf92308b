"""Backbones with weights: the official DINOv2 models, the book's own checkpoint, and random ones.

An official file is downloaded once into torch hub's cache, held to its SHA-256, and loaded without running
code from it. Where the weights wanted cannot be had, `available_backbone` says in words which model stands
in.
"""

from dinov2_edu.weights.backbones import (
    LoadedBackbone,
    available_backbone,
    load_backbone,
    load_state,
)
from dinov2_edu.weights.book import (
    ASSETS,
    read_book_card,
    read_book_checkpoint,
    read_book_heads,
    save_book_checkpoint,
)
from dinov2_edu.weights.errors import WeightsRefused, WeightsUnavailable
from dinov2_edu.weights.foreign import (
    save_official,
    save_onnx,
    save_timm,
    save_transformers,
    timm_arguments,
    transformers_config,
)
from dinov2_edu.weights.formats import to_timm, to_transformers
from dinov2_edu.weights.official import WEIGHTS, WeightsEntry, fetch_official

__all__ = [
    "ASSETS",
    "WEIGHTS",
    "LoadedBackbone",
    "WeightsEntry",
    "WeightsRefused",
    "WeightsUnavailable",
    "available_backbone",
    "fetch_official",
    "load_backbone",
    "load_state",
    "read_book_card",
    "read_book_checkpoint",
    "read_book_heads",
    "save_book_checkpoint",
    "save_official",
    "save_onnx",
    "save_timm",
    "save_transformers",
    "timm_arguments",
    "to_timm",
    "to_transformers",
    "transformers_config",
]
