"""A page's controls each get a place of the height that was measured, or none where the page has changed since."""

import json

import pytest

from tools.control_places import HEIGHTS, known_heights, with_places
from tools.notebooks import FOLDER

VIEW = '<script type="application/vnd.jupyter.widget-view+json">{"model_id": "%s"}</script>'
PAGE = f"<p>before</p>{VIEW % 'a'}<figure></figure><details>{VIEW % 'b'}</details>{VIEW % 'c'}<p>after</p>"
PLACE = '<div class="widget-host" data-heights="%s"></div><script>keepPlace()</script>'


def test_a_place_stands_behind_each_control_that_is_not_folded_away():
    page = with_places(PAGE, [[[300, 900], [700, 500]], [], [[300, 80]]])
    assert page == (
        f"<p>before</p>{VIEW % 'a'}{PLACE % '[[300,900],[700,500]]'}<figure></figure>"
        f"<details>{VIEW % 'b'}</details>{VIEW % 'c'}{PLACE % '[[300,80]]'}<p>after</p>"
    )


def test_a_page_that_was_built_before_gets_the_new_heights_alone():
    once = with_places(PAGE, [[[300, 900]], [], [[300, 80]]])
    assert with_places(once, [[[300, 900]], [], [[300, 80]]]) == once
    assert with_places(once, [[[300, 1]], [], []]) == with_places(PAGE, [[[300, 1]], [], []])


@pytest.mark.parametrize("heights", [[], [[[300, 900]]], [[[300, 900]]] * 4])
def test_with_another_number_of_controls_no_place_is_kept(heights):
    assert with_places(with_places(PAGE, [[[300, 9]]] * 3), heights) == PAGE


def test_a_page_without_controls_stays_as_it_is():
    assert with_places("<p>text</p>", []) == "<p>text</p>"


def test_every_chapter_was_measured_at_rising_widths():
    heights = known_heights()
    assert sorted(heights) == [
        "book/index",
        *sorted(f"notebooks/{path.stem}" for path in FOLDER.glob("*.ipynb")),
    ]
    for page, controls in heights.items():
        assert any(controls), page
        for pairs in filter(None, controls):
            widths = [width for width, _ in pairs]
            assert widths == sorted(set(widths)) and len(widths) >= 8, page
            assert all(40 < height < 4000 for _, height in pairs), page


def test_what_is_kept_is_one_line_a_page():
    lines = HEIGHTS.read_text("utf-8").splitlines()
    assert len(lines) == len(known_heights()) + 2
    assert json.loads(HEIGHTS.read_text("utf-8")) == known_heights()
