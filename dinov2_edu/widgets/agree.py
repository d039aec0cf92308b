"""One step on a photo: what student and teacher see of it, and how alike the network finds it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import traitlets

from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import bundle
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
        still, alt: the still figure and its words, as in `BookWidget`.
        values: starting values of the traitlets.

    Raises:
        ValueError: fewer than two samples, or a file without its sizes.
        PictureError: a sample cannot be read.
    """

    _esm = bundle("agree.js")
    global_size = traitlets.Int().tag(sync=True)
    local_size = traitlets.Int().tag(sync=True)
    seed = traitlets.Int(0, min=0).tag(sync=True)

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
        given = self._read(samples, weights, (GLOBAL_PATCHES, LOCAL_PATCHES))
        sides = dict(zip(("global_size", "local_size"), given["sizes"], strict=True))
        values = {"photo": given["names"][0], **values}
        super().__init__(still=still, alt=alt, source=source, **given, **sides, **values)

    @traitlets.validate("photo")
    def _known(self, proposal: dict[str, Any]) -> Any:
        if proposal["value"] not in self.names:
            raise traitlets.TraitError(f"photo: wanted one of {self.names}, got {proposal['value']!r}")
        return proposal["value"]
