"""Patch tokens of many pictures: at chosen blocks side by side, of whole pictures or of windows; and raw pixels."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, unfold

from dinov2_edu.checks import check_at_least, checked, require
from dinov2_edu.crops import normalize, resize
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ByteImages,
    Images,
    PatchTokens,
    check_images,
)
from dinov2_edu.vit import VisionTransformer

_TOKENS_AT_ONCE = 4096
_PIXELS = 4  # side of a patch of raw pixels


@checked
@torch_defaults()
@torch.no_grad()
def patch_tokens(
    model: VisionTransformer, images: Images, *, layers: Sequence[int] = (-1,), window: int | None = None
) -> PatchTokens:
    """Patch tokens after each of some blocks, side by side: `b n (layers d)`, after the final LayerNorm.

    With a window the network never sees a whole picture: it sees squares of `window` pixels, half a window apart, and
    a patch gets the mean of its tokens in all squares that hold it.

    Args:
        model: the backbone, on any device; the tokens come back on the CPU.
        images: normalised.
        layers: blocks, from 0; negative ones count from the end. The paper's stronger linear evaluation takes the
            last four.
        window: side of the squares in pixels, an even number of patches; None shows pictures whole.

    Raises:
        ValueError: images that patches do not tile, a layer that is not there, or a window that does not fit.

    Source: paper, section 7.4 (concatenated layers); official `get_intermediate_layers` @ b8931f7.
    """
    patch = model.config.patch_size
    check_images(images, channels=model.config.in_channels, multiple_of=patch)
    require(len(layers) > 0, "layers is empty: wanted at least one block, such as (-1,)")
    device = model.pos_embed.device
    if window is not None:
        return _in_windows(model, images, layers, window)
    at_once = max(1, _TOKENS_AT_ONCE // (images.shape[-2] * images.shape[-1] // patch**2))
    parts = []
    for some in images.split(at_once):
        after = model.intermediate_layers(some.to(device), list(layers))
        parts.append(torch.cat([one.patches for one in after], dim=-1).float().cpu())
    return torch.cat(parts)


def _in_windows(model: VisionTransformer, images: Tensor, layers: Sequence[int], window: int) -> Tensor:
    """Tokens averaged over overlapping squares."""
    patch = model.config.patch_size
    rows, cols = (side // patch for side in images.shape[-2:])
    few, rest = divmod(window, patch)
    fits = rest == 0 and few % 2 == 0 and 2 <= few <= min(rows, cols)
    step = max(few // 2, 1)
    tiles = fits and (rows - few) % step == 0 and (cols - few) % step == 0
    require(
        tiles,
        f"window must be an even number of patches of {patch} pixels whose halves tile {rows} x {cols} patches, "
        f"got {window} pixels",
    )
    total: Tensor | float = 0.0
    count = torch.zeros(rows, cols, 1)
    for top in range(0, rows - few + 1, step):
        for left in range(0, cols - few + 1, step):
            square = images[:, :, patch * top :, patch * left :][:, :, :window, :window]
            seen = patch_tokens(model, square, layers=layers).unflatten(1, (few, few))
            if isinstance(total, float):
                total = torch.zeros(len(images), rows, cols, seen.shape[-1])
            total[:, top : top + few, left : left + few] += seen
            count[top : top + few, left : left + few] += 1
    assert isinstance(total, Tensor)
    return (total / count).flatten(1, 2)


@checked
@torch_defaults()
def pixel_patches(images: Images, patch: int, *, mean: bool = False) -> Float[Tensor, "b n d"]:
    """What raw pixels know about each patch: all of its numbers, or its mean colour alone.

    Args:
        images: normalised, or in 0 to 1.
        patch: side in pixels; it must tile the images.
        mean: whether to take the mean of each channel (d = 3) instead of all numbers (d = 3 patch patch).

    Raises:
        ValueError: patches that do not tile the images.
    """
    check_at_least(1, patch=patch)
    check_images(images, multiple_of=patch)
    if mean:
        return avg_pool2d(images, patch).flatten(2).transpose(1, 2)
    return unfold(images, patch, stride=patch).transpose(1, 2)


@checked
@torch_defaults()
def see_patches(
    images: ByteImages, grid: tuple[int, int], networks: Mapping[str, VisionTransformer], *, window: int = 4
) -> dict[str, PatchTokens]:
    """Patches of pictures in every way that a table compares: as raw pixels, and as networks see them.

    Each network gets the pictures in the size at which its patches make the grid: for one grid, a network with patches
    of 14 pixels sees more of them than one with patches of 4. Raw pixels are patches of 4.

    Args:
        images: bytes.
        grid: rows and columns of patches.
        networks: name to backbone.
        window: side of the windows of `patch_tokens`, in patches.

    Returns:
        "raw pixels", and of each network its name (whole pictures) and "name, windows".

    Raises:
        ValueError: a grid or a window that does not fit.
    """
    rows, cols = grid
    check_at_least(1, rows=rows, cols=cols)

    def ready(patch: int) -> Tensor:
        return normalize(resize(images, (rows * patch, cols * patch)), IMAGENET_MEAN, IMAGENET_STD)

    seen: dict[str, Tensor] = {"raw pixels": pixel_patches(ready(_PIXELS), _PIXELS)}
    for name, model in networks.items():
        patch = model.config.patch_size
        seen[name] = patch_tokens(model, ready(patch))
        seen[f"{name}, windows"] = patch_tokens(model, ready(patch), window=window * patch)
    return seen
