"""Patch tokens of many pictures: against the backbone itself, picture by picture and window by window."""

import pytest
import torch

from dinov2_edu.crops import normalize, resize
from dinov2_edu.features import patch_tokens, pixel_patches, see_patches
from dinov2_edu.features import patches as module
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD
from dinov2_edu.vit import VisionTransformer, ViTConfig


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ViTConfig(
        img_size=16, patch_size=4, width=16, depth=3, heads=2, n_registers=2, layer_scale=None, init_std=0.3
    )
    return VisionTransformer(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images():
    return torch.randn(5, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def test_last_block_is_what_the_backbone_says(model, images, monkeypatch):
    monkeypatch.setattr(module, "_TOKENS_AT_ONCE", 48)  # two pictures at once
    assert torch.allclose(patch_tokens(model, images), model(images).patches, atol=1e-5)


def test_layers_stand_side_by_side(model, images):
    both = patch_tokens(model, images, layers=(0, 2))
    first, last = (one.patches for one in model.intermediate_layers(images, [0, 2]))
    assert torch.allclose(both, torch.cat([first, last], dim=-1), atol=1e-5)
    assert not torch.allclose(first, last, atol=0.1)


def test_windows_are_averaged_where_they_overlap(model, images):
    found = patch_tokens(model, images, window=8).unflatten(1, (4, 6))
    seen = {
        (top, left): model(images[:, :, top : top + 8, left : left + 8]).patches.unflatten(1, (2, 2))
        for top in range(0, 9, 4)
        for left in range(0, 17, 4)
    }
    for row in range(4):
        for col in range(6):
            here = [
                tokens[:, row - top // 4, col - left // 4]
                for (top, left), tokens in seen.items()
                if 0 <= row - top // 4 < 2 and 0 <= col - left // 4 < 2
            ]
            assert torch.allclose(found[:, row, col], torch.stack(here).mean(dim=0), atol=1e-5)
    assert len(seen) == 15


def test_a_window_must_fit(model, images):
    for window in (4, 6, 12, 24):
        with pytest.raises(ValueError, match="even number of patches of 4"):
            patch_tokens(model, images, window=window)


def test_pixels_are_the_patches_own(images):
    rows = pixel_patches(images, 4)
    assert rows.shape == (5, 24, 48)
    patch = images[2, :, 4:8, 12:16]  # second row, fourth column of six
    assert torch.equal(rows[2, 6 + 3], patch.flatten())
    assert torch.allclose(pixel_patches(images, 4, mean=True)[2, 9], patch.mean(dim=(1, 2)), atol=1e-6)


def test_every_way_of_seeing_has_one_grid(model):
    """Patches of 8 and of 4 pixels: the larger ones see the pictures twice as large."""
    torch.manual_seed(1)
    config = ViTConfig(img_size=16, patch_size=8, width=8, depth=1, heads=2)
    coarse = VisionTransformer(config).eval().requires_grad_(False)
    pictures = (255 * torch.rand(2, 3, 30, 40, generator=torch.Generator().manual_seed(2))).byte()
    seen = see_patches(pictures, (4, 6), {"fine": model, "coarse": coarse}, window=2)
    assert list(seen) == ["raw pixels", "fine", "fine, windows", "coarse", "coarse, windows"]
    assert all(tokens.shape[:2] == (2, 24) for tokens in seen.values())
    for name, network, size in (("fine", model, (16, 24)), ("coarse", coarse, (32, 48))):
        ready = normalize(resize(pictures, size), IMAGENET_MEAN, IMAGENET_STD)
        assert torch.allclose(seen[name], network(ready).patches, atol=1e-5)
        windows = patch_tokens(network, ready, window=2 * network.config.patch_size)
        assert torch.allclose(seen[f"{name}, windows"], windows, atol=1e-5)
    small = normalize(resize(pictures, (16, 24)), IMAGENET_MEAN, IMAGENET_STD)
    assert torch.equal(seen["raw pixels"], pixel_patches(small, 4))
