"""Every notebook keeps the rules, and every rule can fail."""

import copy
import re

import pytest

from tools.address import pages, release_in_config, slug_in_config
from tools.notebooks import (
    FOLDER,
    MAX_LINES,
    MAX_VISIBLE,
    SETUP,
    SETUP_METADATA,
    problems,
    read,
    source,
    stripped,
    tags,
    written,
)

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cell(kind, name, text, **metadata):
    """A cell of a notebook as plain JSON."""
    made = {"cell_type": kind, "id": name, "metadata": metadata, "source": text}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


FIGURE = {
    "image": {"alt": "A staircase of five bars, each taller than the one before it."},
    "figure": {"caption": "Five bars.", "name": "fig-bars"},
}
GOOD = stripped(
    {
        "cells": [
            cell("markdown", "title", "# Losses\n\nWhat it takes: about 2 minutes on two CPU cores."),
            cell(
                "code",
                "set-up",
                SETUP.format(release=release_in_config(), chapter="05_losses"),
                **SETUP_METADATA,
            ),
            cell("markdown", "bars-why", "## Bars\n\nSome `code` and $x$."),
            cell("code", "bars", "draw()", mystnb=FIGURE),
        ]
    }
)
SOLUTION = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["hide-cell", "solution"]}


@pytest.fixture
def judge(tmp_path):
    """Write a notebook to a file and say what is wrong with it."""

    def problems_of(notebook, name="05_losses"):
        path = tmp_path / f"{name}.ipynb"
        path.write_text(written(notebook), "utf-8")
        return problems(path)

    return problems_of


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rules(path):
    assert problems(path) == []


def test_names_of_figures_are_unique_in_the_book():
    names = re.findall(r'"name": "(fig-[^"]*)"', "".join(path.read_text("utf-8") for path in NOTEBOOKS))
    assert len(names) == len(set(names))


def test_a_good_notebook_has_no_problems(judge):
    assert judge(GOOD) == []


def changed(index, **changes):
    """A change of one cell of the good notebook."""
    return lambda notebook: notebook["cells"][index].update(changes)


def added(*cells):
    """The good notebook with cells at its end."""
    return lambda notebook: notebook["cells"].extend(cells)


PROSE = cell("markdown", "more", "More.")
BROKEN = {
    "one `# heading`": changed(2, source="# Second title"),
    "nbformat must be 4.5": lambda notebook: notebook.update(nbformat_minor=4),
    "about N seconds": changed(0, source="# Losses\n\nIt takes a while."),
    "set-up cell word for word": changed(1, source="import torch"),
    "metadata of cell 2": changed(1, metadata={}),
    "cell 1 must be Markdown": lambda notebook: notebook["cells"].pop(0),
    "ids must be unique": changed(3, id="bars-why"),
    "short slug": changed(3, id="a1b2c3d4"),
    "id must be": changed(3, id="Bars 1"),
    "prose must stand before": added(cell("code", "again", "draw()")),
    "lines, at most 20": changed(3, source="\n".join(["draw()"] * (MAX_LINES + 1))),
    "in sight, at most 12": changed(3, source="\n".join(["draw()"] * (MAX_VISIBLE + 1)), metadata={}),
    "longer than 88": changed(3, source="x = " + "1" * 90),
    "sys.path": changed(3, source="import sys\nsys.path.append('.')"),
    "warning filter": changed(3, source="warnings.filterwarnings('ignore')"),
    "shell or magic": changed(3, source="%matplotlib inline"),
    "this bar is dead": changed(3, source="from tqdm.auto import tqdm"),
    "MyST directive": changed(2, source="```{note}\nHello\n```"),
    "MyST role": changed(2, source="See {ref}`losses`."),
    "MyST target": changed(2, source="(bars)=\n## Bars"),
    "a file leads nowhere in Colab": changed(2, source="See [EMA](../book/glossary.md#ema)."),
    "MyST fence": changed(2, source=":::\nHello\n:::"),
    "outputs are not committed": changed(3, execution_count=3),
    "stray metadata": changed(3, metadata={"collapsed": True}),
    "the cell is empty": changed(3, source=""),
    "alt must describe": changed(3, metadata={"mystnb": FIGURE | {"image": {"alt": "Bars."}}}),
    "caption must be there": changed(3, metadata={"mystnb": {"image": FIGURE["image"]}}),
    "begins with fig-": changed(
        3, metadata={"mystnb": FIGURE | {"figure": {"caption": "Bars.", "name": "bars"}}}
    ),
    "committed form": lambda notebook: notebook.update(metadata={}),
    "a solution is folded": added(PROSE, cell("code", "solved", "check('losses.x', f)", tags=["solution"])),
    'end with check("chapter.name"': added(
        PROSE, cell("code", "solved", "# @title Solution\nf = 1", **SOLUTION)
    ),
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_books_addresses_in_a_notebook_are_pages(path):
    """The strict build looks after their anchors, because it reads them as links within the book."""
    text = "".join(source(cell) for cell in read(path)["cells"])
    found = re.findall(rf"https://{re.escape(pages(slug_in_config()))}/([\w/-]+)\.html", text)
    missing = [
        page
        for page in found
        if not any((FOLDER.parent / page).with_suffix(s).is_file() for s in (".md", ".ipynb"))
    ]
    assert found and not missing


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_rule_is_named(judge, words):
    notebook = copy.deepcopy(GOOD)
    BROKEN[words](notebook)
    assert words in "\n".join(judge(notebook))


def test_a_wrong_file_name_is_named(judge):
    assert "must look like 01_crops" in "\n".join(judge(GOOD, name="losses"))


def test_code_in_prose_is_no_directive(judge):
    notebook = copy.deepcopy(GOOD)
    notebook["cells"][2]["source"] = [
        "```python\n",
        "# a comment, no heading\n",
        "x = {1}\n",
        "```\n",
        "\n",
        "$\\{x\\}$",
    ]
    assert judge(notebook) == []


def test_stripping_brings_a_run_notebook_back_to_its_committed_form():
    run = copy.deepcopy(GOOD)
    run["metadata"]["widgets"] = {"state": {}}
    for one in run["cells"]:
        one["source"] = "".join(one["source"])
        if one["cell_type"] == "code":
            one |= {
                "execution_count": 7,
                "outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}],
            }
            one["metadata"]["execution"] = {"iopub.execute_input": "now"}
    assert written(stripped(run)) == written(GOOD)


def test_chapters_are_numbered_without_gaps():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{n:02d}" for n in range(1, len(NOTEBOOKS) + 1)]


def test_every_chapter_is_in_the_table_of_contents():
    toc = (FOLDER.parent / "_toc.yml").read_text("utf-8")
    assert set(re.findall(r"notebooks/(\w+)", toc)) == {path.stem for path in NOTEBOOKS}


def test_an_exercise_comes_with_its_solution():
    for path in NOTEBOOKS:
        cells = read(path)["cells"]
        asked, solved = (
            re.findall(r"check\(\"([\w.]+)\"", "\n".join(source(one) for one in cells if tag in tags(one)))
            for tag in ("exercise", "solution")
        )
        assert asked == solved, path.name
