"""A folder of pictures as people have them, made for trying things out: nothing in it was prepared for training."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from dinov2_edu.checks import checked, require
from dinov2_edu.data.imageset import ImageSet
from dinov2_edu.data.sample_photos import sample_image
from dinov2_edu.files import local_path

_ORIENTATION = 0x0112  # the EXIF tag of how the camera was held
_QUARTER = 6


@checked
def untidy_folder(root: str | os.PathLike, pictures: ImageSet) -> Path:
    """Write pictures into a folder nobody has tidied up: a sub-folder a class, and everything that gets into one.

    Most are JPEG files; every tenth picture is enlarged, grey, transparent, in an animation's format, or turned with
    the camera's note of it. Some lie two folders deeper, under names that are not ASCII. Beside them: the same file
    twice, a file that was cut, an empty one, notes, a hidden file, and a large photo in no sub-folder.

    Args:
        root: made if missing; must be empty.
        pictures: at least 20 of them.

    Returns:
        The folder.

    Raises:
        ValueError: it holds something, or there are too few pictures.
    """
    place = local_path(root)
    require(len(pictures) >= 20, f"an untidy folder wants 20 pictures or more, got {len(pictures)}")
    require(not place.is_dir() or not any(place.iterdir()), f"{place} holds something: name another folder")
    for number, (image, label) in enumerate(
        zip(pictures.images.permute(0, 2, 3, 1).numpy(), pictures.labels.tolist(), strict=True)
    ):
        folder = place / pictures.class_names[label]
        if number % 10 == 9:
            folder = folder / "2019" / "Été à la mer"
        folder.mkdir(parents=True, exist_ok=True)
        _save(image, folder, number)
    first = sorted(path for path in place.rglob("*.jpg"))[0]
    content = first.read_bytes()
    first.with_name("Copy of " + first.name).write_bytes(content)
    first.with_name("IMG_cut.jpg").write_bytes(content[: len(content) // 2])
    first.with_name("download.png").write_bytes(b"")
    (place / "notes.txt").write_text("cats: ask Ana for the rest\n")
    (first.parent / ".DS_Store").write_bytes(b"\0")
    sample_image("flower").save(place / "フラワー.jpg")
    return place


def _save(image: np.ndarray, folder: Path, number: int) -> None:
    """One picture, in the format and the form that its number gives it."""
    picture, kind = Image.fromarray(image), number % 10
    if kind == 1:
        picture.resize((90, 60), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.webp")
    elif kind == 2:
        picture.convert("L").save(folder / f"scan {number:04d}.png")
    elif kind == 3:
        picture.putalpha(200)
        picture.save(folder / f"{number:04d}-edit.PNG")
    elif kind == 4:
        picture.quantize(64).save(folder / f"{number:04d}.gif")
    elif kind == 5:  # the camera lay on its side, and noted it
        note = Image.Exif()
        note[_ORIENTATION] = _QUARTER
        picture.transpose(Image.Transpose.ROTATE_90).save(
            folder / f"DSC{number:04d}.JPG", exif=note, quality=92
        )
    else:
        picture.save(folder / f"IMG_{number:04d}.jpg", quality=92)
