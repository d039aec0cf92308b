"""A model's name in a cache: the hash of all that decides its output."""

from dataclasses import asdict

from torch import nn

from dinov2_edu.checks import checked
from dinov2_edu.numerics import checksum


@checked
def fingerprint(model: nn.Module) -> str:
    """SHA-256 over a model's tensors, their names, types and shapes, and its config.

    Equal for equal models alone; the same weights in another precision are another model. The device does
    not matter.

    Raises:
        ValueError: not a module.
    """
    config = getattr(model, "config", None)
    return checksum([None if config is None else asdict(config), model.state_dict()])
