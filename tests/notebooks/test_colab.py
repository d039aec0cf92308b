"""Every notebook runs in Colab's conditions: an empty folder, `google.colab` there, the package not yet.

The machine is a virtual environment that sees the libraries of the one that runs the tests, but not the
package. Its `pip` is a stand-in: it writes down what it was asked for and unpacks a wheel that was built from
the checkout.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tools.address import slug_in_config
from tools.notebooks import FOLDER

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGE = "dinov2_edu"
CELL_SECONDS = 900
PIP = """\
import json, sys, zipfile
json.dump(sys.argv[1:], open({asked!r}, "w"))
zipfile.ZipFile({wheel!r}).extractall({target!r})
"""
LAST_CELL = f"import {PACKAGE}, sys; print('torch' in sys.modules, {PACKAGE}.__file__)"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """A wheel of the package as it stands, built from a copy so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / PACKAGE, source / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source]
    subprocess.run(command, check=True, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def contents(wheel):
    """What the wheel holds: name to bytes."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class Machine:
    """A virtual environment that looks like Colab to a notebook, and the kernel that runs in it."""

    def __init__(self, folder: Path, wheel: Path):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.packages = next((folder / "lib").glob("python*")) / "site-packages"
        self.asked = folder / "asked.json"
        # Python reads .pth files when it starts, but not those of the folder that this one names; and one of
        # those makes the checkout importable.
        (self.packages / "shared.pth").write_text(sysconfig.get_path("purelib"))
        (self.packages / "zz_colab.pth").write_text("import google.colab")
        self._write("google/colab/__init__.py", "")
        script = PIP.format(asked=str(self.asked), wheel=str(wheel), target=str(self.packages))
        self._write("pip/__init__.py", "")
        self._write("pip/__main__.py", script)
        kernel = {"display_name": "Colab", "language": "python", "env": {"PYTHONPATH": ""}}
        kernel["argv"] = [
            str(folder / "bin" / "python"),
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
        ]
        self.jupyter = folder / "jupyter"
        (self.jupyter / "kernels" / "colab").mkdir(parents=True)
        (self.jupyter / "kernels" / "colab" / "kernel.json").write_text(json.dumps(kernel))

    def _write(self, name: str, text: str) -> None:
        path = self.packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def reset(self) -> None:
        """Take the package away again."""
        shutil.rmtree(self.packages / PACKAGE, ignore_errors=True)
        self.asked.unlink(missing_ok=True)

    def run(self, notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
        """Run a notebook in a folder; an error in a cell is raised."""
        os.environ["JUPYTER_PATH"] = str(self.jupyter)
        client = NotebookClient(
            notebook, kernel_name="colab", timeout=CELL_SECONDS, resources={"metadata": {"path": str(folder)}}
        )
        return client.execute()


@pytest.fixture(scope="session")
def machine(tmp_path_factory, wheel):
    """One machine for all notebooks."""
    before = os.environ.get("JUPYTER_PATH")
    yield Machine(tmp_path_factory.mktemp("colab") / "venv", wheel)
    os.environ.pop("JUPYTER_PATH", None)
    if before is not None:
        os.environ["JUPYTER_PATH"] = before


def digest(contents, notebook):
    """A hash of all that a run depends on: the wheel, the notebook, and the settings."""
    found = hashlib.sha256(notebook)
    for name in sorted(contents):
        found.update(name.encode() + contents[name])
    for name in sorted(key for key in os.environ if key.startswith("DINOV2_EDU_")):
        found.update(f"{name}={os.environ[name]}".encode())
    return found.hexdigest()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs_as_in_colab(path, machine, contents, tmp_path, pytestconfig):
    known = digest(contents, path.read_bytes())
    key = f"colab/{path.stem}"
    if pytestconfig.cache.get(key, None) == known:
        pytest.skip("passed before with this very wheel and notebook; --cache-clear runs it again")
    machine.reset()
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(LAST_CELL, id="where-from"))
    done = machine.run(notebook, tmp_path)
    asked = json.loads(machine.asked.read_text())
    assert asked == ["install", "--quiet", f"dinov2-edu @ git+https://github.com/{slug_in_config()}"]
    assert done.cells[-1].outputs[0].text.startswith(f"True {machine.packages}")
    assert list(tmp_path.iterdir()) == []
    pytestconfig.cache.set(key, known)


def test_the_wheel_holds_every_file_of_the_package(contents):
    there = {name for name in contents if name.startswith(f"{PACKAGE}/")}
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert there == wanted


def test_the_wheel_lets_colab_keep_its_torch(contents):
    metadata = next(text for name, text in contents.items() if name.endswith(".dist-info/METADATA"))
    needs = Parser().parsestr(metadata.decode()).get_all("Requires-Dist")
    plain = {need for need in needs if "extra ==" not in need}
    assert {"torch>=2.4", "torchvision>=0.19"} <= plain
    assert not [need for need in plain if "<" in need or "==" in need or "~=" in need]
