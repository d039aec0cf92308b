"""What the pages need beyond Jupyter Book: boxes, words for figures, docstrings, stale runs, formulas, widgets."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from docutils import nodes
from docutils.utils import new_document
from jupyter_cache import get_cache

from dinov2_edu.data import cifar
from dinov2_edu.weights import backbones
from tools import book_extension
from tools.notebooks import METADATA
from tools.origin import NOTICE, put_notices_on_top


def quote(*parts):
    """A document that holds one quote of one paragraph."""
    document = new_document("page")
    document += nodes.block_quote("", nodes.paragraph("", "", *parts))
    return document


@pytest.mark.parametrize(
    ("parts", "classes"),
    [
        ([nodes.strong("", "Predict."), nodes.Text(" What?")], ["box", "box-predict"]),
        ([nodes.Text(""), nodes.strong("", "Paper and code differ.")], ["box", "box-paper-and-code-differ"]),
        ([nodes.Text("Said "), nodes.strong("", "somebody.")], []),
        ([], []),
    ],
)
def test_a_quote_that_begins_with_bold_words_becomes_a_box(parts, classes):
    document = quote(*parts)
    book_extension.mark_boxes(None, document)
    assert document.next_node(nodes.block_quote)["classes"] == classes


WEIGHTS = (
    "These numbers come from the book's own small model, not from vits14, which could not be loaded here."
)
DRAWN = "These pictures are Patterns10, ten drawn textures, not CIFAR-10, which could not be loaded here."


def page_with_outputs(*outputs):
    """A page with a title and one cell for each printed text."""
    section = nodes.section("", nodes.title("", "ViT"), nodes.paragraph("", "Text."))
    for text in outputs:
        block = nodes.literal_block(text, text, classes=["output", "stream"])
        cell = nodes.container("", nodes.literal_block("code", "code"), nodes.container("", block))
        section += cell
    document = new_document("page")
    document += section
    return document


@pytest.mark.parametrize(
    ("outputs", "badge", "left"),
    [
        ([f"{WEIGHTS}\n"], WEIGHTS, []),
        ([f"{WEIGHTS}\n\nThe weights at hand: book\n"], WEIGHTS, ["The weights at hand: book\n"]),
        ([f"{WEIGHTS}\n", f"{DRAWN}\n{DRAWN}\nPatterns10\n"], f"{WEIGHTS} {DRAWN}", ["Patterns10\n"]),
        (["accuracy 0.5\n"], None, ["accuracy 0.5\n"]),
    ],
)
def test_a_stand_in_is_named_once_under_the_title(outputs, badge, left):
    page = page_with_outputs(*outputs)
    put_notices_on_top(None, page)
    second = page.children[0].children[1]
    assert second.astext() == (f'<p class="origin">{badge}</p>' if badge else "Text.")
    printed = [block.astext() for block in page.findall(nodes.literal_block) if "stream" in block["classes"]]
    assert printed == left
    assert all(box.children for box in page.findall(nodes.container))


def test_the_badge_knows_the_sentences_that_the_package_prints():
    assert NOTICE.fullmatch(backbones._notice("book", "book", "vits14"))
    assert NOTICE.fullmatch(backbones._notice("random", "random", "vits14"))
    assert NOTICE.search(Path(cifar.__file__).read_text("utf-8").replace('            "These', "These"))


SITE = "https://someone.github.io/book/"
PAGES = {"notebooks/05_losses": "/b/notebooks/05_losses.ipynb", "book/glossary": "/b/book/glossary.md"}


@pytest.mark.parametrize(
    ("docname", "written", "read"),
    [
        ("notebooks/05_losses", f"[EMA]({SITE}book/glossary.html#ema)", "[EMA](../book/glossary.md#ema)"),
        ("book/glossary", f"[05]({SITE}notebooks/05_losses.html).", "[05](../notebooks/05_losses.ipynb)."),
        ("notebooks/05_losses", f"[x]({SITE}notebooks/99_none.html)", f"[x]({SITE}notebooks/99_none.html)"),
        ("notebooks/05_losses", "[x](https://other.org/book/glossary.html)", None),
        ("notebooks/05_losses", f"read {SITE}book/glossary.html", None),
    ],
)
def test_the_books_own_addresses_become_links_to_its_files(docname, written, read):
    env = SimpleNamespace(found_docs=set(PAGES), doc2path=PAGES.get)
    app = SimpleNamespace(env=env, config=SimpleNamespace(html_baseurl=SITE))
    source = [written]
    book_extension.link_inside(app, docname, source)
    assert source == [read or written]


def figure_page(*, alt=None, caption=None):
    """A page with one cell that made one picture."""
    bundle = nodes.container(nb_element="mime_bundle")
    bundle += nodes.container(
        "", nodes.image(uri="x.png", **({"alt": alt} if alt else {})), mime_type="image/png"
    )
    cell = nodes.container(nb_element="cell_code", cell_index=6)
    cell += nodes.figure("", bundle, nodes.caption("", caption)) if caption else bundle
    document = new_document("page")
    document += cell
    return document


@pytest.mark.parametrize(
    ("words", "warnings"),
    [
        ({"alt": "Bars.", "caption": "Five bars."}, []),
        ({"caption": "Five bars."}, ["the figure of cell 7 has no alt text"]),
        ({"alt": "Bars."}, ["the figure of cell 7 has no caption"]),
        ({}, ["the figure of cell 7 has no alt text", "the figure of cell 7 has no caption"]),
    ],
)
def test_a_figure_without_words_is_warned_of(monkeypatch, words, warnings):
    said = []
    monkeypatch.setattr(book_extension.LOGGER, "warning", lambda text, **_: said.append(text.split(":")[0]))
    app = SimpleNamespace(env=SimpleNamespace(docname="page"))
    book_extension.demand_words_for_figures(app, figure_page(**words))
    assert said == warnings


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("masks `b n`; True = masked", "masks ``b n``; True = masked"),
        ("already ``code``", "already ``code``"),
        ("the norm |x| of `a|b`", r"the norm \|x\| of ``a|b``"),
        ("Axes:", "Axes::\n"),
        ("Raises:", "Raises:"),
    ],
)
def test_docstrings_are_read_as_markdown(line, wanted):
    lines = [line]
    book_extension.read_as_markdown(None, "function", "f", None, None, lines)
    assert "\n".join(lines) == wanted


def test_the_palette_reaches_every_page():
    context = {"metatags": "<meta>"}
    book_extension.add_colours(None, "page", "page.html", context, None)
    assert (
        context["metatags"].startswith("<meta><style>:root {")
        and "--edu-global-crop: #" in context["metatags"]
    )


def test_formulas_come_from_the_book_itself():
    config = SimpleNamespace(mathjax_path="https://elsewhere")
    book_extension.use_own_mathjax(None, config)
    folder = book_extension.mathjax_folder()
    assert config.mathjax_path.endswith(book_extension.MATHJAX_PARTS[0])
    assert all((folder / part).exists() for part in book_extension.MATHJAX_PARTS)


def test_without_the_package_formulas_stay_with_their_host(monkeypatch):
    monkeypatch.setattr(book_extension, "mathjax_folder", lambda: None)
    config = SimpleNamespace(mathjax_path="https://elsewhere")
    book_extension.use_own_mathjax(None, config)
    assert config.mathjax_path == "https://elsewhere"


CONF = """\
from tools.book_extension import keep_state_in_its_script
extensions, nb_execution_mode, suppress_warnings = ["myst_nb"], "off", ["config.cache"]
def setup(app):
    app.connect("doctree-read", keep_state_in_its_script)
"""
NAMES = [
    "</SCRIPT><img src=x onerror=alert(1)>",
    "</Script >",
    "</script/x>",
    "</scrIPT\n>",
    "<!--<script>",
    "a < b && b > c",
    "<\\/script>",
    "]]></sCript\t>",
]


class StateOnPage(HTMLParser):
    """Collects what a browser would read as the state of a page's widgets, and the tags that it would make."""

    def __init__(self, page):
        super().__init__()
        self.inside, self.state, self.tags = False, "", set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.inside = dict(attrs).get("type") == "application/vnd.jupyter.widget-state+json"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        self.state += data if self.inside else ""


def test_no_name_ends_the_script_that_holds_the_widgets(tmp_path):
    state = {"version_major": 2, "version_minor": 0, "state": {"a": {"state": {"names": NAMES}}}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A page")], metadata=METADATA)
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
    source, built = tmp_path / "source", tmp_path / "built"
    source.mkdir()
    (source / "conf.py").write_text(CONF)
    nbformat.write(notebook, source / "index.ipynb")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", str(source), str(built)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    page = StateOnPage((built / "index.html").read_text("utf-8"))
    assert json.loads(page.state) == state
    assert "img" not in page.tags and "<" not in page.state


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one notebook with a stored run, and the call that looks for stale ones."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")], metadata=METADATA)
    path = tmp_path / "01_a.ipynb"
    nbformat.write(notebook, path)
    cache = get_cache(tmp_path / "_build" / ".jupyter_cache")
    cache.cache_notebook_file(path, check_validity=False)
    env = SimpleNamespace(
        found_docs={"01_a", "index"},
        doc2path=lambda page: tmp_path / (f"{page}.ipynb" if page == "01_a" else f"{page}.md"),
        mystnb_config=SimpleNamespace(execution_cache_path=""),
    )
    app = SimpleNamespace(outdir=str(tmp_path / "_build" / "html"), env=env)
    state = SimpleNamespace(uses="first", n_runs=lambda: len(cache.list_cache_records()))
    monkeypatch.setattr(book_extension, "fingerprint", lambda code, at_hand: state.uses)
    state.look = lambda: book_extension.forget_stale_runs(app, env, set(), set(), set())
    state.end = lambda: book_extension.remember_runs(app)
    state.record = Path(tmp_path / "_build" / ".fingerprints.json")
    state.store = lambda: cache.cache_notebook_file(path, check_validity=False, overwrite=True)
    return state


def test_what_a_stopped_build_did_not_run_is_stale_again(book):
    """Sphinx still has the page of the run before."""
    book.look()
    book.store()
    book.end()
    book.uses = "second"
    assert book.look() == ["01_a"]  # and here somebody stops it
    assert book.look() == ["01_a"] and json.loads(book.record.read_text()) == {}


def test_a_run_is_forgotten_when_what_it_used_changed(book):
    assert book.look() == ["01_a"] and book.n_runs() == 0
    book.store()
    book.end()
    assert json.loads(book.record.read_text()) == {"01_a": "first"}
    assert book.look() == [] and book.n_runs() == 1
    book.uses = "second"
    assert book.look() == ["01_a"] and book.n_runs() == 0
