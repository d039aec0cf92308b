"""Fetch a file once, whole and unchanged: what was cut off is resumed, what is wrong is thrown away."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from dinov2_edu.shapes import require

_TIMEOUT = 20.0  # seconds without a byte before the connection counts as dead
_ATTEMPTS = 4  # a connection that dies after it brought something is taken up again this often
_BLOCK = 1 << 20
_NOT_THE_SERVER = "see whether a proxy or a login page answers in the server's place"


class WeightsUnavailable(RuntimeError):
    """The weights asked for are not on this machine and cannot be fetched now."""


class WeightsRefused(WeightsUnavailable):
    """A file of weights is not the one it should be: other bytes, another size, cut short, other tensors."""


class _BrokenOffError(Exception):
    """The connection died before the end."""


def check_file(path: Path, *, sha256: str, size: int | None = None) -> str:
    """Say in words what is wrong with a file: "" if it has the size and the SHA-256 it should have."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"it has {found:,} bytes and should have {size:,}"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != sha256:
        return f"its SHA-256 is {digest.hexdigest()[:16]}... and should be {sha256[:16]}..."
    return ""


def _connect(url: str, have: int) -> http.client.HTTPResponse:
    """Ask for `url` from byte `have` on.

    Raises:
        _BrokenOffError: there is no way to the server.
        HTTPError: the server says no.
    """
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(getattr(error, "reason", error))) from error


def _total_announced(response: http.client.HTTPResponse, start: int) -> int | None:
    """The size of the whole file as the server states it, or None where it does not."""
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _fetch_rest(url: str, part: Path, size: int | None, progress: bool) -> None:
    """Append to `part` what it lacks, or begin anew where the server cannot resume.

    Raises:
        _BrokenOffError: the connection died; what came is in `part`.
        WeightsRefused: the server announces a file of another size; `part` is unchanged.
        HTTPError: the server says no.
    """
    have = part.stat().st_size if part.exists() else 0
    with _connect(url, have) as response:
        resumed = response.status == 206  # else the server ignored the range and sends everything
        start = have if resumed else 0
        total = _total_announced(response, start)
        if size is not None and total is not None and total != size:
            raise WeightsRefused(
                f"{url} announces {total:,} bytes and should have {size:,}: {_NOT_THE_SERVER}"
            )
        expected = total or size
        bar = tqdm(
            desc=part.stem, initial=start, total=expected, unit="B", unit_scale=True, disable=not progress
        )
        with part.open("ab" if resumed else "wb") as file, bar:
            while block := _read(response):
                file.write(block)
                bar.update(len(block))
            came = file.tell()
    if total is not None and came < total:
        raise _BrokenOffError(f"the connection closed after {came:,} of {total:,} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    """Read a block; kept apart from writing it, so that a full disk is not taken for a dead network."""
    try:
        return response.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"{type(error).__name__}: {error}") from error


def _fetch_all(url: str, part: Path, size: int | None, progress: bool) -> None:
    """Fetch until `part` is as long as the server says, taking up a dead connection a few times."""
    for attempt in range(_ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        if size is not None and before == size:
            return
        try:
            return _fetch_rest(url, part, size, progress)
        except _BrokenOffError as error:
            now = part.stat().st_size if part.exists() else 0
            if now <= before or attempt == _ATTEMPTS - 1:
                kept = f"{now:,} bytes are kept and the next call goes on there" if now else "nothing came"
                raise WeightsUnavailable(f"{url} could not be fetched ({error}): {kept}") from error
        except urllib.error.HTTPError as error:
            if error.code == 416:  # we already hold all there is, or more: the checksum decides
                return
            raise WeightsUnavailable(
                f"{url} could not be fetched: the server says {error.code} {error.reason}, check the address"
            ) from error


def download(
    url: str, path: str | Path, *, sha256: str, size: int | None = None, progress: bool = True
) -> Path:
    """Fetch `url` to `path`, unless the right file is there already.

    The bytes gather in `path` + ".part", and only a file of the right size and SHA-256 is renamed to `path`:
    under that name there is never a wrong or a half one. A download that was cut off goes on where it
    stopped, in this call or the next. Two processes at once wait for each other.

    Args:
        url: where the file is.
        path: where it shall be; a wrong file found there is removed.
        sha256: its checksum, 64 hexadecimal digits.
        size: its size in bytes, where known.
        progress: show a bar.

    Raises:
        ValueError: `sha256` is not a SHA-256.
        WeightsRefused: what came is another file; it is removed.
        WeightsUnavailable: the network, the server or the disk failed; what came is kept for the next call.
    """
    good = len(sha256) == 64 and set(sha256) <= set("0123456789abcdef")
    require(good, f"sha256 must be 64 digits of 0 to 9 and a to f, got {sha256!r}")
    path = Path(path)
    if path.is_file() and not check_file(path, sha256=sha256, size=size):
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.is_file() and check_file(path, sha256=sha256, size=size):
                path.unlink()
            if not path.is_file():
                _fetch_all(url, part, size, progress)
                _accept(part, path, url, sha256, size)
    except WeightsUnavailable:
        raise
    except OSError as error:
        raise WeightsUnavailable(
            f"{path} could not be written ({error}): free some space or choose another folder with TORCH_HOME"
        ) from error
    return path


def _accept(part: Path, path: Path, url: str, sha256: str, size: int | None) -> None:
    """Rename a fetched file to its final name if it is the right one, else remove it and say so."""
    wrong = check_file(part, sha256=sha256, size=size)
    if wrong:
        part.unlink()
        raise WeightsRefused(
            f"what came from {url} is not the file wanted, {wrong}; it was removed: try again, "
            f"and if that does not help, {_NOT_THE_SERVER}"
        )
    os.replace(part, path)
