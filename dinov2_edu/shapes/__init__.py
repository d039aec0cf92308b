"""The axis letters, the tensor aliases used in every signature, and the checks that hold arguments to them.

`door` holds the arguments of a public function to its annotations, `checks` has what a shape cannot say, `words` puts
both into sentences.

Axes:
    b  images (or crops of images) in a batch     v  views of one image
    n  patches of one image                       t  tokens of one image: class token, registers, patches
    d  width of a token                           h  attention heads
    k  prototypes                                 p  side of a patch in pixels
    m  rows gathered from a batch, such as all masked patches

Images are `b c height width`. Masks are boolean and True means masked.
"""

from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from dinov2_edu.shapes.checks import (
    can_look,
    check_above_zero,
    check_at_least,
    check_float_images,
    check_images,
    check_one_of,
    check_pixels,
    check_probability,
    check_probs,
    check_range,
    check_temperature,
    require,
)
from dinov2_edu.shapes.door import checked, in_graph
from dinov2_edu.shapes.words import describe

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "AttentionMaps",
    "Boxes",
    "ByteImages",
    "ClassTokens",
    "Images",
    "Labels",
    "Logits",
    "PatchMask",
    "PatchTokens",
    "Probs",
    "can_look",
    "check_above_zero",
    "check_at_least",
    "check_float_images",
    "check_images",
    "check_one_of",
    "check_pixels",
    "check_probability",
    "check_probs",
    "check_range",
    "check_temperature",
    "checked",
    "describe",
    "in_graph",
    "require",
]

Images = Float[Tensor, "b c height width"]
ByteImages = UInt8[Tensor, "b c height width"]
PatchMask = Bool[Tensor, "b n"]
ClassTokens = Float[Tensor, "b d"]
PatchTokens = Float[Tensor, "b n d"]
AttentionMaps = Float[Tensor, "b h t t"]
Logits = Float[Tensor, "*batch k"]
Probs = Float[Tensor, "*batch k"]
Boxes = Float[Tensor, "b top_left_height_width=4"]
Labels = Integer[Tensor, " n"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means (red, green, blue; images in 0 to 1) that every official model was trained with."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel standard deviations that go with `IMAGENET_MEAN`."""
