"""Cells that need Python: what a kernel answers, what a page keeps, and that each chapter has one."""

import io
import re

import nbformat
import numpy as np
import pytest
from jupyter_client.manager import run_kernel
from nbclient import NotebookClient
from PIL import Image

from dinov2_edu.pictures import PictureError
from dinov2_edu.widgets.crops import CropsWidget
from dinov2_edu.widgets.kernel import _picture, live
from dinov2_edu.widgets.masks import MasksWidget
from tools.notebooks import FOLDER, read, source, tags

CHAPTERS = sorted(FOLDER.glob("[01]*_*.ipynb"))
PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


def printed(capsys):
    """What was printed since, without what clears a terminal."""
    return re.sub(r"\x1b\[2K\r", "", capsys.readouterr().out)


def controls_of(box):
    """The controls of a live cell, by what is written beside them."""
    return {control.description: control for control in box.children[:-1]}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_each_chapter_has_one_such_cell_with_a_still_and_words(path):
    cells = read(path)["cells"]
    (at,) = [i for i, cell in enumerate(cells) if "needs-python" in tags(cell)]
    assert [i for i, cell in enumerate(cells) if "live(" in source(cell).replace("live(here", "")] == [at]
    assert "hide-input" in tags(cells[at])
    assert cells[at]["metadata"]["mystnb"]["figure"]["name"].endswith(
        "-live"
    )  # rules ask for caption and alt
    assert "needs Python" in source(cells[at - 1]) and "Colab" in source(cells[at - 1])


def test_a_moved_control_calls_the_function(capsys):
    def show(n=3, kind="a", on=True):
        print(n, kind, on)

    controls = controls_of(live(show, n=(0, 10), kind=["a", "b"], on=True))
    assert printed(capsys) == "3 a True\n"
    controls["n"].value = 5
    controls["kind"].value = "b"
    assert printed(capsys) == "5 a True\n5 b True\n"
    assert not controls["n"].continuous_update and controls["n"].readout


def test_an_argument_without_a_control_keeps_its_default(capsys):
    live(lambda n=1, fixed=7: print(n, fixed), n=(0, 3))
    assert printed(capsys) == "1 7\n"


def test_the_pages_control_and_these_move_together(capsys):
    page = MasksWidget(PHOTO, ratio=0.4)

    def show(ratio=0.3, own=2):
        print(ratio, own)

    controls = controls_of(live(show, page, ratio=(0.0, 1.0, 0.05), own=(0, 5)))
    assert controls["ratio"].value == 0.4, "the page's control is where the reader left it"
    page.ratio = 0.2
    assert controls["ratio"].value == 0.2
    assert printed(capsys).splitlines()[-1] == "0.2 2"
    controls["ratio"].value = 0.6
    assert page.ratio == 0.6


def test_what_has_no_control_of_its_own_follows_the_pages_and_a_photo_is_never_shared(capsys):
    page = MasksWidget(PHOTO, smallest=9)

    def show(photo=None, ratio=0.3, **rest):
        print(photo.size, ratio, rest)

    box = live(show, page, photo=PHOTO, ratio=(0.0, 1.0, 0.05), smallest=None)
    assert len(box.children) == 3  # a button, a slider, the answer
    page.smallest = 5
    assert printed(capsys).splitlines()[-1] == "(40, 30) 0.3 {'smallest': 5}"


def test_two_thumbs_share_a_pair():
    page = CropsWidget(PHOTO)

    def show(local_scale=(0.05, 0.32)):
        seen.append(local_scale)

    seen = []
    slider = controls_of(live(show, page, local_scale=(0.0, 1.0, 0.01)))["local scale"]
    page.local_scale = [0.1, 0.2]
    assert slider.value == (0.1, 0.2) == seen[-1]
    slider.value = (0.15, 0.5)
    assert page.local_scale == [0.15, 0.5]


def test_what_goes_wrong_is_one_line_and_the_cell_goes_on(capsys):
    def show(n=0):
        print(10 // n)

    control = controls_of(live(show, n=(0, 5)))["n"]
    assert printed(capsys).startswith("No answer for these values. ZeroDivisionError: ")
    control.value = 5
    assert printed(capsys) == "2\n"


@pytest.mark.parametrize("kind", [7, 8])
def test_a_picture_of_the_readers_own_is_read_in_both_versions(kind):
    file = io.BytesIO()
    PHOTO.save(file, "PNG")
    content = {"content": file.getvalue() if kind == 7 else memoryview(file.getvalue())}
    value = {"me.png": content} if kind == 7 else (content,)
    np.testing.assert_array_equal(_picture(value, Image.new("RGB", (2, 2))), PHOTO)
    assert _picture(type(value)(), PHOTO) is PHOTO
    with pytest.raises(PictureError):
        _picture(({"content": b"hello"},), PHOTO)


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(ValueError, match=r"has no argument 'm', only n"):
        live(lambda n=1: n, m=(0, 3))
    with pytest.raises(ValueError, match="n: give it a default"):
        live(lambda n: n, n=(0, 3))
    with pytest.raises(ValueError, match=r"n: wanted a range, .* got <object"):
        live(lambda n=1: n, n=object())


BOX = "from dinov2_edu.widgets.kernel import live\nbox = live(lambda n=1: print('n is', n), n=(0, 9))\nbox"


def test_with_a_reader_there_are_controls_and_an_answer_below():
    """As JupyterLab and Colab execute a cell: with somebody to be asked."""
    with run_kernel() as client:
        said = []

        def run(code):
            client.execute_interactive(code, allow_stdin=True, timeout=120, output_hook=said.append)

        run(BOX)
        run("box.children[0].value = 4")
    # ipywidgets 7 displays a control itself, 8 leaves it to the cell's result.
    shown = [one["content"]["data"] for one in said if one["msg_type"] in ("execute_result", "display_data")]
    assert sum("application/vnd.jupyter.widget-view+json" in data for data in shown) == 1
    texts = [one["content"]["text"] for one in said if one["msg_type"] == "stream"]
    assert "n is 1\n" in texts and texts[-1] == "n is 4\n"
    assert any(one["msg_type"] == "clear_output" for one in said)


def test_where_nobody_watches_the_function_is_called_once_and_no_control_is_made():
    """As the build of the book, nbconvert and papermill do."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(BOX)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    assert [one.get("text") for one in notebook.cells[0].outputs] == ["n is 1\n"]
    assert "widgets" not in notebook.metadata
