"""The mistakes control in a browser: cells, images, probabilities and neighbours against the data given."""

import io

import numpy as np
import pytest
from PIL import Image
from synthetic import CLASSES, mistakes_widget, switch_theme, violations


@pytest.fixture(scope="module")
def widget():
    return mistakes_widget()


@pytest.fixture
def shown(mount, widget):
    return mount(widget)


def counts(widget) -> np.ndarray:
    return np.frombuffer(widget.counts, "<i4").reshape(10, 10)


def images_of(widget, actual: int, predicted: int) -> list[int]:
    """Places among the shipped images of those of a cell."""
    entries = np.frombuffer(widget.entries, "<i4").reshape(-1, 4)
    return [i for i, (_, a, p, _) in enumerate(entries) if (a, p) == (actual, predicted)]


def cell(shown, actual: int, predicted: int):
    return shown.root.locator("tbody tr").nth(actual).locator("td").nth(predicted)


def assert_open(shown, widget, actual: int, predicted: int, which: int = 0) -> None:
    """The opened cell's rate, probabilities and neighbours are those that were handed over."""
    shown.settle()
    count, total = counts(widget)[actual, predicted], counts(widget)[actual].sum()
    verb = "recognised as" if actual == predicted else "taken for"
    text = shown.readout()
    assert text.startswith(
        f"{count} of {total} images of class {CLASSES[actual]} are {verb} {CLASSES[predicted]}."
    )
    found = images_of(widget, actual, predicted)
    assert shown.root.locator(".dv2-gallery button:visible").count() == len(found)
    place = found[which]
    probs = np.frombuffer(widget.probs, "<f4").reshape(-1, 10)[place]
    assert shown.texts(".dv2-bars b") == [f"{100 * p:.1f} %" for p in probs.astype(float)]
    labels = np.frombuffer(widget.neighbours, "<i4").reshape(-1, 3, 3)[place, :, 1]
    similar = np.frombuffer(widget.similarities, "<f4").reshape(-1, 3)[place].astype(float)
    near = [f"{CLASSES[label]} {s:.2f}" for label, s in zip(labels, similar, strict=True)]
    assert shown.root.locator(".dv2-near span").all_inner_texts() == near
    assert text.endswith(f"Nearest in training: {', '.join(near)}.")
    assert shown.value("chosen") == np.frombuffer(widget.entries, "<i4").reshape(-1, 4)[place, 0]


def test_the_matrix_holds_the_counts(shown, widget):
    texts = shown.root.locator("tbody td").all_inner_texts()
    assert [int(text) for text in texts] == counts(widget).ravel().tolist()


def test_the_commonest_mistake_is_open(shown, widget):
    assert (shown.value("actual"), shown.value("predicted")) == (3, 5)
    assert_open(shown, widget, 3, 5)


def test_stronger_colours_for_larger_shares(shown, widget):
    def red(actual: int, predicted: int) -> list[int]:
        style = cell(shown, actual, predicted).evaluate("(e) => getComputedStyle(e).backgroundColor")
        return [int(part) for part in style.removeprefix("rgb(").removesuffix(")").split(",")]

    row = counts(widget)[4]
    few, many = (int(np.flatnonzero(row == value)[0]) for value in (1, sorted(set(row))[-2]))
    assert red(4, many)[1] < red(4, few)[1]  # further from white


def test_cells_open_by_pointer(shown, widget):
    cell(shown, 4, 3).click()
    assert_open(shown, widget, 4, 3)
    cell(shown, 8, 8).click()
    assert_open(shown, widget, 8, 8)
    assert "ship, recognised" in shown.root.locator(".dv2-open").inner_text()


def test_cells_open_by_keyboard_with_one_in_the_tab_order(shown, widget):
    assert shown.root.locator('td[tabindex="0"]').count() == 1
    cell(shown, 3, 5).focus()
    shown.page.keyboard.press("ArrowUp")
    shown.page.keyboard.press("ArrowRight")
    assert_open(shown, widget, 2, 6) if images_of(widget, 2, 6) else None
    assert (shown.value("actual"), shown.value("predicted")) == (2, 6)
    assert cell(shown, 2, 6).evaluate("(e) => e === document.activeElement && e.tabIndex === 0")
    assert cell(shown, 2, 6).get_attribute("aria-selected") == "true"
    assert shown.root.locator('td[tabindex="0"]').count() == 1
    for _ in range(12):
        shown.page.keyboard.press("ArrowLeft")
    assert shown.value("predicted") == 0  # the edge holds


def test_an_empty_cell_says_so(shown, widget):
    actual, predicted = np.argwhere(counts(widget) == 0)[0].tolist()
    cell(shown, actual, predicted).click()
    total = counts(widget)[actual].sum()
    assert (
        shown.readout()
        == f"0 of {total} images of class {CLASSES[actual]} are taken for {CLASSES[predicted]}."
    )
    assert shown.root.locator(".dv2-closer").is_hidden()
    assert shown.value("chosen") == -1


def test_images_by_pointer_and_by_keyboard(shown, widget):
    before = shown.picture(6)  # the enlarged image follows the six buttons
    shown.root.locator(".dv2-gallery button").nth(2).click()
    assert_open(shown, widget, 3, 5, which=2)
    assert shown.picture(6) != before
    shown.page.keyboard.press("Tab")
    shown.page.keyboard.press("Enter")
    assert_open(shown, widget, 3, 5, which=3)
    assert shown.root.locator('.dv2-gallery button[aria-pressed="true"]').count() == 1


def test_the_pictures_shown_are_those_of_the_sheet(shown, widget):
    cell(shown, 9, 9).click()
    place = images_of(widget, 9, 9)[0]
    sheet = np.asarray(Image.open(io.BytesIO(widget.sprite))).astype(int)

    def assert_tile(canvas: str, tile: int) -> None:
        row, column = divmod(int(tile), sheet.shape[1] // 32)
        assert row > 0
        wanted = sheet[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        index = shown.root.locator("canvas").evaluate_all(
            f"(all) => all.findIndex((c) => c.matches('{canvas}'))"
        )
        pixels = shown.pixels(index)
        step = len(pixels) // 32
        found = pixels[step // 2 :: step, step // 2 :: step, :3].astype(int)
        assert np.abs(found - wanted).max() <= 3  # two JPEG decoders

    assert_tile(".dv2-closer canvas", np.frombuffer(widget.entries, "<i4").reshape(-1, 4)[place, 3])
    assert_tile(".dv2-near canvas", np.frombuffer(widget.neighbours, "<i4").reshape(-1, 3, 3)[place, 0, 2])


def test_touch_opens_a_cell(mount, widget):
    shown = mount(widget, width=360, has_touch=True)
    cell(shown, 4, 3).tap()
    assert_open(shown, widget, 4, 3)


def test_state_survives_a_theme_switch(shown, widget):
    cell(shown, 4, 3).click()
    shown.root.locator(".dv2-gallery button").nth(1).click()
    switch_theme(shown)
    assert_open(shown, widget, 4, 3, which=1)


@pytest.mark.parametrize(("width", "dark"), [(1200, True), (1200, False), (360, False)])
def test_axe_finds_nothing_and_nothing_sticks_out(mount, widget, width, dark):
    shown = mount(widget, width=width, dark=dark)
    assert violations(shown) == []
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
