"""Extraction against a plain loop: precision, batches, provenance, memory."""

import copy
import os
import re
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from tiny_features import SMALL, by_hand, counted_model, noise_pictures, options

from dinov2_edu import numerics
from dinov2_edu.features import extract_features, runner


@pytest.fixture
def model():
    return counted_model()


@pytest.fixture
def pictures():
    return noise_pictures()


@pytest.mark.parametrize("batch_size", [1, 5, 100, None])
def test_features_equal_a_plain_loop(model, pictures, batch_size):
    found = extract_features(model, pictures, preprocessing=SMALL, options=options(batch_size=batch_size))
    expected = by_hand(model, pictures.images)
    torch.testing.assert_close(torch.cat([found.cls, found.patch_mean], 1), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found.labels, pictures.labels) and torch.equal(found.indices, torch.arange(23))
    assert found.class_names == pictures.class_names and found.skipped == () and not found.from_cache


def test_linear_eval_holds_the_last_layers_in_order(model, pictures):
    found = extract_features(model, pictures.images, preprocessing=SMALL, options=options(n_layers=2))
    with torch.no_grad():
        images = SMALL(pictures.images)
        _, second, last = model.eval().intermediate_layers(images, [0, 1, 2])
    expected = torch.cat([second.cls, last.cls, last.patches.mean(dim=1)], dim=1)
    torch.testing.assert_close(found.linear_eval, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found.cls, found.linear_eval[:, 16:32]) and found.labels is None


def test_model_is_left_as_it_was(model, pictures):
    model.train()
    before = copy.deepcopy(model.state_dict())
    extract_features(model, pictures, preprocessing=SMALL, options=options(precision="bfloat16"))
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    after = model.state_dict()
    assert all(
        torch.equal(before[name], after[name]) and after[name].dtype == torch.float32 for name in before
    )


def test_half_precision_keeps_the_direction(model, pictures):
    full = extract_features(model, pictures, preprocessing=SMALL, options=options())
    half = extract_features(model, pictures, preprocessing=SMALL, options=options(precision="bfloat16"))
    assert half.cls.dtype == torch.float32 and not torch.equal(full.cls, half.cls)
    assert torch.cosine_similarity(full.cls, half.cls).min() > 0.999


@pytest.mark.parametrize(
    ("bf16", "amx", "faster", "wanted"),
    [
        (True, False, True, "bfloat16"),
        (False, True, True, "bfloat16"),
        (True, True, False, "float32"),  # units at half the rate are worse than none
        (False, False, True, "float32"),  # never measured: emulated
    ],
)
def test_precision_follows_the_chip(monkeypatch, bf16, amx, faster, wanted):
    monkeypatch.setattr(numerics, "_bfloat16_is_faster", lambda: faster)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert numerics.best_precision(torch.device("cpu")) == wanted


@pytest.mark.parametrize("slower", [torch.float32, torch.bfloat16])
def test_the_faster_matrix_product_is_found(monkeypatch, slower):
    """Whatever this chip has: a product that waits is the slower one."""
    linear = torch.nn.functional.linear

    def waiting(a, b):
        if a.dtype == slower:
            time.sleep(0.1)
        return linear(a, b)

    monkeypatch.setattr(torch.nn.functional, "linear", waiting)
    numerics._bfloat16_is_faster.cache_clear()
    assert numerics._bfloat16_is_faster() == (slower == torch.float32)
    numerics._bfloat16_is_faster.cache_clear()


@pytest.mark.parametrize(
    ("capability", "wanted"), [((6, 1), "float32"), ((7, 5), "float16"), ((8, 0), "bfloat16")]
)
def test_precision_follows_the_gpu(monkeypatch, capability, wanted):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert numerics.best_precision(torch.device("cuda")) == wanted


def test_features_that_are_not_finite_are_refused_and_not_kept(model, pictures, tmp_path):
    with torch.no_grad():
        model.norm.bias[3] = float("inf")
    with pytest.raises(ValueError, match=r"8 of 8 rows are not finite in float32, first picture 0 of noise"):
        extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    assert not list(tmp_path.rglob("shard-*"))


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("no room"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),  # Windows
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved(model, pictures, error):
    model.most, model.no_room = 3, error
    found = extract_features(model, pictures, preprocessing=SMALL, options=options(batch_size=16))
    torch.testing.assert_close(found.cls, by_hand(model, pictures.images)[:, :16], atol=1e-5, rtol=1e-5)
    assert max(model.calls) <= 3
    model.most = 0
    with pytest.raises(type(error), match=re.escape(str(error))):
        extract_features(model, pictures, preprocessing=SMALL, options=options())


def test_provenance_names_what_made_the_numbers(model, pictures):
    model.name = "toy {1}"
    text = extract_features(model, pictures, preprocessing=SMALL, options=options()).provenance
    for part in ("toy {1}", "width 16", "noise, 23 pictures", str(SMALL), "float32 on cpu", "images/s"):
        assert part in text


def test_float32_says_how_precisely_its_matrices_are_multiplied(model, pictures, tmp_path):
    def extract():
        return extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())

    extract()
    torch.set_float32_matmul_precision("medium")
    try:
        fewer = extract()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert not fewer.from_cache and "float32 on cpu, matrix products at medium precision" in fewer.provenance
    assert extract().from_cache


@pytest.mark.parametrize(("precision", "shared"), [("float32", True), ("bfloat16", False)])
def test_weights_of_the_right_precision_are_not_copied(model, precision, shared):
    frozen = runner.Runner(model, precision, 1, None, 16).model
    before, after = (dict(one.named_parameters()) for one in (model, frozen))
    assert all(one.dtype == getattr(torch, precision) and not one.requires_grad for one in after.values())
    assert {before[name].data_ptr() == after[name].data_ptr() for name in before} == {shared}


PEAK = """
import resource, sys
import torch
from dinov2_edu.features import ExtractOptions, extract_features
from dinov2_edu.vit import VisionTransformer, ViTConfig

model = VisionTransformer(ViTConfig(img_size=224, patch_size=14, width=24, depth=1, heads=2))
how = {"options": ExtractOptions(precision="float32", progress=False)}
extract_features(model, torch.zeros(32, 3, 64, 64, dtype=torch.uint8), **how)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = extract_features(model, sys.argv[1], **how)
print(len(found), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the resource module counts otherwise elsewhere")
def test_photos_of_a_camera_take_little_memory(tmp_path):
    for number in range(8):
        Image.new("RGB", (4000, 3000), (number, 0, 0)).save(tmp_path / f"{number}.jpg", quality=50)
    Image.new("RGB", (11600, 8700)).save(tmp_path / "8.jpg", quality=50)
    arguments = [sys.executable, "-c", PEAK, tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found, mebibytes = done.stdout.split()
    assert int(found) == 9 and float(mebibytes) < 1000


@pytest.mark.gpu
def test_a_gpu_gives_the_features_of_the_cpu(model, pictures, tmp_path):
    wanted = extract_features(model, pictures, preprocessing=SMALL, options=options())
    found = extract_features(
        copy.deepcopy(model).cuda(),
        pictures,
        preprocessing=SMALL,
        cache_dir=tmp_path,
        options=options(batch_size=None),
    )
    torch.testing.assert_close(found.linear_eval, wanted.linear_eval, atol=1e-2, rtol=1e-2)  # TF32
    there = extract_features(model, pictures.images.cuda(), preprocessing=SMALL, options=options())
    torch.testing.assert_close(there.linear_eval, wanted.linear_eval)


def test_progress_counts_images(model, pictures, capsys):
    extract_features(model, pictures, preprocessing=SMALL, options=options(progress=True))
    assert "23/23" in capsys.readouterr().err
