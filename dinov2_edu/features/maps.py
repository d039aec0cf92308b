"""What tokens look at and what they hold, as arrays to draw."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dinov2_edu.checks import checked, describe, require
from dinov2_edu.features.principal import principal_directions
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import check_images
from dinov2_edu.vit import VisionTransformer

Maps = Float[np.ndarray, "h rows cols"]


@checked
@torch_defaults()
@torch.no_grad()
def attention_over_patches(model: VisionTransformer, image: Tensor, layer: int = -1) -> Maps:
    """Where the class token looks among the patches, one map a head.

    Class token and registers are dropped from the row, so that a map sums to less than 1: the rest is what
    the head gives to them.

    Args:
        model: the backbone.
        image: one normalised image `c height width`, or a batch of one.
        layer: the block, from 0; negative counts from the end.

    Returns:
        float32 numpy array, heads x rows x columns of the patch grid.

    Raises:
        ValueError: more than one image, or sides that are no multiples of the patch size.
    """
    batch = image[None] if isinstance(image, Tensor) and image.ndim == 3 else image
    check_images(batch, channels=model.config.in_channels, multiple_of=model.config.patch_size)
    require(len(batch) == 1, f"wanted one image, got {describe(image)}: give them one after the other")
    attention = model.attention_maps(batch.to(model.pos_embed.device), layer)[0]  # h t t
    from_class = attention[:, 0, model.n_prefix_tokens :]  # h n
    rows, cols = model.grid(*batch.shape[-2:])
    return from_class.float().unflatten(-1, (rows, cols)).cpu().numpy()


@checked
def top_share_mask(attention: Maps, share: float = 0.6) -> Bool[np.ndarray, "h rows cols"]:
    """Mark the fewest patches that hold at least `share` of a map's attention; True means marked.

    Source: the `threshold` of DINO's `visualize_attention.py`, whose threshold is the same share.

    Args:
        attention: maps as `attention_over_patches` gives them; each is scaled to sum to 1.
        share: above 0, at most 1.

    Raises:
        ValueError: another rank, negative attention, or a share outside its range.
    """
    require(bool((attention >= 0).all()), "attention holds negative numbers: softmax the scores first")
    require(0 < share <= 1, f"share must lie above 0 and at most at 1, got {share!r}")
    flat = attention.reshape(len(attention), -1).astype(np.float64)
    order = np.argsort(-flat, axis=1, kind="stable")
    sorted_mass = np.take_along_axis(flat, order, axis=1)
    before = np.cumsum(sorted_mass, axis=1) - sorted_mass  # what stronger patches hold already
    wanted = share * flat.sum(axis=1, keepdims=True)
    marked = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(marked, order, before < wanted * (1 - 1e-12), axis=1)
    return marked.reshape(attention.shape)


class PcaColours(NamedTuple):
    """PCA of patch tokens as colours.

    Attributes:
        colours: `b n c` in 0 to 1, one channel a component, 0 in the background.
        foreground: `b n`, True where a patch belongs to the foreground.
        first_scores: `b n`, the first pass's first component in standard deviations; `threshold` cuts it.
        explained: share of the foreground's variance that each component explains.
    """

    colours: Float[np.ndarray, "b n c"]
    foreground: Bool[np.ndarray, "b n"]
    first_scores: Float[np.ndarray, "b n"]
    explained: Float[np.ndarray, " c"]


@checked
def pca_colours(
    patch_tokens: Tensor | np.ndarray,
    *,
    n_components: int = 3,
    threshold: float = 0.0,
    foreground_high: bool = True,
) -> PcaColours:
    """Colour patches by what they hold: alike tokens get alike colours, across all images given.

    Two passes, as in the paper's figure: the first component over all patches splits foreground from
    background; a second PCA over the foreground patches alone gives the colours, each component stretched to
    0 to 1.

    A component's sign is arbitrary: the same patches could as well come out with the colour's complement, and
    the foreground as the low side of the first component. Here a component's largest loading is made
    positive, so that the same tokens always give the same picture; look at it, and pass
    `foreground_high=False` where it is inside out.

    Args:
        patch_tokens: `b n d`, patch tokens of several images (one grid size; no class token, no registers).
        n_components: colours' channels; 3 for red, green and blue.
        threshold: where the first component is cut, in its standard deviations from the mean; 0 as in the
            paper.
        foreground_high: True where the foreground is what lies above the threshold.

    Raises:
        ValueError: another rank, numbers that are not finite, or too few foreground patches for the
            components.

    Source: paper, "Qualitative Results", paragraph on the PCA of patch features.
    """
    tokens = patch_tokens.detach().float().cpu().numpy() if isinstance(patch_tokens, Tensor) else patch_tokens
    tokens = np.asarray(tokens, dtype=np.float64)
    require(
        tokens.ndim == 3,
        f"wanted patch tokens of shape (b, n, d), got {tokens.shape}: stack the images' tokens",
    )
    require(bool(np.isfinite(tokens).all()), "patch tokens hold numbers that are not finite")
    b, n, d = tokens.shape
    require(
        1 <= n_components <= d, f"n_components must lie in 1 to {d}, the tokens' width; got {n_components}"
    )
    flat = tokens.reshape(b * n, d)
    scores, _ = _principal(flat, 1)
    first = scores[:, 0] / max(scores[:, 0].std(), 1e-12)
    foreground = first > threshold if foreground_high else first < threshold
    count = int(foreground.sum())
    require(
        count > n_components,
        f"{count} of {b * n} patches are foreground, too few for {n_components} components: move the "
        f"threshold ({threshold}) towards {'lower' if foreground_high else 'higher'} values, "
        "or give more images",
    )
    scores, explained = _principal(flat[foreground], n_components)
    low, high = scores.min(axis=0), scores.max(axis=0)
    colours = np.zeros((b * n, n_components), dtype=np.float32)
    colours[foreground] = (scores - low) / np.maximum(high - low, 1e-12)
    return PcaColours(
        colours.reshape(b, n, n_components),
        foreground.reshape(b, n),
        first.reshape(b, n).astype(np.float32),
        explained.astype(np.float32),
    )


def _principal(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores `m count` on the leading principal components, and the share of variance of each."""
    centred = rows - rows.mean(axis=0)
    directions, variances = principal_directions(centred, count)
    return centred @ directions, variances[:count] / max(variances.sum(), 1e-300)
