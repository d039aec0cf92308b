"""Numbers that depend on the inputs alone: torch's own settings for the length of a call, whatever the caller chose."""

import contextlib
from collections.abc import Iterator

import torch

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@contextlib.contextmanager
def torch_defaults() -> Iterator[None]:
    """Hold torch to what it starts with: `with torch_defaults():`, or `@torch_defaults()` above a function.

    Autocast is off, inference mode is off, gradients are recorded, new tensors are float32 and on the CPU. So a
    call inside `torch.autocast`, `torch.inference_mode` or `torch.device("cuda")`, or after
    `torch.set_default_dtype(torch.float64)`, gives the numbers that it gives elsewhere. What a call wants of these
    it sets inside, such as `torch.no_grad` or an autocast of its own.

    For whole jobs that decide their own precision (an extraction, a probe, a training step). Losses, parts and the
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
        if torch.get_default_device().type != "cpu":  # only then: it costs every call of torch a little
            settings.enter_context(torch.device("cpu"))
        before = torch.get_default_dtype()
        if before != torch.float32:
            torch.set_default_dtype(torch.float32)
            settings.callback(torch.set_default_dtype, before)
        yield


def _autocast_on(device: str) -> bool:
    try:
        return torch.is_autocast_enabled(device)
    except RuntimeError:  # this torch has no autocast there
        return False
