"""Gaussian blur as two small matrix products an image, so that every image has its own sigma.

Source: torchvision.transforms.v2.functional.gaussian_blur.
"""

import torch
from jaxtyping import Bool
from torch import Tensor

from dinov2_edu.checks import checked, require
from dinov2_edu.crops.colours import Factors
from dinov2_edu.crops.config import check_kernel
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import Images, can_look, check_pixels


@checked
@torch_defaults()
def gaussian_blur(images: Images, sigmas: Factors, kernel_size: int = 9) -> Images:
    """Blur every image with its own sigma (in pixels), mirroring at the edges.

    Raises:
        ValueError: images or sigmas of the wrong shape or dtype, a sigma not above 0 (looked at on the CPU
            only), or a kernel that is even or too wide for the images.
    """
    check_pixels(images)
    if can_look(sigmas):
        require(bool((sigmas > 0).all()), f"sigmas must be above 0, got {sigmas.min().item():.4g}")
    check_kernel(kernel_size, min(images.shape[-2:]))
    return blur_chosen(images, sigmas, kernel_size, None)


def blur_chosen(
    images: Tensor, sigmas: Tensor, kernel_size: int, chosen: Bool[Tensor, " b"] | None
) -> Tensor:
    """Blur the chosen images (None: all) as two matrix products; the others get the identity."""
    b, c, height, width = images.shape
    reach = torch.arange(-(kernel_size // 2), kernel_size // 2 + 1, device=images.device)
    kernels = torch.exp(-0.5 * (reach / sigmas[:, None]) ** 2)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).to(images.dtype)
    if chosen is not None:
        kernels = torch.where(chosen[:, None], kernels, (reach == 0).to(kernels.dtype))
    columns = _band(kernels, reach, width)
    rows = columns if height == width else _band(kernels, reach, height)
    blurred = torch.bmm(images.reshape(b, c * height, width), columns.transpose(1, 2))
    return torch.matmul(rows[:, None], blurred.view(b, c, height, width))


def _band(kernels: Tensor, reach: Tensor, side: int) -> Tensor:
    """Spread kernels [b kernel] to matrices [b side side] that mirror at the edges."""
    pixels = torch.arange(side, device=kernels.device)
    source = (pixels + reach[:, None]).abs()  # kernel side
    source = (side - 1) - (side - 1 - source).abs()
    where = (source[..., None] == pixels).to(kernels.dtype)  # kernel side side
    return (kernels @ where.view(len(reach), side * side)).view(-1, side, side)
