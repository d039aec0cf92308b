"""Scenes with known masks, and the stereo pair whose disparity is held to the pixels themselves."""

import numpy as np
import pytest
import torch

from dinov2_edu.data import (
    DataUnavailable,
    ImageSet,
    drawn_scenes,
    mosaic_scenes,
    patterns10,
    shifted_pair,
    stereo_pair,
)
from dinov2_edu.data import stereo as stereo_module


def flat_pictures(n_classes=10, each=2, side=8):
    """Pictures whose one colour says their class: 20 times the class."""
    labels = torch.arange(n_classes).repeat_interleave(each)
    images = (20 * labels).to(torch.uint8)[:, None, None, None].expand(-1, 3, side, side).contiguous()
    return ImageSet(images, labels, tuple(f"c{i}" for i in range(n_classes)), "flat")


def test_drawn_scenes_repeat_and_a_seed_changes_them():
    first, again, other = drawn_scenes(6), drawn_scenes(6), drawn_scenes(6, seed=1)
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)
    assert not torch.equal(first.labels, drawn_scenes(6, split="test").labels)
    assert first.images.shape == (6, 3, 64, 64) and first.labels.shape == (6, 64, 64)
    assert "seed 1" in other.name and first.class_names[0] == "background" and len(first.class_names) == 11


def test_a_thing_is_its_texture_and_the_rest_is_smooth(monkeypatch):
    """With things of one colour a class, a pixel's label can be read from the pixel."""

    def flat(n, **_):
        labels = torch.arange(n) % 10
        images = torch.zeros(n, 3, 32, 32, dtype=torch.uint8)
        images[:, 0] = (250 - 3 * labels)[:, None, None]
        return ImageSet(images, labels, tuple("abcdefghij"), "flat")

    monkeypatch.setattr("dinov2_edu.data.scenes.patterns10", flat)
    scenes = drawn_scenes(20)
    red = scenes.images[:, 0].int() - scenes.images[:, 1] > 100  # backgrounds are grey, with a little noise
    assert torch.equal(red, scenes.labels > 0)
    read = (250 - scenes.images[:, 0].long()) // 3 + 1
    assert torch.equal(read[red], scenes.labels[red])


def test_things_have_many_sizes_and_shapes_and_leave_background():
    labels = drawn_scenes(60).labels
    background = (labels == 0).float().mean(dim=(1, 2))
    assert 0.5 < background.min() < background.max() < 0.97
    assert set(labels.unique().tolist()) == set(range(11))
    assert max(len(one.unique()) for one in labels) == 4  # three things and the background


def test_the_pictures_under_things_are_of_the_split():
    """Without noise of the background in the way: some 3 x 3 piece of a thing lies in some picture of its split."""
    scenes = drawn_scenes(4, split="test", seed=3)
    inside = (scenes.labels[0] > 0).nonzero()
    row, col = inside[len(inside) // 2].tolist()
    found = []
    for split in ("test", "train"):
        pictures = patterns10(12, split=split, seed=3).images
        pieces = torch.nn.functional.unfold(pictures.float(), (2, 2))
        piece = scenes.images[0, :, row : row + 2, col : col + 2].float().reshape(1, -1, 1)
        found.append(float((pieces - piece).abs().amax(dim=1).min()))
    assert found[0] < found[1] and found[0] <= 1  # one for rounding


def test_mosaics_say_the_class_of_every_pixel():
    scenes = mosaic_scenes(flat_pictures(), 30, generator=torch.Generator().manual_seed(0))
    assert scenes.images.shape == (30, 3, 16, 16)
    assert torch.equal(scenes.images[:, 0].long(), 20 * scenes.labels)
    per_scene = torch.tensor([len(one.unique()) for one in scenes.labels])
    assert per_scene.max() == 9 or per_scene.max() == 6 or per_scene.max() == 4
    offsets = {int((one[0] == one[0, 0]).sum()) for one in scenes.labels}
    assert len(offsets) > 3  # cut at many places


def test_a_mosaic_needs_enough_classes_and_squares():
    draw = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="needs pictures of 9 classes, got 4"):
        mosaic_scenes(flat_pictures(4), 1, generator=draw)
    tall = ImageSet(torch.zeros(9, 3, 8, 6).byte(), torch.arange(9), tuple("abcdefghi"), "tall")
    with pytest.raises(ValueError, match="square"):
        mosaic_scenes(tall, 1, generator=draw)


# ---- the stereo pair ----


def warped_difference(pair, sign, reference, other):
    """Mean difference between one photo and the other, moved by the disparity."""
    rows, cols = (~pair.disparity.isnan()).nonzero().unbind(1)
    there = (cols + sign * pair.disparity[rows, cols]).round().long()
    inside = (there >= 0) & (there < pair.left.shape[-1])
    rows, cols, there = rows[inside], cols[inside], there[inside]
    return float((reference[:, rows, cols].float() - other[:, rows, there].float()).abs().mean())


def test_disparity_belongs_to_the_left_photo():
    """scikit-image's docstring says the other reading; the pixels decide."""
    pytest.importorskip("skimage")
    pair = stereo_pair()
    ours = warped_difference(pair, -1, pair.left, pair.right)
    assert ours == pytest.approx(8.2, abs=0.1)
    assert warped_difference(pair, 1, pair.right, pair.left) == pytest.approx(15.6, abs=0.1)
    assert warped_difference(pair, 1, pair.left, pair.right) > 40


def test_depth_is_triangulation():
    pytest.importorskip("skimage")
    pair = stereo_pair()
    known = ~pair.disparity.isnan()
    assert 0.9 < known.float().mean() < 0.95
    wanted = 193.001 * 994.978 / (pair.disparity[known].double().numpy() + 31.086) / 1000
    np.testing.assert_allclose(pair.depth[known], wanted, rtol=1e-5)
    assert 2.1 < wanted.min() < wanted.max() < 5.1
    assert torch.equal(pair.depth.isnan(), ~known)


@pytest.mark.parametrize("missing", ["package", "file"])
def test_without_the_files_it_says_what_to_install(monkeypatch, tmp_path, missing):
    class Found:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(stereo_module, "find_spec", lambda name: None if missing == "package" else Found)
    with pytest.raises(DataUnavailable, match="pip install scikit-image"):
        stereo_pair()
    notice = shifted_pair().notice
    assert "not installed here or does not hold it" in notice, "true in both cases"


def test_a_pair_made_of_one_photo_matches_exactly_and_says_what_it_is():
    pair = shifted_pair()
    assert warped_difference(pair, -1, pair.left, pair.right) == 0
    assert "stands in" in pair.notice and stereo_pair().notice == ""
    assert pair.left.shape == pair.right.shape and pair.disparity.shape == pair.left.shape[1:]
