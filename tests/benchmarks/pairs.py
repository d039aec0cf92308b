"""What all benchmarks share: two sides take turns in one process, and the median of their ratios counts."""

import platform
import statistics
import time
from collections.abc import Callable

import torch

WIDTH = 48


def chip(device: str) -> str:
    """What is measured on, in a few words."""
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    kind = f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
    return f"{kind}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def seconds(work: Callable[[], object]) -> float:
    """Time one call, to the end of what it started on a GPU."""
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def header(peer: str = "peer") -> None:
    """Print the head of the table."""
    print(f"{'':{WIDTH}s} {peer:>10s} {'ours':>10s} {'ratio':>8s}   wanted")


def compare(
    name: str, n: int, peer: Callable[[], object], ours: Callable[[], object], wanted: str, rounds: int = 5
) -> float:
    """Let both sides take turns and print a line: units a second of each at its best, and the median ratio.

    Both run once before the clock starts, and who goes first changes from turn to turn.

    Args:
        name: what is done.
        n: units (images) that one call works through.
        peer, ours: the two sides.
        wanted: the ratio asked for, in words.
        rounds: turns of each side.

    Returns:
        The median over the rounds of peer seconds / our seconds.
    """
    peer()
    ours()
    pairs = []
    for turn in range(rounds):
        first, second = (peer, ours) if turn % 2 == 0 else (ours, peer)
        pair = seconds(first), seconds(second)
        pairs.append(pair if turn % 2 == 0 else pair[::-1])
    ratio = statistics.median(theirs / own for theirs, own in pairs)
    theirs, own = (n / min(column) for column in zip(*pairs, strict=True))
    print(f"{name:{WIDTH}s} {theirs:10.1f} {own:10.1f} {ratio:8.2f}   {wanted}", flush=True)
    return ratio
