"""Dense tasks: counts against loops and scikit-learn, a linear layer against scikit-learn's, and made-up worlds."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, jaccard_score
from torch.nn.functional import cross_entropy, interpolate

from dinov2_edu.data import Scenes
from dinov2_edu.features import pixel_patches
from dinov2_edu.probe import (
    best_matches,
    class_shares,
    confusion,
    correct_keypoints,
    dense_test,
    fit_segmenter,
    image_folds,
    mean_iou,
    precision_at_k,
    stereo_truth,
    upsample,
)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- folds ----


@pytest.mark.parametrize(("n", "folds"), [(9, 9), (10, 3), (7, 2)])
def test_each_picture_is_tested_once_and_never_learnt_from(n, folds):
    dealt = image_folds(n, folds, generator=draw())
    assert sorted(torch.cat([fold.test for fold in dealt]).tolist()) == list(range(n))
    for train, test in dealt:
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(n))
    sizes = [len(fold.test) for fold in dealt]
    assert max(sizes) - min(sizes) <= 1
    assert dealt[0].test.tolist() != sorted(dealt[0].test.tolist()) or n <= folds


# ---- segmentation ----


def test_shares_count_pixels():
    labels = torch.randint(4, (2, 6, 9), generator=draw())
    shares = class_shares(labels, 3, 5)
    assert shares.shape == (2, 6, 5)
    for i in range(2):
        for n in range(6):
            row, col = divmod(n, 3)
            piece = labels[i, 3 * row : 3 * row + 3, 3 * col : 3 * col + 3]
            wanted = [int((piece == c).sum()) / 9 for c in range(5)]
            assert shares[i, n].tolist() == pytest.approx(wanted)
    with pytest.raises(ValueError, match="do not tile"):
        class_shares(labels, 4, 5)


def test_shares_make_the_loss_of_all_pixels():
    """The cross-entropy of shares is the mean one of pixels that have their patch's logits."""
    labels = torch.randint(4, (2, 6, 6), generator=draw())
    logits = torch.randn(2, 4, 4, generator=draw(1))
    maps = logits.transpose(1, 2).unflatten(2, (2, 2))
    by_pixel = cross_entropy(interpolate(maps, scale_factor=3, mode="nearest"), labels)
    shares = class_shares(labels, 3, 4)
    by_share = -(shares * logits.log_softmax(dim=-1)).sum(-1).mean()
    torch.testing.assert_close(by_share, by_pixel)


def test_the_layer_is_scikit_learns():
    tokens = torch.randn(6, 16, 5, generator=draw()) * torch.tensor([1.0, 2.0, 5.0, 0.1, 1.0]) + 3
    hidden = torch.randn(5, 3, generator=draw(1))
    labels = (tokens @ hidden + torch.randn(6, 16, 3, generator=draw(2))).argmax(dim=-1)
    shares = torch.nn.functional.one_hot(labels, 3).float()
    ours = fit_segmenter(tokens, shares, weight_decay=0.01)
    rows = tokens.flatten(0, 1).double().numpy()
    rows = (rows - rows.mean(0)) / rows.std(0)
    theirs = LogisticRegression(C=1 / (0.01 * len(rows)), tol=1e-8, max_iter=1000).fit(rows, labels.flatten())
    np.testing.assert_allclose(
        ours.logits(tokens).softmax(-1).flatten(0, 1), theirs.predict_proba(rows), atol=2e-3
    )
    assert ours.predict(tokens, 4).flatten(1).tolist() == ours.logits(tokens).argmax(-1).tolist()


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-4), (torch.float16, 0.02)])
def test_tokens_of_another_precision_are_fitted_too(dtype, close):
    tokens = torch.randn(6, 16, 5, generator=draw())
    shares = torch.nn.functional.one_hot(torch.randint(3, (6, 16), generator=draw(1)), 3).float()
    wanted, found = (fit_segmenter(one, shares, weight_decay=0.01) for one in (tokens, tokens.to(dtype)))
    torch.testing.assert_close(found.logits(tokens), wanted.logits(tokens), atol=close, rtol=close)


def test_a_feature_that_never_changes_does_no_harm():
    tokens = torch.randn(4, 4, 3, generator=draw())
    tokens[..., 1] = 7.0
    shares = torch.nn.functional.one_hot((tokens[..., 0] > 0).long(), 2).float()
    fitted = fit_segmenter(tokens, shares)
    assert torch.equal(fitted.logits(tokens).argmax(-1), (tokens[..., 0] > 0).long())
    with pytest.raises(ValueError, match="fitted on tokens 3 wide, got 2"):
        fitted.logits(tokens[..., :2])


def test_upsampling_is_bilinear_between_middles():
    logits = torch.tensor([[[0.0], [4.0], [8.0], [12.0]]])  # 2 x 2: rows add 8, columns 4
    maps = upsample(logits, 8)[0, 0]
    for row in range(8):
        for col in range(8):
            y, x = (min(max((at + 0.5) / 4 - 0.5, 0), 1) for at in (row, col))
            assert float(maps[row, col]) == pytest.approx(8 * y + 4 * x, abs=1e-5)
    with pytest.raises(ValueError, match="square grid"):
        upsample(logits[:, :3], 8)


def test_counts_and_iou_are_scikit_learns():
    truth, predicted = (torch.randint(5, (3, 40), generator=draw(i)) for i in (0, 1))
    counts = confusion(predicted, truth, 5)
    assert counts.tolist() == confusion_matrix(truth.flatten(), predicted.flatten(), labels=range(5)).tolist()
    wanted = jaccard_score(truth.flatten(), predicted.flatten(), average="macro")
    assert mean_iou(counts) == pytest.approx(wanted)


def test_a_class_that_is_nowhere_does_not_count():
    counts = confusion(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 3)
    assert mean_iou(counts) == pytest.approx((1 / 2 + 1 / 2) / 2)
    predicted_only = confusion(torch.tensor([0, 2]), torch.tensor([0, 0]), 3)
    assert mean_iou(predicted_only) == pytest.approx((1 / 2 + 0) / 2)


# ---- correspondence and retrieval ----


def test_the_best_match_has_the_largest_cosine():
    queries, others = torch.randn(7, 4, generator=draw()), torch.randn(9, 4, generator=draw(1)) * 5
    cosines = [[float(a @ b / a.norm() / b.norm()) for b in others] for a in queries]
    assert best_matches(queries, others).tolist() == [row.index(max(row)) for row in cosines]


def test_pck_counts_distances():
    truth = torch.zeros(4, 2)
    found = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 5.1], [30.0, 40.0]])
    assert correct_keypoints(found, truth, (1.0, 5.0, 50.0)) == [0.25, 0.5, 1.0]


def test_stereo_truth_moves_patches_left():
    disparity = torch.full((20, 30), 6.0)
    disparity[:, 20:] = 9.0
    disparity[:10, :4] = torch.nan  # most of the first patch
    disparity[0, 10] = 1000.0  # one odd pixel does not move a median
    truth = stereo_truth(disparity, (2, 6)).view(2, 6, 2)  # patches of 10 x 5 pixels
    assert truth[0, 0].isnan().all()
    assert truth[1, 0].isnan().all()  # 6 of 5 pixels to the left: outside
    assert truth[1, 2].tolist() == pytest.approx([1.0, 2 - 6 / 5])
    assert truth[0, 2].tolist() == pytest.approx([0.0, 2 - 6 / 5])
    assert truth[0, 5].tolist() == pytest.approx([0.0, 5 - 9 / 5])


def test_a_place_beyond_either_edge_of_the_right_photo_is_unknown():
    """Patches of 5 pixels: moved 12 to the right, the last two middles, 17.5 and 22.5 of 25, lie beyond it."""
    disparity = torch.full((10, 25), -12.0)
    places = stereo_truth(disparity, (2, 5)).view(2, 5, 2)
    assert places[0, :3, 1].tolist() == pytest.approx([2.4, 3.4, 4.4])
    assert places[:, 3:].isnan().all()
    mirrored = stereo_truth(-disparity, (2, 5)).view(2, 5, 2)
    assert torch.equal(mirrored.isnan(), places.flip(1).isnan())


def test_precision_counts_the_nearest_others():
    features = torch.tensor([[1.0, 0.0], [2.0, 0.1], [1.0, 0.3], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 0, 0])
    assert precision_at_k(features, labels, 1).tolist() == [0.0, 0.0, 0.0, 1.0]
    assert precision_at_k(features, labels, 3).tolist() == pytest.approx([2 / 3, 0, 2 / 3, 2 / 3])


# ---- the whole test ----


def colour_world(n=12, side=16):
    """Scenes whose classes are colours: left and right half differ from scene to scene."""
    labels = torch.randint(3, (n, 1, 2), generator=draw()).repeat_interleave(side // 2, 2)
    labels = labels.expand(n, side, side).contiguous()
    palette = torch.tensor([[250, 10, 10], [10, 250, 10], [10, 10, 250]], dtype=torch.uint8)
    return Scenes(palette[labels].permute(0, 3, 1, 2).contiguous(), labels, ("r", "g", "b"), "colours")


def test_colours_segment_a_world_of_colours_and_noise_does_not():
    world = colour_world()
    seen = dense_test(lambda images: pixel_patches(images, 4, mean=True), world, 4)
    assert seen.linear > 0.95 and seen.knn == 1.0 and min(seen.linear_folds) > 0.9
    noise = dense_test(lambda images: torch.randn(len(images), 16, 3, generator=draw(4)), world, 4)
    assert noise.linear < 0.45 and noise.knn < 0.45 and noise.matched < 0.5


def test_a_fold_is_no_average_and_numbers_repeat():
    world = colour_world()

    def weak(images):
        return pixel_patches(images, 4, mean=True) + 3 * torch.randn(len(images), 16, 3, generator=draw(4))

    first, again = (dense_test(weak, world, 4) for _ in range(2))
    assert first == again and len(first.linear_folds) == 3
    assert first.linear != pytest.approx(sum(first.linear_folds) / 3, abs=1e-6)


def test_another_input_size_reaches_the_network():
    sizes = []

    def spy(images):
        sizes.append(images.shape[-1])
        return pixel_patches(images, 8, mean=True)

    assert dense_test(spy, colour_world(), 4, input_size=32).linear > 0.95
    assert set(sizes) == {32}
    with pytest.raises(ValueError, match="grid must divide"):
        dense_test(spy, colour_world(), 5)
    with pytest.raises(ValueError, match=r"wanted tokens of shape \(12, 64, 'd'\)"):
        dense_test(spy, colour_world(), 8, input_size=32)
