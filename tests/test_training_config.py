"""A run's choices: refused where they make no sense, the same after a trip through JSON."""

import json
from dataclasses import replace

import pytest
from tiny_training import TINY

from dinov2_edu.training import TrainConfig


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 1}, "KoLeo needs at least 2 images"),
        ({"targets": "softmax"}, "targets must be one of"),
        ({"student_temperature": 0}, "student_temperature must be a finite number above 0"),
        ({"teacher_temperature": (0.0, 0.07)}, "teacher_temperature"),
        ({"mask_ratio": (0.5, 0.1)}, "lowest, highest"),
        ({"warmup_steps": 20}, "shorten the warm-up"),
        ({"momentum": (1.2, 1.0)}, "momentum must lie between 0 and 1"),
        ({"dino_weight": 0, "ibot_weight": 0, "koleo_weight": 0}, "nothing to learn"),
        ({"dino_weight": -1}, "at least 0, got -1"),
        ({"n_prototypes": 0}, "at least 2 .*got 0"),
        ({"n_prototypes": 1}, "one leaves nothing to choose from"),
        ({"steps": 20.5}, r"steps must be a whole number of at least 1, got 20\.5"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"warmup_steps": -1}, "warmup_steps must be a whole number of at least 0, got -1"),
        ({"ibot_bottleneck": 0}, "ibot_bottleneck must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"lr": (1e-3, -1)}, "the last learning rate must be at least 0, got -1"),
        ({"lr": (float("nan"), 0)}, "lr must be two finite numbers"),
        ({"lr": (1e-3,)}, "lr must be two finite numbers"),
        ({"weight_decay": (-0.1, 0.4)}, "weight_decay must be at least 0"),
        ({"weight_decay": (0.1, float("inf"))}, "weight_decay must be two finite numbers"),
        ({"momentum": (0.9, float("nan"))}, "momentum must be two finite numbers"),
        ({"koleo_weight": float("inf")}, "koleo_weight must be a finite number"),
        ({"clip": float("nan")}, "clip must be above 0"),
        (
            {"vit": replace(TINY.vit, in_channels=1)},
            "crops have three channels, .*in_channels must be 3, got 1",
        ),
        ({"precision": "float16"}, "'float32', 'bfloat16', 'auto'.*got 'float16'"),
        ({"lr": (0.0, 0.0)}, "learning rate must be above 0"),
        ({"seed": 2**33}, r"between 0 and 2\*\*32 - 1, got 8589934592"),
        ({"vit": replace(TINY.vit, patch_size=16, img_size=16)}, "not a multiple of the patch size 16"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(TINY, **changes)


def test_config_survives_json():
    again = TrainConfig.from_dict(json.loads(json.dumps(TINY.to_dict())))
    assert again == TINY
    with pytest.raises(ValueError, match="no field batchsize"):
        TrainConfig.from_dict({"batchsize": 3})
