"""Curation: copies, retrieval and clusters against loops over all pairs; the messy collection against its own truth."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs

from dinov2_edu.data import ImageSet, patterns10
from dinov2_edu.data.messy import COPIES, messy_collection
from dinov2_edu.data.mosaics import pattern_mosaics
from dinov2_edu.experiments.evaluation import dense_evaluator
from dinov2_edu.probe import copy_groups, group_scores, keep_first, retrieve, retrieve_clusters
from dinov2_edu.vit import VisionTransformer, ViTConfig


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def loops_over_pairs(features, threshold):
    """Groups by spreading the lowest number of a group along its pairs until nothing changes."""
    unit = features / features.norm(dim=1, keepdim=True)
    numbers = list(range(len(unit)))
    changed = True
    while changed:
        changed = False
        for i in range(len(unit)):
            for j in range(len(unit)):
                if unit[i] @ unit[j] >= threshold and numbers[j] > numbers[i]:
                    numbers[j], changed = numbers[i], True
    names = sorted(set(numbers))
    return [names.index(number) for number in numbers]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.9, 0.95, 0.98])
def test_groups_are_those_of_loops_over_all_pairs(seed, threshold):
    features = torch.randn(40, 3, generator=seeded(seed)) * torch.rand(40, 1, generator=seeded(9)) * 7
    wanted = loops_over_pairs(features, threshold)
    assert 1 < len(set(wanted)) < 40
    assert copy_groups(features, threshold).tolist() == wanted


def test_groups_reach_along_a_chain_whose_ends_are_far_apart():
    angles = torch.arange(10) * 0.2
    chain = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert chain[0] @ chain[-1] < 0 and copy_groups(chain, 0.97).tolist() == [0] * 10
    assert copy_groups(chain, 0.99).tolist() == list(range(10))


def test_a_pair_counts_when_one_is_among_the_others_neighbours():
    """A picture whose own neighbour list is full is still joined by those who name it."""
    middle, angles = torch.tensor([[1.0, 0.0]]), torch.tensor([0.1, 0.3, -0.4])
    around = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert copy_groups(torch.cat([middle, around]), 0.9, k=2).tolist() == [0, 0, 0, 0]


def test_the_first_of_each_group_is_kept():
    assert keep_first(torch.tensor([2, 0, 2, 1, 0])).tolist() == [True, True, False, True, False]


def test_scores_count_pairs():
    generator = seeded(3)
    groups = torch.randint(5, (30,), generator=generator)
    truth = torch.randint(7, (30,), generator=generator)
    pairs = [(i, j) for i in range(30) for j in range(i)]
    joined = {(i, j) for i, j in pairs if groups[i] == groups[j]}
    right = {(i, j) for i, j in pairs if truth[i] == truth[j]}
    precision, recall = group_scores(groups, truth)
    assert precision == pytest.approx(len(joined & right) / len(joined))
    assert recall == pytest.approx(len(joined & right) / len(right))
    alone = torch.arange(30)
    assert group_scores(alone, truth) == (1.0, 0.0) and group_scores(groups, alone) == (0.0, 1.0)


def test_retrieval_takes_each_querys_nearest_once():
    pool, queries = torch.randn(50, 6, generator=seeded()), torch.randn(8, 6, generator=seeded(1))
    wanted = set()
    for query in queries.numpy():
        similar = [row @ query / np.linalg.norm(row) for row in pool.numpy()]
        wanted |= set(np.argsort(similar)[-3:].tolist())
    found = retrieve(pool, queries, 3).tolist()
    assert found == sorted(wanted) and len(found) < 24


def blobs():
    """Five separate bunches on the sphere of very unequal sizes, and their numbers."""
    centers = torch.eye(5, 8).numpy() * 10
    rows, names = make_blobs([100, 60, 40, 20, 10], 8, centers=centers, cluster_std=0.3, random_state=0)
    return torch.from_numpy(rows).float(), torch.from_numpy(names)


def test_clusters_with_queries_give_equal_samples_and_others_nothing():
    pool, names = blobs()
    queries = torch.cat([pool[names == 0][:5], pool[names == 3][:4], pool[names == 4][:2]]) + 0.05
    taken = retrieve_clusters(pool, queries, n_clusters=5, per_cluster=15, generator=seeded(2))
    assert torch.bincount(names[taken], minlength=5).tolist() == [15, 0, 0, 15, 0]  # 2 queries are too few
    all_of_it = retrieve_clusters(pool, queries, n_clusters=5, per_cluster=99, least=1, generator=seeded(2))
    assert torch.bincount(names[all_of_it], minlength=5).tolist() == [99, 0, 0, 20, 10]
    assert taken.tolist() == sorted(set(taken.tolist()))


def test_clusters_follow_their_generator_and_direction_alone():
    pool, names = blobs()
    queries = pool[names == 1][:6]
    one, other = (
        retrieve_clusters(rows, queries, n_clusters=5, per_cluster=9, generator=seeded(1))
        for rows in (pool, pool * torch.rand(len(pool), 1, generator=seeded()).add(0.5))
    )
    assert torch.equal(one, other)
    third = retrieve_clusters(pool, queries, n_clusters=5, per_cluster=9, generator=seeded(4))
    assert not torch.equal(one, third)


def test_too_few_queries_retrieve_nothing():
    pool, _ = blobs()
    found = retrieve_clusters(pool, pool[:2], n_clusters=5, per_cluster=9, generator=seeded())
    assert found.shape == (0,) and found.dtype == torch.int64


@pytest.fixture(scope="module")
def messy():
    return messy_collection(patterns10(120), 12, seeded(7))


def test_a_messy_collection_says_the_truth_about_each_picture(messy):
    assert torch.bincount(messy.kinds).tolist() == [120] + [12] * len(COPIES)
    assert len(messy.pictures) == len(messy.kinds) == len(messy.sources) == 120 + 12 * len(COPIES)
    originals = {int(s): i for i, s in enumerate(messy.sources) if messy.kinds[i] == 0}
    copies = [i for i in range(len(messy.kinds)) if messy.kinds[i]]
    assert len(originals) == 120 and len({int(messy.sources[i]) for i in copies}) == len(copies)
    images, labels = messy.pictures.images.int(), messy.pictures.labels
    for i in copies:
        original = originals[int(messy.sources[i])]
        assert labels[i] == labels[original]
        far = (images[i] - images[original]).abs().float().mean()
        kind = list(COPIES)[messy.kinds[i] - 1]
        if kind == "same bytes":
            assert far == 0
        elif kind == "mirrored":
            assert torch.equal(images[i].flip(2), images[original]) and far > 0
        else:
            assert 1 < far < 90, kind


def test_a_crop_shows_the_upper_right(messy):
    row = torch.arange(64.0).expand(3, 64, 64).byte()  # brighter to the right
    crop = COPIES["cropped to 75 %"](row)
    assert crop.shape == row.shape and abs(int(crop[0, 32, 0]) - 16) <= 1 and int(crop[0, 32, -1]) >= 62
    down = COPIES["cropped to 75 %"](row.transpose(1, 2).contiguous())
    assert int(down[0, 0, 32]) <= 1 and abs(int(down[0, -1, 32]) - 47) <= 1


def test_the_order_and_the_choice_follow_the_generator():
    one, other = (messy_collection(patterns10(80), 5, seeded(seed)) for seed in (1, 2))
    assert torch.equal(one.sources, messy_collection(patterns10(80), 5, seeded(1)).sources)
    assert not torch.equal(one.sources, other.sources)
    with pytest.raises(ValueError, match="5 x 20 copies need as many originals, got 80"):
        messy_collection(patterns10(80), 20, seeded())


def test_copies_with_equal_features_are_found_and_nothing_else(messy):
    """A feature that knows the source finds every copy: precision and recall 1."""
    features = torch.randn(120, 64, generator=seeded())[messy.sources]
    groups = copy_groups(features, 0.99)
    assert group_scores(groups, messy.sources) == (1.0, 1.0) and int(keep_first(groups).sum()) == 120


@pytest.mark.parametrize("size", [16, 32])
def test_a_mosaics_quarters_are_middles_of_pictures_of_their_class(size):
    mosaics = pattern_mosaics(12, size=size)
    drawn = patterns10(48, size=size, seed=1)
    half, quarter = size // 2, size // 4
    middles = drawn.images[:, :, quarter : quarter + half, quarter : quarter + half]
    used = []
    for image, classes in zip(mosaics.images, mosaics.quarters, strict=True):
        for row in (0, 1):
            for column in (0, 1):
                part = image[:, row * half : (row + 1) * half, column * half : (column + 1) * half]
                source = next(i for i, middle in enumerate(middles) if torch.equal(middle, part))
                used.append(source)
                assert drawn.labels[source] == classes[row, column]
    assert sorted(used) == list(range(48))


def test_patch_labels_follow_the_quarters():
    mosaics = pattern_mosaics(3, split="test", size=16)
    labels = mosaics.patch_labels(4)
    for row in range(4):
        for column in range(4):
            assert torch.equal(labels[:, row, column], mosaics.quarters[:, row // 2, column // 2])
    with pytest.raises(ValueError, match="rows must be even"):
        mosaics.patch_labels(3)
    assert not torch.equal(mosaics.images, pattern_mosaics(3, size=16).images)


def test_the_dense_measure_is_one_for_tokens_that_know_their_class(monkeypatch):
    model = VisionTransformer(ViTConfig(img_size=16, patch_size=4, width=16, depth=1, heads=2)).eval()
    train, test = pattern_mosaics(40, size=16), pattern_mosaics(10, split="test", size=16)
    chance = dense_evaluator(train, test)(model)
    assert 0.05 < chance < 0.6
    labels = {len(one.images): one.patch_labels(4).flatten(1) for one in (train, test)}
    codes = torch.eye(10)
    monkeypatch.setattr(
        "dinov2_edu.experiments.evaluation.patch_tokens", lambda _, images: codes[labels[len(images)]]
    )
    assert dense_evaluator(train, test)(model) == 1.0


def test_an_image_set_without_enough_pictures_is_refused():
    tiny = ImageSet(torch.zeros(3, 3, 8, 8).byte(), torch.zeros(3).long(), ("one",), "tiny")
    with pytest.raises(ValueError, match="copies need as many originals, got 3"):
        messy_collection(tiny, 1, seeded())
