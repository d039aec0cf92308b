"""Fetch a published file once, whole and unchanged: CIFAR-10 and the official weights come through here.

Why not a library's part: `torch.hub.download_url_to_file` and `pooch` begin anew after every break, set no limit to
time or size, and let two processes write at once; torchvision falls back to plain http as well. Only the file whose
SHA-256 is known ever gets its name here, and a server can cost neither an endless wait nor a full disk.
"""

import contextlib
import hashlib
import http.client
import os
import queue
import re
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from dinov2_edu.data.remote import RemoteFile, offline, shown
from dinov2_edu.files import hash_blocks, local_path

_SILENCE = 20.0  # seconds without a byte after which a connection counts as dead, whatever it is busy with
# A connection that brings fewer bytes a second over such a time is dead as well.
_WINDOW, _SLOWEST = 30.0, 10_000
_CONNECTIONS = 4  # one that dies after it brought something is taken up again, so often in a call
_BLOCK = 1 << 20
_NOT_THE_SERVER = "a proxy or a login page may answer in the server's place"


class NotFetched(RuntimeError):
    """A file is not on this machine and could not be fetched; the message says why, in a part of a sentence."""


class _BrokenOffError(Exception):
    """The connection died before the end, or never stood."""


def fetch(file: RemoteFile, folder: str | Path, *, progress: bool = True) -> Path:
    """Return the path of a published file in `folder`, fetching it first where it is not there.

    What came gathers in a file ".part" beside it and stays there if the connection breaks off; this call, or the next,
    goes on at that byte. Of several processes one fetches, and the others wait and read. A file of another content
    under the wanted name is left alone until the right one is there.

    Args:
        file: what to fetch, as `mirrored` says.
        folder: where it lies or shall lie; a stand-in lies in a folder of its own in there.
        progress: show a bar.

    Raises:
        NotFetched: it is not there, and switch, network, server or disk forbid to fetch it.
    """
    path = file.place(local_path(folder))
    try:
        wrong = _fault(path, file)
        if wrong and offline():
            also = f"{shown(path)} {wrong}, and " if path.is_file() else ""
            raise NotFetched(f"{also}DINOV2_EDU_OFFLINE is set")
        if wrong:
            path.parent.mkdir(parents=True, exist_ok=True)
            _require_plain(path.with_name(f"{path.name}.lock"))
            with FileLock(f"{path}.lock", timeout=file.limit / _SLOWEST + _CONNECTIONS * _WINDOW):
                if _fault(path, file):
                    _fetch_to(path, file, progress)
        return path
    except Timeout:
        raise NotFetched(f"another process has been fetching {shown(path)} for too long: end it") from None
    except (OSError, NotImplementedError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise NotFetched(f"{shown(path)} could not be read or written: {cause}") from None


def _fault(path: Path, file: RemoteFile) -> str:
    """What is wrong with a file here, in words that follow its name: "" if it is the published one."""
    if not path.is_file():
        return "is not there"
    found = path.stat().st_size
    if found > file.limit or found != (file.size or found):
        return f"is another file (of {found:,} bytes, not {'at most ' if file.size is None else ''}{file.limit:,})"
    with path.open("rb") as opened:
        digest = hash_blocks(hashlib.sha256(), opened).hexdigest()
    if digest != file.sha256:
        return f"is another file (its SHA-256 is {digest[:16]}..., not {file.sha256[:16]}...)"
    return ""


def _require_plain(*paths: Path) -> None:
    """Refuse a link, a pipe, a folder or a device where a file of ours is to be written."""
    for path in paths:
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise NotFetched(f"{shown(path)} is there and is not a plain file: remove it")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch_to(path: Path, file: RemoteFile, progress: bool) -> None:
    """Fetch the file and give it its name, if it is the right one. Only one process at a time may be here."""
    part, anew = (path.with_name(f"{path.name}.{end}") for end in ("part", "anew"))
    _require_plain(path, part, anew)
    for _ in range(2):
        if _size(part) > file.limit:
            part.unlink()
        kept = _size(part)
        free, missing = shutil.disk_usage(path.parent).free, file.limit - kept
        if free < missing:
            raise NotFetched(f"{shown(path.parent)} has room for {free:,} bytes and {missing:,} are to come")
        fetched = _gather(file, part, anew, progress)
        wrong = _fault(fetched, file)
        if not wrong:
            os.replace(fetched, path)
            for rest in (part, anew):
                rest.unlink(missing_ok=True)
            return
        fetched.unlink(missing_ok=True)
        if not kept or fetched == anew:
            break  # else the bytes kept were perhaps of another file: they are gone, and all is fetched once more
    raise NotFetched(f"what came from {file.url} {wrong} and was removed: {_NOT_THE_SERVER}")


def _gather(file: RemoteFile, part: Path, anew: Path, progress: bool) -> Path:
    """Fetch to the end, taking up a dead connection a few times; return the file that is to be checked."""
    for connection in range(_CONNECTIONS):
        before = _size(part)
        if before == file.limit:
            return part
        try:
            return _receive(file, part, anew, progress)
        except _BrokenOffError as error:
            now = _size(part)
            if not now:
                part.unlink(missing_ok=True)
            if now > before and connection < _CONNECTIONS - 1:
                continue
            kept = f"; {now:,} bytes are kept, and the next call goes on there" if now else ""
            raise NotFetched(f"{error}{kept}") from None
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and before and file.size is None:  # we hold all there is, or more
                return part
            raise NotFetched(_refusal(error)) from None
    raise AssertionError("the last connection returns or raises")


def _refusal(error: urllib.error.HTTPError) -> str:
    """What a server that says no has said."""
    wait = error.headers.get("Retry-After", "")
    advice = (
        f": try again {f'in {wait} seconds' if wait.isdigit() else 'later'}"
        if error.code in (429, 503)
        else ""
    )
    return f"the server says {error.code} {_line(error.reason)}{advice}"


def _receive(file: RemoteFile, part: Path, anew: Path, progress: bool) -> Path:
    """Append to `part` what it lacks, in one connection.

    A server that cannot resume sends everything. That gathers in `anew`, so that no login page wipes what was kept.

    Raises:
        _BrokenOffError: the connection died; what came is in `part`.
        NotFetched: the answer is not the file; `part` is unchanged.
        HTTPError: the server says no.
    """
    have = _size(part)
    headers = {"User-Agent": "dinov2-edu"} | ({"Range": f"bytes={have}-"} if have else {})
    with contextlib.closing(_stream(urllib.request.Request(file.url, headers=headers))) as stream:
        answer = next(stream)
        start = _start(answer, file, have)
        total = _announced(answer, start)
        if total is not None and (total > file.limit or total != (file.size or total)):
            wanted = f"{'at most ' if file.size is None else ''}{file.limit:,}"
            raise NotFetched(f"{file.url} announces {total:,} bytes, not {wanted}: {_NOT_THE_SERVER}")
        place = part if start == have else anew
        try:
            came = _write(stream, place, file, start, total, progress)
            if total is not None and came < total:
                raise _BrokenOffError(f"the connection closed after {came:,} of {total:,} bytes")
        except _BrokenOffError:
            if place == anew:
                os.replace(anew, part) if _size(anew) > have else anew.unlink()
            raise
    return place


def _start(answer: http.client.HTTPResponse, file: RemoteFile, have: int) -> int:
    """The byte that an answer begins with: the one asked for, or 0 from a server that cannot resume."""
    stated = re.match(r"bytes (\d{1,15})-", answer.headers.get("Content-Range", ""))
    start = (int(stated[1]) if stated else have) if answer.status == 206 else 0
    if start not in (0, have):
        raise NotFetched(f"{file.url} sends from byte {start:,} on, not {have:,}: {_NOT_THE_SERVER}")
    return start


def _announced(answer: http.client.HTTPResponse, start: int) -> int | None:
    """The size of the whole file as the server states it, or None where it does not, or oddly."""
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if re.fullmatch("[0-9]{1,15}", length) else None


def _write(
    stream: Iterator, place: Path, file: RemoteFile, start: int, total: int | None, progress: bool
) -> int:
    """Write a body to `place` from byte `start` on, never beyond the file's limit; return where it ended."""
    bar = tqdm(
        desc=file.name,
        initial=start,
        total=total or file.size,
        unit="B",
        unit_scale=True,
        disable=not progress,
    )
    began, came = time.monotonic(), 0
    with place.open("ab" if start else "wb") as opened, bar:
        for block in stream:
            opened.write(block[: file.limit - opened.tell()])
            bar.update(len(block))
            came += len(block)
            if opened.tell() == file.limit:
                break
            if time.monotonic() - began > _WINDOW:
                if came < _WINDOW * _SLOWEST:
                    raise _BrokenOffError(f"{file.url} sends fewer than {_SLOWEST:,} bytes a second")
                began, came = time.monotonic(), 0
        return opened.tell()


def _stream(request: urllib.request.Request) -> Generator:
    """Yield a server's answer, then its body block by block.

    The network is read in a thread of its own: then nothing, not the look-up of a name nor a header sent letter by
    letter, holds the caller for more than `_SILENCE`.

    Raises:
        _BrokenOffError: there is no way to the server, it fell silent, or it does not speak HTTP.
        HTTPError: the server says no.
    """
    items: queue.Queue = queue.Queue(maxsize=4)
    left = threading.Event()

    def put(item: Any) -> None:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                return items.put(item, timeout=0.1)

    def read() -> None:
        try:
            with urllib.request.urlopen(request, timeout=_SILENCE) as answer:
                put(answer)
                while not left.is_set() and (block := answer.read1(_BLOCK)):
                    put(block)
            put(None)
        except Exception as error:  # a server can bring urllib to raise nearly anything
            put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        while (item := items.get(timeout=_SILENCE)) is not None:
            if isinstance(item, urllib.error.HTTPError):
                raise item
            if isinstance(item, Exception):
                raise _BrokenOffError(_said(item)) from None
            yield item
    except queue.Empty:
        raise _BrokenOffError(f"nothing came from the server for {_SILENCE:g} seconds") from None
    finally:
        left.set()


def _said(error: Exception) -> str:
    """Why there is no answer, in plain words."""
    reason = getattr(error, "reason", error)
    if isinstance(reason, socket.gaierror):
        return "there seems to be no network"
    if isinstance(reason, TimeoutError):
        return f"nothing came from the server for {_SILENCE:g} seconds"
    if isinstance(reason, ConnectionRefusedError):
        return "the server refused the connection"
    if isinstance(reason, http.client.HTTPException):
        return "what answers does not speak HTTP as it should"
    return f"the connection failed ({_line(reason) or type(reason).__name__})"


def _line(text: object) -> str:
    """What a server or a library says, as a short line."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())[:80]
