"""The PCA control in a browser: components against the package's, each control against what it shows."""

import re

import numpy as np
import pytest
from synthetic import pca_widget, point, switch_theme, violations

from dinov2_edu.features.maps import pca_colours

GRID = 16


@pytest.fixture(scope="module")
def widget():
    return pca_widget()


@pytest.fixture
def shown(mount, widget):
    return mount(widget)


def tokens(widget) -> np.ndarray:
    """The tokens as the page has them, `photos patches dims`."""
    levels = np.frombuffer(widget.tokens, np.int8).reshape(4, GRID * GRID, widget.n_dims)
    return levels * np.frombuffer(widget.scales, "<f4").astype(np.float64)


def boxes(width: int) -> list[tuple[float, float, float]]:
    """Left, top and side of the four maps on a wide canvas: four photos in a row, a map beneath each."""
    side = (width - 30) / 4
    return [(photo * (side + 10), side + 4, side) for photo in range(4)]


def maps(shown) -> np.ndarray:
    """The colours of all patches as shown, `photos patches 4`, looked up at their centres."""
    image = shown.pixels()
    found = []
    for left, top, side in boxes(image.shape[1]):
        centres = (np.arange(GRID) + 0.5) * side / GRID
        found.append(image[np.ix_((top + centres).astype(int), (left + centres).astype(int))].reshape(-1, 4))
    return np.stack(found)


def expected(widget, **options) -> tuple[np.ndarray, np.ndarray]:
    """Colours (`photos patches components`, 0 to 1) and foreground as the package computes them."""
    found = pca_colours(tokens(widget), n_components=widget.n_components, **options)
    return found.colours, found.foreground


def assert_maps(shown, colours: np.ndarray, foreground: np.ndarray) -> None:
    seen = maps(shown).astype(int)
    marked = shown.value("patch")
    away = np.ones((4, GRID, GRID), bool)
    away[marked[0], max(0, marked[1] - 1) : marked[1] + 2, max(0, marked[2] - 1) : marked[2] + 2] = (
        False  # under the frame
    )
    inside = foreground & away.reshape(4, -1)
    assert np.abs(seen[..., :3] - 255 * colours)[inside].max() <= 2
    background = seen[~foreground & away.reshape(4, -1)]
    assert len(background) == 0 or np.ptp(background, axis=0).max() == 0


# ---- formulas ----


def test_eigenvectors_are_numpys(shown):
    rows = np.random.default_rng(0).normal(size=(40, 9)) * np.arange(1, 10)
    matrix = rows.T @ rows
    found = shown.call("eigenSymmetric", matrix.ravel().tolist(), 9)
    values, vectors = np.linalg.eigh(matrix)
    np.testing.assert_allclose(found["values"], values[::-1], rtol=1e-9)
    ours = np.array(found["vectors"])
    np.testing.assert_allclose(np.abs(ours @ vectors[:, ::-1]), np.eye(9), atol=1e-7)


@pytest.mark.parametrize("threshold", [-0.7, 0.0, 0.9])
@pytest.mark.parametrize("high", [True, False])
def test_two_passes_are_the_packages(shown, threshold, high):
    rows = np.random.default_rng(1).normal(size=(2, 30, 6)) * np.arange(1, 7)
    wanted = pca_colours(rows, n_components=4, threshold=threshold, foreground_high=high)
    options = {"count": 4, "threshold": threshold, "foregroundHigh": high, "passes": 2}
    found = shown.call("pcaColors", rows.reshape(60, 6).tolist(), options)
    np.testing.assert_allclose(found["first"], wanted.first_scores.ravel(), atol=1e-5)
    assert found["foreground"] == wanted.foreground.ravel().tolist()
    np.testing.assert_allclose(found["explained"], wanted.explained, atol=1e-5)
    colours = [[0.0] * 4 if row is None else row for row in found["colors"]]
    np.testing.assert_allclose(colours, wanted.colours.reshape(60, 4), atol=1e-5)


def test_too_few_foreground_patches_give_no_colours(shown):
    rows = np.random.default_rng(1).normal(size=(20, 6)).tolist()
    found = shown.call("pcaColors", rows, {"count": 4, "threshold": 9, "foregroundHigh": True, "passes": 2})
    assert found["explained"] == [] and found["colors"] == [None] * 20


# ---- what is shown ----


def test_two_passes_over_all_photos_come_first(shown, widget):
    colours, foreground = expected(widget)
    assert_maps(shown, colours[..., :3], foreground)
    assert f"Components of {foreground.sum()} of 1024 patches of all 4 photos" in shown.readout()


def test_one_pass_and_first_component_by_pointer_and_keyboard(shown, widget):
    shown.choose("show", "all")
    colours, _ = expected(widget, threshold=-99.0)
    assert_maps(shown, colours[..., :3], np.ones((4, 256), bool))
    assert "Components of 1024 of 1024 patches" in shown.readout()
    shown.control("show").nth(1).focus()
    shown.page.keyboard.press("ArrowLeft")
    assert shown.value("show") in {"first", "foreground"}
    shown.choose("show", "first")
    seen = maps(shown)
    assert np.all(np.ptp(seen[..., :3].astype(int), axis=-1) <= 1)  # grey
    found = pca_colours(tokens(widget), n_components=1)
    assert np.corrcoef(seen[..., 0].ravel(), found.first_scores.ravel())[0, 1] > 0.97
    assert (
        f"First component: {found.foreground.sum()} of 1024 patches of all 4 photos are foreground."
        in shown.readout()
    )


def test_cut_by_keyboard_and_by_pointer(shown, widget):
    shown.key("threshold", "ArrowRight", "ArrowRight")
    assert shown.value("threshold") == pytest.approx(0.1)
    colours, foreground = expected(widget, threshold=0.1)
    assert_maps(shown, colours[..., :3], foreground)
    shown.drag("threshold", 0.3)
    cut = shown.value("threshold")
    assert cut < -0.5
    colours, foreground = expected(widget, threshold=cut)
    assert_maps(shown, colours[..., :3], foreground)
    assert f"Components of {foreground.sum()} of 1024" in shown.readout()


def test_foreground_below_by_keyboard_and_by_pointer(shown, widget):
    shown.key("foreground_high", "Space")
    colours, foreground = expected(widget, foreground_high=False)
    assert_maps(shown, colours[..., :3], foreground)
    shown.control("foreground_high").click()
    assert_maps(shown, *(part[..., :3] if part.ndim == 3 else part for part in expected(widget)))


def test_each_photo_alone_by_pointer_and_by_keyboard(shown, widget):
    shown.control("together").click()
    alone = [pca_colours(each[None], n_components=6) for each in tokens(widget)]
    assert_maps(
        shown,
        np.concatenate([one.colours for one in alone])[..., :3],
        np.concatenate([one.foreground for one in alone]),
    )
    assert f"Components of {alone[0].foreground.sum()} of 256 patches of “disc 1”" in shown.readout()
    shown.key("together", "Space")
    assert "of all 4 photos" in shown.readout()


def test_components_by_keyboard_and_by_pointer(shown, widget):
    colours, foreground = expected(widget)
    shown.control("red").select_option("component 4")
    shown.key("green", "Home")  # none
    assert (shown.value("red"), shown.value("green")) == (3, -1)
    assert_maps(shown, np.stack([colours[..., 3], 0 * colours[..., 0], colours[..., 2]], -1), foreground)
    assert "green" not in shown.readout().split("Row")[0]


def test_signs_by_keyboard_and_by_pointer(shown, widget):
    colours, foreground = expected(widget)
    shown.key("flips.0", "Space")
    shown.control("flips.2").click()
    turned = np.stack([1 - colours[..., 0], colours[..., 1], 1 - colours[..., 2]], -1)
    assert_maps(shown, turned, foreground)
    assert shown.value("flips") == [True, False, True]


def test_variance_shares_are_the_packages(shown, widget):
    explained = pca_colours(tokens(widget), n_components=6).explained
    shares = [int(found) for found in re.findall(r"(?:red|green|blue) (\d+) %", shown.readout())]
    assert shares == pytest.approx(100 * explained[:3], abs=0.51)


def test_pointing_and_arrow_keys_read_out_a_patch(shown, widget):
    canvas = shown.root.locator("canvas")
    box = canvas.bounding_box()
    left, top, side = boxes(box["width"])[1]
    point(shown, (left + 0.91 * side) / box["width"], (top + 0.1 * side) / box["height"])  # in the second map
    assert shown.value("patch") == [1, 1, 14]
    canvas.focus()
    shown.page.keyboard.press("ArrowDown")
    shown.page.keyboard.press("ArrowRight")
    assert shown.value("patch") == [1, 2, 15]
    colours, foreground = expected(widget)
    values = colours[1, 2 * GRID + 15]
    assert foreground[1, 2 * GRID + 15]
    assert shown.readout().endswith(
        f"Row 3, column 16 of “disc 2”: red {values[0]:.2f}, green {values[1]:.2f}, blue {values[2]:.2f}."
    )
    shown.page.keyboard.press("ArrowRight")  # past the edge: into the next photo
    assert shown.value("patch") == [2, 2, 0]


def test_touch_reads_out_a_patch(mount, widget):
    shown = mount(widget, width=360, has_touch=True)
    box = shown.root.locator("canvas").bounding_box()
    shown.page.touchscreen.tap(box["x"] + 5, box["y"] + 5)
    assert shown.value("patch") == [0, 0, 0]
    assert "Row 1, column 1 of “disc 1”" in shown.readout()


def test_too_high_a_cut_says_what_to_do(shown):
    shown.set(threshold=2.0, foreground_high=True)
    if "too few" not in shown.readout():
        shown.set(threshold=99.0)
    assert "too few for components. Move the cut." in shown.readout()


# ---- everywhere ----


def test_state_survives_a_theme_switch(shown):
    shown.key("threshold", "ArrowRight")
    shown.control("blue").select_option("component 5")
    before = shown.readout()
    switch_theme(shown)
    assert shown.readout() == before and shown.value("blue") == 4


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_axe_finds_nothing_and_nothing_sticks_out(mount, widget, width, dark):
    shown = mount(widget, width=width, dark=dark)
    assert violations(shown) == []
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
