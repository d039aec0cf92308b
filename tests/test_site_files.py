"""What the finished site has beside its pages: icons, the page for wrong addresses, the offline copy."""

import base64
import json
import re
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import site_files
from tools.address import slug_in_config
from tools.site_files import (
    FIRST_CONTROLS,
    NOT_FOUND,
    finish_page,
    font_awesome,
    icons_drawn,
    last_change,
    pack,
    read_icons,
    scripts_last,
    state_apart,
    stills_apart,
)

ROOT = Path(__file__).parents[1]


def test_the_themes_icons_are_read_by_family_and_by_every_name():
    icons = read_icons(font_awesome().read_text("utf-8"))
    assert icons["fas", "search"] == icons["fas", "magnifying-glass"]
    assert icons["fas", "sun"] != icons["far", "sun"] and ("fab", "sun") not in icons
    assert icons["fab", "github"][0].startswith("0 0 ") and len(icons) > 2_000


def test_an_icon_stands_drawn_in_the_page_and_the_script_that_would_draw_it_does_not():
    icons = {
        ("fas", "sun"): ("0 0 5 6", "M1"),
        ("far", "sun"): ("0 0 7 8", "M2"),
        ("fab", "git-alt"): ("0 0 1 2", "M3"),
    }
    page = (
        '<script defer src="../_static/scripts/fontawesome.js?digest=1"></script><script src="a.js"></script>'
        '<script src="../_static/vendor/fontawesome/6.5.2/js/all.min.js?digest=1"></script>'
        '<i class="switch fa-solid fa-sun   fa-lg" data-mode="light"  title="Light"></i>'
        '<span class="far fa-sun"></span><i class="fa-brands fa-git-alt"> </i><i class="fa fa-sun"></i><i>words</i>'
    )
    made = icons_drawn(page, icons)
    assert "fontawesome" not in made and '<script src="a.js">' in made and made.endswith("<i>words</i>")
    assert (
        '<svg class="svg-inline--fa switch fa-sun fa-lg" data-mode="light" aria-hidden="true" viewBox="0 0 5 6">'
        in made
    )
    assert [made.count(f'd="M{i}"') for i in (1, 2, 3)] == [2, 1, 1] and "<span" not in made
    assert icons_drawn(made, icons) == made
    with pytest.raises(ValueError, match=r"no icon for .*fa-moon"):
        icons_drawn('<i class="fas fa-moon"></i>', icons)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ('<script src="a.js?v=1"></script>', '<script defer src="a.js?v=1"></script>'),
        ('<script data-x="y" src="a.js"></script>', '<script defer data-x="y" src="a.js"></script>'),
        ('<script defer="defer" src="a.js"></script>', None),
        ('<script src="../_static/documentation_options.js?v=9"></script>', None),
        ("<script>let a = 1;</script>", None),
        (
            '<script defer="defer" src="../vendor/mathjax/tex-mml-chtml.js?v=c"></script>',
            '<script type="text/after-paint" data-src="../vendor/mathjax/tex-mml-chtml.js?v=c"></script>',
        ),
        ('</head><script src="a.js"></script>', None),
    ],
)
def test_the_scripts_of_a_head_wait_in_their_order(given, wanted):
    page = "<head>{}</head><body></body>"
    assert scripts_last(page.format(given)) == page.format(given if wanted is None else wanted)
    assert scripts_last(scripts_last(page.format(given))) == scripts_last(page.format(given))


@pytest.mark.parametrize(
    "name", ["_static/searchtools.js", "_static/language_data.js", "../searchindex.js?v=1"]
)
def test_only_the_page_of_results_has_what_searches(name):
    page = f'<head><script src="{name}"></script></head>'
    assert scripts_last(page) == "<head></head>"
    assert scripts_last(page, searches=True) == page.replace("<script", "<script defer")


def context_of(page, doctree=None):
    env = SimpleNamespace(doc2path=lambda page: ROOT / "README.md")
    app = SimpleNamespace(srcdir=str(ROOT), env=env, config=SimpleNamespace(root_doc="book/index"))
    context = {"body": "<p>words</p>", "docstitle": "Inside DINOv2"}
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
    config = SimpleNamespace(root_doc="book/index")
    app = SimpleNamespace(
        srcdir=str(ROOT), config=config, add_js_file=lambda name, **options: loaded.append(name)
    )
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


def test_the_end_of_a_history_names_no_change(tmp_path):
    """There the newest commit seems to have changed every file."""
    git = ["git", "-C", tmp_path / "whole", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "whole").mkdir()
    subprocess.run([*git, "init", "--quiet"], check=True)
    for name in ("page.md", "other.md"):
        (tmp_path / "whole" / name).touch()
        subprocess.run([*git, "add", name], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", name], check=True)
    first = subprocess.run([*git, "rev-parse", "HEAD~1"], check=True, capture_output=True, text=True).stdout
    assert last_change(tmp_path / "whole" / "page.md")[1] == first.strip()
    source, copy = (tmp_path / "whole").as_uri(), tmp_path / "shallow"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", source, copy], check=True)
    assert last_change(copy / "page.md") is None


def test_the_first_pages_title_is_said_once():
    assert context_of("book/index")["docstitle"] == ""
    assert context_of("notebooks/01_crops")["docstitle"] == "Inside DINOv2"


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
