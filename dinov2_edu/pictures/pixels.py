"""Pixels of every mode as RGB bytes, strip by strip: besides the picture there is only what is returned."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dinov2_edu.pictures.error import PictureError

_ORIENTATION = 0x0112  # EXIF's tag
_TIFF_WIDTH, _TIFF_HEIGHT = 0x0100, 0x0101
_STRIP = 2**20  # pixels that are converted at once
_LONGEST_PROPORTION = 50  # longer side by shorter side: beyond it a resized picture would fill the memory
_SIXTEEN_BIT = ("PNG", "PPM")  # files whose pixels PIL opened as 32-bit integers, until it knew 16-bit ones

_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}
"""From the upright picture to the one that the camera stored, by EXIF orientation: views, nothing is copied."""


def check_sides(size: tuple[int, int], most: int) -> None:
    """Refuse a picture (width, height) without pixels, of more than `most`, or that is a strip.

    Raises:
        PictureError: it is one of these.
    """
    width, height = size
    if min(size) < 1:
        raise PictureError(f"it has no pixels ({width} x {height}): remove it")
    if width * height > most:
        raise PictureError(
            f"{width} x {height} pixels are more than {most // 10**6} megapixels: save it smaller"
        )
    if max(size) > _LONGEST_PROPORTION * min(size):
        raise PictureError(f"{width} x {height} pixels are a strip: crop it to at most 50 to 1")


def orientation(picture: Image.Image) -> int:
    """EXIF's orientation of a picture, 1 to 8; 1 (upright) where there is none or it cannot be read."""
    if picture.format == "TIFF":  # PIL turns these itself; its first versions that do leave the tag
        return 1
    return _noted(picture)


def _noted(picture: Image.Image) -> int:
    """The orientation that stands in a picture's file; nothing is decoded for it."""
    try:
        found = Image.Image.getexif(picture).get(_ORIENTATION, 1)  # a PNG file's own method would decode it
        return found if found in _STORED else 1
    except Exception:  # damaged EXIF data raise many kinds, and the pixels are whole all the same
        return 1


def shown_size(header: Image.Image) -> tuple[int, int]:
    """Width and height, turned upright, of a picture whose file is opened but not decoded.

    A note that stands behind the pixels of a PNG file is not looked for: that file's sides are those stored.
    """
    width, height = header.size
    if header.format == "TIFF":  # newer versions of PIL say the turned size beforehand, the tags do not
        tags: Any = header.tag_v2  # type: ignore[attr-defined]
        width, height = tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]
    return (height, width) if _noted(header) >= 5 else (width, height)  # turned by a quarter


def to_rgb(picture: Image.Image, turn: int) -> UInt8[np.ndarray, "height width 3"]:
    """RGB bytes of a decoded picture, turned upright from EXIF's orientation `turn`.

    Raises:
        PictureError: its pixels have no agreed range.
    """
    width, height = picture.size
    sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in _SIXTEEN_BIT)
    if picture.mode == "F" or (picture.mode.startswith("I") and not sixteen):
        kind = "floating-point numbers" if picture.mode == "F" else "32-bit integers"
        raise PictureError(
            f"its pixels are {kind}, without an agreed range: scale them to 0..255 and save 8 bits"
        )
    convert = _sixteen_bit_to_rgb if sixteen else _part_to_rgb
    upright = np.empty((height, width, 3) if turn < 5 else (width, height, 3), np.uint8)
    stored = _STORED[turn](upright)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        part = picture if bottom - top == height else picture.crop((0, top, width, bottom))
        stored[top:bottom] = convert(part)
    return upright


def _part_to_rgb(part: Image.Image) -> np.ndarray:
    """Any mode of 8 bits or fewer; what is transparent is laid on white."""
    mode, clear = part.mode, part.info.get("transparency")
    with_alpha = mode in ("LA", "La", "PA", "RGBA", "RGBa") or (
        clear is not None and mode in ("1", "L", "P", "RGB")
    )
    if mode == "P" and part.palette is not None:
        with_alpha |= part.palette.mode.endswith("A")
    if with_alpha:
        part = part.convert("LA").convert("RGBA") if mode == "La" else part.convert("RGBA")
        part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part)
    return np.asarray(part if part.mode == "RGB" else part.convert("RGB"))


def _sixteen_bit_to_rgb(part: Image.Image) -> np.ndarray:
    values = np.asarray(part).astype(np.int32)
    grey = ((values.clip(0, 65535) + 128) // 257).astype(np.uint8)  # rounded: 65535 is 257 x 255
    clear = part.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255
    return grey[..., None]


def from_array(array: np.ndarray, most: int) -> UInt8[np.ndarray, "height width 3"]:
    """RGB bytes of an array `h w`, `h w c` (1, 3 or 4 channels) or `c h w` (1 or 3); its dtype decides the range.

    Raises:
        PictureError: another shape or dtype.
    """
    shape = f"{array.dtype} of shape {array.shape}"
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise PictureError(
            f"wanted an array (h w), (h w c) with 1, 3 or 4 channels or (c h w) with 1 or 3, got {shape}"
        )
    check_sides((array.shape[1], array.shape[0]), most)
    if array.dtype == bool:
        array = array * np.uint8(255)
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of either byte order
        array = ((array.astype(np.int32) + 128) // 257).astype(np.uint8)
    if array.dtype != np.uint8:
        hint = "scale them to 0..255 and round to uint8"
        raise PictureError(
            f"wanted pixels as uint8 (0 to 255), uint16 (0 to 65535) or bool, got {shape}: {hint}"
        )
    if array.shape[2] == 4:
        return _part_to_rgb(Image.fromarray(np.ascontiguousarray(array))).copy()
    return np.broadcast_to(array, (*array.shape[:2], 3)).copy()
