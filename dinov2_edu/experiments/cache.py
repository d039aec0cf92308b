"""The command `python -m dinov2_edu cache`: where features and pictures lie, what they take, and how they go."""

import argparse
import re
import shutil
from pathlib import Path

import torch

from dinov2_edu.data import cache_dir
from dinov2_edu.features.recordings import recordings_folder

MADE_AGAIN = re.compile(
    r"\.?((pictures|cifar10|nearest)-[0-9a-f]{16}\.safetensors|cifar-10-binary\.tar\.gz)(\..+)?"
)
"""What the next call that needs it makes or fetches again, unfinished or not; anything else is somebody's."""
OF_FEATURES = re.compile(r"[0-9a-f]{32}")
"""Names of the folders inside `features`."""


def run(options: argparse.Namespace) -> None:
    """Print the folders and their sizes; with `--clear`, remove what is made again by itself."""
    folder = cache_dir()
    passing = {path.name: [path] for path in sorted(folder.glob("*")) if MADE_AGAIN.fullmatch(path.name)}
    features = [path for path in (folder / "features").glob("*") if OF_FEATURES.fullmatch(path.name)]
    if features:
        passing["features"] = features
    shown, recordings = dict(passing), recordings_folder()
    if recordings.is_dir():
        shown["recordings"] = [recordings]
    print(f"cache: {folder} (the variable DINOV2_EDU_CACHE names another)")
    for name, paths in shown.items():
        print(f"  {name}: {sum(map(megabytes, paths)):,.1f} MB")
    if options.clear:
        for path in (path for paths in passing.values() for path in paths):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if passing or not shown:
        print("  " + ("it is empty" if not shown else "removed" if options.clear else "--clear removes them"))
    if "recordings" in shown:
        print(
            f"  recordings {'stay' if options.clear else 'excepted'}: only `python -m dinov2_edu recordings` makes "
            f"them, with the official weights, in hours; to be rid of them delete {recordings}"
        )
    weights = Path(torch.hub.get_dir(), "checkpoints")
    for path in sorted(weights.glob("dinov2_*.pth")):
        print(
            f"weights, kept by torch hub: {path}: {megabytes(path):,.1f} MB (delete the file to fetch it anew)"
        )


def megabytes(path: Path) -> float:
    """What a file, or all files of a folder, take on the disk."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6
