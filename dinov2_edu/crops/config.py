"""The settings of multi-crop, and the three sets of them that the book uses."""

from dataclasses import dataclass

from dinov2_edu.checks import check_at_least, check_probability, check_range, checked, require
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD

JITTER_STRENGTHS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
"""How far each colour operation goes: factors 1 - s to 1 + s; for hue, a turn of -s to s of the circle."""

SOLARIZE_THRESHOLD = 128 / 255
"""Values from here up are inverted by `solarize` (range 0 to 1)."""


@checked
@dataclass(frozen=True)
class CropConfig:
    """How many crops of which size are cut from an image, and what happens to them.

    Sizes are in pixels (crops are square). Scales are shares of the image's area. `blur` is the probability
    that global view 1, global view 2 and a local view ARE blurred; the official class of that name takes the
    opposite. `solarize` touches global view 2 only. `jitter`, `grayscale`, `flip` and `solarize` are
    probabilities.

    Raises:
        ValueError: a size below 1, a range that is reversed or out of bounds, a probability outside 0 to 1,
            or a blur kernel that is even or too wide for the smallest blurred crop.

    Source: dinov2/data/augmentations.py @ b8931f7, DataAugmentationDINO.
    """

    global_size: int = 224
    local_size: int = 98
    n_local: int = 8
    global_scale: tuple[float, float] = (0.32, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.32)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    grayscale: float = 0.2
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_kernel: int = 9
    solarize: float = 0.2
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_at_least(1, global_size=self.global_size, local_size=self.local_size)
        check_at_least(0, n_local=self.n_local)
        check_range(self.global_scale, "global_scale", high=1)
        check_range(self.local_scale, "local_scale", high=1)
        check_range(self.ratio, "ratio")
        check_range(self.blur_sigma, "blur_sigma")
        for name in ("flip", "jitter", "grayscale", "solarize"):
            check_probability(getattr(self, name), name)
        for share in self.blur:
            check_probability(share, "blur")
        sides = (self.global_size, self.global_size, self.local_size if self.n_local else self.global_size)
        blurred = [side for side, share in zip(sides, self.blur, strict=True) if share > 0]
        check_kernel(self.blur_kernel, min(blurred, default=self.blur_kernel))
        check_statistics(self.mean, self.std)


def check_statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Refuse anything but a mean and a standard deviation above 0 for each of three channels.

    Raises:
        ValueError: not three numbers each, or a standard deviation of 0 or less.
    """
    good = len(mean) == 3 == len(std)
    require(good, f"mean and std want three numbers each (red, green, blue), got {mean!r} and {std!r}")
    require(min(std) > 0, f"std must be above 0, got {std!r}")


def check_kernel(kernel_size: int, smallest_side: int) -> None:
    """Refuse a blur kernel that is even, or so wide that mirroring at the edge runs out of pixels.

    Raises:
        ValueError: even, below 1, or half the kernel is not below the smallest side.
    """
    good = kernel_size >= 1 and kernel_size % 2 == 1
    require(good, f"the blur kernel's size must be an odd whole number such as 9, got {kernel_size!r}")
    require(
        kernel_size // 2 < smallest_side,
        f"a blur kernel of {kernel_size} needs images of at least {kernel_size // 2 + 1} pixels a side, "
        f"got {smallest_side}: use a smaller kernel or larger crops",
    )


def paper_crops() -> CropConfig:
    """Return the paper's crops: 2 global of 224 and 8 local of 98 pixels, blurred as the DINO papers word it.

    The words: global view 1 always blurred, global view 2 one time in ten, local views every other time. The
    official code does something else: see `official_code_crops`.

    Source: paper, appendix B.1 (after DINO and BYOL); local size 98 in vitl14.yaml @ b8931f7.
    """
    return CropConfig()


def official_code_crops() -> CropConfig:
    """Return the crops as the official code makes them: global view 1 never blurred, view 2 nearly always.

    `GaussianBlur(p=...)` there hands `1 - p` to `RandomApply`, which applies with that probability, so 1.0,
    0.1 and 0.5 become 0.0, 0.9 and 0.5.

    Source: dinov2/data/transforms.py @ b8931f7, GaussianBlur.
    """
    return CropConfig(blur=(0.0, 0.9, 0.5))


def small_image_crops() -> CropConfig:
    """Return crops for 32-pixel images such as CIFAR-10: 2 global of 32 and 6 local of 16 pixels.

    Blur as in `official_code_crops`, with a 5-pixel kernel and a sigma up to 1: at 32 pixels a sigma of 2
    leaves little to recognise.
    """
    return CropConfig(
        global_size=32, local_size=16, n_local=6, blur=(0.0, 0.9, 0.5), blur_sigma=(0.1, 1.0), blur_kernel=5
    )
