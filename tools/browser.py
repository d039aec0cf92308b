"""Finds the browser that the page tests drive; installs Debian's where it is missing and may be installed.

python -m tools.browser    make sure that there is one; exit code 1 in CI if there is none
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("chromium", "fonts-dejavu-core")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> str | None:
    """The path of a Chromium or Chrome on this machine, or None."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or (MAC if os.path.exists(MAC) else None)


def missing(what: str) -> None:
    """Fail the running test in CI; skip it elsewhere, with the reason in capitals at the end of the run."""
    import pytest

    if os.environ.get("CI"):
        pytest.fail(f"{what} (this is CI: these tests must run)")
    pytest.skip(f"SKIPPED, NOT PASSED: {what}")


def install() -> str | None:
    """Install Debian's chromium if this is Debian and we are root, and say so first; return the path, if any."""
    if find() is None and shutil.which("apt-get") and os.geteuid() == 0:
        print(
            f"The page tests need a browser: installing {' and '.join(PACKAGES)} with apt (80 MB to fetch, 300 MB "
            "on the disk; `apt-get remove` takes them away again)",
            flush=True,
        )
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=quiet, check=False)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        subprocess.run(command, env=quiet, check=False, stdout=subprocess.DEVNULL)
    return find()


def main() -> int:
    """Run the command line; return the exit code."""
    path = install()
    print(f"browser: {path}" if path else "NO BROWSER: install chromium, or the page tests cannot run")
    return int(path is None and bool(os.environ.get("CI")))


if __name__ == "__main__":
    sys.exit(main())
