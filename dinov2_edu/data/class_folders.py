"""Pictures in class folders or in an archive of them, decoded once into arrays that load in a moment.

The layout is the one torchvision's ImageFolder reads: `train/airplane/0000.jpg`. An archive is read in memory, so it
may lie where nothing can be written.
"""

import hashlib
import os
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dinov2_edu.data.archives import members
from dinov2_edu.data.imageset import DataUnavailable
from dinov2_edu.data.remote import cache_dir, shown
from dinov2_edu.data.store import Split, keep_splits, kept_split
from dinov2_edu.files import hash_blocks
from dinov2_edu.pictures import PictureError, find_pictures, left_out_text, path_text, read_rgb
from dinov2_edu.pictures.folders import readable_suffixes

SPLITS = ("train", "test")
_DECODER = 2  # goes up when the same file gives other pixels than before


class _Picture(NamedTuple):
    """One picture file that is not decoded yet; sorts by split, class folder and file name."""

    split: str
    folder: str
    file: str
    content: bytes | Path

    @property
    def name(self) -> str:
        return path_text(f"{self.split}/{self.folder}/{self.file}")


def _place(name: str, suffixes: Collection[str]) -> tuple[str, str, str] | None:
    """Split, class folder and file name, where a path ends in these; None for anything else, or hidden."""
    parts = name.split("/")
    split, folder, file = ("", "", *parts)[-3:]
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    is_picture = os.path.splitext(file)[1].lower() in suffixes and not hidden
    return (split, folder, file) if is_picture and split in SPLITS else None


def _pictures(source: Path) -> Iterator[_Picture]:
    suffixes = readable_suffixes()
    if source.is_file():
        for place, content in members(source, lambda name: _place(name, suffixes)):
            yield _Picture._make((*place, content))
        return
    for path in find_pictures(source)[0]:
        if place := _place(path.relative_to(source).as_posix(), suffixes):
            yield _Picture(*place, path)


def find_source(path: Path) -> Path:
    """Settle on the archive, or on the folder that holds `train` and `test`.

    Raises:
        DataUnavailable: there is neither.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataUnavailable(
            f"there is no file or folder {shown(path)}: let DINOV2_EDU_CIFAR10 name the pictures"
        )
    for folder in (path, path / "cifar10"):
        if all((folder / split).is_dir() for split in SPLITS):
            return folder
    archives = sorted(path.glob("*.tar*"))
    if len(archives) != 1:
        raise DataUnavailable(
            f"{shown(path)} holds neither the folders train and test nor exactly one tar archive: wanted "
            "train/airplane/0000.jpg and so on, an archive of that, or cifar-10-binary.tar.gz"
        )
    return archives[0]


def fingerprint(source: Path) -> str:
    """Tell sources apart: an archive by its bytes, a folder by every file's path, size and time of change."""
    digest = hashlib.sha256(f"{_DECODER}\n".encode())
    if source.is_file():
        with source.open("rb") as file:
            hash_blocks(digest, file)
    else:
        for picture in sorted(_pictures(source)):
            facts = os.stat(picture.content)
            digest.update(f"{picture.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _decode(picture: _Picture) -> np.ndarray:
    """Decode one picture to bytes `3 height width`."""
    try:
        return read_rgb(picture.content, name=picture.name).transpose(2, 0, 1)
    except PictureError as error:
        raise DataUnavailable(str(error)) from None


def _decode_split(pictures: list[_Picture], split: str, folders: tuple[str, ...], source: Path) -> Split:
    """Decode one split, sorted by class, then by file."""
    chosen = sorted(picture for picture in pictures if picture.split == split)
    found = {picture.folder for picture in chosen}
    absent, strange = sorted(set(folders) - found), sorted(found - set(folders))
    if absent or strange:
        says = (
            f"has no pictures in {', '.join(absent)}"
            if absent
            else f"has {', '.join(strange)} beside the classes"
        )
        raise DataUnavailable(f"{shown(source)}, {split}: {says}; wanted {', '.join(folders)}")
    first = _decode(chosen[0])
    images = np.empty((len(chosen), *first.shape), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = tqdm(pool.map(_decode, chosen), f"decoding {split}", len(chosen), leave=False)
        for i, (image, picture) in enumerate(zip(decoded, chosen, strict=True)):
            if image.shape != first.shape:
                raise DataUnavailable(
                    "all pictures must have the same height and width, got "
                    f"{picture.name} {image.shape[1:]} beside {chosen[0].name} {first.shape[1:]}"
                )
            images[i] = image
    return images, np.array([folders.index(picture.folder) for picture in chosen], dtype=np.int64)


def read_picture_files(source: Path, split: str, folders: tuple[str, ...]) -> Split:
    """Read one split, sorted by class, then by file.

    The first call decodes both splits (60,000 pictures of 32 x 32 take about 8 s) and keeps them in
    `cache_dir()` under a fingerprint of the source; later calls read them from there.

    Args:
        source: an archive, or a folder with `train` and `test` in it.
        split: "train" or "test".
        folders: the class folders; a picture's label is the index of its folder.

    Raises:
        DataUnavailable: the archive is cut short, a class is missing, empty or unknown, or a picture is broken or of
            another size than the first.
    """
    kept = cache_dir() / f"pictures-{fingerprint(source)}.safetensors"
    found = kept_split(kept, split)
    if found is None:
        pictures = list(_pictures(source))
        if source.is_dir() and (left_out := find_pictures(source)[1]):
            warnings.warn(f"{shown(source)}: left out {left_out_text(left_out)}", stacklevel=2)
        splits = {name: _decode_split(pictures, name, folders, source) for name in SPLITS}
        keep_splits(kept, splits)
        found = splits[split]
    return found
