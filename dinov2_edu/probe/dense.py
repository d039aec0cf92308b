"""A dense test for small models: scenes with known masks, linear and k-NN segmentation, and matching across views.

It runs in about a minute a network on one core and fetches nothing. Whatever turns pictures into patch tokens can be
tested: a backbone, raw pixels, a mean colour.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dinov2_edu.checks import check_at_least, checked, require
from dinov2_edu.crops import normalize, resize
from dinov2_edu.data.scenes import Scenes
from dinov2_edu.numerics import stream, torch_defaults
from dinov2_edu.probe.folds import image_folds
from dinov2_edu.probe.knn import knn_predict
from dinov2_edu.probe.matching import crop_pairs, matched_shares
from dinov2_edu.probe.segmentation import class_shares, confusion, fit_segmenter, mean_iou
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD

_LABELLED, _ASKED = 8000, 4000  # patches a fold in the k-NN
_CROPS = 4  # of each scene that is matched
_MATCHED = 40  # scenes


class DenseScores(NamedTuple):
    """What patch tokens are worth, each from 0 to 1.

    Attributes:
        linear: mean IoU of pixels, a linear layer, all folds together.
        linear_folds: the same of each fold alone.
        knn: mean IoU of patches, 20 nearest labelled patches, all folds together.
        matched: share of patches of mirrored, jittered crops that find their place, less than one patch off.
    """

    linear: float
    linear_folds: tuple[float, ...]
    knn: float
    matched: float


@checked
@torch_defaults()
def dense_test(
    tokens_of: Callable[[Tensor], Tensor],
    scenes: Scenes,
    grid: int,
    *,
    input_size: int | None = None,
    n_folds: int = 3,
    seed: int = 0,
) -> DenseScores:
    """Segment and match scenes by patch tokens, with folds over pictures.

    Args:
        tokens_of: from normalised images `b 3 side side` to patch tokens `b n d` of a square grid.
        scenes: square pictures and the class of every pixel.
        grid: patches a side; it must divide the side of the scenes.
        input_size: side in pixels that pictures are resized to before `tokens_of` sees them; None leaves them.
        n_folds: each fold is tested once by what the others taught.
        seed: of folds, of the patches that k-NN sees, and of the crops; the same for every network.

    Raises:
        ValueError: fewer pictures than folds, a grid that does not fit, or tokens of another shape.
    """
    check_at_least(1, grid=grid, input_size=input_size)
    check_at_least(0, seed=seed)
    size, n_classes = scenes.images.shape[-1], len(scenes.class_names)
    require(size % grid == 0, f"grid must divide the scenes' side of {size} pixels, got {grid}")
    generator = stream("dense test", seed)
    folds = image_folds(len(scenes.images), n_folds, generator=generator)
    shares = class_shares(scenes.labels, size // grid, n_classes)
    images = resize(scenes.images, input_size or size)
    tokens = tokens_of(normalize(images, IMAGENET_MEAN, IMAGENET_STD))
    wanted, got = tuple(shares.shape[:2]), tuple(tokens.shape)
    require(
        tokens.ndim == 3 and got[:2] == wanted,
        f"tokens_of: wanted tokens of shape {(*wanted, 'd')}, got {got}",
    )
    classes = shares.argmax(dim=2)
    by_pixel, by_patch = [], torch.zeros(n_classes, n_classes, dtype=torch.long)
    for train, test in folds:
        fitted = fit_segmenter(tokens[train], shares[train])
        by_pixel.append(confusion(fitted.predict(tokens[test], size), scenes.labels[test], n_classes))
        known = _some(len(train) * grid**2, _LABELLED, generator)
        asked = _some(len(test) * grid**2, _ASKED, generator)
        rows = tokens[train].flatten(0, 1)[known], tokens[test].flatten(0, 1)[asked]
        votes = knn_predict(rows[0], classes[train].flatten()[known], rows[1])
        by_patch += confusion(votes.argmax(dim=1), classes[test].flatten()[asked], n_classes)
    some = scenes.images[:_MATCHED]
    pairs = crop_pairs(some, input_size or size, grid, _CROPS, disturbed=True, generator=generator)
    matched = matched_shares(pairs, tokens_of(pairs.wholes), tokens_of(pairs.crops))
    folded = tuple(mean_iou(one) for one in by_pixel)
    total = torch.stack(by_pixel).sum(dim=0)
    return DenseScores(mean_iou(total), folded, mean_iou(by_patch), float(matched.mean()))


def _some(n: int, most: int, generator: torch.Generator) -> Tensor:
    """At most so many of n rows, drawn without replacement."""
    return torch.randperm(n, generator=generator)[:most]
