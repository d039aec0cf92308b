"""What a phone shows of a chapter: no columns set by hand, controls that a thumb hits, nothing cut off."""

import re

import pytest
from built_book import open_formulas

from tools.notebooks import FOLDER

NOTEBOOKS = sorted(f"notebooks/{path.stem}.html" for path in FOLDER.glob("*.ipynb"))
PHONE = {"width": 360, "height": 740, "touch": True}
IN_COLUMNS = re.compile(r"^(?!.*tensor\().*\S {2,}\S")
"""Not what torch itself prints of a tensor."""
SMALLEST = 24
"""Pixels a side of what a finger has to hit, by WCAG 2.2 (2.5.8); text links in a sentence are excepted there."""


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_nothing_printed_is_set_in_columns_by_hand(visit, path):
    """Where lines break, columns of spaces fall apart; a table scrolls, and a screen reader can walk it."""
    with visit(path, **PHONE) as page:
        printed = page.locator(
            ".cell_output .output.stream pre, .cell_output .output.text_plain pre"
        ).all_inner_texts()
    columns = [
        text for text in printed if sum(bool(IN_COLUMNS.search(line)) for line in text.splitlines()) > 1
    ]
    assert not columns, "\n\n".join(columns)


CUT_OFF = """() => [...document.querySelectorAll(
        '.bd-article table, .bd-article .math, .bd-article pre, .bd-article img, .bd-article svg, .bd-article .dv2')]
    .filter((one) => one.checkVisibility() && one.getBoundingClientRect().width > 0)
    .filter((one) => {
        for (let box = one; box && !box.matches('.bd-article'); box = box.parentElement) {
            const { overflowX } = getComputedStyle(box);
            if (overflowX === 'auto' || overflowX === 'scroll') return false; // it can be moved
        }
        const { left, right } = one.getBoundingClientRect();
        return left < -1 || right > document.documentElement.clientWidth + 1;
    })
    .map((one) => `${one.tagName} ${one.className.baseVal ?? one.className}: ${one.textContent.trim().slice(0, 60)}`)"""


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_nothing_is_cut_off_that_cannot_be_moved(visit, path):
    with visit(path, **PHONE) as page:
        open_formulas(page)
        cut = page.evaluate(CUT_OFF)
    assert not cut, "\n".join(cut)


SMALL = """(smallest) => [...document.querySelectorAll('.dv2 button, .dv2 input, .dv2 select, .dv2 summary')]
    .filter((one) => one.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
    .map((one) => [one, (one.closest('label') ?? one).getBoundingClientRect()])
    .filter(([, { width, height }]) => width > 0 && Math.min(width, height) < smallest - 0.5)
    .map(([one, { width, height }]) => `${one.tagName} ${one.type ?? ''} ${one.textContent}: ${width} x ${height}`)"""


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_thumb_hits_every_control(visit, path):
    with visit(path, **PHONE) as page:
        page.locator(".widget-host[data-ready] .dv2-readout:not(:empty)").first.wait_for(timeout=30_000)
        small = page.evaluate(SMALL, SMALLEST)
    assert not small, "\n".join(small)
