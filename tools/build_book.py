"""Builds the book strictly: executes the notebooks that changed, and fails on any warning.

python -m tools.build_book

Prints how long each notebook ran and where the pages lie. Runs that are still good come from a cache, so a
second build takes seconds.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from jupyter_cache import get_cache

from tools.notebooks import FOLDER, read, stated_seconds

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"


def build() -> int:
    """Run Jupyter Book; return its exit code."""
    shutil.rmtree(BUILD / "html" / "reports", ignore_errors=True)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(ROOT),
        "-W",
        "-n",
        "--keep-going",
    ]
    # A kernel that the reader installed under the same name must not be taken for ours.
    environment = os.environ | {
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_PLATFORM_DIRS": "1",
        "PYTHONPATH": str(ROOT),
    }
    code = 1
    try:
        code = subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode
    finally:
        if code:
            # Sphinx would hold pages that it has read for good next time, and the failure would pass unseen.
            shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
    return code


def seconds_of_runs() -> dict[str, float]:
    """How long each notebook's stored run took, by file name."""
    runs = get_cache(BUILD / ".jupyter_cache").list_cache_records()
    return {Path(run.uri).name: run.data.get("execution_seconds", 0.0) for run in runs}


def report(measured: dict[str, float]) -> str:
    """A table of each notebook's measured seconds beside those it states; a wrong one is marked."""
    rows, total = [f"{'notebook':24} {'ran':>7} {'states':>7}"], 0.0
    for path in sorted(FOLDER.glob("*.ipynb")):
        seconds, stated = measured.get(path.name), stated_seconds(read(path))
        if seconds is None:
            rows.append(f"{path.name:24} {'no run':>7}")
            continue
        total += seconds
        wrong = stated is None or not stated / 2 - 5 <= seconds <= 2 * stated + 5
        mark = "   <- states another time than it took here" if wrong else ""
        rows.append(f"{path.name:24} {seconds:6.1f}s {f'{stated}s':>7}{mark}")
    return "\n".join([*rows, f"{'all':24} {total:6.1f}s"])


def main() -> int:
    """Run the command line; return the exit code."""
    start = time.monotonic()
    try:
        code = build()
    except KeyboardInterrupt:
        print("stopped; chapters that have run are kept: the same command goes on with the others")
        return 130
    print(report(seconds_of_runs()))
    print(f"build: {time.monotonic() - start:.0f} s, {'failed' if code else 'no warnings'}")
    for log in sorted((BUILD / "html" / "reports").rglob("*.log")) if code else ():
        print(f"--- {log}\n{log.read_text('utf-8')[-3000:]}")
    if not code:
        print(f"The book: {(BUILD / 'html' / 'index.html').as_uri()}\nServe it with `make serve`.")
    return code


if __name__ == "__main__":
    sys.exit(main())
