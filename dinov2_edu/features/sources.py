"""Where pictures come from: memory, a folder, or a list; never all decoded at once."""

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dinov2_edu.checks import describe, require
from dinov2_edu.data import ImageSet
from dinov2_edu.files import last_name, local_path
from dinov2_edu.pictures import (
    Hashed,
    Known,
    Picture,
    PictureError,
    left_out_text,
    path_text,
    read_ahead,
    read_folder,
)
from dinov2_edu.shapes import check_images

_TOGETHER, _BYTES_TOGETHER = 16, 2**25
"""Most pictures, and about the most bytes, that are handed out together."""


class Piece(NamedTuple):
    """Equally large pictures as bytes `m 3 height width`, the row of each in the whole set, and the SHA-256 of what it
    was decoded from. `images` is None where all are known; without `known` nothing is hashed and digests are empty."""

    rows: list[int]
    images: Tensor | None
    digests: list[bytes]


class Failure(NamedTuple):
    """A picture that could not be read: its row and why."""

    row: int
    reason: str


class _Labelled:
    """What pictures of any kind have in common."""

    labels: Tensor | None
    name: str

    @property
    def known_labels(self) -> Tensor:
        """The labels, for what cannot do without.

        Raises:
            ValueError: there are none.
        """
        if self.labels is None:
            raise ValueError(f"the pictures of {self.name} have no labels: use a folder for each class")
        return self.labels


class TensorPictures(_Labelled):
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

    def subset(self, rows: Tensor) -> "TensorPictures":
        """The pictures of these rows, in this order."""
        labels = None if self.labels is None else self.labels[rows]
        return TensorPictures(self.images[rows], labels, self.class_names, f"{self.name} (part)")

    def name_of(self, row: int) -> str:
        return f"picture {row} of {self.name}"

    def pieces(self, start: int, stop: int, known: Known | None = None) -> Iterator[Piece | Failure]:
        for first in range(start, stop, _TOGETHER):
            images = self.images[first : min(first + _TOGETHER, stop)]
            rows = range(first, first + len(images))
            digests = [b""] * len(rows) if known is None else _digests(images)
            new = [known is None or not known(digest) for digest in digests]
            old = [not one for one in new]
            if any(old):
                yield Piece(list(compress(rows, old)), None, list(compress(digests, old)))
            if any(new):
                wanted = images if all(new) else images[torch.tensor(new)]
                wanted = wanted.expand(-1, 3, -1, -1)  # grey: thrice
                yield Piece(list(compress(rows, new)), wanted, list(compress(digests, new)))


def _digests(images: Tensor) -> list[bytes]:
    """A SHA-256 of each picture's size and bytes."""
    shape = str(tuple(images.shape[1:])).encode()
    return [hashlib.sha256(shape + image.tobytes()).digest() for image in images.cpu().contiguous().numpy()]


class FilePictures(_Labelled):
    """Pictures that are files, PIL images or anything else `read_rgb` takes: decoded just ahead of their use."""

    def __init__(
        self, items: Sequence[Picture], labels: Tensor | None, class_names: tuple[str, ...], name: str
    ) -> None:
        self.items, self.labels, self.class_names, self.name = list(items), labels, class_names, name

    def __len__(self) -> int:
        return len(self.items)

    def subset(self, rows: Tensor) -> "FilePictures":
        """The pictures of these rows, in this order."""
        labels = None if self.labels is None else self.labels[rows]
        items = [self.items[row] for row in rows.tolist()]
        return FilePictures(items, labels, self.class_names, f"{self.name} (part)")

    def name_of(self, row: int) -> str:
        item = self.items[row]
        return path_text(item) if isinstance(item, (str, os.PathLike)) else f"picture {row} of {self.name}"

    def pieces(self, start: int, stop: int, known: Known | None = None) -> Iterator[Piece | Failure]:
        waiting: dict[int, tuple[bytes, np.ndarray]] = {}
        amount = 0
        for row, found in enumerate(read_ahead(self.items[start:stop], known), start):
            if isinstance(found, PictureError):
                yield Failure(row, found.reason)
                continue
            one = found if isinstance(found, Hashed) else Hashed(b"", found)
            del found
            if one.pixels is None:
                yield Piece([row], None, [one.digest])
                continue
            waiting[row], amount = (one.digest, one.pixels), amount + one.pixels.nbytes
            del one
            if len(waiting) == _TOGETHER or amount >= _BYTES_TOGETHER:
                yield from _by_size(waiting)
                amount = 0
        yield from _by_size(waiting)


Pictures = TensorPictures | FilePictures
"""Pictures that can be read piece by piece, however they came."""


def _by_size(waiting: dict[int, tuple[bytes, np.ndarray]]) -> Iterator[Piece]:
    """Hand out pictures, those of one size together, and let go of them; a large one is not copied."""
    sizes: dict[tuple[int, ...], list[int]] = {}
    for row, (_, pixels) in waiting.items():
        sizes.setdefault(pixels.shape, []).append(row)
        del pixels
    for rows in sizes.values():
        members = [waiting.pop(row) for row in rows]
        views = [torch.from_numpy(pixels).permute(2, 0, 1) for _, pixels in members]
        digests = [digest for digest, _ in members]
        del members
        yield Piece(rows, views.pop()[None] if len(views) == 1 else torch.stack(views), digests)


def _folder_pictures(path: str | os.PathLike) -> FilePictures:
    """Pictures of a folder: a class each sub-folder (torchvision's ImageFolder), or flat without labels."""
    folder = read_folder(path)
    name = path_text(last_name(path))
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
