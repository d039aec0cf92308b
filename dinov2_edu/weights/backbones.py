"""Backbones ready to use, by name or from a file, each with an honest word on which weights it has."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dinov2_edu.checks import checked, require
from dinov2_edu.data.remote import mirrored
from dinov2_edu.files import last_name, local_path
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.vit import BOOK_VIT, VisionTransformer, ViTConfig
from dinov2_edu.weights.book import read_book_checkpoint
from dinov2_edu.weights.errors import WeightsRefused, WeightsUnavailable
from dinov2_edu.weights.formats import config_of, official_state
from dinov2_edu.weights.official import WEIGHTS, fetch_official
from dinov2_edu.weights.reading import read_weights

_NAMES = (*WEIGHTS, "book", "random")
_FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
_RANDOM_SEED = 0


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone and what a reader must know about it.

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


@checked
@torch_defaults()
def load_state(config: ViTConfig, state: Any, origin: str) -> VisionTransformer:
    """Build a backbone and fill it with copies of these tensors, all of them and no others.

    It comes as `load_backbone` gives it: in evaluation mode and frozen, on the CPU in single precision. To train it,
    `model.train().requires_grad_(True)`.

    Args:
        config: the sizes of the backbone.
        state: tensors by their official names, or as `formats.official_state` understands them.
        origin: where they come from, for the error message.

    Raises:
        WeightsRefused: a tensor is missing, unexpected, of another shape, not finite in single precision, or not dense
            and floating-point; names it.
    """
    tensors = official_state(state, origin)
    if config.depth > max(1000, len(tensors)):  # each block would be built before it is missed
        raise WeightsRefused(
            f"{origin} holds {len(tensors):,} tensors and is said to have {config.depth:,} blocks"
        )
    with torch.device("meta"):  # no memory and no time spent on initial weights
        model = VisionTransformer(config)
    wanted = model.state_dict()
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(wanted.keys() & tensors.keys())
        if tensors[name].shape != wanted[name].shape
    ]
    faults = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - wanted.keys()),
        "of another shape": misshapen,
    }
    said = "; ".join(f"{kind}: {_some(names)}" for kind, names in faults.items() if names)
    if said:
        raise WeightsRefused(
            f"{origin} does not fit this backbone ({said}): is it the file of another model?"
        )
    single = {
        name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, tensor in tensors.items()
    }
    wild = [name for name, tensor in single.items() if not tensor.isfinite().all()]
    if wild:
        raise WeightsRefused(
            f"{origin}: not finite in single precision: {_some(wild)}: has the training diverged?"
        )
    model.load_state_dict(single, assign=True)
    return model.eval().requires_grad_(False)


def _random() -> VisionTransformer:
    """A backbone that has learnt nothing, the same one each time: as large as the book's own.

    It starts as the official code starts, not mimetic, so that its attention knows nothing either. It has no
    LayerScale: at the usual 1e-5 the class tokens of all images would agree to five digits, and a probe of them
    would measure rounding.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_RANDOM_SEED)  # torch.manual_seed would seed the GPUs as well
        return VisionTransformer(replace(BOOK_VIT, init="official"))


def _is_file(name: str) -> bool:
    """Whether a name means a file or folder: no backbone has it, and it looks like a path or is there."""
    looks = name.endswith(_FILES) or name.startswith("~") or os.sep in name
    return name not in _NAMES and bool(name) and (looks or local_path(name).exists())


def _from_file(path: Path, heads: int | None) -> VisionTransformer:
    config, content = read_weights(path)
    state = official_state(content, path.name)
    if config is None:
        config = config_of(state, path.name, heads)
    fits = heads in (None, config.heads)
    require(fits, f"{path.name} records {config.heads} heads, got heads={heads}: leave it out")
    return load_state(config, state, path.name)


@checked
@torch_defaults()
def load_backbone(
    name: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    heads: int | None = None,
) -> VisionTransformer:
    """Load a backbone by name or from a file, in evaluation mode and frozen.

    Args:
        name: "vits14", "vitb14", "vitl14", "vitg14" or one of these with "_reg4": official weights, fetched
            once (88 MB, 0.35, 1.2 and 4.5 GB). "book": trained by this book's code, 32 x 32 images, patches
            of 4. "random": as large as the book's own, with random weights. Or a path: a run's folder, a
            .safetensors or .pth file with the official names, transformers' or timm's.
        dtype: a floating-point type for weights and arithmetic.
        device: where the model shall live.
        heads: attention heads of a file that does not record them; else one for every 64 channels.

    Raises:
        ValueError: no backbone has this name, or `dtype` or `heads` cannot be.
        WeightsUnavailable: the weights are neither here nor to be had now.
        WeightsRefused: a file was found and is not what it should be.
    """
    name = os.fspath(name)
    own = _is_file(name)
    require(
        own or name in _NAMES,
        f"there is no backbone {name!r}, only {', '.join(_NAMES)}, or the path of a file or a run's folder",
    )
    require(
        dtype.is_floating_point, f"dtype must be a floating-point type such as torch.bfloat16, got {dtype!r}"
    )
    require(own or heads is None, f"{name} has its own number of heads: leave heads= out")
    shown = name
    if own:
        model, shown = _from_file(local_path(name), heads), last_name(name)
    elif name == "random":
        model = _random()
    elif name == "book":
        model = load_state(*read_book_checkpoint(), "book.safetensors")
    else:
        path = fetch_official(name)
        state = official_state(read_weights(path)[1], path.name)
        model = load_state(WEIGHTS[name].config, state, path.name)
        if mirrored(WEIGHTS[name].file).stand_in:
            shown = f"{name} (a stand-in that DINOV2_EDU_MIRROR names)"
    model.name = shown
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False)


@checked
def available_backbone(
    names: Sequence[str] = ("vits14", "book"), *, device: str | torch.device = "cpu"
) -> LoadedBackbone:
    """Load the first backbone of `names` that can be had, else the random one, and say which it is.

    If it is not the first, a notice is printed and returned: a number of another model must not pass for one
    of the model wanted.

    Args:
        names: backbones from the most to the least wanted.
        device: as in `load_backbone`.

    Raises:
        ValueError: `names` is empty or holds a name that no backbone has.
    """
    unknown = [name for name in names if name not in _NAMES and not _is_file(name)]
    require(len(names) > 0 and not unknown, f"names must be some of {', '.join(_NAMES)}, got {names!r}")
    for name in (*names, "random"):
        try:
            model = load_backbone(name, device=device)
        except WeightsUnavailable:
            continue
        notice = _notice(model.name, name, names[0])
        if notice:
            print(notice)
        return LoadedBackbone(model, name, notice)
    raise AssertionError("the random backbone can always be built")


def _notice(shown: str, name: str, wanted: str) -> str:
    """A sentence that says which model stands in for the wanted one; "" where none does."""
    if shown != name and name in WEIGHTS:
        return f"These numbers come from {shown}, not from the published weights."
    if name == wanted:
        return ""
    what = {
        "random": "a backbone with random weights, which has learnt nothing",
        "book": "the book's own small model",
    }.get(name, shown)
    return f"These numbers come from {what}, not from {wanted}, which could not be loaded here."
