"""`make setup`: what it refuses, what it heals, what it runs; and the Pythons that it finds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import environment, pythons
from tools.environment import Unfit

ROOT = Path(__file__).parents[1]
OLD = pythons.find(["3.9", "3.8", "3.7", "3.6"])


def script(path, text):
    """A program of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_python_is_found_that_runs_and_can_make_environments(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    script(tmp_path / "bin" / "python3.77", "exit 127")  # pyenv leaves such names
    script(tmp_path / "a" / "python3.77", "echo 3.76")
    good = script(tmp_path / "b" / "python3.77", "echo 3.77")
    folders = [str(tmp_path / "?")]
    assert pythons.find(["3.78", "3.77"], folders) == str(good)
    assert pythons.find(["3.77"], []) is None
    assert pythons.find(["{}.{}".format(*sys.version_info)], [str(Path(sys.base_prefix) / "bin")])


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (4, 0)])
def test_a_python_that_is_new_enough_is_taken(version):
    environment.check_python(version)


def test_an_old_python_is_told_a_command_that_works():
    with pytest.raises(Unfit, match=r"Python 3\.9 is too old.*make book PYTHON=/opt/python3\.12"):
        environment.check_python((3, 9), "book", lambda _: "/opt/python3.12")
    with pytest.raises(Unfit, match=r": /opt/python3\.12 -m tools\.environment$"):
        environment.check_python((3, 9), found=lambda _: "/opt/python3.12")
    with pytest.raises(Unfit, match=r"None was found.*sudo apt install.*uv python install.*run this again"):
        environment.check_python((2, 7), found=lambda _: None)


@pytest.mark.skipif(OLD is None, reason="there is no old Python on this machine")
def test_the_command_itself_speaks_on_an_old_python(tmp_path):
    done = subprocess.run(
        [OLD, "-m", "tools.environment"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "is too old, 3.10 or later is needed" in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
    command = re.search(r"PYTHON=(\S+)", done.stderr)
    if command and os.path.isabs(command[1]):
        code = "import sys; sys.exit(sys.version_info < (3, 10))"
        assert subprocess.run([command[1], "-c", code], check=False).returncode == 0


def test_a_disk_that_is_too_full_is_told_at_once():
    environment.check_disk(50.0, cpu=False)
    with pytest.raises(Unfit, match=r"^1\.0 GB are free under .*: python3 -m tools\.environment --cpu$"):
        environment.check_disk(1.0, cpu=False)
    with pytest.raises(Unfit, match=r": make book CPU=1$"):
        environment.check_disk(1.0, cpu=False, goal="book")
    with pytest.raises(Unfit, match=r"make room$"):
        environment.check_disk(1.0, cpu=True)
    environment.check_disk(0.1, cpu=True, have=environment.needed_gb(True)[0])  # all is there already


def test_a_gpus_libraries_are_most_of_it_on_linux_alone():
    assert sum(environment.needed_gb(False, "Linux")) > 2 * sum(environment.needed_gb(True, "Linux"))
    assert environment.needed_gb(False, "Darwin") == environment.needed_gb(True, "Darwin")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An environment that works."""
    folder = tmp_path_factory.mktemp("venvs") / "whole"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


def test_an_environment_that_works_has_no_fault(whole, tmp_path):
    assert environment.fault(whole) == "" and environment.fault(tmp_path / "none") == ""


@pytest.mark.parametrize("kind", ["no Python", "gone Python", "old Python", "no pip", "broken pip", "empty"])
def test_an_environment_that_failed_once_is_known_and_removed(tmp_path, kind):
    venv = tmp_path / "venv"
    if kind == "empty":
        venv.mkdir()
    else:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    python = venv / "bin" / "python"
    if kind in ("no Python", "gone Python", "old Python"):
        python.unlink()
    if kind == "gone Python":
        python.symlink_to(tmp_path / "gone")
    if kind == "old Python":
        script(python, "exit 1")
    if kind == "broken pip":
        pip = next((venv / "lib").glob("python*")) / "site-packages" / "pip"
        pip.mkdir()
        (pip / "__main__.py").write_text("import gone")
    assert ("pip" if "pip" in kind else "Python") in environment.fault(venv)
    environment.remove(venv)
    assert not venv.exists()


@pytest.mark.parametrize(("there", "runs"), [(False, [1, 0]), (True, [1, 0, 0]), (True, [0])])
def test_what_is_left_of_an_earlier_try_is_completed_or_made_anew(tmp_path, monkeypatch, capsys, there, runs):
    venv, done, answers = tmp_path / "venv", [], iter(runs)
    if there:
        venv.mkdir()
        (venv / "pyvenv.cfg").touch()
    monkeypatch.setattr(environment, "VENV", venv)
    monkeypatch.setattr(environment, "fault", lambda: "")
    monkeypatch.setattr(environment, "remove", lambda: (done.append("remove"), shutil.rmtree(venv)))
    monkeypatch.setattr(environment, "create", lambda goal: (done.append("create"), venv.mkdir()))
    monkeypatch.setattr(environment, "fill", lambda cpu: done.append("fill"))
    monkeypatch.setattr(environment, "_run", lambda command: next(answers))
    if not there:  # made just now, and still not fit
        with pytest.raises(Unfit, match="cannot be imported"):
            environment.make(cpu=False)
        assert done == ["create", "fill"]
        return
    environment.make(cpu=False)
    assert done == (["fill"] if runs == [0] else ["fill", "remove", "create", "fill"])
    assert ("made anew" in capsys.readouterr().out) == (runs != [0])


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [(Unfit("no room"), 1, "no room"), (KeyboardInterrupt(), 130, "the same command goes on")],
)
def test_a_set_up_that_ends_early_says_so_in_a_line(monkeypatch, capsys, error, status, said):
    def stop(cpu, goal):
        raise error

    monkeypatch.setattr(environment, "make", stop)
    assert environment.main([]) == status
    assert said in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("runs", [True, False])
def test_make_sets_up_anew_what_no_longer_runs(tmp_path, runs):
    for name in ("locked.txt", "requirements.txt", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    script(tmp_path / ".venv" / "bin" / "python", f"exit {int(not runs)}")
    (tmp_path / ".venv" / ".ready").touch()
    done = subprocess.run(["make", "-n", "setup"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ("tools.environment" in done.stdout) == (not runs)


def test_what_is_no_environment_is_never_removed(tmp_path, whole):
    link, folder = tmp_path / "link", tmp_path / "folder"
    link.symlink_to(whole)
    (folder / "photos").mkdir(parents=True)
    for place in (link, folder):
        with pytest.raises(Unfit, match="move it away"):
            environment.remove(place)
    assert (whole / "pyvenv.cfg").exists() and (folder / "photos").exists()


def test_a_python_that_makes_no_environments_is_told_what_is_missing(tmp_path, monkeypatch):
    fake = script(tmp_path / "python", "echo ensurepip is not available; exit 1")
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(Unfit, match=r"(?s)ensurepip is not available.*apt install python3.*PYTHON=/opt/good"):
        environment.create(tmp_path / "venv", "setup", found=lambda _: "/opt/good")


def test_every_package_is_held_to_its_checksum():
    packages, own = environment.commands(False, system="Linux")
    assert "--require-hashes" in packages and packages[-1] == str(ROOT / "locked.txt")
    assert own[-2:] == ["--editable", str(ROOT)] and "--no-deps" in own


def test_without_a_gpu_torch_comes_from_its_own_index_in_the_same_version():
    torch, packages, _ = environment.commands(True, "rest.txt", system="Linux")
    assert torch[-4:] == ["--index-url", environment.CPU_INDEX, "torch", "torchvision"]
    assert torch[torch.index("--constraint") + 1].endswith("constraints.txt") and "--no-deps" in torch
    assert packages[-1] == "rest.txt"
    assert len(environment.commands(True, system="Darwin")) == 2  # the usual torch has none there


def blocks(text):
    """Name to versions and to the number of checksums, of every package of a locked file."""
    found = {}
    for block in re.findall(r"^[a-z].*(?:\n .*)*", text, re.MULTILINE):
        name, version = re.match(r"([\w.-]+)==(\S+)", block).groups()
        found.setdefault(name, []).append((version, block.count("--hash=sha256:")))
    return found


def test_the_rest_is_everything_but_torch_and_a_gpus_libraries():
    locked = (ROOT / "locked.txt").read_text("utf-8")
    all_of_it, rest = blocks(locked), blocks(environment.without_torch(locked))
    gone = set(all_of_it) - set(rest)
    assert {"torch", "torchvision", "triton", "nvidia-cublas", "cuda-toolkit"} <= gone and len(gone) < 30
    assert all(name in ("torch", "torchvision") or re.match("nvidia-|cuda-|triton", name) for name in gone)
    assert {name: all_of_it[name] for name in rest} == rest


def test_locked_versions_are_the_constraints_and_each_has_a_checksum():
    locked = blocks((ROOT / "locked.txt").read_text("utf-8"))
    pinned = (ROOT / "constraints.txt").read_text("utf-8")
    assert len(locked) > 150 and all(n for versions in locked.values() for _, n in versions)
    known = {name: {v for v, _ in versions} for name, versions in locked.items()}
    for name in known:
        if not re.match("nvidia-|cuda-|triton", name):
            assert known[name] <= set(re.findall(rf"^{re.escape(name)}==(\S+)", pinned, re.MULTILINE)), name


def test_everything_that_book_and_tests_ask_for_is_locked():
    asked = (ROOT / "requirements.txt").read_text("utf-8") + (ROOT / "pyproject.toml").read_text("utf-8")
    names = set(re.findall(r'^(?:    ")?([a-z][\w-]+)>=', asked, re.MULTILINE))
    assert len(names) >= 20 and names <= set(blocks((ROOT / "locked.txt").read_text("utf-8")))
