"""From PIL pictures of any mode to RGB bytes."""

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from dinov2_edu.shapes import describe, require

PLAIN_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
ALPHA_MODES = ("LA", "PA", "RGBA", "RGBa")


def to_bytes(picture: Image.Image) -> UInt8[Tensor, "3 height width"]:
    """Turn a PIL picture into RGB bytes, channels first.

    Gray and palette pictures become RGB, transparent ones are laid on white, 16-bit gray is divided by 257.

    Raises:
        ValueError: not a PIL picture, a file that cannot be decoded, or a mode whose range is not known, such
            as "F".
    """
    require(isinstance(picture, Image.Image), f"wanted a PIL picture, got {describe(picture)}")
    try:
        picture.load()
    except (OSError, SyntaxError) as error:
        raise ValueError(f"the picture cannot be decoded ({error}): is the file complete?") from error
    require(min(picture.size) >= 1, f"the picture has no pixels: its size is {picture.size}")
    mode = picture.mode
    if mode.startswith("I;16"):
        gray = (np.asarray(picture).astype(np.float32) / 257).round().astype(np.uint8)
        picture = Image.fromarray(gray)
    elif mode in ALPHA_MODES or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    elif mode not in PLAIN_MODES:
        raise ValueError(
            f"cannot tell the range of a picture of mode {mode!r}: scale it to 0..255 and make it 'RGB' first"
        )
    pixels = np.array(picture.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)
