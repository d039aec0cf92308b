"""Imports in the package point down only, and heavy libraries stay where they belong."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tools.imports import PACKAGE, fingerprint, imported_names, imports_of_modules, needed_modules

SOURCE = Path(__file__).parents[1] / PACKAGE

FLOORS = (
    ("checks", "shapes", "palette", "files", "pictures", "numerics"),
    ("crops", "masking", "vit", "heads", "losses", "schedules", "ema"),
    ("training",),
    ("data", "weights", "features", "probe"),
    ("experiments",),
    ("plots", "widgets", "exercises", "notebook"),
)
"""The house, floor by floor: ground, parts, *learn it*, *use it*, commands, the book.

A room may import from every floor below its own and from rooms to its left on its own floor, with two walls: a part
imports no other part, and *use it* imports nothing of *learn it* (they are two towers, side by side).
"""

PARTS, LEARN, USE = FLOORS[1], FLOORS[2], FLOORS[3]

ONLY_FROM = {"plots": {"checks", "palette", "pictures"}, "dinov2": set()}
"""Rooms that may import no more than these: figures are drawn from arrays, and the one file stands alone."""

TOP = {"__main__": {"experiments"}}
"""Modules above the house, and what they may import."""


def floor(room: str) -> int:
    """The floor that a room lies on, from 0."""
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def allowed(source: str, target: str) -> bool:
    """Whether one room may import another."""
    if source in ONLY_FROM or source in TOP:
        return target in (ONLY_FROM | TOP)[source]
    if target not in ROOMS or (source in USE and target in LEARN):
        return False
    below = floor(target) < floor(source)
    left = floor(target) == floor(source) and source not in PARTS
    return below or (left and FLOORS[floor(source)].index(target) < FLOORS[floor(source)].index(source))


ROOMS = {room for rooms in FLOORS for room in rooms}


def unit(name: str) -> str:
    """The file or folder of the package that a name belongs to: `dinov2_edu.plots.style` -> `plots`."""
    return [*name.split("."), ""][1]


def breaches(imports: dict[str, Iterable[str]]) -> list[str]:
    """Every import within the package that the house forbids."""
    found = set()
    for module, names in imports.items():
        source = unit(module)
        targets = {unit(name) for name in names if name.startswith(f"{PACKAGE}.")}
        found |= {
            f"{source} imports {target}"
            for target in targets & (ROOMS | {"dinov2"})
            if source and target != source and not allowed(source, target)
        }
    return sorted(found)


def test_the_drawing_in_the_readme_is_the_house():
    text = (SOURCE.parent / "README.md").read_text("utf-8")
    drawing = text[text.index("the book       plots/") :]
    drawing = drawing[: drawing.index("```")]
    folders = {f"{room}/" if (SOURCE / room).is_dir() else room for room in ROOMS}
    rooms = [[word.strip("/") for word in line.split() if word in folders] for line in drawing.splitlines()]
    book, commands, towers, parts, ground, _ = (tuple(line) for line in rooms)
    assert (ground, parts, commands, book) == (FLOORS[0], PARTS, FLOORS[4], FLOORS[5])
    assert towers == (*LEARN, *USE)


def test_every_module_has_a_room():
    assert {unit(module) for module in imports_of_modules()} - {""} <= ROOMS | {"dinov2"} | set(TOP)


def test_imports_point_down():
    assert breaches(imports_of_modules()) == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("crops", "masking"),
        ("losses", "training.step"),
        ("weights", "features"),
        ("features", "plots"),
        ("plots", "crops"),
        ("vit", "widgets.crops"),
        ("features", "training"),
        ("training", "data"),
        ("crops", "vit"),
        ("files", "pictures"),
        ("widgets", "notebook"),
        ("dinov2", "vit"),
        ("training", "dinov2"),
    ],
)
def test_a_forbidden_import_is_seen(module, name):
    assert breaches({f"{PACKAGE}.{module}": {f"{PACKAGE}.{name}"}})


def test_the_package_itself_imports_nothing():
    assert imports_of_modules()[PACKAGE] == set()


@pytest.mark.parametrize("library", ["matplotlib", "IPython", "ipywidgets", "anywidget"])
def test_pictures_and_controls_stay_out_of_the_lower_floors(library):
    for module, names in imports_of_modules().items():
        if unit(module) in {*FLOORS[0], *PARTS, *LEARN, *USE, "dinov2"}:
            assert library not in {name.split(".")[0] for name in names}, module


@pytest.mark.parametrize("floor", ["plots", "widgets"])
def test_torch_stays_out_of_plots_and_widgets(floor):
    for module, names in imports_of_modules().items():
        if unit(module) == floor:
            assert "torch" not in {name.split(".")[0] for name in names}, module


def test_the_package_imports_without_torch_being_loaded():
    code = f"import sys, {PACKAGE}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_relative_imports_and_imports_inside_functions_are_read():
    code = "def f():\n    from . import step\n    from ..heads import ProjectionHead\nimport torch.nn as nn"
    names = imported_names(code, "dinov2_edu.training.loop")
    assert names == {
        "dinov2_edu.training",
        "dinov2_edu.training.step",
        "dinov2_edu.heads",
        "dinov2_edu.heads.ProjectionHead",
        "torch.nn",
    }
    assert "dinov2_edu.training.step" in imported_names(
        "from . import step", "dinov2_edu.training", is_package=True
    )


def make_package(root):
    """A package of three modules, of which `losses` imports `shapes` and nobody imports `vit`."""
    folder = root / PACKAGE
    folder.mkdir()
    for name, code in {
        "__init__": "",
        "shapes": "x = 1",
        "vit": "",
        "losses": "from .shapes import x",
    }.items():
        (folder / f"{name}.py").write_text(code)
    return folder


def test_needed_modules_follow_imports(tmp_path):
    make_package(tmp_path)
    needed = needed_modules({"dinov2_edu.losses", "dinov2_edu.losses.koleo_loss"}, tmp_path)
    assert needed == {"dinov2_edu", "dinov2_edu.losses", "dinov2_edu.shapes"}


def test_a_notebook_runs_again_only_when_what_it_uses_changed(tmp_path, monkeypatch):
    folder = make_package(tmp_path)
    code = "from dinov2_edu.losses import x"
    first = fingerprint(code, tmp_path)
    (folder / "vit.py").write_text("y = 2")
    assert fingerprint(code, tmp_path) == first
    (folder / "shapes.py").write_text("x = 3")
    second = fingerprint(code, tmp_path)
    assert second != first
    (folder / "assets").mkdir()
    (folder / "assets" / "book.json").write_text("{}")
    third = fingerprint(code, tmp_path)
    assert third != second
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", "elsewhere")
    assert fingerprint(code, tmp_path) != third
