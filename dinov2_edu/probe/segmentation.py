"""Semantic segmentation by a linear layer on frozen patch tokens, and how it is judged."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from dinov2_edu.checks import check_above_zero, check_at_least, checked, require
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.probe.checks import check_rows
from dinov2_edu.shapes import PatchTokens

_ITERATIONS = 60


@checked
@torch_defaults()
def class_shares(
    labels: Integer[Tensor, "b height width"], patch: int, n_classes: int
) -> Float[Tensor, "b n classes"]:
    """Which share of each patch's pixels belongs to each class.

    Args:
        labels: the class of every pixel, from 0.
        patch: side of a patch in pixels; it must tile the pictures.
        n_classes: above every label.

    Raises:
        ValueError: patches that do not tile the pictures, or labels outside 0 to `n_classes` - 1.
    """
    check_at_least(1, patch=patch, n_classes=n_classes)
    _check_labels(labels, n_classes)
    b, height, width = labels.shape
    tiles = height % patch == 0 and width % patch == 0
    require(tiles, f"patches of {patch} pixels do not tile {height} x {width} pixels")
    shape = (b, height // patch, patch, width // patch, patch, n_classes)
    return one_hot(labels.long(), n_classes).float().view(shape).mean(dim=(2, 4)).flatten(1, 2)


@dataclass(frozen=True)
class LinearSegmenter:
    """A fitted linear layer from patch tokens to classes.

    Attributes:
        weight, bias: of the layer, on standardised tokens.
        mean, std: of the training tokens, each feature's own.
    """

    weight: Float[Tensor, "d classes"]
    bias: Float[Tensor, " classes"]
    mean: Float[Tensor, " d"]
    std: Float[Tensor, " d"]

    @checked
    @torch_defaults()
    @torch.no_grad()
    def logits(self, tokens: PatchTokens) -> Float[Tensor, "b n classes"]:
        """A score for each class at each patch.

        Raises:
            ValueError: tokens of another width.
        """
        wide = tokens.shape[-1] == len(self.mean)
        require(wide, f"this layer was fitted on tokens {len(self.mean)} wide, got {tokens.shape[-1]}")
        return (tokens - self.mean) / self.std @ self.weight + self.bias

    @checked
    def predict(self, tokens: PatchTokens, size: int) -> Int[Tensor, "b size size"]:
        """The class of every pixel of square pictures: logits, made larger bilinearly, then the largest.

        Args:
            tokens: patch tokens of square pictures.
            size: side of the pictures in pixels.

        Raises:
            ValueError: tokens of another width, or not of a square grid.
        """
        return upsample(self.logits(tokens), size).argmax(dim=1)


@checked
@torch_defaults()
def upsample(logits: Float[Tensor, "b n classes"], size: int) -> Float[Tensor, "b classes size size"]:
    """Logits of a square grid of patches as one score map a class, bilinear between the patches' middles.

    Args:
        logits: a score for each class at each patch.
        size: side of the maps in pixels.

    Raises:
        ValueError: the number of patches is no square.

    Source: paper, section 7.4: the low-resolution logit map is made larger bilinearly.
    """
    check_at_least(1, size=size)
    side = math.isqrt(logits.shape[1])
    require(side**2 == logits.shape[1], f"wanted a square grid of patches, got {logits.shape[1]} patches")
    maps = logits.transpose(1, 2).unflatten(2, (side, side))
    return interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


@checked
@torch_defaults()
def fit_segmenter(
    tokens: PatchTokens, shares: Float[Tensor, "b n classes"], *, weight_decay: float = 1e-3
) -> LinearSegmenter:
    """Fit a linear layer on frozen tokens by L-BFGS, with cross-entropy over all pixels.

    While it learns, every pixel has its patch's logits. The mean cross-entropy over a patch's pixels is then the
    cross-entropy with the *shares* of the classes in it, so that no map has to be made larger. (The official head
    makes the logits larger bilinearly while it learns, too, and puts a batch normalisation in front; here tokens are
    standardised once.)

    Args:
        tokens: patch tokens of the training pictures.
        shares: from `class_shares`; rows sum to 1.
        weight_decay: times half the sum of the squared weights, added to the loss.

    Raises:
        ValueError: tokens that are not finite, or shares that do not sum to 1.

    Source: paper, section 7.4; official `dinov2/eval/segmentation/models/decode_heads/linear_head.py` @ b8931f7.
    """
    check_above_zero(weight_decay=weight_decay)
    rows = tokens.flatten(0, 1).float()
    targets = shares.flatten(0, 1).to(rows)
    check_rows(rows, "tokens")
    off = float((targets.sum(dim=1) - 1).abs().max())
    require(off < 1e-3, f"shares: wanted rows that sum to 1, one is {off:.3g} off: use class_shares")
    mean, std = rows.mean(dim=0), rows.std(dim=0, correction=0)
    std = torch.where(std > 1e-6, std, 1.0)
    rows = (rows - mean) / std
    weight = torch.zeros(rows.shape[1], targets.shape[1], device=rows.device, requires_grad=True)
    bias = torch.zeros(targets.shape[1], device=rows.device, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        found = -(targets * (rows @ weight + bias).log_softmax(dim=1)).sum(dim=1).mean()
        found = found + weight_decay / 2 * weight.square().sum()
        found.backward()
        return found

    solver.step(loss)
    return LinearSegmenter(weight.detach(), bias.detach(), mean, std)


@checked
@torch_defaults()
def confusion(
    predicted: Integer[Tensor, "*places"], truth: Integer[Tensor, "*places"], n_classes: int
) -> Int[Tensor, "classes classes"]:
    """Count places by their true class (row) and the predicted one (column).

    Args:
        predicted: a class for each place, from 0.
        truth: the true one, of the same shape.
        n_classes: above every label.

    Raises:
        ValueError: labels outside 0 to `n_classes` - 1.
    """
    check_at_least(1, n_classes=n_classes)
    for labels in (predicted, truth):
        _check_labels(labels, n_classes)
    places = truth.flatten().long() * n_classes + predicted.flatten().long()
    return places.bincount(minlength=n_classes**2).view(n_classes, n_classes)


@checked
@torch_defaults()
def mean_iou(counts: Int[Tensor, "classes classes"]) -> float:
    """Mean intersection over union, 0 to 1: a class's right places over those that are it or are called it.

    Classes that neither the truth nor the prediction holds are left out. Counts of several pictures, or folds, are
    added before: a mean over pictures would be another number.

    Args:
        counts: from `confusion`, or a sum of such.

    Raises:
        ValueError: no counts, or negative ones.
    """
    require(bool((counts >= 0).all()) and int(counts.sum()) > 0, "wanted counts of at least one place")
    right = counts.diagonal().double()
    union = counts.sum(dim=0) + counts.sum(dim=1) - counts.diagonal()
    return float((right / union)[union > 0].mean())


def _check_labels(labels: Tensor, n_classes: int) -> None:
    require(labels.numel() > 0, "labels: wanted at least one, got none")
    low, high = int(labels.min()), int(labels.max())
    require(0 <= low and high < n_classes, f"labels must lie in 0 to {n_classes - 1}, got {low} to {high}")
