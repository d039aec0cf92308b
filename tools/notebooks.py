"""The rules of a notebook: brings one to the form that is committed, and says what breaks a rule.

python -m tools.notebooks strip [FILE ...]    rewrite in place; all of notebooks/ if no file is named
python -m tools.notebooks check [FILE ...]    list what breaks a rule; exit code 1 if anything does
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tools.address import release_in_config

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
SETUP_METADATA = {"cellView": "form", "tags": ["hide-input", "set-up"]}
SETUP = """\
# @title Set-up: installs the package on Colab (torch stays as it is), seeds, picks the device
import sys

if "google.colab" in sys.modules:
    %pip install --quiet "dinov2-edu @ {release}"

from dinov2_edu.notebook import setup

here = setup("{chapter}")"""

MAX_LINES, MAX_VISIBLE, MAX_WIDTH = 20, 12, 88
FOLDED = {"hide-input", "hide-cell", "exercise"}
KEPT = ("cellView", "jupyter", "mystnb", "tags")
SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TAKES = re.compile(r"about (\d+) (second|minute)s? on two CPU cores")
BANNED_CODE = {
    r"\bsys\.path\b": "sys.path: the package is installed, nothing needs a path",
    r"\bwarnings\.(simplefilter|filterwarnings|catch_warnings)\b": "a warning filter: mend what warns",
    r"\bos\.chdir\b": "os.chdir: the notebook may run in any folder",
    r"^\s*[!%]": "a shell or magic line: plain Python runs everywhere",
    r"\btqdm\.(notebook|auto|autonotebook)\b": "this bar is dead on the page: `from tqdm import tqdm`",
}
BANNED_MARKDOWN = {
    r"^\s*(```+|~~~+|:::+)\s*\{": "a MyST directive: Colab shows it raw",
    r"^\s*:::": "a MyST fence: Colab shows it raw",
    r"\{[a-zA-Z][\w:-]*\}`": "a MyST role: Colab shows it raw",
    r"^\([\w-]+\)=\s*$": "a MyST target: Colab shows it raw; headings are anchors already",
    r"^%\s": "a MyST comment: Colab shows it raw",
    r"\]\((?!https?://)[\w./-]+\.(ipynb|md|html)\b": "a file leads nowhere in Colab: link to the page's address",
}


def read(path: Path) -> dict:
    """Read a notebook as plain JSON."""
    return json.loads(path.read_text("utf-8"))


def source(cell: dict) -> str:
    """A cell's text, whether it is stored as one string or as lines."""
    return cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """A cell's tags."""
    return cell["metadata"].get("tags", [])


def python_of(notebook: dict) -> str:
    """All code of a notebook as one piece of Python, magic lines left out."""
    cells = [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join(cells).splitlines()
    return "\n".join(re.sub(r"^(\s*)[!%].*", r"\1pass", line) for line in lines)


def stated_seconds(notebook: dict) -> int | None:
    """How long a notebook says that it takes on two CPU cores, or None if it does not say."""
    found = TAKES.search(source(notebook["cells"][0])) if notebook["cells"] else None
    return int(found[1]) * (60 if found[2] == "minute" else 1) if found else None


def stripped(notebook: dict) -> dict:
    """The form that is committed: no outputs, counts or stray metadata, sources as lines, keys in order."""
    cells = []
    for cell in notebook["cells"]:
        metadata = {key: value for key, value in cell["metadata"].items() if key in KEPT}
        lines = source(cell).strip("\n").splitlines(keepends=True)
        bare = {
            "cell_type": cell["cell_type"],
            "id": cell.get("id", ""),
            "metadata": metadata,
            "source": lines,
        }
        if cell["cell_type"] == "code":
            bare |= {"execution_count": None, "outputs": []}
        cells.append(dict(sorted(bare.items())))
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def written(notebook: dict) -> str:
    """A notebook as the text of its file."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def problems(path: Path) -> list[str]:
    """Say what in a notebook breaks a rule, one sentence a problem; an empty list is a good notebook."""
    text = path.read_text("utf-8")
    notebook = json.loads(text)
    found = list(_file_problems(notebook, path.stem))
    for index, cell in enumerate(notebook["cells"]):
        where = f"cell {index + 1} ({cell.get('id', 'no id')})"
        check = _code_problems if cell["cell_type"] == "code" else _markdown_problems
        found += [f"{where}: {problem}" for problem in check(cell)]
    if not found and text != written(stripped(notebook)):
        found.append("not in the committed form: run `make strip`")
    return found


def _file_problems(notebook: dict, chapter: str) -> Iterator[str]:
    cells = notebook["cells"]
    if (notebook["nbformat"], notebook["nbformat_minor"]) != (4, 5):
        yield "nbformat must be 4.5"
    if not re.fullmatch(r"\d\d_[a-z0-9_]+", chapter):
        yield f"the file name {chapter!r} must look like 01_crops"
    if [cell["cell_type"] for cell in cells[:2]] != ["markdown", "code"]:
        yield "cell 1 must be Markdown with the title, cell 2 the set-up"
        return
    headings = [
        line for cell in cells if cell["cell_type"] == "markdown" for line in _headings(source(cell), 1)
    ]
    if len(headings) != 1 or not source(cells[0]).startswith("# "):
        yield f"there must be one `# heading`, at the top of cell 1; found {len(headings)}"
    if stated_seconds(notebook) is None:
        yield "cell 1 must say what it needs and that it takes `about N seconds on two CPU cores`"
    if source(cells[1]) != SETUP.format(release=release_in_config(), chapter=chapter):
        yield "cell 2 must be the set-up cell word for word: run `make address`"
    if cells[1]["metadata"] != SETUP_METADATA:
        yield f"the metadata of cell 2 must be {json.dumps(SETUP_METADATA)}"
    ids = [cell.get("id", "") for cell in cells]
    if len(set(ids)) < len(ids):
        yield f"cell ids must be unique: {sorted({one for one in ids if ids.count(one) > 1})}"
    for before, cell in pairwise(cells):
        if cell["cell_type"] == "code" and before["cell_type"] == "code":
            yield f"cell {cell.get('id')}: prose must stand before each code cell"


def _headings(text: str, level: int) -> list[str]:
    prose = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(rf"^#{{{level}}} .*", prose, flags=re.MULTILINE)


def _id_problems(cell: dict) -> Iterator[str]:
    name = cell.get("id", "")
    if not SLUG.fullmatch(name) or len(name) > 40 or re.fullmatch(r"[0-9a-f]{8}(-.*)?", name):
        yield "the id must be a short slug that says what the cell does, such as draw-boxes"
    stray = set(cell["metadata"]) - set(KEPT)
    if stray:
        yield f"stray metadata {sorted(stray)}: run `make strip`"


def _markdown_problems(cell: dict) -> Iterator[str]:
    yield from _id_problems(cell)
    prose = re.sub(r"^(```|~~~)(?!\{)[^\n]*\n.*?^\1", "", source(cell), flags=re.DOTALL | re.MULTILINE)
    for pattern, why in BANNED_MARKDOWN.items():
        if re.search(pattern, prose, flags=re.MULTILINE):
            yield why


def _code_problems(cell: dict) -> Iterator[str]:
    yield from _id_problems(cell)
    code = source(cell)
    if cell["outputs"] or cell["execution_count"] is not None:
        yield "outputs are not committed: run `make strip`"
    lines = code.splitlines()
    if len(lines) > MAX_LINES:
        yield f"{len(lines)} lines, at most {MAX_LINES}: split it, or move code into the package"
    elif len(lines) > MAX_VISIBLE and not FOLDED & set(tags(cell)):
        yield (
            f"{len(lines)} lines in sight, at most {MAX_VISIBLE}: split it, or fold it with the tag hide-input "
            "if it is not the idea itself"
        )
    if not lines:
        yield "the cell is empty"
    if "set-up" not in tags(cell):
        yield from (
            why for pattern, why in BANNED_CODE.items() if re.search(pattern, code, flags=re.MULTILINE)
        )
        if max(map(len, lines), default=0) > MAX_WIDTH:
            yield f"a line is longer than {MAX_WIDTH} characters and would scroll on the page"
    yield from _figure_problems(cell)
    yield from _exercise_problems(cell, code)


def _figure_problems(cell: dict) -> Iterator[str]:
    options = cell["metadata"].get("mystnb", {})
    alt = options.get("image", {}).get("alt", "")
    caption, name = (options.get("figure", {}).get(key, "") for key in ("caption", "name"))
    if not options:  # whether it draws a figure all the same is seen when the book is built
        return
    if len(alt) < 30:
        yield "mystnb.image.alt must describe the figure to someone who cannot see it (30 characters or more)"
    if not caption or caption.strip() == alt.strip():
        yield "mystnb.figure.caption must be there and must not repeat the alt text"
    if not re.fullmatch(r"fig-[a-z0-9-]+", name):
        yield "mystnb.figure.name must be a slug that begins with fig-"


def _exercise_problems(cell: dict, code: str) -> Iterator[str]:
    if {"exercise", "solution"} & set(tags(cell)) and not re.search(
        r"\bcheck\([\"']\w+\.\w+[\"'], \w+\)", code
    ):
        yield 'an exercise or solution cell must end with check("chapter.name", function)'
    if "solution" in tags(cell):
        folded = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["hide-cell", "solution"]}
        if cell["metadata"] != folded or not code.startswith("# @title Solution"):
            yield f"a solution is folded: metadata {json.dumps(folded)} and first line `# @title Solution`"


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["strip", "check"])
    parser.add_argument("files", nargs="*", type=Path)
    arguments = parser.parse_args()
    n_problems = 0
    for path in arguments.files or sorted(FOLDER.glob("*.ipynb")):
        if arguments.action == "strip":
            path.write_text(written(stripped(read(path))), "utf-8")
        for problem in problems(path) if arguments.action == "check" else []:
            print(f"{path}: {problem}")
            n_problems += 1
    return int(n_problems > 0)


if __name__ == "__main__":
    sys.exit(main())
