"""Correspondence: which patch of another picture shows the same place, and how often that is right."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from dinov2_edu.checks import check_above_zero, checked, require
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.probe.checks import check_rows


@checked
@torch_defaults()
def best_matches(queries: Float[Tensor, "m d"], others: Float[Tensor, "n d"]) -> Int[Tensor, " m"]:
    """For each patch of one picture the most similar patch of another, by cosine.

    Args:
        queries: patch tokens of the one.
        others: patch tokens of the other.

    Raises:
        ValueError: no rows, or numbers that are not finite.
    """
    check_rows(queries, "queries")
    check_rows(others, "others")
    unit = normalize(others, dim=1).T
    return torch.cat([(part @ unit).argmax(dim=1) for part in queries.split(2048)])


@checked
@torch_defaults()
def correct_keypoints(
    found: Float[Tensor, "m 2"], truth: Float[Tensor, "m 2"], distances: Sequence[float]
) -> list[float]:
    """PCK, the share of points found within each of some distances of the truth.

    Args:
        found: where each point was found, (row, column).
        truth: where it is, in the same unit.
        distances: in that unit; a point exactly at a distance counts.

    Raises:
        ValueError: no points, places that are not finite, or a distance that is not above 0.

    Source: Y. Yang and D. Ramanan, "Articulated human detection with flexible mixtures of parts", 2013, which
        takes distances as shares of the object's size.
    """
    check_rows(found, "found")
    check_rows(truth, "truth")
    require(len(distances) > 0, "distances is empty: wanted at least one")
    for distance in distances:
        check_above_zero(distance=distance)
    off = (found - truth).double().norm(dim=1)
    return [float((off <= distance).double().mean()) for distance in distances]


@checked
@torch_defaults()
def stereo_truth(disparity: Float[Tensor, "height width"], grid: tuple[int, int]) -> Float[Tensor, "n 2"]:
    """Where the middle of each patch of the left photo lies in the right one: (row, column), in patches of the grid.

    The median of what was measured in the patch counts; NaN where less than half of it was measured, or where the place
    lies outside the right photo.

    Args:
        disparity: pixels, NaN where unknown.
        grid: rows and columns of patches that both photos are cut into.

    Raises:
        ValueError: a grid finer than the pixels.
    """
    height, width = disparity.shape
    rows, cols = grid
    require(
        1 <= rows <= height and 1 <= cols <= width,
        f"grid must lie in (1, 1) to {(height, width)}, got {grid}",
    )
    edges = [
        torch.linspace(0, side, n + 1).round().long().tolist() for side, n in ((height, rows), (width, cols))
    ]
    truth = torch.full((rows, cols, 2), torch.nan)
    for row in range(rows):
        for col in range(cols):
            part = disparity[edges[0][row] : edges[0][row + 1], edges[1][col] : edges[1][col + 1]]
            known = part[~part.isnan()]
            place = (
                col - float(known.median()) * cols / width if 2 * len(known) >= part.numel() else torch.nan
            )
            if -0.5 <= place <= cols - 0.5:  # between the photo's edges; false for NaN as well
                truth[row, col] = torch.tensor([float(row), place])
    return truth.flatten(0, 1)


@checked
@torch_defaults()
def precision_at_k(features: Float[Tensor, "n d"], labels: Int[Tensor, " n"], k: int) -> Float[Tensor, " n"]:
    """Retrieval: the share of each picture's k nearest others (cosine) that are of its class.

    Args:
        features: one row a picture.
        labels: class of each.
        k: how many are retrieved; a picture is never retrieved for itself.

    Raises:
        ValueError: rows that are not finite, or k that is not below their number.
    """
    check_rows(features, "features")
    require(1 <= k < len(features), f"k must lie in 1 to {len(features) - 1}, got {k}")
    similar: Tensor = normalize(features, dim=1) @ normalize(features, dim=1).T
    own: Bool[Tensor, "n n"] = torch.eye(len(features), dtype=torch.bool, device=features.device)
    nearest = similar.masked_fill(own, -2.0).topk(k).indices
    return (labels[nearest] == labels[:, None]).float().mean(dim=1)
