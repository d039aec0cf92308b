"""Which pictures a folder holds, and which of its files are none: the same wherever one is read."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from dinov2_edu.checks import checked
from dinov2_edu.files import local_path
from dinov2_edu.pictures.decoding import FORMATS
from dinov2_edu.pictures.error import path_text


class PictureFolder(NamedTuple):
    """The pictures of a folder, sorted: a class each sub-folder as in torchvision's ImageFolder, or flat.

    `labels` holds the class of each picture, or is None for a flat folder; `left_out` counts, by kind, the files
    that are no pictures or cannot be read here.
    """

    paths: list[Path]
    labels: list[int] | None
    class_names: tuple[str, ...]
    left_out: Counter[str]


def readable_suffixes() -> frozenset[str]:
    """File suffixes (lower case, with the dot) of the pictures that can be decoded here."""
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    known.append("MPO")  # several JPEG pictures in one file
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in known)


@checked
def find_pictures(
    folder: str | os.PathLike, *, deep: bool = True, outside: Iterable[Path] = ()
) -> tuple[list[Path], Counter[str]]:
    """List the picture files of a folder and count, by kind, the files that are left out.

    Links to folders are followed, each folder once. Hidden files and folders are passed over and not counted.

    Args:
        folder: where to look.
        deep: look into its sub-folders too.
        outside: folders that a link must not lead back to, such as the one above.

    Returns:
        The paths, sorted, and counts such as `{".heic": 2, "dead links": 1}`.
    """
    folder, suffixes = local_path(folder), readable_suffixes()
    found: list[Path] = []
    left_out: Counter[str] = Counter()
    seen = {os.path.realpath(place) for place in outside}

    def not_opened(error: OSError) -> None:
        left_out["folders that cannot be opened"] += 1

    for place, folders, files in os.walk(folder, followlinks=True, onerror=not_opened):
        real = os.path.realpath(place)
        if real in seen:
            left_out["links to folders that were read already"] += 1
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name[0] != ".") if deep else []
        for path in (Path(place, name) for name in files if name[0] != "."):
            if reason := _no_picture(path, suffixes):
                left_out[reason] += 1
            else:
                found.append(path)
    return sorted(found), left_out


def _no_picture(path: Path, suffixes: frozenset[str]) -> str:
    """Of which kind a file is that is left out; "" for a picture."""
    if os.path.isfile(path):
        suffix = path.suffix.lower()
        return "" if suffix in suffixes else suffix or "files without a suffix"
    return "dead links" if os.path.islink(path) else "pipes, devices and what cannot be looked at"


@checked
def read_folder(folder: str | os.PathLike) -> PictureFolder:
    """List the pictures of a folder: a class each visible sub-folder, or flat without labels.

    Raises:
        ValueError: there is no such folder, it holds no picture, an empty class, or pictures beside class folders.
    """
    folder = local_path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {path_text(folder)}: check the name")
    try:
        names = sorted(name for name in os.listdir(folder) if name[0] != ".")
    except OSError as error:
        raise ValueError(
            f"{path_text(folder)} cannot be opened ({error.strerror}): see who may read it"
        ) from error
    flat, left_out = find_pictures(folder, deep=False)
    classes = [folder / name for name in names if os.path.isdir(folder / name)]
    listed = {entry.name: find_pictures(entry, outside=[folder]) for entry in classes}
    for _, more in listed.values():
        left_out += more
    note = f" ({left_out_text(left_out)} are no pictures that can be read here)" if left_out else ""
    shown = path_text(folder)
    if flat:
        mixed = [path_text(name) for name, (paths, _) in listed.items() if paths]
        if mixed:
            what = "pictures beside class folders"
            raise ValueError(f"{shown} holds {what} ({', '.join(mixed[:9])}): sort them into one kind")
        return PictureFolder(flat, None, (), left_out)
    if not listed:
        wanted = ", ".join(sorted(readable_suffixes()))
        raise ValueError(f"{shown} holds no picture and no class folder; wanted {wanted} files{note}")
    empty = [path_text(name) for name, (paths, _) in listed.items() if not paths]
    if empty:
        raise ValueError(
            f"class folders without a picture in {shown}: {', '.join(empty[:9])}; fill or remove them{note}"
        )
    labels = [label for label, (paths, _) in enumerate(listed.values()) for _ in paths]
    paths = [path for paths, _ in listed.values() for path in paths]
    return PictureFolder(paths, labels, tuple(listed), left_out)


def left_out_text(left_out: Counter[str]) -> str:
    """Counts in words: `2 x .heic, 1 x dead links`."""
    return ", ".join(f"{count} x {path_text(kind)}" for kind, count in left_out.most_common(9))
