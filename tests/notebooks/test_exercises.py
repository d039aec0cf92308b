"""In every chapter the unfilled stub of an exercise is told what is wanted, and the solution passes."""

import ast
import re
from collections import Counter

import pytest

from dinov2_edu import notebook
from tools.notebooks import FOLDER, python_of, read, source, tags


def cells_with(tag):
    """All cells of the book that have a tag, as test parameters: the notebook's path and the code."""
    return [
        pytest.param(path, source(cell), id=f"{path.stem}-{cell['id']}")
        for path in sorted(FOLDER.glob("*.ipynb"))
        for cell in read(path)["cells"]
        if tag in tags(cell)
    ]


@pytest.fixture(autouse=True)
def nothing_answered_yet(monkeypatch):
    """The hint comes with an exercise's second wrong answer, whichever test gave the first."""
    monkeypatch.setattr(notebook, "_WRONG", Counter())


def run(path, code, capsys):
    """Run a cell after the notebook's import statements alone; return what it prints."""
    statements = ast.parse(python_of(read(path))).body
    imports = [one for one in statements if isinstance(one, (ast.Import, ast.ImportFrom))]
    names = {}
    exec(compile(ast.Module(imports, []), str(path), "exec"), names)
    capsys.readouterr()
    exec(compile(code, str(path), "exec"), names)
    return capsys.readouterr().out


@pytest.mark.parametrize(("path", "code"), cells_with("exercise"))
def test_an_unfilled_stub_is_told_what_is_wanted(path, code, capsys):
    said = run(path, code, capsys)
    if "One line " in code:  # given code with a fault: what is wrong is for the reader to find
        assert re.match(r"Not yet: .{20,}", said) and "It looks as if" not in said and "Hint" not in said
        return
    assert re.match(r"Your turn\. Wanted: .{20,}", said) and "Hint" not in said


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_given_code_whose_result_the_check_may_draw_has_words_for_the_figure(path, capsys, monkeypatch):
    """Whether it does is for the drawn inputs to say, so a build would see it now and then."""
    drawn = []

    def may_draw(theirs, wanted):
        if wanted.ndim == 2 or (wanted.ndim == 1 and wanted.size >= 12):
            drawn.append(wanted)

    monkeypatch.setattr(notebook, "_show_difference", may_draw)
    for cell in read(path)["cells"]:
        if "exercise" in tags(cell):
            run(path, source(cell), capsys)
            assert not drawn or "mystnb" in cell["metadata"], cell["id"]
            drawn.clear()


@pytest.mark.parametrize(("path", "code"), cells_with("solution"))
def test_a_solution_passes(path, code, capsys):
    assert run(path, code, capsys).startswith("Solved: ")
