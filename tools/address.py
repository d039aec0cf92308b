"""Spreads the repository's address and the release from where each stands once to every other file.

python -m tools.address            rewrite the files that name them
python -m tools.address URL        the same for a fork: puts URL, https://github.com/OWNER/REPO, into _config.yml first
python -m tools.address --check    say which files name another address or release; exit code 1 if any does
python -m tools.address --pypi     let the README's links lead to the web, before a release is built

`pyproject.toml` holds the address that was spread last. That address is looked for in every text file
and replaced by the one in `_config.yml`: `github.com/OWNER/REPO` wherever it stands, and the address of the
pages, `OWNER.github.io/REPO`.

The release is `__version__` of the package: what is installed from the repository, and what a link opens in Colab, is
its tag, such as `v0.1.0`, so that a notebook and the package that it installs fit together for ever.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {".cff", ".ipynb", ".js", ".md", ".py", ".svg", ".toml", ".yml"}
SKIPPED = {".cache", ".git", ".venv", "_build", "build", "node_modules"}
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


def tag(root: Path = ROOT) -> str:
    """The tag of the release that readers install, from `__version__` of the package.

    Raises:
        ValueError: there is no such line.
    """
    found = re.search(r'^__version__ = "([\w.]+)"$', _text(root / "dinov2_edu" / "__init__.py"), re.MULTILINE)
    if not found:
        raise ValueError('dinov2_edu/__init__.py needs a line `__version__ = "1.2.3"`')
    return f"v{found[1]}"


def release_in_config(root: Path = ROOT) -> str:
    """What pip is asked for in Colab's first cell: `git+https://github.com/OWNER/REPO@v1.2.3`."""
    return f"git+https://github.com/{slug_in_config(root)}@{tag(root)}"


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
    """Replace the address that was spread last by the one in `_config.yml`, and releases by the present one.

    Args:
        root: the project's folder.
        write: whether to change the files, or only to find those that would change.

    Returns:
        The files that named the old address or another release.
    """
    old, new = slug_spread_last(root), slug_in_config(root)
    swaps = [
        (rf"github\.com/{re.escape(old)}(?![\w-])", f"github.com/{new}"),
        (rf"(?<=colab\.research\.google\.com/github/){re.escape(old)}(?![\w-])", new),
        (rf"{re.escape(pages(old))}(?![\w-])", pages(new)),
        (rf"git\+https://github\.com/{re.escape(new)}(?![\w-])(@v[\w.]*\w)?", release_in_config(root)),
        (
            rf"(?<=colab\.research\.google\.com/github/){re.escape(new)}/blob/[^/]+/",
            f"{new}/blob/{tag(root)}/",
        ),
    ]
    changed = []
    for path in text_files(root):
        before = after = _text(path)
        for pattern, replacement in swaps:
            after = re.sub(pattern, replacement, after)
        if after != before:
            changed.append(path)
            if write:
                path.write_text(after, "utf-8")
    return changed


def with_addresses(text: str, root: Path = ROOT) -> str:
    """A page of Markdown whose links to files of the repository lead to the release on the web, as PyPI wants them.

    Pictures lead to the published pages, which say of an SVG file that it is one.
    """
    slug, release = slug_in_config(root), tag(root)

    def target(found: re.Match) -> str:
        image, words, path = found.groups()
        place = f"https://{pages(slug)}/{path.removeprefix('book/')}" if image else ""
        return f"{image}[{words}]({place or f'https://github.com/{slug}/blob/{release}/{path}'})"

    return re.sub(r"(!?)\[([^]]*)]\((?!https?:|#)([^)\s]+)\)", target, text)


def _text(path: Path) -> str:
    return path.read_text("utf-8")


def move(url: str, root: Path = ROOT) -> None:
    """Write another repository's address into `_config.yml`.

    Raises:
        ValueError: not an address on GitHub.
    """
    found = re.fullmatch(rf"{_SLUG}/?", url)
    if not found:
        raise ValueError(f"wanted an address like https://github.com/OWNER/REPO, got {url!r}")
    old, path = slug_in_config(root), root / "_config.yml"
    path.write_text(
        re.sub(rf"github\.com/{re.escape(old)}(?![\w-])", f"github.com/{found[1]}", _text(path)), "utf-8"
    )


def main() -> int:
    """Run the command line; return the exit code."""
    if sys.argv[1:] == ["--pypi"]:
        (ROOT / "README.md").write_text(with_addresses(_text(ROOT / "README.md")), "utf-8")
        return 0
    check = "--check" in sys.argv[1:]
    urls = [one for one in sys.argv[1:] if one != "--check"]
    if urls:
        try:
            move(urls[0])
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
    changed = spread(write=not check)
    for path in changed:
        print(f"{'names another address or release' if check else 'rewritten'}: {path.relative_to(ROOT)}")
    if not changed:
        print(f"every file names {release_in_config()}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
