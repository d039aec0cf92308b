"""The commands that keep the project in shape: the address, the exact versions, the report of a build."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import address, build_book, constraints

ROOT = Path(__file__).parents[1]
NAMING = ("_config.yml", "pyproject.toml", "README.md", "CITATION.cff", "CONTRIBUTING.md")


@pytest.fixture
def project(tmp_path):
    """A copy of the files that name the repository's address."""
    for name in NAMING:
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    return tmp_path


def move(project, new):
    """Change the address in _config.yml, as an owner would."""
    config = project / "_config.yml"
    old = address.slug_in_config(project)
    config.write_text(config.read_text("utf-8").replace(f"github.com/{old}", f"github.com/{new}"), "utf-8")
    return old


def test_every_file_names_the_address_of_the_config():
    assert address.slug_in_config() == address.slug_spread_last()
    slug = address.slug_in_config()
    assert f"https://github.com/{slug}" in (ROOT / "README.md").read_text("utf-8")
    assert address.pages(slug) in (ROOT / "README.md").read_text("utf-8")
    assert f"https://github.com/{slug}" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_the_config_names_the_address_once():
    slug = address.slug_in_config()
    assert (ROOT / "_config.yml").read_text("utf-8").lower().count(slug.lower()) == 1


def test_a_new_address_reaches_every_file(project):
    old = move(project, "Someone/their-book")
    changed = address.spread(project)
    assert {path.name for path in changed} >= {
        "pyproject.toml",
        "README.md",
        "CITATION.cff",
        "01_crops.ipynb",
    }
    everything = "".join(path.read_text("utf-8") for path in address.text_files(project))
    assert f"github.com/{old}" not in everything and address.pages(old) not in everything
    assert "https://someone.github.io/their-book/" in everything
    assert address.spread(project) == []


def test_other_addresses_stay(project):
    page = project / "faq.md"
    text = "https://github.com/facebookresearch/dinov2 https://github.com/inside-dinov2/inside-dinov2-data"
    page.write_text(text, "utf-8")
    move(project, "someone/else")
    address.spread(project)
    assert page.read_text("utf-8") == text


def test_checking_changes_nothing(project):
    move(project, "someone/else")
    before = {path: path.read_text("utf-8") for path in address.text_files(project)}
    assert address.spread(project, write=False)
    assert before == {path: path.read_text("utf-8") for path in address.text_files(project)}


@pytest.mark.parametrize("text", ["title: x\n", "repository:\n  url: https://example.org/a/b\n"])
def test_a_config_without_address_is_refused(tmp_path, text):
    (tmp_path / "_config.yml").write_text(text)
    with pytest.raises(ValueError, match=r"url: https://github\.com/OWNER/REPO"):
        address.slug_in_config(tmp_path)


def test_constraints_leave_out_what_torch_brings_on_linux():
    resolved = (
        "numpy==2.2.6 ; python_full_version < '3.11'\nnvidia-cublas==13.4\ncuda-toolkit==13.2\ntriton==3.9\n"
    )
    text = constraints.renewed(resolved)
    assert text.splitlines()[2:] == ["numpy==2.2.6 ; python_full_version < '3.11'"]


def test_constraints_hold_every_package_that_is_asked_for():
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    asked = (ROOT / "requirements.txt").read_text("utf-8") + (ROOT / "pyproject.toml").read_text("utf-8")
    names = re.findall(r'^(?:    ")?([a-z][\w-]+)>=', asked, re.MULTILINE)
    assert len(names) >= 20 and set(names) <= pinned


@pytest.mark.parametrize("command", ["address --check", "notebooks --help"])
def test_a_command_starts(command):
    done = subprocess.run([sys.executable, "-m", *f"tools.{command}".split()], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_the_report_marks_a_notebook_that_states_another_time(tmp_path, monkeypatch):
    monkeypatch.setattr(build_book, "FOLDER", tmp_path)
    for name, seconds in {"01_a": 20, "02_b": 20, "03_c": 20}.items():
        text = f'{{"cells": [{{"source": "about {seconds} seconds on two CPU cores"}}]}}'
        (tmp_path / f"{name}.ipynb").write_text(text)
    rows = build_book.report({"01_a.ipynb": 25.0, "02_b.ipynb": 90.0}).splitlines()
    assert "another time" not in rows[1] and "another time" in rows[2] and "no run" in rows[3]
    assert "115.0s" in rows[4]
