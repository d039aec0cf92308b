"""What torch computes with: its settings for the length of a call, random streams, a chip's precision, a checksum."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from numbers import Integral
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dinov2_edu.checks import checked, require

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextlib.contextmanager
def torch_defaults() -> Iterator[None]:
    """Hold torch to what it starts with: `with torch_defaults():`, or `@torch_defaults()` above a function.

    Autocast is off, inference mode is off, gradients are recorded, new tensors are float32 and on the CPU. So a
    call inside `torch.autocast`, `torch.inference_mode` or `torch.device("cuda")`, or after
    `torch.set_default_dtype(torch.float64)`, gives the numbers that it gives elsewhere. What a call wants of these
    it sets inside, such as `torch.no_grad` or an autocast of its own.

    For calls that decide their own precision (an extraction, a probe, crops, masks, a training step). Losses and the
    backbone stay free: what is switched on around them is meant for them. Deterministic algorithms and the precision
    of float32 matrix products stay the caller's: they choose among kernels, not among dtypes.

    The default dtype is one for all threads of a process; the rest is the calling thread's own.
    """
    with contextlib.ExitStack() as settings:
        for device in _AUTOCAST_DEVICES:
            if _autocast_on(device):
                settings.enter_context(torch.autocast(device, enabled=False))
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":  # only then: it costs every call a little
            settings.enter_context(torch.device("cpu"))
        before = torch.get_default_dtype()
        if before != torch.float32:
            torch.set_default_dtype(torch.float32)
            settings.callback(torch.set_default_dtype, before)
        yield


@checked
def stream(purpose: str, *numbers: Any) -> torch.Generator:
    """A generator that belongs to a purpose: the same words and numbers give the same draws, any others new ones.

    Sums such as `seed + step` would meet again at another seed and step. A digest does not (torch's CPU generator
    reads 32 bits of it, so two of a thousand steps share their draws once in ten thousand runs).

    Args:
        purpose: what is drawn, such as "step".
        *numbers: which one, such as seed and step: whole numbers.

    Raises:
        ValueError: a number that is not whole.
    """
    for number in numbers:
        whole = isinstance(number, Integral) and not isinstance(number, bool)
        require(whole, f"the numbers of a stream must be whole, got {number!r}")
    digest = hashlib.sha256(f"{purpose} {tuple(map(int, numbers))}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


@checked
def best_precision(device: torch.device | str) -> str:
    """Half precision where the chip gains by it, else float32.

    bfloat16 on GPUs since Ampere, and on CPUs with AVX512-BF16 or AMX on which a matrix product is faster in it: that
    is measured once, in a few hundredths of a second, because units differ (on a chip with AVX512-BF16 and without AMX
    it took twice as long as in float32). float16, which the official evaluation uses, on
    the GPUs before (Volta, Turing: Colab's T4). Elsewhere half precision would be emulated: on a CPU with AVX2 alone
    bfloat16 takes several times as long. Apple's GPUs get float32, as nobody has measured the other.
    """
    device = torch.device(device)
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    probes = [
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    able = device.type == "cpu" and any(probe is not None and probe() for probe in probes)
    return "bfloat16" if able and _bfloat16_is_faster() else "float32"


@cache
@torch_defaults()
def _bfloat16_is_faster() -> bool:
    """Whether a matrix product on this CPU takes less time in bfloat16 than in float32."""
    times = []
    for dtype in (torch.bfloat16, torch.float32):
        matrix, tries = torch.ones(512, 512, dtype=dtype), []
        for _ in range(6):  # the first one warms up; other programs can only add to a time
            start = perf_counter()
            torch.nn.functional.linear(matrix, matrix)
            tries.append(perf_counter() - start)
        times.append(min(tries))
    return times[0] < times[1]


def checksum(value: Any) -> str:
    """SHA-256 over tensors (dtype, shape, bytes) and plain values, in dicts and lists of any depth."""
    digest = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, Tensor):
            flat = part.detach().cpu().contiguous()
            digest.update(f"{flat.dtype} {tuple(flat.shape)} ".encode())
            digest.update(flat.reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(part, Mapping):
            for key in sorted(part, key=str):
                add(key)
                add(part[key])
        elif isinstance(part, (list, tuple)):
            digest.update(f"{len(part)} of ".encode())
            for one in part:
                add(one)
        else:
            digest.update(f"{part!r} ".encode())

    add(value)
    return digest.hexdigest()


def _autocast_on(device: str) -> bool:
    try:
        return torch.is_autocast_enabled(device)
    except RuntimeError:  # this torch has no autocast there
        return False
