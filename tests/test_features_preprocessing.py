"""From bytes to what the backbone sees, against torchvision and PIL."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from dinov2_edu.features import BLOG_POST, OFFICIAL_EVAL, Preprocessing
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(
    ("shape", "size", "resize"), [((32, 32), 56, None), ((90, 61), 28, 31), ((20, 31), 42, 47)]
)
def test_preprocessing_equals_torchvision(interpolation, antialias, shape, size, resize):
    images = torch.randint(
        0, 256, (3, 3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    mode = v2.InterpolationMode(interpolation)
    resized = v2.functional.resize(images / 255, [resize or size], interpolation=mode, antialias=antialias)
    cropped = v2.functional.center_crop(resized.clamp(0, 1), [size, size])
    expected = v2.functional.normalize(cropped, list(IMAGENET_MEAN), list(IMAGENET_STD))
    found = Preprocessing(size, resize, interpolation, antialias)(images)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("preprocessing", [BLOG_POST, OFFICIAL_EVAL])
def test_preprocessing_is_within_rounding_of_pil(preprocessing):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    smooth = Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)
    mode = v2.InterpolationMode(preprocessing.interpolation)
    pil = v2.functional.resize(smooth, [preprocessing.resize or preprocessing.size], interpolation=mode)
    pil = v2.functional.center_crop(pil, [preprocessing.size] * 2)
    expected = v2.functional.normalize(
        v2.functional.pil_to_tensor(pil) / 255, preprocessing.mean, preprocessing.std
    )
    found = preprocessing(torch.from_numpy(np.array(smooth)).permute(2, 0, 1)[None])[0]
    away = 255 * (found - expected).abs() * min(preprocessing.std)  # in steps of a byte
    assert (
        away.mean() < 0.6 and away.quantile(0.99) < 1.5 and away.max() < 8
    )  # PIL clips between its passes too


def test_preprocessing_says_what_it_does():
    assert str(OFFICIAL_EVAL) == "bicubic (antialiased) to 256, centre 224, ImageNet statistics"
    assert str(BLOG_POST) == "bilinear (antialiased) to 224, CIFAR-10 statistics"


@pytest.mark.parametrize("shape", [(1, 3, 700, 90), (3, 3, 300, 411), (2, 3, 64, 65)])
@pytest.mark.parametrize("preprocessing", [Preprocessing(16), Preprocessing(24, 32), Preprocessing(56)])
def test_bands_of_a_photo_give_what_the_whole_gives(shape, preprocessing, monkeypatch):
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = preprocessing(images)
    as_pil_has_them = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for numbers in (1, 5000, 40_000):  # a row at once; a few; many
        monkeypatch.setattr("dinov2_edu.features.preprocessing._NUMBERS_AT_ONCE", numbers)
        torch.testing.assert_close(preprocessing(images), whole, atol=5e-6, rtol=0)
        torch.testing.assert_close(preprocessing(as_pil_has_them), whole, atol=5e-6, rtol=0)
