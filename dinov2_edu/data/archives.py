"""Read a tar archive from outside: nothing is unpacked, so nothing is written, and no bomb goes off."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from dinov2_edu.data.imageset import DataUnavailable
from dinov2_edu.data.remote import shown

# Bytes an archive may unfold to, and times its own size: pictures hardly shrink.
_ROOM, _FACTOR = 64 << 20, 100
_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}


class _Bounded:
    """A stream that ends with an error where an archive unfolds to more than any set of pictures does."""

    def __init__(self, stream: io.BufferedIOBase, path: Path) -> None:
        self.stream, self.path, self.left = stream, path, _ROOM + _FACTOR * path.stat().st_size

    def read(self, size: int) -> bytes:
        block = self.stream.read(min(size, self.left + 1))
        self.left -= len(block)
        if self.left < 0:
            raise DataUnavailable(
                f"{shown(self.path)} unfolds to over {_FACTOR} times its size, as no archive of pictures does: "
                "it was not read further"
            )
        return block


def members(path: Path, wanted: Callable[[str], Any]) -> Iterator[tuple[Any, bytes]]:
    """Yield what `wanted` makes of its name, and the content, of every plain file in an archive; None leaves it out.

    Raises:
        DataUnavailable: it is cut short, damaged, no archive, or unfolds without end.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        opener = _OPENERS.get(file.read(2), open)
    try:
        with (
            opener(path, "rb") as stream,
            tarfile.open(fileobj=cast(Any, _Bounded(stream, path)), mode="r|") as archive,
        ):
            for member in archive:
                # A sparse member's holes would be made in memory, of any size.
                plain = member.isfile() and not member.issparse()
                named = wanted(member.name) if plain else None
                if named is not None:
                    yield named, cast(IO[bytes], archive.extractfile(member)).read()
    except DataUnavailable:
        raise
    except Exception as error:  # what a decompressor or tarfile meets in damaged bytes is of many kinds
        raise DataUnavailable(
            f"{shown(path)} cannot be read to its end as a tar archive: it may be cut, fetch it again ({error})"
        ) from error
