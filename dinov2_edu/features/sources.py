"""Where pictures come from: memory, a folder, or a list; never all decoded at once."""

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dinov2_edu.data import ImageSet
from dinov2_edu.files import local_path
from dinov2_edu.pictures import (
    Picture,
    PictureError,
    digest,
    left_out_text,
    path_text,
    read_ahead,
    read_folder,
    threads_here,
)
from dinov2_edu.shapes import check_images, describe, require

_TOGETHER, _BYTES_TOGETHER = (
    16,
    2**25,
)  # most pictures, and about the most bytes, that are handed out together


class Piece(NamedTuple):
    """Equally large pictures as bytes `m 3 height width`, and the row of each in the whole set."""

    rows: list[int]
    images: Tensor


class Failure(NamedTuple):
    """A picture that could not be read: its row, why, and whether that is for good (see `PictureError`)."""

    row: int
    reason: str
    permanent: bool


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
    """Pictures that are files, PIL images or anything else `read_rgb` takes: decoded just ahead of their use."""

    def __init__(
        self, items: Sequence[Picture], labels: Tensor | None, class_names: tuple[str, ...], name: str
    ) -> None:
        self.items, self.labels, self.class_names, self.name = list(items), labels, class_names, name
        self._digests: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def name_of(self, row: int) -> str:
        item = self.items[row]
        return path_text(item) if isinstance(item, (str, os.PathLike)) else f"picture {row} of {self.name}"

    def digests(self) -> Iterator[bytes]:
        """A SHA-256 of what each picture is decoded from, in order; `pieces` then holds the pictures to them."""
        found: list[bytes] = []
        with ThreadPoolExecutor(threads_here()) as pool:
            for first in range(0, len(self), 256):
                for one in pool.map(_digest, self.items[first : first + 256]):
                    found.append(one)
                    yield one
        self._digests = found

    def pieces(self, start: int, stop: int) -> Iterator[Piece | Failure]:
        digests = None if self._digests is None else self._digests[start:stop]
        waiting: dict[int, np.ndarray] = {}
        for row, found in enumerate(read_ahead(self.items[start:stop], digests), start):
            if isinstance(found, PictureError):
                yield Failure(row, found.reason, found.permanent)
                continue
            waiting[row] = found
            del found
            if (
                len(waiting) == _TOGETHER
                or sum(pixels.nbytes for pixels in waiting.values()) >= _BYTES_TOGETHER
            ):
                yield from _by_size(waiting)
        yield from _by_size(waiting)


Pictures = TensorPictures | FilePictures
"""Pictures that can be read piece by piece, however they came."""


def _by_size(waiting: dict[int, np.ndarray]) -> Iterator[Piece]:
    """Hand out pictures, those of one size together, and let go of them."""
    sizes: dict[tuple[int, ...], list[int]] = {}
    for row, pixels in waiting.items():
        sizes.setdefault(pixels.shape, []).append(row)
    for (height, width, _), rows in sizes.items():
        images = torch.empty(len(rows), 3, height, width, dtype=torch.uint8)
        for image, row in zip(images, rows, strict=True):
            image.copy_(torch.from_numpy(waiting.pop(row)).permute(2, 0, 1))
        yield Piece(rows, images)


def _digest(item: Picture) -> bytes:
    try:
        return digest(item)
    except PictureError as error:  # the reading that follows meets the same error and reports it
        return hashlib.sha256(f"unreadable: {error}".encode()).digest()


def _folder_pictures(path: str | os.PathLike) -> FilePictures:
    """Pictures of a folder: a class each sub-folder (torchvision's ImageFolder), or flat without labels."""
    folder = read_folder(path)
    name = path_text(local_path(path).name)
    if folder.left_out:
        text = f"{len(folder.paths)} pictures in {name}; left out: {left_out_text(folder.left_out)}"
        warnings.warn(text, stacklevel=3)
    labels = None if folder.labels is None else torch.tensor(folder.labels)
    return FilePictures(folder.paths, labels, folder.class_names, name)


def as_pictures(images: Any) -> Pictures:
    """Make any of the accepted kinds of pictures readable piece by piece.

    Args:
        images: an `ImageSet`, a uint8 tensor `b c height width`, a folder, a picture file, or a list of pictures
            (paths, PIL images, arrays ...: whatever `read_rgb` reads).

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
        path = local_path(images)
        require(path.exists(), f"there is no folder {path_text(path)}")
        return (
            _folder_pictures(path) if path.is_dir() else FilePictures([path], None, (), path_text(path.name))
        )
    wanted = (
        "wanted an ImageSet, a uint8 tensor b c height width, a folder, or a list of paths and PIL images"
    )
    hint = ": use torch.from_numpy" if isinstance(images, np.ndarray) else ""
    require(isinstance(images, (list, tuple)), f"{wanted}, got a {type(images).__name__}{hint}")
    require(len(images) > 0, f"{wanted}, got an empty list")
    strange = [item for item in images if not isinstance(item, Picture)]
    require(not strange, f"{wanted}; the list holds a {type(strange[0]).__name__}" if strange else "")
    return FilePictures(images, None, (), "a list")
