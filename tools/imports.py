"""Reads who imports whom in the package from the source, without running it."""

import ast
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "dinov2_edu"
_EXERCISE = re.compile(r"""\bcheck\(\s*["'](\w+)\.""")


def module_files(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    files = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def imported_names(code: str, module: str = "", *, is_package: bool = False) -> set[str]:
    """Every dotted name that a piece of Python imports, inside functions too.

    `from a.b import c` gives both `a.b` and `a.b.c`, because `c` may be a module.

    Args:
        code: the source.
        module: its own dotted name, for relative imports.
        is_package: whether the source is an `__init__.py`.
    """
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                keep = len(module.split(".")) - node.level + is_package
                base = ".".join([*module.split(".")[:keep], *([base] if base else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def imports_of_modules(root: Path = ROOT) -> dict[str, set[str]]:
    """Each module of the package to all dotted names that it imports."""
    return {
        module: imported_names(path.read_text("utf-8"), module, is_package=path.name == "__init__.py")
        for module, path in module_files(root).items()
    }


def needed_modules(names: Iterable[str], root: Path = ROOT) -> set[str]:
    """The modules of the package that are loaded when `names` are imported, through all that they import."""
    graph, found = imports_of_modules(root), set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        parents = name.split(".")
        for length in range(1, len(parents) + 1):
            module = ".".join(parents[:length])
            if module in graph and module not in found:
                found.add(module)
                waiting.extend(graph[module])
    return found


def fingerprint(code: str, root: Path = ROOT, *, at_hand: Mapping[str, str] | None = None) -> str:
    """A hash of all that can change what a notebook shows, beyond its own cells.

    That is: the modules it loads, the style sheets and scripts beside them, the package's assets, the
    versions of torch and numpy, the settings in the environment, and the weights and data that it finds.

    Args:
        code: the notebook's Python, all cells.
        root: the project's folder.
        at_hand: the weights and data that it finds, as `tools.at_hand` tells them.
    """
    names = imported_names(code) | {f"{PACKAGE}.exercises.{chapter}" for chapter in _EXERCISE.findall(code)}
    files = {module_files(root)[module] for module in needed_modules(names, root)}
    scripts = [path for path in (root / PACKAGE).rglob("*") if path.suffix in {".js", ".css"}]
    files |= {path for path in scripts if path.with_suffix(".py") in files or path.name.startswith("_")}
    files |= {path for path in (root / PACKAGE / "assets").rglob("*") if path.is_file()}
    digest = hashlib.sha256(f"{version('torch')} {version('numpy')}".encode())
    digest.update(repr(sorted((at_hand or {}).items())).encode())
    for name in sorted(key for key in os.environ if key.startswith("DINOV2_EDU_")):
        digest.update(f"{name}={os.environ[name]}".encode())
    for path in sorted(files):
        digest.update(str(path.relative_to(root)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
