"""One reader for every kind of picture: files, bytes, opened PIL images, arrays and tensors become RGB bytes.

Every part of the package reads through `read_rgb` (or `read_tensor`, the same as a tensor), so one photo is the
same pixels in a crop, a feature, a figure and a control. `read_folder` says which pictures a folder holds, and
`read_ahead` reads many within a bound of memory. Nothing here needs torch.

`contents` finds what stands behind a picture, `decoding` turns a file's bytes into a PIL image, `pixels` that
into RGB by its mode; `folders` and `ahead` are for many.
"""

from dinov2_edu.pictures.ahead import Hashed, Known, read_ahead
from dinov2_edu.pictures.contents import Picture
from dinov2_edu.pictures.decoding import MAX_PIXELS
from dinov2_edu.pictures.error import OR_SKIP, PictureError, path_text
from dinov2_edu.pictures.folders import PictureFolder, find_pictures, left_out_text, read_folder
from dinov2_edu.pictures.reading import read_rgb, read_tensor

__all__ = [
    "MAX_PIXELS",
    "OR_SKIP",
    "Hashed",
    "Known",
    "Picture",
    "PictureError",
    "PictureFolder",
    "find_pictures",
    "left_out_text",
    "path_text",
    "read_ahead",
    "read_folder",
    "read_rgb",
    "read_tensor",
]
