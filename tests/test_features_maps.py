"""Attention maps and PCA colours against plain loops and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tiny_features import counted_model

from dinov2_edu.features import attention_over_patches, pca_colours, top_share_mask


@pytest.fixture
def model():
    return counted_model()


def test_attention_leaves_out_class_token_and_registers(model):
    image = torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(0))
    found = attention_over_patches(model, image, layer=1)
    whole = model.attention_maps(image[None], 1)[0].detach()
    assert found.shape == (2, 2, 3) and found.dtype == np.float32
    for head in range(2):
        for row in range(2):
            for col in range(3):
                assert found[head, row, col] == pytest.approx(
                    whole[head, 0, 3 + 3 * row + col].item(), rel=1e-5
                )
    assert (found.sum(axis=(1, 2)) < 1).all()


def test_top_share_marks_the_fewest_patches():
    attention = np.array([[[0.4, 0.1], [0.2, 0.3]], [[0.0, 0.0], [0.0, 2.0]]])
    marked = top_share_mask(attention, 0.6)
    assert marked.tolist() == [[[True, False], [False, True]], [[False, False], [False, True]]]
    assert top_share_mask(attention, 1.0)[0].all()
    assert top_share_mask(attention, 0.7)[0].sum() == 2 and top_share_mask(attention, 0.71)[0].sum() == 3


def two_kinds(seed=0):
    """Tokens of three images: the first half background, the second foreground with a plane of its own."""
    rng = np.random.default_rng(seed)
    tokens = 0.05 * rng.standard_normal((3, 10, 6))
    tokens[:, 5:, 0] += 9
    tokens[:, 5:, 1:4] += rng.standard_normal((3, 5, 3)) * [3, 2, 1]
    return tokens


def test_pca_colours_split_and_colour_the_foreground():
    tokens = two_kinds()
    found = pca_colours(torch.from_numpy(tokens))
    foreground = np.zeros((3, 10), dtype=bool)
    foreground[:, 5:] = True
    assert (found.foreground == foreground).all() and (found.colours[~foreground] == 0).all()
    scores = PCA(3).fit(tokens[foreground])
    expected = scores.transform(tokens[foreground])
    for component in range(3):
        own = found.colours[foreground][:, component]
        assert own.min() == 0 and own.max() == 1
        assert abs(np.corrcoef(own, expected[:, component])[0, 1]) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found.explained, scores.explained_variance_ratio_, rtol=1e-5)


def test_pca_colours_can_be_turned_inside_out():
    tokens = two_kinds()
    high = pca_colours(tokens).foreground
    low = pca_colours(tokens, foreground_high=False).foreground
    assert (high == ~low).all()
    flipped = pca_colours(-tokens)  # another sign of the tokens, the same rule for the sign of a component
    assert (flipped.foreground == ~high).all()
    assert pca_colours(tokens, threshold=-5.0).foreground.all()
    assert pca_colours(tokens, n_components=2).colours.shape == (3, 10, 2)


@pytest.mark.bad_input
def test_maps_refuse_what_they_cannot_draw(model):
    with pytest.raises(ValueError, match="one image"):
        attention_over_patches(model, torch.zeros(2, 3, 16, 16))
    with pytest.raises(ValueError, match="multiples of the patch size"):
        attention_over_patches(model, torch.zeros(3, 16, 17))
    with pytest.raises(ValueError, match="floating-point"):
        attention_over_patches(model, torch.zeros(3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="layer 3 does not exist"):
        attention_over_patches(model, torch.zeros(3, 16, 16), layer=3)
    with pytest.raises(ValueError, match="h: heads, rows, cols"):
        top_share_mask(np.ones((2, 2)))
    with pytest.raises(ValueError, match="negative"):
        top_share_mask(-np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="share"):
        top_share_mask(np.ones((1, 2, 2)), 0)
    with pytest.raises(ValueError, match="stack the images"):
        pca_colours(np.ones((4, 6)))
    with pytest.raises(ValueError, match="not finite"):
        pca_colours(np.full((1, 4, 6), np.nan))
    with pytest.raises(ValueError, match=r"too few.*lower"):
        pca_colours(two_kinds(), threshold=99.0)
    with pytest.raises(ValueError, match="n_components"):
        pca_colours(two_kinds(), n_components=7)
