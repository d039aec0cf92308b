"""CIFAR-10 as one tensor of bytes: from a folder or archive of pictures, or downloaded by torchvision.

Whatever the source, a split comes sorted by class, then by file (from torchvision: then in its own order).
Shuffling is the caller's job; `cifar10_or_patterns` takes an even share of every class.
"""

import http.client
import os
import shutil
import tarfile
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dinov2_edu.data.imageset import DataUnavailable, ImageSet
from dinov2_edu.data.patterns import patterns10
from dinov2_edu.data.picture_files import SPLITS, cache_dir, put_in_place, read_picture_files, workplace_for
from dinov2_edu.shapes import require

CIFAR10_CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The class names in the order of the labels, in their short form."""

_FOLDERS = ("airplane", "automobile", *CIFAR10_CLASSES[2:])
_TIMEOUT = 15.0  # seconds the network may take to answer before it counts as absent
_ADVICE = "set DINOV2_EDU_CIFAR10 to a folder or archive of its pictures, or use patterns10, which needs none"


def _network_answers(url: str) -> bool:
    """Ask whether this address answers soon, so that a machine without a network does not hang."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=_TIMEOUT):
            return True
    except (OSError, http.client.HTTPException):
        return False


def _download(folder: Path) -> None:
    """Let torchvision download and check CIFAR-10, and put it into `folder` only when it is whole.

    Raises:
        DataUnavailable: the network is off or silent, or gave other bytes than CIFAR-10's, or the disk takes none.
    """
    from torchvision import datasets

    if os.environ.get("DINOV2_EDU_OFFLINE") == "1":
        raise DataUnavailable(f"CIFAR-10 is not on this machine and DINOV2_EDU_OFFLINE is set: {_ADVICE}")
    if not _network_answers(datasets.CIFAR10.url):
        address = datasets.CIFAR10.url
        raise DataUnavailable(f"CIFAR-10 is not on this machine and {address} does not answer: {_ADVICE}")
    try:
        with workplace_for(folder) as workplace:
            datasets.CIFAR10(str(workplace), download=True)
            (workplace / datasets.CIFAR10.filename).unlink(missing_ok=True)  # the archive, unpacked by now
            put_in_place(workplace, folder)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, http.client.HTTPException) as error:
        raise DataUnavailable(f"torchvision could not download CIFAR-10 ({error}): {_ADVICE}") from error


def _from_torchvision(split: str) -> ImageSet:
    """Load a split through torchvision, which checks every file; download it the first time."""
    from torchvision import datasets  # imported here: slow, and needed on this path alone

    folder = cache_dir() / "torchvision-cifar10"
    try:
        data = datasets.CIFAR10(str(folder), train=split == "train")
    except RuntimeError:  # absent or damaged
        shutil.rmtree(folder, ignore_errors=True)
        _download(folder)
        data = datasets.CIFAR10(str(folder), train=split == "train")
    labels = torch.tensor(data.targets)
    order = labels.argsort(stable=True)
    images = torch.from_numpy(np.ascontiguousarray(data.data[order.numpy()].transpose(0, 3, 1, 2)))
    return ImageSet(images, labels[order], CIFAR10_CLASSES, f"CIFAR-10, {split} split")


def load_cifar10(split: str, *, root: str | Path | None = None) -> ImageSet:
    """Load CIFAR-10's 50,000 training or 10,000 test pictures, sorted by class.

    Taken from `root`, else from the folder or archive that the environment variable `DINOV2_EDU_CIFAR10`
    names (`train/airplane/0000.jpg` and so on; decoded once and kept in `cache_dir()`), else from
    torchvision, which downloads 170 MB the first time.

    Args:
        split: "train" or "test".
        root: a folder or tar archive of pictures.

    Raises:
        ValueError: the folder or archive is absent, cut short, of another layout, or holds a broken picture.
        DataUnavailable: none was named, and torchvision has no copy and cannot get one.
    """
    require(split in SPLITS, f'split must be "train" or "test", got {split!r}')
    named = root or os.environ.get("DINOV2_EDU_CIFAR10")
    if not named:
        return _from_torchvision(split)
    images, labels = read_picture_files(Path(named).expanduser(), split, _FOLDERS)
    name = f"CIFAR-10 (JPEG copy), {split} split"
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), CIFAR10_CLASSES, name)


def cifar10_or_patterns(split: str, n: int | None = None) -> ImageSet:
    """Load CIFAR-10 where it can be had, else draw Patterns10 and say so aloud.

    Args:
        split: "train" or "test".
        n: how many pictures, an even share of every class; None for all (50,000 or 10,000).

    Returns:
        The pictures, sorted by class if CIFAR-10; `notice` is then "", else the sentence that was printed.

    Raises:
        ValueError: more pictures asked for than there are, or a folder or archive that was named is broken.
    """
    require(split in SPLITS, f'split must be "train" or "test", got {split!r}')
    total = {"train": 50_000, "test": 10_000}[split]
    require(n is None or 1 <= n <= total, f"the {split} split has {total} pictures, asked for {n!r}")
    try:
        data = load_cifar10(split)
    except DataUnavailable as error:
        notice = f"These pictures are not CIFAR-10 but Patterns10, ten drawn textures. Why: {error}."
        print(notice)
        return replace(patterns10(n or total, split=split), notice=notice)
    if n is None:
        return data
    require(n <= len(data), f"{data.name} has {len(data)} pictures, asked for {n}")
    return data.subset(torch.arange(n) * len(data) // n)
