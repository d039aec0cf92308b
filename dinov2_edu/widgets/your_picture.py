"""Your picture: a photo of the reader's own, looked at through the book's network, which runs in the page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import traitlets

from dinov2_edu.files import local_path
from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import FOLDER, BookWidget, bundle, image_bytes

BOOK_WEIGHTS = FOLDER.parent / "assets" / "book.safetensors"
"""The book's own checkpoint, in half precision, which the built book has as `_static/weights/book.safetensors`."""

GRID_SIDES = (8, 16, 24, 32)
"""Patches along a picture's longer side."""


class YourPictureWidget(BookWidget):
    """Drop a photo on the page and look inside the network: nothing of it leaves the reader's device.

    Five views: similarity of patches (also with a second picture), PCA colours, attention, the same patch after
    each block, and hiding patches. Each is seen by trained and by random weights, and by pixels where they have a
    say. The weights are not part of the page: on a press the page fetches the file that the build put beside it,
    and a live kernel hands it over.

    Traitlets, all readable from Python after a reader moved the control:
        view: "similarity", "colours", "attention", "blocks" or "masking".
        network: "trained", "random" or "pixels".
        size: pixels of the longer side that the network sees.
        photo, other: name of the picture looked at and of the second one; the reader's own are "yours 1" ...
        place: the chosen patch as shares of the picture's height and width, so that it stays where it is when the
            size changes.
        more, less: places of the patches that are wanted and not wanted; `place` alone where `more` is empty.
        threshold: patches from this cosine up are outlined.
        tap: what a tap does in the view of similarity, "one", "more" or "less".
        query, block: who looks ("cls" or "patch") in which block, from 1.
        cut, foreground_high, together: where the first component is cut (standard deviations), on which side the
            foreground lies, and whether both pictures share one PCA.
        hidden: hidden patches, such as "4x4:0660" (the middle): rows, columns and the bits row by row, as
            hexadecimal digits.

    Args:
        samples: name to picture, at least two, for readers without one of their own.
        weights: a .safetensors file that holds its `ViTConfig`, as `save_book_checkpoint` writes it (official weights
            in half precision, for one); the book's own if None. A built page can fetch the book's own only.
        source: whose weights these are, in a few words for the caption.
        still, alt: the still figure and its words, as in `BookWidget`.
        values: starting values of the traitlets.

    Raises:
        ValueError: fewer than two samples, or a file without its sizes.
        PictureError: a sample cannot be read.
    """

    _esm = bundle("your_picture.js")
    samples = traitlets.List(traitlets.Bytes()).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    config = traitlets.Dict().tag(sync=True)
    sizes = traitlets.List(traitlets.Int()).tag(sync=True)
    weights_file = traitlets.Unicode().tag(sync=True)
    megabytes = traitlets.Float().tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)

    view = traitlets.Enum(["similarity", "colours", "attention", "blocks", "masking"], "similarity").tag(
        sync=True
    )
    network = traitlets.Enum(["trained", "random", "pixels"], "trained").tag(sync=True)
    size = traitlets.Int().tag(sync=True)
    photo = traitlets.Unicode().tag(sync=True)
    other = traitlets.Unicode().tag(sync=True)
    place = traitlets.List(traitlets.Float(), [0.5, 0.5], minlen=2, maxlen=2).tag(sync=True)
    more = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    less = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    threshold = traitlets.Float(0.7, min=0.0, max=1.0).tag(sync=True)
    tap = traitlets.Enum(["one", "more", "less"], "one").tag(sync=True)
    query = traitlets.Enum(["cls", "patch"], "cls").tag(sync=True)
    block = traitlets.Int(1, min=1).tag(sync=True)
    cut = traitlets.Float(0.0, min=-2.0, max=2.0).tag(sync=True)
    foreground_high = traitlets.Bool(True).tag(sync=True)
    together = traitlets.Bool(True).tag(sync=True)
    hidden = traitlets.Unicode("8x8:fa6f9cd191835419").tag(sync=True)

    def __init__(
        self,
        samples: Mapping[str, Picture],
        *,
        weights: str | Path | None = None,
        source: str = "",
        still: Any = None,
        alt: str = "",
        **values: Any,
    ) -> None:
        if len(samples) < 2:
            raise ValueError(f"wanted at least two samples, by name, got {list(samples)}")
        path = local_path(weights or BOOK_WEIGHTS)
        self._weights = path.read_bytes()
        config = _sizes_in(self._weights, path)
        names, sides = list(samples), [side * config["patch_size"] for side in GRID_SIDES]
        values = {
            "photo": names[0], "other": names[1], "size": sides[1], "block": config["depth"], **values,
        }  # fmt: skip
        super().__init__(
            still=still, alt=alt, samples=[image_bytes(one, longest=320) for one in samples.values()],
            names=names, config=config, sizes=sides, weights_file=path.name,
            megabytes=len(self._weights) / 1e6, source=source, **values,
        )  # fmt: skip
        self.on_msg(self._hand_over)

    @traitlets.validate("photo", "other", "size", "block")
    def _known(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        own = name in ("photo", "other") and value.startswith("yours ")
        blocks = range(1, self.config["depth"] + 1)
        allowed = {"size": self.sizes, "block": blocks}.get(name, self.names)
        if not (own or value in allowed):
            raise traitlets.TraitError(f"{name}: wanted one of {list(allowed)}, got {value!r}")
        return value

    def _hand_over(self, _: Any, message: dict[str, Any], buffers: list[Any]) -> None:
        """Send the weights to a page that asks for them: only a live kernel hears it."""
        if message.get("wanted") == self.weights_file:
            self.send({"weights": self.weights_file}, [self._weights])

    @property
    def n_bytes(self) -> int:
        """Bytes of data that this control adds to a page, before base64 makes them a third more."""
        return sum(map(len, self.samples))


def _sizes_in(content: bytes, path: Path) -> dict[str, Any]:
    """The `ViTConfig` that a .safetensors file holds as metadata, as a dict."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return json.loads(header["__metadata__"]["config"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} holds no sizes of a backbone: give a .safetensors file that `save_book_checkpoint` wrote"
        ) from None
