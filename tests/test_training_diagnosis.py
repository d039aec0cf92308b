"""The verdict on a run's curves."""

import math

import pytest

from dinov2_edu.training import diagnose
from dinov2_edu.training.diagnosis import CollapseGuard


def curves(entropy: float, mean: float, spread: float = 0.9, loss: float = 5.0) -> dict:
    top = math.log(512)
    values = {
        "loss": loss,
        "target_entropy": entropy * top,
        "mean_target_entropy": mean * top,
        "feature_spread": spread,
    }
    return {name: [value] * 30 for name, value in values.items()}


def joined(first: dict, then: dict) -> dict:
    """A run that went from one state to another."""
    return {name: first[name] + then[name] for name in first}


@pytest.mark.parametrize(
    ("history", "name"),
    [
        (curves(0.4, 0.8), "learning"),
        (curves(1.0, 1.0), "plateau"),
        (curves(1.0, 1.0, spread=0.049), "uniform"),  # the features are gone as well
        (joined(curves(0.5, 0.9), curves(1.0, 1.0)), "uniform"),  # targets told images apart once
        (joined(curves(0.95, 0.985), curves(1.0, 1.0)), "plateau"),  # but not by so little
        (joined(curves(1.0, 1.0), curves(0.5, 0.9)), "learning"),
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
    assert verdict.collapsed == (name not in ("learning", "plateau"))
    assert bool(verdict.advice) == (name != "learning")
    assert verdict.evidence.endswith(".")


def test_a_run_that_learnt_and_became_uniform_is_stopped_and_one_on_its_plateau_is_not():
    """The guard reads the last records alone: it has to remember that there was something to lose."""
    for first, stopped in ((curves(0.5, 0.9), "uniform"), (curves(1.0, 1.0), None)):
        guard = CollapseGuard(first, 512)
        verdict = guard.seen(joined(first, curves(1.0, 1.0)))
        assert (verdict.name if verdict else None) == stopped


@pytest.mark.bad_input
def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="history is empty"):
        diagnose({}, 512)
    for name in curves(0.4, 0.8):
        with pytest.raises(ValueError, match=f"lacks '{name}'"):
            diagnose(curves(0.4, 0.8) | {name: []}, 512)
