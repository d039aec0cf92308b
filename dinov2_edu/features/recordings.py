"""Recordings: what official weights gave once, in files small enough to be kept, each held to its checksum.

`python -m dinov2_edu recordings` makes them where there is a network. Here they are found and read; what does not fit
its manifest, the weights' checksum or this version of the package is refused, with the reason.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dinov2_edu
from dinov2_edu.checks import checked
from dinov2_edu.data import cache_dir
from dinov2_edu.data.remote import mirrored, shown
from dinov2_edu.files import local_path
from dinov2_edu.weights import WEIGHTS

FORMAT = 1
"""Of the manifest and the files; raise it when an older package would misread a new file."""

MANIFEST = "manifest.json"
_COMMAND = "`python -m dinov2_edu recordings` makes it"
_TEXTS = ("file", "sha256", "version", "date", "model", "weights_sha256")


class RecordingUnavailable(RuntimeError):
    """There is no such recording here; the message says what makes it."""


class RecordingRefused(RecordingUnavailable):
    """A recording is here and is not what its manifest says, or cannot be trusted; the message says what is wrong."""


@dataclass(frozen=True)
class Recording:
    """One file of recorded numbers, and where they come from.

    Attributes:
        name: such as "photos-vits14".
        model: name of the weights.
        stand_in: whether the weights only played the part of the published ones (see `data.remote.mirrored`).
        date: day on which it was made, as 2026-11-29.
        version: of the package that made it.
        about: what was recorded, in numbers and words.
        content: the file's bytes.
    """

    name: str
    model: str
    stand_in: bool
    date: str
    version: str
    about: dict[str, Any]
    content: bytes

    @property
    def weights(self) -> str:
        """The weights in words."""
        kind = "a stand-in that DINOV2_EDU_MIRROR names" if self.stand_in else "official weights"
        return f"{self.model} ({kind})"

    @property
    def source(self) -> str:
        """Where the numbers come from, to be said beside them."""
        return f"recorded on {self.date} with {self.weights}, dinov2_edu {self.version}"


def recordings_folder() -> Path:
    """Where recordings lie: `recordings` in the package's cache, which `DINOV2_EDU_CACHE` moves."""
    return cache_dir() / "recordings"


@checked
def read_recording(name: str, folder: str | Path | None = None) -> Recording:
    """Read a recording, held to the checksum in its manifest and to that of the published weights.

    Args:
        name: a name in the manifest, such as "photos-vits14".
        folder: where the recordings lie; `recordings_folder()` if None.

    Raises:
        RecordingUnavailable: there is none of this name.
        RecordingRefused: its file is gone, cut short or changed, it was made with other weights than the published
            ones, or by a newer version of the package.
    """
    folder = recordings_folder() if folder is None else local_path(folder)
    item = read_manifest(folder).get(name)
    if item is None:
        raise RecordingUnavailable(f"there is no recording {name!r} in {shown(folder)}: {_COMMAND}")
    if _release(item["version"]) > _release(dinov2_edu.__version__):
        raise RecordingRefused(
            f"the recording {name} was made by dinov2_edu {item['version']}, newer than this "
            f"{dinov2_edu.__version__}: update the package, or remove {shown(folder)}, and {_COMMAND} anew"
        )
    return Recording(
        name,
        item["model"],
        _published_weights(name, item),
        item["date"],
        item["version"],
        item["about"],
        _content(name, item, folder),
    )


@checked
def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """What a folder's manifest says of each recording; nothing where there is no manifest.

    Args:
        folder: where the recordings lie.

    Raises:
        RecordingRefused: it is damaged, or in a newer format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text("utf-8"))
        version, items = manifest["format"], manifest["items"]
        for item in items.values():
            good = all(isinstance(item[key], str) for key in _TEXTS) and isinstance(item["about"], dict)
            if not (good and isinstance(item["bytes"], int) and isinstance(version, int)):
                raise ValueError("an entry has another form")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RecordingRefused(
            f"{shown(path)} is no manifest of recordings ({type(error).__name__}: {error}): remove it, and "
            "`python -m dinov2_edu recordings` makes all anew"
        ) from None
    if version > FORMAT:
        raise RecordingRefused(
            f"{shown(path)} has format {version}, this package reads up to {FORMAT}: update the package"
        )
    return items


def _release(version: str) -> tuple[int, ...]:
    """The three numbers of a version, to be compared."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _published_weights(name: str, item: dict[str, Any]) -> bool:
    """Refuse a recording of weights other than the pinned ones; return whether these are a stand-in."""
    entry = WEIGHTS.get(item["model"])
    if entry is None:
        raise RecordingRefused(f"the recording {name} is of {item['model']!r}, which no published file has")
    file = mirrored(entry.file)
    if item["weights_sha256"] != file.sha256:
        raise RecordingRefused(
            f"the recording {name} was made with other weights than the published {item['model']} (their SHA-256 is "
            f"{item['weights_sha256'][:16]}..., not {file.sha256[:16]}...): remove it, and {_COMMAND} anew"
        )
    return file.stand_in


def _content(name: str, item: dict[str, Any], folder: Path) -> bytes:
    """A recording's bytes, if they are those that were written."""
    path = folder / Path(item["file"]).name  # nothing outside the folder is read
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordingRefused(
            f"the recording {name} could not be read from {shown(path)} ({error.strerror or error}): {_COMMAND} anew"
        ) from None
    if len(content) != item["bytes"]:
        raise RecordingRefused(
            f"{shown(path)} has {len(content):,} bytes, not {item['bytes']:,} as when it was recorded: it is cut "
            f"short or another file; {_COMMAND} anew"
        )
    found = hashlib.sha256(content).hexdigest()
    if found != item["sha256"]:
        raise RecordingRefused(
            f"{shown(path)} is not what was recorded (its SHA-256 is {found[:16]}..., not {item['sha256'][:16]}...): "
            f"{_COMMAND} anew"
        )
    return content
