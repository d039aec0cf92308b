"""Renews constraints.txt: one set of exact versions for every Python and system that the project supports.

python -m tools.constraints             resolve anew with uv, the newest versions that fit together
python -m tools.constraints --hashes    keep the versions, renew their checksums in locked.txt alone

locked.txt has what book and tests need, all that torch brings along as well, each file's SHA-256 beside it: pip holds
every package to one. constraints.txt has the versions alone, for whoever installs a part of it or the bench.
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
LOCKED_HEADER = """\
# What `make setup` installs: the versions of constraints.txt with their checksums. `make constraints` writes it.
"""
HEADER = """\
# The exact set last tested, for Python 3.10 to 3.13 on Linux and macOS; `make setup` installs it and
# `make constraints` renews it. What torch brings along on Linux alone is left out.
"""


def renewed(resolved: str) -> str:
    """The text of constraints.txt from what uv resolved."""
    lines = [line for line in resolved.splitlines() if "==" in line and not LEFT_OUT.match(line)]
    return HEADER + "\n".join(lines) + "\n"


def compiled(*options: str) -> str:
    """What uv resolves for every Python and system, one package a line.

    Raises:
        CalledProcessError: nothing fits together; uv has said why.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--python-version", OLDEST_PYTHON]
    command += ["--no-header", "--no-annotate", "--quiet", *options, "pyproject.toml"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> int:
    """Run the command line; return the exit code."""
    constraints, locked = ROOT / "constraints.txt", ROOT / "locked.txt"
    try:
        if "--hashes" not in sys.argv[1:]:
            constraints.write_text(renewed(compiled("--all-extras")), "utf-8")
        hashes = compiled(
            "--extra", "book", "--extra", "test", "--generate-hashes", "--constraint", str(constraints)
        )
    except subprocess.CalledProcessError as error:
        return error.returncode
    locked.write_text(LOCKED_HEADER + hashes, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
