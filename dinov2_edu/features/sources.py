"""Where pictures come from: memory, a folder, or a list; never all decoded at once."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dinov2_edu.data import ImageSet
from dinov2_edu.shapes import check_images, describe, require

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
_DECODED_AT_ONCE = 16  # pictures of a folder held decoded, twice: those in work and the next ones
_LONGEST_PROPORTION = 50  # longer side by shorter side; beyond it the resized picture would fill the memory


class PictureError(ValueError):
    """A picture is corrupt, missing or of a kind that cannot be read."""


class Piece(NamedTuple):
    """Equally large pictures as bytes `m 3 height width`, and the row of each in the whole set."""

    rows: list[int]
    images: Tensor


class Failure(NamedTuple):
    """A picture that could not be read: its row and why."""

    row: int
    reason: str


class TensorPictures:
    """Pictures that are in memory already, as bytes of one size."""

    def __init__(
        self, images: Tensor, labels: Tensor | None, class_names: tuple[str, ...], name: str
    ) -> None:
        require(
            isinstance(images, Tensor) and images.ndim == 4,
            f"wanted images b c height width, got {describe(images)}",
        )
        check_images(images, channels=1 if images.shape[1] == 1 else 3)
        hint = (
            "" if images.dtype == torch.uint8 else ": make bytes with (images * 255).round().to(torch.uint8)"
        )
        require(not hint, f"wanted uint8 images (0 to 255, not normalised), got {describe(images)}{hint}")
        self.images, self.labels, self.class_names, self.name = images, labels, class_names, name

    def __len__(self) -> int:
        return len(self.images)

    def name_of(self, row: int) -> str:
        return f"picture {row} of {self.name}"

    def digests(self) -> Iterator[bytes]:
        """A SHA-256 of each picture's size and bytes, in order."""
        shape = str(tuple(self.images.shape[1:])).encode()
        for images in self.images.split(256):
            for image in images.cpu().contiguous().numpy():
                yield hashlib.sha256(shape + image.tobytes()).digest()

    def pieces(self, start: int, stop: int) -> Iterator[Piece | Failure]:
        for first in range(start, stop, 256):
            rows = range(first, min(first + 256, stop))
            images = self.images[rows.start : rows.stop]
            yield Piece(list(rows), images.expand(-1, 3, -1, -1))  # grey: the one channel three times


class FilePictures:
    """Pictures that are files or PIL images: decoded by a few threads just ahead of their use."""

    def __init__(
        self, items: Sequence[Any], labels: Tensor | None, class_names: tuple[str, ...], name: str
    ) -> None:
        self.items, self.labels, self.class_names, self.name = list(items), labels, class_names, name

    def __len__(self) -> int:
        return len(self.items)

    def name_of(self, row: int) -> str:
        item = self.items[row]
        return f"picture {row} of {self.name}" if isinstance(item, Image.Image) else str(item)

    def digests(self) -> Iterator[bytes]:
        """A SHA-256 of each file's bytes, or of each PIL image as it is seen, in order."""
        with ThreadPoolExecutor(_threads()) as pool:
            for first in range(0, len(self), 256):
                yield from pool.map(_digest, self.items[first : first + 256])

    def pieces(self, start: int, stop: int) -> Iterator[Piece | Failure]:
        groups = [
            range(first, min(first + _DECODED_AT_ONCE, stop))
            for first in range(start, stop, _DECODED_AT_ONCE)
        ]
        with ThreadPoolExecutor(_threads()) as pool:
            ahead = [pool.submit(_decode, self.items[row]) for row in groups[0]]
            for number, rows in enumerate(groups):
                decoded = [future.result() for future in ahead]
                following = groups[number + 1] if number + 1 < len(groups) else ()
                ahead = [pool.submit(_decode, self.items[row]) for row in following]
                yield from _by_size(rows, decoded)


Pictures = TensorPictures | FilePictures
"""Pictures that can be read piece by piece, however they came."""


def _by_size(rows: range, decoded: list[np.ndarray | str]) -> Iterator[Piece | Failure]:
    """Failures as they are, pictures gathered with those of their own size."""
    sizes: dict[tuple[int, ...], list[int]] = {}
    for at, picture in enumerate(decoded):
        if isinstance(picture, str):
            yield Failure(rows[at], picture)
        else:
            sizes.setdefault(picture.shape, []).append(at)
    for members in sizes.values():
        stacked = torch.from_numpy(np.stack([decoded[at] for at in members]))
        yield Piece([rows[at] for at in members], stacked.permute(0, 3, 1, 2).contiguous())


def _threads() -> int:
    return min(16, os.cpu_count() or 1)


def _digest(item: Any) -> bytes:
    if isinstance(item, Image.Image):  # as it is seen: palette, transparency and the camera's turn count
        seen = _decode(item)
        content = seen.encode() if isinstance(seen, str) else str(seen.shape).encode() + seen.tobytes()
        return hashlib.sha256(content).digest()
    try:
        return hashlib.sha256(Path(item).read_bytes()).digest()
    except OSError as error:  # the reading that follows meets the same error and reports it
        return hashlib.sha256(f"unreadable {item} {error}".encode()).digest()


def _decode(item: Any) -> np.ndarray | str:
    """The picture as bytes `height width 3`, or the reason why not."""
    try:
        return read_rgb(item)
    except Exception as error:  # PIL raises many kinds for damaged files
        return f"{type(error).__name__}: {error}"


def read_rgb(item: Any) -> np.ndarray:
    """Read one picture as RGB bytes, `height width 3`, turned as its camera says.

    Grey becomes three equal channels, 16 bits become 8, and what is transparent is laid on white.

    Args:
        item: a path, or a PIL image.

    Raises:
        PictureError: floating-point pixels, or one side more than 50 times the other.
        OSError: PIL cannot read the file.
    """
    if not isinstance(item, Image.Image):
        with Image.open(item) as opened:
            opened.load()
            return read_rgb(opened)
    picture = ImageOps.exif_transpose(item)
    longer, shorter = max(picture.size), min(picture.size)
    if shorter < 1 or longer > _LONGEST_PROPORTION * shorter:
        raise PictureError(f"{picture.width} x {picture.height} pixels: crop it to at most 50 to 1")
    if picture.mode == "F":
        raise PictureError("floating-point pixels have no agreed range: save it with 8 bits a channel")
    if picture.mode.startswith("I"):
        values = np.asarray(picture, dtype=np.int64)
        values = values // 257 if values.max() > 255 else values
        return np.repeat(values.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


def _folder_pictures(folder: Path) -> FilePictures:
    """Pictures of a folder: a class each subfolder (torchvision's ImageFolder), or flat without labels."""
    flat = _files_in(folder, deep=False)
    classes = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if flat:
        mixed = [name for name in classes if _files_in(folder / name)]
        require(
            not mixed,
            f"{folder} holds pictures beside class folders ({', '.join(mixed)}): sort them into one kind",
        )
        return FilePictures(flat, None, (), folder.name)
    require(
        len(classes) > 0,
        f"{folder} holds no picture and no class folder; wanted {', '.join(sorted(_SUFFIXES))} files",
    )
    files = {name: _files_in(folder / name) for name in classes}
    empty = [name for name in classes if not files[name]]
    require(
        not empty, f"class folders without a picture in {folder}: {', '.join(empty)}; fill or remove them"
    )
    labels = [label for label, name in enumerate(classes) for _ in files[name]]
    items = [path for name in classes for path in files[name]]
    return FilePictures(items, torch.tensor(labels), tuple(classes), folder.name)


def _files_in(folder: Path, *, deep: bool = True) -> list[Path]:
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(
        path for path in found if path.suffix.lower() in _SUFFIXES and path.is_file() and path.name[0] != "."
    )


def as_pictures(images: Any) -> Pictures:
    """Make any of the accepted kinds of pictures readable piece by piece.

    Args:
        images: an `ImageSet`, a uint8 tensor `b c height width`, a folder, or a list of paths and PIL images.

    Raises:
        ValueError: nothing of these, nothing in it, or a folder with an empty class.
    """
    if isinstance(images, (TensorPictures, FilePictures)):
        return images
    if isinstance(images, ImageSet):
        return TensorPictures(images.images, images.labels, images.class_names, images.name)
    if isinstance(images, Tensor):
        return TensorPictures(images, None, (), "a tensor")
    if isinstance(images, (str, os.PathLike)):
        folder = Path(images)
        require(folder.exists(), f"there is no folder {folder}")
        return _folder_pictures(folder) if folder.is_dir() else FilePictures([folder], None, (), folder.name)
    wanted = (
        "wanted an ImageSet, a uint8 tensor b c height width, a folder, or a list of paths and PIL images"
    )
    hint = ": use torch.from_numpy" if isinstance(images, np.ndarray) else ""
    require(isinstance(images, (list, tuple)), f"{wanted}, got a {type(images).__name__}{hint}")
    require(len(images) > 0, f"{wanted}, got an empty list")
    strange = [item for item in images if not isinstance(item, (str, os.PathLike, Image.Image))]
    require(not strange, f"{wanted}; the list holds a {type(strange[0]).__name__}" if strange else "")
    return FilePictures(images, None, (), "a list")
