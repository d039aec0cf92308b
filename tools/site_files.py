"""What the finished site has beside its pages: a Sphinx extension, set up by `tools.book_extension`.

- The theme's icons stand drawn in the page: the script that would draw them (1.5 MB) is left out.
- `404.html` says in the book's own frame that there is no such page, with a search field.
- `inside-dinov2.zip` is the whole site, to be read without a network.
- The first page, which no kernel runs for, has controls of its own.
- A page says when it last changed, with a link to the change.
- The scripts of a page wait until it is drawn; the largest are fetched then, and what searches where one searches.
- A page is dark from its first moment where the reader wants it dark.
- A place is kept for each control until it is drawn (`tools/control_places.py`).
- The still of a control is a file, fetched where it is seen: in print, or without JavaScript.
- What a page's controls hold is a script beside the page: it is drawn while that is still on its way.
"""

import base64
import hashlib
import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pydata_sphinx_theme
from docutils import nodes
from ipywidgets.embed import dependency_state
from sphinx.application import Sphinx

from dinov2_edu.data import SAMPLE_IMAGES, sample_image
from dinov2_edu.widgets.agree import AgreeWidget
from dinov2_edu.widgets.learns import LearnsWidget
from tools.address import pages, slug_in_config
from tools.control_places import KEEP, known_heights, with_places

THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
OFFLINE = "inside-dinov2.zip"
_STILL = re.compile(
    r'(<figure class="dv2-still"[^>]*><img )src="data:image/(?P<kind>png|jpeg);base64,(?P<data>[^"]+)"'
)
STATES = Path("_static/states")
"""Where the scripts lie that bring what a page's controls hold; `widget_host.js` fetches and reads them."""
_STATE = re.compile(
    r'(?P<holder><script type="application/vnd\.jupyter\.widget-state\+json")>(?P<state>[^<]*)</script>'
)
_SEARCHING = re.compile(
    r'<script [^>]*src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"[^>]*></script>\s*'
)
_MATHJAX = re.compile(r'<script [^>]*src="(?P<address>[^"]*/tex-mml-chtml\.js[^"]*)"[^>]*></script>')
_FAMILY = re.compile(r'"(fab|far|fas)",\w+\)')  # stands after the icons of that family
_FAMILIES = {"fa-brands": "fab", "fa-regular": "far", "fa-solid": "fas"}
_ICON = re.compile(
    r'(?:"(?P<quoted>[\w-]+)"|\b(?P<bare>\w+)):'
    r'\[(?P<width>\d+),(?P<height>\d+),\[(?P<aliases>[^\[\]]*)\],"[0-9a-f]+","(?P<path>[^"]*)"\]'
)
_ICON_PLACE = re.compile(
    r'<(?P<tag>i|span) class="(?P<classes>[^"]*\bfa-[^"]*)"(?P<more>[^>]*)>\s*</(?P=tag)>'
)
_FONT_AWESOME = re.compile(
    r'<script [^>]*src="[^"]*/(?:fontawesome|fontawesome/[^"]*/all\.min)\.js[^"]*"[^>]*></script>'
)
FIRST_CONTROLS = ('<div id="step-control"></div>', '<div id="training-control"></div>')
"""What stands in `book/index.md` where the first page's controls come."""

NOT_FOUND = """<h1>There is no such page</h1>
<p>It may have moved. The <a href="book/index.html">first page</a> leads to all chapters; or search the book:</p>
<form action="search.html" method="get" role="search">
<input type="search" name="q" aria-label="Search the book" placeholder="collapse, registers, KoLeo ...">
<button type="submit">Search</button></form>"""
DARK = (
    '<script>if (["auto", null].includes(localStorage.getItem("mode")) && '
    'matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.dataset.theme = "dark";</script>\n'
)


def setup(app: Sphinx) -> None:
    """Connect everything."""
    app.connect("html-collect-pages", not_found_page)
    app.connect("html-page-context", finish_page)
    app.connect("build-finished", finish_site, priority=900)  # after everything was written and copied


def not_found_page(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    """The page that the host shows for every address that leads nowhere."""
    yield "404", {"title": "There is no such page", "body": NOT_FOUND}, "page.html"


def finish_page(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Add to a page what follows from its name alone."""
    tags = context.get("metatags", "") + DARK + KEEP
    if page == "404":  # it is shown under any address: what it loads is named from the site's root
        folder = pages(slug_in_config(Path(app.srcdir))).partition("/")[2].strip("/")
        tags = f'<base href="/{folder}/">\n<meta name="robots" content="noindex">\n{tags}'
    context["metatags"] = tags
    if page == app.config.root_doc:
        context["docstitle"] = ""  # which is its title already
    if all(place in context.get("body", "") for place in FIRST_CONTROLS):
        app.add_js_file("js/widget_host.js", defer="defer")
        for place, control in zip(FIRST_CONTROLS, controls_html(), strict=True):
            context["body"] = context["body"].replace(place, control)
    if doctree is not None and (change := last_change(Path(app.env.doc2path(page)))):
        date, commit = change
        address = f"https://github.com/{slug_in_config(Path(app.srcdir))}/commit/{commit}"
        context["body"] += f'<p class="page-changed">Last changed <a href="{address}">{date}</a></p>'


def controls_html() -> list[str]:
    """The controls of the first page, as a notebook's page carries them: before the first place the state of all."""
    photos = {name: sample_image(name) for name in SAMPLE_IMAGES}
    controls = [
        AgreeWidget(photos, source="The book's own weights, learnt on CIFAR-10 without labels."),
        LearnsWidget(shows=("knn", "strip")),
    ]
    models = dependency_state(controls, drop_defaults=False)
    state = json.dumps({"version_major": 2, "version_minor": 0, "state": models}).replace("<", r"\u003c")
    kind = "application/vnd.jupyter.widget-{}+json"
    places = [
        f'<script type="{kind.format("view")}">{json.dumps({"model_id": control.model_id})}</script>'
        for control in controls
    ]
    return [f'<script type="{kind.format("state")}">{state}</script>{places[0]}', *places[1:]]


@cache
def last_change(path: Path) -> tuple[str, str] | None:
    """Date and commit of a file's newest change, or None where there is no history, or only the end of one."""
    if _git(path.parent, "rev-parse", "--is-shallow-repository") != "false":
        return None
    date, _, commit = _git(path.parent, "log", "-1", "--format=%cs %H", "--", path.name).partition(" ")
    return (date, commit) if commit else None


def _git(folder: Path, *words: str) -> str:
    """What git says in a folder, "" where it cannot."""
    try:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def finish_site(app: Sphinx, error: Exception | None) -> None:
    """Draw the icons, let scripts wait, keep the controls' places, and pack the site."""
    if error or app.builder.format != "html":
        return
    site = Path(app.outdir)
    texts = {page: page.read_text("utf-8") for page in site.rglob("*.html")}
    script = font_awesome()
    icons = read_icons(script.read_text("utf-8"))
    for unused in (script, script.with_suffix(".js.map")):
        (site / "_static" / unused.relative_to(THEME)).unlink(missing_ok=True)
    heights = known_heights()
    for page, text in texts.items():
        name = page.relative_to(site).with_suffix("").as_posix()
        finished = with_places(
            scripts_last(icons_drawn(text, icons), searches=name == "search"), heights.get(name, [])
        )
        root = "../" * name.count("/")
        finished = state_apart(
            stills_apart(finished, site / "_images", root), site / STATES, root + STATES.as_posix()
        )
        page.write_text(finished, "utf-8")
        texts[page] = finished
    for state in (site / STATES).glob("*.js"):
        if not any(state.name in text for text in texts.values()):
            state.unlink()  # of an earlier build
    pack(site, site / OFFLINE)


def scripts_last(page: str, *, searches: bool = False) -> str:
    """Return a page whose head's scripts run, in their order, when it has been read: drawing waits for none of them.

    Only `documentation_options.js` runs at once, because the lines after it write into what it makes. MathJax, the
    largest, is fetched after the first drawing; what searches the book, by the page of results alone.

    Args:
        page: HTML.
        searches: it is the page of results.
    """
    head, end, body = page.partition("</head>")
    if not searches:
        head = _SEARCHING.sub("", head)
    head = _MATHJAX.sub(r'<script type="text/after-paint" data-src="\g<address>"></script>', head)
    head = re.sub(
        r'<script (?!defer)(?=(?:[\w-]+="[^"]*" )*src="(?![^"]*documentation_options))',
        "<script defer ",
        head,
    )
    return head + end + body


def stills_apart(page: str, folder: Path, root: str) -> str:
    """Write the still figures of a page into a folder of the site's root; return the page that names them there.

    Args:
        page: HTML in which each still stands as base64 text, a third of a page's weight or more.
        folder: where pictures go.
        root: leads from the page to the folder above it, such as "../".
    """

    def write(still: re.Match) -> str:
        picture = base64.b64decode(still["data"])
        file = folder / f"still-{hashlib.sha256(picture).hexdigest()[:16]}.{still['kind']}"
        folder.mkdir(exist_ok=True)
        file.write_bytes(picture)
        return f'{still[1]}loading="lazy" src="{root}{folder.name}/{file.name}"'

    return _STILL.sub(write, page)


def state_apart(page: str, folder: Path, address: str) -> str:
    """Write what a page's controls hold into a script of a folder; return the page that names it.

    A script, not JSON to be fetched, because a page opened from a file may fetch nothing. The host loads it, not
    the page: on a slow line it would take its share of that before the first text is drawn.

    Args:
        page: HTML, in which the state stands as JSON without a "<".
        folder: where the script goes.
        address: leads from the page to that folder.
    """

    def write(found: re.Match) -> str:
        script = f"self.widgetState = {json.dumps(found['state'].strip())};"
        file = folder / f"{hashlib.sha256(script.encode()).hexdigest()[:16]}.js"
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(script, "utf-8")
        return f'{found["holder"]} data-src="{address}/{file.name}"></script>'

    return _STATE.sub(write, page)


def font_awesome() -> Path:
    """The theme's script of all icons; version 0.15, the last for Python 3.10, has it elsewhere than those after it."""
    older = THEME.glob("vendor/fontawesome/*/js/all.min.js")
    return next(older, THEME / "scripts" / "fontawesome.js")


def read_icons(script: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Font Awesome's icons as its script holds them: family (fab, far, fas) and name to viewBox and path."""
    icons: dict[tuple[str, str], tuple[str, str]] = {}
    parts = _FAMILY.split(script)  # icons, family, icons, family, rest
    for text, family in zip(parts[0::2], parts[1::2], strict=False):
        for icon in _ICON.finditer(text):
            drawn = f"0 0 {icon['width']} {icon['height']}", icon["path"]
            names = [icon["quoted"] or icon["bare"], *re.findall(r'"([\w-]+)"', icon["aliases"])]
            icons |= {(family, name): drawn for name in names}
    return icons


def icons_drawn(page: str, icons: dict[tuple[str, str], tuple[str, str]]) -> str:
    """Return a page in which each of the theme's icons is the SVG that Font Awesome's script would put there.

    Args:
        page: HTML.
        icons: as `read_icons` returns them.

    Raises:
        ValueError: the page shows an icon that is not among them.
    """

    def draw(place: re.Match) -> str:
        classes = [_FAMILIES.get(one, one) for one in place["classes"].split()]
        family = next((one for one in classes if one in _FAMILIES.values()), "fas")
        names = [one.removeprefix("fa-") for one in classes]
        found = next((icons[family, name] for name in names if (family, name) in icons), None)
        if found is None:
            raise ValueError(f"the theme has no icon for {place[0]!r}")
        kept = " ".join(["svg-inline--fa", *(one for one in classes if one != family)])
        more = re.sub(r'\s+title="[^"]*"', "", place["more"])
        return (
            f'<svg class="{kept}"{more} aria-hidden="true" viewBox="{found[0]}">'
            f'<path fill="currentColor" d="{found[1]}"></path></svg>'
        )

    return _ICON_PLACE.sub(draw, _FONT_AWESOME.sub("<!-- Icons: Font Awesome Free, CC BY 4.0 -->", page))


def pack(site: Path, archive: Path) -> None:
    """Write the whole site into one file."""
    archive.unlink(missing_ok=True)
    whole = archive.with_suffix(".part")
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(site.rglob("*")):
            inside = path.relative_to(site)
            if (
                path.is_file()
                and path not in (whole, archive)
                and inside.parts[0] not in ("reports", ".buildinfo")
            ):
                packed.write(path, Path("inside-dinov2") / inside)
    whole.rename(archive)
