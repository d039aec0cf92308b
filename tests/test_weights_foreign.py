"""Backbones for other programs: each file is opened by the library it is for, and gives the same tokens."""

import hashlib
import json
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dinov2_edu.experiments import commands
from dinov2_edu.features import Preprocessing
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights import (
    load_backbone,
    save_official,
    save_onnx,
    save_timm,
    save_transformers,
    timm_arguments,
    transformers_config,
)

REGISTERS = {"interpolate_offset": 0.0, "interpolate_antialias": True}
SHAPES = {
    "plain": {},
    "registers": {"n_registers": 4, **REGISTERS},
    "swiglu": {"ffn": "swiglu"},
    "no LayerScale": {"layer_scale": None, "mlp_ratio": 2.0},
}


@pytest.fixture(params=SHAPES)
def model(request):
    """A random backbone of some shape, each parameter with a value that shows where it ended."""
    torch.manual_seed(3)
    found = VisionTransformer(ViTConfig(img_size=28, width=128, depth=2, heads=2, **SHAPES[request.param]))
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.normal_(0.5, 0.5 if parameter.ndim < 2 else 0.1)
    return found.eval().requires_grad_(False)


@pytest.fixture
def images():
    return torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))


def all_tokens(model, images):
    found = model(images)
    return torch.cat([found.cls[:, None], found.registers, found.patches], dim=1)


def test_transformers_opens_the_folder_and_gives_the_same_tokens(model, images, tmp_path):
    import transformers

    save_transformers(model, tmp_path / "theirs")
    theirs, info = transformers.AutoModel.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(info.values()), info
    kind = "Dinov2WithRegistersModel" if model.config.n_registers else "Dinov2Model"
    assert type(theirs).__name__ == kind
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(images).last_hidden_state, all_tokens(model, images))


def test_the_image_processor_beside_it_makes_the_same_input(model, tmp_path):
    import transformers

    save_transformers(model, tmp_path / "theirs")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "theirs")
    rng = np.random.default_rng(0)
    photo = np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((12, 12, 1), np.uint8))
    theirs = processor(photo, return_tensors="pt")["pixel_values"]
    ours = Preprocessing(size=28)(torch.tensor(photo).permute(2, 0, 1)[None])
    assert theirs.shape == ours.shape and (theirs - ours).abs().mean() < 0.02  # theirs rounds to bytes


def test_timm_takes_the_file_and_gives_the_same_tokens(model, images, tmp_path):
    import timm

    path = save_timm(model, tmp_path / "timm.safetensors")
    with safe_open(path, "pt") as file:
        arguments = json.loads(file.metadata()["timm"])
    assert arguments == timm_arguments(model.config)
    if "mlp_layer" in arguments:
        arguments["mlp_layer"] = getattr(timm.layers, arguments["mlp_layer"])
        arguments["act_layer"] = getattr(torch.nn, arguments["act_layer"])
    theirs = timm.models.vision_transformer.VisionTransformer(**arguments).eval()
    theirs.load_state_dict(load_file(path))
    with torch.no_grad():
        torch.testing.assert_close(theirs.forward_features(images), all_tokens(model, images))


def test_there_and_back(model, images, tmp_path):
    """What was written for another library opens here again, as the same function."""
    opens_again(model, images, tmp_path)


@pytest.mark.parametrize("name", ["book", "a width without a guess"])
def test_there_and_back_with_heads_that_no_width_tells(name, tmp_path):
    """The book's width of 128 has four heads; 96 is no multiple of the 64 channels that are else taken for one."""
    torch.manual_seed(3)
    sizes = ViTConfig(img_size=28, width=96, depth=2, heads=3, n_registers=1, interpolate_offset=0.1)
    found = load_backbone("book") if name == "book" else VisionTransformer(sizes).eval().requires_grad_(False)
    for side in (found.config.img_size, found.config.img_size + found.config.patch_size):
        opens_again(found, torch.randn(2, 3, side, side), tmp_path)


def opens_again(model, images, folder):
    """Each form that is written opens here, without a warning, with the sizes and tokens of the model."""
    save_transformers(model, folder / "theirs")
    save_timm(model, folder / "timm.safetensors")
    save_official(model, folder / "official.safetensors")
    scaled = model.config if model.config.layer_scale else replace(model.config, layer_scale=1.0)
    for name in ("theirs", "timm.safetensors", "official.safetensors"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = load_backbone(folder / name)
        assert again.config == (scaled if name == "theirs" else model.config)
        torch.testing.assert_close(all_tokens(again, images), all_tokens(model, images))


def test_an_interrupted_folder_is_the_old_one(tmp_path, monkeypatch):
    """Old weights beside a new config.json, or the other way round, would open as another function."""
    old, new = (
        VisionTransformer(ViTConfig(img_size=28, width=128, depth=1, heads=heads)).eval() for heads in (2, 4)
    )
    save_transformers(old, tmp_path / "theirs")
    (tmp_path / "theirs" / "README.md").write_text("mine")
    before = contents_of(tmp_path / "theirs")
    for files_before in range(3):
        calls = iter(range(files_before + 1))
        with monkeypatch.context() as patched:
            patched.setattr(
                os, "fsync", lambda file, left=calls, n=files_before: stop() if next(left) == n else None
            )
            with pytest.raises(KeyboardInterrupt):
                save_transformers(new, tmp_path / "theirs")
        assert contents_of(tmp_path / "theirs") == before
    save_transformers(new, tmp_path / "theirs")
    assert json.loads((tmp_path / "theirs" / "config.json").read_text())["num_attention_heads"] == 4
    assert contents_of(tmp_path / "theirs").keys() == before.keys()
    assert load_backbone(tmp_path / "theirs").config.heads == 4


def stop():
    raise KeyboardInterrupt


def contents_of(folder):
    """Digests, since a difference of whole files would take minutes to print."""
    return {entry.name: hashlib.sha256(entry.read_bytes()).hexdigest() for entry in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("registers", [0, 4])
def test_onnxruntime_gives_the_same_tokens_for_any_number_of_pictures(tmp_path, registers):
    import onnxruntime

    torch.manual_seed(3)
    config = ViTConfig(img_size=28, width=128, depth=2, heads=2, n_registers=registers)
    model = VisionTransformer(config).eval().requires_grad_(False)
    torch.nn.init.normal_(model.pos_embed)
    for size in (28, 42):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            save_onnx(model, tmp_path / "model.onnx", size)
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        (given,) = session.get_inputs()
        assert given.name == "images" and given.shape[1:] == [3, size, size]
        for b in (1, 2, 5):
            images = torch.randn(b, 3, size, size)
            cls, patches = session.run(["cls", "patches"], {"images": images.numpy()})
            found = model(images)
            np.testing.assert_allclose(cls, found.cls.numpy(), atol=2e-5)
            np.testing.assert_allclose(patches, found.patches.numpy(), atol=2e-5)
    assert load_backbone("book").config.init == "mimetic", (
        "torch.export has changed what a meta tensor can do"
    )


def test_a_model_is_left_as_it_was(tmp_path, images):
    model = VisionTransformer(ViTConfig(img_size=28, width=64, depth=1, heads=1)).train().bfloat16()
    save_transformers(model, tmp_path / "theirs")
    save_timm(model, tmp_path / "timm.safetensors")
    assert model.training and model.pos_embed.dtype == torch.bfloat16 and model.pos_embed.requires_grad


def test_the_command_writes_what_it_is_asked_for(tmp_path, capsys):
    for form, name in (("transformers", "theirs"), ("timm", "t.safetensors"), ("official", "o.safetensors")):
        assert commands.main(["export", "book", str(tmp_path / name), "--to", form]) == 0
        assert str(tmp_path / name) in capsys.readouterr().out
    book = load_backbone("book")
    images = torch.randn(2, 3, 32, 32)
    again = load_backbone(tmp_path / "o.safetensors")
    assert again.config == book.config and torch.equal(again(images).cls, book(images).cls)


@pytest.mark.bad_input
def test_what_cannot_be_written_says_why(tmp_path, capsys, monkeypatch):
    tiny = VisionTransformer(ViTConfig(img_size=28, width=64, depth=1, heads=1, mlp_ratio=2.5))
    with pytest.raises(ValueError, match=r"whole numbers for mlp_ratio, this backbone has 2\.5"):
        save_transformers(tiny, tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
    with pytest.raises(ValueError, match="size 30 is not a multiple of the patch size 14"):
        save_onnx(tiny, tmp_path / "m.onnx", 30)
    monkeypatch.setattr("dinov2_edu.weights.foreign.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install onnx onnxscript"):
        save_onnx(tiny, tmp_path / "m.onnx")
    monkeypatch.setattr("dinov2_edu.weights.foreign.MOST_BYTES", 10)
    with pytest.raises(ValueError, match="an ONNX file holds 2"):
        save_onnx(tiny, tmp_path / "m.onnx")
    for words, sentence in (
        (["book", "a.bin"], "add --to transformers, timm or official"),
        (["book", "a.bin", "--to", "timm"], "wanted a name that ends in .safetensors"),
        (["book", "a", "--to", "transformers", "--size", "28"], "--size goes with ONNX"),
        ([str(tmp_path / "runs"), "a.onnx"], "is a folder without|there is no file"),
    ):
        assert commands.main(["export", *words]) == 2
        said = capsys.readouterr().err
        assert any(part in said for part in sentence.split("|")), said


def test_the_released_sizes_are_those_that_transformers_itself_has():
    import transformers

    config = ViTConfig(img_size=518, width=384, depth=12, heads=6)
    ours = transformers_config(config)
    theirs = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
    for name in ("num_hidden_layers", "mlp_ratio", "layer_norm_eps", "qkv_bias", "use_swiglu_ffn"):
        assert ours[name] == getattr(theirs, name), name
    assert "num_register_tokens" in transformers_config(replace(config, n_registers=4))
