"""A backbone for other libraries: files that transformers, timm and ONNX runtimes open without this package.

`formats` has the names of the tensors; here are the sizes as these libraries call them, and what they cannot express.
"""

import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn

from dinov2_edu.checks import checked, require
from dinov2_edu.files import local_path, write_together, write_whole
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights.formats import to_timm, to_transformers
from dinov2_edu.weights.reading import recorded_sizes

BICUBIC = 3  # PIL's number for it, which transformers' files have
MOST_BYTES = 2**31 - 2**20
"""Of an ONNX file with its weights inside: a message of protocol buffers ends at 2 GiB."""


@checked
def transformers_config(config: ViTConfig) -> dict[str, Any]:
    """What `config.json` says of a backbone: for `Dinov2Model`, or with registers `Dinov2WithRegistersModel`.

    Raises:
        ValueError: a backbone that transformers has no setting for: a hidden width that is no whole number of widths.
    """
    whole = float(config.mlp_ratio).is_integer()
    require(whole, f"transformers takes whole numbers for mlp_ratio, this backbone has {config.mlp_ratio}")
    kind = "Dinov2WithRegisters" if config.n_registers else "Dinov2"
    registers = {"num_register_tokens": config.n_registers} if config.n_registers else {}
    return {
        "architectures": [f"{kind}Model"],
        "model_type": "dinov2_with_registers" if config.n_registers else "dinov2",
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "mlp_ratio": int(config.mlp_ratio),
        "use_swiglu_ffn": config.ffn == "swiglu",
        "image_size": config.img_size,
        "patch_size": config.patch_size,
        "num_channels": config.in_channels,
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        **registers,
    }


@checked
def timm_arguments(config: ViTConfig) -> dict[str, Any]:
    """What `timm.models.vision_transformer.VisionTransformer` is called with to hold a backbone.

    Of a SwiGLU backbone `mlp_layer` is the name "SwiGLUPacked" (`timm.layers`), and `act_layer` the name "SiLU"
    (`torch.nn`): they have no other form in a file.
    """
    arguments: dict[str, Any] = {
        "img_size": config.img_size,
        "patch_size": config.patch_size,
        "in_chans": config.in_channels,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": config.mlp_ratio,
        "init_values": config.layer_scale,
        "num_classes": 0,
    }
    if config.n_registers:
        arguments |= {"reg_tokens": config.n_registers, "no_embed_class": True}
    if config.ffn == "swiglu":
        hidden = (int(config.mlp_ratio * config.width * 2 / 3) + 7) // 8 * 8
        arguments |= {
            "mlp_ratio": 2 * hidden / config.width,
            "mlp_layer": "SwiGLUPacked",
            "act_layer": "SiLU",
        }
    return arguments


@checked
def save_transformers(model: VisionTransformer, folder: str | os.PathLike) -> Path:
    """Write a folder that `transformers.AutoModel.from_pretrained` opens, and its image processor beside.

    At the size that the positions are made for (`img_size`) the tokens are the same. At other sizes they differ a
    little where the two interpolate positions otherwise: transformers by size, antialiased with registers alone.
    All three files are written or none, so a folder never mixes two backbones. `load_backbone` opens it as well: its
    sizes are in the metadata of the weights.

    Returns:
        The folder.

    Raises:
        ValueError: a backbone that transformers has no setting for.
        OSError: it cannot be written.
    """
    place, config = local_path(folder), model.config
    described = transformers_config(config)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in to_transformers(model).items()}
    processor = {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": config.img_size},
        "resample": BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": config.img_size, "width": config.img_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
    }
    scaled = config if config.layer_scale is not None else replace(config, layer_scale=1.0)  # as `state` is
    contents: dict[str, bytes | str] = {
        "model.safetensors": save(state, {"format": "pt", **recorded_sizes(scaled)}),
        "preprocessor_config.json": json.dumps(processor, indent=2) + "\n",
        "config.json": json.dumps(described, indent=2) + "\n",  # without it transformers opens nothing
    }
    return write_together(place, contents)


@checked
def save_timm(model: VisionTransformer, path: str | os.PathLike) -> Path:
    """Write a .safetensors file of a backbone under timm's names, the arguments of the timm model in its metadata.

    Its sizes stand there too, for `load_backbone`.

    At the size that the positions are made for the tokens are the same; timm cannot mask patches, and its
    `dynamic_img_size` interpolates positions antialiased.

    Returns:
        The path.

    Raises:
        ValueError: another ending than .safetensors.
        OSError: it cannot be written.
    """
    arguments = {"timm": json.dumps(timm_arguments(model.config))}
    return _save(path, to_timm(model), arguments | recorded_sizes(model.config))


@checked
def save_official(model: VisionTransformer, path: str | os.PathLike) -> Path:
    """Write a .safetensors file of a backbone under the official names, its sizes in the metadata for `load_backbone`.

    Returns:
        The path.

    Raises:
        ValueError: another ending than .safetensors.
        OSError: it cannot be written.
    """
    return _save(path, model.state_dict(), recorded_sizes(model.config))


def _save(path: str | os.PathLike, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write tensors to a .safetensors file, from whatever device they are on."""
    place = local_path(path)
    require(place.suffix == ".safetensors", f"{place.name}: wanted a name that ends in .safetensors")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_whole(place, save(state, metadata))


class _Exported(nn.Module):
    """A backbone with plain outputs: class token, and patch tokens with the registers left out."""

    def __init__(self, model: VisionTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor]:
        tokens = self.model(images)
        return tokens.cls, tokens.patches


@checked
@torch_defaults()
def save_onnx(model: VisionTransformer, path: str | os.PathLike, size: int | None = None) -> Path:
    """Write an ONNX file: normalised pictures in, class tokens and patch tokens out, any number of pictures at once.

    Its input is `images`, `b 3 size size` in single precision, its outputs `cls`, `b d`, and `patches`, `b n d`.
    Scaling to 0 to 1, resizing and normalising stay outside (`features.Preprocessing`).

    Args:
        model: the backbone; a copy in single precision on the CPU is exported.
        path: ends in .onnx.
        size: side of the pictures in pixels; None for the model's own.

    Returns:
        The path.

    Raises:
        ValueError: another ending, a size that the patches do not tile, a backbone too large for one file, or a
            missing package.
        OSError: it cannot be written.
    """
    place, config = local_path(path), model.config
    require(place.suffix == ".onnx", f"{place.name}: wanted a name that ends in .onnx")
    side = config.img_size if size is None else size
    tiled = side >= config.patch_size and side % config.patch_size == 0
    require(tiled, f"size {side} is not a multiple of the patch size {config.patch_size}")
    n_bytes = 4 * sum(weight.numel() for weight in model.parameters())
    require(n_bytes < MOST_BYTES, f"its weights take {n_bytes / 1e9:.1f} GB, an ONNX file holds 2")
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    require(
        not missing, f"an ONNX file needs the packages onnx and onnxscript: pip install {' '.join(missing)}"
    )
    plain = VisionTransformer(config)
    plain.load_state_dict({name: tensor.float().cpu() for name, tensor in model.state_dict().items()})
    program = torch.onnx.export(
        _Exported(plain).eval().requires_grad_(False),
        (torch.zeros(2, config.in_channels, side, side),),
        input_names=["images"],
        output_names=["cls", "patches"],
        dynamic_shapes={"images": {0: torch.export.Dim("b", min=1, max=2**16)}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return write_whole(place, program.model_proto.SerializeToString())
