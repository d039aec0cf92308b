"""Whether what a checkpoint holds can be a run of ours: every number whole, in its place and in its range."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dinov2_edu.checks import describe, require
from dinov2_edu.training.state import TrainState


def check_tensors(given: Any, wanted: Mapping[str, Tensor], name: str) -> None:
    """Hold named tensors to others: the same names, shapes and dtypes, and finite numbers.

    Raises:
        ValueError: names the first tensor that is missing, too many, of another form, or not finite.
    """
    require(isinstance(given, Mapping), f"{name} holds {describe(given)} in place of named tensors")
    for key in wanted.keys() - given.keys():
        raise ValueError(f"{name} lacks {key!r}")
    for key in given.keys() - wanted.keys():
        raise ValueError(f"{name} has {key!r}, which its config does not make")
    for key, tensor in wanted.items():
        there = given[key]
        alike = (
            isinstance(there, Tensor)
            and there.layout == torch.strided
            and not there.is_meta
            and there.shape == tensor.shape
            and there.dtype == tensor.dtype
        )
        require(alike, f"{name}: {key!r} is {describe(there)}, wanted {describe(tensor)}")
        require(bool(there.isfinite().all()), f"{name}: {key!r} has a number that is not finite")


def check_progress(step: Any, history: Any, n_steps: int) -> None:
    """Hold step and history to a run of `n_steps`.

    Raises:
        ValueError: says what is out of place.
    """
    whole = isinstance(step, int) and not isinstance(step, bool)
    require(
        whole and 0 <= step <= n_steps, f"its step is {step!r}, wanted a whole number from 0 to {n_steps}"
    )
    good = isinstance(history, dict) and all(isinstance(values, list) for values in history.values())
    require(good, f"its history is {describe(history)}, wanted lists of numbers by name")
    for name, values in history.items():
        numbers = all(isinstance(value, (int, float)) for value in values)
        finite = numbers and (name == "knn" or all(math.isfinite(value) for value in values))
        require(finite, f"its history has something other than finite numbers under {name!r}")
        clock = history.get("knn_step" if name in ("knn", "knn_step") else "step", [])
        require(
            len(values) == len(clock),
            f"its history has {len(values)} values of {name!r} at {len(clock)} steps",
        )
    for name in ("step", "knn_step"):
        steps = history.get(name, [])
        rising = all(low < high for low, high in zip([0, *steps], steps, strict=False))
        require(rising and all(at <= step for at in steps), f"its history's steps do not rise up to {step}")


def check_optimizer(given: Any, state: TrainState, step: int) -> None:
    """Hold AdamW's groups and moments to those of a run after `step` steps.

    Raises:
        ValueError: says what is out of place.
    """
    groups: Any = given.get("param_groups") if isinstance(given, dict) else ()
    wanted = state.optimizer.state_dict()["param_groups"]
    keys = ("params", "lr_multiplier", "wd_multiplier", "is_last_layer", "betas", "eps")
    try:
        alike = [[group[key] for key in keys] for group in groups] == [
            [group[key] for key in keys] for group in wanted
        ]
    except (KeyError, TypeError):
        alike = False
    require(alike, "its optimiser has other groups of parameters than its config makes")
    names = {id(weight): name for name, weight in state.student_network.named_parameters()}
    weights = [weight for group in state.optimizer.param_groups for weight in group["params"]]
    moments = given.get("state")
    require(isinstance(moments, dict), f"its optimiser holds {describe(moments)} in place of moments")
    for index, weight in enumerate(weights):
        name = names[id(weight)]
        if index not in moments:
            # A head or the mask token may rest, where its loss has weight 0; the blocks never do.
            require(step == 0 or ".blocks." not in name, f"its optimiser has no moments of {name!r}")
            continue
        like = {"exp_avg": weight, "exp_avg_sq": weight, "step": torch.tensor(0.0)}
        check_tensors(moments[index], like, f"its optimiser's {name!r}")
        good = 1 <= float(moments[index]["step"]) <= step and bool((moments[index]["exp_avg_sq"] >= 0).all())
        require(good, f"its optimiser's {name!r} cannot be what {step} steps made")
    require(
        set(moments) <= set(range(len(weights))), "its optimiser has moments of parameters that are not there"
    )
