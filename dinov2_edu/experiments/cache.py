"""The command `python -m dinov2_edu cache`: where features and pictures lie, what they take, and how they go."""

import argparse
import fnmatch
import shutil
from pathlib import Path

import torch

from dinov2_edu.data import cache_dir
from dinov2_edu.features.recordings import recordings_folder

MADE_AGAIN = ("features", "*pictures-*", "*cifar10-*", "cifar-10-binary.tar.gz*", "*nearest-*")
"""What the next call that needs it makes or fetches again, unfinished folders included."""
OURS = (*MADE_AGAIN, "recordings")
"""What the package puts into its cache; anything else there is somebody's."""


def run(options: argparse.Namespace) -> None:
    """Print the folders and their sizes; with `--clear`, remove what is made again by itself."""
    folder = cache_dir()
    ours = sorted(path for path in folder.glob("*") if _named(path, OURS))
    passing = [path for path in ours if _named(path, MADE_AGAIN)]
    print(f"cache: {folder} (the variable DINOV2_EDU_CACHE names another)")
    for path in ours:
        print(f"  {path.name}: {megabytes(path):,.1f} MB")
        if options.clear and path in passing:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if passing or not ours:
        print("  " + ("it is empty" if not ours else "removed" if options.clear else "--clear removes them"))
    if len(passing) < len(ours):
        print(
            f"  recordings {'stay' if options.clear else 'excepted'}: only `python -m dinov2_edu recordings` makes "
            f"them, with the official weights, in hours; to be rid of them delete {recordings_folder()}"
        )
    weights = Path(torch.hub.get_dir(), "checkpoints")
    for path in sorted(weights.glob("dinov2_*.pth")):
        print(
            f"weights, kept by torch hub: {path}: {megabytes(path):,.1f} MB (delete the file to fetch it anew)"
        )


def _named(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)


def megabytes(path: Path) -> float:
    """What a file, or all files of a folder, take on the disk."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6
