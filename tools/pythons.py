"""Finds a Python of a wanted version on this machine: on the PATH, or among pyenv's and uv's.

Runs on any Python from 3.6 on, because it also serves whoever has one that is too old.
"""

import glob
import os
import shutil
import subprocess

FOLDERS = (
    "~/.pyenv/versions/*/bin",
    "~/.local/share/uv/python/*/bin",
    "/opt/homebrew/bin",
    "/usr/local/bin",
    "/usr/bin",
)


def find(versions, folders=FOLDERS):
    """The path of the first Python that runs and can make an environment, or None.

    Args:
        versions: such as `["3.13", "3.12"]`, the most wanted first.
        folders: patterns of folders to look in after the PATH.
    """
    for version in versions:
        name = "python" + version
        found = [shutil.which(name)] + [one for folder in folders for one in _inside(folder, name)]
        for path in filter(None, found):
            if _works(path, version):
                return path
    return None


def _inside(folder, name):
    return sorted(glob.glob(os.path.join(os.path.expanduser(folder), name)), reverse=True)


def _works(path, version):
    """Whether this is such a Python: pyenv has names that lead nowhere, Debian leaves out what makes environments."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [path, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return answer.stdout.decode().strip() == version
