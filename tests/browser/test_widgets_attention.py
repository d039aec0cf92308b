"""The attention control in a browser: formulas against the package's, each control against what it shows."""

import re
from itertools import pairwise

import numpy as np
import pytest
from synthetic import attention_widget, switch_theme, violations

from dinov2_edu.features.maps import top_share_mask
from dinov2_edu.widgets.attention import recorded_places, recorded_queries

GRID = (16, 16)
PREFIX = 5
EVEN = 78
"""Brightness of an even share on the scale: mean of red, green and blue, two sevenths of the way."""


@pytest.fixture(scope="module")
def widget():
    return attention_widget()


@pytest.fixture
def shown(mount, widget):
    return mount(widget)


def recorded(widget, layer: int, head: int, token: int) -> np.ndarray:
    """A row of the shipped attention, as Python reads it; head -1 is the mean."""
    kept = recorded_queries(GRID, PREFIX - 1, widget.every)
    levels = np.frombuffer(widget.attention, np.uint8).reshape(3, 6, len(kept), PREFIX + 256)
    scales = np.frombuffer(widget.scales, "<f4").reshape(3, 6, len(kept))
    rows = (levels / 255 * scales[..., None])[layer, :, kept.index(token)]
    return rows.mean(0) if head < 0 else rows[head]


def strongest(text: str) -> tuple[int, int, float]:
    """Row, column and percentage that the readout calls the strongest."""
    row, column, share = re.search(r"looks most at row (\d+), column (\d+) \(([\d.]+) %\)", text).groups()
    return int(row), int(column), float(share)


def assert_shows(shown, weights: np.ndarray) -> None:
    best = weights[PREFIX:].argmax()
    row, column, share = strongest(shown.readout())
    assert (row - 1, column - 1) == divmod(best, 16)
    assert share == pytest.approx(100 * weights[PREFIX:][best], abs=0.051)


def board_of(shown, board: int = 0) -> tuple[float, float, float]:
    """Left, top and side of a board on its canvas, in CSS pixels: photo (0) and map (1) side by side, titles above."""
    width = shown.root.locator("canvas").first.bounding_box()["width"]
    side = (width - 10) / 2
    return board * (side + 10), 20, side


def place_of(shown, x: float, y: float, board: int = 0) -> tuple[float, float]:
    """Where a share of a board lies on the screen."""
    canvas = shown.root.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box, (left, top, side) = canvas.bounding_box(), board_of(shown, board)
    return box["x"] + left + x * side, box["y"] + top + y * side


def press(shown, x: float, y: float, board: int = 0) -> None:
    shown.page.mouse.click(*place_of(shown, x, y, board))


# ---- formulas ----


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 1.0])
def test_top_share_is_the_packages(shown, share):
    maps = np.random.default_rng(0).dirichlet(np.full(64, 0.3), 3).reshape(3, 8, 8)
    maps[0, :4] = maps[0, 0, 0]  # ties
    for one, wanted in zip(maps, top_share_mask(maps, share), strict=True):
        assert shown.call("topShareMask", one.ravel().tolist(), share) == wanted.ravel().tolist()


def test_rows_are_read_as_python_reads_them(shown):
    levels = np.arange(256)
    found = shown.call("dequantise", levels.tolist(), 0.37)
    np.testing.assert_allclose(found, levels / 255 * 0.37, rtol=1e-5)


@pytest.mark.parametrize(("every", "side"), [(1, 5), (2, 5), (3, 7), (4, 16)])
def test_recorded_places_are_pythons(shown, every, side):
    wanted = sorted({row for row, _ in recorded_places((side, side), every)})
    assert sorted({shown.call("recordedPlace", place, every, side) for place in range(side)}) == wanted


# ---- who looks ----


def test_the_class_token_looks_first(shown, widget):
    assert shown.value("query") == "cls"
    assert "the class token looks" in shown.readout()
    assert_shows(shown, recorded(widget, 2, -1, 0))


def test_pointing_at_a_patch_shows_where_it_looks(shown, widget):
    before = shown.picture()
    press(shown, 0.35, 0.6)  # row 9, column 5: recorded as row 9, column 5 of every 2nd
    assert shown.value("query") == "patch" and shown.value("patch") == [9, 5]
    assert "the patch at row 10, column 6 looks" in shown.readout()
    assert_shows(shown, recorded(widget, 2, -1, PREFIX + 9 * 16 + 5))
    assert shown.picture() != before


def test_arrow_keys_walk_over_recorded_patches(shown, widget):
    canvas = shown.root.locator("canvas").first
    canvas.focus()
    start = shown.value("patch")
    shown.page.keyboard.press("ArrowRight")  # from the class token: begins at the patch
    assert shown.value("patch") == start and shown.value("query") == "patch"
    shown.page.keyboard.press("ArrowRight")
    shown.page.keyboard.press("ArrowUp")
    row, column = shown.value("patch")
    assert [row, column] == [start[0] - 2, start[1] + 2]
    assert_shows(shown, recorded(widget, 2, -1, PREFIX + 16 * row + column))
    for _ in range(20):
        shown.page.keyboard.press("ArrowLeft")
    assert shown.value("patch")[1] == 1  # the middle of the first block


def test_touch_chooses_a_patch(mount, widget):
    shown = mount(widget, width=360, has_touch=True)
    shown.page.touchscreen.tap(*place_of(shown, 0.1, 0.1))
    assert shown.value("patch") == [1, 1]
    assert "row 2, column 2 looks" in shown.readout()


def test_who_looks_by_pointer_and_by_keyboard(shown, widget):
    shown.choose("query", "register 2")
    assert "register 2 looks" in shown.readout()
    assert_shows(shown, recorded(widget, 2, -1, 2))
    shown.page.keyboard.press("ArrowLeft")
    assert "register 1 looks" in shown.readout()
    assert_shows(shown, recorded(widget, 2, -1, 1))


# ---- layer, head, share ----


def test_layer_by_keyboard_and_by_pointer(shown, widget):
    shown.key("layer", "ArrowLeft")
    assert "In block 8," in shown.readout()
    assert_shows(shown, recorded(widget, 1, -1, 0))
    shown.drag("layer", 0.0)
    assert "In block 4," in shown.readout()
    assert_shows(shown, recorded(widget, 0, -1, 0))


def test_head_by_pointer_and_by_keyboard(shown, widget):
    shown.press("head 4")
    assert "head 4," in shown.readout()
    assert_shows(shown, recorded(widget, 2, 3, 0))
    shown.page.keyboard.press("Tab")
    shown.page.keyboard.press("Enter")
    assert "head 5," in shown.readout()
    assert_shows(shown, recorded(widget, 2, 4, 0))


def test_each_tile_of_the_mosaic_shows_its_head(shown):
    first = [shown.picture(tile) for tile in range(1, 8)]
    assert len(set(first)) == 7
    shown.drag("layer", 0.0)
    assert all(shown.picture(tile) != before for tile, before in enumerate(first, start=1))


def bright(shown) -> np.ndarray:
    """Mean brightness of each patch of the large map, one number a patch."""
    left, top, side = (round(at) for at in board_of(shown, 1))
    grey = shown.pixels(0)[top : top + side, left : left + side, :3].mean(-1)
    edges = list(pairwise(np.linspace(0, len(grey), 17).astype(int)))
    return np.array([[grey[a + 6 : b - 6, c + 6 : d - 6].mean() for c, d in edges] for a, b in edges])


def test_maps_have_one_scale_that_does_not_move(shown, widget):
    """Two heads of unlike strength look unlike: an even share has the same colour in both, and so has a doubled one."""
    for head in range(2):
        shown.press(f"head {head + 1}")
        shares = recorded(widget, 2, head, 0)[PREFIX:] * (PREFIX + 256)
        on_scale = ((np.log2(shares) + 2) / 7).clip(0, 1).reshape(16, 16)
        seen = bright(shown)
        order = np.argsort(on_scale.ravel())
        assert (np.diff(seen.ravel()[order]) > -6).all()  # brighter as the share grows
        even = np.abs(on_scale - 2 / 7) < 0.02
        assert even.any() and np.abs(seen[even] - EVEN).max() < 8


def test_share_by_keyboard_and_by_pointer_marks_the_packages_patches(shown, widget):
    shown.press("head 1")
    before = bright(shown)
    shown.drag("keep", 0.4)
    keep = shown.value("keep")
    assert 0.3 < keep < 0.6
    weights = recorded(widget, 2, 0, 0)[PREFIX:].reshape(1, 16, 16)
    marked = top_share_mask(weights, keep)[0]
    assert f"Top {100 * keep:.0f} % of what goes to patches: {marked.sum()} of 256." in shown.readout()
    after = bright(shown)
    assert np.abs(after - before)[marked].max() < 3
    assert (after < 0.75 * before)[~marked].all()
    shown.key("keep", "End")
    assert "Top 50 %" in shown.readout()
    np.testing.assert_allclose(bright(shown), before)


def test_registers_are_shown_apart(shown, widget):
    weights = recorded(widget, 2, -1, 0)
    names, shares = shown.texts(".dv2-bars span"), shown.texts(".dv2-bars b")
    assert names == ["class token", *(f"register {i}" for i in range(1, 5)), "256 patches"]
    wanted = [*weights[:PREFIX], weights[PREFIX:].sum()]
    assert shares == [f"{100 * weight:.1f} %" for weight in wanted]


# ---- everywhere ----


def test_state_survives_a_theme_switch(shown):
    shown.press("head 3")
    press(shown, 0.5, 0.2, board=1)
    before = shown.readout()
    switch_theme(shown)
    assert shown.readout() == before and shown.value("head") == 2


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_axe_finds_nothing_and_nothing_sticks_out(mount, widget, width, dark):
    shown = mount(widget, width=width, dark=dark)
    assert violations(shown) == []
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width


def test_crisp_on_dense_screens(mount, widget):
    shown = mount(widget, device_scale_factor=3)
    canvas = shown.root.locator("canvas").first
    assert canvas.evaluate("(c) => c.width / c.clientWidth") == pytest.approx(3, abs=0.01)
