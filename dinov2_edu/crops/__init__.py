"""Multi-crop views: where each crop is cut, how it is resized, and what is done to its colours.

`config` holds the settings, `boxes` chooses rectangles, `resizing` cuts them out as matrix products,
`colours` and `blur` hold the operations that `augmentation` applies at random, and `multicrop` puts it all
together. Everything runs on whole batches, on the images' device.

Source: paper section 4 and appendix B; dinov2/data/augmentations.py @ b8931f7.
"""

from dinov2_edu.crops.augmentation import augment
from dinov2_edu.crops.blur import gaussian_blur
from dinov2_edu.crops.boxes import boxes_from_uniform, sample_boxes
from dinov2_edu.crops.colours import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    denormalize,
    grayscale,
    normalize,
    solarize,
)
from dinov2_edu.crops.config import CropConfig, official_code_crops, paper_crops, small_image_crops
from dinov2_edu.crops.multicrop import Views, multi_crop
from dinov2_edu.crops.resizing import crop_and_resize, resize, resize_matrix

__all__ = [
    "CropConfig",
    "Views",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "augment",
    "boxes_from_uniform",
    "crop_and_resize",
    "denormalize",
    "gaussian_blur",
    "grayscale",
    "multi_crop",
    "normalize",
    "official_code_crops",
    "paper_crops",
    "resize",
    "resize_matrix",
    "sample_boxes",
    "small_image_crops",
    "solarize",
]
