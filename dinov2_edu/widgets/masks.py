"""Block masks over a photo's patches: what is asked for, what gets masked, and a whole batch of crops."""

from typing import Any

import traitlets
from PIL import Image, ImageOps

from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import BookWidget, as_image, bundle, image_bytes


class MasksWidget(BookWidget):
    """Draws masks with the rule of `dinov2_edu.masking.block_masks` and counts how often one falls short.

    Traitlets, all readable from Python after a reader moved the control:
        view: "one" crop with its histogram, or a "batch" of 16 crops of which half are masked.
        ratio: share of the patches that is asked for in the view of one crop.
        smallest: smallest area that is drawn for a block, in patches.
        aspect: smallest height / width of a block; the largest is its inverse.
        draws: how many masks have been drawn; the last one is shown.
        crop: the crop of the batch that is shown, 0 to 15.
        masked: the numbers of the masked patches that are shown, in row order (True in the boolean mask).

    Args:
        photo: a path, a PIL image, an array of bytes: whatever `read_rgb` reads; its middle square is used.
        grid: patches down and across, at least 2.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: a grid too small for blocks.
    """

    _esm = bundle("masks.js")
    photo = traitlets.Bytes().tag(sync=True)
    grid = traitlets.Int(16).tag(sync=True)
    view = traitlets.Enum(["one", "batch"], "one").tag(sync=True)
    ratio = traitlets.Float(0.3, min=0.0, max=1.0).tag(sync=True)
    smallest = traitlets.Int(4, min=1).tag(sync=True)
    aspect = traitlets.Float(0.3, min=0.01, max=1.0).tag(sync=True)
    draws = traitlets.Int(1, min=1).tag(sync=True)
    crop = traitlets.Int(1, min=0, max=15).tag(sync=True)
    masked = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, photo: Picture, *, grid: int = 16, **values: Any) -> None:
        if grid < 2:
            raise ValueError(f"grid must be at least 2 patches, so that a block fits into it, got {grid}")
        square = ImageOps.fit(as_image(photo), (448, 448), Image.Resampling.LANCZOS)
        super().__init__(photo=image_bytes(square), grid=grid, **values)
