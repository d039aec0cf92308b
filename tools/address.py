"""Spreads the repository's address from _config.yml, where it stands once, to every other file.

python -m tools.address            rewrite the files that name it
python -m tools.address --check    say which files name another address; exit code 1 if any does

`pyproject.toml` holds the address that was spread last. That address is looked for in every text file
and replaced by the one in `_config.yml`: `github.com/OWNER/REPO` wherever it stands, and the address of the
pages, `OWNER.github.io/REPO`.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {".cff", ".ipynb", ".js", ".md", ".py", ".svg", ".toml", ".yml"}
SKIPPED = {".git", ".venv", "_build", "build", "node_modules"}
_SLUG = r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?"


def slug_in_config(root: Path = ROOT) -> str:
    """OWNER/REPO as `_config.yml` gives it, under `repository: url:`.

    Raises:
        ValueError: there is no such line, or it is not an address on GitHub.
    """
    found = re.search(
        rf"^repository:\n(?:  .*\n)*?  url: {_SLUG}$", _text(root / "_config.yml"), re.MULTILINE
    )
    if not found:
        raise ValueError("_config.yml needs `repository:` with a line `url: https://github.com/OWNER/REPO`")
    return found[1]


def slug_spread_last(root: Path = ROOT) -> str:
    """OWNER/REPO as `pyproject.toml` gives it, under `[project.urls]`.

    Raises:
        ValueError: there is no such line.
    """
    found = re.search(rf'^Repository = "{_SLUG}"$', _text(root / "pyproject.toml"), re.MULTILINE)
    if not found:
        raise ValueError('pyproject.toml needs a line `Repository = "https://github.com/OWNER/REPO"`')
    return found[1]


def pages(slug: str) -> str:
    """Where GitHub Pages publishes a repository, without `https://` and the last slash."""
    owner, repo = slug.split("/")
    return f"{owner.lower()}.github.io/{repo}"


def text_files(root: Path) -> list[Path]:
    """Every file of the project that may name the address, `_config.yml` left out."""
    found = []
    for path in root.iterdir():
        if path.is_dir() and path.name not in SKIPPED and not path.name.endswith(".egg-info"):
            found += [one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file()]
        elif path.suffix in SUFFIXES and path.name != "_config.yml":
            found.append(path)
    return sorted(found)


def spread(root: Path = ROOT, *, write: bool = True) -> list[Path]:
    """Replace the address that was spread last by the one in `_config.yml`.

    Args:
        root: the project's folder.
        write: whether to change the files, or only to find those that would change.

    Returns:
        The files that named the old address.
    """
    old, new = slug_spread_last(root), slug_in_config(root)
    if old == new:
        return []
    swaps = [
        (re.compile(rf"github\.com/{re.escape(old)}(?![\w-])"), f"github.com/{new}"),
        (re.compile(rf"colab\.research\.google\.com/github/{re.escape(old)}(?![\w-])"),
         f"colab.research.google.com/github/{new}"),
        (re.compile(rf"{re.escape(pages(old))}(?![\w-])"), pages(new)),
    ]  # fmt: skip
    changed = []
    for path in text_files(root):
        before = after = _text(path)
        for pattern, replacement in swaps:
            after = pattern.sub(replacement, after)
        if after != before:
            changed.append(path)
            if write:
                path.write_text(after, "utf-8")
    return changed


def _text(path: Path) -> str:
    return path.read_text("utf-8")


def main() -> int:
    """Run the command line; return the exit code."""
    check = "--check" in sys.argv[1:]
    changed = spread(write=not check)
    for path in changed:
        print(f"{'names another address' if check else 'rewritten'}: {path.relative_to(ROOT)}")
    if not changed:
        print(f"every file names {slug_in_config()}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
