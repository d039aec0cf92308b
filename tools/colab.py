"""Makes an environment of the versions that Colab ships, in which `make colab` runs the chapters.

python -m tools.colab    make it in .cache/colab (2.5 GB to fetch, 5 GB on the disk), or say that it is there

The versions stand in tests/notebooks/colab.txt, with their date. uv makes the environment, and fetches a Python of
that version where there is none on this machine.
"""

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.pythons import find

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "colab"
VERSIONS = ROOT / "tests" / "notebooks" / "colab.txt"
_MADE_OF = FOLDER / "made-of"


def versions() -> dict[str, str]:
    """The packages that Colab ships, name to version, as tests/notebooks/colab.txt lists them."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", VERSIONS.read_text("utf-8"), re.MULTILINE))


def python_version() -> str:
    """The Python that Colab runs, such as "3.13"."""
    return re.findall(r"^# Python (\d+\.\d+)", VERSIONS.read_text("utf-8"), re.MULTILINE)[0]


def environment() -> Path | None:
    """The Python of the environment, or None where it is not made or was made of another list."""
    made_of = _MADE_OF.read_text() if _MADE_OF.is_file() else ""
    return FOLDER / "bin" / "python" if made_of == _digest() else None


def make() -> Path:
    """Make the environment anew; return its Python.

    Raises:
        CalledProcessError: uv found no such Python, or a version is not to be had; uv has said which.
    """
    python = environment_of(FOLDER, python_version(), "--requirement", str(VERSIONS))
    _MADE_OF.write_text(_digest())
    return python


def environment_of(folder: Path, wanted: str, *packages: str) -> Path:
    """Make an environment with a Python such as "3.13" and what uv is asked for; return its Python.

    Raises:
        CalledProcessError: uv found no such Python, or a version is not to be had; uv has said which.
    """
    shutil.rmtree(folder, ignore_errors=True)
    uv, python = [sys.executable, "-m", "uv"], folder / "bin" / "python"
    subprocess.run([*uv, "venv", "--seed", "--python", find([wanted]) or wanted, folder], check=True)
    subprocess.run([*uv, "pip", "install", "--python", python, *packages], check=True)
    return python


def _digest() -> str:
    return hashlib.sha256(VERSIONS.read_bytes()).hexdigest()


def main() -> int:
    """Run the command line; return the exit code."""
    print(f"Colab's versions: {environment() or make()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
