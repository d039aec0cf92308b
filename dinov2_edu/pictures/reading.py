"""From a picture of any kind to RGB bytes: decided by its mode, never by what it shows."""

import os
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dinov2_edu.pictures.contents import OWNED_BY_CALLERS, Picture, contents
from dinov2_edu.pictures.decoding import MAX_PIXELS, decode, decoding
from dinov2_edu.pictures.error import PictureError, path_text
from dinov2_edu.pictures.pixels import check_sides, from_array, orientation, to_rgb


def read_rgb(picture: Picture, *, name: str = "") -> UInt8[np.ndarray, "height width 3"]:
    """Read a picture as RGB bytes, the right way up.

    The camera's orientation is applied, transparent parts are laid on white, grey becomes three equal channels, 16
    bits become 8 by dividing by 257, an animation counts as its first frame (an opened one as the frame it is at).
    Colour profiles are not applied, as in the official code. The caller's object is left as it is, and one that
    stands twice in a list may be read from two threads.

    Args:
        picture: a path (`~` is the home folder), a file's bytes, an open binary file, a PIL image, or an array or
            tensor of bytes (or 16-bit or boolean) `height width`, with 1, 3 or 4 channels last, or 1 or 3 first.
        name: what an error calls the picture; by default its path or what it is.

    Returns:
        An array of its own.

    Raises:
        PictureError: it is missing, damaged, too large, of a kind that is not read, or of pixels without an agreed
            range (32-bit integers and floats).
    """
    try:
        content = contents(picture)
        return decode(content) if isinstance(content, bytes) else _own_pixels(content)
    except PictureError as error:
        error.name = error.name or name or _name_of(picture)
        raise
    except MemoryError as error:
        reason = "there is not enough memory to read it: free some, or make the picture smaller"
        raise PictureError(reason, name or _name_of(picture)) from error


def read_tensor(picture: Picture, *, name: str = "") -> UInt8[Any, "3 height width"]:
    """Read a picture as `read_rgb` does, as a torch tensor of bytes with channels first.

    Raises:
        PictureError: as `read_rgb`.
    """
    import torch  # here: figures and controls read pictures without torch

    return torch.from_numpy(read_rgb(picture, name=name)).permute(2, 0, 1)


def _own_pixels(content: Image.Image | np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """RGB bytes of a loaded PIL image or an array."""
    if isinstance(content, np.ndarray):
        return from_array(content, MAX_PIXELS)
    check_sides(content.size, MAX_PIXELS)
    with OWNED_BY_CALLERS:
        turn = orientation(content)
    with decoding(b""):
        return to_rgb(content, turn)


def _name_of(picture: Picture) -> str:
    """What an error calls a picture."""
    place = picture if isinstance(picture, (str, os.PathLike)) else getattr(picture, "filename", "")
    place = place or getattr(picture, "name", "")
    if isinstance(place, (str, os.PathLike)) and os.fspath(place):
        return path_text(place)
    if isinstance(picture, Image.Image):
        return f"a picture of mode {picture.mode}, {picture.width} x {picture.height}"
    return f"a picture given as {type(picture).__name__}"
