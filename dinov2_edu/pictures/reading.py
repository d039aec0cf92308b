"""From a picture of any kind to RGB bytes: decided by its mode, never by what it shows."""

import contextlib
import errno
import io
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, UnidentifiedImageError

from dinov2_edu.files import local_path
from dinov2_edu.pictures.error import PictureError, path_text
from dinov2_edu.pictures.pixels import check_sides, from_array, orientation, to_rgb

MAX_PIXELS = 110_000_000
"""Pictures of more pixels are refused: the largest cameras make 102 megapixels, a decompression bomb more."""

MAX_BYTES = 2**29
"""Files of more bytes are refused: what is read stays in memory while it is decoded."""

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "HEIF")
"""What is decoded, where PIL (or a plugin that the caller registered) can. Nothing that starts a program."""

HEIF_BRANDS = ("heic", "heix", "heim", "heis", "hevc", "mif1", "msf1")
"""How HEIC files, which phones write, name themselves."""

_OWNED_BY_CALLERS = (
    threading.Lock()
)  # held while a picture or file object of a caller is touched: PIL's are not
# made for two threads, and one picture may stand twice in a list


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
        raise PictureError(reason, name or _name_of(picture), permanent=False) from error


def read_tensor(picture: Picture, *, name: str = "") -> UInt8[Any, "3 height width"]:
    """Read a picture as `read_rgb` does, as a torch tensor of bytes with channels first.

    Raises:
        PictureError: as `read_rgb`.
    """
    import torch  # here: figures and controls read pictures without torch

    return torch.from_numpy(read_rgb(picture, name=name)).permute(2, 0, 1)


def contents(picture: Picture) -> bytes | Image.Image | np.ndarray:
    """The bytes of the file that a picture stands in; the picture itself where it is in memory, or was changed.

    Raises:
        PictureError: the file cannot be read, or this is no picture.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, Image.Image):
        with _OWNED_BY_CALLERS:
            return _unchanged_file(picture) or _loaded(picture)
    if isinstance(picture, (str, os.PathLike)):
        with open_file(picture) as file:
            return _bounded(file, os.fstat(file.fileno()).st_size)
    if hasattr(picture, "read"):
        with _OWNED_BY_CALLERS:
            return _rewound(picture)
    if hasattr(picture, "detach"):  # a tensor, wherever it is
        picture = picture.detach().cpu()
    if isinstance(picture, (np.ndarray, HasArray)):
        return np.asarray(picture)
    wanted = "a path, a file's bytes, an open binary file, a PIL image, an array or a tensor"
    raise PictureError(f"wanted a picture ({wanted}), got {picture!r:.100} ({type(picture).__name__})")


def decode(content: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Decode the bytes of a picture file.

    Raises:
        PictureError: they are no whole picture of a kind that is read.
    """
    if not content:
        raise PictureError("the file is empty: fetch it again, or remove it")
    stream = io.BytesIO(content)
    with _decoding(content), open_header(stream) as opened:
        opened.load()
        stream.close()  # the file's bytes are let go of before the pixels are spread out
        return _own_pixels(opened)


def open_header(stream: BinaryFile) -> Image.Image:
    """Open a picture file without decoding it: its kind is on the list, and it is not too large.

    Raises:
        PictureError: more than `MAX_PIXELS`, no pixels, or a strip.
        Exception: PIL raises many kinds for damaged files.
    """
    Image.init()
    opened = Image.open(stream, formats=[name for name in FORMATS if name in Image.OPEN])
    check_sides(opened.size, MAX_PIXELS)
    return opened


def _own_pixels(content: Image.Image | np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """RGB bytes of a loaded PIL image or an array."""
    if isinstance(content, np.ndarray):
        return from_array(content, MAX_PIXELS)
    check_sides(content.size, MAX_PIXELS)
    with _OWNED_BY_CALLERS:
        turn = orientation(content)
    with _decoding(b""):
        return to_rgb(content, turn)


def open_file(path: str | os.PathLike) -> BinaryFile:
    """Open a picture file for reading; anything but a regular file of bearable size is refused unopened.

    Raises:
        PictureError: it is missing, no file, too large or cannot be opened.
    """
    try:
        path = local_path(path)
        kind = path.stat()
        if stat.S_ISDIR(kind.st_mode):
            raise PictureError("this is a folder: give the picture files in it", permanent=False)
        if not stat.S_ISREG(kind.st_mode):
            raise PictureError("this is a pipe or a device, not a picture file: remove it", permanent=False)
        return path.open("rb")
    except OSError as error:
        raise PictureError(_cause(error, path), permanent=False) from error
    except ValueError as error:
        if isinstance(error, PictureError):
            raise
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
        reason = f"it cannot be read ({error.strerror or error}): try again"
        raise PictureError(reason, permanent=False) from error
    if not isinstance(content, bytes):
        raise PictureError("the file is open as text: open it with mode 'rb'")
    if len(content) > MAX_BYTES:
        reason = f"the file has more than {MAX_BYTES >> 20} MiB: save it smaller, as JPEG or PNG"
        raise PictureError(reason, permanent=False)
    return content


def _rewound(file: BinaryFile) -> bytes:
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
    state = vars(picture)
    decoded = state.get("_im", state.get("im")) is not None  # PIL 10 and earlier: im
    if decoded or not isinstance(picture, ImageFile.ImageFile):
        return None
    if picture.format not in (*FORMATS, "MPO"):  # MPO: several JPEG pictures in one file, opened as JPEG
        raise PictureError(f"pictures of the kind {picture.format} are not read: save it as PNG first")
    if picture.fp is None:
        raise PictureError("its file was closed before it was read: open it again, or give its path")
    content = _rewound(picture.fp)
    try:
        with Image.open(io.BytesIO(content), formats=[picture.format.replace("MPO", "JPEG")]) as fresh:
            looked = state.get("_exif") is not None  # asking a PNG file for them would decode it
            return content if _facts(fresh, looked) == _facts(picture, looked) else None
    except Exception:  # a stream that can be read once only, and was: the picture itself is what there is
        return None


def _facts(picture: Image.Image, exif: bool) -> tuple:
    """What an owner may have changed in an opened picture; its EXIF data only where they have been looked at."""
    turn = orientation(picture) if exif else 1
    return picture.size, picture.mode, picture.tell(), picture.info.get("transparency"), turn


def _loaded(picture: Image.Image) -> Image.Image:
    """The caller's picture, decoded in its place."""
    check_sides(picture.size, MAX_PIXELS)
    with _decoding(b""):
        picture.load()
    return picture


@contextlib.contextmanager
def _decoding(content: bytes) -> Iterator[None]:
    """Turn what PIL raises into a sentence; `content` is the file, where there is one."""
    try:
        yield
    except (PictureError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = f"{error} Raise PIL.Image.MAX_IMAGE_PIXELS, or save it smaller"
        raise PictureError(reason, permanent=False) from error
    except UnidentifiedImageError as error:
        raise _unknown(content) from error
    except Exception as error:  # PIL raises many kinds for damaged files
        text = f"{type(error).__name__}: {error}"
        passing = re.search("out of memory|not available", text) is not None  # memory, or how PIL was built
        cause = "it cannot be decoded here" if passing else "it is damaged or cut short"
        raise PictureError(
            f"{cause} ({text}): fetch it again, or remove it", permanent=not passing
        ) from error


def _unknown(content: bytes) -> PictureError:
    """What to say of a file that no decoder on the list takes."""
    known = ", ".join(name for name in FORMATS if name in Image.OPEN)
    brand = content[8:12].decode("latin-1") if content[4:8] == b"ftyp" else ""
    kind = "AVIF" if brand in ("avif", "avis") else "HEIF" if brand in HEIF_BRANDS else ""
    if kind in Image.OPEN:
        return PictureError(f"it is damaged or cut short ({kind}): fetch it again, or remove it")
    if kind:
        plugin = "install a newer pillow" if kind == "AVIF" else "call pillow-heif's register_heif_opener()"
        reason = f"no decoder for {kind} pictures is there: save it as JPEG, or {plugin}"
        return PictureError(reason, permanent=False)
    return PictureError(f"it is no picture of a kind that is read ({known}): save it as one, or remove it")


def _name_of(picture: Picture) -> str:
    """What an error calls a picture."""
    place = picture if isinstance(picture, (str, os.PathLike)) else getattr(picture, "filename", "")
    place = place or getattr(picture, "name", "")
    if isinstance(place, (str, os.PathLike)) and os.fspath(place):
        return path_text(place)
    if isinstance(picture, Image.Image):
        return f"a picture of mode {picture.mode}, {picture.width} x {picture.height}"
    return f"a picture given as {type(picture).__name__}"
