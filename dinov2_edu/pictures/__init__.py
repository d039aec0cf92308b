"""One reader for every kind of picture: files, bytes, opened PIL images, arrays and tensors become RGB bytes.

Every door of the package reads through `read_rgb` (or `read_tensor`, the same as a tensor), so one photo is the
same pixels in a crop, a feature, a figure and a control. Nothing here needs torch.
"""

from dinov2_edu.pictures.error import PictureError, path_text
from dinov2_edu.pictures.reading import MAX_PIXELS, Picture, read_rgb, read_tensor

__all__ = ["MAX_PIXELS", "Picture", "PictureError", "path_text", "read_rgb", "read_tensor"]
