"""What a published file is, where this machine keeps it, and the settings that say how it may be had."""

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from dinov2_edu.checks import require
from dinov2_edu.files import local_path

_SWITCH = {"": False, "0": False, "false": False, "no": False, "off": False}
_SWITCH |= {"1": True, "true": True, "yes": True, "on": True}
_MIRROR = '{"server": "http://...", "files": {"NAME": {"sha256": "64 digits", "size": BYTES}}}'


@dataclass(frozen=True)
class RemoteFile:
    """A published file: where it lies, and what tells it from every other.

    Attributes:
        url: its address.
        sha256: its checksum, 64 hexadecimal digits.
        size: its size in bytes, if known; an announced size that differs is refused at once.
        at_most: bytes after which an answer is not this file, where `size` is not known.
        stand_in: whether it only plays the part of the published file (see `mirrored`).
    """

    url: str
    sha256: str
    size: int | None = None
    at_most: int = 0
    stand_in: bool = False

    def __post_init__(self) -> None:
        good = re.fullmatch("[0-9a-f]{64}", self.sha256)
        require(bool(good), f"sha256 must be 64 digits of 0 to 9 and a to f, got {self.sha256!r}")
        require(self.limit > 0, f"size or at_most must be above 0, got {self.size!r} and {self.at_most!r}")

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]

    def place(self, folder: Path) -> Path:
        """Where it lies in a folder: a stand-in lies in one of its own in there."""
        return (folder / f"stand-in-{self.sha256[:16]}" if self.stand_in else folder) / self.name

    @property
    def limit(self) -> int:
        """The most bytes it can have."""
        return self.at_most if self.size is None else self.size


def cache_dir() -> Path:
    """Say where this package keeps what it would not compute or fetch twice.

    The folder that `DINOV2_EDU_CACHE` names, else `dinov2_edu` in `XDG_CACHE_HOME`, else in `~/.cache`. It
    need not exist yet.
    """
    chosen = os.environ.get("DINOV2_EDU_CACHE")
    return local_path(chosen or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "dinov2_edu"))


def offline() -> bool:
    """Whether `DINOV2_EDU_OFFLINE` (1, true, yes or on) says to leave the network alone.

    Raises:
        ValueError: it is neither one of these nor 0, false, no, off or empty.
    """
    said = os.environ.get("DINOV2_EDU_OFFLINE", "")
    known = said.strip().lower()
    require(
        known in _SWITCH, f"DINOV2_EDU_OFFLINE must be 1, true, yes, on or 0, false, no, off, got {said!r}"
    )
    return _SWITCH[known]


def mirrored(file: RemoteFile) -> RemoteFile:
    """The file as `DINOV2_EDU_MIRROR` names it: from another server, perhaps a stand-in.

    The variable names a JSON file: `{"server": "http://127.0.0.1:8000", "files": {...}}`. The server has the files
    under the paths of the original ones. `files`, which may be absent, gives the stand-ins among them by file name:
    `{"dinov2_vits14_pretrain.pth": {"sha256": "...", "size": 88283115}}`. Every other file must be the published
    one; stand-ins lie in a folder of their own and say everywhere that they are no more than that.

    Raises:
        ValueError: the variable names no such file.
    """
    named = os.environ.get("DINOV2_EDU_MIRROR")
    if not named:
        return file
    try:
        content = json.loads(local_path(named).read_text("utf-8"))
        server, own = content["server"].rstrip("/"), content.get("files", {}).get(file.name)
        require(server.startswith(("http://", "https://")), f"server: {server!r} is no web address")
        there = replace(file, url=server + urlsplit(file.url).path)
        if own is None or own["sha256"] == file.sha256:
            return there
        return replace(there, sha256=own["sha256"], size=int(own["size"]), stand_in=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"DINOV2_EDU_MIRROR is {named!r}, wanted a JSON file like {_MIRROR} ({type(error).__name__}: {error})"
        ) from None


def shown(path: Path) -> str:
    """A path as a page may show it: the home folder is `~`."""
    return str(Path("~", path.relative_to(Path.home())) if path.is_relative_to(Path.home()) else path)
