"""The built book as the tests see it: its pages, a server's answers, and what went wrong on a page."""

import json
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import axe_playwright_python
from playwright.sync_api import ConsoleMessage, Page, Response, Route

from tools.address import slug_in_config

BUILT = Path(__file__).parents[2] / "_build" / "html"
SUB_PATH = f"/{slug_in_config().split('/')[1]}/"
"""GitHub Pages serves a project under a folder of its own, never at the root."""


AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")


class Handler(SimpleHTTPRequestHandler):
    """Serves the built book below `SUB_PATH` and nothing else."""

    def translate_path(self, path: str) -> str:
        inside = path.startswith(SUB_PATH)
        return super().translate_path("/" + path.removeprefix(SUB_PATH) if inside else "/no-such-file")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def built_pages() -> list[str]:
    """The pages of the last build; files that an older build left behind are not among them."""
    index = BUILT / "searchindex.js"
    if not index.exists():
        return []
    content = json.loads(index.read_text("utf-8").removeprefix("Search.setIndex(").removesuffix(")"))
    return [f"{name}.html" for name in [*content["docnames"], "search", "genindex"]]


def open_formulas(page: Page) -> None:
    """Wait until MathJax has drawn what it was given, in its own fonts."""
    page.wait_for_function(
        "!document.querySelector('script[data-src*=mathjax]') || window.MathJax?.startup?.promise"
    )
    page.evaluate(
        "Promise.resolve(window.MathJax?.startup?.promise).then(() => document.fonts.ready).then(() => 0)"
    )


FIGURES = "[...document.querySelectorAll('.bd-article img')].filter((one) => one.offsetParent)"


def fetch_figures(page: Page) -> None:
    """Fetch the page's figures, those further down too, and wait for them: without a network there are no others."""
    page.evaluate(f"{FIGURES}.forEach((one) => {{ one.loading = 'eager'; }})")
    page.wait_for_function(f"{FIGURES}.every((one) => one.complete)")


def undrawn_formulas(page: Page) -> int:
    """How many formulas of a page still stand there as source, or could not be drawn."""
    return page.locator(".math:not(:has(mjx-container)), mjx-merror, [data-mjx-error]").count()


MARK_REPEATS = """() => {
    const seen = new Set();
    for (const word of document.querySelectorAll(".highlight pre span[class]")) {
        if (seen.has(word.className)) word.dataset.repeat = "";
        seen.add(word.className);
    }
}"""
COLOUR_RULES = ("color-contrast", "link-in-text-block")


def violations(page: Page, where: str = "html", *, colours_only: bool = False) -> list[str]:
    """What axe finds wrong with the part of a page that a selector finds.

    Of the words of code that are coloured alike one stands for all: a chapter has thousands, and judging their contrast
    took most of the tests' time.

    Args:
        page: an open page.
        where: a selector.
        colours_only: look only at what another theme changes.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    page.evaluate(MARK_REPEATS)
    options = {"preload": False, "resultTypes": ["violations"]}
    if colours_only:
        options["runOnly"] = COLOUR_RULES
    place = {"include": [[where]], "exclude": [["[data-repeat]"]]}
    found = page.evaluate("([place, options]) => axe.run(place, options)", [place, options])["violations"]
    return [f"{one['id']}: {one['help']} at {[node['target'] for node in one['nodes'][:3]]}" for one in found]


class Watched:
    """What a page asked for, and what went wrong: console errors, answers of 400 and above, other hosts asked."""

    def __init__(self, page: Page, site: str):
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._host = urlsplit(site).netloc
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("console", self._printed)
        page.on("response", self._answered)
        page.route("**/*", self._asked)

    def _printed(self, line: ConsoleMessage) -> None:
        # Chromium asks for the icon of the tab again when a control writes its state into the address, also offline.
        if line.type == "error" and not line.location.get("url", "").endswith("favicon.svg"):
            self.complaints.append(f"{line.text} ({line.location.get('url', '')})")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")

    def _asked(self, route: Route) -> None:
        self.asked.append(route.request.url)
        address = urlsplit(route.request.url)
        if address.netloc == self._host or address.scheme in {"blob", "data"}:
            route.continue_()
        else:
            self.complaints.append(f"another host was asked: {route.request.url}")
            route.abort()
