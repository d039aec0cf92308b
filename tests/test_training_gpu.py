"""Training on a GPU: the CPU's numbers, and a run that is left and gone on with. They try themselves on the CPU."""

from dataclasses import replace

import pytest
import torch
from tiny_training import QUIET, TINY, byte_images

from dinov2_edu.training import FitOptions, build_state, draw_batch, fit, load_checkpoint, train_step
from dinov2_edu.training.streams import step_generator

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("targets", ["centering", "sinkhorn_knopp"])
def test_a_step_there_says_what_it_says_here(device, targets):
    config = replace(TINY, targets=targets, koleo_weight=0.1)
    found, weights = [], []
    for place in ("cpu", device):
        state, generator = build_state(config, place), step_generator(config, 0)
        batch = draw_batch(byte_images().to(place), config, generator)
        found.append({name: float(value) for name, value in train_step(state, batch, generator).items()})
        assert {weight.device.type for weight in state.teacher.parameters()} == {place}
        weights.append(torch.cat([w.detach().flatten().cpu() for w in state.student_network.parameters()]))
    # AdamW's first step is the sign of a gradient times the rate: where it is nearly 0 the sign may differ.
    assert ((weights[1] - weights[0]).abs() > 1e-6).float().mean() < 0.05
    assert found[0] == pytest.approx(
        found[1], rel=2e-2, abs=1e-3
    )  # TF32, and pixels at the threshold of solarizing


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_there_goes_on_where_it_was_left(device, precision, tmp_path):
    config, images = replace(TINY, precision=precision, steps=6), byte_images(16)
    whole = fit(build_state(config, device), images, FitOptions(**QUIET))
    fit(build_state(config, device), images, FitOptions(**QUIET, folder=tmp_path), until=3)
    rest = fit(load_checkpoint(tmp_path / "checkpoint.pt", device), images, FitOptions(**QUIET))
    assert rest.device.type == device and rest.step == 6
    assert rest.history["loss"] == pytest.approx(whole.history["loss"], rel=1e-2)
    close = {"rtol": 0, "atol": 0} if device == "cpu" else {"rtol": 1e-2, "atol": 1e-4}
    for who in ("student_network", "teacher"):
        for one, other in zip(*(getattr(state, who).parameters() for state in (rest, whole)), strict=True):
            torch.testing.assert_close(one, other, **close)
