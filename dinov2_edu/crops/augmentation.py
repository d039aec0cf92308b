"""What happens to a crop's colours: random draws, one row an image, handed to the colour operations.

An image that an operation leaves alone gets the factor that changes nothing: then the work is the same for
every image, and a GPU never has to report which images were chosen.

Source: dinov2/data/augmentations.py @ b8931f7, DataAugmentationDINO.
"""

import torch

from dinov2_edu.checks import check_one_of, checked
from dinov2_edu.crops.blur import blur_chosen
from dinov2_edu.crops.colours import brightness_, column, contrast_, hue_, saturation_
from dinov2_edu.crops.config import JITTER_STRENGTHS, SOLARIZE_THRESHOLD, CropConfig
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import Images, check_pixels

KINDS = ("global1", "global2", "local")
JITTER = {"brightness": brightness_, "contrast": contrast_, "saturation": saturation_, "hue": hue_}


@checked
@torch_defaults()
def augment(views: Images, config: CropConfig, kind: str, *, generator: torch.Generator) -> Images:
    """Change colours, blur and solarize crops at random, each with its own draws.

    In this order: colour jitter, grayscale, blur, and solarize on the second global view. The four operations
    of the jitter come in an order that is drawn once a call (torchvision draws it for each image). With a CPU
    generator nothing here waits for a GPU.

    Args:
        views: crops in 0 to 1.
        config: the probabilities.
        kind: "global1", "global2" or "local".
        generator: where the random numbers come from.

    Raises:
        ValueError: an unknown kind, or crops of the wrong shape, dtype or range.

    Source: dinov2/data/augmentations.py @ b8931f7.
    """
    check_one_of(KINDS, kind=kind)
    check_pixels(views)
    return augment_(views.clone(memory_format=torch.contiguous_format), config, kind, generator=generator)


def augment_(views: Images, config: CropConfig, kind: str, *, generator: torch.Generator) -> Images:
    """Do what `augment` says, unchecked and in place where possible."""
    draws = torch.rand(9, len(views), generator=generator, device=generator.device)
    draws = draws.to(views.device, non_blocking=True)
    if config.jitter > 0:
        jittered = draws[0] < config.jitter
        factors = {}
        for row, (name, strength) in enumerate(JITTER_STRENGTHS.items(), start=1):
            neutral = 0.0 if name == "hue" else 1.0
            factors[name] = torch.where(jittered, neutral + strength * (2 * draws[row] - 1), neutral)
        order = torch.randperm(4, generator=generator, device=generator.device).tolist()
        for index in order:
            name = list(JITTER_STRENGTHS)[index]
            views = JITTER[name](views, factors[name])
    if config.grayscale > 0:
        views = saturation_(views, (draws[5] >= config.grayscale).to(views.dtype))
    blur = config.blur[KINDS.index(kind)]
    if blur > 0:
        low, high = config.blur_sigma
        views = blur_chosen(views, low + (high - low) * draws[7], config.blur_kernel, draws[6] < blur)
    if kind == "global2" and config.solarize > 0:
        threshold = torch.where(draws[8] < config.solarize, SOLARIZE_THRESHOLD, torch.inf)
        views = torch.where(views >= column(threshold), 1 - views, views)
    return views
