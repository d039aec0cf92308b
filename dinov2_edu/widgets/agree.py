"""One step on a photo: what student and teacher see of it, and how alike the network finds it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import traitlets

from dinov2_edu.files import local_path
from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import BookWidget, bundle, image_bytes
from dinov2_edu.widgets.your_picture import BOOK_WEIGHTS, YourPictureWidget, _header

GLOBAL_PATCHES, LOCAL_PATCHES = 16, 8
"""Patches along a side of a global and a local crop: 16 by 16 as in DINOv2 at 224 pixels, half of it for local ones."""


class AgreeWidget(BookWidget):
    """Draws the crops and masks of a step on a photo; on a press the network, in the page, says how alike they are.

    Each press draws anew. What is compared are class tokens: those of the student's crops with the teacher's of the
    other global crop (of a local crop, with both), and, to hold that beside, with global crops of the other photos; by
    trained and by random weights. One network plays both parts.

    Traitlets, all readable from Python after a reader moved the control:
        seed: of the boxes, flips and masks.
        photo: name of the photo looked at.

    Args:
        samples: name to picture, at least two.
        weights: a .safetensors file as `YourPictureWidget` takes it; the book's own if None.
        source: whose weights these are, in a sentence for the caption.
        still, alt: the still figure and its words, as in `BookWidget`.
        values: starting values of the traitlets.

    Raises:
        ValueError: fewer than two samples, or a file without its sizes.
        PictureError: a sample cannot be read.
    """

    _esm = bundle("agree.js")
    samples = traitlets.List(traitlets.Bytes()).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    config = traitlets.Dict().tag(sync=True)
    sizes = traitlets.List(traitlets.Int()).tag(sync=True)
    global_size = traitlets.Int().tag(sync=True)
    local_size = traitlets.Int().tag(sync=True)
    weights_file = traitlets.Unicode().tag(sync=True)
    megabytes = traitlets.Float().tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)

    seed = traitlets.Int(0, min=0).tag(sync=True)
    photo = traitlets.Unicode().tag(sync=True)

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
        self._files = {path.name: path.read_bytes()}
        config = _header(self._files[path.name], path, "config", "sizes of a backbone")
        names = list(samples)
        sides = [n * config["patch_size"] for n in (GLOBAL_PATCHES, LOCAL_PATCHES)]
        super().__init__(
            still=still, alt=alt, samples=[image_bytes(one, longest=320) for one in samples.values()],
            names=names, config=config, sizes=sides, global_size=sides[0], local_size=sides[1],
            weights_file=path.name, megabytes=len(self._files[path.name]) / 1e6, source=source,
            **{"photo": names[0], **values},
        )  # fmt: skip
        self.on_msg(self._hand_over)

    @traitlets.validate("photo")
    def _known(self, proposal: dict[str, Any]) -> Any:
        if proposal["value"] not in self.names:
            raise traitlets.TraitError(f"photo: wanted one of {self.names}, got {proposal['value']!r}")
        return proposal["value"]

    _hand_over = YourPictureWidget._hand_over

    @property
    def n_bytes(self) -> int:
        """Bytes of data that this control adds to a page, before base64 makes them a third more."""
        return sum(map(len, self.samples))
