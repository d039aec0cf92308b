"""What stands behind a picture: the bytes of its file, or the picture itself where it is in memory."""

import errno
import io
import os
import stat
import threading
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageFile

from dinov2_edu.files import local_path
from dinov2_edu.pictures.decoding import FORMATS, MAX_PIXELS, decoding
from dinov2_edu.pictures.error import PictureError, path_text
from dinov2_edu.pictures.pixels import check_sides, orientation

MAX_BYTES = 2**29
"""Files of more bytes are refused: what is read stays in memory while it is decoded."""

OWNED_BY_CALLERS = threading.Lock()
"""Held while a caller's picture or file object is touched: PIL's are not made for two threads, and one picture may
stand twice in a list."""


@runtime_checkable
class BinaryFile(Protocol):
    """What bytes can be read from: an open file, a stream in memory, a member of an archive."""

    def read(self, size: int = -1, /) -> bytes: ...


@runtime_checkable
class HasArray(Protocol):
    """What numpy can read: arrays and CPU tensors."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray: ...


Picture = str | os.PathLike | bytes | bytearray | memoryview | BinaryFile | Image.Image | HasArray
"""A path, a file's bytes, an open binary file, a PIL image, or an array or tensor `h w`, `h w c` or `c h w`."""


def contents(picture: Picture) -> bytes | Image.Image | np.ndarray:
    """The bytes of the file that a picture stands in; the picture itself where it is in memory, or was changed.

    Raises:
        PictureError: the file cannot be read, or this is no picture.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, Image.Image):
        with OWNED_BY_CALLERS:
            return _unchanged_file(picture) or _loaded(picture)
    if isinstance(picture, (str, os.PathLike)):
        with open_file(picture) as file:
            return _bounded(file, os.fstat(file.fileno()).st_size)
    if isinstance(picture, BinaryFile):
        with OWNED_BY_CALLERS:
            return _rewound(picture)
    try:
        if hasattr(picture, "detach"):  # a tensor, wherever it is
            picture = picture.detach().cpu()
        if isinstance(picture, (np.ndarray, HasArray)):
            return np.asarray(picture)
    except (
        TypeError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:  # bfloat16, sparse, quantised, meta
        raise PictureError(
            f"wanted pixels as uint8 in an array or tensor; these cannot be read ({error})"
        ) from None
    wanted = "a path, a file's bytes, an open binary file, a PIL image, an array or a tensor"
    raise PictureError(f"wanted a picture ({wanted}), got {picture!r:.100} ({type(picture).__name__})")


def open_file(path: str | os.PathLike) -> Any:
    """Open a picture file for reading; anything but a regular file of bearable size is refused unopened.

    Raises:
        PictureError: it is missing, no file, too large or cannot be opened.
    """
    try:
        place = local_path(path)
        found = place.stat()
        if stat.S_ISDIR(found.st_mode):
            raise PictureError("this is a folder: give the picture files in it")
        if not stat.S_ISREG(found.st_mode):
            raise PictureError("this is a pipe or a device, not a picture file: remove it")
        _check_bytes(found.st_size)
        return place.open("rb")
    except PictureError:
        raise
    except OSError as error:
        raise PictureError(_cause(error, place)) from error
    except ValueError as error:
        raise PictureError(f"this is no path ({error}): name a picture file") from error


def _cause(error: OSError, path: Path) -> str:
    """Why a file cannot be opened, and what to do."""
    if error.errno == errno.ENOENT and path.is_symlink():
        return f"a link to {path_text(path.readlink())}, which is not there: restore that, or remove the link"
    advice = {
        errno.ENOENT: "there is no such file: check the name",
        errno.EMFILE: "too many files are open: close some, then try again",
        errno.EACCES: "it may not be read: change its permissions",
    }
    return advice.get(error.errno or 0, f"it cannot be read ({error.strerror or error}): try again")


def _bounded(file: BinaryFile, size: int = MAX_BYTES) -> bytes:
    """All bytes of a file, `size` of them where that is known; more than `MAX_BYTES` are refused."""
    try:
        content = file.read(min(size, MAX_BYTES) + 1)
    except OSError as error:
        raise PictureError(f"it cannot be read ({error.strerror or error}): try again") from error
    if not isinstance(content, bytes):
        raise PictureError("the file is open as text: open it with mode 'rb'")
    _check_bytes(len(content))
    return content


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise PictureError(f"the file has more than {MAX_BYTES >> 20} MiB: save it smaller, as JPEG or PNG")


def _rewound(file: Any) -> bytes:
    """All bytes of an open file from its beginning; its position is left where it was."""
    try:
        position = file.tell()
        file.seek(0)
    except (OSError, AttributeError):  # it can be read once only
        return _bounded(file)
    except ValueError as error:
        raise PictureError(
            "the file was closed before it was read: keep it open, or give its path"
        ) from error
    try:
        return _bounded(file)
    finally:
        file.seek(position)


def _unchanged_file(picture: Image.Image) -> bytes | None:
    """The file of an opened picture that is as it was opened: not decoded, not at another frame, not edited."""
    if _is_decoded(picture) or not isinstance(picture, ImageFile.ImageFile):
        return None
    if picture.format not in (*FORMATS, "MPO"):  # MPO: several JPEG pictures in one file, opened as JPEG
        raise PictureError(f"pictures of the kind {picture.format} are not read: save it as PNG first")
    if picture.fp is None:
        return None
    content = _rewound(picture.fp)
    try:
        with Image.open(io.BytesIO(content), formats=[picture.format.replace("MPO", "JPEG")]) as fresh:
            looked = vars(picture).get("_exif") is not None  # asking a PNG file for them would decode it
            return content if _facts(fresh, looked) == _facts(picture, looked) else None
    except Exception:  # a stream that can be read once only, and was: the picture itself is what there is
        return None


def _facts(picture: Image.Image, exif: bool) -> tuple:
    """What an owner may have changed in an opened picture; its EXIF data only where they have been looked at."""
    turn = orientation(picture) if exif else 1
    return picture.size, picture.mode, picture.tell(), picture.info.get("transparency"), turn


def _is_decoded(picture: Image.Image) -> bool:
    return vars(picture).get("_im", vars(picture).get("im")) is not None  # PIL 10 and earlier: im


def _loaded(picture: Image.Image) -> Image.Image:
    """The caller's picture, decoded in its place."""
    check_sides(picture.size, MAX_PIXELS)
    closed = not _is_decoded(picture) and getattr(picture, "fp", None) is None
    try:
        with decoding(b""):
            picture.load()
    except PictureError as error:
        if closed:
            reason = "its file was closed before it was read: open it again, or give its path"
            raise PictureError(reason) from error
        raise
    return picture
