"""The same widgets in JupyterLab: they load, the keyboard reaches them, and Python sees what was chosen."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHOW_ALL = """\
from IPython.display import display
import synthetic
from dinov2_edu.plots.style import figure
from dinov2_edu.widgets import crops, ema, learns, losses, masks
photo = synthetic.photo(0)
control = ema.EmaWidget(still=figure()[0], alt="a still figure")
display(control, crops.CropsWidget(photo), masks.MasksWidget(photo), losses.LossesWidget())
display(learns.LearnsWidget(preset="quick"))
for name in ("attention", "prototypes", "runs", "mistakes", "your_picture"):
    display(getattr(synthetic, f"{name}_widget")())"""
READ_BACK = "control.momentum, round(control.lag)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[str]:
    """The address of the notebook in a JupyterLab of its own."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(source) for source in (SHOW_ALL, READ_BACK)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "all.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = (
        f"--no-browser --allow-root --port={port} --IdentityProvider.token= --ServerApp.root_dir={folder}"
    )
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    command = [sys.executable, "-m", "jupyterlab", *options.split()]
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        else:
            pytest.fail((folder / "lab.log").read_text())
        yield f"{address}/lab/tree/all.ipynb"
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture
def notebook(chromium: Browser, lab: str) -> Iterator[Page]:
    """The notebook after all of its cells have run."""
    context = chromium.new_context(viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(lab)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run").first.click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(
        "document.querySelectorAll('.dv2-readout:not(:empty)').length === 10", timeout=120_000
    )
    yield page
    context.close()
    assert not complaints, complaints


def test_widgets_work_in_jupyterlab(notebook):
    momentum = notebook.locator('[data-key="momentum"]')
    momentum.focus()
    notebook.keyboard.press("ArrowRight")  # JupyterLab wants this key for itself
    notebook.get_by_text("At step 600 the momentum is 0.99.").wait_for(timeout=10_000)
    assert not notebook.locator(".dv2-still").is_visible()

    notebook.get_by_role("group", name="A small DINOv2").get_by_role("button", name="One step").click()
    notebook.get_by_text("Step 1 of 700, paused: k-NN").wait_for(timeout=120_000)

    notebook.locator(".jp-CodeCell .cm-content").last.click()
    notebook.keyboard.press("Control+Enter")
    notebook.get_by_text("(0.99, ").wait_for(timeout=20_000)

    notebook.get_by_role("button", name="Load the model").click()  # the kernel hands the weights over
    notebook.get_by_text("by trained weights").wait_for(timeout=60_000)

    theme = "document.body.dataset.jpThemeLight = 'false'"
    notebook.evaluate(theme)
    notebook.wait_for_function("document.querySelector('.dv2').dataset.dv2Theme === 'dark'", timeout=5_000)
