"""The Vision Transformer: images in, tokens out.

Source: official `dinov2/models/vision_transformer.py` @ b8931f7.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dinov2_edu.checks import checked, describe, require
from dinov2_edu.shapes import (
    AttentionMaps,
    ClassTokens,
    Images,
    PatchMask,
    PatchTokens,
    can_look,
    check_images,
    in_graph,
)
from dinov2_edu.vit.block import Block, PatchEmbed
from dinov2_edu.vit.config import ViTConfig
from dinov2_edu.vit.mimetic import mimetic_attention_, mimetic_positions_


class Tokens(NamedTuple):
    """What the backbone says about a batch of images: its tokens by kind."""

    cls: ClassTokens
    registers: Float[Tensor, "b r d"]
    patches: PatchTokens


class VisionTransformer(nn.Module):
    """A Vision Transformer that takes images of any size that its patches tile.

    Differences from the official class: one `forward` that returns `Tokens`; crops of several sizes are given
    as a list and run one size after the other, where the official code packs them into one sequence with xFormers
    (measured on CPU: packing brings nothing).

    Attributes:
        name: what captions call these weights; `load_backbone` sets it.
    """

    name = "a backbone"

    @checked
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
        self.blocks: Any = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        if (
            not self.pos_embed.is_meta
        ):  # there is nothing to fill; and after torch.export was imported it would fail
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
        if self.config.init == "mimetic":
            mimetic_positions_(self.pos_embed)
            for block in self.blocks:
                mimetic_attention_(block.attn.qkv, block.attn.proj, self.config.heads)

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
        offset, antialias = self.config.interpolate_offset, self.config.interpolate_antialias
        if offset and in_graph() and not antialias:
            resized = _sampled(square, (rows, cols), offset)
        else:
            # The factor, not the size, decides where samples fall: 0.1 more than the grid shifts each a little.
            factors = ((rows + offset) / side, (cols + offset) / side)
            target = {"scale_factor": factors} if offset else {"size": (rows, cols)}
            resized = F.interpolate(square, mode="bicubic", antialias=antialias, **target)
        patches = resized.flatten(2).transpose(1, 2)  # 1 n d
        return torch.cat([learnt[:, :1], patches], dim=1).to(self.pos_embed.dtype)

    @checked
    def embed(self, images: Images, masks: PatchMask | None = None) -> Float[Tensor, "b t d"]:
        """The tokens that enter the first block: class token, registers, patches.

        A masked patch's embedding is replaced by the mask token *before* its position is added, so the
        network knows where it is and not what it shows.
        """
        check_images(images, channels=self.config.in_channels, multiple_of=self.config.patch_size)
        rows, cols = self.grid(*images.shape[-2:])
        patches = self.patch_embed(images.to(self.pos_embed.dtype))
        if masks is not None:
            wanted = f"masks: wanted a bool tensor of shape ({len(images)}, {rows * cols}), True = masked"
            require(masks.shape[1] == rows * cols, f"{wanted}, got {describe(masks)}")
            patches = torch.where(masks[..., None], self.mask_token.to(patches.dtype), patches)
        positions = self.positions(rows, cols)
        cls = (self.cls_token + positions[:, :1]).expand(images.shape[0], -1, -1)
        registers = [self.register_tokens.expand(images.shape[0], -1, -1)] if self.config.n_registers else []
        return torch.cat([cls, *registers, patches + positions[:, 1:]], dim=1)

    @checked
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
            tokens = self.embed(images, cast(Tensor | None, masks))
            for block in self.blocks:
                tokens = block(tokens, generator)
            return self._split(self.norm(tokens))
        masks = [None] * len(images) if masks is None else masks
        require(len(masks) == len(images), f"got {len(images)} batches of images and {len(masks)} of masks")
        return [self(batch, mask, generator=generator) for batch, mask in zip(images, masks, strict=True)]

    @checked
    def tokens_at(
        self,
        images: Images,
        patch_indices: Int[Tensor, " m"] | None = None,
        masks: PatchMask | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[ClassTokens, Float[Tensor, "m d"]]:
        """Class tokens and some patch tokens of `forward`, without the last feed-forward of all the others.

        A training step reads class tokens and masked patches alone: that saves a tenth of the backbone's work.

        Args:
            images: normalised images.
            patch_indices: flat indices into `(images, patches)` of the patches wanted; None for none.
            masks: as in `forward`.
            generator: as in `forward`.
        """
        *blocks, last = self.blocks
        tokens = self.embed(images, masks)
        for block in blocks:
            tokens = block(tokens, generator)
        b, t, _ = tokens.shape
        wanted = first = torch.arange(b, device=tokens.device) * t  # where each image's class token stands
        if patch_indices is not None:
            prefix = self.n_prefix_tokens
            _check_indices(patch_indices, b * (t - prefix))
            image, patch = patch_indices // (t - prefix), patch_indices % (t - prefix)
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

    @checked
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

    @checked
    def attention_maps(self, images: Images, layer: int = -1) -> AttentionMaps:
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


def _check_indices(patch_indices: Tensor, n_patches: int) -> None:
    """Refuse indices of patches that are not there (looked at on the CPU only)."""
    if patch_indices.numel() and can_look(patch_indices):
        low, high = int(patch_indices.min()), int(patch_indices.max())
        good = 0 <= low and high < n_patches
        require(good, f"patch_indices must lie in 0 to {n_patches - 1}, got {low} to {high}")


def _sampled(square: Float[Tensor, "1 d side side"], grid: tuple[int, int], offset: float) -> Tensor:
    """What `F.interpolate` gives for factors of (grid + offset) / side, as places to sample at.

    In a model that is exported or traced a factor would stay what it was for the first size.
    """
    middles = (torch.arange(length, device=square.device, dtype=square.dtype) + 0.5 for length in grid)
    places = (2 * middle / (length + offset) - 1 for middle, length in zip(middles, grid, strict=True))
    down, across = torch.meshgrid(*places, indexing="ij")  # -1 and 1 are the square's edges
    where = torch.stack([across, down], dim=-1)[None]  # 1 rows cols 2
    return F.grid_sample(square, where, mode="bicubic", padding_mode="border", align_corners=False)
