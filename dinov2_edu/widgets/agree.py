"""One step on a photo: what student and teacher see of it, and how alike the network finds it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import traitlets

from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import bundle, one_of
from dinov2_edu.widgets._network import NetworkWidget

GLOBAL_PATCHES, LOCAL_PATCHES = 16, 8
"""Patches along a side of a global and a local crop: 16 by 16 as in DINOv2 at 224 pixels, half of it for local ones."""


class AgreeWidget(NetworkWidget):
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
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: fewer than two samples, or a file without its sizes.
        PictureError: a sample cannot be read.
    """

    _esm = bundle("agree.js")
    seed = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(
        self, samples: Mapping[str, Picture], *, weights: str | Path | None = None, **values: Any
    ) -> None:
        given = self._read(samples, weights, (GLOBAL_PATCHES, LOCAL_PATCHES))
        super().__init__(**given, **{"photo": given["names"][0], **values})

    @traitlets.validate("photo")
    def _known(self, proposal: dict[str, Any]) -> Any:
        return one_of(self.names, proposal)
