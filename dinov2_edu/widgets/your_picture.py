"""Your picture: a photo of the reader's own, looked at through the book's network, which runs in the page."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import traitlets

from dinov2_edu.files import local_path
from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import bundle, one_of
from dinov2_edu.widgets._network import BOOK_HEADS, BOOK_WEIGHTS, NetworkWidget, header_of, metadata_of

BANK = "nearest.safetensors"
"""The name under which the built book has the pictures of `dinov2_edu.experiments.nearest`."""

GRID_SIDES = (8, 16, 24, 32)
"""Patches along a picture's longer side."""

VIEWS = ("similarity", "colours", "attention", "blocks", "masking")


class YourPictureWidget(NetworkWidget):
    """Drop a photo on the page and look inside the network: nothing of it leaves the reader's device.

    Five views: similarity of patches (also with a second picture), PCA colours, attention, the same patch after each
    block, and hiding patches; prototypes, where the weights came with the heads of their run; and the nearest pictures
    of CIFAR-10 and their vote, where there is a bank of them. Each is seen by trained and by random weights, and by
    pixels where they have a say (prototypes by the trained alone). Weights, heads and bank are not part of the page: on
    a press the page fetches the files that the build put beside it, and a live kernel hands them over.

    Traitlets, all readable from Python after a reader moved the control:
        view: "similarity", "colours", "attention", "blocks", "masking" or, with heads, "prototypes", or, with a bank,
            "nearest".
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
            in half precision, for one); the book's own, with the heads of its run, if None. A built page can fetch the
            book's own only.
        bank: from `nearest_bank`; None for none.
        source: whose weights these are, in a few words for the caption.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: fewer than two samples, a file without its sizes, or a bank that other weights have embedded.
        PictureError: a sample cannot be read.
    """

    _esm = bundle("your_picture.js")
    bank = traitlets.Dict().tag(sync=True)
    heads = traitlets.Dict().tag(sync=True)

    view = traitlets.Unicode("similarity").tag(sync=True)
    network = traitlets.Enum(["trained", "random", "pixels"], "trained").tag(sync=True)
    size = traitlets.Int().tag(sync=True)
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
        bank: str | Path | None = None,
        **values: Any,
    ) -> None:
        given = self._read(samples, weights, GRID_SIDES)
        (photo, other, *_), depth = given["names"], given["config"]["depth"]
        values = {"photo": photo, "other": other, "size": given["sizes"][1], "block": depth, **values}
        about = self._take_bank(bank, local_path(weights or BOOK_WEIGHTS))
        heads = self._take_heads(given) if weights is None else {}
        super().__init__(bank=about, heads=heads, **given, **values)

    def _take_heads(self, given: dict[str, Any]) -> dict[str, Any]:
        """Keep the heads of the book's own run for the page, and return what is said of them."""
        if not BOOK_HEADS.is_file():
            return {}
        content, backbone = BOOK_HEADS.read_bytes(), self._digest(BOOK_WEIGHTS.name)
        try:
            header = header_of(content)
            whose = header["__metadata__"]["backbone"]
            n_prototypes, _ = header["teacher.dino_head.last_layer.weight_v"]["shape"]
        except (ValueError, KeyError):
            whose = None
        if whose != backbone:
            raise ValueError(f"{BOOK_HEADS.name} holds no heads of {BOOK_WEIGHTS.name}: restore both")
        self._files[BOOK_HEADS.name] = content
        megabytes = len(content) / 1e6
        given["megabytes"] += megabytes  # one press loads both
        about = {"file": BOOK_HEADS.name, "prototypes": n_prototypes}
        return about | {"megabytes": megabytes, "backbone": backbone}

    def _digest(self, name: str) -> str:
        return hashlib.sha256(self._files[name]).hexdigest()

    def _take_bank(self, bank: str | Path | None, weights: Path) -> dict[str, Any]:
        """Keep a bank's bytes for the page, and return what is said of it."""
        if bank is None:
            return {}
        content = local_path(bank).read_bytes()
        about = metadata_of(content, local_path(bank), "bank", "bank of pictures")
        if about["weights"] != self._digest(weights.name):
            raise ValueError(f"{bank}: other weights than {weights} have embedded its pictures; make it anew")
        self._files[BANK] = content
        return {**about, "file": BANK, "megabytes": len(content) / 1e6}

    @traitlets.validate("view", "photo", "other", "size", "block")
    def _known(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        own = name in ("photo", "other") and value.startswith("yours ")
        choices: dict[str, list] = {
            "view": [*VIEWS, *(["prototypes"] if self.heads else []), *(["nearest"] if self.bank else [])],
            "size": list(self.sizes),
            "block": list(range(1, self.config["depth"] + 1)),
        }
        allowed = choices.get(name, list(self.names))
        return value if own else one_of(allowed, proposal)
