"""Schedules and multipliers: official numbers, closed forms, and bad input."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dinov2_edu.heads import ProjectionHead
from dinov2_edu.schedules import cosine_schedule, linear_schedule, parameter_multipliers, scaled_lr
from dinov2_edu.vit import VisionTransformer, ViTConfig

TINY = ViTConfig(img_size=28, patch_size=14, width=12, depth=3, heads=2, n_registers=2)


@pytest.mark.golden
def test_schedules_match_the_official_ones(golden):
    numbers = golden("optim.npz")
    n_steps = len(numbers["lr"])
    ours = {
        "lr": cosine_schedule(0.004, 1e-6, n_steps, warmup_steps=10),
        "weight_decay": cosine_schedule(0.04, 0.4, n_steps),
        "momentum": cosine_schedule(0.992, 1, n_steps),
        "teacher_temp": linear_schedule(0.04, 0.07, len(numbers["teacher_temp"])),
    }
    for name, schedule in ours.items():
        np.testing.assert_allclose(schedule, numbers[name], rtol=1e-12, err_msg=name)


@pytest.mark.golden
def test_multipliers_match_the_official_ones(golden, vit_config):
    numbers = golden("optim.npz")
    ours = parameter_multipliers(
        VisionTransformer(vit_config(numbers)),
        layer_decay=numbers["config/layerwise_decay"].item(),
        patch_embed_multiplier=numbers["config/patch_embed_lr_mult"].item(),
    )
    assert sorted(ours) == sorted(numbers["names"])
    for name, lr, wd in zip(
        numbers["names"], numbers["lr_multiplier"], numbers["wd_multiplier"], strict=True
    ):
        assert ours[name] == (pytest.approx(lr, rel=1e-12), wd), name


def test_cosine_goes_down_half_a_wave():
    schedule = cosine_schedule(3, 1, 8)
    assert schedule.dtype == np.float64 and len(schedule) == 8
    np.testing.assert_allclose(schedule[[0, 2, 4, 6]], [3, 2 + math.sqrt(0.5), 2, 2 - math.sqrt(0.5)])
    assert (np.diff(schedule) < 0).all() and schedule[-1] > 1


def test_warmup_then_cosine():
    schedule = cosine_schedule(1, 0, 17, warmup_steps=5)
    np.testing.assert_allclose(schedule[:5], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(schedule[5:], cosine_schedule(1, 0, 12))


def test_a_schedule_may_be_all_warmup():
    np.testing.assert_allclose(cosine_schedule(1, 0, 3, warmup_steps=3), [0, 0.5, 1])


def test_linear_climbs_and_stays():
    np.testing.assert_allclose(linear_schedule(0, 3, 4, n_total=7), [0, 1, 2, 3, 3, 3, 3])
    np.testing.assert_allclose(linear_schedule(0, 3, 4), [0, 1, 2, 3])
    np.testing.assert_allclose(linear_schedule(0, 3, 4, n_total=2), [0, 1])
    np.testing.assert_allclose(linear_schedule(0, 3, 1, n_total=3), [0, 3, 3])
    np.testing.assert_allclose(linear_schedule(0, 3, 0, n_total=3), [3, 3, 3])


@pytest.mark.parametrize(("batch_size", "factor"), [(1024, 1), (256, 0.5), (4096, 2)])
def test_learning_rate_scales_with_the_root_of_the_batch(batch_size, factor):
    assert scaled_lr(0.004, batch_size) == pytest.approx(0.004 * factor)


def test_multipliers_of_backbone_and_head_in_one_module():
    model = nn.ModuleDict(
        {"backbone": VisionTransformer(TINY), "dino_head": ProjectionHead(12, 8, hidden_dim=16)}
    )
    multipliers = parameter_multipliers(model, layer_decay=0.5, patch_embed_multiplier=0.2)
    assert set(multipliers) == {name for name, _ in model.named_parameters()}
    assert multipliers["backbone.register_tokens"] == (0.5**4, 1)
    assert multipliers["backbone.cls_token"] == (0.5**4, 1)
    assert multipliers["backbone.patch_embed.proj.bias"] == (pytest.approx(0.2 * 0.5**4), 0)
    assert multipliers["backbone.blocks.0.attn.qkv.weight"] == (0.5**3, 1)
    assert multipliers["backbone.blocks.2.ls1.gamma"] == (0.5, 0)
    assert multipliers["backbone.norm.weight"] == (1, 0)
    assert multipliers["dino_head.mlp.0.weight"] == (1, 1)
    assert multipliers["dino_head.mlp.0.bias"] == (1, 0)
    assert multipliers["dino_head.last_layer.weight_g"] == (1, 1)
    alone = parameter_multipliers(model["backbone"], layer_decay=0.5, patch_embed_multiplier=0.2)
    assert {f"backbone.{name}": pair for name, pair in alone.items()} == {
        name: pair for name, pair in multipliers.items() if name.startswith("backbone.")
    }


def test_frozen_parameters_are_left_out():
    head = ProjectionHead(4, 3, hidden_dim=5, bottleneck_dim=2)
    head.last_layer.weight_g.requires_grad_(False)
    assert "last_layer.weight_g" not in parameter_multipliers(head)
    assert "last_layer.weight_v" in parameter_multipliers(head)


def test_multipliers_work_in_an_optimiser():
    model = VisionTransformer(TINY)
    parameters = dict(model.named_parameters())
    groups = [
        {"params": [parameters[name]], "lr": 0.01 * lr, "weight_decay": 0.1 * wd}
        for name, (lr, wd) in parameter_multipliers(model).items()
    ]
    assert len(torch.optim.AdamW(groups).param_groups) == len(parameters)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cosine_schedule(1, 0, 0), "n_steps must be at least 1, got 0"),
        (lambda: cosine_schedule(1, 0, 10, warmup_steps=11), "got 11"),
        (lambda: cosine_schedule(1, 0, 10, warmup_steps=-1), "got -1"),
        (lambda: linear_schedule(1, 0, -1, n_total=3), "n_steps must be at least 0, got -1"),
        (lambda: linear_schedule(1, 0, 5, n_total=0), "n_total must be at least 1, got 0"),
        (lambda: scaled_lr(0.1, 0), "batch_size"),
        (lambda: parameter_multipliers(nn.Linear(2, 2), layer_decay=0), "layer_decay"),
        (lambda: parameter_multipliers(nn.Linear(2, 2), layer_decay=1.1), "layer_decay"),
        (lambda: parameter_multipliers(nn.Linear(2, 2), patch_embed_multiplier=-1), "patch_embed_multiplier"),
        (
            lambda: parameter_multipliers(nn.Linear(2, 2), patch_embed_multiplier=math.nan),
            "patch_embed_multip",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
