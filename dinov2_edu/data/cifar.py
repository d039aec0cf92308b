"""CIFAR-10 as one tensor of bytes: from a folder or archive of pictures, or from the archive its authors publish.

Whatever the source, a split comes sorted by class, then by file (or in the published order).
Shuffling is the caller's job; `cifar10_or_patterns` takes an even share of every class.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dinov2_edu.checks import checked, require
from dinov2_edu.data.archives import members
from dinov2_edu.data.class_folders import SPLITS, find_source, read_picture_files
from dinov2_edu.data.download import NotFetched, fetch
from dinov2_edu.data.imageset import DataUnavailable, ImageSet, even_rows
from dinov2_edu.data.patterns import patterns10
from dinov2_edu.data.remote import RemoteFile, cache_dir, mirrored, shown
from dinov2_edu.data.store import Split, keep_splits, kept_split
from dinov2_edu.files import local_path

CIFAR10_CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The class names in the order of the labels, in their short form."""

PUBLISHED = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    size=170_052_171,
)
"""The authors' archive in its binary form: the same pictures as in the one for Python, and nothing to unpickle.

Source: `www.cs.toronto.edu/~kriz/cifar.html`; size and checksum as TensorFlow Datasets and others pin them.
"""

_FOLDERS = ("airplane", "automobile", *CIFAR10_CLASSES[2:])
_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then all red, all green and all blue pixels


def _binary_splits(archive: Path) -> dict[str, Split]:
    """Read the published archive: both splits, sorted by class.

    Raises:
        DataUnavailable: it is cut short, or another archive.
    """
    rows: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for name, content in sorted(members(archive, lambda name: name if name.endswith(".bin") else None)):
        whole = len(content) // _RECORD
        records = np.frombuffer(content, np.uint8, whole * _RECORD).reshape(whole, _RECORD)
        if len(content) % _RECORD or (records[:, 0] >= len(CIFAR10_CLASSES)).any():
            raise DataUnavailable(
                f"{shown(archive)}: {name} does not hold CIFAR-10's records, fetch it again"
            )
        rows["test" if name.endswith("test_batch.bin") else "train"].append(records)
    splits = {}
    for split, parts in rows.items():
        if not sum(len(part) for part in parts):
            raise DataUnavailable(f"{shown(archive)} has no pictures of the {split} split, fetch it again")
        records = np.concatenate(parts)
        records = records[records[:, 0].argsort(kind="stable")]
        images = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
        splits[split] = images, records[:, 0].astype(np.int64)
    return splits


def decoded(file: RemoteFile) -> Path:
    """Where the pictures of the published archive are kept once they are decoded."""
    return cache_dir() / f"cifar10-{file.sha256[:16]}.safetensors"


@checked
def cifar10_at_hand() -> bool:
    """Whether `load_cifar10` has a source that needs no network: one that is named, or what it kept before."""
    if os.environ.get("DINOV2_EDU_CIFAR10"):
        return True
    file = mirrored(PUBLISHED)
    return decoded(file).is_file() or file.place(cache_dir()).is_file()


def _published(split: str) -> tuple[Split, str]:
    """A split of the published archive, fetched and decoded where that has not been done, and what to call it."""
    file = mirrored(PUBLISHED)
    kept = decoded(file)
    found = kept_split(kept, split)
    if found is None:
        try:
            archive = fetch(file, cache_dir())
        except NotFetched as error:
            raise DataUnavailable(
                f"CIFAR-10 is not on this machine and could not be fetched ({error}); three ways on: put {file.url} "
                f"into {shown(cache_dir())}, let DINOV2_EDU_CIFAR10 name a folder or archive of its pictures, or take "
                "patterns10, which needs none"
            ) from None
        splits = _binary_splits(archive)
        keep_splits(kept, splits)
        found = splits[split]
    return found, "CIFAR-10 (a stand-in that DINOV2_EDU_MIRROR names)" if file.stand_in else "CIFAR-10"


@checked
def load_cifar10(split: str, *, root: str | Path | None = None) -> ImageSet:
    """Load CIFAR-10's 50,000 training or 10,000 test pictures, sorted by class.

    Taken from `root`, else from the folder or archive that the environment variable `DINOV2_EDU_CIFAR10`
    names (`train/airplane/0000.jpg` and so on, or the published `cifar-10-binary.tar.gz`), else from
    `cache_dir()`, where the published archive is put, 170 MB, the first time. Decoded once and kept there.

    Args:
        split: "train" or "test".
        root: a folder or tar archive.

    Raises:
        ValueError: there is no such split.
        DataUnavailable: what was named is absent, unreadable, cut short, of another layout, or holds a broken
            picture; or none was named, and the published archive cannot be had.
    """
    require(split in SPLITS, f'split must be "train" or "test", got {split!r}')
    named = root or os.environ.get("DINOV2_EDU_CIFAR10")
    try:
        if not named:
            (images, labels), name = _published(split)
        elif (source := find_source(local_path(named))).name == "cifar-10-binary.tar.gz":
            (images, labels), name = _binary_splits(source)[split], "CIFAR-10"
        else:
            (images, labels), name = read_picture_files(source, split, _FOLDERS), "CIFAR-10 (JPEG copy)"
    except OSError as error:
        raise DataUnavailable(
            f"{named or cache_dir()} could not be read: {error.strerror or error}"
        ) from None
    return ImageSet(
        torch.from_numpy(images), torch.from_numpy(labels), CIFAR10_CLASSES, f"{name}, {split} split"
    )


@checked
def cifar10_or_patterns(split: str, n: int | None = None) -> ImageSet:
    """Load CIFAR-10 where it can be had, else draw Patterns10 and say so aloud.

    Args:
        split: "train" or "test".
        n: how many pictures, an even share of every class; None for all (50,000 or 10,000).

    Returns:
        The pictures, sorted by class if CIFAR-10; `notice` is then "", else the sentence that was printed.

    Raises:
        ValueError: there is no such split, or it has fewer pictures than asked for.
    """
    require(split in SPLITS, f'split must be "train" or "test", got {split!r}')
    total = {"train": 50_000, "test": 10_000}[split]
    require(n is None or 1 <= n <= total, f"the {split} split has {total} pictures, asked for {n!r}")
    try:
        data = load_cifar10(split)
    except DataUnavailable:
        notice = (
            "These pictures are Patterns10, ten drawn textures, not CIFAR-10, which could not be loaded here."
        )
        print(notice)
        return replace(patterns10(n or total, split=split), notice=notice)
    if n is None:
        return data
    require(n <= len(data), f"{data.name} has {len(data)} pictures, asked for {n}")
    return data.subset(even_rows(len(data), n))
