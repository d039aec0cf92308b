"""A run's choices: refused where they make no sense, the same after a trip through JSON."""

import json
from dataclasses import replace

import pytest
from tiny_training import TINY

from dinov2_edu.training import TrainConfig


def test_without_a_loss_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="all three loss weights are 0: there is nothing to learn from"):
        replace(TINY, dino_weight=0, ibot_weight=0, koleo_weight=0)


def test_config_survives_json():
    again = TrainConfig.from_dict(json.loads(json.dumps(TINY.to_dict())))
    assert again == TINY
    with pytest.raises(ValueError, match="no field batchsize"):
        TrainConfig.from_dict({"batchsize": 3})
