"""Keeps a place for each control of a page until it is drawn, so that the text below it stays where it is.

How high a control is depends on the width of its column, and only a browser knows: the heights were measured on the
built pages (`tests/browser/test_layout_shift.py` writes them) and stand in `control_heights.json`. A page without
JavaScript keeps no place.
"""

import json
import re
from pathlib import Path

HEIGHTS = Path(__file__).with_name("control_heights.json")
"""Page, such as "notebooks/01_crops", to one list a control: pairs of the column's width and the control's height."""

KEEP = """<script>
function keepPlace() {
  const place = document.currentScript.previousElementSibling;
  const [known, width] = [JSON.parse(place.dataset.heights), place.clientWidth];
  const after = known.findIndex(([wide]) => wide >= width);
  const [w1, h1] = known.at(after);
  const [w0, h0] = after > 0 ? known[after - 1] : [0, h1];
  if (width) place.style.minHeight = `${h0 + ((h1 - h0) * Math.min(1, (width - w0) / (w1 - w0)))}px`;
}
</script>
"""
"""What the place before it calls as soon as it is read: it takes its height from those of the two nearest widths."""

_VIEW = re.compile(
    r'(<script type="application/vnd\.jupyter\.widget-view\+json">[^<]*</script>)'
    r'(<div class="widget-host" data-heights="[^"]*"></div><script>keepPlace\(\)</script>)?'
)


def known_heights() -> dict[str, list[list[tuple[int, int]]]]:
    """What was measured; nothing where there is no file."""
    return json.loads(HEIGHTS.read_text("utf-8")) if HEIGHTS.is_file() else {}


def with_places(page: str, heights: list[list[tuple[int, int]]]) -> str:
    """Return a page's HTML with a place after each control's script, also where one was kept before.

    Args:
        page: the whole HTML.
        heights: for each control of the page, in its order, pairs of width and height in CSS pixels, by rising
            width; an empty list for a control that is folded away. With another number of controls than the page
            has nothing is kept: the page has changed since it was measured.
    """
    if len(_VIEW.findall(page)) != len(heights):
        heights = []
    left = iter(heights)

    def keep(found: re.Match) -> str:
        pairs = next(left, [])
        if not pairs:
            return found[1]
        place = f'<div class="widget-host" data-heights="{json.dumps(pairs, separators=(",", ":"))}"></div>'
        return f"{found[1]}{place}<script>keepPlace()</script>"

    return _VIEW.sub(keep, page)
