"""Makes .venv with everything that book and tests need; `make setup` is this command.

python3 -m tools.environment [--cpu]    --cpu leaves out a GPU's libraries, where their index can be reached

What is wrong is said before anything is fetched: a Python that is too old, a disk that is too full. A .venv that an
earlier try left unfit is made anew. Every package is held to the SHA-256 that locked.txt has for it, but for --cpu's
torch and torchvision, whose index is held to constraints.txt.

Runs on any Python from 3.6 on, because it has to tell an old one what to do.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.pythons import find

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCKED = ROOT / "locked.txt"
PYTHONS = ["3.13", "3.12", "3.11", "3.10", "3.14"]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_FROM_THAT_INDEX = ("torch", "torchvision")
_GPU_ALONE = re.compile(r"(nvidia|cuda|triton)\b")
_IMPORTS = "import torch, torchvision, jupyter_book, playwright, pytest, dinov2_edu"


class Unfit(Exception):
    """What keeps the environment from being made, and what to do about it."""


def this_command(goal, python="", cpu=False):
    """What to type: the goal for make, or this module where it was not make that ran it.

    Args:
        goal: what make was asked for, "" if it was not.
        python: the Python to take instead of the usual one.
        cpu: whether to leave out a GPU's libraries.
    """
    if goal:
        return " ".join(["make", goal] + ["PYTHON=" + python] * bool(python) + ["CPU=1"] * cpu)
    return " ".join([python or "python3", "-m tools.environment"] + ["--cpu"] * cpu)


def check_python(version, goal="", found=find):
    """Refuse a Python that is too old or cannot make environments, with a command that works on this machine.

    Args:
        version: `sys.version_info` of the Python that would be used.
        goal: what make was asked for, "" if it was not.
        found: returns the path of a good Python, or None.

    Raises:
        Unfit: it is older than 3.10.
    """
    if tuple(version[:2]) >= (3, 10):
        return
    raise Unfit(
        "Python %d.%d is too old, 3.10 or later is needed. %s"
        % (version[0], version[1], _another(goal, found))
    )


def _another(goal, found):
    path = found(PYTHONS)
    if path:
        return "There is one on this machine: " + this_command(goal, path)
    return (
        "None was found on this machine. Install one: `sudo apt install python3 python3-venv` since Debian 12 and "
        "Ubuntu 22.04, `uv python install 3.12` elsewhere (https://docs.astral.sh/uv/), and run this again: "
        "it names the command to go on with"
    )


def needed_gb(cpu, system=None):
    """How many GB an environment takes: to keep, and to fetch (measured on Linux with Python 3.11)."""
    gpu = (system or platform.system()) == "Linux" and not cpu
    return (6.6, 3.3) if gpu else (2.0, 0.8)


def check_disk(free, cpu, have=0.0, goal=""):
    """Refuse a disk on which the environment has no room.

    Args:
        free: GB free.
        cpu: whether a GPU's libraries are left out.
        have: GB that a former try has installed already.
        goal: what make was asked for, "" if it was not.

    Raises:
        Unfit: there is less room than needed.
    """
    keep, fetch = needed_gb(cpu)
    wanted = max(1 - have / keep, 0.0) * (keep + fetch)
    if free >= wanted:
        return
    advice = "make room"
    if not cpu:
        advice += ", or leave out a GPU's libraries: " + this_command(goal, cpu=True)
    text = "%.1f GB are free under %s, and %.1f are needed (%.1f in .venv, %.1f for what pip fetches): %s"
    raise Unfit(text % (free, ROOT, wanted, keep, fetch, advice))


def fault(venv=VENV):
    """Say in words why an environment cannot be used, "" if it can or is not there."""
    python = venv / "bin" / "python"
    if not os.path.lexists(str(venv)):
        return ""
    if _run([str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 10))"]):
        return "its Python does not run, or is older than 3.10"
    if _run([str(python), "-m", "pip", "--version"]):
        return "it has no pip that works"
    return ""


def _run(command):
    """The exit code of a command that says nothing; 1 where it cannot be run."""
    try:
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return 1


def remove(venv=VENV):
    """Remove an environment, and nothing that is none.

    Raises:
        Unfit: it is a link, or a folder of something else.
    """
    if venv.is_symlink() or not (
        venv.is_dir() and ((venv / "pyvenv.cfg").exists() or not any(venv.iterdir()))
    ):
        raise Unfit("%s is not an environment that was made here: move it away" % venv)
    shutil.rmtree(str(venv))


def create(venv=VENV, goal="", found=find):
    """Make an empty environment with this Python.

    Raises:
        Unfit: it cannot; Debian's needs another package for that.
    """
    done = subprocess.run(
        [sys.executable, "-m", "venv", str(venv)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode == 0:
        return
    shutil.rmtree(str(venv), ignore_errors=True)
    said = done.stdout.decode("utf-8", "replace").strip()
    name = "python%d.%d-venv" % sys.version_info[:2]
    advice = "On Debian and Ubuntu: sudo apt install %s. %s" % (name, _another(goal, found))
    raise Unfit("%s cannot make environments:\n%s\n%s" % (sys.executable, said, advice))


def without_torch(locked):
    """The text of locked.txt without torch, torchvision and a GPU's libraries."""
    blocks = re.findall(r"^\S.*(?:\n .*)*", locked, re.MULTILINE)
    names = [re.split("[ =]", block)[0] for block in blocks]
    kept = [b for b, n in zip(blocks, names) if n not in _FROM_THAT_INDEX and not _GPU_ALONE.match(n)]
    return "\n".join(kept) + "\n"


def commands(cpu, rest=LOCKED, venv=VENV, system=None):
    """The commands that fill an environment, in order.

    Args:
        cpu: whether a GPU's libraries are left out; elsewhere than on Linux the usual torch has none.
        rest: what is installed from the package index, with hashes.
        venv: the environment.
        system: as `platform.system()` says it.
    """
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    first = []
    if cpu and (system or platform.system()) == "Linux":
        versions = ["--constraint", str(ROOT / "constraints.txt")]
        first = [pip + versions + ["--no-deps", "--index-url", CPU_INDEX] + list(_FROM_THAT_INDEX)]
    package = pip + ["--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    return first + [pip + ["--require-hashes", "--requirement", str(rest)], package]


def fill(cpu):
    """Install everything into the environment.

    Raises:
        Unfit: the CPU's torch is not to be had.
        CalledProcessError: pip failed, and has said why.
    """
    handle, name = tempfile.mkstemp(suffix=".txt")
    with os.fdopen(handle, "w") as file:
        file.write(without_torch(LOCKED.read_text("utf-8")) if cpu else LOCKED.read_text("utf-8"))
    try:
        for command in commands(cpu, name):
            if subprocess.call(command, cwd=str(ROOT)):
                if CPU_INDEX in command:
                    text = (
                        "%s has no such torch and torchvision, or does not answer: leave CPU=1 (--cpu) away"
                    )
                    raise Unfit(text % CPU_INDEX)
                raise subprocess.CalledProcessError(1, command)
    finally:
        os.unlink(name)


def make(cpu, goal=""):
    """Make the environment, or complete the one that is there.

    Raises:
        Unfit: something stands in the way; says what to do.
    """
    check_python(sys.version_info, goal)
    wrong = fault()
    if wrong:
        print(".venv is made anew: %s" % wrong)
        remove()
    there = VENV.exists()
    have = sum(one.lstat().st_size for one in VENV.rglob("*")) / 1e9 if there else 0.0
    cpu = cpu and platform.system() == "Linux"
    check_disk(shutil.disk_usage(str(ROOT)).free / 1e9, cpu, have, goal)
    keep, fetch = needed_gb(cpu)
    print(
        "Setting up .venv: up to %.1f GB to fetch, %.1f GB on the disk, 5 minutes on a fast connection."
        % (fetch, keep)
    )
    if platform.system() == "Linux" and not cpu:
        print("4.6 GB of it are a GPU's libraries; without them: " + this_command(goal, cpu=True))
    if not there:
        create(goal=goal)
    fill(cpu)
    if _run([str(VENV / "bin" / "python"), "-c", _IMPORTS]) == 0:
        return
    if not there:
        raise Unfit(
            "the packages are installed but cannot be imported: %s/bin/python -c '%s' says why"
            % (VENV, _IMPORTS)
        )
    print(".venv is made anew: what an earlier try left in it cannot be imported")
    remove()
    make(cpu, goal)


def main(arguments=None):
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.environment", description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", action="store_true", help="leave out a GPU's libraries")
    parser.add_argument("--goal", default="", help="what make was asked for")
    given = parser.parse_args(arguments)
    try:
        make(given.cpu, given.goal)
    except Unfit as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:
        print(
            "pip failed, see above. What it fetched is kept: the same command goes on there", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        print("stopped. What pip has fetched is kept: the same command goes on there", file=sys.stderr)
        return 130
    print("Ready: .venv has everything")
    return 0


if __name__ == "__main__":
    sys.exit(main())
