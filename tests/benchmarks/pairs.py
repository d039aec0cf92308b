"""What all benchmarks share: two sides take turns in one process, and the median of their ratios counts."""

import statistics
import time
from collections.abc import Callable

WIDTH = 48


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def header(peer: str = "peer") -> None:
    """Print the head of the table."""
    print(f"{'':{WIDTH}s} {peer:>10s} {'ours':>10s} {'ratio':>8s}   wanted")


def compare(
    name: str, n: int, peer: Callable[[], object], ours: Callable[[], object], wanted: str, rounds: int = 5
) -> float:
    """Let both sides take turns and print a line: units a second of each at its best, and the median ratio.

    Args:
        name: what is done.
        n: units (images) that one call works through.
        peer, ours: the two sides; each has run once before if its first call is slower.
        wanted: the ratio asked for, in words.
        rounds: turns of each side.

    Returns:
        The median over the rounds of peer seconds / our seconds.
    """
    pairs = [(seconds(peer), seconds(ours)) for _ in range(rounds)]
    ratio = statistics.median(theirs / own for theirs, own in pairs)
    theirs, own = (n / min(column) for column in zip(*pairs, strict=True))
    print(f"{name:{WIDTH}s} {theirs:10.1f} {own:10.1f} {ratio:8.2f}   {wanted}", flush=True)
    return ratio
