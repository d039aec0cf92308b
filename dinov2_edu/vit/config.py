"""The sizes of a Vision Transformer."""

from dataclasses import dataclass

from dinov2_edu.checks import check_above_zero, check_at_least, check_one_of, checked, require


@checked
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
        init: "official", or "mimetic": attention and positions that start out like trained ones, for runs too
            short to find them (see `dinov2_edu.vit.mimetic`).
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
    init: str = "official"
    interpolate_offset: float = 0.1
    interpolate_antialias: bool = False

    def __post_init__(self) -> None:
        for name in ("img_size", "patch_size", "in_channels", "width", "depth", "heads"):
            check_at_least(1, **{name: getattr(self, name)})
        check_at_least(0, n_registers=self.n_registers, interpolate_offset=self.interpolate_offset)
        check_above_zero(mlp_ratio=self.mlp_ratio, init_std=self.init_std)
        check_one_of(("mlp", "swiglu"), ffn=self.ffn)
        check_one_of(("official", "mimetic"), init=self.init)
        require(
            self.img_size % self.patch_size == 0,
            f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}",
        )
        require(self.width % self.heads == 0, f"width {self.width} is not a multiple of heads {self.heads}")
        require(0 <= self.drop_path < 1, f"drop_path must lie in [0, 1), got {self.drop_path}")
        require(
            self.init == "official" or self.width % 4 == 0,
            f"mimetic positions need a width that is a multiple of 4, got {self.width}",
        )
