"""Pictures of several things with the class of every pixel: drawn ones, and mosaics of real pictures."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import interpolate

from dinov2_edu.checks import check_at_least, check_one_of, checked, require
from dinov2_edu.data.imageset import ImageSet
from dinov2_edu.data.patterns import PATTERN_CLASSES, patterns10
from dinov2_edu.numerics import stream, torch_defaults
from dinov2_edu.shapes import ByteImages

_THING = 32  # side of a thing's picture, the size that small networks are trained at
_THINGS = 3  # in a scene
_SIDE = 64  # of a drawn scene, in pixels
_TILES = 2  # along the side of a scene cut out of a mosaic, which has one more each way
_NOISE = 0.04  # of the background, as in Patterns10


class Scenes(NamedTuple):
    """Pictures and what each of their pixels shows.

    Attributes:
        images: bytes, `b 3 height width`.
        labels: `b height width`, each the index of a class name.
        class_names: one name a class.
        name: which scenes these are, for captions.
    """

    images: ByteImages
    labels: Int[Tensor, "b height width"]
    class_names: tuple[str, ...]
    name: str


@checked
@torch_defaults()
def drawn_scenes(n: int, *, split: str = "train", seed: int = 0) -> Scenes:
    """Draw scenes, 64 x 64, of three things cut out of Patterns10 on a smooth grey background, with exact masks.

    A thing is a diamond, an ellipse or a rounded rectangle, 16 to 32 pixels across, filled with one texture; a later
    one may cover part of an earlier one. Class 0 is the background, class i + 1 texture i. The shape says nothing about
    the texture. The same arguments always give the same scenes.

    Args:
        n: how many scenes.
        split: "train" or "test": which pictures of Patterns10 the things are cut from; the two share none.
        seed: which scenes, 0 or more.

    Raises:
        ValueError: an argument outside these bounds.
    """
    check_at_least(1, n=n)
    check_at_least(0, seed=seed)
    check_one_of(("train", "test"), split=split)
    generator = stream("scenes", seed, int(split == "test"))  # other numbers than draw the textures
    things = patterns10(_THINGS * n, split=split, size=_THING, seed=seed)
    order = torch.randperm(len(things), generator=generator)  # so that a scene holds any three classes
    pictures, classes = things.images[order] / 255, things.labels[order]
    masks = _outlines(len(things), generator)
    corners = torch.randint(_SIDE - _THING + 1, (len(things), 2), generator=generator)
    images = _backgrounds(n, _SIDE, generator)
    labels = torch.zeros(n, _SIDE, _SIDE, dtype=torch.long)
    for i in range(len(things)):
        top, left = corners[i].tolist()
        here = slice(top, top + _THING), slice(left, left + _THING)
        scene = i // _THINGS
        images[scene][:, here[0], here[1]] = torch.where(
            masks[i], pictures[i], images[scene][:, here[0], here[1]]
        )
        labels[scene][here] = torch.where(masks[i], classes[i] + 1, labels[scene][here])
    names = ("background", *PATTERN_CLASSES)
    shown = f"drawn scenes of Patterns10 things, {split} split, {_SIDE} px, seed {seed}"
    return Scenes((images * 255).round().to(torch.uint8), labels, names, shown)


def _outlines(count: int, generator: torch.Generator) -> Tensor:
    """Masks `count 32 32`, True inside |x / a|^p + |y / b|^p < 1, turned: p = 1 is a diamond, 2 an ellipse."""
    draws = torch.rand(4, count, 1, 1, generator=generator)
    line = torch.arange(_THING) + 0.5 - _THING / 2
    down, across = torch.meshgrid(line, line, indexing="ij")
    angle = draws[0] * torch.pi
    x = across * angle.cos() + down * angle.sin()
    y = down * angle.cos() - across * angle.sin()
    half_width, half_height = (_THING / 4 * (1 + draws[i]) for i in (1, 2))
    power = torch.tensor([1.0, 2.0, 6.0])[(3 * draws[3]).long()]
    return (x / half_width).abs() ** power + (y / half_height).abs() ** power < 1


def _backgrounds(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Smooth greys between 4 x 4 random levels, as dark and as light as the things, with noise: `n 3 size size`."""
    levels = 0.15 + 0.7 * torch.rand(n, 1, 4, 4, generator=generator)
    smooth = interpolate(levels, size=(size, size), mode="bicubic", align_corners=True)
    noise = _NOISE * (torch.rand(n, 3, size, size, generator=generator) - 0.5)
    return (smooth + noise).clamp(0, 1)


@checked
@torch_defaults()
def mosaic_scenes(pictures: ImageSet, n: int, *, generator: torch.Generator) -> Scenes:
    """Cut scenes, 2 x 2 pictures large, out of mosaics of 3 x 3 of different classes, at a random offset.

    A pixel's label is the class of the picture it lies in: background and thing of one picture share it. So this asks
    where a picture of a class is, not where the outline of a thing is.

    Args:
        pictures: square pictures of at least 9 classes.
        n: how many scenes.
        generator: draws pictures and offsets.

    Raises:
        ValueError: pictures that are not square, or too few classes.
    """
    check_at_least(1, n=n)
    side, wide = pictures.images.shape[-2:]
    require(side == wide, f"wanted square pictures, got {side} x {wide}: crop or resize them")
    present = pictures.labels.unique()
    across = _TILES + 1
    wanted = across**2
    require(len(present) >= wanted, f"a mosaic needs pictures of {wanted} classes, got {len(present)}")
    members = {label: (pictures.labels == label).nonzero()[:, 0] for label in present.tolist()}
    size = _TILES * side
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    labels = torch.empty(n, size, size, dtype=torch.long)
    for i in range(n):
        chosen = present[torch.randperm(len(present), generator=generator)[:wanted]]
        rows = [_one_of(members[label], generator) for label in chosen.tolist()]
        square = pictures.images[torch.stack(rows)].unflatten(0, (across, across))
        mosaic = square.permute(2, 0, 3, 1, 4).reshape(3, size + side, size + side)
        classes = chosen.view(across, across).repeat_interleave(side, 0).repeat_interleave(side, 1)
        top, left = torch.randint(side + 1, (2,), generator=generator).tolist()
        images[i] = mosaic[:, top : top + size, left : left + size]
        labels[i] = classes[top : top + size, left : left + size]
    return Scenes(images, labels, pictures.class_names, f"mosaics of {pictures.name}")


def _one_of(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randint(len(rows), (), generator=generator)]
