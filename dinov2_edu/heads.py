"""The projection head: from a token of the backbone to one score for every prototype.

DINO puts it on class tokens, iBOT on patch tokens. Features are taken before it, and Meta released none.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dinov2_edu.checks import check_at_least, checked, describe, require
from dinov2_edu.shapes import Logits


class Prototypes(nn.Module):
    """Compare a unit vector with every prototype, a learned direction each.

    The weight of prototype k is `weight_g[k] * weight_v[k] / |weight_v[k]|` (weight normalisation):
    `weight_v` is its direction and `weight_g`, which starts at 1, its length. While the length is 1, a logit
    is the cosine between token and prototype.

    Source: Salimans and Kingma 2016 (weight normalisation). `weight_g` is trained, as in official
    dinov2/layers/dino_head.py @ b8931f7; in DINO v1 keeping it at 1 was an option, off for its ViT-S.
    """

    @checked
    def __init__(self, bottleneck_dim: int, n_prototypes: int):
        super().__init__()
        check_at_least(1, bottleneck_dim=bottleneck_dim, n_prototypes=n_prototypes)
        self.weight_g = nn.Parameter(torch.ones(n_prototypes, 1))
        bound = bottleneck_dim**-0.5
        self.weight_v = nn.Parameter(torch.empty(n_prototypes, bottleneck_dim).uniform_(-bound, bound))

    @checked
    def forward(self, units: Float[Tensor, "*batch e"]) -> Logits:
        """Return one logit a prototype for tokens `units` that were brought to length 1."""
        return F.linear(units, self.weight_g * F.normalize(self.weight_v, dim=-1))


class ProjectionHead(nn.Module):
    """Turn tokens into prototype logits: an MLP, a narrow bottleneck of length 1, and the prototypes.

    Args:
        in_dim: width of the backbone's tokens.
        n_prototypes: number of prototypes, the length of the output.
        hidden_dim: width of the MLP's hidden layers.
        bottleneck_dim: width of the bottleneck (256 in the default config, 384 in the published recipe).
        n_layers: linear layers of the MLP, the one into the bottleneck included; GELU stands between them.

    Raises:
        ValueError: a size below 1.

    Source: DINO (Caron et al. 2021), appendix C; official dinov2/layers/dino_head.py @ b8931f7, whose
    state-dict names (`mlp.0`, `mlp.2`, `mlp.4`, `last_layer.weight_g`, `last_layer.weight_v`) are kept.
    """

    @checked
    def __init__(
        self,
        in_dim: int,
        n_prototypes: int,
        *,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
        n_layers: int = 3,
    ):
        super().__init__()
        check_at_least(1, in_dim=in_dim, n_prototypes=n_prototypes, n_layers=n_layers)
        check_at_least(1, hidden_dim=hidden_dim, bottleneck_dim=bottleneck_dim)
        widths = [in_dim] + [hidden_dim] * (n_layers - 1) + [bottleneck_dim]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            linear = nn.Linear(width_in, width_out)
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.GELU()]
        self.in_dim = in_dim
        self.mlp = nn.Sequential(*layers[:-1])  # no GELU after the bottleneck
        self.last_layer = Prototypes(bottleneck_dim, n_prototypes)

    @checked
    def bottleneck(self, tokens: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch e"]:
        """Return the tokens' positions on the unit sphere of the bottleneck.

        Raises:
            ValueError: the last axis of `tokens` is not `in_dim` long.
        """
        good = tokens.shape[-1] == self.in_dim
        require(good, f"tokens: wanted a tensor of shape (..., {self.in_dim}), got {describe(tokens)}")
        projected = self.mlp(tokens)
        eps = 1e-6 if projected.dtype == torch.float16 else 1e-12  # 1e-12 would be 0 in half precision
        return F.normalize(projected, dim=-1, eps=eps)

    @checked
    def forward(self, tokens: Float[Tensor, "*batch d"]) -> Logits:
        """Return one logit a prototype for every token; any leading axes, also none or an empty one.

        Raises:
            ValueError: the last axis of `tokens` is not `in_dim` long.
        """
        return self.last_layer(self.bottleneck(tokens))
