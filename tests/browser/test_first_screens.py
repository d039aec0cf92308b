"""The first screen of each page, held to what was last looked at: as blocks of colour, which fonts hardly change.

After a change that is meant, look at the screens, then write them down anew: `FIRST_SCREENS=write make test`.
"""

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from built_book import open_formulas
from PIL import Image

from tools.notebooks import FOLDER

PAGES = ["book/index.html", *sorted(f"notebooks/{path.stem}.html" for path in FOLDER.glob("*.ipynb"))]
SCREENS = {
    "desktop": {"width": 1280, "height": 800},
    "dark": {"width": 1280, "height": 800, "dark": True},
    "phone": {"width": 390, "height": 844, "touch": True},
}
KEPT = Path(__file__).with_name("first_screens.json")
BLOCKS = {"desktop": (32, 20), "dark": (32, 20), "phone": (13, 28)}
"""Columns and rows: a block is 40 x 40 pixels, or 30 x 30 on a phone."""
FAR = 60
"""Of 255: a block that differs by more, in one channel, shows something else."""
MOST_FAR = 0.04
"""Share of the blocks that may: numbers that a machine measured, a draw of the day."""
MOST_MEAN = 6
"""Mean difference over all blocks and channels."""


def blocks_of(screenshot: bytes, screen: str) -> np.ndarray:
    """Mean colours of the blocks, rows columns 3."""
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    return np.asarray(picture.resize(BLOCKS[screen], Image.Resampling.BOX), dtype=np.uint8)


def kept() -> dict[str, str]:
    """What was last looked at: page and screen to its blocks as base64."""
    return json.loads(KEPT.read_text()) if KEPT.is_file() else {}


@pytest.mark.xdist_group("first_screens")
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("path", PAGES)
def test_a_first_screen_looks_as_it_did(visit, path, screen):
    with visit(path, **SCREENS[screen]) as page:
        open_formulas(page)
        page.locator(".widget-host[data-ready] .dv2-readout:not(:empty)").first.wait_for(timeout=30_000)
        page.wait_for_timeout(500)
        seen = blocks_of(page.screenshot(), screen)
    name = f"{path.removesuffix('.html')} {screen}"
    if os.environ.get("FIRST_SCREENS") == "write":
        told = {**kept(), name: base64.b64encode(seen.tobytes()).decode()}
        KEPT.write_text(json.dumps(dict(sorted(told.items())), indent=0) + "\n")
        return
    assert name in kept(), "a new page: look at it, then write it down (see above)"
    columns, rows = BLOCKS[screen]
    before = np.frombuffer(base64.b64decode(kept()[name]), np.uint8).reshape(rows, columns, 3)
    apart = np.abs(seen.astype(int) - before)
    far = (apart.max(axis=-1) > FAR).mean()
    assert far <= MOST_FAR and apart.mean() <= MOST_MEAN, (
        f"{far:.0%} of the blocks look otherwise, {apart.mean():.1f} of 255 on average: look at the page"
    )


def test_the_screens_that_are_kept_are_those_of_todays_pages():
    assert set(kept()) == {f"{path.removesuffix('.html')} {screen}" for path in PAGES for screen in SCREENS}
