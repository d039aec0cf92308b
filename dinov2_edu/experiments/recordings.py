"""The command `python -m dinov2_edu recordings`: what official weights give, computed once and kept in under 12 MB.

An item that is there, unchanged and of this version of the package is left as it is; the others are made one after the
other. Each is written whole before the manifest names it, so that a run that is stopped leaves what it had finished,
and the same command goes on from there: features of CIFAR-10 are cached on the way.
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import dinov2_edu
from dinov2_edu.checks import require
from dinov2_edu.data import DataUnavailable, ImageSet, cache_dir, load_cifar10
from dinov2_edu.data.remote import mirrored
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.inputs import device_of
from dinov2_edu.experiments.parsers import RECORDING_NAMES
from dinov2_edu.experiments.recordings_items import Item, cifar10_item, photos_item, study_item
from dinov2_edu.features.recordings import (
    FORMAT,
    MANIFEST,
    RecordingRefused,
    RecordingUnavailable,
    read_manifest,
    read_recording,
    recordings_folder,
)
from dinov2_edu.files import hold_folder, write_whole
from dinov2_edu.vit import VisionTransformer
from dinov2_edu.weights import WEIGHTS, WeightsUnavailable, load_backbone

MOST_BYTES = 12_000_000
"""Of all recordings together."""
PATIENCE = 60.0
"""Seconds to wait for another process that writes; writing takes less than one."""


def run(options: argparse.Namespace) -> int:
    """Make what is missing; print each item, its size and what it measured.

    Returns:
        0; 1 if `--check` finds one that is missing or not good; 2 if weights or pictures of some could not be had.
    """
    require(
        not (options.check and options.device), "--check computes nothing: leave out --device, or --check"
    )
    folder = options.folder or recordings_folder()
    wanted = tuple(options.only or RECORDING_NAMES)
    if options.check:
        return _check(folder, wanted)
    device, missed = device_of(options.device), 0
    print(f"recordings: {folder}")
    for number, name in enumerate(wanted, start=1):
        place = f"{number} of {len(wanted)}, {name}"
        if current(folder, name):
            print(f"{place}: there already, of this version", flush=True)
            continue
        say(f"{place}: loading weights and pictures")
        try:
            content, about = make(name, device)
        except (WeightsUnavailable, DataUnavailable) as error:  # the others may be had
            say(f"error: {place}: {error}")
            missed += 1
            continue
        path = keep(folder, name, content, about)
        print(f"{place}: {path.stat().st_size / 1e6:.2f} MB; {_measured(about)}", flush=True)
    total = sum(item["bytes"] for item in read_manifest(folder).values())
    print(f"together {total / 1e6:.2f} MB of at most {MOST_BYTES / 1e6:.0f}")
    return 2 if missed else 0


def current(folder: Path, name: str) -> bool:
    """Whether a recording is there, whole, and made by this version of the package."""
    try:
        return read_recording(name, folder).version == dinov2_edu.__version__
    except RecordingUnavailable:
        return False


def make(name: str, device: torch.device) -> Item:
    """Compute one item by its name: kind, hyphen, weights.

    Raises:
        WeightsUnavailable: the official weights cannot be had.
        DataUnavailable: CIFAR-10 cannot be had, where the item is made of it.
    """
    kind, _, weights = name.partition("-")
    model = load_backbone(weights, device=device)
    if kind == "photos":
        return photos_item(model)
    makers: dict[str, Callable[[VisionTransformer, ImageSet, ImageSet, Path], Item]] = {
        "study": study_item,
        "cifar10": cifar10_item,
    }
    return makers[kind](model, load_cifar10("train"), load_cifar10("test"), cache_dir() / "features")


def keep(folder: Path, name: str, content: bytes, about: dict[str, Any]) -> Path:
    """Write a file, then the manifest that names it, then remove the file that it replaces.

    Of several processes one at a time does so, and the others wait: each adds to what the last one wrote.

    Raises:
        ValueError: all recordings together would be larger than `MOST_BYTES`; nothing is written.
        OSError: the folder cannot be written, or another process has held it for longer than writing takes.
    """
    with hold_folder(folder, "recordings", wait_s=PATIENCE, elsewhere="name another folder by --folder"):
        return _keep(folder, name, content, about)


def _keep(folder: Path, name: str, content: bytes, about: dict[str, Any]) -> Path:
    """As `keep`, in a folder that this process holds."""
    try:
        items = read_manifest(folder)
    except RecordingRefused as error:
        say(f"{error}")
        items = {}
    total = len(content) + sum(item["bytes"] for other, item in items.items() if other != name)
    require(total <= MOST_BYTES, f"with {name} the recordings take {total:,} bytes, more than {MOST_BYTES:,}")
    weights = name.partition("-")[2]
    digest = hashlib.sha256(content).hexdigest()
    ending = "json" if name.startswith("study-") else "safetensors"
    path = write_whole(folder / f"{name}-{digest[:8]}.{ending}", content)
    items[name] = {
        "file": path.name,
        "sha256": digest,
        "bytes": len(content),
        "version": dinov2_edu.__version__,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "model": weights,
        "weights_sha256": mirrored(WEIGHTS[weights].file).sha256,
        "torch": torch.__version__,
        "about": about,
    }
    manifest = {"format": FORMAT, "items": items}
    write_whole(folder / MANIFEST, json.dumps(manifest, indent=1, allow_nan=False) + "\n")
    for old in folder.glob(f"{name}-????????.{ending}"):
        if old != path:
            old.unlink()
    return path


def _measured(about: dict[str, Any]) -> str:
    """What an item's maker measured of its coding, in a line."""
    if accuracy := about.get("accuracy"):
        kinds = (
            f"{kind} {100 * found['features']:.2f} %, decoded {100 * found['decoded']:.2f} %"
            for kind, found in accuracy.items()
        )
        return f"{about['dimensions'][0]} of {about['dimensions'][1]} dimensions; " + "; ".join(kinds)
    if cosines := about.get("mean_cosine_of_decoded_patches"):
        return "cosine of decoded patch tokens " + ", ".join(f"{one:.4f}" for one in cosines)
    return ", ".join(about["data"])


def _check(folder: Path, wanted: tuple[str, ...]) -> int:
    """Say of each recording whether it can be read, and from where it is."""
    bad = 0
    for name in wanted:
        try:
            found = read_recording(name, folder)
            print(f"{name}: {len(found.content) / 1e6:.2f} MB, {found.source}")
        except RecordingUnavailable as error:
            bad += 1
            print(f"{name}: {error}")
    return min(bad, 1)
