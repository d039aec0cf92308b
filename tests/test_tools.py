"""The commands that keep the project in shape: the address, the exact versions, the report of a build."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import address, build_book, constraints, environment

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path):
    """A copy of all that a fork has, but for weights and pictures."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file() and (ROOT / name).stat().st_size < 500_000:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def move(project, new):
    """Change the address in _config.yml; return the one before."""
    old = address.slug_in_config(project)
    address.move(f"https://github.com/{new}", project)
    assert address.slug_in_config(project) == new
    return old


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "url", ["someone/book", "https://gitlab.com/a/b", "https://github.com/a", "https://github.com/a/b/c"]
)
def test_an_address_that_is_none_on_github_is_refused(project, url, monkeypatch, capsys):
    before = (project / "_config.yml").read_text("utf-8")
    with pytest.raises(ValueError, match="wanted an address like https"):
        address.move(url, project)
    assert (project / "_config.yml").read_text("utf-8") == before
    monkeypatch.setattr(address.sys, "argv", ["address", url])
    assert address.main() == 2 and "wanted an address" in capsys.readouterr().err


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
    move(project, "Someone/their-book")
    changed = address.spread(project)
    assert {path.name for path in changed} >= {
        "pyproject.toml",
        "README.md",
        "CITATION.cff",
        "01_crops.ipynb",
    }
    everything = "".join(path.read_text("utf-8") for path in address.text_files(project))
    assert "https://someone.github.io/their-book/" in everything
    assert address.spread(project) == []


def test_a_fork_moves_with_one_command(project):
    """As whoever forks it does: the command, then the two checks that lint would run."""
    old = address.slug_in_config(project)
    here = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words):
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, cwd=project, env=here, capture_output=True, text=True, check=False)

    moved = run("tools.address", "https://github.com/Someone/their-book")
    assert moved.returncode == 0 and "rewritten: README.md" in moved.stdout, moved.stderr
    for check in (["tools.address", "--check"], ["tools.notebooks", "check"]):
        assert (done := run(*check)).returncode == 0, done.stdout + done.stderr
    left = re.compile(rf"github\.com/{old}(?![\w-])|{address.pages(old)}(?![\w-])")
    for path in project.rglob("*"):
        if path.is_file() and path.suffix not in (".png", ".safetensors", ".npz", ".jpg"):
            found = left.search(path.read_text("utf-8", errors="ignore"))
            assert not found, (path, found)


def test_a_new_release_reaches_all_that_installs_or_opens_one(project):
    version = project / "dinov2_edu" / "__init__.py"
    version.write_text(version.read_text("utf-8").replace(address.tag(project)[1:], "9.8.7"), "utf-8")
    assert address.spread(project, write=False)
    address.spread(project)
    slug = address.slug_in_config(project)
    for path in (project / "notebooks").glob("*.ipynb"):
        assert f"git+https://github.com/{slug}@v9.8.7" in path.read_text("utf-8")
    readme = (project / "README.md").read_text("utf-8")
    assert f'pip install "dinov2-edu @ git+https://github.com/{slug}@v9.8.7"' in readme
    assert f"colab.research.google.com/github/{slug}/blob/v9.8.7/notebooks/" in readme
    assert "@v0." not in readme and "/blob/main/" not in readme
    assert address.spread(project) == []


def test_a_release_goes_with_a_new_address(project):
    move(project, "someone/else")
    address.spread(project)
    assert f"git+https://github.com/someone/else@{address.tag()}" in (project / "README.md").read_text(
        "utf-8"
    )
    assert address.spread(project) == []


def test_on_pypi_every_link_of_the_readme_leads_somewhere(project):
    before = (project / "README.md").read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", before)
    assert len(links) >= 4 and all((project / link).exists() for link in links)
    command = [sys.executable, "-m", "tools.address", "--pypi"]
    subprocess.run(command, cwd=project, check=True, env=os.environ | {"PYTHONPATH": ""})
    text = (project / "README.md").read_text("utf-8")
    slug, release = address.slug_in_config(), address.tag()
    assert re.findall(r"\]\((?!https?:|#)", text) == []
    for link in links:
        place = f"https://github.com/{slug}/blob/{release}/{link}"
        if link.endswith(".svg"):
            place = f"https://{address.pages(slug)}/_static/images/hero.svg"
        assert f"]({place})" in text
    assert address.spread(project, write=False) == []


def test_the_readme_names_what_setting_up_takes():
    text = (ROOT / "README.md").read_text("utf-8")
    before_the_commands = " ".join(text.partition("git clone")[0].split())
    (keep, fetch), (small, less) = (environment.needed_gb(cpu, "Linux") for cpu in (False, True))
    assert f"fetches {fetch} GB and takes {keep} GB" in before_the_commands
    assert f"{round(keep - small, 1)} of it a GPU's libraries" in before_the_commands
    assert f"({less} GB to fetch, {small} GB on the disk)" in before_the_commands


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


def test_a_package_without_version_is_refused(tmp_path):
    (tmp_path / "dinov2_edu").mkdir()
    (tmp_path / "dinov2_edu" / "__init__.py").write_text("version = 1\n")
    with pytest.raises(ValueError, match=r'__version__ = "1\.2\.3"'):
        address.tag(tmp_path)


def uses():
    """Every action that a workflow uses, as it stands there."""
    files = [path for kind in ("yml", "yaml") for path in (ROOT / ".github").rglob(f"*.{kind}")]
    return [
        line for path in files for line in re.findall(r"^[\s-]*uses: *(.*)$", path.read_text("utf-8"), re.M)
    ]


def test_every_action_is_pinned_to_a_commit_whose_version_is_named():
    assert len(uses()) >= 8
    assert [
        line for line in uses() if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)
    ] == []


def test_an_action_is_pinned_to_one_commit_everywhere():
    pins = {line.split("@")[0]: set() for line in uses()}
    for line in uses():
        pins[line.split("@")[0]].add(line)
    assert [lines for lines in pins.values() if len(lines) > 1] == []


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
