"""Student and teacher have one shape: a backbone with a head for class tokens and one for patches."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dinov2_edu.checks import checked
from dinov2_edu.heads import ProjectionHead
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.vit import VisionTransformer

GlobalCrops = Float[Tensor, "g c big big"]
LocalCrops = Float[Tensor, "l c small small"]
CropMasks = Bool[Tensor, "g n"]


class Outputs(NamedTuple):
    """What one network says about a batch of crops (all first crops, then all second, and so on)."""

    cls_tokens: Float[Tensor, "g d"]
    """Backbone class tokens of the global crops, before the head."""
    global_cls_logits: Float[Tensor, "g k"]
    local_cls_logits: Float[Tensor, "l k"] | None
    patch_logits: Float[Tensor, "m k"] | None
    """One row for each masked patch, in the order of the mask."""

    def float(self) -> "Outputs":
        """The same in float32, whatever autocast made of it."""
        return self._replace(**{name: one.float() for name, one in self._asdict().items() if one is not None})


class Network(nn.Module):
    """A backbone with its projection heads; the parameter names are the official ones.

    Source: `SSLMetaArch` in official `dinov2/train/ssl_meta_arch.py` @ b8931f7.
    """

    @checked
    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.backbone = VisionTransformer(config.vit)
        self.dino_head = self._head(config, config.head_bottleneck)
        bottleneck = config.ibot_bottleneck or config.head_bottleneck
        self.ibot_head = self._head(config, bottleneck) if config.separate_heads else None

    @staticmethod
    def _head(config: TrainConfig, bottleneck: int) -> ProjectionHead:
        return ProjectionHead(
            config.vit.width,
            config.n_prototypes,
            hidden_dim=config.head_hidden,
            bottleneck_dim=bottleneck,
        )

    @checked
    def forward(
        self,
        global_crops: GlobalCrops,
        local_crops: LocalCrops | None = None,
        *,
        masks: CropMasks | None = None,
        patch_indices: Int[Tensor, " m"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Outputs:
        """Run all crops of a size in one call, and the heads on the tokens that a loss reads, no others.

        Args:
            global_crops: normalised crops.
            local_crops: the student's local crops.
            masks: patches of the global crops behind the mask token (the student's); True = masked.
            patch_indices: flat indices into `(crops, patches)` of the patches whose logits are wanted.
            generator: for stochastic depth.
        """
        global_cls, patches = self.backbone.tokens_at(global_crops, patch_indices, masks, generator=generator)
        cls_tokens = global_cls
        if local_crops is not None:
            local_cls, _ = self.backbone.tokens_at(local_crops, generator=generator)
            cls_tokens = torch.cat([global_cls, local_cls])
        if patch_indices is None:
            cls_logits, patch_logits = self.dino_head(cls_tokens), None
        elif self.ibot_head is not None:
            cls_logits, patch_logits = self.dino_head(cls_tokens), self.ibot_head(patches)
        else:
            both = self.dino_head(torch.cat([cls_tokens, patches]))
            cls_logits, patch_logits = both[: len(cls_tokens)], both[len(cls_tokens) :]
        n_global = len(global_crops)
        local = cls_logits[n_global:] if local_crops is not None else None
        return Outputs(global_cls, cls_logits[:n_global], local, patch_logits)
