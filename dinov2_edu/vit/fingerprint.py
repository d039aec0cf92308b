"""A model's name in a cache: the hash of all that decides its output."""

import hashlib
import json
from dataclasses import asdict

import torch
from torch import nn

from dinov2_edu.door import checked


@checked
def fingerprint(model: nn.Module) -> str:
    """SHA-256 over a model's tensors, their names, types and shapes, and its config.

    Equal for equal models alone; the same weights in another precision are another model. The device does
    not matter.

    Raises:
        ValueError: not a module.
    """
    config = getattr(model, "config", None)
    digest = hashlib.sha256(
        json.dumps(asdict(config) if config is not None else None, sort_keys=True).encode()
    )
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
