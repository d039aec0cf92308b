"""Says in words how one result differs from another: type, shape, kind, or the entry that is furthest off."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dinov2_edu.checks import describe


def difference(theirs: Any, wanted: Any, *, tolerance: float, place: str = "the result") -> str:
    """Compare two results, looking into tuples, lists and dictionaries.

    Args:
        theirs: what is judged. Numbers, numpy arrays and tensors count as the same thing.
        wanted: what it is held to.
        tolerance: largest absolute or relative difference that still passes.
        place: how to name the result in the sentence.

    Returns:
        What differs first, without a full stop, or "" if nothing does.
    """
    if theirs is None and wanted is not None:
        return f"{place} is None (is there a `return`?)"
    if isinstance(wanted, dict):
        return _differ_in_dict(theirs, wanted, tolerance, place)
    if isinstance(wanted, (tuple, list)):
        return _differ_in_sequence(theirs, wanted, tolerance, place)
    wanted_tensor, their_tensor = _as_tensor(wanted), _as_tensor(theirs)
    if wanted_tensor is None:
        return "" if theirs == wanted else f"{place} is {describe(theirs)}, wanted {describe(wanted)}"
    if their_tensor is None:
        return f"{place} is {describe(theirs)}, wanted {describe(wanted)}"
    return _differ_in_tensor(their_tensor, wanted_tensor, tolerance, place)


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if not isinstance(value, (bool, int, float, np.ndarray, np.generic)):
        return None
    try:
        return torch.from_numpy(np.array(value, order="C"))  # float64, and whatever the strides were
    except TypeError:  # words, objects, or a whole number beyond 64 bits
        return None


def _differ_in_dict(theirs: Any, wanted: dict, tolerance: float, place: str) -> str:
    if not isinstance(theirs, dict) or set(theirs) != set(wanted):
        got = f"the keys {sorted(theirs)}" if isinstance(theirs, dict) else describe(theirs)
        return f"{place} is {got}, wanted a dictionary with the keys {sorted(wanted)}"
    for key in wanted:
        found = difference(theirs[key], wanted[key], tolerance=tolerance, place=f"{place}[{key!r}]")
        if found:
            return found
    return ""


def _differ_in_sequence(theirs: Any, wanted: tuple | list, tolerance: float, place: str) -> str:
    if not isinstance(theirs, (tuple, list)) or len(theirs) != len(wanted):
        got = f"{len(theirs)} values" if isinstance(theirs, (tuple, list)) else describe(theirs)
        return f"{place} is {got}, wanted {len(wanted)} values"
    for index, (one, other) in enumerate(zip(theirs, wanted, strict=True)):
        found = difference(one, other, tolerance=tolerance, place=f"{place}[{index}]")
        if found:
            return found
    return ""


def _differ_in_tensor(theirs: Tensor, wanted: Tensor, tolerance: float, place: str) -> str:
    if theirs.shape != wanted.shape:
        return f"{place} has shape {tuple(theirs.shape)}, wanted {tuple(wanted.shape)}"
    if (theirs.dtype == torch.bool) != (wanted.dtype == torch.bool):
        return f"{place} has dtype {_dtype(theirs)}, wanted {_dtype(wanted)}"
    left, right = theirs.double().flatten(), wanted.double().flatten()
    good = torch.isclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True)
    if bool(good.all()):
        return ""
    gap = (left - right).abs().masked_fill(good, -1.0).nan_to_num(nan=float("inf"), posinf=float("inf"))
    worst = int(gap.argmax())
    got, want = (f"{value[worst].item():.6g}" for value in (left, right))
    if wanted.ndim == 0:
        return f"{place} is {got}, wanted {want}"
    index = tuple(int(i) for i in np.unravel_index(worst, tuple(wanted.shape)))
    n_bad = int((~good).sum())
    return f"{n_bad} of {good.numel()} entries of {place} differ, most at {list(index)}: {got}, wanted {want}"


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
