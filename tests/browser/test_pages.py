"""Every page of the built book, in a real browser with every other host refused."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from built_book import built_pages, open_formulas, undrawn_formulas, violations

from tools.address import slug_in_config, tag
from tools.notebooks import FOLDER

PAGES = built_pages()
NOTEBOOKS = sorted(f"notebooks/{path.stem}.html" for path in FOLDER.glob("*.ipynb"))
PHONE = 360
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
MAX_WIDGET_BYTES = 1_500_000


class Page(HTMLParser):
    """What a page links to, and the ids it can be linked at."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "id" in found:
            self.ids.add(found["id"])
        self.links += [found[key] for key in ("href", "src") if found.get(key)]


def test_there_are_pages(built):
    assert {"book/index.html", "search.html", *NOTEBOOKS} <= set(PAGES)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_accessible_in_both_themes_draws_its_formulas_and_fits_a_phone(visit, path):
    with visit(path) as page:
        open_formulas(page)
        page.wait_for_timeout(300)  # a11y.js repairs what the theme adds after loading
        found = violations(page)
        undrawn, drawn = undrawn_formulas(page), page.locator("mjx-container").count()
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("(document.documentElement.dataset.theme ?? 'dark') === 'dark'")
        found += [f"dark: {one}" for one in violations(page, colours_only=True)]
        page.set_viewport_size({"width": PHONE, "height": 740})
        open_formulas(page)
        widths = page.evaluate(WIDTHS)
    assert not found, "\n".join(found)
    assert undrawn == 0
    assert widths[0] <= widths[1]
    if drawn:
        assert any("/vendor/mathjax/tex-mml-chtml.js" in url for url in page.asked)
        assert any("/vendor/mathjax/output/chtml/fonts/" in url for url in page.asked)


@pytest.mark.parametrize("path", PAGES)
def test_internal_links_lead_somewhere(built, path):
    page, here, broken = Page(built / path), built / path, []
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
        target = target / "index.html" if target.is_dir() else target
        if not target.exists():
            broken.append(link)
        elif parts.fragment and target.suffix == ".html" and parts.fragment not in {"", "top"}:
            ids = page.ids if target == here else Page(target).ids
            if unquote(parts.fragment) not in ids:
                broken.append(link)
    assert not broken


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_figures_have_words_and_widgets_are_light(built, path):
    text = (built / path).read_text("utf-8")
    for image in re.findall(r"<img[^>]*_images/[^>]*>", text):
        alt = re.search(r'alt="([^"]*)"', image)
        assert alt and len(alt[1]) >= 30 and "_images/" not in alt[1], image
    state = re.search(
        r'<script type="application/vnd.jupyter.widget-state\+json">(.*?)</script>', text, re.DOTALL
    )
    assert state is None or len(state[1]) <= MAX_WIDGET_BYTES
    assert state is None or json.loads(state[1])["state"]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_the_launch_button_opens_the_notebook_of_the_release_in_colab(built, path):
    notebook = path.replace(".html", ".ipynb")
    links = {link for link in Page(built / path).links if "colab.research.google.com" in link}
    assert links == {f"https://colab.research.google.com/github/{slug_in_config()}/blob/{tag()}/{notebook}"}


def test_search_finds_a_chapter(visit):
    with visit("search.html?q=temperature") as page:
        page.locator("#search-results li a").first.wait_for(timeout=15_000)
        assert page.locator("#search-results li a[href*='notebooks/']").count() >= 1


def test_each_page_says_what_it_is_about(built):
    for path in ["book/index.html", *NOTEBOOKS]:
        text = (built / path).read_text("utf-8")
        assert re.search(r'<meta (name="description"|property="og:description") content="[^"]{40,}', text), (
            path
        )
        assert '<link rel="canonical"' in text, path
