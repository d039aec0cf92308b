"""Mounts one widget in a real browser, the way a page of the built book does, without building the book.

The page carries the widget's state as myst-nb embeds it and the book's own `widget_host.js`, and can reach no
other host. A test moves the controls and looks at what is shown: the readout, the values, pixels.
"""

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets.embed import dependency_state
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, sync_playwright

from tools.browser import FLAGS, find, missing

ROOT = Path(__file__).parents[2]
HOST = ROOT / "book" / "_static" / "js" / "widget_host.js"
ORIGIN = "http://book.test"
SETTLED = """async (seconds) => {
    const until = performance.now() + 1000 * seconds;
    const frames = () => new Promise((ok) => requestAnimationFrame(() => requestAnimationFrame(ok)));
    const ends = (one) => one.effect.getComputedTiming().endTime !== Infinity;
    const busy = () => [...document.querySelectorAll(".dv2:is([data-busy], [data-reading])")];
    const moving = () => document.getAnimations().filter((one) => ends(one) && one.playState === "running");
    const named = (one) => `${one.animationName ?? one.transitionProperty} of ${one.effect.target?.className}`;
    await frames();
    while (busy().length || moving().length) {
        if (performance.now() > until) {
            const left = [...busy().map((one) => one.className), ...moving().map(named)];
            throw new Error(`not at rest after ${seconds} s: ${left.join(", ")}`);
        }
        await frames();
    }
    await frames();
}"""
PAGE = """<!doctype html><html lang="en" data-theme="{theme}"><head>
<meta charset="utf-8"><title>A widget</title><meta name="viewport" content="width=device-width">
<style>body {{ font: 16px/1.5 sans-serif; margin: 0 auto; padding: 12px; max-width: 760px; background: #fff }}
html[data-theme=dark] body {{ background: #121212; color: #ddd }}</style></head><body><main><h1>A widget</h1>
<script type="application/vnd.jupyter.widget-state+json">{state}</script>
<script type="application/vnd.jupyter.widget-view+json">{{"model_id": "{model_id}"}}</script>{still}</main>
<script src="/_static/js/widget_host.js"></script></body></html>"""


def plain(text: str) -> str:
    """A text in which the spaces that hold a line together are ordinary ones."""
    return text.replace("\u00a0", " ")


class Mounted:
    """A widget on a page: what it shows, the values it holds, and the functions its module exports."""

    def __init__(self, page: Page, esm: str):
        self.page = page
        self.root: Locator = page.locator(".dv2")
        self.source = esm

    def readout(self) -> str:
        """The sentence a screen reader is told, after the next frame has painted."""
        self.settle()
        return plain(self.root.locator(".dv2-readout").inner_text())

    def texts(self, selector: str) -> list[str]:
        """The words of every element that a selector finds, after the next frame has painted."""
        self.settle()
        return [plain(text) for text in self.root.locator(selector).all_inner_texts()]

    def settle(self) -> None:
        """Wait until two frames have passed, nothing is being computed and what fades or falls has come to rest.

        So every painter has run, and colours are those that stay. What is not at rest after two minutes is named.
        """
        self.page.evaluate(SETTLED, 120)

    def value(self, key: str) -> Any:
        """What the model holds under a traitlet's name."""
        return self.page.evaluate("(key) => window.__model.get(key)", key)

    def set(self, **values: Any) -> None:
        """Write to the model as Python or another view would."""
        self.page.evaluate("(v) => Object.entries(v).forEach(([k, x]) => window.__model.set(k, x))", values)

    def call(self, function: str, *arguments: Any) -> Any:
        """The result of a function that the widget's module exports; arguments and result travel as JSON."""
        script = """async ([esm, name, args]) => {
            window.__module ??= await import(URL.createObjectURL(new Blob([esm], {type: "text/javascript"})));
            const result = await window.__module[name](...args);
            const plain = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
            return JSON.stringify(result, plain);
        }"""
        return json.loads(self.page.evaluate(script, [self.source, function, list(arguments)]))

    def control(self, key: str) -> Locator:
        """The input or select that is bound to a traitlet; "scale.0" is the lower thumb of a pair."""
        return self.root.locator(f'[data-key="{key}"]')

    def said(self, key: str) -> str:
        """The value of a slider in words, as a screen reader says it."""
        self.settle()
        return plain(self.control(key).get_attribute("aria-valuetext"))

    def choose(self, key: str, value: Any) -> None:
        """Click the alternative of a segmented control that stands for a value."""
        self.root.locator(f'[data-key="{key}"][data-value="{value}"]').click()
        self.settle()

    def press(self, name: str) -> None:
        """Click the button that has this name."""
        self.root.get_by_role("button", name=name, exact=True).click()
        self.settle()

    def key(self, key: str, *strokes: str) -> None:
        """Move a control by the keyboard alone; of several alternatives the chosen one has the focus."""
        self.root.locator(f'[data-key="{key}"]:is(:not([type=radio]), :checked)').focus()
        for stroke in strokes:
            self.page.keyboard.press(stroke)
        self.settle()

    def drag(self, key: str, share: float) -> None:
        """Move a slider's thumb by the pointer: press on it, pull it to a share of the track, let go."""
        slider = self.control(key)
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        now = slider.evaluate("(e) => (e.value - e.min) / (e.max - e.min)")
        middle = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + 9 + now * (box["width"] - 18), middle)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + 9 + share * (box["width"] - 18), middle, steps=4)
        self.page.mouse.up()
        self.settle()

    def pixels(self, canvas: int = 0) -> np.ndarray:
        """What a canvas of the widget shows now: uint8, height x width x 4 (red, green, blue, alpha)."""
        png = base64.b64decode(self.picture(canvas).partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))

    def picture(self, canvas: int = 0) -> str:
        """A canvas as a data URL: equal exactly when the pixels are."""
        self.settle()
        return self.root.locator("canvas").nth(canvas).evaluate("(c) => c.toDataURL()")

    def alt(self, canvas: int = 0) -> str:
        """A canvas's text alternative."""
        self.settle()
        return plain(self.root.locator("canvas").nth(canvas).get_attribute("aria-label"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One headless browser for all tests of the session."""
    path = find()
    if path is None:
        missing(
            "no Chromium on this machine, the widgets are NOT tested: run `python -m tools.browser` first"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def mounting(chromium: Browser) -> Iterator[Callable[..., Mounted]]:
    """Mount a widget: `mount(widget, width=1200, dark=False, before="script")`.

    A console error or a request for another host fails the test.
    """
    contexts, complaints = [], []

    def open_page(
        widget: Any,
        *,
        width: int = 1200,
        dark: bool = False,
        before: str = "",
        unfold: bool = True,
        **context_options: Any,
    ) -> Mounted:
        context = chromium.new_context(viewport={"width": width, "height": 900}, **context_options)
        contexts.append(context)
        page = context.new_page()
        if before:
            page.add_init_script(before)
        page.on("pageerror", lambda error: complaints.append(f"uncaught {error}"))
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type == "error" else None
        )
        page.route("**/*", lambda route: _serve(route, widget, dark, complaints))
        page.goto(f"{ORIGIN}/")
        if context_options.get("java_script_enabled", True):
            page.locator(".dv2-readout:not(:empty)").wait_for(timeout=10_000)
            for fold in page.locator(".dv2-more > summary").all() if unfold else ():
                fold.click()
        return Mounted(page, widget._esm)

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints, complaints


@pytest.fixture
def mount(chromium: Browser) -> Iterator[Callable[..., Mounted]]:
    """The same for one test."""
    with mounting(chromium) as open_page:
        yield open_page


def _serve(route: Route, widget: Any, dark: bool, complaints: list[str]) -> None:
    """Answer for the book's origin, and refuse every other host loudly."""
    path = route.request.url.removeprefix(ORIGIN)
    weights = path.removeprefix("/_static/weights/")
    if path == "/":
        route.fulfill(body=_page(widget, dark), content_type="text/html")
    elif path == "/_static/js/widget_host.js":
        route.fulfill(body=HOST.read_text(encoding="utf-8"), content_type="text/javascript")
    elif weights in getattr(widget, "_files", {}):
        route.fulfill(body=widget._files[weights], content_type="application/octet-stream")
    elif path == "/favicon.ico":
        route.fulfill(status=204)
    else:
        complaints.append(f"asked another host: {route.request.url}")
        route.abort()


def _page(widget: Any, dark: bool) -> str:
    """The HTML of a page that holds the widget's state, its place and its still figure."""
    models = dependency_state([widget], drop_defaults=False)
    own = models[widget.model_id]["state"]
    own["_esm"] = re.sub(r"\brender\(\{ model, el \}\) \{", r"\g<0> window.__model = model;", own["_esm"])
    state = {"version_major": 2, "version_minor": 0, "state": models}
    return PAGE.format(
        theme="dark" if dark else "light",
        state=json.dumps(state).replace("</", "<\\/"),
        model_id=widget.model_id,
        still=widget._still_html,
    )
