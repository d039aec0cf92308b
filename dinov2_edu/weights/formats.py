"""Checkpoints as people have them: wrappers removed, transformers' and timm's names turned into the official ones.

And back: `to_transformers` and `to_timm` give a model's tensors under the names of these libraries.
"""

import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dinov2_edu.checks import checked, describe
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights.errors import WeightsRefused

State = dict[str, Tensor]

# Keys that hold a state, by preference; what torch's wrappers leave; prefixes; heads.
_BOXES = ("teacher", "state_dict", "model", "model_state_dict", "student")
_ANYWHERE = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_PREFIXES = ("module.", "model.", "teacher.", "student.", "backbone.", "dinov2_with_registers.", "dinov2.")
_HEADS = ("dino_head.", "ibot_head.", "head.", "classifier.", "fc.", "fc_norm.", "linear_head.")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NEEDED = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight")

_TRANSFORMERS = (  # theirs, ours; of two spellings of theirs the last is the one of the published files
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.register_tokens", "register_tokens"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("encoder.layer.", "blocks."),
    ("attention.o_proj.", "attn.proj."),
    ("attention.output.dense.", "attn.proj."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("mlp.down_proj.", "mlp.w3."),
    ("mlp.weights_out.", "mlp.w3."),
    ("mlp.weights_in.", "mlp.w12."),
    ("layernorm.", "norm."),
)
_JOINED = (  # tensors of theirs that are rows of one of ours
    (("attention.q_proj.", "attention.k_proj.", "attention.v_proj."), "attn.qkv."),
    (("attention.attention.query.", "attention.attention.key.", "attention.attention.value."), "attn.qkv."),
    (("mlp.gate_proj.", "mlp.up_proj."), "mlp.w12."),
)


def official_state(content: Any, origin: str) -> State:
    """Find a backbone's tensors in what a checkpoint holds, and give them their official names.

    Wrappers come off: a dict around them (the teacher's goes before the student's), prefixes, blocks in chunks
    (`blocks.0.3.` is block 3). Heads are left out with a warning. A mask token, which only pretraining uses and timm
    does not keep, is zero where there is none.

    Raises:
        WeightsRefused: no tensors by name, names of another kind of model, or what is no tensor of numbers.
    """
    state = _unwrapped(content, origin)
    seen = ", ".join(sorted(state)[:4])
    theirs = "embeddings.cls_token" in state
    names = {_translated(name, _TRANSFORMERS) for name in state} if theirs else set(state)
    if not names >= {*_NEEDED[:3]}:
        raise WeightsRefused(
            f"{origin} holds {len(state):,} tensors named like {seen}: wanted a DINOv2 backbone by the official names "
            f"({', '.join(_NEEDED)} ...), transformers' or timm's, bare or in a dict under 'teacher' or 'model'"
        )
    for name, tensor in state.items():
        if fault := _fault(tensor):
            raise WeightsRefused(f"{origin}: {name} is {fault}, wanted a dense floating-point tensor")
    try:
        return _from_timm(_from_transformers(state) if theirs else state)
    except (RuntimeError, IndexError) as error:
        raise WeightsRefused(f"{origin}: its tensors do not fit together ({error})") from None


def _unwrapped(content: Any, origin: str) -> Mapping[str, Any]:
    """What a checkpoint holds by name, without boxes, prefixes, chunks and heads."""
    opened: set[int] = set()
    while isinstance(content, Mapping) and (
        box := next((b for b in _BOXES if _is_box(content.get(b))), None)
    ):
        if id(content) in opened:
            raise WeightsRefused(f"{origin}: {box!r} in it is the dict that holds it")
        opened.add(id(content))
        content = content[box]
    if not _is_box(content):
        held = (
            f"a dict of {', '.join(map(repr, content))}"
            if isinstance(content, Mapping)
            else describe(content)
        )
        raise WeightsRefused(f"{origin} holds no tensors by name, but {held:.200}")
    names = {_ANYWHERE.sub("", name): name for name in content}
    while prefix := next((one for one in _PREFIXES if any(name.startswith(one) for name in names)), None):
        names = {  # what lacks the prefix is beside the backbone
            name.removeprefix(prefix): full
            for name, full in names.items()
            if name.startswith((prefix, *_HEADS))
        }
    if heads := sorted(name for name in names if name.startswith(_HEADS)):
        warnings.warn(f"{origin}: heads are left out ({heads[0]} ...), a backbone has none", stacklevel=4)
    state: dict[str, Any] = {}
    for name in sorted(names.keys() - set(heads)):
        whole = re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name)
        if whole in state:
            raise WeightsRefused(f"{origin} holds {whole} twice: keep one of them")
        state[whole] = content[names[name]]
    return state


def _is_box(content: Any) -> bool:
    """Whether this is a dict by names that are text."""
    return isinstance(content, Mapping) and bool(content) and all(isinstance(name, str) for name in content)


def _fault(tensor: Any) -> str:
    """What keeps a value from being a weight, in words; "" if nothing."""
    if not isinstance(tensor, Tensor):
        return f"no tensor but {describe(tensor):.80}"
    if tensor.is_nested or tensor.layout != torch.strided:
        return "a nested or sparse tensor"
    if tensor.is_meta:
        return "a tensor on the meta device, without numbers"
    if tensor.dtype not in _FLOATS:
        return describe(tensor)
    repeats = tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
    return "made of numbers used more than once, a billion times in a small file" if repeats else ""


def _translated(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in table:
        name = name.replace(theirs, ours)
    return name


def _from_transformers(state: Mapping[str, Tensor]) -> State:
    found = {_translated(name, _TRANSFORMERS): tensor for name, tensor in state.items()}
    for parts, ours in _JOINED:
        for name in [one for one in found if parts[0] in one]:
            names = [name.replace(parts[0], part) for part in parts]
            if found.keys() >= {*names}:
                found[name.replace(parts[0], ours)] = torch.cat([found.pop(one) for one in names])
    return found


def _from_timm(state: Mapping[str, Tensor]) -> State:
    """Registers, positions without the class token's, packed SwiGLU; official tensors pass as they are."""
    found = {name.replace("reg_token", "register_tokens"): tensor for name, tensor in state.items()}
    positions, width = found["pos_embed"], found["cls_token"].shape[-1]
    if positions.shape[1] == math.isqrt(positions.shape[1]) ** 2:  # the class token has its own within itself
        found["pos_embed"] = torch.cat([positions.new_zeros(1, 1, width), positions], dim=1)
    if "mask_token" not in found:
        found["mask_token"] = found["cls_token"].new_zeros(1, width)
    gates = [found[name] for layer in ("fc1", "fc2") if (name := f"blocks.0.mlp.{layer}.weight") in found]
    if len(gates) == 2 and gates[0].shape[0] == 2 * gates[1].shape[1]:
        swiglu = (("mlp.fc1.", "mlp.w12."), ("mlp.fc2.", "mlp.w3."))
        found = {_translated(name, swiglu): tensor for name, tensor in found.items()}
    return found


def config_of(state: State, origin: str, heads: int | None = None) -> ViTConfig:
    """Read a backbone's sizes off the shapes of its tensors.

    Shapes do not tell how many attention heads there are: `heads`, or one for every 64 channels as in all released
    models, with a warning where the width is not one of theirs. Positions are interpolated as the official models do.

    Raises:
        WeightsRefused: the shapes are of no backbone that can be built here.
        ValueError: `heads` is not given and the width is no multiple of 64, or it does not divide the width.
    """
    try:
        width, channels, *patch = state["patch_embed.proj.weight"].shape
        side = math.isqrt(state["pos_embed"].shape[1] - 1)
        depth = 1 + max(int(name.split(".")[1]) for name in state if re.match(r"blocks\.\d+\.", name))
        if depth > len(state):
            raise ValueError(f"a block is numbered {depth - 1} among {len(state)} tensors")
        swiglu = "blocks.0.mlp.w3.weight" in state
        hidden = (
            state["blocks.0.mlp.w3.weight"].shape[1] if swiglu else state["blocks.0.mlp.fc1.weight"].shape[0]
        )
        patch_size, ratio = patch[0], (1.5 if swiglu else 1) * hidden / width
        if swiglu and hidden == (int(4 * width * 2 / 3) + 7) // 8 * 8:
            ratio = 4.0  # two thirds of it are rounded up to a multiple of 8
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise WeightsRefused(
            f"{origin}: its tensors are of no backbone that can be built here ({error})"
        ) from None
    registers = state["register_tokens"].shape[1] if "register_tokens" in state else 0
    if heads is None:
        if width % 64:
            raise ValueError(f"{origin} does not say how many heads a width of {width} has: give heads=")
        heads = width // 64
        if width not in (384, 768, 1024, 1536):
            warnings.warn(
                f"{origin}: heads are taken to be {heads}, of 64 channels each; if not, give heads=",
                stacklevel=3,
            )
    return ViTConfig(
        img_size=side * patch_size,
        patch_size=patch_size,
        in_channels=channels,
        width=width,
        depth=depth,
        heads=heads,
        mlp_ratio=ratio,
        ffn="swiglu" if swiglu else "mlp",
        n_registers=registers,
        layer_scale=1e-5 if "blocks.0.ls1.gamma" in state else None,
        interpolate_offset=0.0 if registers else 0.1,
        interpolate_antialias=registers > 0,
    )


@checked
def to_transformers(model: VisionTransformer) -> State:
    """A model's tensors by the names in the files of transformers' `Dinov2Model` and `Dinov2WithRegistersModel`.

    They always scale each branch: by 1 where the model has no LayerScale.
    """
    published = tuple({ours: (ours, theirs) for theirs, ours in _TRANSFORMERS}.values())
    parts, ours = _JOINED[1]
    state: State = {}
    for name, tensor in model.state_dict().items():
        if ours in name:
            rows = zip(parts, tensor.chunk(3), strict=True)
            state |= {_translated(name.replace(ours, part), published): row.clone() for part, row in rows}
        else:
            state[_translated(name, published)] = tensor
    if model.config.layer_scale is None:
        ones = torch.ones(model.config.width)
        for layer in range(model.config.depth):
            state |= {f"encoder.layer.{layer}.layer_scale{branch}.lambda1": ones.clone() for branch in (1, 2)}
    return state


@checked
def to_timm(model: VisionTransformer) -> State:
    """A model's tensors by timm's names, as `vit_small_patch14_dinov2` or `vit_small_patch14_reg4_dinov2` has them.

    The mask token has no place there. Without LayerScale the timm model wants `init_values=None`.
    """
    table = (("register_tokens", "reg_token"), ("mlp.w12.", "mlp.fc1."), ("mlp.w3.", "mlp.fc2."))
    state = {_translated(name, table): tensor for name, tensor in model.state_dict().items()}
    del state["mask_token"]
    if model.config.n_registers:  # there the class token carries its position in itself
        positions = state["pos_embed"]
        state["cls_token"] = state["cls_token"] + positions[:, :1]
        state["pos_embed"] = positions[:, 1:]
    return state
