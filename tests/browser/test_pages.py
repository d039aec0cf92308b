"""Every page of the built book, in a real browser with every other host refused."""

import functools
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote_plus, unquote, urlsplit
from zipfile import ZipFile

import pytest
from built_book import FIGURES, built_pages, open_formulas, undrawn_formulas, violations

from tools.address import pages, slug_in_config, tag
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


@functools.cache
def parsed(path: Path) -> Page:
    """A page, read once: some are linked to from all others."""
    return Page(path)


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
    page, here, broken = parsed((built / path).resolve()), (built / path).resolve(), []
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
        target = target / "index.html" if target.is_dir() else target
        if not target.exists():
            broken.append(link)
        elif parts.fragment and target.suffix == ".html" and parts.fragment not in {"", "top"}:
            ids = parsed(target).ids
            if unquote(parts.fragment) not in ids:
                broken.append(link)
    assert not broken


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_figures_have_words_and_widgets_are_light(built, path):
    text = (built / path).read_text("utf-8")
    for image in re.findall(r"<img[^>]*_images/[^>]*>", text):
        alt = re.search(r'alt="([^"]*)"', image)
        assert alt and len(alt[1]) >= 30 and "_images/" not in alt[1], image
    (state,) = re.findall(
        r'<script [^>]*widget-state\+json" data-src="../(_static/states/\w+\.js)"></script>', text
    )
    assert (built / state).stat().st_size <= MAX_WIDGET_BYTES


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_the_launch_button_opens_the_notebook_of_the_release_in_colab(built, path):
    notebook = path.replace(".html", ".ipynb")
    links = {link for link in Page(built / path).links if "colab.research.google.com" in link}
    assert links == {f"https://colab.research.google.com/github/{slug_in_config()}/blob/{tag()}/{notebook}"}


SEARCHES = {
    "registers": "notebooks/",
    "fine-tune": "book/faq",
    "lora": "book/faq",
    "segmentation": "book/",
    "depth": "book/",
    "collapse": "notebooks/0",
    "flat loss": "book/faq",
    "licence": "book/faq",
    "license": "book/faq",
    "attention map": "notebooks/0",
    "own pictures": "notebooks/13",
    "onnx": "book/faq",
    "memory": "book/faq.html#",
    "own data": "book/faq.html#",
    "export": "book/faq.html#",
    "which model": "book/which-model",
    "masking": "notebooks/02",
    "heads": "notebooks/04",
    "temperature": "notebooks/0",
    "Sinkhorn": "notebooks/0",
    "mask token": "notebooks/02",
    "weight decay": "notebooks/06",
    "distillation": "book/",
    "k-NN": "notebooks/0",
}
"""What a reader types, and how the address begins of a page that must be among the first five."""


@pytest.mark.parametrize("words", SEARCHES)
def test_search_finds_what_a_reader_types(visit, words):
    with visit(f"search.html?q={quote_plus(words)}") as page:
        page.locator("#search-results li a").first.wait_for(timeout=15_000)
        page.wait_for_function(
            "!document.querySelector('#search-results .search-summary')?.textContent.includes('Searching')"
        )
        found = page.locator("#search-results li > a").evaluate_all(
            "all => all.map(a => a.getAttribute('href'))"
        )
    assert any(SEARCHES[words] in address for address in found[:5]), found[:8]
    of_package = [place for place, address in enumerate(found) if "book/api/" in address]
    assert of_package == list(range(len(found) - len(of_package), len(found))), found


def test_a_link_shows_what_it_leads_to_before_one_goes_there(visit):
    with visit("notebooks/05_losses.html") as page:
        link = page.locator(".bd-article a[href$='glossary.html#student']").first
        preview = page.locator(".link-preview")
        open_formulas(page)
        page.locator(
            ".widget-host[data-ready]"
        ).first.wait_for()  # all that the page fetches by itself is there
        before = len(page.asked)
        link.hover()
        preview.wait_for()
        assert preview.inner_text().split("\n")[0] == "Student" and "that is trained" in preview.inner_text()
        asked = {urlsplit(url).path.rpartition("/")[2] for url in page.asked[before:]}
        assert {name for name in asked if name.endswith((".html", ".js"))} == {"glossary.html"}
        assert link.get_attribute("aria-describedby") == preview.get_attribute("id")
        preview.hover()  # the pointer may rest on it
        assert preview.is_visible() and not violations(page)
        page.keyboard.press("Escape")
        assert preview.count() == 0 and link.get_attribute("aria-describedby") is None
        link.focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Shift+Tab")  # by keyboard, so that the focus is in sight
        preview.wait_for()
        page.keyboard.press("Tab")
        assert preview.count() == 0 or not preview.inner_text().startswith("Student")


def test_a_preview_draws_its_formulas_and_stays_on_the_page(visit):
    with visit("notebooks/05_losses.html") as page:
        open_formulas(page)
        for link in page.locator(".bd-article a.reference.internal[href*='#']").all()[:12]:
            link.hover()
            page.locator(".link-preview").wait_for()
            page.wait_for_function("!document.querySelector('.link-preview .math:not(:has(mjx-container))')")
            box = page.locator(".link-preview").bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= page.viewport_size["width"]
            assert undrawn_formulas(page) == 0
            page.keyboard.press("Escape")


def test_a_wrong_address_leads_to_the_book(visit):
    with visit("404.html") as page:
        assert violations(page) == []
        page.get_by_label("Search the book").fill("koleo")
        page.keyboard.press("Enter")
        page.locator("#search-results li a").first.wait_for(timeout=15_000)


def test_the_icons_that_pages_show_are_there(visit, built):
    assert not (built / "_static/scripts/fontawesome.js").exists()
    with visit("notebooks/01_crops.html") as page:
        page.locator("svg.svg-inline--fa").first.wait_for(state="attached")
        assert page.locator("i[class*='fa-']").count() == 0


def test_the_whole_site_can_be_taken_along(built):
    with ZipFile(built / "inside-dinov2.zip") as packed:
        names = set(packed.namelist())
    assert {f"inside-dinov2/{path}" for path in PAGES} <= names


CODE_SHARE = """() => {
    const visible = (element) => element.offsetHeight > 0 && !element.closest("details:not([open])");
    const blocks = [...document.querySelectorAll(".bd-article [class*='highlight-'][class*='ython']")].filter(visible);
    const height = blocks.reduce((sum, block) => sum + block.offsetHeight, 0);
    return height / document.querySelector(".bd-article").offsetHeight;
}"""


CUT_CODE = """[...document.querySelectorAll(".bd-article .highlight pre")]
    .filter((block) => block.checkVisibility() && block.scrollWidth > block.clientWidth)
    .map((block) => block.textContent.split("\\n").sort((one, other) => other.length - one.length)[0])"""


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_chapter_shows_ideas_and_folds_the_rest(visit, path):
    with visit(path) as page:
        page.wait_for_timeout(500)
        assert page.evaluate(CODE_SHARE) <= 0.2
        assert page.evaluate(CUT_CODE) == []
        page.set_viewport_size({"width": 700, "height": 1000})  # A4 with its margins
        page.emulate_media(media="print")
        assert page.evaluate(CUT_CODE) == []
        assert not any(one.is_visible() for one in page.locator("details.hide:not([open])").all())


def test_each_page_says_what_it_is_about(built):
    for path in ["book/index.html", *NOTEBOOKS]:
        text = (built / path).read_text("utf-8")
        assert re.search(r'<meta (name="description"|property="og:description") content="[^"]{40,}', text), (
            path
        )
        assert '<link rel="canonical"' in text, path
        assert (
            f'<meta property="og:image" content="https://{pages(slug_in_config())}/_static/images/share.png"'
            in text
        )
    header = (built / "_static/images/share.png").read_bytes()[:24]  # of a PNG: its width and height
    assert [int.from_bytes(header[start : start + 4], "big") for start in (16, 20)] == [1200, 630]
    assert "<title>Inside DINOv2</title>" in (built / "book/index.html").read_text("utf-8")


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_chapter_can_be_edited_where_it_lies(built, path):
    notebook = path.replace(".html", ".ipynb")
    wanted = f"https://github.com/{slug_in_config()}/edit/main/{notebook}"
    assert wanted in Page(built / path).links


SHOWN_FIGURES = """() => [...document.querySelectorAll(".cell_output figure")].map((figure) => {
    const shown = [...figure.querySelectorAll("img")].filter((image) => image.checkVisibility());
    if (!shown.length) return null; // a diagram, or what a control shows in print
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [1, 1];
    const ink = canvas.getContext("2d");
    ink.drawImage(shown[0], 2, 2, 1, 1, 0, 0, 1, 1); // near a corner: the card
    const ground = Math.max(...ink.getImageData(0, 0, 1, 1).data.slice(0, 3));
    return { name: shown[0].src, shown: shown.length, ground };
}).filter(Boolean)"""


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_a_figure_follows_the_theme_and_is_shown_and_fetched_once(visit, path):
    with visit(path, dark=True) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        for theme in ("dark", "light"):
            page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
            for image in page.locator(f".cell_output img.figure-{theme}").all():
                image.scroll_into_view_if_needed()
                image.evaluate("(image) => image.decode()")
            figures = page.evaluate(SHOWN_FIGURES)
            fetched = {url for url in page.asked if "/_images/" in url and not url.endswith(".svg")}
            assert len(figures) > 0
            if theme == "dark":
                assert fetched == {figure["name"] for figure in figures}
            for figure in figures:
                assert figure["shown"] == 1, figure
                assert figure["ground"] < 60 if theme == "dark" else figure["ground"] > 240, figure


def test_once_a_page_is_open_its_figures_follow_and_no_twin_of_theirs(visit):
    """Nothing is scrolled here: a page that is open can be read to its end without a network."""
    with visit("notebooks/06_ema.html") as page:
        page.wait_for_function(f"{FIGURES}.every((one) => one.complete)")
        assert page.evaluate(f"{FIGURES}.length") > 5
        assert not [url for url in page.asked if "-dark." in url]


ROOMS = [page for page in PAGES if page.startswith("book/api/")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("#losses", "losses.html"),
        ("#dinov2_edu.crops.multi_crop", "crops.html#dinov2_edu.crops.multi_crop"),
        ("#module-dinov2_edu.training.cost", "training.html#module-dinov2_edu.training.cost"),
        ("#nothing", None),
    ],
)
def test_an_old_link_to_a_name_of_the_package_leads_to_its_page(visit, old, new):
    with visit(f"book/api.html{old}") as page:
        if new is None:
            assert page.url.endswith(f"book/api.html{old}")
            return
        page.wait_for_url(f"**/book/api/{new}")
        place = new.partition("#")[2]
        assert not place or page.locator(f'[id="{place}"]').count() == 1


def test_the_package_has_a_page_a_room_and_an_index_that_leads_to_each(built):
    links = set(Page(built / "book/api.html").links)
    assert len(ROOMS) > 20 and {page.removeprefix("book/") for page in ROOMS} <= links
