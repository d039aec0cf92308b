"""Sample photos that ship inside the packages this one depends on: nothing to download, nothing to copy."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from dinov2_edu.checks import checked, require
from dinov2_edu.data.imageset import DataUnavailable
from dinov2_edu.pictures import read_rgb


@dataclass(frozen=True)
class SampleImage:
    """Where a sample photo lies and what must be said beside it.

    Attributes:
        package: the installed package that ships the file.
        file: its path inside that package.
        credit: who made it.
        licence: the terms it may be shown under.
        source: where it was published.
        alt: what it shows, for readers who cannot see it.
    """

    package: str
    file: str
    credit: str
    licence: str
    source: str
    alt: str


SAMPLE_IMAGES: dict[str, SampleImage] = {
    "china": SampleImage(
        package="sklearn",
        file="datasets/images/china.jpg",
        credit="danielbuechele, shipped with scikit-learn",
        licence="CC BY 2.0",
        source="https://www.flickr.com/photos/danielbuechele/6061409035/",
        alt="A pagoda of four storeys with red walls and orange roofs stands among trees; behind it lie a "
        "wide pale lake with boats and a hazy sky.",
    ),
    "flower": SampleImage(
        package="sklearn",
        file="datasets/images/flower.jpg",
        credit="vultilion, shipped with scikit-learn",
        licence="CC BY 2.0",
        source="https://www.flickr.com/photos/vultilion/6056698931/",
        alt="A round orange dahlia in full bloom, seen from the front, before blurred dark green leaves; the "
        "top of a second flower shows at the lower edge.",
    ),
    "hopper": SampleImage(
        package="matplotlib",
        file="mpl-data/sample_data/grace_hopper.jpg",
        credit="James S. Davis, United States Navy, 1984, shipped with matplotlib",
        licence="public domain",
        source="https://commons.wikimedia.org/wiki/File:Commodore_Grace_M._Hopper,_USN_(covered).jpg",
        alt="Portrait of Grace Hopper, a computer scientist, in glasses, a dark navy uniform and a "
        "white-topped cap, before a blue background; the flag of the United States hangs on the left.",
    ),
}
"""The sample photos by name, with credit, licence, source and a description of each."""


@checked
def sample_image(name: str = "china") -> Image.Image:
    """Open a sample photo as an RGB picture.

    Args:
        name: a key of `SAMPLE_IMAGES`.

    Raises:
        ValueError: no sample photo has this name.
        DataUnavailable: the package that ships it is not installed, or no longer ships it.
    """
    require(name in SAMPLE_IMAGES, f"there is no sample photo {name!r}, only {', '.join(SAMPLE_IMAGES)}")
    sample = SAMPLE_IMAGES[name]
    package = find_spec(sample.package)
    folders = list(package.submodule_search_locations or []) if package is not None else []
    for folder in folders:
        path = Path(folder, sample.file)
        if path.is_file():
            return Image.fromarray(read_rgb(path))
    raise DataUnavailable(
        f"the sample photo {name!r} ships with {sample.package} as {sample.file}, which is not there: "
        f"reinstall {sample.package}, or give the path of a picture of your own"
    )


SAMPLE_SQUARES: dict[str, tuple[str, int, int, int]] = {
    "pagoda": ("china", 10, 0, 427),
    "closer": ("china", 70, 30, 260),
    "flower": ("flower", 95, 0, 427),
    "portrait": ("hopper", 0, 40, 512),
}
"""Squares of the sample photos by name: photo, left, top, side in its pixels. The second lies within the first."""


@checked
def sample_square(name: str = "pagoda") -> Image.Image:
    """Cut a square out of a sample photo and resize it to 448 x 448 pixels.

    Args:
        name: a key of `SAMPLE_SQUARES`.

    Raises:
        ValueError: no square has this name.
        DataUnavailable: as `sample_image`.
    """
    require(name in SAMPLE_SQUARES, f"there is no square {name!r}, only {', '.join(SAMPLE_SQUARES)}")
    photo, left, top, side = SAMPLE_SQUARES[name]
    return sample_image(photo).crop((left, top, left + side, top + side)).resize((448, 448))
