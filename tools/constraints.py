"""Renews constraints.txt: one set of exact versions for every Python and system that the project supports.

python -m tools.constraints    resolve anew with uv, the newest versions that fit together

What torch brings along on Linux alone (CUDA, Triton) is left out: torch pins those itself, and elsewhere they
do not exist.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = "3.10"
LEFT_OUT = re.compile(r"(nvidia|cuda|triton)[\w-]*==")
HEADER = """\
# The exact set last tested, for Python 3.10 to 3.13 on Linux and macOS; `make setup` installs it and
# `make constraints` renews it. What torch brings along on Linux alone is left out.
"""


def renewed(resolved: str) -> str:
    """The text of constraints.txt from what uv resolved."""
    lines = [line for line in resolved.splitlines() if "==" in line and not LEFT_OUT.match(line)]
    return HEADER + "\n".join(lines) + "\n"


def main() -> int:
    """Run the command line; return the exit code."""
    options = [
        "--universal",
        "--python-version",
        OLDEST_PYTHON,
        "--all-extras",
        "--no-header",
        "--no-annotate",
    ]
    command = [sys.executable, "-m", "uv", "pip", "compile", *options, "--quiet", "pyproject.toml"]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode == 0:
        (ROOT / "constraints.txt").write_text(renewed(done.stdout), "utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
