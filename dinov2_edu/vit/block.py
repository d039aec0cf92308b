"""What a backbone is stacked from: patch embedding, attention, feed-forward, and the block that holds them.

Source: paper section 5; official `dinov2/layers/` @ b8931f7.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dinov2_edu.checks import check_at_least, checked, require
from dinov2_edu.shapes import AttentionMaps, Images, PatchTokens
from dinov2_edu.vit.config import ViTConfig


class PatchEmbed(nn.Module):
    """Cut images into patches and project each to a token: a convolution whose stride is its kernel."""

    @checked
    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(
            config.in_channels, config.width, kernel_size=config.patch_size, stride=config.patch_size
        )

    def forward(self, images: Images) -> PatchTokens:
        return self.proj(images).flatten(2).transpose(1, 2)  # b d rows cols -> b n d


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def heads_of(self, tokens: Float[Tensor, "b t d"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by head, each `b h t d_head`."""
        b, t, d = tokens.shape
        qkv = self.qkv(tokens).reshape(b, t, 3, self.heads, d // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # three of b h t d_head
        return query, key, value

    def weights(self, query: Tensor, key: Tensor) -> AttentionMaps:
        """Where each token looks: `softmax(q k^T / sqrt(d_head))`, each row summing to 1."""
        return (query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)).softmax(dim=-1)

    def forward(self, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        query, key, value = self.heads_of(tokens)
        if query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad:
            # The fused CPU kernel's bfloat16 backward is slow: written out, a training step takes 0.7 of the time.
            mixed = self.weights(query, key) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(tokens.shape))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    @checked
    def __init__(self, width: int, hidden: int) -> None:
        check_at_least(1, width=width, hidden=hidden)
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        return self.fc2(F.gelu(self.fc1(tokens)))


class SwiGLU(nn.Module):
    """The gated feed-forward of ViT-g: one half of the hidden layer, through SiLU, gates the other.

    The hidden width is 2/3 of `hidden`, rounded up to a multiple of 8, so that the parameters stay as many.

    Source: official `dinov2/layers/swiglu_ffn.py` @ b8931f7.
    """

    @checked
    def __init__(self, width: int, hidden: int) -> None:
        check_at_least(1, width=width, hidden=hidden)
        super().__init__()
        hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, tokens: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        gate, value = self.w12(tokens).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class LayerScale(nn.Module):
    """A learnt gain for each channel of a residual branch, near zero at the start."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), float(initial)))

    def forward(self, tokens: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        return tokens * self.gamma


class Block(nn.Module):
    """Attention, then feed-forward, each normalised before, scaled after, and added to what came in."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        hidden = int(config.width * config.mlp_ratio)
        gamma = config.layer_scale
        self.drop_path = config.drop_path
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config.width, config.heads)
        self.ls1 = nn.Identity() if gamma is None else LayerScale(config.width, gamma)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = (SwiGLU if config.ffn == "swiglu" else Mlp)(config.width, hidden)
        self.ls2 = nn.Identity() if gamma is None else LayerScale(config.width, gamma)

    def attend(self, tokens: Tensor) -> Tensor:
        """The attention branch, `b t d` to `b t d`."""
        return self.ls1(self.attn(self.norm1(tokens)))

    def feed(self, tokens: Tensor) -> Tensor:
        """The feed-forward branch, `b t d` to `b t d`."""
        return self.ls2(self.mlp(self.norm2(tokens)))

    def forward(
        self,
        tokens: Float[Tensor, "b t d"],
        generator: torch.Generator | None = None,
        token_indices: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "b t d"] | Float[Tensor, "m d"]:
        """All tokens after the block, or those at the flat positions `token_indices` of `(b, t)` alone."""
        if self.training and self.drop_path > 0:
            tokens = stochastic_depth(tokens, self.attend, self.drop_path, generator)
            tokens = stochastic_depth(tokens, self.feed, self.drop_path, generator)
            return tokens if token_indices is None else tokens.flatten(0, 1)[token_indices]
        tokens = tokens + self.attend(tokens)
        if token_indices is not None:
            tokens = tokens.flatten(0, 1)[token_indices]  # m d: the feed-forward takes each token by itself
        return tokens + self.feed(tokens)


@checked
def stochastic_depth(
    tokens: Float[Tensor, "b t d"],
    branch: Callable[[Tensor], Tensor],
    drop: float,
    generator: torch.Generator | None,
) -> Float[Tensor, "b t d"]:
    """Add a residual branch for a random share of the images only, and compute it for those alone.

    The branch is scaled by images / images kept, so that its expectation does not change: stochastic depth that
    saves the work it drops. At least one image is kept. Inside `torch.utils.checkpoint` the same images are kept when
    the backward pass computes the branch a second time.

    Raises:
        ValueError: a share outside [0, 1), or a backward pass that cannot know which images were kept.

    Source: paper section 5 "Efficient stochastic depth"; `drop_add_residual_stochastic_depth` in official
    `dinov2/layers/block.py` @ b8931f7. The official code takes this path only above a rate of 0.1; ours always.
    """
    require(0 <= drop < 1, f"drop must lie in [0, 1), got {drop!r}")
    b = tokens.shape[0]
    kept = max(int(b * (1 - drop)), 1)
    device = generator.device if generator is not None else tokens.device
    order = _repeatable(lambda: torch.randperm(b, generator=generator, device=device), generator)
    chosen = order[:kept].to(tokens.device)
    update = branch(tokens[chosen])
    return tokens.index_add(0, chosen, update.to(tokens.dtype), alpha=b / kept)


_DRAWN: dict[tuple[int, int], tuple[torch.Generator, Tensor]] = {}
"""By generator and ticket; the generator is held as well, so that no other gets its id."""

_REMEMBERED = 4096
"""Draws that can be repeated: those of 25 steps of ViT-g."""


def _repeatable(draw: Callable[[], Tensor], generator: torch.Generator | None) -> Tensor:
    """Draw, or repeat the draw where `torch.utils.checkpoint` computes a region again in the backward pass.

    It turns torch's global generator back before it does so, and no other. So each draw from another generator takes
    a ticket from the global one, and a ticket seen before in a backward pass stands for the same draw.
    """
    if generator is None or torch.compiler.is_compiling():
        return draw()
    ticket = id(generator), int(torch.randint(2**62, ()))
    if torch._C._current_graph_task_id() == -1:  # no backward pass is running
        _DRAWN.pop(ticket, None)
        _DRAWN[ticket] = generator, draw()
        if len(_DRAWN) > _REMEMBERED:
            del _DRAWN[next(iter(_DRAWN))]
    require(
        ticket in _DRAWN,
        "a block is computed again in the backward pass, and which images it kept is not known: "
        "leave preserve_rng_state=True in torch.utils.checkpoint",
    )
    return _DRAWN[ticket][1]
