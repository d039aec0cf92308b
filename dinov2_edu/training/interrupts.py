"""Ctrl-C and a polite request to end: a step that has begun is finished, and the run is kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_DEAF = (signal.SIG_IGN, None)
"""Handlers that are left alone: a signal that the caller ignores, and one that was set outside Python."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would raise `KeyboardInterrupt`."""


def _raise_terminated(number: int, frame: object) -> None:
    raise Terminated


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` inside the block; when that has been dealt with, it ends the process after it."""
    if not _may_listen() or signal.getsignal(signal.SIGTERM) in _DEAF:
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold both signals back until the block is done: half a step would be repeated, and its record missed."""
    if not _may_listen():
        yield
        return
    held: list[int] = []
    heeded = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) not in _DEAF]
    before = {number: signal.signal(number, lambda number, frame: held.append(number)) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


def _may_listen() -> bool:
    """Python delivers signals to the main thread alone."""
    return threading.current_thread() is threading.main_thread()
