"""What every widget shares on the Python side: building its module, handing over bytes, and its still figure.

A widget file such as `crops.js` is an ordinary ES module that imports from files beside it. A page gets one
self-contained module, because it may run where no second file can be fetched: `bundle` pastes them together.
"""

import base64
import html
import io
import json
import posixpath
import re
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from IPython.display import HTML, display
from numpy.typing import ArrayLike
from PIL import Image

from dinov2_edu.checks import checked
from dinov2_edu.palette import PALETTE
from dinov2_edu.pictures import Picture, read_rgb

FOLDER = Path(__file__).parent
_LOCAL = re.compile(r'^(?:import \{[^}]*\}|export \*) from "(\.{1,2}/[\w./]+)";\n', re.MULTILINE)
_SOURCE = re.compile(r'^import (\w+) from "(\.{1,2}/[\w./]+)\?source";\n', re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*\*(?s:.*?)\*/)\n", re.MULTILINE)


def bundle(script: str) -> str:
    """Return one self-contained ES module: every file that `script` imports, each once, then the script.

    `import NAME from "./file.js?source";` makes NAME the text of another script: see `worker_source`.

    Args:
        script: its path in the folder of the widgets.

    Raises:
        ValueError: a file imports something in another way than `import { a, b } from "./file.js";`.
    """
    pieces: dict[str, str] = {}

    def paste(name: str) -> None:
        def beside(other: str) -> str:
            return posixpath.normpath(posixpath.join(posixpath.dirname(name), other))

        source = (FOLDER / name).read_text(encoding="utf-8")
        for needed in map(beside, _LOCAL.findall(source)):
            if needed not in pieces:
                paste(needed)
        source = _SOURCE.sub(lambda m: f"const {m[1]} = {json.dumps(worker_source(beside(m[2])))};\n", source)
        pieces[name] = _LOCAL.sub("", source)
        if left := re.search(r"^import\b.*", pieces[name], re.MULTILINE):
            raise ValueError(f'{name}: wanted `import {{ ... }} from "./file.js";`, got `{left[0]}`')

    paste(script)
    return "\n".join(pieces.values())


def worker_source(script: str) -> str:
    """Return a bundle as a classic script, which may start as a worker everywhere: no exports, no comments."""
    return re.sub(r"^export (?=\w)", "", _COMMENT.sub("", bundle(script)), flags=re.MULTILINE)


def stylesheet() -> str:
    """Return the style sheet of all widgets, with each palette role as a property such as `--dv2-student`."""
    colours = " ".join(f"--dv2-{role.replace('_', '-')}: {colour};" for role, colour in PALETTE.items())
    return f"{(FOLDER / '_shared.css').read_text(encoding='utf-8')}\n.dv2 {{ {colours} }}\n"


def array_bytes(values: ArrayLike, dtype: str) -> bytes:
    """Return the bytes of an array in C order and little-endian, as the browser's typed arrays read them.

    Args:
        values: any array.
        dtype: "float32", "uint8", "int32" ...; the JavaScript side must name the matching typed array.
    """
    return np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()


def as_image(picture: Picture) -> Image.Image:
    """Return a picture as an RGB image of its own, which may be changed.

    Raises:
        PictureError: it cannot be read.
    """
    return Image.fromarray(read_rgb(picture))


def image_bytes(picture: Picture, *, longest: int | None = None, quality: int = 85) -> bytes:
    """Return a picture as a JPEG file, for a bytes traitlet.

    Args:
        picture: a path, a PIL image, an array of bytes: whatever `read_rgb` reads.
        longest: shrink so that the longer side has at most this many pixels.
        quality: JPEG quality, 1 to 95.
    """
    image = as_image(picture)
    if longest is not None:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


class BookWidget(anywidget.AnyWidget):
    """Base of the book's widgets.

    A subclass names its module (`_esm = bundle("crops.js")`), its data (bytes traitlets) and its values
    (traitlets that the controls move, so that Python can read what a reader chose). Shown in a notebook it
    puts out two things: the live control, and a still figure for print and for browsers without JavaScript.

    Args:
        still: what stands in for the control: a figure of `dinov2_edu.plots`.
        alt: what the still figure shows, in words.
        values: starting values of the subclass's traitlets.

    Raises:
        ValueError: a still figure without words for it, or a starting value that the widget does not have.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Hold what each control is made from to the annotations of its constructor."""
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    _css = stylesheet()
    has_still = traitlets.Bool(False).tag(sync=True)

    @checked
    def __init__(self, *, still: Any = None, alt: str = "", **values: Any) -> None:
        if still is not None and not alt:
            raise ValueError("a still figure needs `alt`: say in words what it shows")
        if unknown := sorted(set(values) - set(self.class_trait_names())):
            raise ValueError(
                f"{type(self).__name__} has no {unknown}: its docstring names its arguments and values"
            )
        super().__init__(has_still=still is not None, **values)
        self._still_html = "" if still is None else still_html(still, alt)

    def _ipython_display_(self) -> None:
        bundle: Any = self._repr_mimebundle_()
        data, metadata = bundle
        display(data, metadata=metadata, raw=True)
        if self._still_html:
            display(HTML(self._still_html))


def one_of(allowed: Any, proposal: dict[str, Any]) -> Any:
    """Validate a traitlet: return the proposed value.

    Raises:
        TraitError: it is none of the allowed ones.
    """
    name, value = proposal["trait"].name, proposal["value"]
    if value not in allowed:
        raise traitlets.TraitError(f"{name}: wanted one of {list(allowed)}, got {value!r}")
    return value


def inside(grid: tuple[int, int], proposal: dict[str, Any]) -> list[int]:
    """Validate a traitlet: return the proposed (row, column).

    Raises:
        TraitError: it lies outside the grid.
    """
    (row, col), (rows, cols), name = proposal["value"], grid, proposal["trait"].name
    if not (0 <= row < rows and 0 <= col < cols):
        raise traitlets.TraitError(
            f"{name}: wanted (row, column) within the {rows} x {cols} grid, got {row, col}"
        )
    return [row, col]


def still_html(still: Any, alt: str) -> str:
    """Return the HTML of a figure that a page shows only in print or when it runs no JavaScript.

    Args:
        still: a figure of `dinov2_edu.plots`.
        alt: what it shows, in words.

    Raises:
        ValueError: `still` is no such figure.
    """
    if not hasattr(still, "encoded"):
        raise ValueError(f"still: wanted a figure of dinov2_edu.plots, got {type(still).__name__}")
    mime, content = still.encoded()
    source = f"data:{mime};base64,{base64.b64encode(content).decode()}"
    return (
        f'<figure class="dv2-still" style="display:none">'
        f'<img src="{source}" alt="{html.escape(alt, quote=True)}" style="max-width:100%">'
        "<figcaption>A still picture of the control, which moves on the web page.</figcaption></figure>"
        "<style>@media print{.dv2-still{display:block!important}}</style>"
        "<noscript><style>.dv2-still{display:block!important}</style></noscript>"
    )
