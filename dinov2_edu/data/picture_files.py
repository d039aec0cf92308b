"""Pictures in class folders or in an archive of them, decoded once into arrays that load in a moment.

The layout is the one torchvision's ImageFolder reads: `train/airplane/0000.jpg`. An archive is unpacked in
memory, so it may lie where nothing can be written.
"""

import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dinov2_edu.pictures import PictureError, read_rgb
from dinov2_edu.shapes import require

SPLITS = ("train", "test")
_SUFFIXES = (".jpg", ".jpeg", ".png")


class _Picture(NamedTuple):
    """One picture file that is not decoded yet; sorts by split, class folder and file name."""

    split: str
    folder: str
    file: str
    content: bytes | Path

    @property
    def name(self) -> str:
        return f"{self.split}/{self.folder}/{self.file}"


def cache_dir() -> Path:
    """Say where this package keeps what it would not compute twice.

    The folder that `DINOV2_EDU_CACHE` names, else `dinov2_edu` in `XDG_CACHE_HOME`, else in `~/.cache`. It
    need not exist yet.
    """
    chosen = os.environ.get("DINOV2_EDU_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "dinov2_edu")


@contextmanager
def workplace_for(folder: Path) -> Iterator[Path]:
    """Make an empty folder beside `folder`, to be filled and put in its place; remove it if it was not.

    Raises:
        OSError: it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield workplace
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def put_in_place(workplace: Path, folder: Path) -> None:
    """Rename a finished folder to its final name, unless another process was quicker.

    Raises:
        OSError: the rename failed, and nothing stands at `folder`.
    """
    try:
        os.replace(workplace, folder)
    except OSError:
        if not folder.is_dir():
            raise


def _place(path: PurePosixPath) -> tuple[str, str, str] | None:
    """Split, class folder and file name, where a path ends in these; None for anything else."""
    split, folder, file = ("", "", "", *path.parts)[-3:]
    is_picture = path.suffix.lower() in _SUFFIXES and not file.startswith(".")
    return (split, folder, file) if is_picture and split in SPLITS else None


def _pictures_in_archive(path: Path) -> Iterator[_Picture]:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                place = _place(PurePosixPath(member.name)) if member.isfile() else None
                content = archive.extractfile(member) if place else None
                if place and content:
                    yield _Picture(*place, content.read())
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read to its end as a tar archive: it may be cut, fetch it again ({error})"
        ) from error


def _pictures_in_folder(path: Path) -> Iterator[_Picture]:
    for file in path.rglob("*"):
        place = _place(PurePosixPath(file.relative_to(path).as_posix()))
        if place and file.is_file():
            yield _Picture(*place, file)


def _find_source(path: Path) -> Path:
    """Settle on the archive, or on the folder that holds `train` and `test`."""
    advice = "point root or the environment variable DINOV2_EDU_CIFAR10 at the pictures"
    require(path.exists(), f"there is no file or folder {path}: {advice}")
    if path.is_file():
        return path
    for folder in (path, path / "cifar10"):
        if all((folder / split).is_dir() for split in SPLITS):
            return folder
    archives = sorted(path.glob("*.tar*"))
    require(
        len(archives) == 1,
        f"{path} holds neither the folders train and test nor exactly one tar archive: "
        "wanted train/airplane/0000.jpg and so on, or an archive of that",
    )
    return archives[0]


def _fingerprint(source: Path) -> str:
    """Tell sources apart: an archive by its bytes, a folder by every file's path, size and time of change."""
    digest = hashlib.sha256()
    if source.is_file():
        with source.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    else:
        for picture in sorted(_pictures_in_folder(source)):
            facts = picture.content.stat()
            digest.update(f"{picture.name} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _decode(picture: _Picture) -> np.ndarray:
    """Decode one picture to bytes `3 height width`; grey and transparent ones become red, green, blue."""
    try:
        return read_rgb(picture.content, name=picture.name).transpose(2, 0, 1)
    except PictureError as error:
        raise ValueError(
            f"{picture.name} is not a whole picture, replace or remove it ({error.reason})"
        ) from error


def _decode_split(
    pictures: list[_Picture], split: str, folders: tuple[str, ...], source: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Decode one split to images `n 3 height width` and labels `n`, sorted by class, then by file."""
    chosen = sorted(picture for picture in pictures if picture.split == split)
    found = {picture.folder for picture in chosen}
    absent, strange = sorted(set(folders) - found), sorted(found - set(folders))
    require(not absent, f"{source} has no pictures in {', '.join(f'{split}/{folder}' for folder in absent)}")
    require(not strange, f"{source}, {split}: {', '.join(strange)} not among {', '.join(folders)}")
    first = _decode(chosen[0])
    images = np.empty((len(chosen), *first.shape), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = tqdm(pool.map(_decode, chosen), f"decoding {split}", len(chosen), leave=False)
        for i, (image, picture) in enumerate(zip(decoded, chosen, strict=True)):
            sizes = f"got {picture.name} {image.shape[1:]} beside {chosen[0].name} {first.shape[1:]}"
            require(image.shape == first.shape, f"all pictures must have the same height and width, {sizes}")
            images[i] = image
    return images, np.array([folders.index(picture.folder) for picture in chosen], dtype=np.int64)


def _write_cache(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Put all arrays into `folder` at once or not at all; only warn where the disk is full or read-only."""
    try:
        with workplace_for(folder) as workplace:
            for name, array in arrays.items():
                np.save(workplace / f"{name}.npy", array)
            put_in_place(workplace, folder)
    except OSError as error:
        warnings.warn(
            f"the decoded pictures could not be kept in {folder}, so each run decodes them anew ({error}): "
            "free some space, or set DINOV2_EDU_CACHE to a folder that can be written",
            stacklevel=2,
        )


def _read_cache(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Read one split from the cache; None where it is absent or damaged."""
    try:
        return np.load(folder / f"{split}-images.npy"), np.load(folder / f"{split}-labels.npy")
    except (OSError, ValueError, EOFError):
        return None


def read_picture_files(path: Path, split: str, folders: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Read one split: images `n 3 height width` as bytes and labels `n`, sorted by class, then by file.

    The first call decodes both splits (60,000 pictures of 32 x 32 take about 8 s) and keeps them in
    `cache_dir()` under a fingerprint of the source; later calls read them from there.

    Args:
        path: an archive, a folder with `train` and `test` in it, or a folder that holds one of the two.
        split: "train" or "test".
        folders: the class folders; a picture's label is the index of its folder.

    Raises:
        ValueError: nothing is there, the archive is cut short, a class is missing, empty or unknown, or a
            picture is broken or of another size than the first.
    """
    source = _find_source(path)
    folder = cache_dir() / f"pictures-{_fingerprint(source)}"
    cached = _read_cache(folder, split)
    if cached is not None:
        return cached
    shutil.rmtree(folder, ignore_errors=True)  # a damaged one, if any
    pictures = list(_pictures_in_archive(source) if source.is_file() else _pictures_in_folder(source))
    decoded = {name: _decode_split(pictures, name, folders, source) for name in SPLITS}
    arrays = {f"{name}-images": images for name, (images, _) in decoded.items()}
    arrays |= {f"{name}-labels": labels for name, (_, labels) in decoded.items()}
    _write_cache(folder, arrays)
    return decoded[split]
