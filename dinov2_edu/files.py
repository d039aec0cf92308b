"""Files that are there whole or not at all, whatever stops the program in between; folders that one process holds."""

import contextlib
import errno
import glob
import io
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import filelock

from dinov2_edu.checks import check_at_least, checked, require

_LEFTOVER_AGE = 600.0  # seconds without a write after which an unfinished file has no writer any more


@checked
def local_path(path: str | os.PathLike) -> Path:
    """A path as a person writes it: `~` is the home folder; `~x`, where no user x is known, a name like any other."""
    return Path(os.path.expanduser(path))


@checked
def last_name(path: str | os.PathLike) -> str:
    """What to call a file or folder: the last part of its path; of `.` or `..` that of the folder it stands for."""
    place = Path(os.path.abspath(local_path(path)))  # links keep their own names
    return place.name or str(place)


@checked
def hash_blocks(digest: Any, file: io.BufferedIOBase) -> Any:
    """Give a digest of hashlib the rest of an open file, a megabyte at a time; returns the digest."""
    while block := file.read(1 << 20):
        digest.update(block)
    return digest


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
    with _explained(path):
        _check_plain(path)
    with _explained(path), _unfinished(path) as temporary:
        _write(temporary, content)
        os.replace(temporary, path)
    return path


@checked
def write_together(folder: str | os.PathLike, contents: Mapping[str, bytes | str]) -> Path:
    """Write files of a folder that mean something only together: all are the new ones, or all are as they were.

    All are written under other names and flushed before the first is renamed; an error or an interruption puts the
    old ones back. Should the process be killed between two renames, the last file is not there: name last the one
    that a reader opens first, and old files never pass for parts of the new whole. Other files stay.

    Args:
        folder: where, made if missing; `~` is the home folder.
        contents: name -> bytes, or text (written as UTF-8); at least one.

    Returns:
        The folder.

    Raises:
        ValueError: no contents.
        OSError: the folder or a file cannot be written; says which, why, and that nothing was changed.
    """
    require(len(contents) > 0, "contents is empty: name at least one file")
    folder, (*others, last) = local_path(folder), contents
    for name in contents:
        with _explained(folder / name):
            _check_plain(folder / name)
    with _explained(folder), _unfinished(folder / last) as temporary:
        new, old = temporary.parent / "new", temporary.parent / "old"
        for place in (new, old):
            place.mkdir()
        for name, content in contents.items():
            _write(new / name, content)
        try:
            for name in (last, *others):
                if os.path.lexists(folder / name):
                    os.replace(folder / name, old / name)
            for name in (*others, last):
                os.replace(new / name, folder / name)
        except BaseException:
            for name in (*others, last):
                if os.path.lexists(old / name):
                    os.replace(old / name, folder / name)
                elif not (new / name).exists():  # it went to a name that was free
                    (folder / name).unlink()
            raise
    return folder


@checked
@contextlib.contextmanager
def hold_folder(
    folder: str | os.PathLike, content: str, *, wait_s: float = 0.0, elsewhere: str = "name another folder"
) -> Iterator[Path]:
    """Make a folder and keep other processes, and other threads, out of it; one thread may hold it twice.

    A file `.lock` in it stays. A killed process holds nothing.

    Args:
        folder: where; `~` is the home folder.
        content: what is kept there, such as "a run", for errors.
        wait_s: seconds to wait for another that holds it, from 0.
        elsewhere: what to do where it cannot be had, for errors.

    Yields:
        The folder.

    Raises:
        ValueError: `wait_s` is below 0.
        TimeoutError: another still holds it.
        OSError: it cannot be made or written.
    """
    check_at_least(0, wait_s=wait_s)
    folder = local_path(folder)
    lock = filelock.FileLock(folder / ".lock", is_singleton=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_s)
    except filelock.Timeout:
        long = f", for {wait_s:g} s already" if wait_s else ""
        raise TimeoutError(
            f"another process keeps {content} in {folder}{long}: wait until it ends, end it, or {elsewhere}"
        ) from None
    except OSError as error:
        cause = error.strerror or error
        raise OSError(error.errno, f"{content} cannot be kept in {folder}: {cause}; {elsewhere}") from error
    try:
        yield folder
    finally:
        lock.release()


def _write(path: Path, content: bytes | str | Callable[[IO[bytes]], Any]) -> None:
    """Write a file and flush it to the disk."""
    with path.open("wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


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


def _check_plain(path: Path) -> None:
    """Refuse a name that a renamed file must not take: that of a folder, a device or a pipe, or one in /dev."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    special = path.exists() and not path.is_file()
    if special or (os.path.islink(path) and Path(os.path.abspath(path)).parent == Path("/dev")):
        raise OSError(errno.EINVAL, "it is a device or a pipe, and would be replaced by a file")


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
