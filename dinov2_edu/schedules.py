"""How learning rate, weight decay, momentum and temperature change over training, and how parameters differ.

A schedule is an array with one number a step. `parameter_multipliers` says by how much a parameter's learning
rate and weight decay are scaled.
"""

import math
import re

import numpy as np
from jaxtyping import Float64
from torch import nn

from dinov2_edu.checks import check_at_least, checked, require

FIRST_LAYER = ("patch_embed", "cls_token", "pos_embed", "mask_token", "register_tokens")
"""Parts of the backbone that make its input tokens; layer-wise decay counts them as layer 0."""


@checked
def cosine_schedule(
    start: float, end: float, n_steps: int, *, warmup_steps: int = 0
) -> Float64[np.ndarray, " n_steps"]:
    """Go from `start` to `end` along half a cosine, after a linear warm-up from 0 to `start`.

    Warm-up and cosine fill `n_steps` together. The last number lies one small step before `end`, as in the
    official code.

    Raises:
        ValueError: no steps, a negative number of steps, or a warm-up longer than the whole.

    Source: official CosineScheduler, dinov2/utils/utils.py @ b8931f7; SGDR (Loshchilov and Hutter 2016).
    """
    check_at_least(1, n_steps=n_steps)
    require(
        0 <= warmup_steps <= n_steps,
        f"warmup_steps must be at least 0 and fit into n_steps = {n_steps}, got {warmup_steps}",
    )
    n_cosine = n_steps - warmup_steps
    progress = np.arange(n_cosine) / max(n_cosine, 1)
    cosine = end + (start - end) * (1 + np.cos(np.pi * progress)) / 2
    return np.concatenate([np.linspace(0, start, warmup_steps), cosine])


@checked
def linear_schedule(
    start: float, end: float, n_steps: int, *, n_total: int | None = None
) -> Float64[np.ndarray, " n_total"]:
    """Go from `start` to `end` in `n_steps` equal steps and stay there until step `n_total`.

    Args:
        start: the first number.
        end: the number at step `n_steps` - 1 and after it.
        n_steps: length of the climb; with 0 every number is `end`.
        n_total: length of the whole; `n_steps` if None. A smaller one cuts the climb off.

    Raises:
        ValueError: a negative climb, or a whole of less than one step.

    Source: the teacher temperature's warm-up in official dinov2/train/train.py @ b8931f7.
    """
    n_total = n_steps if n_total is None else n_total
    check_at_least(0, n_steps=n_steps)
    check_at_least(1, n_total=n_total)
    climb = np.linspace(start, end, n_steps)
    return np.concatenate([climb, np.full(max(n_total - n_steps, 0), float(end))])[:n_total]


@checked
def scaled_lr(base: float, batch_size: int) -> float:
    """Return the learning rate for a batch size: `base` is meant for 1024 images and scales with the root.

    Raises:
        ValueError: a batch size below 1.

    Source: `scaling_rule: sqrt_wrt_1024` in official dinov2/configs/ssl_default_config.yaml @ b8931f7.
    """
    check_at_least(1, batch_size=batch_size)
    return base * math.sqrt(batch_size / 1024)


@checked
def parameter_multipliers(
    model: nn.Module, *, layer_decay: float = 0.9, patch_embed_multiplier: float = 0.2
) -> dict[str, tuple[float, float]]:
    """Return what each trainable parameter's learning rate and weight decay are multiplied with.

    The learning rate falls by `layer_decay` with each layer towards the input: the final norm and the heads
    have 1, the last block `layer_decay`, the input tokens (`FIRST_LAYER`) `layer_decay ** (depth + 1)`, and
    the patch embedding `patch_embed_multiplier` times that. Biases, norms and layer scales have no weight
    decay.

    Args:
        model: a backbone, a head, or a module that holds a backbone as `backbone`. The depth is read from the
            names `blocks.N`.
        layer_decay: factor from a layer to the one before it, above 0 and at most 1.
        patch_embed_multiplier: extra factor on the patch embedding, at least 0.

    Returns:
        name -> (learning rate multiplier, weight decay multiplier), without frozen parameters.

    Raises:
        ValueError: a factor outside its range.

    Source: official dinov2/utils/param_groups.py @ b8931f7.
    """
    require(0 < layer_decay <= 1, f"layer_decay must be above 0 and at most 1, got {layer_decay!r}")
    check_at_least(0, patch_embed_multiplier=patch_embed_multiplier)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    blocks = {name: int(found[1]) for name in names if (found := re.search(r"(?:^|\.)blocks\.(\d+)\.", name))}
    depth = max(blocks.values(), default=-1) + 1
    multipliers = {}
    for name in names:
        parts = name.split(".")
        layer = 0 if set(parts) & set(FIRST_LAYER) else blocks.get(name, depth) + 1
        lr = layer_decay ** (depth + 1 - layer)
        if "patch_embed" in parts:
            lr *= patch_embed_multiplier
        undecayed = parts[-1] in ("bias", "gamma") or any("norm" in part for part in parts)
        multipliers[name] = (lr, 0.0 if undecayed else 1.0)
    return multipliers
