"""What a caller has switched on around a call does not change its numbers."""

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache

import pytest
import torch
from tiny_training import TINY
from torch import Tensor, nn

from dinov2_edu.crops import (
    augment,
    crop_and_resize,
    gaussian_blur,
    multi_crop,
    resize,
    sample_boxes,
    small_image_crops,
)
from dinov2_edu.data import patterns10
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.features import ExtractOptions, Preprocessing, attention_over_patches, extract_features
from dinov2_edu.masking import block_masks, mask_batch
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.probe import few_shot_curve, knn_predict, logistic_probe, nearest
from dinov2_edu.training import FitOptions, build_state, fit, load_checkpoint, start_from
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights import load_backbone, load_state


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


AROUND = {
    "bfloat16 autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float16 autocast": lambda: torch.autocast("cpu", torch.float16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "another device by default": lambda: torch.device("meta"),
    "deterministic": deterministic,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(found: Iterable[float]) -> Tensor:
    return torch.tensor(list(found), dtype=torch.float64, device="cpu")


torch.manual_seed(0)
MODEL = VisionTransformer(
    ViTConfig(img_size=16, patch_size=8, width=16, depth=2, heads=2, layer_scale=None, init_std=0.2)
)
BYTES = torch.randint(0, 256, (12, 3, 20, 20), generator=seeded(), dtype=torch.uint8)
IMAGE = torch.rand(3, 16, 16, generator=seeded())
ROWS, LABELS = torch.randn(60, 8, generator=seeded()), torch.arange(60) % 3
BOX, SIGMA, ASKED = torch.tensor([[1.0, 2.0, 9.0, 7.0]]), torch.ones(1), torch.full((4,), 20)
SET = patterns10(20)
PRECISE = ExtractOptions(precision="float32", progress=False)


@cache
def a_run() -> str:
    """The path of a checkpoint after one step."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    fit(build_state(TINY), BYTES, FitOptions(progress=False, folder=folder), until=1)
    return f"{folder}/checkpoint.pt"


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([one.detach().flatten() for one in model.parameters()])


CALLS: dict[str, Callable[[], Tensor]] = {
    "extract_features": lambda: (
        extract_features(MODEL, BYTES, preprocessing=Preprocessing(size=16), options=PRECISE).linear_eval
    ),
    "Preprocessing, smaller": lambda: Preprocessing(size=16)(BYTES),
    "Preprocessing, larger": lambda: Preprocessing(size=32)(BYTES),
    "attention_over_patches": lambda: torch.from_numpy(attention_over_patches(MODEL, IMAGE)),
    "nearest": lambda: nearest(ROWS, ROWS + 1, 3)[0],
    "knn_predict": lambda: knn_predict(ROWS, LABELS, ROWS + 1),
    "logistic_probe": lambda: logistic_probe(ROWS, LABELS).probabilities(ROWS + 1),
    "few_shot_curve": lambda: numbers(
        point.mean
        for point in few_shot_curve(
            (ROWS, LABELS), (ROWS + 1, LABELS), generator=seeded(), labels_per_class=(1, 2), n_draws=2
        )
    ),
    "patterns10": lambda: patterns10(12).images,
    "multi_crop": lambda: multi_crop(BYTES, small_image_crops(), generator=seeded()).local_crops,
    "sample_boxes": lambda: sample_boxes(5, (20, 20), (0.3, 1.0), generator=seeded()),
    "resize": lambda: resize(IMAGE[None], 8),
    "crop_and_resize": lambda: crop_and_resize(IMAGE[None], BOX, 8),
    "gaussian_blur": lambda: gaussian_blur(IMAGE[None], SIGMA),
    "augment": lambda: augment(IMAGE[None], small_image_crops(), "global1", generator=seeded()),
    "block_masks": lambda: block_masks(ASKED, (8, 8), generator=seeded()),
    "mask_batch": lambda: mask_batch(6, (4, 4), generator=seeded())[0],
    "ImageSet.subset": lambda: SET.subset([3, 1]).images,
    "knn_evaluator": lambda: numbers([knn_evaluator(SET, SET, n_train=5)(MODEL)]),
    "load_backbone": lambda: weights_of(load_backbone("random")),
    "load_state": lambda: weights_of(load_state(MODEL.config, MODEL.state_dict(), "here")),
    "start_from": lambda: weights_of(start_from(load_checkpoint(a_run()), TINY).student),
    "load_checkpoint": lambda: load_checkpoint(a_run()).optimizer.state_dict()["state"][0]["exp_avg"],
    "a resumed run": lambda: weights_of(
        fit(load_checkpoint(a_run()), BYTES, FitOptions(progress=False), until=2).teacher
    ),
}
"""Every public call that decides its own precision, on inputs that are made outside."""


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_switched_on_around_a_call_does_not_change_it(call, around):
    wanted = CALLS[call]()
    with AROUND[around]():
        found = CALLS[call]()
    assert found.dtype == wanted.dtype and found.device == wanted.device
    assert torch.equal(found, wanted)


def settings() -> tuple:
    return (
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("around", [name for name in AROUND if name != "deterministic"])
def test_settings_are_torchs_own_inside_and_the_callers_afterwards(around):
    usual = settings()
    with AROUND[around]():
        before = settings()
        assert before != usual
        with pytest.raises(KeyboardInterrupt), torch_defaults():
            inside = settings()
            raise KeyboardInterrupt
        assert settings() == before
    assert (inside[0], *inside[2:]) == (usual[0], *usual[2:])


def test_what_was_cached_inside_autocast_is_float32(tmp_path):
    def extract():
        return extract_features(
            MODEL, BYTES, preprocessing=Preprocessing(size=16), cache_dir=tmp_path, options=PRECISE
        )

    with torch.autocast("cpu", torch.bfloat16):
        extract()
    again = extract()
    assert again.from_cache and torch.equal(again.linear_eval, CALLS["extract_features"]())
