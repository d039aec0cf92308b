"""Backbones ready to use, by name, each with an honest word on which weights it has."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dinov2_edu.shapes import require
from dinov2_edu.vit import BOOK_VIT, VisionTransformer, ViTConfig
from dinov2_edu.weights.book import read_book_checkpoint, read_weights_file
from dinov2_edu.weights.fetch import WeightsRefused, WeightsUnavailable
from dinov2_edu.weights.official import BASE_URL, WEIGHTS, fetch_official

_NAMES = (*WEIGHTS, "book", "random")
_RANDOM_SEED = 0


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone and what a reader must be told about it.

    Attributes:
        model: in evaluation mode, frozen.
        name: the name it was loaded by.
        notice: "" for the weights that were wanted first, else a sentence to show beside every number.
    """

    model: VisionTransformer
    name: str
    notice: str


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def load_state(config: ViTConfig, state: Mapping[str, Tensor], origin: str) -> VisionTransformer:
    """Build a backbone and fill it with these tensors, all of them and no others.

    Args:
        config: the sizes of the backbone.
        state: tensors by their official names.
        origin: where they come from, for the error message.

    Raises:
        WeightsRefused: a tensor is missing, unexpected, or of another shape; names it.
    """
    with torch.device("meta"):  # no memory and no time spent on initial weights
        model = VisionTransformer(config)
    wanted = model.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    both = wanted.keys() & state.keys()
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(both)
        if state[name].shape != wanted[name].shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    said = "; ".join(f"{kind}: {_some(names)}" for kind, names in faults.items() if names)
    if said:
        raise WeightsRefused(
            f"{origin} does not fit this backbone ({said}): is it the file of another model?"
        )
    model.load_state_dict(state, assign=True)
    return model


def _official(name: str, base_url: str) -> VisionTransformer:
    path = fetch_official(name, base_url=base_url)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsRefused(
            f"{path} holds something else than tensors and was not loaded ({error})"
        ) from error
    return load_state(WEIGHTS[name].config, state, path.name)


def _random() -> VisionTransformer:
    """A backbone that has learnt nothing, the same one each time: as large as the book's own.

    It starts as the official code starts, not mimetic, so that its attention knows nothing either. It has no
    LayerScale: at the usual 1e-5 the class tokens of all images would agree to five digits, and a probe of them
    would measure rounding.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_RANDOM_SEED)  # torch.manual_seed would seed the GPUs as well
        return VisionTransformer(replace(BOOK_VIT, init="official"))


def load_backbone(
    name: str,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    base_url: str = BASE_URL,
) -> VisionTransformer:
    """Load a backbone by name, in evaluation mode and frozen.

    Args:
        name: "vits14", "vitb14", "vitl14", "vitg14" or one of these with "_reg4": official weights, fetched
            once (88 MB, 0.35, 1.2 and 4.5 GB). "book": trained by this book's code, 32 x 32 images, patches
            of 4. "random": as large as the book's own, with random weights. A path that ends in ".safetensors": a
            file saved from a run in the page, or one that `save_book_checkpoint` wrote.
        dtype: a floating-point type for weights and arithmetic.
        device: where the model shall live.
        base_url: another server with the official files.

    Raises:
        ValueError: no backbone has this name, or `dtype` is not floating point.
        WeightsUnavailable: the weights are neither here nor to be had now.
        WeightsRefused: a file was found or fetched and is not what it should be.
    """
    is_file = name.endswith(".safetensors")
    known = f"{', '.join(_NAMES)}, and files that end in .safetensors"
    require(is_file or name in _NAMES, f"there is no backbone {name!r}, only {known}")
    good = isinstance(dtype, torch.dtype) and dtype.is_floating_point
    require(good, f"dtype must be a floating-point type such as torch.bfloat16, got {dtype!r}")
    if name == "random":
        model = _random()
    elif name == "book":
        model = load_state(*read_book_checkpoint(), "book.safetensors")
    elif is_file:
        model = load_state(*read_weights_file(name), name)
    else:
        model = _official(name, base_url)
    model.name = name
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)


def available_backbone(
    names: Sequence[str] = ("vits14", "book"),
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    base_url: str = BASE_URL,
) -> LoadedBackbone:
    """Load the first backbone of `names` that can be had, else the random one, and say which it is.

    If it is not the first, a notice is printed and returned: a number of another model must not pass for one
    of the model wanted.

    Args:
        names: backbones from the most to the least wanted.
        dtype: as in `load_backbone`.
        device: as in `load_backbone`.
        base_url: as in `load_backbone`.

    Raises:
        ValueError: `names` is empty or holds a name that no backbone has.
    """
    unknown = [name for name in names if name not in _NAMES]
    require(len(names) > 0 and not unknown, f"names must be some of {', '.join(_NAMES)}, got {names!r}")
    reasons = []
    for name in (*names, "random"):
        try:
            model = load_backbone(name, dtype=dtype, device=device, base_url=base_url)
        except WeightsUnavailable as error:
            reasons.append(f"{name}: {error}")
            continue
        notice = _notice(name, names[0], reasons) if reasons else ""
        if notice:
            print(notice)
        return LoadedBackbone(model, name, notice)
    raise AssertionError("the random backbone can always be built")


def _notice(name: str, wanted: str, reasons: list[str]) -> str:
    """A sentence that says which model stands in for the wanted one, and why."""
    what = {
        "random": "a backbone with random weights, which has learnt nothing",
        "book": "the book's own small checkpoint",
    }.get(name, f"the official {name}")
    why = ". ".join(reasons)
    return f"These numbers come from {what}, not from {wanted}, which could not be loaded. {why}."
