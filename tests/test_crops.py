"""Crops against torchvision and PIL: boxes, resizing, colours, and the whole of multi_crop."""

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
import torchvision
import torchvision.transforms.v2.functional as tv
from PIL import Image
from torchvision.transforms import InterpolationMode

import dinov2_edu.crops.augmentation
import dinov2_edu.crops.multicrop
import dinov2_edu.crops.resizing
from dinov2_edu.crops import (
    CropConfig,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    augment,
    boxes_from_uniform,
    crop_and_resize,
    denormalize,
    gaussian_blur,
    grayscale,
    multi_crop,
    normalize,
    official_code_crops,
    paper_crops,
    resize,
    resize_matrix,
    sample_boxes,
    small_image_crops,
    solarize,
)
from dinov2_edu.pictures import read_tensor
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD

MODES = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}
PLAIN = {"flip": 0.0, "jitter": 0.0, "grayscale": 0.0, "blur": (0.0, 0.0, 0.0), "solarize": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_bytes(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(seed))


def random_picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(random_bytes(height, width, 3, seed=seed).numpy())


def plain(**changes) -> CropConfig:
    """Small crops with every augmentation off."""
    return CropConfig(**{"global_size": 20, "local_size": 9, "n_local": 3, **PLAIN, **changes})


# ------------------------------------------------------------------------------------------------------ boxes


def naive_box(uniforms, size, scale, ratio):
    """Torchvision's rule as a loop over Python numbers."""
    height, width = size
    for i in range(10):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * uniforms[i])
        log_ratio = math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * uniforms[10 + i]
        w = round(math.sqrt(area * math.exp(log_ratio)))
        h = round(math.sqrt(area / math.exp(log_ratio)))
        if 0 < w <= width and 0 < h <= height:
            return [int(uniforms[20] * (height - h + 1)), int(uniforms[21] * (width - w + 1)), h, w]
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize("size", [(32, 32), (427, 640), (20, 300), (300, 20), (3, 2)])
@pytest.mark.parametrize("scale", [(0.32, 1.0), (0.05, 0.32), (0.9, 1.0), (0.5, 0.5)])
def test_boxes_equal_a_naive_loop(size, scale):
    ratio = (3 / 4, 4 / 3)
    uniforms = torch.rand(300, 22, generator=seeded())
    wanted = [naive_box(row, size, scale, ratio) for row in uniforms.double().tolist()]
    assert boxes_from_uniform(uniforms, size, scale, ratio).tolist() == wanted


@pytest.mark.parametrize("size", [(10, 200), (200, 10), (50, 60)])
def test_fallback_box_equals_torchvision(size):
    # Areas near the whole image never fit into these, or always: torchvision's answer is then certain.
    ratio = (3 / 4, 4 / 3) if size != (50, 60) else (3.0, 4.0)
    top, left, height, width = torchvision.transforms.RandomResizedCrop.get_params(
        torch.zeros(3, *size), [0.95, 1.0], list(ratio)
    )
    box = sample_boxes(1, size, (0.95, 1.0), ratio, generator=seeded())
    assert box.tolist() == [[top, left, height, width]]


def test_boxes_have_torchvisions_distribution():
    torch.manual_seed(0)
    image = torch.zeros(3, 48, 64)
    rule = torchvision.transforms.RandomResizedCrop.get_params
    theirs = torch.tensor([rule(image, [0.05, 0.32], [3 / 4, 4 / 3]) for _ in range(4000)]).float()
    ours = sample_boxes(4000, (48, 64), (0.05, 0.32), generator=seeded())
    tolerance = 4 * theirs.std(0) * math.sqrt(2 / 4000)
    assert ((ours.mean(0) - theirs.mean(0)).abs() < tolerance).all()
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.08, atol=0)


def test_boxes_lie_inside_and_repeat_with_the_seed():
    boxes = sample_boxes(2000, (33, 47), (0.05, 1.0), generator=seeded(5))
    assert (boxes == boxes.round()).all() and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    assert (boxes[:, 0] + boxes[:, 2]).max() == 33 and (boxes[:, 1] + boxes[:, 3]).max() == 47
    assert torch.equal(boxes, sample_boxes(2000, (33, 47), (0.05, 1.0), generator=seeded(5)))
    assert len(boxes.unique(dim=0)) > 1500


# --------------------------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [1, 7, 16, 40, 98])
def test_matrices_and_crop_and_resize_equal_torchvision(interpolation, antialias, size):
    n = 24
    images = torch.rand(n, 3, 57, 83, generator=seeded())
    boxes = sample_boxes(n, (57, 83), (0.001, 1.0), (0.3, 3.0), generator=seeded(1))
    boxes[0] = torch.tensor([0.0, 0.0, 57.0, 83.0])
    boxes[1] = torch.tensor([56.0, 82.0, 1.0, 1.0])
    flips = torch.rand(n, generator=seeded(2)) < 0.5
    how = {"interpolation": interpolation, "antialias": antialias}
    rows = resize_matrix(boxes[:, 0], boxes[:, 2], (57, size), **how)
    columns = resize_matrix(boxes[:, 1], boxes[:, 3], (83, size), flips=flips, **how)
    ours = (rows[:, None] @ images @ columns[:, None].mT).clamp(0, 1)
    if interpolation == "bicubic" and antialias:
        torch.testing.assert_close(crop_and_resize(images, boxes, size, flips=flips), ours, rtol=0, atol=1e-5)
    for image, box, flip, crop in zip(images, boxes, flips, ours, strict=True):
        box = [int(side) for side in box]
        mode = MODES[interpolation]
        wanted = tv.resized_crop(image, *box, [size, size], interpolation=mode, antialias=antialias)
        wanted = tv.horizontal_flip(wanted) if flip else wanted
        torch.testing.assert_close(crop, wanted.clamp(0, 1), rtol=0, atol=1e-5)


def test_boxes_on_another_device_take_the_same_path(monkeypatch):
    # On a GPU nothing is cut away beforehand: the matrices alone must confine the kernel to the box.
    images = torch.rand(6, 3, 40, 50, generator=seeded())
    boxes = sample_boxes(6, (40, 50), (0.05, 0.4), generator=seeded(1))
    windowed = crop_and_resize(images, boxes, 12)
    monkeypatch.setattr(dinov2_edu.crops.resizing, "_window", lambda images, boxes: (images, boxes))
    torch.testing.assert_close(crop_and_resize(images, boxes, 12), windowed)


def test_bytes_are_scaled_to_one():
    images = random_bytes(5, 3, 30, 41)
    boxes = sample_boxes(5, (30, 41), (0.1, 1.0), generator=seeded())
    torch.testing.assert_close(crop_and_resize(images, boxes, 16), crop_and_resize(images / 255, boxes, 16))
    torch.testing.assert_close(resize(images, 16), resize(images / 255, 16))


@pytest.mark.parametrize("size", [15, 60])
def test_crop_of_bytes_is_within_rounding_of_pil(size):
    pixels = 64 + random_bytes(50, 70, 3) // 2  # far enough from 0 and 255: PIL also clips after each pass
    picture = Image.fromarray(pixels.numpy())
    ours = crop_and_resize(read_tensor(picture)[None], torch.tensor([[5.0, 10.0, 33.0, 40.0]]), size)
    theirs = picture.crop((10, 5, 50, 38)).resize((size, size), Image.Resampling.BICUBIC)
    difference = ours[0] - tv.to_dtype(tv.to_image(theirs), torch.float32, scale=True)
    assert difference.abs().max() < 2 / 255  # PIL rounds after each of its two passes


@pytest.mark.parametrize("size", [224, (20, 111), (64, 9)])
def test_resize_equals_torchvision(size):
    images = torch.rand(3, 3, 32, 48, generator=seeded())
    ours = resize(images, size)
    size = [size, size] if isinstance(size, int) else list(size)
    wanted = tv.resize(images, size, interpolation=MODES["bicubic"], antialias=True).clamp(0, 1)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)


def test_resize_matrix_rows_sum_to_one_and_stay_in_the_crop():
    starts, lengths = torch.tensor([0.0, 4.0, 19.0]), torch.tensor([20.0, 9.0, 1.0])
    for antialias in (True, False):
        matrix = resize_matrix(starts, lengths, (20, 13), antialias=antialias)
        torch.testing.assert_close(matrix.sum(-1), torch.ones(3, 13))
        assert matrix[1, :, :4].eq(0).all() and matrix[1, :, 13:].eq(0).all()
    flip = torch.tensor([True, True, True])
    whole = resize_matrix(starts[:1], lengths[:1], (20, 20), flips=flip[:1])
    torch.testing.assert_close(whole[0], torch.eye(20).flip(0))


# ---------------------------------------------------------------------------------------------------- colours


def colourful(n: int = 12) -> torch.Tensor:
    """Random images; some pixels are gray, saturated, black or white, where hue formulas break."""
    images = torch.rand(n, 3, 14, 11, generator=seeded())
    images[:, :, 0] = images[:, :1, 0]
    images[:, :, 1] = (images[:, :, 1] > 0.5).float()
    images[:, :2, 2] = images[:, :1, 2]
    images[:, 1:, 3] = images[:, 1:2, 3]
    return images


@pytest.mark.parametrize(
    ("ours", "theirs", "low", "high"),
    [
        (adjust_brightness, tv.adjust_brightness, 0.0, 2.0),
        (adjust_contrast, tv.adjust_contrast, 0.0, 2.0),
        (adjust_saturation, tv.adjust_saturation, 0.0, 2.0),
        (adjust_hue, tv.adjust_hue, -0.5, 0.5),
        (gaussian_blur, lambda image, sigma: tv.gaussian_blur(image, [9, 9], [sigma, sigma]), 0.1, 2.0),
    ],
)
def test_colour_operations_equal_torchvision(ours, theirs, low, high):
    images = colourful()
    factors = torch.linspace(low, high, len(images))
    before = images.clone()
    result = ours(images, factors)
    wanted = torch.stack([theirs(x, f) for x, f in zip(images, factors.tolist(), strict=True)])
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-5)
    assert torch.equal(images, before)  # the caller's images are left alone


@pytest.mark.parametrize(
    ("operation", "neutral"),
    [(adjust_brightness, 1.0), (adjust_contrast, 1.0), (adjust_saturation, 1.0), (adjust_hue, 0.0)],
)
def test_the_neutral_factor_changes_nothing(operation, neutral):
    images = colourful()
    factors = torch.full((len(images),), neutral)
    torch.testing.assert_close(operation(images, factors), images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_grey_has_no_hue_in_any_precision(dtype):
    grey = torch.tensor([0.0, 0.25, 1.0], dtype=dtype).expand(1, 3, 2, 3).contiguous()
    assert torch.equal(adjust_hue(grey, torch.full((1,), 0.3)), grey)


def test_hue_of_a_third_of_the_circle_rotates_the_channels():
    images = colourful()
    turned = adjust_hue(images, torch.full((len(images),), 1 / 3))
    torch.testing.assert_close(turned, images.roll(1, dims=1), rtol=0, atol=2e-6)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 21])
def test_blur_with_other_kernels_equals_torchvision(kernel_size):
    images = torch.rand(2, 3, 14, 11, generator=seeded())
    ours = gaussian_blur(images, torch.tensor([1.3, 1.3]), kernel_size)
    wanted = tv.gaussian_blur(images, [kernel_size, kernel_size], [1.3, 1.3])
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_floats_stay_what_they_are(dtype):
    images = torch.rand(2, 3, 14, 11, generator=seeded())
    config = dataclasses.replace(official_code_crops(), jitter=0.0, blur=(1.0, 1.0, 1.0), solarize=0.0)
    wanted = augment(images, config, "global2", generator=seeded(1))
    ours = augment(images.to(dtype), config, "global2", generator=seeded(1))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.float(), wanted, rtol=0, atol=1e-5 if dtype == torch.float64 else 0.05)
    sides = torch.tensor([2.0], dtype=dtype), torch.tensor([9.0], dtype=dtype)
    for antialias in (True, False):
        assert resize_matrix(*sides, (20, 13), antialias=antialias).dtype == dtype


def test_grayscale_solarize_and_normalize_equal_torchvision():
    images = colourful()
    torch.testing.assert_close(grayscale(images), tv.rgb_to_grayscale(images, 3))
    torch.testing.assert_close(solarize(images), tv.solarize(images, 128 / 255))
    assert solarize(torch.full((1, 3, 1, 1), 128 / 255)).allclose(torch.tensor(127 / 255))  # as PIL on bytes
    normal = normalize(images, IMAGENET_MEAN, IMAGENET_STD)
    wanted = tv.normalize(images, list(IMAGENET_MEAN), list(IMAGENET_STD))
    torch.testing.assert_close(normal, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(denormalize(normal, IMAGENET_MEAN, IMAGENET_STD), images, rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- augment


def share_changed(before: torch.Tensor, after: torch.Tensor) -> float:
    return (before - after).abs().flatten(1).amax(1).gt(1e-3).float().mean().item()


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (paper_crops(), {"global1": 1.0, "global2": 0.1, "local": 0.5}),
        (official_code_crops(), {"global1": 0.0, "global2": 0.9, "local": 0.5}),
    ],
    ids=["paper", "official code"],
)
@pytest.mark.parametrize("kind", ["global1", "global2", "local"])
def test_share_of_blurred_views(config, wanted, kind):
    # The official class passes 1 - p on (dinov2/data/transforms.py @ b8931f7). Sigma from 1 up: all are seen.
    config = dataclasses.replace(config, **{**PLAIN, "blur": config.blur, "blur_sigma": (1.0, 2.0)})
    images = torch.rand(2000, 3, 6, 6, generator=seeded())
    share = share_changed(images, augment(images, config, kind, generator=seeded(1)))
    p = wanted[kind]
    assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / 2000)


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("jitter", "global1", 0.8),
        ("grayscale", "local", 0.2),
        ("solarize", "global2", 0.2),
        ("solarize", "global1", 0.0),
        ("solarize", "local", 0.0),
    ],
)
def test_share_of_changed_views(name, kind, wanted):
    config = CropConfig(**{**PLAIN, name: getattr(CropConfig(), name)})
    images = torch.rand(2000, 3, 6, 6, generator=seeded())
    result = augment(images, config, kind, generator=seeded(1))
    assert abs(share_changed(images, result) - wanted) <= 4 * math.sqrt(wanted * (1 - wanted) / 2000)
    assert result.min() >= 0 and result.max() <= 1
    if name == "grayscale":
        is_gray = (result[:, 0] == result[:, 2]).flatten(1).all(1)
        assert abs(is_gray.float().mean().item() - 0.2) < 0.04


def test_jitter_factors_and_order(monkeypatch):
    calls = []

    def recorded(name):
        def operation(images, factors):
            calls.append((name, factors))
            return images

        return operation

    names = ("brightness", "contrast", "saturation", "hue")
    monkeypatch.setattr(dinov2_edu.crops.augmentation, "JITTER", {name: recorded(name) for name in names})
    config = CropConfig(**{**PLAIN, "jitter": 0.8})
    orders = set()
    for seed in range(60):
        calls.clear()
        augment(torch.rand(200, 3, 2, 2), config, "local", generator=seeded(seed))
        orders.add(tuple(name for name, _ in calls))
    assert len(orders) > 12 and all(sorted(order) == sorted(names) for order in orders)
    factors = dict(calls)
    wanted = {"brightness": (1, 0.4), "contrast": (1, 0.4), "saturation": (1, 0.2), "hue": (0, 0.1)}
    untouched = [factors[name] == middle for name, (middle, _) in wanted.items()]
    assert all(torch.equal(untouched[0], other) for other in untouched)  # an image is jittered in all or none
    for name, (middle, strength) in wanted.items():
        offsets = factors[name][~untouched[0]] - middle
        assert offsets.abs().max() <= strength
        assert offsets.min() < -0.9 * strength and offsets.max() > 0.9 * strength


def test_an_images_draws_do_not_depend_on_each_other(monkeypatch):
    drawn = {}

    def recorded(name):
        return lambda images, factors: drawn.update({name: factors}) or images

    def blur(images, sigmas, kernel_size, chosen):
        drawn.update(blurred=chosen, sigma=sigmas)
        return images

    names = ("brightness", "contrast", "saturation", "hue")
    monkeypatch.setattr(dinov2_edu.crops.augmentation, "JITTER", {name: recorded(name) for name in names})
    monkeypatch.setattr(dinov2_edu.crops.augmentation, "blur_chosen", blur)
    config = CropConfig(flip=0.0, jitter=0.5, grayscale=0.5, blur=(0.5, 0.5, 0.5), solarize=0.5)
    images = 0.8 * torch.rand(3000, 3, 2, 2, generator=seeded()) + torch.tensor([0, 0.1, 0.2]).view(3, 1, 1)
    images[:, :, 0, 0] = 0.9  # gray already: only solarize changes this pixel
    result = augment(images, config, "global2", generator=seeded(1))
    drawn["jittered"] = drawn["hue"] != 0
    drawn["gray"] = (result[:, 0] - result[:, 2]).flatten(1).abs().amax(1) < 1e-6
    drawn["solarized"] = result[:, 0, 0, 0] < 0.5
    assert len(drawn) == 9
    correlation = torch.corrcoef(torch.stack([values.double() for values in drawn.values()]))
    assert (correlation - torch.eye(9)).abs().max() < 5 / math.sqrt(3000)


def test_augmentations_come_in_the_official_order():
    # Everything certain: gray first, then blur, then solarize; another order gives other numbers.
    config = CropConfig(
        **{**PLAIN, "grayscale": 1.0, "blur": (0.0, 1.0, 0.0), "solarize": 1.0, "blur_sigma": (1.5, 1.5)}
    )
    images = torch.rand(4, 3, 12, 12, generator=seeded())
    wanted = tv.solarize(tv.gaussian_blur(tv.rgb_to_grayscale(images, 3), [9, 9], [1.5, 1.5]), 128 / 255)
    ours = augment(images, config, "global2", generator=seeded())
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)


def test_every_image_has_its_own_draws_and_the_global_state_is_left_alone():
    same = torch.rand(1, 3, 12, 12, generator=seeded()).expand(16, -1, -1, -1)
    state = torch.random.get_rng_state()
    config = dataclasses.replace(CropConfig(), jitter=1.0)
    first = augment(same, config, "global2", generator=seeded(3))
    assert len(first.flatten(1).unique(dim=0)) == 16
    assert torch.equal(first, augment(same, config, "global2", generator=seeded(3)))
    assert not torch.equal(first, augment(same, config, "global2", generator=seeded(4)))
    assert torch.equal(torch.random.get_rng_state(), state)


# ------------------------------------------------------------------------------------------------- multi_crop


def wanted_crop(image, box, flip, size, config):
    """Torchvision's answer for one view without augmentation."""
    crop = tv.resized_crop(
        image / 255, *[int(side) for side in box], [size, size], interpolation=InterpolationMode.BICUBIC
    ).clamp(0, 1)
    return tv.normalize(tv.horizontal_flip(crop) if flip else crop, list(config.mean), list(config.std))


def check_views(views, images, config):
    """Hold every view to the box and flip that came with it."""
    for i, image in enumerate(images):
        for crops, boxes, flips, size in (
            (views.global_crops, views.global_boxes, views.flips[:, :2], config.global_size),
            (views.local_crops, views.local_boxes, views.flips[:, 2:], config.local_size),
        ):
            for crop, box, flip in zip(crops[i], boxes[i], flips[i], strict=True):
                wanted = wanted_crop(image, box, flip, size, config)
                torch.testing.assert_close(crop, wanted, rtol=0, atol=5e-5)


def test_multi_crop_of_a_batch_equals_torchvision_view_by_view():
    config = plain(flip=0.5)
    images = random_bytes(7, 3, 40, 31)
    views = multi_crop(images, config, generator=seeded())
    assert views.global_crops.shape == (7, 2, 3, 20, 20) and views.local_crops.shape == (7, 3, 3, 9, 9)
    assert views.global_boxes.shape == (7, 2, 4) and views.local_boxes.shape == (7, 3, 4)
    assert views.flips.shape == (7, 5) and 0 < views.flips.sum() < 35
    check_views(views, images, config)


def test_multi_crop_of_pictures_of_different_sizes():
    config = plain(flip=0.5)
    pictures = [random_picture(60, 45), random_picture(33, 90, seed=1), random_picture(20, 20, seed=2)]
    views = multi_crop(pictures, config, generator=seeded())
    check_views(views, [read_tensor(picture) for picture in pictures], config)
    lone = multi_crop(pictures[0], config, generator=seeded())
    assert lone.global_crops.shape == (1, 2, 3, 20, 20)
    check_views(lone, [read_tensor(pictures[0])], config)


def test_multi_crop_scales_and_flip_share():
    config = plain(flip=0.5)
    views = multi_crop(random_bytes(400, 3, 32, 32), config, generator=seeded())
    for boxes, (low, high) in (
        (views.global_boxes, config.global_scale),
        (views.local_boxes, config.local_scale),
    ):
        share = boxes[..., 2] * boxes[..., 3] / 32**2
        assert low - 0.03 < share.min() < low + 0.05 and high - 0.1 < share.max() < high + 0.03
    assert abs(views.flips.float().mean().item() - 0.5) < 0.05


def test_crop_major_has_all_first_crops_then_all_second():
    views = multi_crop(random_bytes(5, 3, 32, 32), small_image_crops(), generator=seeded())
    global_crops, local_crops = views.crop_major()
    assert global_crops.shape == (10, 3, 32, 32) and local_crops.shape == (30, 3, 16, 16)
    for image in range(5):
        for view in range(2):
            assert torch.equal(global_crops[view * 5 + image], views.global_crops[image, view])
        for view in range(6):
            assert torch.equal(local_crops[view * 5 + image], views.local_crops[image, view])


def test_multi_crop_augments_each_kind_of_view_its_own_way(monkeypatch):
    seen = []

    def recorded(views, config, kind, *, generator):
        seen.append((kind, tuple(views.shape)))
        return views

    monkeypatch.setattr(dinov2_edu.crops.multicrop, "augment_", recorded)
    multi_crop(random_bytes(5, 3, 32, 32), small_image_crops(), generator=seeded())
    wanted = [("global1", (5, 3, 32, 32)), ("global2", (5, 3, 32, 32)), ("local", (30, 3, 16, 16))]
    assert seen == wanted


def test_multi_crop_repeats_with_the_seed_and_leaves_its_input_alone():
    images = random_bytes(4, 3, 32, 32)
    before = images.clone()
    first = multi_crop(images, small_image_crops(), generator=seeded(1))
    again = multi_crop(images, small_image_crops(), generator=seeded(1))
    other = multi_crop(images, small_image_crops(), generator=seeded(2))
    assert torch.equal(first.local_crops, again.local_crops)
    assert not torch.equal(first.local_crops, other.local_crops)
    assert torch.equal(images, before)


@pytest.mark.parametrize("n_local", [0, 1])
def test_multi_crop_with_few_local_crops(n_local):
    for images in (random_bytes(3, 3, 32, 32), random_picture(40, 50)):
        views = multi_crop(images, plain(n_local=n_local), generator=seeded())
        b = len(views.global_crops)
        assert views.local_crops.shape == (b, n_local, 3, 9, 9)
        assert views.crop_major()[1].shape == (b * n_local, 3, 9, 9)


def test_presets():
    assert official_code_crops() == dataclasses.replace(paper_crops(), blur=(0.0, 0.9, 0.5))
    small = small_image_crops()
    assert (small.global_size, small.local_size, small.n_local) == (32, 16, 6)


@pytest.mark.gpu
def test_multi_crop_on_a_gpu_equals_the_cpu_and_waits_for_nothing():
    images = random_bytes(6, 3, 40, 31)
    wanted = multi_crop(images, CropConfig(global_size=32, local_size=16), generator=seeded())
    on_gpu = images.cuda()
    multi_crop(on_gpu, CropConfig(global_size=32, local_size=16), generator=seeded())  # libraries start up
    torch.cuda.set_sync_debug_mode("error")
    try:
        views = multi_crop(on_gpu, CropConfig(global_size=32, local_size=16), generator=seeded())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert views.global_crops.is_cuda and views.local_crops.is_cuda
    # A solarized value at the threshold may fall on either side: compare all but a few pixels.
    for ours, theirs in ((views.global_crops, wanted.global_crops), (views.local_crops, wanted.local_crops)):
        assert ((ours.cpu() - theirs).abs() > 1e-3).float().mean() < 1e-3
    drawn_there = multi_crop(on_gpu, plain(flip=0.5), generator=torch.Generator("cuda").manual_seed(0))
    assert drawn_there.global_boxes.is_cuda and drawn_there.global_crops.isfinite().all()


# -------------------------------------------------------------------------------------------------- bad input


def test_a_broken_picture_is_refused():
    file = io.BytesIO()
    random_picture(40, 40).save(file, "PNG")
    broken = Image.open(io.BytesIO(file.getvalue()[:1000]))
    with pytest.raises(ValueError, match="it is damaged or cut short"):
        multi_crop([random_picture(40, 40), broken], plain(), generator=seeded())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (random_bytes(3, 32, 32), r"add the batch axis"),
        (random_bytes(2, 32, 32, 3), r"channels come last"),
        (random_bytes(0, 3, 32, 32), r"at least one image"),
        (random_bytes(2, 1, 32, 32), r"shape \(b, 3"),
        (torch.rand(2, 3, 32, 32), r"wanted bytes \(uint8\).* use \(255 \* images\)"),
        ([], r"a list of some"),
        (np.zeros((2, 3, 8, 8)), r"wanted an array \(h w\)"),
        (["photo.jpg"], r"photo\.jpg: there is no such file"),
        (3, r"images: wanted a uint8 tensor .*, a list of pictures or a picture, got 3 \(int\)"),
    ],
)
def test_multi_crop_refuses(images, message):
    with pytest.raises(ValueError, match=message):
        multi_crop(images, plain(), generator=seeded())


@pytest.mark.parametrize("operation", [crop_and_resize, resize, augment], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.full((2, 3, 8, 8), 1.5), r"must lie in 0 to 1"),
        (torch.full((2, 3, 8, 8), -0.1), r"must lie in 0 to 1"),
        (torch.full((2, 3, 8, 8), float("nan")), r"got nan to nan"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), r"got an int64 tensor"),
        (torch.rand(2, 8, 8, 3), r"channels come last"),
        (torch.rand(3, 8, 8), r"add the batch axis"),
        (torch.rand(0, 3, 8, 8), r"at least one image"),
    ],
)
def test_pixels_are_checked(operation, images, message):
    rest = {
        crop_and_resize: (torch.tensor([[0.0, 0.0, 8.0, 8.0]]).expand(len(images), 4), 4),
        resize: (4,),
        augment: (CropConfig(), "local"),
    }[operation]
    generator = {"generator": seeded()} if operation is augment else {}
    with pytest.raises(ValueError, match=message):
        operation(images, *rest, **generator)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([0, 0, 9, 8], "inside the 8 x 8 image"),
        ([-1, 0, 4, 4], "inside the 8 x 8 image"),
        ([2, 6, 4, 4], "inside the 8 x 8 image"),
        ([0, 0, 0, 4], "hold a pixel"),
        ([0, 0, float("nan"), 4], "hold a pixel"),
        ([0, 0, 4], r"\(b: images, 4: top, left, height, width\), got .*\(1, 3\)"),
    ],
)
def test_boxes_outside_the_image_are_refused(box, message):
    with pytest.raises(ValueError, match=message):
        crop_and_resize(torch.rand(1, 3, 8, 8), torch.tensor([box], dtype=torch.float32), 4)


def test_other_arguments_are_checked():
    images = torch.rand(2, 3, 8, 8)
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]] * 2)
    with pytest.raises(ValueError, match="must be at least 1"):
        crop_and_resize(images, boxes, 0)
    with pytest.raises(ValueError, match="must be at least 1"):
        resize(images, (4, 0))
    with pytest.raises(ValueError, match=r"boxes: wanted .* with b = 2 as in images"):
        crop_and_resize(images, boxes[:1], 4)
    with pytest.raises(ValueError, match="flips: wanted a bool tensor"):
        crop_and_resize(images, boxes, 4, flips=torch.ones(2))
    with pytest.raises(ValueError, match="'bilinear' or 'bicubic'"):
        resize_matrix(boxes[:, 0], boxes[:, 2], (8, 4), interpolation="nearest")
    with pytest.raises(ValueError, match="kind must be 'global1' or 'global2' or 'local', got 'global'"):
        augment(images, CropConfig(), "global", generator=seeded())
    with pytest.raises(ValueError, match=r"turns: wanted .* with b = 2 as in images"):
        adjust_hue(images, torch.zeros(3))
    with pytest.raises(ValueError, match="at least 6 pixels"):
        gaussian_blur(torch.rand(1, 3, 5, 9), torch.ones(1), 11)
    with pytest.raises(ValueError, match="odd whole number"):
        gaussian_blur(images, torch.ones(2), 4)
    with pytest.raises(ValueError, match="sigmas must be above 0, got 0"):
        gaussian_blur(images, torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="three numbers each"):
        normalize(images, (0.5,), (0.5,))
    with pytest.raises(ValueError, match=r"wanted a floating-point tensor .* divide bytes by 255"):
        adjust_brightness(random_bytes(2, 3, 8, 8), torch.ones(2))


def test_boxes_arguments_are_checked():
    with pytest.raises(ValueError, match=r"shape \(n, 22\)"):
        boxes_from_uniform(torch.rand(3, 21), (8, 8), (0.1, 1.0))
    with pytest.raises(ValueError, match="height, width"):
        sample_boxes(1, (0, 8), (0.1, 1.0), generator=seeded())
    with pytest.raises(ValueError, match="swap them"):
        sample_boxes(1, (8, 8), (1.0, 0.1), generator=seeded())
    with pytest.raises(ValueError, match="swap them"):
        sample_boxes(1, (8, 8), (0.1, 1.0), (2.0, 0.5), generator=seeded())
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        sample_boxes(-1, (8, 8), (0.1, 1.0), generator=seeded())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"global_size": 0}, "global_size must be at least 1"),
        ({"local_size": 9.5}, "local_size: wanted a whole number, got 9.5"),
        ({"n_local": -1}, "n_local"),
        ({"global_scale": (1.0, 0.32)}, "swap them"),
        ({"local_scale": (0.0, 0.3)}, "above 0"),
        ({"global_scale": (0.3, 1.2)}, "at most 1"),
        ({"ratio": (0.0, 1.0)}, "above 0"),
        ({"flip": 1.5}, "flip must lie between 0 and 1"),
        ({"blur": (0.5, 0.5)}, "blur: wanted 3 finite numbers"),
        ({"blur": (0.5, 0.5, 2.0)}, "blur must lie between 0 and 1"),
        ({"blur_kernel": 8}, "odd whole number"),
        ({"local_size": 4}, "larger crops"),
        ({"blur_sigma": (2.0, 0.1)}, "swap them"),
        ({"std": (0.2, 0.2, 0.0)}, "std must be above 0"),
    ],
)
def test_settings_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        CropConfig(**changes)
