"""Many pictures decoded a little ahead of their use, by a few threads, within so many bytes of memory."""

import contextlib
import ctypes
import hashlib
import io
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from dinov2_edu.checks import checked
from dinov2_edu.pictures.contents import Picture, contents, open_file
from dinov2_edu.pictures.decoding import open_header
from dinov2_edu.pictures.error import PictureError
from dinov2_edu.pictures.reading import read_rgb

DECODED_BYTES = 2**29
"""Most bytes of pictures in work and waiting together; one larger picture is worked on alone."""

_DECODING = 7  # bytes a pixel: PIL's four and the three that are handed out

Known = Callable[[bytes], bool]
"""Whether the picture of a digest is at hand already."""


def threads_here() -> int:
    """How many threads decode pictures: one for each core that this process may use, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(16, cores or 1)


class Hashed(NamedTuple):
    """The SHA-256 of what a picture is decoded from (its file's bytes; in memory its shape and pixels), and its bytes
    `height width 3`; None where they were not wanted."""

    digest: bytes
    pixels: np.ndarray | None


@checked
def read_ahead(
    pictures: Sequence[Picture], known: Known | None = None, *, most: int = DECODED_BYTES
) -> Iterator[np.ndarray | Hashed | PictureError]:
    """Read pictures in order, each as `read_rgb` gives it, or the error that it met.

    Args:
        pictures: any kinds of pictures.
        known: hashes what is read, and is asked in the reading thread whether a digest's picture is at hand, so that
            it need not be decoded. None hashes nothing.
        most: bytes of decoded pictures, those in work included, that there may be at once.

    Yields:
        Bytes `height width 3` (with `known` a `Hashed`), or a `PictureError`. A picture counts against `most` until
        the next is asked for.
    """
    allowance, count = _Allowance(most), threads_here()
    pool = ThreadPoolExecutor(count, thread_name_prefix="read_ahead")

    def submit(number: int) -> None:
        waiting.append(pool.submit(_read_one, pictures[number], number, known, allowance))

    waiting: deque = deque()
    try:
        for number in range(min(4 * count, len(pictures))):
            submit(number)
        for following in range(len(waiting), len(pictures) + len(waiting)):
            found, held = waiting.popleft().result()
            if following < len(pictures):
                submit(following)
            yield found
            del found
            allowance.give_back(held)
    finally:
        allowance.stop()
        pool.shutdown(cancel_futures=True)


class _Allowance:
    """So many bytes, given out in the order of the pictures: the next in turn waits until it fits, or is alone."""

    def __init__(self, most: int) -> None:
        self.most, self.used, self.turn, self.freed, self.stopped = most, 0, 0, 0, False
        self.changed = threading.Condition()

    def take(self, number: int, wanted: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.stopped or (self.turn == number and self._fits(wanted)))
            self.used += wanted
            self.turn += 1
            self.changed.notify_all()

    def _fits(self, wanted: int) -> bool:
        return self.used == 0 or self.used + wanted <= self.most

    def give_back(self, amount: int) -> None:
        with self.changed:
            self.freed += amount
            if self.freed > self.most:
                self.freed = 0
                _return_freed_memory()
            self.used -= amount
            self.changed.notify_all()

    def stop(self) -> None:
        """Let everybody pass: nobody waits for the pictures any more."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()


def _return_freed_memory() -> None:
    """Give freed memory back: glibc keeps, for every thread, about what its largest picture took."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library: nothing to do
        ctypes.CDLL(None).malloc_trim(0)


def _read_one(
    picture: Picture, number: int, known: Known | None, allowance: _Allowance
) -> tuple[np.ndarray | Hashed | PictureError, int]:
    """One picture or its error, and the bytes of the allowance that it still holds."""
    held = _bytes_needed(picture)
    allowance.take(number, held)
    if allowance.stopped:
        return PictureError("it was not read: the run ended"), 0
    found: np.ndarray | Hashed | PictureError
    try:
        found = read_rgb(picture) if known is None else _hashed(picture, known)
    except PictureError as error:
        found = PictureError(error.reason)  # another one: this holds on to the pixels
    except MemoryError:
        found = PictureError("there is not enough memory to read it: free some, or save it smaller")
    pixels = found.pixels if isinstance(found, Hashed) else found
    left = pixels.nbytes if isinstance(pixels, np.ndarray) else 0
    allowance.give_back(held - left)
    return found, left


def _hashed(picture: Picture, known: Known) -> Hashed:
    content = contents(picture)
    if isinstance(content, bytes):
        digest = hashlib.sha256(content).digest()
        return Hashed(digest, None if known(digest) else read_rgb(content))
    pixels = read_rgb(content)
    digest = hashlib.sha256(str(pixels.shape).encode() + b"\0" + pixels.data.cast("B")).digest()
    return Hashed(digest, None if known(digest) else pixels)


def _bytes_needed(picture: Picture) -> int:
    """What reading a picture takes, file and pixels; 0 where its header cannot be read, which reading will say."""
    try:
        if isinstance(picture, Image.Image):
            return _DECODING * picture.width * picture.height
        if isinstance(picture, (str, os.PathLike)):
            with open_file(picture) as file, open_header(file) as header:
                return os.fstat(file.fileno()).st_size + _DECODING * header.width * header.height
        if isinstance(picture, bytes):
            with open_header(io.BytesIO(picture)) as header:
                return _DECODING * header.width * header.height
    except Exception:
        return 0
    try:
        return getattr(picture, "nbytes", 0)
    except RuntimeError:  # a sparse tensor, which reading will refuse
        return 0
