"""The backbone: a Vision Transformer with the parameter names of the official DINOv2 weights.

An image becomes a row of patch tokens, a class token is put in front of it (registers between the two), and a
stack of equal blocks lets every token look at every other. `config` holds the sizes, `block` the layers, `backbone`
the network, `presets` the released sizes.

Source: paper section 4 and appendix; official `dinov2/models/vision_transformer.py` and `dinov2/layers/` @ b8931f7.
"""

from dinov2_edu.vit.backbone import Tokens, VisionTransformer
from dinov2_edu.vit.block import (
    Attention,
    Block,
    LayerScale,
    Mlp,
    PatchEmbed,
    SwiGLU,
    stochastic_depth,
)
from dinov2_edu.vit.config import ViTConfig
from dinov2_edu.vit.fingerprint import fingerprint
from dinov2_edu.vit.presets import BOOK_VIT, vit_base, vit_giant2, vit_large, vit_small, vit_tiny

__all__ = [
    "BOOK_VIT",
    "Attention",
    "Block",
    "LayerScale",
    "Mlp",
    "PatchEmbed",
    "SwiGLU",
    "Tokens",
    "ViTConfig",
    "VisionTransformer",
    "fingerprint",
    "stochastic_depth",
    "vit_base",
    "vit_giant2",
    "vit_large",
    "vit_small",
    "vit_tiny",
]
