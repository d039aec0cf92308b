"""The EMA control in a browser: formulas against the package's, each control against what it shows."""

import re
import time

import numpy as np
import pytest
import torch

from dinov2_edu.ema import make_teacher, update_teacher
from dinov2_edu.schedules import cosine_schedule
from dinov2_edu.widgets.ema import EmaWidget


@pytest.fixture
def ema(mount):
    return mount(EmaWidget())


def cells(mounted, row):
    mounted.settle()
    return mounted.root.locator("tbody tr").nth(row).locator("td").all_inner_texts()


def numbers(text):
    return [float(found) for found in re.findall(r"\d+(?:\.\d+)?", text)]


def test_cosine_schedule_is_the_packages(ema):
    found = ema.call("cosineSchedule", 0.992, 1, 50)
    np.testing.assert_allclose(found, cosine_schedule(0.992, 1.0, 50), atol=1e-12)


def test_moving_average_is_the_packages(ema):
    weights, momenta = np.random.default_rng(0).normal(size=20), np.linspace(0.1, 0.99, 20)
    student = torch.nn.Linear(1, 1, bias=False).double()
    student.weight.data.fill_(weights[0])
    teacher = make_teacher(student)
    wanted = [weights[0]]
    for weight, momentum in zip(weights[1:], momenta[1:], strict=True):
        student.weight.data.fill_(weight)
        update_teacher(teacher, student, float(momentum))
        wanted.append(teacher.weight.item())
    found = ema.call("movingAverage", weights.tolist(), momenta.tolist())
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.98])
def test_expectations_reach_the_closed_forms(ema, momentum):
    expected = ema.call("expected", [momentum] * 2000)
    assert expected["lag"][-1] == pytest.approx(momentum / (1 - momentum), abs=1e-5)
    assert expected["jitter"][-1] == pytest.approx(((1 - momentum) / (1 + momentum)) ** 0.5, abs=1e-5)
    assert ema.call("longRunLag", momentum) == pytest.approx(expected["lag"][-1], abs=1e-5)
    assert ema.call("longRunJitter", momentum) == pytest.approx(expected["jitter"][-1], abs=1e-5)


def test_measured_values_are_near_the_expected_ones(ema):
    for row, tolerance in ((0, 0.1), (1, 0.25)):
        measured, expected, _ = cells(ema, row)
        assert float(measured) == pytest.approx(float(expected), rel=tolerance)


def test_momentum_by_keyboard(ema):
    before, picture = ema.readout(), ema.picture()
    ema.key("momentum", "ArrowRight")
    assert ema.value("momentum") == 0.99
    assert ema.said("momentum") == "0.99"
    assert "the formulas say 99 and 0.07" in ema.readout() != before
    assert ema.picture() != picture


def test_momentum_by_pointer(ema):
    ema.drag("momentum", 0.0)
    assert ema.value("momentum") == 0
    assert "the teacher is 0 steps behind, and it jitters 1.00 times as much" in ema.readout()
    ema.drag("momentum", 1.0)
    assert "The teacher never moves." in ema.readout()


def test_higher_momentum_lags_more_and_jitters_less(ema):
    lag, jitter = ema.value("lag"), ema.value("jitter")
    ema.key("momentum", "ArrowRight", "ArrowRight")
    ema.settle()
    assert ema.value("lag") > lag and ema.value("jitter") < jitter


def test_schedule_by_pointer_and_keyboard(ema):
    ema.choose("schedule", "cosine")
    assert "At step 600 the momentum is 1." in ema.readout()
    assert cells(ema, 0)[2] == "\u2013"  # no closed form while the momentum changes
    ema.page.keyboard.press("ArrowLeft")
    assert ema.value("schedule") == "constant"
    assert "m/(1\u2212m) = 49.0" in cells(ema, 0)[2]


def test_training_step_moves_along_the_run(ema):
    ema.choose("schedule", "cosine")
    ema.key("at", "Home")
    assert ema.readout().startswith("At step 0 the momentum is 0.98.")
    ema.drag("at", 0.5)
    assert ema.value("at") == pytest.approx(300, abs=6)
    assert ema.readout().startswith(f"At step {ema.value('at')} the momentum is 0.99")


def test_students_step_and_jitter(ema):
    over_time = ema.picture(0)
    ema.drag("step", 0.25)
    assert ema.value("step") == pytest.approx(0.002, abs=5e-4)
    assert ema.picture(0) != over_time
    in_plane = ema.picture(1)
    ema.key("noise", "Home")
    assert ema.value("noise") == 0
    assert ema.picture(1) != in_plane
    measured, expected, _ = cells(ema, 0)
    assert measured == expected  # without noise the measured lag is exact


def test_other_noise_changes_the_run_and_not_the_expectation(ema):
    picture, before = ema.picture(), cells(ema, 1)
    ema.press("Other noise")
    after = cells(ema, 1)
    assert ema.picture() != picture
    assert after[0] != before[0] and after[1:] == before[1:]


def test_play_walks_to_the_end_and_pauses(ema):
    ema.page.clock.install()
    ema.page.clock.pause_at(time.time() + 60)
    play = ema.root.get_by_role("button", name="Play")
    play.click()
    ema.page.clock.run_for(1000)
    ema.root.get_by_role("button", name="Pause").click()
    stopped = ema.value("at")
    assert stopped == pytest.approx(120, abs=4)  # five seconds for 600 steps, from the start
    ema.page.clock.run_for(1000)
    assert ema.value("at") == stopped
    play.click()
    ema.page.clock.run_for(5000)
    assert ema.value("at") == 600 and play.inner_text() == "Play"


def test_play_jumps_to_the_end_where_motion_is_unwelcome(mount):
    ema = mount(EmaWidget(at=10), reduced_motion="reduce")
    ema.press("Play")
    assert ema.value("at") == 600
    assert ema.readout().startswith("At step 600")


def test_teacher_is_drawn_in_its_colour(ema):
    colours = ema.pixels(0)[..., :3].astype(int)
    assert (np.abs(colours - [0xCF, 0x73, 0x0C]).max(-1) < 3).sum() > 200
    assert "the teacher follows later" in ema.alt(0)


def test_values_from_python_are_shown(ema):
    ema.set(momentum=0.5, at=300)
    assert "At step 300 the momentum is 0.5." in ema.readout()
    assert numbers(ema.said("momentum")) == [0.5]


def test_the_table_fits_a_phone_in_a_wide_font(mount):
    shown = mount(EmaWidget(), width=360)
    shown.page.add_style_tag(content="body { font-family: 'DejaVu Sans' !important }")
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
