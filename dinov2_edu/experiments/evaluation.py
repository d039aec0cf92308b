"""What a run is worth while it runs: k-NN accuracy of the teacher's features, labels used for nothing else.

Of whole pictures by their class token, and of places by their patch token.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dinov2_edu.checks import check_at_least, checked
from dinov2_edu.data import ImageSet
from dinov2_edu.data.mosaics import Mosaics
from dinov2_edu.features import ExtractOptions, Features, Preprocessing, extract_features, patch_tokens
from dinov2_edu.numerics import stream, torch_defaults
from dinov2_edu.probe import knn_accuracy
from dinov2_edu.vit import VisionTransformer


def quiet_features(backbone: VisionTransformer, *sets: ImageSet, n_layers: int = 1) -> list[Features]:
    """Features of some sets of pictures, all at the size that the last one has, without a bar.

    In float32 on each chip: in bfloat16 the book's k-NN accuracy on CIFAR-10 is 0.16 points higher.
    """
    preprocessing = Preprocessing(size=sets[-1].images.shape[-1])
    options = ExtractOptions(progress=False, precision="float32", n_layers=n_layers)
    return [extract_features(backbone, one, preprocessing=preprocessing, options=options) for one in sets]


def pixel_rows(*sets: ImageSet) -> list[Tensor]:
    """What "raw pixels" are in every table: numbers of 0 to 1, less the mean picture of the first set, a row each."""
    rows = [one.images.flatten(1).float() / 255 for one in sets]
    mean = rows[0].mean(dim=0)
    return [one - mean for one in rows]


@checked
@torch_defaults()
def knn_evaluator(
    train: ImageSet, test: ImageSet, *, n_train: int = 5000
) -> Callable[[VisionTransformer], float]:
    """A function that gives a backbone's k-NN accuracy (k = 20, temperature 0.07) on `test`, 0 to 1.

    Args:
        train: the labelled neighbours.
        test: what is classified.
        n_train: use so many neighbours, drawn at random from `train`, to keep an evaluation short.
    """
    check_at_least(1, n_train=n_train)
    # Not every k-th image: where labels repeat in order, that would leave out whole classes.
    drawn = torch.randperm(len(train), generator=stream("k-NN neighbours"))
    train = train.subset(drawn[:n_train])

    def accuracy(backbone: VisionTransformer) -> float:
        known, asked = quiet_features(backbone, train, test)
        return knn_accuracy(known.cls, train.labels, asked.cls, test.labels)

    return accuracy


@checked
@torch_defaults()
def dense_evaluator(train: Mosaics, test: Mosaics) -> Callable[[VisionTransformer], float]:
    """A function that gives a backbone's k-NN accuracy (k = 20, temperature 0.07) on single patches, 0 to 1.

    Each patch token of `test` is classified by the patch tokens of `train`.
    """

    def accuracy(backbone: VisionTransformer) -> float:
        rows = train.images.shape[-1] // backbone.config.patch_size
        labels = [one.patch_labels(rows).flatten() for one in (train, test)]
        ready = Preprocessing(size=train.images.shape[-1])
        known, asked = (patch_tokens(backbone, ready(one.images)) for one in (train, test))
        return knn_accuracy(known.flatten(0, 1), labels[0], asked.flatten(0, 1), labels[1])

    return accuracy
