"""The control of the schedules in a browser: its numbers against the package's recipes, each control by hand."""

import re
from dataclasses import replace

import numpy as np
import pytest
from synthetic import violations

from dinov2_edu.experiments.recipes import default_recipe, published_recipe
from dinov2_edu.schedules import scaled_lr
from dinov2_edu.training.state import Schedules
from dinov2_edu.widgets.schedules import SchedulesWidget

FIELDS = {"rate": "lr", "decay": "weight_decay", "momentum": "momentum", "temperature": "teacher_temperature"}


@pytest.fixture
def control(mount):
    return mount(SchedulesWidget())


def own_recipe(batch, steps, momentum):
    """The published recipe at another batch and length, as the package's configs say it."""
    published = published_recipe(batch)
    share = steps / published.steps
    return replace(
        published,
        steps=steps,
        warmup_steps=round(published.warmup_steps * share),
        teacher_temperature_steps=round(published.teacher_temperature_steps * share),
        momentum=(momentum, 1.0),
        freeze_last_layer_steps=0,
    )


def held_to(control, numbers, config):
    plan, n = Schedules(config), config.steps
    looked = sorted({*np.linspace(0, n - 1, 60).astype(int).tolist(), config.warmup_steps, 1})
    found = [control.call("scheduleAt", numbers, t) for t in looked]
    for key, field in FIELDS.items():
        wanted = getattr(plan, field)[looked]
        np.testing.assert_allclose([one[key] for one in found], wanted, rtol=1e-9, atol=1e-15, err_msg=key)


@pytest.mark.parametrize(("name", "recipe"), [("published", published_recipe), ("default", default_recipe)])
def test_the_official_recipes_are_the_packages(control, name, recipe):
    held_to(control, control.value("recipes")[name], recipe())


@pytest.mark.parametrize(("batch", "steps"), [(64, 1000), (256, 20_000)])
def test_a_run_of_yours_is_the_published_recipe_made_smaller(control, batch, steps):
    published = control.value("recipes")["published"]
    numbers = control.call("ownRecipe", published, {"batch": batch, "steps": steps, "momentum": 0.97})
    held_to(control, numbers, own_recipe(batch, steps, 0.97))
    assert control.call("scaledRate", numbers) == pytest.approx(scaled_lr(2e-4, batch))


def test_the_lag_is_that_of_a_walking_student(control):
    numbers = control.call(
        "ownRecipe", control.value("recipes")["published"], {"batch": 64, "steps": 500, "momentum": 0.9}
    )
    teacher, wanted = 0.0, []
    for step, m in enumerate(Schedules(own_recipe(64, 500, 0.9)).momentum):
        teacher = m * teacher + (1 - m) * (step + 1)
        wanted.append(step + 1 - teacher)
    np.testing.assert_allclose(control.call("lags", numbers), wanted, rtol=1e-9)


def test_published_and_default_by_pointer_and_keyboard(control):
    assert control.readout().startswith(
        "Published, step 312,500 of 625,000 (epoch 250, 50 % of the run), 3,072 pictures a step"
    )
    picture = control.picture()
    control.choose("recipe", "default")
    assert control.readout().startswith("Default, step 62,500 of 125,000 (epoch 50,")
    assert "weight decay 0.220, momentum 0.996" in control.readout()
    assert control.picture() != picture
    control.key("recipe", "ArrowLeft")
    assert control.value("recipe") == "published"


def test_a_run_of_yours_moves_with_its_sliders(control):
    assert control.control("steps").is_disabled()
    control.choose("recipe", "yours")
    assert "step 500 of 1,000" in control.readout() and "64 pictures" in control.readout()
    late = float(re.search(r"([\d.]+) % of the run\.$", control.readout())[1])
    assert late > 15
    control.key("momentum", "Home")
    assert float(re.search(r"([\d.]+) % of the run\.$", control.readout())[1]) < 1
    control.key("steps", "End")
    assert "of 625,000" in control.readout()
    control.drag("batch", 1.0)
    assert "4,096 pictures a step" in control.readout()


def test_the_axis_counts_in_three_units(control):
    pictures = [control.picture()]
    for unit in ("steps", "share"):
        control.choose("unit", unit)
        pictures.append(control.picture())
    assert len(set(pictures)) == 3


def test_the_cursor_by_keyboard_and_on_the_charts(control):
    control.key("place", "Home")
    assert "step 0 of 625,000" in control.readout() and "learning rate 0," in control.readout()
    control.key("place", "End")
    assert "step 624,999 of 625,000" in control.readout()
    box = control.root.locator("canvas").bounding_box()
    control.page.mouse.click(box["x"] + 46, box["y"] + 60)  # the left end of the first chart's axis
    assert control.value("place") <= 5


def test_a_finger_on_a_chart_moves_the_cursor(mount):
    control = mount(SchedulesWidget(), width=390, has_touch=True)
    box = control.root.locator("canvas").bounding_box()
    control.page.touchscreen.tap(box["x"] + 60, box["y"] + 60)
    assert control.value("place") < 300
    assert control.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_others_are_drawn_beside_it(control):
    picture = control.picture()
    control.control("beside").click()
    assert control.picture() != picture


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(mount, dark):
    control = mount(SchedulesWidget(recipe="yours", beside=True), dark=dark)
    control.settle()
    assert violations(control) == []
    assert "Five charts over the run" in control.alt()
