"""The matching control in a browser: its numbers against the package's, each control against what it shows."""

import re

import numpy as np
import pytest
import torch
from synthetic import photo, switch_theme, violations

from dinov2_edu.probe import correct_keypoints
from dinov2_edu.widgets.match import MatchWidget

GRID = (8, 12)
N = GRID[0] * GRID[1]


def places(indices: np.ndarray) -> np.ndarray:
    return np.stack(np.divmod(indices, GRID[1]), axis=1).astype(float)


@pytest.fixture(scope="module")
def made():
    draw = np.random.default_rng(0)
    truth = places(np.arange(N)) - [0, 1.3]
    truth[truth[:, 1] < -0.5] = np.nan
    good = np.where(np.arange(N) % GRID[1] == 0, 0, np.arange(N) - 1)
    found = {"pixels": draw.integers(N, size=N), "trained": good}
    picture = photo(0).resize((180, 120))
    widget = MatchWidget(picture, picture, found, truth, grid=GRID, source="Made-up matches.")
    return widget, found, truth


@pytest.fixture
def shown(mount, made):
    return mount(made[0])


def assert_says(shown, made, patch: list[int], name: str) -> None:
    """The readout against numbers computed here."""
    _, found, truth = made
    i = patch[0] * GRID[1] + patch[1]
    said = shown.readout()
    row, col = divmod(int(found[name][i]), GRID[1])
    assert f"The patch at row {patch[0] + 1}, column {patch[1] + 1} " in said
    assert f"by {name} it is found at row {row + 1}, column {col + 1} of the right one" in said
    known = ~np.isnan(truth[:, 0])
    points = (torch.from_numpy(one[known]).float() for one in (places(found[name]), truth))
    share = correct_keypoints(*points, (1.0,))[0]
    assert int(re.search(r"finds (\d+) % within one patch", said)[1]) == round(100 * share)
    if known[i]:
        away = np.hypot(*(places(found[name])[i] - truth[i]))
        assert f"of the right one, {away:.1f} patches off" in said


def left_place(shown, row: int, col: int) -> tuple[float, float]:
    """Where a patch of the left photo lies on the screen."""
    canvas = shown.root.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    wide = box["width"] > 480
    width = (box["width"] - 10) / 2 if wide else box["width"]
    height = width * 120 / 180
    return box["x"] + (col + 0.5) / GRID[1] * width, box["y"] + 20 + (row + 0.5) / GRID[0] * height


def test_it_begins_in_the_middle(shown, made):
    assert shown.value("patch") == [4, 6] and shown.value("seen_by") == "pixels"
    assert_says(shown, made, [4, 6], "pixels")


def test_pointing_chooses_a_patch_and_marks_it_in_both(shown, made):
    before = shown.picture()
    shown.page.mouse.click(*left_place(shown, 2, 9))
    assert shown.value("patch") == [2, 9]
    assert_says(shown, made, [2, 9], "pixels")
    assert shown.picture() != before


def test_dragging_walks(shown, made):
    shown.page.mouse.move(*left_place(shown, 2, 3))
    shown.page.mouse.down()
    shown.page.mouse.move(*left_place(shown, 5, 7), steps=6)
    shown.page.mouse.up()
    assert shown.value("patch") == [5, 7]


def test_the_right_photo_is_not_for_choosing(shown):
    box = shown.root.locator("canvas").first.bounding_box()
    shown.page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 60)
    assert shown.value("patch") == [4, 6]


def test_arrow_keys_walk_and_stop_at_the_edge(shown, made):
    shown.root.locator("canvas").first.focus()
    for stroke in ("ArrowRight", "ArrowUp", "ArrowUp"):
        shown.page.keyboard.press(stroke)
    assert shown.value("patch") == [2, 7]
    assert_says(shown, made, [2, 7], "pixels")
    for _ in range(20):
        shown.page.keyboard.press("ArrowDown")
    assert shown.value("patch") == [7, 7]


def test_who_sees_by_pointer_and_keyboard(shown, made):
    shown.choose("seen_by", "trained")
    assert_says(shown, made, [4, 6], "trained")
    shown.key("seen_by", "ArrowLeft")
    assert_says(shown, made, [4, 6], "pixels")


def test_a_place_that_nobody_measured_is_said_to_be(shown, made):
    shown.set(patch=[3, 0])
    said = shown.readout()
    assert "was not measured, or lies outside" in said and "patches off" not in said
    assert_says(shown, made, [3, 0], "pixels")


def test_one_name_alone_is_compared_with_nothing(mount, made):
    _, found, truth = made
    picture = photo(0).resize((180, 120))
    shown = mount(MatchWidget(picture, picture, {"trained": found["trained"]}, truth, grid=GRID))
    said = shown.readout()
    assert_says(shown, made, [4, 6], "trained")
    assert re.search(r"of the right one, [^;]+ off\. Of all patches", said) and ";" not in said


def test_outlines_are_drawn_around_what_is_right(shown):
    shown.choose("seen_by", "trained")
    before = shown.pixels()
    shown.root.get_by_label("Outline what is found right").check()
    after = shown.pixels()
    half = before.shape[1] // 2 - 10
    assert shown.value("marked")
    assert (before[:, :half] != after[:, :half]).any() and (
        before[:, half + 20 :] == after[:, half + 20 :]
    ).all()


def test_formulas(shown):
    assert shown.call("distanceOf", 17, [1.0, 2.0], 12) == pytest.approx(3.0)  # row 1, column 5
    assert shown.call("shareRight", [0.0, 1.0, 1.01, 9.0], 1) == 0.5


def test_touch_chooses_a_patch(mount, made):
    shown = mount(made[0], width=360, has_touch=True)
    shown.page.touchscreen.tap(*left_place(shown, 1, 2))
    assert shown.value("patch") == [1, 2]


def test_state_survives_a_theme_switch(shown):
    shown.choose("seen_by", "trained")
    before = shown.readout()
    switch_theme(shown)
    assert shown.readout() == before


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_axe_finds_nothing_and_nothing_sticks_out(mount, made, width, dark):
    shown = mount(made[0], width=width, dark=dark)
    assert violations(shown) == []
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
