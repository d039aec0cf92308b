"""The verdict on a run's curves."""

import math

import pytest

from dinov2_edu.training import diagnose


def curves(entropy: float, mean: float, spread: float = 0.9, loss: float = 5.0) -> dict:
    top = math.log(512)
    values = {
        "loss": loss,
        "target_entropy": entropy * top,
        "mean_target_entropy": mean * top,
        "feature_spread": spread,
    }
    return {name: [value] * 30 for name, value in values.items()}


@pytest.mark.parametrize(
    ("history", "name"),
    [
        (curves(0.4, 0.8), "learning"),
        (curves(1.0, 1.0), "uniform"),
        (curves(0.02, 0.02), "one prototype"),
        (curves(0.5, 0.503), "constant"),
        (curves(0.4, 0.8, spread=0.01), "features"),
        (curves(0.4, 0.8, loss=float("nan")), "diverged"),
        (curves(float("nan"), 0.8), "diverged"),
        (curves(0.4, float("inf")), "diverged"),
        (curves(0.4, 0.8, spread=float("nan")), "diverged"),
    ],
)
def test_the_diagnosis_names_the_collapse(history, name):
    verdict = diagnose(history, 512)
    assert verdict.name == name
    assert verdict.collapsed == (name != "learning") == bool(verdict.advice)
    assert verdict.evidence.endswith(".")


@pytest.mark.bad_input
def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="history is empty"):
        diagnose({}, 512)
    for name in curves(0.4, 0.8):
        with pytest.raises(ValueError, match=f"lacks '{name}'"):
            diagnose(curves(0.4, 0.8) | {name: []}, 512)
