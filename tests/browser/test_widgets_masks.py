"""The masks control in a browser: its generator against the package's, each control against what it shows."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from dinov2_edu.masking import _propose_blocks, block_masks
from dinov2_edu.widgets.masks import MasksWidget

PHOTO = Image.linear_gradient("L").convert("RGB")
GRID = 16
MASK_GREY = (0x87, 0x8B, 0x94)


@pytest.fixture
def masks(mount):
    return mount(MasksWidget(PHOTO))


def numbers(text):
    return [int(found) for found in re.findall(r"\d+", text)]


def covered(mounted):
    """Which patches the first canvas shows in the mask's grey, looked up in the middle of each patch."""
    pixels = mounted.pixels(0)[..., :3].astype(int)
    places = ((np.arange(GRID) + 0.5) * len(pixels) / GRID).astype(int)
    seen = pixels[np.ix_(places, places)]
    return set(np.flatnonzero((np.abs(seen - MASK_GREY).max(-1) < 3).ravel()))


def test_proposed_blocks_are_the_packages(masks):
    limits = torch.tensor([4, 30, 76, 128])
    aspect = (0.3, 1 / 0.3)
    in_rows, in_cols, fits = _propose_blocks(
        limits, (GRID, GRID), 4, aspect, torch.Generator().manual_seed(0)
    )
    draws = torch.rand(4, 4, 10, generator=torch.Generator().manual_seed(0))  # what the line above drew
    settings = {"grid": GRID, "smallest": 4, "aspect": 0.3}
    for image, limit in enumerate(limits.tolist()):
        for attempt in range(10):
            block = masks.call("proposeBlock", draws[:, image, attempt].tolist(), limit, settings)
            assert block["fits"] == bool(fits[image, attempt])
            if block["fits"]:
                rows = torch.zeros(GRID, dtype=torch.bool)
                rows[block["top"] : block["top"] + block["height"]] = True
                cols = torch.zeros(GRID, dtype=torch.bool)
                cols[block["left"] : block["left"] + block["width"]] = True
                assert torch.equal(rows, in_rows[image, attempt])
                assert torch.equal(cols, in_cols[image, attempt])


@pytest.mark.parametrize("asked", [26, 76, 128])
def test_counts_are_distributed_as_the_packages(masks, asked):
    n = 1500
    here = np.array(masks.call("drawCounts", n, asked, {"grid": GRID, "smallest": 4, "aspect": 0.3}))
    generator = torch.Generator().manual_seed(1)
    there = block_masks(torch.full((n,), asked), (GRID, GRID), generator=generator).sum(1).numpy()
    assert here.max() == there.max() == asked
    assert (here < asked).mean() == pytest.approx((there < asked).mean(), abs=0.035)  # 3 standard errors
    assert here.mean() == pytest.approx(there.mean(), abs=0.06)


def test_shown_mask_is_the_one_in_the_readout(masks):
    asked, total, masked = numbers(masks.readout())[1:4]
    assert (asked, total) == (76, 256)
    assert masked == len(masks.value("masked"))
    assert covered(masks) == set(masks.value("masked"))
    assert f"{masked} of them are covered" in masks.alt(0)


def test_ratio_by_keyboard_and_pointer(masks):
    masks.key("ratio", "End")
    assert "asked for 192 of 256" in masks.readout()
    assert len(covered(masks)) > 150
    masks.drag("ratio", 0.0)
    assert masks.value("ratio") == pytest.approx(0.05)
    assert "asked for 12 of 256" in masks.readout()
    assert len(covered(masks)) <= 12


def test_smallest_block_by_keyboard_and_pointer(masks):
    blocks = numbers(masks.readout())[-1]
    masks.key("smallest", "End")
    assert masks.said("smallest") == "32 patches"
    assert numbers(masks.readout().split("blocks")[0])[-1] <= blocks
    before = masks.picture()
    masks.drag("smallest", 0.0)
    assert masks.said("smallest") == "1 patch"
    assert masks.picture() != before


def test_aspect_by_keyboard_and_pointer(masks):
    before = masks.picture()
    masks.key("aspect", "End")
    assert masks.said("aspect") == "squares"
    squares = masks.picture()
    assert squares != before
    masks.drag("aspect", 0.0)
    assert masks.said("aspect") == "0.10 \u2013 10.0"
    assert masks.picture() != squares


def test_draw_again_by_pointer_and_keyboard(masks):
    first = masks.picture()
    masks.press("Draw again")
    second = masks.picture()
    assert masks.readout().startswith("Draw 2:")
    masks.root.get_by_role("button", name="Draw again").focus()
    masks.page.keyboard.press("Enter")
    assert masks.readout().startswith("Draw 3:")
    assert len({first, second, masks.picture()}) == 3


def test_histogram_runs(masks):
    assert masks.alt(1).startswith("Histogram of 1 draw:")
    before = masks.picture(1)
    for _ in range(3):
        masks.press("Draw 100")
    assert masks.alt(1).startswith("Histogram of 301 draws")
    share = numbers(masks.readout().split("draws, ")[1])[0]
    assert 3 <= share <= 14  # FACTS: short in 7 to 10 per cent of draws
    assert masks.picture(1) != before


def test_batch_masks_half_of_its_crops_over_the_whole_range(masks):
    masks.choose("view", "batch")
    assert masks.readout().startswith("8 of 16 crops are masked.")
    buttons = masks.root.get_by_role("button", name=re.compile("^Crop "))
    names = buttons.evaluate_all("(all) => all.map((b) => b.getAttribute('aria-label'))")
    shares = sorted(numbers(name)[1] for name in names if "not masked" not in name)
    assert len(names) == 16 and len(shares) == 8
    for i, share in enumerate(shares):  # each of eight equal parts of 10 to 50 % has one
        assert 10 + 5 * i - 3 <= share <= 10 + 5 * (i + 1)
    assert masks.control("ratio").is_disabled()


def test_crop_of_the_batch_by_pointer_and_keyboard(masks):
    masks.choose("view", "batch")
    buttons = masks.root.get_by_role("button", name=re.compile("^Crop "))
    for index in range(0, 16, 3):
        buttons.nth(index).focus()
        masks.page.keyboard.press("Space")
        name = buttons.nth(index).get_attribute("aria-label")
        assert f"Crop {index + 1}: " in masks.readout()
        assert (not covered(masks)) == ("not masked" in name) == ("sees it whole" in masks.readout())
        assert buttons.nth(index).get_attribute("aria-pressed") == "true"
    buttons.nth(4).click()
    assert masks.value("crop") == 4


def test_view_by_keyboard(masks):
    masks.root.locator('[data-key="view"][data-value="one"]').focus()
    masks.page.keyboard.press("ArrowRight")
    assert masks.value("view") == "batch"
    masks.page.keyboard.press("ArrowLeft")
    assert masks.readout().startswith("Draw 1:")


def test_another_grid(mount):
    masks = mount(MasksWidget(PHOTO, grid=8))
    assert "of 64 patches" in masks.readout()
    assert max(masks.value("masked")) < 64
