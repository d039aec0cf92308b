"""What controls share that look at pictures through a network in the page: samples, weights, and handing them over."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets

from dinov2_edu.files import local_path
from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import FOLDER, BookWidget, image_bytes

BOOK_WEIGHTS = FOLDER.parent / "assets" / "book.safetensors"
"""The book's own checkpoint, in half precision, which the built book has as `_static/weights/book.safetensors`."""
BOOK_HEADS = BOOK_WEIGHTS.with_name("book.heads.safetensors")
"""The heads of both networks of its run."""


class NetworkWidget(BookWidget):
    """Base of the controls whose network runs in the page; `_seeing.js` is the page's side of it.

    The weights are not part of the page: on a press the page fetches the file that the build put beside it, and a live
    kernel hands it over.
    """

    samples = traitlets.List(traitlets.Bytes()).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    config = traitlets.Dict().tag(sync=True)
    sizes = traitlets.List(traitlets.Int()).tag(sync=True)
    weights_file = traitlets.Unicode().tag(sync=True)
    megabytes = traitlets.Float().tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)
    photo = traitlets.Unicode().tag(sync=True)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.on_msg(self._hand_over)

    def _read(
        self, samples: Mapping[str, Picture], weights: str | Path | None, patches: Sequence[int]
    ) -> dict[str, Any]:
        """Keep the weights for the page; return the values of the traitlets above that follow from what was given.

        Args:
            samples: name to picture, at least two.
            weights: a .safetensors file that holds its `ViTConfig`; the book's own if None.
            patches: along a side, of each size that the network can be asked for.

        Raises:
            ValueError: fewer than two samples, or a file without its sizes.
        """
        if len(samples) < 2:
            raise ValueError(f"wanted at least two samples, by name, got {list(samples)}")
        path = local_path(weights or BOOK_WEIGHTS)
        content = path.read_bytes()
        self._files = {path.name: content}
        config = metadata_of(content, path, "config", "sizes of a backbone")
        return {
            "samples": [image_bytes(one, longest=320) for one in samples.values()],
            "names": list(samples),
            "config": config,
            "sizes": [n * config["patch_size"] for n in patches],
            "weights_file": path.name,
            "megabytes": len(content) / 1e6,
        }

    def _hand_over(self, _: Any, message: dict[str, Any], buffers: list[Any]) -> None:
        """Send a file to a page that asks for it: only a live kernel hears it."""
        if (name := message.get("wanted")) in self._files:
            self.send({"file": name}, [self._files[name]])


def header_of(content: bytes) -> dict[str, Any]:
    """What stands before the numbers of a .safetensors file."""
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def metadata_of(content: bytes, path: Path, name: str, what: str) -> dict[str, Any]:
    """What a .safetensors file of ours holds as metadata under a name, as a dict."""
    try:
        return json.loads(header_of(content)["__metadata__"][name])
    except (ValueError, KeyError, TypeError):
        writer = {"config": "save_book_checkpoint", "bank": "nearest_bank"}[name]
        raise ValueError(f"{path} holds no {what}: give a .safetensors file that `{writer}` wrote") from None
