"""The command `python -m dinov2_edu export`: a backbone as a file for other programs."""

import argparse
from pathlib import Path

from dinov2_edu.checks import require
from dinov2_edu.experiments.commands import say
from dinov2_edu.vit import VisionTransformer
from dinov2_edu.weights import load_backbone, save_official, save_onnx, save_timm, save_transformers


def run(options: argparse.Namespace) -> None:
    """Load, write, and say what opens it.

    Raises:
        ValueError: a form that is not named, or that this backbone does not have.
    """
    form: str = options.to or ("onnx" if options.out.suffix == ".onnx" else "")
    require(bool(form), f"{options.out.name} does not tell the form: add --to transformers, timm or official")
    require(options.size is None or form == "onnx", "--size goes with ONNX: other files take any size")
    model = load_backbone(options.weights)
    say(f"writing {model.name} for {form}")
    print(f"{write(model, form, options.out, options.size)}: {OPENED_BY[form]}")


OPENED_BY = {
    "onnx": "images (b, 3, side, side), normalised -> cls, patches; onnxruntime.InferenceSession opens it",
    "transformers": "transformers.AutoModel.from_pretrained opens this folder",
    "timm": "timm's VisionTransformer(**timm_arguments(config)).load_state_dict takes it",
    "official": "the official names; load_backbone opens it, its sizes are recorded in it",
}
"""What each form is opened by."""


def write(model: VisionTransformer, form: str, out: Path, size: int | None) -> Path:
    """Write one form."""
    if form == "onnx":
        return save_onnx(model, out, size)
    return {"transformers": save_transformers, "timm": save_timm, "official": save_official}[form](model, out)
