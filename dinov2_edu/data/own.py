"""A folder of somebody's own pictures, as it is: looked over first, then read into one tensor of small squares.

Sub-folders, sizes, colours and orientations may be mixed, and files that are no pictures may lie between. The first
sub-folder on a picture's way is its class, if it has one; classes serve for judging alone.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from dinov2_edu.checks import check_at_least, check_one_of, checked, require
from dinov2_edu.data.imageset import ImageSet
from dinov2_edu.files import hash_blocks, last_name, local_path
from dinov2_edu.pictures import (
    OR_SKIP,
    Hashed,
    PictureError,
    find_pictures,
    left_out_text,
    path_text,
    read_ahead,
)
from dinov2_edu.pictures.contents import open_file
from dinov2_edu.pictures.decoding import open_header
from dinov2_edu.pictures.pixels import shown_size
from dinov2_edu.shapes import ByteImages

NO_CLASS = -1
HELD_OUT = 5
"""One labelled picture in so many is not learnt from."""


@dataclass(frozen=True)
class OwnFolder:
    """What a folder holds, seen from names and headers alone.

    Attributes:
        root: the folder.
        paths: the picture files, sorted.
        labels: class of each, `NO_CLASS` where it lies in no sub-folder.
        class_names: the sub-folders that hold pictures.
        sizes: width and height of each in pixels, as shown; 0 where the header cannot be read.
        left_out: files that are no pictures, counted by kind.
    """

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    left_out: Counter[str]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def name(self) -> str:
        """What to call the folder."""
        return path_text(last_name(self.root))

    def name_of(self, row: int) -> str:
        """A picture's path within the folder, for people."""
        return path_text(self.paths[row].relative_to(self.root))

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each file, read once, when first asked for; no bytes where it cannot be read."""
        return tuple(_digest(path) for path in self.paths)

    @property
    def shorter_side(self) -> int:
        """Pixels along the shorter side of the middle picture."""
        sides = sorted(min(size) for size in self.sizes if min(size) > 0)
        return sides[len(sides) // 2] if sides else 0

    def check_whole(self) -> None:
        """Refuse a folder that somebody has split into train and test: these are no classes.

        Raises:
            ValueError: it is; says what to name instead.
        """
        names, shown = self.class_names, path_text(self.root)
        require(
            "train" not in names or not {"test", "val"} & {*names},
            f"{shown} is split into {' and '.join(names[:3])}: train on {shown}/train; "
            "probe takes both halves, --train and --test",
        )

    def __str__(self) -> str:
        """The folder in one line."""
        count = Counter(self.labels)
        classes = ", ".join(f"{name} {count[label]}" for label, name in enumerate(self.class_names[:9]))
        more = f" and {len(self.class_names) - 9} more" if len(self.class_names) > 9 else ""
        inside = f"; in sub-folders: {classes}{more}" if classes else "; no sub-folders"
        rest = f"; left out: {left_out_text(self.left_out)}" if self.left_out else ""
        return f"{self.name}: {len(self):,} pictures{inside}{rest}"


@dataclass(frozen=True)
class OwnPictures:
    """Pictures read from a folder, all of one size.

    Attributes:
        images: bytes, `n 3 side side`.
        labels: class of each, `NO_CLASS` where it has none.
        held_out: those that no run learns from, so that they can judge it.
        class_names: names that the labels index.
        names: path of each within the folder.
        skipped: (name, reason) of each file that could not be read.
        duplicates: (name, name of its first copy) of files that hold the same bytes, which are there once.
        name: what to call them beside a number.
    """

    images: ByteImages
    labels: Int[Tensor, " n"]
    held_out: Bool[Tensor, " n"]
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    duplicates: tuple[tuple[str, str], ...]
    name: str

    def __len__(self) -> int:
        return len(self.images)

    @property
    def learnt_from(self) -> ByteImages:
        """The pictures that a run learns from: all but those held out. It gets no label of theirs."""
        return self.images[~self.held_out]

    def judged_by(self) -> tuple[ImageSet, ImageSet] | None:
        """Labelled neighbours and labelled pictures that were held out; None where that are not two classes each."""
        labelled = self.labels != NO_CLASS
        rows = [labelled & ~self.held_out, labelled & self.held_out]
        if any(len(self.labels[part].unique()) < 2 for part in rows):
            return None
        names = (f"{self.name}, not held out", f"{self.name}, held out")
        known, asked = (
            ImageSet(self.images[part], self.labels[part], self.class_names, name)
            for part, name in zip(rows, names, strict=True)
        )
        return known, asked


@checked
def look_over(folder: str | os.PathLike) -> OwnFolder:
    """List a folder's pictures with their classes and sizes; no picture is decoded.

    Raises:
        ValueError: there is no such folder, or no picture in it.
    """
    root = local_path(folder)
    require(root.is_dir(), f"there is no folder {path_text(root)}: check the name")
    paths, left_out = find_pictures(root)
    rest = f" (it holds {left_out_text(left_out)})" if left_out else ""
    require(len(paths) > 0, f"{path_text(root)} holds no picture that can be read here{rest}: name another")
    inside = [path.relative_to(root).parts for path in paths]
    tops = sorted({parts[0] for parts in inside if len(parts) > 1})
    labels = tuple(tops.index(parts[0]) if len(parts) > 1 else NO_CLASS for parts in inside)
    sizes = tuple(_size(path) for path in paths)
    return OwnFolder(root, tuple(paths), labels, tuple(map(path_text, tops)), sizes, left_out)


def _digest(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            return hash_blocks(hashlib.sha256(), file).digest()
    except (OSError, PictureError):  # which whoever decodes it will explain
        return b""


def _size(path: Path) -> tuple[int, int]:
    """Width and height as shown, from the header; (0, 0) where it cannot be read, which reading will explain."""
    try:
        with open_file(path) as file, open_header(file) as header:
            return shown_size(header)
    except Exception:
        return 0, 0


@checked
def is_held_out(digest: bytes) -> bool:
    """Whether the picture with this SHA-256 is held out: one in five is, whatever its name and its neighbours.

    Raises:
        ValueError: no bytes.
    """
    require(len(digest) > 0, "wanted the digest of a file, got no bytes")
    return int.from_bytes(digest[:8], "big") % HELD_OUT == 0


@checked
def labelled_rows(folder: OwnFolder) -> tuple[Int[Tensor, " n"], Int[Tensor, " m"]]:
    """Rows of the pictures with a class: those learnt from, and those held out by their bytes (see `read_own`).

    Each picture is there once, by its first file in a sub-folder; each file is read for it, none is decoded. One in a
    sub-folder that cannot be read counts as learnt from, so that whoever decodes it explains why.
    """
    classed = _classed_copies(folder.digests, folder.labels)
    files = enumerate(zip(folder.labels, folder.digests, strict=True))
    unread = [row for row, (label, digest) in files if label != NO_CLASS and not digest]
    held = [row for digest, row in classed.items() if is_held_out(digest)]
    learnt = sorted({*classed.values(), *unread} - {*held})
    return torch.tensor(learnt, dtype=torch.long), torch.tensor(held, dtype=torch.long)


def _classed_copies(digests: Sequence[bytes], labels: Sequence[int]) -> dict[bytes, int]:
    """SHA-256 of each picture with a class -> row of the copy whose class counts, the first in a sub-folder."""
    found: dict[bytes, int] = {}
    for row, (digest, label) in enumerate(zip(digests, labels, strict=True)):
        if digest and label != NO_CLASS:
            found.setdefault(digest, row)
    return found


@checked
def read_own(folder: OwnFolder, side: int, *, on_error: str = "raise", progress: bool = True) -> OwnPictures:
    """Read a folder's pictures, each shrunk (or enlarged) so that its centre square has `side` pixels.

    The same bytes under two names count once, under the first of them. Their class is that of the first copy in a
    sub-folder, wherever the others lie: a copy in no sub-folder before it, or in another class behind it, changes
    nothing. Labels decide nothing but which pictures can be held out.

    Args:
        folder: from `look_over`.
        side: pixels along a side.
        on_error: "raise" stops at the first picture that cannot be read, "skip" names them all in `skipped`.
        progress: show a bar.

    Raises:
        ValueError: a `side` below 1, or another `on_error`.
        PictureError: with "raise", a picture that cannot be read; or none can.
    """
    check_at_least(1, side=side)
    check_one_of(("raise", "skip"), on_error=on_error)
    squares = np.empty((len(folder), 3, side, side), np.uint8)
    first: dict[bytes, int] = {}
    rows: list[int] = []
    digests = [b""] * len(folder)
    skipped: list[tuple[str, str]] = []
    duplicates: list[tuple[str, str]] = []
    for row, found in enumerate(_read(folder.paths, progress)):
        name = folder.name_of(row)
        if isinstance(found, PictureError):
            if on_error == "raise":
                raise PictureError(found.reason + OR_SKIP, name)
            skipped.append((name, found.reason))
            continue
        digests[row] = found.digest
        if found.digest in first:
            duplicates.append((name, folder.name_of(first[found.digest])))
        else:
            assert found.pixels is not None  # none was known
            first[found.digest] = row
            squares[len(rows)] = _square(found.pixels, side)
            rows.append(row)
    if not rows:
        raise PictureError(f"none of {len(folder)} pictures can be read: {skipped[0][1]}", skipped[0][0])
    classed = _classed_copies(digests, folder.labels)
    return OwnPictures(
        images=torch.from_numpy(squares[: len(rows)]),
        labels=torch.tensor([folder.labels[classed.get(digests[row], row)] for row in rows]),
        held_out=torch.tensor([digest in classed and is_held_out(digest) for digest in first]),
        class_names=folder.class_names,
        names=tuple(folder.name_of(row) for row in rows),
        skipped=tuple(skipped),
        duplicates=tuple(duplicates),
        name=f"{folder.name} ({len(rows):,} pictures)",
    )


def _read(paths: Sequence[Path], progress: bool) -> Iterator[Hashed | PictureError]:
    """Every picture with the SHA-256 of its file."""
    found = read_ahead(paths, known=lambda digest: False)
    bar = tqdm(found, "reading pictures", len(paths), unit="picture", disable=not progress, leave=False)
    for one in bar:
        assert not isinstance(one, np.ndarray)
        yield one


def _square(pixels: np.ndarray, side: int) -> np.ndarray:
    """The centre square of a picture `height width 3`, resized by bicubic interpolation, as `3 side side`."""
    height, width = pixels.shape[:2]
    length = min(height, width)
    left, top = (width - length) / 2, (height - length) / 2
    box = (left, top, left + length, top + length)
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.asarray(small).transpose(2, 0, 1)
