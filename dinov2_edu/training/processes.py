"""Sums over processes: the identity in one process, `torch.distributed` under `torchrun`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


@contextmanager
def process_group(device: str) -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, for the duration; does nothing in a lone process.

    Args:
        device: "cpu" (gloo) or "cuda" (nccl; each process takes the GPU of its local rank).

    Yields:
        The device of this process.
    """
    if "RANK" not in os.environ:
        yield torch.device(device)
        return
    place = torch.device(device, int(os.environ["LOCAL_RANK"])) if device == "cuda" else torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield place
    finally:
        dist.destroy_process_group()


def is_distributed() -> bool:
    """Whether a process group is up."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process's number, 0 where there is only one."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if is_distributed() else 1


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all processes, in place."""
    if is_distributed():
        dist.all_reduce(tensor)
    return tensor


def mean_over_all(rows: Float[Tensor, "*batch k"]) -> Float[Tensor, " k"]:
    """The mean row over all processes, which may hold different numbers of rows; zeros where there is none."""
    rows = rows.detach().float().reshape(-1, rows.shape[-1])
    total = torch.cat([rows.sum(dim=0), rows.new_full((1,), len(rows))])
    all_reduce_sum(total)
    return total[:-1] / total[-1].clamp(min=1)


def average_over_all(numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each scalar over all processes, with one message for all of them."""
    if not is_distributed():
        return numbers
    total = all_reduce_sum(torch.stack([value.detach().float() for value in numbers.values()])) / world_size()
    return dict(zip(numbers, total.unbind(), strict=True))
