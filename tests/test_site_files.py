"""What the finished site has beside its pages: icons, the page for wrong addresses, the offline copy."""

import base64
import json
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pydata_sphinx_theme
import pytest

from tools import site_files
from tools.address import slug_in_config
from tools.site_files import (
    FIRST_CONTROLS,
    NOT_FOUND,
    finish_page,
    last_change,
    only_icons,
    pack,
    scripts_last,
    state_apart,
    stills_apart,
)

THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static"
ROOT = Path(__file__).parents[1]


def test_icons_that_no_page_shows_are_left_out():
    script = 'a={moon:[5,5,[9789,"night"],"f1","M1"],"paper-plane":[5,5,[],"f2",["M2","M3"]],sun:[1,1,[],"f3","M4"]}'
    assert only_icons(script, {"night"}) == 'a={moon:[5,5,[9789,"night"],"f1","M1"],}'
    assert only_icons(script, {"paper-plane", "sun"}) == (
        'a={"paper-plane":[5,5,[],"f2",["M2","M3"]],sun:[1,1,[],"f3","M4"]}'
    )


def test_the_themes_own_script_shrinks_to_a_tenth():
    script = (THEME / "scripts" / "fontawesome.js").read_text("utf-8")
    few = only_icons(script, {"search", "github", "moon"})
    assert len(few) < len(script) / 10
    for icon in ('"magnifying-glass":', "github:", "moon:"):
        assert icon in few
    assert '"paper-plane":' not in few


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ('<script src="a.js?v=1"></script>', '<script defer src="a.js?v=1"></script>'),
        ('<script data-x="y" src="a.js"></script>', '<script defer data-x="y" src="a.js"></script>'),
        ('<script defer="defer" src="a.js"></script>', None),
        ('<script src="../_static/documentation_options.js?v=9"></script>', None),
        ("<script>let a = 1;</script>", None),
        ('</head><script src="a.js"></script>', None),
    ],
)
def test_the_scripts_of_a_head_wait_in_their_order(given, wanted):
    page = "<head>{}</head><body></body>"
    assert scripts_last(page.format(given)) == page.format(wanted or given)


def context_of(page, doctree=None):
    app = SimpleNamespace(srcdir=str(ROOT), env=SimpleNamespace(doc2path=lambda page: ROOT / "README.md"))
    context = {"body": "<p>words</p>"}
    finish_page(app, page, "page.html", context, doctree)
    return context


def test_the_page_for_wrong_addresses_loads_from_the_sites_root_and_is_not_indexed():
    tags = context_of("404")["metatags"]
    repository = slug_in_config().split("/")[1]
    assert f'<base href="/{repository}/">' in tags and 'content="noindex"' in tags
    assert 'name="q"' in NOT_FOUND and 'action="search.html"' in NOT_FOUND
    assert "<base" not in context_of("book/index")["metatags"]


def test_the_first_page_carries_controls_that_end_no_script():
    loaded = []
    app = SimpleNamespace(srcdir=str(ROOT), add_js_file=lambda name, **options: loaded.append(name))
    context = {"body": "<p>a</p>{}<p>b</p>{}".format(*FIRST_CONTROLS)}
    finish_page(app, "book/index", "page.html", context, None)
    assert loaded == ["js/widget_host.js"]
    assert all(place in (ROOT / "book" / "index.md").read_text("utf-8") for place in FIRST_CONTROLS)
    state, *views = re.findall(r"<script[^>]*>(.*?)</script>", context["body"], re.DOTALL)
    models = json.loads(state)["state"]
    step, training = (models[json.loads(view)["model_id"]]["state"] for view in views)
    assert step["names"][0] == "china" and len(step["names"]) == 3 and training["shows"] == ["knn", "strip"]
    assert "render" in step["_esm"] and "render" in training["_esm"]
    assert re.fullmatch(
        r"<p>a</p>(<script.*?</script>){2}<p>b</p><script.*?</script>", context["body"], re.DOTALL
    )


def test_a_page_says_when_it_last_changed(monkeypatch):
    monkeypatch.setattr(site_files, "last_change", lambda path: ("2026-11-28", "c0ffee"))
    body = context_of("book/index", doctree=object())["body"]
    assert 'commit/c0ffee">2026-11-28</a>' in body and body.startswith("<p>words</p>")


def test_without_a_history_nothing_is_said(tmp_path):
    (tmp_path / "page.md").write_text("# A page")
    assert last_change(tmp_path / "page.md") is None


def test_the_packed_site_has_every_file_and_not_itself(tmp_path):
    for name in ("index.html", "_static/a.css", "reports/x.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    for _ in range(2):  # the second time the archive lies there
        pack(tmp_path, tmp_path / "site.zip")
    with zipfile.ZipFile(tmp_path / "site.zip") as packed:
        assert sorted(packed.namelist()) == ["inside-dinov2/_static/a.css", "inside-dinov2/index.html"]


@pytest.mark.parametrize("name", ["reports", ".buildinfo"])
def test_what_the_builder_leaves_is_not_packed(tmp_path, name):
    (tmp_path / name).write_text("x")
    pack(tmp_path, tmp_path / "site.zip")
    with zipfile.ZipFile(tmp_path / "site.zip") as packed:
        assert packed.namelist() == []


def test_the_stills_of_a_page_become_files(tmp_path):
    still = '<figure class="dv2-still" style="display:none"><img %salt="a cat"></figure>'
    other = f'<img src="data:image/png;base64,{base64.b64encode(b"other").decode()}">'
    pictures = [b"first", b"second", b"first"]
    page = "".join(
        still % f'src="data:image/png;base64,{base64.b64encode(one).decode()}" ' for one in pictures
    )
    made = stills_apart(page + other, tmp_path / "_images", "../")
    names = re.findall(r'<img loading="lazy" src="\.\./_images/(still-[0-9a-f]{16}\.png)" alt="a cat">', made)
    assert [(tmp_path / "_images" / name).read_bytes() for name in names] == pictures
    assert len({*names}) == 2 and made.endswith(other)
    assert stills_apart(made, tmp_path / "_images", "../") == made


def test_what_controls_hold_becomes_a_script_that_says_the_same(tmp_path):
    state = {"state": {"a": {"words": '\u003c/script>\u2028"quoted" \\ é', "__proto__": 1}}}
    text = json.dumps(state, ensure_ascii=False).replace("<", r"\u003c")
    page = f'<p>a</p><script type="application/vnd.jupyter.widget-state+json">\n{text}\n</script><p>b</p>'
    made = state_apart(page, tmp_path / "states", "../_static/states")
    (script,) = (tmp_path / "states").iterdir()
    assert made == (
        '<p>a</p><script type="application/vnd.jupyter.widget-state+json" '
        f'data-src="../_static/states/{script.name}"></script><p>b</p>'
    )
    said = script.read_text("utf-8").removeprefix("self.widgetState = ").removesuffix(";")
    assert json.loads(json.loads(said)) == state
    assert state_apart(made, tmp_path / "states", "../_static/states") == made
    assert state_apart("<p>a</p>", tmp_path / "none", "") == "<p>a</p>" and not (tmp_path / "none").exists()
