"""The runs control in a browser: each control, by keyboard and by pointer, against what was recorded."""

import math
import re

import numpy as np
import pytest
from synthetic import point, runs, runs_widget, switch_theme, violations


@pytest.fixture(scope="module")
def widget():
    return runs_widget()


@pytest.fixture
def shown(mount, widget):
    return mount(widget)


def at(run: dict, key: str, step: int) -> float | None:
    """The last number of a history at or before a step."""
    history = run["history"]
    steps = history.get(f"{key}_step", history["step"])
    before = [value for when, value in zip(steps, history[key], strict=True) if when <= step]
    return before[-1] if before else None


def said(shown) -> dict[str, float]:
    """The numbers of the readout, by run."""
    text = shown.readout().split(": ", 1)[1]
    return {name: float(value) for name, value in re.findall(r"(?:^|; )([a-z ]+?) (-?[\d.]+\d)", text)}


def table(shown) -> dict[str, list[str]]:
    """The table under the chart: first cell of each line to the others."""
    shown.settle()
    lines = shown.root.locator("tbody tr").all()
    return {line.locator("th").inner_text(): line.locator("td").all_inner_texts() for line in lines}


def assert_reads(shown, key: str, step: int) -> None:
    found = said(shown)
    wanted = {run["name"]: at(run, key, step) for run in runs()}
    assert found == {name: pytest.approx(value, rel=6e-3) for name, value in wanted.items()}


def ink_columns(shown) -> set[int]:
    """Columns of the chart, in tenths of its width, in which anything but background and grey is drawn."""
    image = shown.pixels().astype(int)
    coloured = (image[..., :3].max(-1) - image[..., :3].min(-1) > 60) & (image[..., 3] > 128)
    return set((10 * np.flatnonzero(coloured.any(0)) // image.shape[1]).tolist())


# ---- formulas ----


@pytest.mark.parametrize("step", [-1, 0, 5, 10, 29, 30, 99])
def test_value_at_a_step_is_the_last_recorded(shown, step):
    steps, values = [0, 10, 30], [1.0, 2.0, 3.0]
    wanted = values[np.searchsorted(steps, step, side="right") - 1] if step >= 0 else None
    assert shown.call("valueAt", {"steps": steps, "values": values}, step) == wanted


# ---- what is shown ----


def test_the_end_of_the_target_entropy_comes_first(shown):
    assert shown.readout().startswith("Step 590, target entropy, nats: ")
    assert_reads(shown, "target_entropy", 590)
    assert f"ln 256 is {math.log(256):.3f}." in shown.readout()


def test_the_table_holds_all_quantities_at_the_cursor(shown):
    shown.set(step=200)
    found = table(shown)
    assert list(found) == [
        "loss, all parts",
        "KoLeo loss",
        "target entropy, nats",
        "feature spread",
        "k-NN accuracy",
    ]
    for key, name in [
        ("loss", "loss, all parts"),
        ("knn", "k-NN accuracy"),
        ("feature_spread", "feature spread"),
    ]:
        wanted = [at(run, key, 200) for run in runs()]
        assert [float(text) for text in found[name]] == pytest.approx(wanted, rel=6e-3)


def test_a_diverged_run_says_so(shown):
    assert table(shown)["loss, all parts"][3] == "not finite"


def test_quantity_by_keyboard_and_by_pointer(shown):
    before = shown.picture()
    shown.key("metric", "Home")
    assert "loss, all parts" in shown.readout() and "ln 256" not in shown.readout()
    shown.set(step=200)
    assert_reads(shown, "loss", 200)
    assert shown.picture() != before
    shown.control("metric").select_option("k-NN accuracy")
    assert shown.value("metric") == "knn"
    assert_reads(shown, "knn", 200)


def test_cursor_by_keyboard_and_by_pointer(shown):
    shown.key("step", "ArrowLeft", "ArrowLeft")
    assert shown.value("step") == 570
    assert_reads(shown, "target_entropy", 570)
    shown.drag("step", 0.0)
    assert shown.value("step") == 0
    assert_reads(shown, "target_entropy", 0)


def test_pointing_at_the_chart_moves_the_cursor(shown):
    before = shown.picture()
    point(shown, 0.5, 0.5)
    step = shown.value("step")
    assert 250 <= step <= 320 and step % 10 == 0
    assert_reads(shown, "target_entropy", step)
    assert shown.picture() != before


def test_touch_moves_the_cursor(mount, widget):
    shown = mount(widget, width=360, has_touch=True)
    box = shown.root.locator("canvas").first.bounding_box()
    shown.page.touchscreen.tap(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    assert 220 <= shown.value("step") <= 340
    assert_reads(shown, "target_entropy", shown.value("step"))


def test_runs_are_switched_by_keyboard_and_by_pointer(shown):
    both = shown.picture()
    shown.key("visible.1", "Space")
    assert shown.value("visible") == [True, False, True, True]
    assert "no sharpening" not in shown.readout()
    assert len(table(shown)["k-NN accuracy"]) == 3
    assert shown.picture() != both
    shown.control("visible.1").click()
    assert shown.picture() == both
    for index in range(4):
        shown.control(f"visible.{index}").click()
    assert shown.readout() == "No run is drawn: switch one on."
    assert ink_columns(shown) == set()


def test_each_run_has_its_diagnosis(shown):
    for run in runs():
        assert shown.root.get_by_text(run["diagnosis"], exact=True).is_visible()


def test_charts_side_by_side_by_pointer_and_by_keyboard(shown):
    one = shown.root.locator("canvas").first.bounding_box()["height"]
    shown.choose("charts", "side by side")
    shown.settle()
    assert shown.root.locator("canvas").first.bounding_box()["height"] > one
    point(shown, 0.75, 0.75)  # in the panel of the fourth run: it has its own time axis
    assert 200 <= shown.value("step") <= 400
    assert_reads(shown, "target_entropy", shown.value("step"))
    shown.control("charts").nth(1).focus()
    shown.page.keyboard.press("ArrowLeft")
    shown.settle()
    assert shown.root.locator("canvas").first.bounding_box()["height"] == one


def test_curves_that_end_leave_a_gap(shown):
    shown.set(metric="loss", visible=[False, False, False, True], step=0)
    assert {8, 9} & ink_columns(shown) == set() and {2, 3, 4} <= ink_columns(shown)


# ---- everywhere ----


def test_state_survives_a_theme_switch(shown):
    shown.key("visible.0", "Space")
    shown.key("step", "PageDown")
    before = shown.readout()
    switch_theme(shown)
    assert shown.readout() == before and shown.value("visible")[0] is False


@pytest.mark.parametrize(("width", "dark"), [(1200, True), (360, False)])
def test_axe_finds_nothing_and_nothing_sticks_out(mount, widget, width, dark):
    shown = mount(widget, width=width, dark=dark)
    assert violations(shown) == []
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
