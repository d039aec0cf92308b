"""Do patch tokens find the same place again? Crops of a photo against the whole of it, where the truth is known."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize as unit

from dinov2_edu.checks import check_at_least, checked
from dinov2_edu.crops import CropConfig, augment, crop_and_resize, normalize, resize, sample_boxes
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD, ByteImages, Images, PatchTokens

_JITTER = CropConfig(jitter=1.0, grayscale=0.0, blur=(0.0, 0.0, 0.0), solarize=0.0)


class CropPairs(NamedTuple):
    """Photos, crops of them, and where in its photo each patch of a crop lies.

    Attributes:
        wholes: the photos, normalised.
        crops: the crops, normalised.
        photo: which photo each crop was cut from.
        truth: (row, column) in patches of the photo, not rounded; 0 is the middle of the first patch.
    """

    wholes: Images
    crops: Images
    photo: Int[Tensor, " m"]
    truth: Float[Tensor, "m n 2"]


@checked
def crop_pairs(
    photos: ByteImages, size: int, grid: int, n_crops: int, *, disturbed: bool, generator: torch.Generator
) -> CropPairs:
    """Cut crops of 30 to 80 % of the area out of every photo.

    Args:
        photos: bytes, `b 3 height width`.
        size: side in pixels that photos and crops are resized to.
        grid: patches a side.
        n_crops: crops of each photo.
        disturbed: mirror half of the crops and jitter the colours of all; the places are the same with and without.
        generator: draws the crops.

    Raises:
        ValueError: sizes below 1, or not bytes.
    """
    check_at_least(1, size=size, grid=grid, n_crops=n_crops)
    height, width = photos.shape[-2:]
    photo = torch.arange(len(photos)).repeat_interleave(n_crops)
    boxes = sample_boxes(len(photo), (height, width), (0.3, 0.8), generator=generator)
    flips = (torch.rand(len(photo), generator=generator, device=generator.device).cpu() < 0.5) & disturbed
    crops = crop_and_resize(photos[photo], boxes, size, flips=flips)
    if disturbed:
        crops = augment(crops, _JITTER, "local", generator=generator)
    across = ((torch.arange(grid) + 0.5) / grid).expand(len(photo), grid, grid)
    down, across = across.transpose(1, 2), torch.where(flips[:, None, None], 1 - across, across)
    top, left, tall, wide = boxes[:, :, None, None].unbind(1)
    places = torch.stack([(top + down * tall) / height, (left + across * wide) / width], dim=-1)
    wholes, crops = (normalize(one, IMAGENET_MEAN, IMAGENET_STD) for one in (resize(photos, size), crops))
    return CropPairs(wholes, crops, photo, (places * grid - 0.5).flatten(1, 2))


@checked
def matched_shares(
    pairs: CropPairs, wholes: PatchTokens, crops: Float[Tensor, "m n d"]
) -> Float[Tensor, " m"]:
    """For each crop the share of its patches whose most similar patch (cosine) lies less than one patch from the truth.

    Args:
        pairs: what the tokens were made from.
        wholes: patch tokens of `pairs.wholes`.
        crops: patch tokens of `pairs.crops`.

    Raises:
        ValueError: tokens of other shapes.
    """
    grid = math.isqrt(wholes.shape[1])
    best = (unit(crops, dim=-1) @ unit(wholes, dim=-1)[pairs.photo].transpose(1, 2)).argmax(dim=-1)
    places = torch.stack([best // grid, best % grid], dim=-1)
    return ((places - pairs.truth).norm(dim=-1) < 1).float().mean(dim=1)
