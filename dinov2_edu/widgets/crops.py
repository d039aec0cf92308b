"""Multi-crop on a real photo: where the crops are cut, what the network gets, what each augmentation does."""

from typing import Any

import traitlets
from PIL import Image

from dinov2_edu.pictures import Picture
from dinov2_edu.widgets._base import BookWidget, as_image, bundle, image_bytes


class CropsWidget(BookWidget):
    """Draws two global crops and up to ten local ones with torchvision's rule, as `dinov2_edu.crops` does.

    Traitlets, all readable from Python after a reader moved the control:
        global_scale, local_scale: smallest and largest share of the photo's area, above 0 to 1.
        ratio: smallest and largest width / height.
        n_local: number of local crops.
        seed: number of the draw; the same number gives the same crops.
        crop: the crop that is looked at; 0 and 1 are the global ones.
        moved: for each crop the (top, left) that it was dragged to, in pixels of the photo; empty where it was drawn.
        augmented: for each crop, which of "flip", "colour", "blur", "solarise" are done to it.
        boxes: (top, left, height, width) of each crop, in pixels of the photo as handed over (`photo_size`).

    Args:
        photo: a path, a PIL image, an array of bytes: whatever `read_rgb` reads; shrunk to at most 640 pixels a side.
        photo_alt: what the photo shows, in words.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.
    """

    _esm = bundle("crops.js")
    photo = traitlets.Bytes().tag(sync=True)
    photo_alt = traitlets.Unicode("a photo").tag(sync=True)
    photo_size = traitlets.Tuple(traitlets.Int(), traitlets.Int(), help="height and width").tag(sync=True)
    global_scale = traitlets.List(traitlets.Float(), [0.32, 1.0], minlen=2, maxlen=2).tag(sync=True)
    local_scale = traitlets.List(traitlets.Float(), [0.05, 0.32], minlen=2, maxlen=2).tag(sync=True)
    ratio = traitlets.List(traitlets.Float(), [3 / 4, 4 / 3], minlen=2, maxlen=2).tag(sync=True)
    n_local = traitlets.Int(8, min=0, max=10).tag(sync=True)
    seed = traitlets.Int(14, min=0).tag(sync=True)
    crop = traitlets.Int(0, min=0, max=11).tag(sync=True)
    moved = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)
    augmented = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    boxes = traitlets.List(traitlets.List(traitlets.Int())).tag(sync=True)

    def __init__(self, photo: Picture, **values: Any) -> None:
        image = as_image(photo)
        image.thumbnail((640, 640), Image.Resampling.LANCZOS)
        size = (image.height, image.width)
        super().__init__(photo=image_bytes(image), photo_size=size, **values)
