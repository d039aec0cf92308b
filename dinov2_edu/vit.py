"""The backbone: a Vision Transformer with the parameter names of the official DINOv2 weights.

An image becomes a row of patch tokens, a class token is put in front of it (registers between the two), and a
stack of equal blocks lets every token look at every other.

Source: paper section 4 and appendix; official `dinov2/models/vision_transformer.py` and `dinov2/layers/` @ b8931f7.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dinov2_edu.shapes import Attention as AttentionMap
from dinov2_edu.shapes import (
    ClassTokens,
    Images,
    PatchMask,
    PatchTokens,
    check_float_images,
    check_mask,
    require,
)


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of a Vision Transformer.

    Attributes:
        img_size: side in pixels of the square images that the position embedding is made for; other sizes
            are interpolated.
        patch_size: side of a patch in pixels.
        in_channels: channels of an image.
        width: width `d` of a token.
        depth: number of blocks.
        heads: attention heads; must divide `width`.
        mlp_ratio: hidden width of the feed-forward, in widths.
        ffn: "mlp" (two layers and GELU), or "swiglu" as in ViT-g.
        n_registers: register tokens, without position, between class token and patches.
        layer_scale: initial gain of each residual branch, or None for none.
        drop_path: share of images whose residual branch is skipped, in each block, in training.
        init_std: standard deviation of the initial weights. The official 0.02 suits widths of 384 and more;
            at a width of 96 it all but silences the blocks at first, and 0.06 lets them speak.
        interpolate_offset: added to the grid before the scale factor is computed; 0 interpolates to the
            grid's size instead. Official: 0.1 without registers, 0 with.
        interpolate_antialias: antialias when the position embedding shrinks. Official: only with registers.
    """

    img_size: int = 224
    patch_size: int = 14
    in_channels: int = 3
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    ffn: str = "mlp"
    n_registers: int = 0
    layer_scale: float | None = 1e-5
    drop_path: float = 0.0
    init_std: float = 0.02
    interpolate_offset: float = 0.1
    interpolate_antialias: bool = False

    def __post_init__(self) -> None:
        sizes = ("img_size", "patch_size", "in_channels", "width", "depth", "heads")
        for name in sizes:
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        require(self.n_registers >= 0, f"n_registers must be at least 0, got {self.n_registers}")
        require(
            self.img_size % self.patch_size == 0,
            f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}",
        )
        require(self.width % self.heads == 0, f"width {self.width} is not a multiple of heads {self.heads}")
        require(self.ffn in ("mlp", "swiglu"), f'ffn must be "mlp" or "swiglu", got {self.ffn!r}')
        require(0 <= self.drop_path < 1, f"drop_path must lie in [0, 1), got {self.drop_path}")
        require(self.init_std > 0, f"init_std must be above 0, got {self.init_std}")


class Tokens(NamedTuple):
    """What the backbone says about a batch of images: its tokens by kind."""

    cls: ClassTokens
    registers: Float[Tensor, "b r d"]
    patches: PatchTokens


class PatchEmbed(nn.Module):
    """Cut images into patches and project each to a token: a convolution whose stride is its kernel."""

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

    def weights(self, query: Tensor, key: Tensor) -> AttentionMap:
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

    def __init__(self, width: int, hidden: int) -> None:
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

    def __init__(self, width: int, hidden: int) -> None:
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
        scaled = config.layer_scale is not None
        self.drop_path = config.drop_path
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = Attention(config.width, config.heads)
        self.ls1 = LayerScale(config.width, config.layer_scale) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = (SwiGLU if config.ffn == "swiglu" else Mlp)(config.width, hidden)
        self.ls2 = LayerScale(config.width, config.layer_scale) if scaled else nn.Identity()

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
        read: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "b t d"] | Float[Tensor, "m d"]:
        """All tokens after the block, or those at the flat positions `read` of `(b, t)` alone."""
        if self.training and self.drop_path > 0:
            tokens = add_for_some(tokens, self.attend, self.drop_path, generator)
            tokens = add_for_some(tokens, self.feed, self.drop_path, generator)
            return tokens if read is None else tokens.flatten(0, 1)[read]
        tokens = add_scaled(tokens, self.attn(self.norm1(tokens)), self.ls1)
        if read is not None:
            tokens = tokens.flatten(0, 1)[read]  # m d: the feed-forward takes each token by itself
        return add_scaled(tokens, self.mlp(self.norm2(tokens)), self.ls2)


def add_scaled(tokens: Tensor, branch: Tensor, scale: nn.Module) -> Tensor:
    """`tokens + scale(branch)`; LayerScale's multiplication and the sum in one pass over memory."""
    if isinstance(scale, LayerScale):
        return torch.addcmul(tokens, branch, scale.gamma)
    return tokens + scale(branch)


def add_for_some(tokens: Tensor, branch, drop: float, generator: torch.Generator | None) -> Tensor:
    """Add a residual branch for a random share of the images only, and compute it for those alone.

    The branch is scaled by images / images kept, so that its expectation does not change: stochastic depth that
    saves the work it drops. At least one image is kept.

    Source: paper section 5 "Efficient stochastic depth"; `drop_add_residual_stochastic_depth` in official
    `dinov2/layers/block.py` @ b8931f7. The official code takes this path only above a rate of 0.1; ours always.
    """
    b = tokens.shape[0]
    kept = max(int(b * (1 - drop)), 1)
    device = generator.device if generator is not None else tokens.device
    chosen = torch.randperm(b, generator=generator, device=device)[:kept].to(tokens.device)
    update = branch(tokens[chosen])
    return tokens.index_add(0, chosen, update.to(tokens.dtype), alpha=b / kept)


class VisionTransformer(nn.Module):
    """A Vision Transformer that takes images of any size that its patches tile.

    Differences from the official class: one `forward` that returns `Tokens`; crops of several sizes are given
    as a list and run one size after the other, where the official code packs them into one sequence with xFormers
    (measured on CPU: packing brings nothing).
    """

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        side = config.img_size // config.patch_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + side**2, config.width))
        self.mask_token = nn.Parameter(torch.zeros(1, config.width))
        if config.n_registers:
            self.register_tokens = nn.Parameter(torch.empty(1, config.n_registers, config.width))
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        if self.config.n_registers:
            nn.init.normal_(self.register_tokens, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=self.config.init_std)
                nn.init.zeros_(module.bias)

    @property
    def n_prefix_tokens(self) -> int:
        """Tokens before the first patch: the class token and the registers."""
        return 1 + self.config.n_registers

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches in an image of `height` by `width` pixels."""
        return height // self.config.patch_size, width // self.config.patch_size

    def positions(self, rows: int, cols: int) -> Float[Tensor, "1 t d"]:
        """The position embedding of class token and patches, interpolated to a grid of rows x cols.

        Source: `interpolate_pos_encoding` in official `vision_transformer.py` @ b8931f7.
        """
        side = self.config.img_size // self.config.patch_size
        if (rows, cols) == (side, side):
            return self.pos_embed
        learnt = self.pos_embed.float()  # bicubic in single precision whatever the model runs in
        square = learnt[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)  # 1 d side side
        offset = self.config.interpolate_offset
        if offset:
            # The factor, not the size, decides where samples fall: 0.1 more than the grid shifts each a little.
            target = {"scale_factor": ((rows + offset) / side, (cols + offset) / side)}
        else:
            target = {"size": (rows, cols)}
        antialias = self.config.interpolate_antialias
        resized = F.interpolate(square, mode="bicubic", antialias=antialias, **target)
        patches = resized.flatten(2).transpose(1, 2)  # 1 n d
        return torch.cat([learnt[:, :1], patches], dim=1).to(self.pos_embed.dtype)

    def embed(self, images: Images, masks: PatchMask | None = None) -> Float[Tensor, "b t d"]:
        """The tokens that enter the first block: class token, registers, patches.

        A masked patch's embedding is replaced by the mask token *before* its position is added, so the
        network knows where it is and not what it shows.
        """
        check_float_images(images, channels=self.config.in_channels, multiple_of=self.config.patch_size)
        rows, cols = self.grid(*images.shape[-2:])
        patches = self.patch_embed(images.to(self.pos_embed.dtype))
        if masks is not None:
            check_mask(masks, batch=images.shape[0], patches=rows * cols)
            patches = torch.where(masks[..., None], self.mask_token.to(patches.dtype), patches)
        positions = self.positions(rows, cols)
        cls = (self.cls_token + positions[:, :1]).expand(images.shape[0], -1, -1)
        registers = [self.register_tokens.expand(images.shape[0], -1, -1)] if self.config.n_registers else []
        return torch.cat([cls, *registers, patches + positions[:, 1:]], dim=1)

    def forward(
        self,
        images: Images | Sequence[Float[Tensor, "_ c _ _"]],
        masks: PatchMask | Sequence[Bool[Tensor, "_ _"] | None] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tokens | list[Tokens]:
        """Turn images into tokens; a list of batches (crops of several sizes) into a list of `Tokens`.

        Args:
            images: normalised images; sides must be multiples of the patch size.
            masks: True where a patch is hidden behind the mask token; with a list of batches, one for each
                or None.
            generator: draws which images skip a branch, where `drop_path` is above 0 in training.

        Raises:
            ValueError: images or masks of another shape or dtype than wanted.
        """
        if isinstance(images, Tensor):
            tokens = self.embed(images, masks)
            for block in self.blocks:
                tokens = block(tokens, generator)
            return self._split(self.norm(tokens))
        masks = [None] * len(images) if masks is None else masks
        require(len(masks) == len(images), f"got {len(images)} batches of images and {len(masks)} of masks")
        return [self(batch, mask, generator=generator) for batch, mask in zip(images, masks, strict=True)]

    def tokens_at(
        self,
        images: Images,
        read: Int[Tensor, " m"] | None = None,
        masks: PatchMask | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[ClassTokens, Float[Tensor, "m d"]]:
        """Class tokens and some patch tokens of `forward`, without the last feed-forward of all the others.

        A training step reads class tokens and masked patches alone: that saves a tenth of the backbone's work.

        Args:
            images: normalised images.
            read: flat indices into `(images, patches)` of the patches wanted; None for none.
            masks: as in `forward`.
            generator: as in `forward`.
        """
        *blocks, last = self.blocks
        tokens = self.embed(images, masks)
        for block in blocks:
            tokens = block(tokens, generator)
        b, t, _ = tokens.shape
        wanted = first = torch.arange(b, device=tokens.device) * t  # where each image's class token stands
        if read is not None:
            prefix = self.n_prefix_tokens
            image, patch = read // (t - prefix), read % (t - prefix)
            wanted = torch.cat([first, first[image] + prefix + patch])
        found = self.norm(last(tokens, generator, wanted))  # (b + m) d
        return found[:b], found[b:]

    def _split(self, tokens: Float[Tensor, "b t d"]) -> Tokens:
        prefix = self.n_prefix_tokens
        return Tokens(tokens[:, 0], tokens[:, 1:prefix], tokens[:, prefix:])

    def _layer(self, layer: int) -> int:
        depth = len(self.blocks)
        require(
            -depth <= layer < depth,
            f"layer {layer} does not exist: this backbone has blocks 0 to {depth - 1}",
        )
        return layer % depth

    def intermediate_layers(
        self, images: Images, layers: Sequence[int], *, norm: bool = True
    ) -> list[Tokens]:
        """The tokens after the named blocks (negative counts from the end), in the order asked.

        Args:
            images: normalised images.
            layers: block indices from 0.
            norm: apply the final LayerNorm to each, as the official evaluation does.

        Raises:
            ValueError: a layer that does not exist.
        """
        wanted = [self._layer(layer) for layer in layers]
        require(len(wanted) > 0, "layers is empty: name at least one block, such as [-1]")
        tokens = self.embed(images)
        found = {}
        for index, block in enumerate(self.blocks[: max(wanted) + 1]):
            tokens = block(tokens)
            if index in wanted:
                found[index] = self._split(self.norm(tokens) if norm else tokens)
        return [found[index] for index in wanted]

    def attention_maps(self, images: Images, layer: int = -1) -> AttentionMap:
        """Where each token looks in one block: `softmax(q k^T / sqrt(d_head))`, rows summing to 1.

        Token order is class token, registers, patches: drop the first `n_prefix_tokens` before reshaping to a grid.

        Raises:
            ValueError: a layer that does not exist.
        """
        last = self._layer(layer)
        tokens = self.embed(images)
        for block in self.blocks[:last]:
            tokens = block(tokens)
        block = self.blocks[last]
        query, key, _ = block.attn.heads_of(block.norm1(tokens))
        return block.attn.weights(query, key)


def _preset(default: ViTConfig, changes: dict) -> VisionTransformer:
    """Build a backbone; with registers, positions are interpolated as the official register models do."""
    if changes.get("n_registers", default.n_registers):
        default = replace(default, interpolate_offset=0.0, interpolate_antialias=True)
    return VisionTransformer(replace(default, **changes))


def vit_tiny(**changes) -> VisionTransformer:
    """The book's own size for 32-pixel images: width 192, 12 blocks, 3 heads, patch 4; 5.4 M parameters.

    Keyword arguments change fields of `ViTConfig`.
    """
    return _preset(ViTConfig(img_size=32, patch_size=4, width=192, depth=12, heads=3), changes)


def vit_small(**changes) -> VisionTransformer:
    """ViT-S/14 as released: width 384, 12 blocks, 6 heads; 22.1 M parameters, 12.25 GFLOP an image at 224.

    Keyword arguments change fields of `ViTConfig`.
    """
    return _preset(ViTConfig(img_size=518, width=384, depth=12, heads=6), changes)


def vit_base(**changes) -> VisionTransformer:
    """ViT-B/14 as released: width 768, 12 blocks, 12 heads. Keyword arguments change fields of `ViTConfig`."""
    return _preset(ViTConfig(img_size=518, width=768, depth=12, heads=12), changes)


def vit_large(**changes) -> VisionTransformer:
    """ViT-L/14 as released: width 1024, 24 blocks, 16 heads. Keyword arguments change fields of `ViTConfig`."""
    return _preset(ViTConfig(img_size=518, width=1024, depth=24, heads=16), changes)


def vit_giant2(**changes) -> VisionTransformer:
    """ViT-g/14 as released: width 1536, 40 blocks, 24 heads, SwiGLU. Keyword arguments change fields of `ViTConfig`."""
    return _preset(ViTConfig(img_size=518, width=1536, depth=40, heads=24, ffn="swiglu"), changes)
