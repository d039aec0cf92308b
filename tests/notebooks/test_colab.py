"""Notebooks run in Colab's conditions: an empty folder, `google.colab` there, the package not yet.

`make colab` runs all of them in the versions that Colab ships; `make test` runs three, other ones every day, with
the libraries of the one that runs the tests. The machine is a virtual environment that sees those libraries, but not
the package. Its `pip` is a stand-in: it writes down what it was asked for and gives a wheel that was built from the
checkout in place of the release: to the real pip under Colab's versions, else it unpacks it.
"""

import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from packaging.requirements import Requirement

from tools import colab
from tools.address import release_in_config
from tools.notebooks import FOLDER

pytestmark = [  # one machine for all
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.xdist_group("colab"),
]

ROOT = Path(__file__).parents[2]
PACKAGE = "dinov2_edu"
CELL_SECONDS = 900
COLAB = colab.environment() if os.environ.get("COLAB") else None
if os.environ.get("COLAB") and not COLAB:
    raise RuntimeError(
        "Colab's versions are not installed: run `python -m tools.colab` first, or `make colab`"
    )
NEW_ON_COLAB = {"dinov2-edu", "jaxtyping", "wadler-lindig"}
CHAPTERS = sorted(FOLDER.glob("*.ipynb"))
if not COLAB:
    first = 3 * datetime.date.today().toordinal()
    CHAPTERS = sorted({CHAPTERS[(first + i) % len(CHAPTERS)] for i in range(3)})
PIP = """\
import json, subprocess, sys, zipfile
json.dump(sys.argv[1:], open({asked!r}, "w"))
if {colab!r}:
    command = [{colab!r}, "-m", "pip", "--python", {python!r}, "install", "--quiet", {wheel!r}]
    sys.exit(subprocess.run(command).returncode)
zipfile.ZipFile({wheel!r}).extractall({target!r})
"""
OUTPUT = """\
class _widgets:
    _installed_url = "https://ssl.gstatic.com/colaboratory/manager.js"
def enable_custom_widget_manager(): ...
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
        base = COLAB or Path(sys.executable)
        subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
        self.packages = next((folder / "lib").glob("python*")) / "site-packages"
        self.asked = folder / "asked.json"
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        shared = subprocess.run([base, "-c", where], check=True, stdout=subprocess.PIPE, text=True).stdout
        # Python reads .pth files when it starts, but not those of the folder that this one names; and one of
        # those makes the checkout importable.
        (self.packages / "shared.pth").write_text(shared)
        (self.packages / "zz_colab.pth").write_text("import google.colab.output")
        self._write("google/colab/__init__.py", "")
        self._write("google/colab/output.py", OUTPUT)
        python, target = folder / "bin" / "python", self.packages
        known = {
            "asked": self.asked,
            "colab": COLAB or "",
            "python": python,
            "target": target,
            "wheel": wheel,
        }
        self._write("pip/__init__.py", "")
        self._write("pip/__main__.py", PIP.format(**{name: str(value) for name, value in known.items()}))
        kernel = {"display_name": "Colab", "language": "python", "env": {"PYTHONPATH": ""}}
        kernel["argv"] = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self.jupyter = folder / "jupyter"
        (self.jupyter / "kernels" / "colab").mkdir(parents=True)
        (self.jupyter / "kernels" / "colab" / "kernel.json").write_text(json.dumps(kernel))

    def _write(self, name: str, text: str) -> None:
        path = self.packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def reset(self) -> None:
        """Take the package away again."""
        for folder in self.packages.glob(f"{PACKAGE}*"):
            shutil.rmtree(folder)
        self.asked.unlink(missing_ok=True)

    def installed(self) -> set[str]:
        """The packages that pip added or put in the place of those that Colab ships."""
        found = self.packages.glob("*.dist-info")
        return {folder.name.split("-")[0].replace("_", "-").lower() for folder in found}

    def run(self, notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
        """Run a notebook in a folder; an error in a cell is raised."""
        os.environ["JUPYTER_PATH"] = str(self.jupyter)
        client = NotebookClient(
            notebook, kernel_name="colab", timeout=CELL_SECONDS, resources={"metadata": {"path": str(folder)}}
        )
        # side by side, two runs of two threads each would wait for one another most of the time
        one = {"OMP_NUM_THREADS": "1"} if "PYTEST_XDIST_WORKER" in os.environ else {}
        return client.execute(env=os.environ | one)


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
    found = hashlib.sha256(notebook + str(COLAB and colab.versions()).encode())
    for name in sorted(contents):
        found.update(name.encode() + contents[name])
    for name in sorted(key for key in os.environ if key.startswith("DINOV2_EDU_")):
        found.update(f"{name}={os.environ[name]}".encode())
    return found.hexdigest()


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
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
    assert asked == ["install", "--quiet", f"dinov2-edu @ {release_in_config()}"]
    said = "".join(output.text for output in done.cells[-1].outputs)  # a busy machine sends it in pieces
    assert said.startswith(f"True {machine.packages}")
    assert list(tmp_path.iterdir()) == []
    assert machine.installed() == (NEW_ON_COLAB if COLAB else {"dinov2-edu"})
    pytestconfig.cache.set(key, known)


@pytest.mark.skipif(not COLAB, reason="Colab's versions are not installed: `make colab` installs them")
def test_official_numbers_hold_in_colabs_versions(tmp_path):
    """A loss whose gradient an older torch gets wrong still runs in a chapter; the official numbers tell."""
    extra = tmp_path / "extra"
    into = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", COLAB, "--target", extra]
    subprocess.run([*into, "pytest", "pytest-timeout", "beartype", "jaxtyping"], check=True)
    files = [path for path in sorted((ROOT / "tests").glob("test_*.py")) if "mark.golden" in path.read_text()]
    command = [COLAB, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "golden and not slow", *files]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{extra}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0 and re.search(r"^\d\d+ passed", done.stdout, re.M), done.stdout + done.stderr


def test_the_wheel_holds_every_file_of_the_package(contents):
    there = {name for name in contents if name.startswith(f"{PACKAGE}/")}
    wanted = {
        str(path.relative_to(ROOT))
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert there == wanted


def test_colab_keeps_its_versions(contents):
    metadata = next(text for name, text in contents.items() if name.endswith(".dist-info/METADATA"))
    needs = [Requirement(need) for need in Parser().parsestr(metadata.decode()).get_all("Requires-Dist")]
    needs = [need for need in needs if not need.marker]
    shipped = colab.versions()
    replaced = [need for need in needs if need.name in shipped and shipped[need.name] not in need.specifier]
    assert len(needs) >= 10 and not replaced
    assert {need.name for need in needs} - set(shipped) <= NEW_ON_COLAB
    assert not [need for need in needs if re.search("<|==|~=", str(need.specifier))]
