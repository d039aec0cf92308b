"""Crops of a photo against the photo: the truth is read from pictures whose colours say where a pixel lies."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

from dinov2_edu.crops import denormalize
from dinov2_edu.probe import crop_pairs, matched_shares
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD


def map_of_places(height=240, width=200):
    """A picture whose red says the row and whose green says the column, 0 to 255 over the picture."""
    red = torch.linspace(0, 255, height)[:, None].expand(height, width)
    green = torch.linspace(0, 255, width).expand(height, width)
    return torch.stack([red, green, torch.full_like(red, 128)]).round().byte()[None]


def read_places(images, grid):
    """(row, column) in patches of the whole picture, from the mean colour of each patch."""
    colours = denormalize(images, IMAGENET_MEAN, IMAGENET_STD)
    means = avg_pool2d(colours, images.shape[-1] // grid)[:, :2]
    return means.flatten(2).transpose(1, 2) * grid - 0.5


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_truth_is_where_the_pixels_come_from(mirrored, monkeypatch):
    monkeypatch.setattr("dinov2_edu.probe.matching.augment", lambda images, *_, **__: images)  # colours stay
    draw = torch.Generator().manual_seed(0)
    photos = torch.cat([map_of_places(), map_of_places().flip(2)])  # the second runs upwards
    pairs = crop_pairs(photos, 80, 8, 6, disturbed=mirrored, generator=draw)
    read = read_places(pairs.crops, 8)
    read[6:, :, 0] = 7 - read[6:, :, 0]
    assert (read - pairs.truth).abs().max() < 0.1
    assert pairs.photo.tolist() == [0] * 6 + [1] * 6
    leftwards = pairs.truth[:, 1, 1] < pairs.truth[:, 0, 1]
    assert bool(leftwards.any()) == mirrored and not leftwards.all()


def test_disturbance_keeps_places_and_changes_colours():
    photos = map_of_places()
    plain, disturbed = (
        crop_pairs(photos, 40, 4, 20, disturbed=one, generator=torch.Generator().manual_seed(1))
        for one in (False, True)
    )
    rows = plain.truth[..., 0], disturbed.truth[..., 0]
    assert torch.equal(*rows) and torch.equal(plain.wholes, disturbed.wholes)
    same = (plain.truth == disturbed.truth).flatten(1).all(dim=1)
    assert (
        3 < same.sum() < 17 and (plain.crops - disturbed.crops)[same].abs().amax(dim=(1, 2, 3)).min() > 0.05
    )


def test_tokens_that_know_their_place_match_and_equal_ones_do_not():
    pairs = crop_pairs(map_of_places(), 80, 8, 6, disturbed=True, generator=torch.Generator().manual_seed(0))

    def tokens(places):
        """On a sphere, so that the nearest by cosine is the nearest place."""
        flat = (places - 3.5) / 20
        return torch.cat([flat, (1 - flat.square().sum(-1, keepdim=True)).sqrt()], dim=-1)

    grid = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0))[None]
    assert matched_shares(pairs, tokens(grid), tokens(pairs.truth)).tolist() == [1.0] * 6
    far = pairs.truth + torch.tensor([2.0, 0.0])
    assert matched_shares(pairs, tokens(grid), tokens(far)).max() < 0.3  # right only where the grid ends
    first = (pairs.truth.norm(dim=-1) < 1).float().mean(dim=1)  # all alike: the first patch is taken
    assert torch.equal(matched_shares(pairs, torch.ones(1, 64, 3), torch.ones(6, 64, 3)), first)
