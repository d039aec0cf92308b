"""Says which official weights, recordings and CIFAR-10 a notebook would find: its stored run is judged by it.

A page that was made with stand-ins must be made again as soon as the real thing can be had, and only then.
"""

import ast
import hashlib
import os
import urllib.request
from functools import cache
from http.client import HTTPException
from pathlib import Path

from dinov2_edu.data import DataUnavailable, cifar, class_folders, offline
from dinov2_edu.data.remote import mirrored
from dinov2_edu.features.recordings import MANIFEST, recordings_folder
from dinov2_edu.files import hash_blocks, local_path
from dinov2_edu.weights import WEIGHTS
from dinov2_edu.weights.official import hub_folder

_LOADERS = {"available_backbone": ["vits14"], "load_backbone": [], "fetch_official": []}
_CIFAR_LOADERS = {"cifar10_or_patterns", "load_cifar10"}
_RECORDED = {"recorded_photos", "recorded_cifar10", "recorded_study", "read_recording"}
_RECORDED |= {"read_recorded_photos", "read_recorded_cifar10"}
_TIMEOUT = 3.0  # seconds a server may take to answer before it counts as out of reach


def at_hand(code: str, *, network: bool) -> dict[str, str]:
    """What of the things that a notebook asks for is there, each with a word on its source; nothing where it is not.

    Args:
        code: the notebook's Python, all cells.
        network: whether what could be fetched now counts as there.
    """
    found = {name: "official" for name in official_names(code) if _has_weights(name, network)}
    tree = ast.parse(code)
    if _called(tree, _CIFAR_LOADERS):
        found["CIFAR-10"] = _cifar10(network)
    elif _called(tree, {"nearest_bank"}):  # which fetches nothing
        found["CIFAR-10"] = _cifar10(network=False)
    if _called(tree, _RECORDED):
        found["recordings"] = _recordings()
    return {name: source for name, source in found.items() if source}


def official_names(code: str) -> set[str]:
    """The official models that a piece of Python loads, by name.

    Where a loader is handed a variable, every name of a model that stands in the code counts.
    """
    tree = ast.parse(code)
    names = set()
    for call in _called(tree, _LOADERS):
        given = call.args[:1] or [word.value for word in call.keywords if word.arg in ("name", "names")]
        words = _words(given[0]) if given else _LOADERS[_name(call)]
        names |= set(words or _words(tree))
    return names & set(WEIGHTS)


def _called(tree: ast.AST, functions: dict | set) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node) in functions]


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _words(tree: ast.AST) -> list[str]:
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [value for value in constants if isinstance(value, str)]


def _has_weights(name: str, network: bool) -> bool:
    file = mirrored(WEIGHTS[name].file)
    path = file.place(hub_folder())
    if path.is_file() and _sha256(path, path.stat().st_mtime_ns) == file.sha256:
        return True
    return network and _answers(file.url)


@cache
def _sha256(path: Path, changed: int) -> str:
    with path.open("rb") as file:
        return hash_blocks(hashlib.sha256(), file).hexdigest()


def _cifar10(network: bool) -> str:
    """Where CIFAR-10 would come from; the copy with losses gives other numbers than the published one."""
    if named := os.environ.get("DINOV2_EDU_CIFAR10"):
        path = local_path(named)
        try:
            source = class_folders.find_source(path)
        except DataUnavailable:
            return f"{path}"
        if source.is_dir():  # which is no newer when a picture deep in it is
            return f"{path} {class_folders.fingerprint(source)}"
        facts = source.stat()
        return f"{path} {facts.st_size, facts.st_mtime_ns}"
    file = mirrored(cifar.PUBLISHED)
    return "published" if cifar.cifar10_at_hand() or (network and _answers(file.url)) else ""


def _recordings() -> str:
    """A hash of the manifest, and so of all recordings: a page with them is made anew as soon as they are others."""
    path = recordings_folder() / MANIFEST
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@cache
def _answers(url: str) -> bool:
    """Whether a server says now that it has a file; never asked where the network is to be left alone."""
    if offline():
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT):
            return True
    except (OSError, HTTPException):
        return False
