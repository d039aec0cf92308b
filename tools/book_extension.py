"""What the book's pages need beyond Jupyter Book: a Sphinx extension, named in `_config.yml`.

- Formulas are drawn without another host: MathJax is copied out of the PyPI package `sphinx-mathjax-offline`.
- A notebook runs again when the code, weights or data that it finds changed, not only when its own cells did.
- A figure without alt text or caption is a warning, which fails the strict build.
- A figure follows the theme: each has a dark twin (`tools/dark_figures.py`).
- A cell that needs Python leaves a still figure on the page (`dinov2_edu.widgets.kernel`).
- No class name or caption ends the script that holds a page's widgets.
- What stands in for the weights or pictures wanted is said once, under the title of the page.
- A quote that begins with bold words becomes a box: `> **Predict.** ...` gets the classes `box box-predict`.
- The palette's colours are custom properties of every page: `--edu-student`.
- Docstrings are Markdown: what stands in backticks is code.
- Links by a page's address on the web, which lead on from Colab too, become links within the book.
- The addresses of the pages follow from the repository's; Colab opens the notebook of the release that it installs.
- Files of `book/_static` are copied on every build.
"""

import json
import os
import re
import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, cast

from docutils import nodes
from jupyter_cache import get_cache
from myst_nb.core.render import WIDGET_STATE_MIMETYPE
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from dinov2_edu.experiments.nearest import nearest_bank
from dinov2_edu.palette import PALETTE
from dinov2_edu.widgets.your_picture import BANK
from tools import site_files
from tools.address import pages, slug_in_config, tag
from tools.at_hand import at_hand
from tools.dark_figures import add_dark_figures
from tools.imports import fingerprint
from tools.notebooks import python_of, read
from tools.origin import put_notices_on_top

LOGGER = logging.getLogger(__name__)
SECTIONS = {"Args", "Attributes", "Example", "Examples", "Note", "Raises", "Returns", "Source", "Yields"}
MATHJAX = "vendor/mathjax/tex-mml-chtml.js"
MATHJAX_PARTS = (
    "tex-mml-chtml.js",
    "a11y",
    "input/tex/extensions",
    "output/chtml/fonts/woff-v2",
    "sre",
    "ui",
)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect everything; Sphinx calls this."""
    app.connect("config-inited", use_addresses, priority=100)
    app.connect("config-inited", use_own_mathjax)
    app.connect("env-get-outdated", forget_stale_runs)
    app.connect("source-read", link_inside)
    app.connect("doctree-read", keep_state_in_its_script)
    app.connect("doctree-read", put_notices_on_top)
    app.connect("doctree-read", mark_boxes)
    app.connect("doctree-read", demand_words_for_figures)
    app.connect("doctree-read", add_dark_figures)
    app.connect("autodoc-process-docstring", read_as_markdown, priority=400)  # before napoleon
    app.connect("html-page-context", add_colours)
    app.connect("html-page-context", open_release_in_colab, priority=600)  # after the theme made its buttons
    app.connect("build-finished", copy_files)
    app.connect("build-finished", remember_runs)
    site_files.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def use_addresses(app: Sphinx, config: Config) -> None:
    """Derive the pages' address from the repository's."""
    address = f"https://{pages(slug_in_config(Path(app.srcdir)))}/"
    config.html_baseurl = config.ogp_site_url = address


def link_inside(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make the book's addresses on the web links to its files: within the book, and checked by the strict build."""
    here = Path(app.env.doc2path(docname)).parent

    def target(found: re.Match) -> str:
        file = app.env.doc2path(found[1]) if found[1] in app.env.found_docs else None
        return os.path.relpath(file, here).replace(os.sep, "/") if file else found[0]

    source[0] = re.sub(rf"(?<=\]\(){re.escape(app.config.html_baseurl)}([\w/-]+)\.html", target, source[0])


def mathjax_folder() -> Path | None:
    """Where MathJax lies in the installed packages, or None if it does not."""
    try:
        found = distribution("sphinx-mathjax-offline").locate_file("sphinx-mathjax-offline/static/mathjax")
    except PackageNotFoundError:
        return None
    folder = Path(str(found))
    return folder if (folder / MATHJAX_PARTS[0]).is_file() else None


def use_own_mathjax(app: Sphinx, config: Config) -> None:
    """Let pages load MathJax from the book itself; without the package Sphinx's default host stays."""
    if mathjax_folder():
        config.mathjax_path = MATHJAX
    else:
        LOGGER.info("sphinx-mathjax-offline is not installed: formulas will need a network")


def forget_stale_runs(
    app: Sphinx, env: BuildEnvironment, added: set, changed: set, removed: set
) -> list[str]:
    """Drop the stored run of each notebook whose code or data changed; return the pages to read again.

    The cache of runs looks only at a notebook's own cells. What was known of the rest is kept beside it.
    """
    record = _record(app)
    known = json.loads(record.read_text("utf-8")) if record.exists() else {}
    stale = []
    cache = get_cache(cast(Any, env).mystnb_config.execution_cache_path or record.with_name(".jupyter_cache"))
    for page, now in _fingerprints(env, network=True).items():
        if known.get(page) == now:
            continue
        for run in cache.list_cache_records():
            if Path(run.uri).name == Path(env.doc2path(page)).name:
                cache.remove_cache(run.pk)
        stale.append(page)
    # Only what needs no run is known to be good: a build that is stopped leaves the others to the next.
    _write_record(app, {page: known[page] for page in known if page not in stale})
    return stale


def remember_runs(app: Sphinx, error: Exception | None = None) -> None:
    """Write down what the stored runs were made of.

    Weights and data that could be fetched count as there before a run, afterwards only if they were: so a run whose
    download failed is made again.
    """
    _write_record(app, _fingerprints(app.env, network=False))


def _record(app: Sphinx) -> Path:
    return Path(app.outdir).parent / ".fingerprints.json"


def _write_record(app: Sphinx, fingerprints: dict[str, str]) -> None:
    _record(app).parent.mkdir(parents=True, exist_ok=True)
    _record(app).write_text(json.dumps(fingerprints, indent=1), "utf-8")


def _fingerprints(env: BuildEnvironment, *, network: bool) -> dict[str, str]:
    """The fingerprint of every notebook of the book, by page."""
    paths = {page: Path(env.doc2path(page)) for page in sorted(env.found_docs)}
    codes = {page: python_of(read(path)) for page, path in paths.items() if path.suffix == ".ipynb"}
    return {page: fingerprint(code, at_hand=at_hand(code, network=network)) for page, code in codes.items()}


def keep_state_in_its_script(app: Sphinx, doctree: nodes.document) -> None:
    """Write `<` in the state of a page's widgets as `\\u003c`, which JSON reads as the same letter.

    A browser ends a script at `</script` in any spelling, and `<!--<script` makes it miss the end; myst-nb 1.4 breaks
    up `</script>` in small letters alone.
    """
    for _, script in NbMetadataCollector.get_js_files(app.env, app.env.docname).values():
        if script.get("type") == WIDGET_STATE_MIMETYPE:
            script["body"] = script["body"].replace("<", r"\u003c")


def mark_boxes(app: Sphinx, doctree: nodes.document) -> None:
    """Give quotes that begin with bold words the classes of a box."""
    for quote in doctree.findall(nodes.block_quote):
        paragraph = quote.next_node(nodes.paragraph)
        parts = [part for part in paragraph.children if part.astext()] if paragraph else []
        if parts and isinstance(parts[0], nodes.strong):
            words = re.sub(r"[^a-z]+", "-", parts[0].astext().lower()).strip("-")
            quote["classes"] += ["box", f"box-{words}"]


def demand_words_for_figures(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of each figure made by a cell that has no alt text or no caption."""
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") != "cell_code":
            continue
        for bundle in cell.findall(nodes.container):
            image = bundle.next_node(nodes.image)
            if bundle.get("nb_element") != "mime_bundle" or image is None:
                continue
            figure, where = bundle.parent, f"the figure of cell {cell['cell_index'] + 1}"
            if not image.get("alt"):
                LOGGER.warning(
                    f"{where} has no alt text: mystnb.image.alt in its metadata", location=app.env.docname
                )
            if not isinstance(figure, nodes.figure) or figure.next_node(nodes.caption) is None:
                LOGGER.warning(
                    f"{where} has no caption: mystnb.figure.caption in its metadata", location=app.env.docname
                )


def read_as_markdown(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Turn the Markdown of docstrings, which is backticks and little else, into what Sphinx reads."""
    read = []
    for line in lines:
        parts = re.split(r"(`+[^`]+`+)", line)
        text = "".join(
            f"``{part.strip('`')}``" if part.startswith("`") else re.sub(r"(?<!\\)([|*])", r"\\\1", part)
            for part in parts
        )
        read.append(text)
        if re.fullmatch(r"[A-Z]\w+(, .*)?:", line) and line[:-1] not in SECTIONS:
            read[-1:] = [f"{text}:", ""]  # what is indented below it is a table, to be kept as it stands
    lines[:] = read


def add_colours(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Give the style sheet the colour of each role: `student` becomes `--edu-student`."""
    roles = " ".join(f"--edu-{role.replace('_', '-')}: {colour};" for role, colour in PALETTE.items())
    context["metatags"] = f"{context.get('metatags', '')}<style>:root {{ {roles} }}</style>\n"


def open_release_in_colab(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Let the button for Colab open the notebook as it was at the release, which is what its first cell installs."""
    branch = f"/blob/{app.config.html_theme_options['repository_branch']}/"
    for group in context.get("header_buttons", ()):
        for button in group.get("buttons", ()):
            if button.get("url", "").startswith("https://colab.research.google.com/"):
                button["url"] = button["url"].replace(branch, f"/blob/{tag(Path(app.srcdir))}/", 1)


def copy_files(app: Sphinx, error: Exception | None) -> None:
    """Copy MathJax, the static files and the weights that a page fetches on a press, also when no page is written."""
    if error or app.builder.format != "html":
        return
    target = Path(app.outdir) / "_static"
    shutil.copytree(Path(app.srcdir) / "book" / "_static", target, dirs_exist_ok=True)
    (target / "weights").mkdir(exist_ok=True)
    for weights in (Path(app.srcdir) / "dinov2_edu" / "assets").glob("book*.safetensors"):
        shutil.copy2(weights, target / "weights")
    if bank := nearest_bank():
        shutil.copy2(bank, target / "weights" / BANK)
    mathjax = mathjax_folder()
    if mathjax is None:
        return
    for part in MATHJAX_PARTS:
        place = target / "vendor" / "mathjax" / part
        if (mathjax / part).is_dir():
            shutil.copytree(mathjax / part, place, dirs_exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(mathjax / part, place)
