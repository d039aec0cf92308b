"""Two photos of one scene whose true matches and depths were measured; they ship inside scikit-image."""

import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dinov2_edu.data.imageset import DataUnavailable
from dinov2_edu.data.sample_photos import SAMPLE_IMAGES, sample_image
from dinov2_edu.pictures import PictureError, read_rgb

FOCAL_LENGTH = 994.978
"""Of the stereo pair, in pixels."""
BASELINE = 0.193001
"""Metres between the two cameras of the stereo pair."""
SHIFT = 31.086
"""Pixels between the two cameras' middles, to be added to a disparity before it becomes a depth."""
_MADE_SHIFT = 30


class StereoPair(NamedTuple):
    """Two rectified photos: column x of the left one is found at x - disparity of the right one, in the same row.

    Attributes:
        left, right: bytes, `3 height width`.
        disparity: pixels, `height width`, of the left photo; NaN where it was not measured.
        credit: who made it.
        source: where it was published.
        notice: a sentence for the reader where this pair stands in for a measured one; "" where it does not.
    """

    left: UInt8[Tensor, "3 height width"]
    right: UInt8[Tensor, "3 height width"]
    disparity: Float[Tensor, "height width"]
    credit: str = (
        "D. Scharstein et al., 'Motorcycle' of the Middlebury stereo data 2014, shipped with scikit-image"
    )
    source: str = "https://vision.middlebury.edu/stereo/data/scenes2014/"
    notice: str = ""

    @property
    def depth(self) -> Float[Tensor, "height width"]:
        """Metres from the cameras, of the left photo; NaN where it was not measured."""
        return BASELINE * FOCAL_LENGTH / (self.disparity + SHIFT)


def stereo_pair() -> StereoPair:
    """Read the stereo pair of a motorcycle in a garage, 741 x 500 pixels, about 2 to 5 metres away.

    scikit-image's docstring places the disparity in the right photo (`left[y, x + d]` is `right[y, x]`). The pixels say
    otherwise: `right[y, x - d]` differs from `left[y, x]` by 8 of 255 on average, the other reading by 16. A test holds
    that.

    Raises:
        DataUnavailable: scikit-image is not installed, or no longer ships the files.

    Source: D. Scharstein et al., "High-resolution stereo datasets with subpixel-accurate ground truth", GCPR 2014;
        calibration as in the docstring of `skimage.data.stereo_motorcycle`.
    """
    found = find_spec("skimage")
    folders = list(found.submodule_search_locations or []) if found is not None else []
    for folder in folders:
        data = Path(folder, "data")
        try:
            left, right = (_read(data / f"motorcycle_{side}.png") for side in ("left", "right"))
            with np.load(data / "motorcycle_disp.npz") as file:
                disparity = file["arr_0"].astype(np.float32)
        except (PictureError, OSError, KeyError, zipfile.BadZipFile):
            continue
        disparity[~np.isfinite(disparity)] = np.nan
        return StereoPair(left, right, torch.from_numpy(disparity))
    raise DataUnavailable(
        "the stereo pair ships with scikit-image, which is not installed here or does not hold it: "
        "pip install scikit-image"
    )


def shifted_pair() -> StereoPair:
    """Make a pair out of one photo, cut twice with 30 pixels between: matches are exact, and there is no depth in it.

    It stands in where `stereo_pair` raises: scikit-image is not installed, or does not hold the pair.
    """
    sample = SAMPLE_IMAGES["china"]
    photo = torch.from_numpy(read_rgb(sample_image("china")).copy()).permute(2, 0, 1)
    left, right = photo[:, :, :-_MADE_SHIFT], photo[:, :, _MADE_SHIFT:]
    disparity = torch.full(left.shape[1:], float(_MADE_SHIFT))
    disparity[:, :_MADE_SHIFT] = torch.nan  # not in the right one
    notice = (
        "The stereo pair ships with scikit-image, which is not installed here or does not hold it: one photo, cut "
        "twice, stands in; it has no depth."
    )
    return StereoPair(left, right, disparity, sample.credit, sample.source, notice)


def _read(path: Path) -> Tensor:
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)
