"""Multi-crop: two large and several small views of every image, each with the box it was cut from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dinov2_edu.checks import checked, describe, require
from dinov2_edu.crops.augmentation import augment_
from dinov2_edu.crops.boxes import sample_boxes
from dinov2_edu.crops.colours import normalize_
from dinov2_edu.crops.config import CropConfig
from dinov2_edu.crops.resizing import crop_views
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.pictures import Picture, read_tensor
from dinov2_edu.shapes import ByteImages, check_images


@dataclass
class Views:
    """The views of a batch. Crops are normalised; boxes are (top, left, height, width) in source pixels.

    `flips` holds the two global views first, then the local ones; True means mirrored left to right.
    """

    global_crops: Float[Tensor, "b 2 c g g"]
    local_crops: Float[Tensor, "b v c l l"]
    global_boxes: Float[Tensor, "b 2 4"]
    local_boxes: Float[Tensor, "b v 4"]
    flips: Bool[Tensor, "b views"]

    def crop_major(self) -> tuple[Float[Tensor, "g c g_size g_size"], Float[Tensor, "l c l_size l_size"]]:
        """Return global crops [2b c g g] and local crops [v*b c l l]: all first crops, then all second ones.

        The official training step has them in this order. Nothing is copied.
        """
        return self.global_crops.transpose(0, 1).flatten(0, 1), self.local_crops.transpose(0, 1).flatten(0, 1)


@checked
@torch_defaults()
def multi_crop(
    images: ByteImages | Picture | Sequence[Picture],
    config: CropConfig,
    *,
    generator: torch.Generator,
    device: torch.device | str | None = None,
) -> Views:
    """Cut two global and `config.n_local` local views out of every image and augment each with its own draws.

    In this order: random box, bicubic resize (clamped to 0..1), horizontal flip, `augment`, `normalize`. A
    batch of bytes is worked on as a whole on its device; pictures, which may differ in size, are read and cut one
    after the other. Boxes and flips are drawn and returned on the generator's device; with a CPU generator
    nothing waits for a GPU.

    Args:
        images: a batch of bytes, a picture (a PIL image, a path: whatever `read_rgb` reads), or a list of pictures.
        config: sizes, scales and probabilities.
        generator: where the random numbers come from.
        device: where to work; a batch stays where it is by default, pictures are worked on by the CPU.

    Raises:
        ValueError: an empty batch, the wrong shape or dtype, or channels last.
        PictureError: a picture that cannot be read.

    Source: dinov2/data/augmentations.py @ b8931f7, DataAugmentationDINO. Differences: floats throughout where
    PIL rounds to bytes after each operation; one order of the colour operations a call.
    """
    batches = _batches(images, device)
    b, v = sum(len(batch) for batch in batches), config.n_local
    chance = torch.rand(b, 2 + v, generator=generator, device=generator.device)
    flips = chance < config.flip
    wanted = ((2, config.global_size, config.global_scale, 0), (v, config.local_size, config.local_scale, 2))
    crops, boxes = [], []
    for n_views, size, scale, first in wanted:
        cut, where = _cut(batches, flips[:, first : first + n_views], size, scale, config, generator)
        crops.append(cut)
        boxes.append(where)
    global_crops, local_crops = crops
    views = [augment_(global_crops[0], config, "global1", generator=generator)]
    views.append(augment_(global_crops[1], config, "global2", generator=generator))
    global_crops = torch.stack([normalize_(view, config.mean, config.std) for view in views])
    if v > 0:
        flat = augment_(local_crops.flatten(0, 1), config, "local", generator=generator)
        local_crops = normalize_(flat, config.mean, config.std).view_as(local_crops)
    return Views(global_crops.transpose(0, 1), local_crops.transpose(0, 1), boxes[0], boxes[1], flips)


def _cut(
    batches: list[Tensor],
    flips: Bool[Tensor, "b v"],
    size: int,
    scale: tuple[float, float],
    config: CropConfig,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "v b c size size"], Float[Tensor, "b v 4"]]:
    """Draw boxes and cut them out of every batch; a lone image view by view, each from its small window."""
    crops, boxes, done = [], [], 0
    v = flips.shape[1]
    for images in batches:
        b = len(images)
        where = sample_boxes(
            b * v, (images.shape[-2], images.shape[-1]), scale, config.ratio, generator=generator
        ).view(b, v, 4)
        mirrored = flips[done : done + b]
        if b == 1 and v > 1:
            cut = [crop_views(images, where[:, i : i + 1], size, mirrored[:, i : i + 1]) for i in range(v)]
            crops.append(torch.cat(cut))
        elif v == 0:
            crops.append(torch.empty(0, b, images.shape[1], size, size, device=images.device))
        else:
            crops.append(crop_views(images, where, size, mirrored))
        boxes.append(where)
        done += b
    return torch.cat(crops, dim=1) if len(crops) > 1 else crops[0], torch.cat(boxes)


def _batches(
    images: ByteImages | Picture | Sequence[Picture], device: torch.device | str | None
) -> list[Tensor]:
    """Turn the input into byte batches: one for a tensor, one of a single image for each picture."""
    if isinstance(images, Tensor):
        check_images(images)
        good = images.dtype == torch.uint8
        require(good, f"wanted bytes (uint8), got {describe(images)}: use (255 * images).round().byte()")
        return [images.to(device, non_blocking=True) if device is not None else images]
    pictures: Sequence[Any] = images if isinstance(images, (list, tuple)) else [images]
    require(
        len(pictures) > 0, f"wanted a batch of bytes, a picture or a list of some, got {describe(images)}"
    )
    return [read_tensor(picture)[None].to(device or "cpu", non_blocking=True) for picture in pictures]
