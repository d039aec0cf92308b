"""Files that are there whole or not at all, whatever stops the program in between."""

import contextlib
import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from dinov2_edu.door import checked

_LEFTOVER_AGE = 600.0  # seconds without a write after which an unfinished file has no writer any more


@checked
def local_path(path: str | os.PathLike) -> Path:
    """A path as a person writes it: `~` is the home folder; `~x`, where no user x is known, a name like any other."""
    return Path(os.path.expanduser(path))


@checked
def write_whole(path: str | os.PathLike, content: bytes | str | Callable[[IO[bytes]], Any]) -> Path:
    """Write a file so that under its name there is the old content or the new, never a part of either.

    The content goes to another name in the same folder, is flushed to the disk and renamed. Folders are made.
    The file gets the permissions that the process's umask gives; what killed writers left is removed.

    Args:
        path: where; `~` is the home folder.
        content: bytes, text (written as UTF-8), or a function that writes to the open file it is given.

    Returns:
        The path.

    Raises:
        OSError: the folder or file cannot be written; says which, why, and that nothing was changed.
    """
    path = local_path(path)
    with _explained(path), _unfinished(path) as temporary:
        with temporary.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    return path


@checked
@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """A free name on the same disk as `path`; what is left under it in the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in glob.glob(f".{glob.escape(path.name)}.*.part", root_dir=path.parent):
        old = path.parent / name
        if time.time() - _last_write(old) > _LEFTOVER_AGE:
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".part") as place:
        yield Path(place, path.name)


def _last_write(folder: Path) -> float:
    """When anything in a folder was last written; now, where it vanishes meanwhile."""
    try:
        return max(entry.stat().st_mtime for entry in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say which path could not be written and why; the error keeps its number, and so its kind."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cause = "the disk is full" if full else error.strerror or str(error)
        advice = "make room, or name another place" if full else "see who owns the folder, or name another"
        message = f"could not write {path}: {cause}. Nothing was changed there: {advice}"
        raise OSError(error.errno, message) from error
