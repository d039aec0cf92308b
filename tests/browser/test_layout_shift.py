"""While a page comes up its text stays where it is: nothing jumps when a control is drawn, and no page flashes white.

How high each control is stands in `tools/control_heights.json`. After a change of a control write it anew, then build:
`CONTROL_HEIGHTS=write python -m pytest tests/browser/test_layout_shift.py`.
"""

import base64
import io
import json
import os
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from tools.control_places import HEIGHTS, known_heights
from tools.notebooks import FOLDER

PAGES = ["book/index", *sorted(f"notebooks/{path.stem}" for path in FOLDER.glob("*.ipynb"))]
VIEWPORTS = (360, 390, 412, 480, 600, 768, 1200, 1280, 1350, 1440)
"""CSS pixels: phones, tablets, and what is left for the text beside the theme's sidebars."""
WRITES = os.environ.get("CONTROL_HEIGHTS") == "write"
MOST = 0.1
"""Cumulative layout shift that web.dev calls good."""
WATCH = """
window.__shifts = [];
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    const moved = sources.map(({ node }) => node?.nodeName + "." + (node?.className ?? ""));
    window.__shifts.push([value, moved]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""
HOSTS = "() => [...document.querySelectorAll('.widget-host')].map((e) => [e.clientWidth, e.clientHeight])"


def wait_for_controls(page: Page) -> None:
    """Wait until every control of a page has been drawn and says something."""
    page.wait_for_function(
        """() => {
            const hosts = [...document.querySelectorAll(".widget-host")];
            return hosts.length && hosts.every((host) => host.dataset.ready);
        }"""
    )
    page.locator(".widget-host[data-ready] .dv2-readout:not(:empty)").first.wait_for()
    page.wait_for_timeout(500)


@pytest.mark.skipif(not WRITES, reason="measures the controls only where it is asked to")
@pytest.mark.xdist_group("control_heights")
def test_write_the_heights_down(visit: Callable):
    heights = {}
    for name in PAGES:
        seen = []
        for width in VIEWPORTS:
            with visit(f"{name}.html", width=width) as page:
                wait_for_controls(page)
                seen.append(page.evaluate(HOSTS))
        heights[name] = [
            sorted({width: height for width, height in control if height}.items())
            for control in zip(*seen, strict=True)
        ]
    lines = [f" {json.dumps(name)}: {json.dumps(heights[name])}" for name in sorted(heights)]
    HEIGHTS.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


@pytest.mark.skipif(WRITES, reason="the book is to be built with the new heights first")
@pytest.mark.parametrize(("width", "height"), [(375, 667), (412, 823), (1024, 768), (1350, 940)])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_jumps(chromium, site, name, width, height):
    context = chromium.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.add_init_script(WATCH)
    page.goto(f"{site}{name}.html", wait_until="load")
    wait_for_controls(page)
    shifts = page.evaluate("window.__shifts")
    context.close()
    assert sum(value for value, _ in shifts) < MOST, sorted(shifts, reverse=True)[:3]


def test_a_place_is_kept_for_every_control_of_todays_pages(site, chromium):
    assert sorted(known_heights()) == PAGES
    page = chromium.new_page()
    page.route("**/widget_host.js*", lambda route: route.abort())
    for name in PAGES:
        page.goto(f"{site}{name}.html", wait_until="load")
        kept = page.locator(".widget-host").evaluate_all("(all) => all.map((e) => e.clientHeight)")
        assert kept and min(kept) > 100, name
    page.close()


def test_without_javascript_no_place_is_kept(site, chromium):
    page = chromium.new_page(java_script_enabled=False)
    page.goto(f"{site}{PAGES[0]}.html")
    assert page.locator(".widget-host").evaluate_all("(all) => all.map((e) => e.clientHeight)") == [0, 0]
    page.close()


@pytest.mark.parametrize("chosen", ["by the system", "by the reader"])
@pytest.mark.parametrize("name", ["book/index", "notebooks/05_losses", "book/api/training"])
def test_a_dark_page_never_flashes_white(chromium, site, name, chosen):
    context = chromium.new_context(
        viewport={"width": 800, "height": 600}, color_scheme="dark" if chosen == "by the system" else "light"
    )
    if chosen == "by the reader":
        context.add_init_script(
            'localStorage.setItem("mode", "dark"); localStorage.setItem("theme", "dark");'
        )
    page = context.new_page()
    page.goto(f"{site}book/glossary.html", wait_until="load")
    page.wait_for_timeout(300)
    frames = []
    session = context.new_cdp_session(page)

    def keep(frame: dict) -> None:
        frames.append(base64.b64decode(frame["data"]))
        session.send("Page.screencastFrameAck", {"sessionId": frame["sessionId"]})

    session.on("Page.screencastFrame", keep)
    session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    session.send("Page.startScreencast", {"format": "png", "everyNthFrame": 1})
    page.goto(f"{site}{name}.html", wait_until="load")
    page.wait_for_timeout(1500)
    for _ in range(10):  # a page that stands still gives no new frames
        if len(frames) < 3:
            page.mouse.wheel(0, 40)
            page.wait_for_timeout(300)
    context.close()
    light = [np.asarray(Image.open(io.BytesIO(frame)).convert("L")).mean() for frame in frames]
    assert len(light) >= 3 and max(light) < 100, light
