"""From the bytes of a picture file to pixels: what is decoded, and a sentence for everything that is not."""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from dinov2_edu.pictures.error import PictureError
from dinov2_edu.pictures.pixels import check_sides, orientation, to_rgb

MAX_PIXELS = 110_000_000
"""Pictures of more pixels are refused: the largest cameras make 102 megapixels, a decompression bomb more."""

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")
"""What is decoded, where PIL (or a plugin that the caller registered) can. Nothing that starts a program."""

HEIF_BRANDS = ("heic", "heix", "heim", "heis", "hevc", "mif1", "msf1")
"""How HEIC files, which phones write, name themselves."""


def decode(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Decode the bytes of a picture file.

    Raises:
        PictureError: they are no whole picture of a kind that is read.
    """
    if not content:
        raise PictureError("the file is empty: fetch it again, or remove it")
    with decoding(content), open_header(io.BytesIO(content)) as opened:
        opened.load()
        return to_rgb(opened, orientation(opened))


def open_header(stream: Any) -> Image.Image:
    """Open a picture file without decoding it: its kind is on the list, and it is not too large.

    Raises:
        PictureError: more than `MAX_PIXELS`, no pixels, or a strip.
        Exception: PIL raises many kinds for damaged files.
    """
    Image.init()
    opened = Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])
    check_sides(opened.size, MAX_PIXELS)
    return opened


@contextlib.contextmanager
def decoding(content: bytes) -> Iterator[None]:
    """Turn what PIL raises into a sentence; `content` is the file, where there is one."""
    try:
        yield
    except (PictureError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"{error} Raise PIL.Image.MAX_IMAGE_PIXELS, or save it smaller") from error
    except UnidentifiedImageError as error:
        raise _unknown(content) from error
    except Exception as error:  # PIL raises many kinds for damaged files
        text = f"{type(error).__name__}: {error}"
        passing = re.search("out of memory|not available", text) is not None  # memory, or how PIL was built
        cause = "it cannot be decoded here" if passing else "it is damaged or cut short"
        raise PictureError(f"{cause} ({text}): fetch it again, or remove it") from error


def _unknown(content: bytes) -> PictureError:
    """What to say of a file that no decoder on the list takes."""
    known = ", ".join(name for name in FORMATS if name in Image.OPEN)
    brand = content[8:12].decode("latin-1") if content[4:8] == b"ftyp" else ""
    kind = "AVIF" if brand in ("avif", "avis") else "HEIF" if brand in HEIF_BRANDS else ""
    if kind in Image.OPEN:
        return PictureError(f"it is damaged or cut short ({kind}): fetch it again, or remove it")
    if kind:
        plugin = "install a newer pillow" if kind == "AVIF" else "call pillow-heif's register_heif_opener()"
        return PictureError(f"no decoder for {kind} pictures is there: save it as JPEG, or {plugin}")
    return PictureError(f"it is no picture of a kind that is read ({known}): save it as one, or remove it")
