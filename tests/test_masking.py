"""Block masks: the official statistics, a naive loop for one image, the batch's ratios, and bad input."""

import math
import time

import numpy as np
import pytest
import torch

from dinov2_edu.masking import block_masks, mask_batch

GRID = (16, 16)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def naive_mask(asked, grid, rng, min_patches, max_patches, aspect):
    """One image, one block after another: what the batched function must amount to."""
    rows, cols = grid
    mask = np.zeros(grid, dtype=bool)
    refused = 0
    while refused < 10 and mask.sum() < asked:
        limit = min(asked - mask.sum(), max_patches)
        area = rng.uniform() * (limit - min_patches) + min_patches
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        refused += 1
        if height < rows and width < cols:
            top, left = rng.integers(rows - height + 1), rng.integers(cols - width + 1)
            block = np.zeros(grid, dtype=bool)
            block[top : top + height, left : left + width] = True
            if 0 < (block & ~mask).sum() <= limit:
                mask |= block
                refused = 0
    return mask


def edge_lengths(masks):
    """Number of neighbouring patches of which one is masked: vertical, horizontal. Tells blocks from dust."""
    vertical = (masks[:, 1:] != masks[:, :-1]).sum((1, 2))
    horizontal = (masks[:, :, 1:] != masks[:, :, :-1]).sum((1, 2))
    return vertical, horizontal


def assert_same_mean(ours, theirs, what):
    error = math.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs))
    assert abs(ours.mean() - theirs.mean()) < 4 * error + 1e-9, (
        f"{what}: {ours.mean()} against {theirs.mean()}"
    )


@pytest.mark.golden
def test_numbers_masked_match_the_official_generator(golden):
    official = golden("masking.npz")
    n = 8000
    for i, asked in enumerate(official["asked"]):
        counts = block_masks(torch.full((n,), int(asked)), GRID, generator=draw(i)).sum(1).double()
        error = official["std"][i] * math.sqrt(1 / n + 1 / 4000)
        assert abs(counts.mean() - official["mean"][i]) < 4 * error
        assert 0.75 < counts.std() / official["std"][i] < 1.33
        assert counts.max() == official["maximum"][i] == asked
        # The tail is long: in 4,000 draws the official minimum is itself a matter of chance.
        assert (counts < official["minimum"][i]).double().mean() < 2e-3


@pytest.mark.golden
def test_every_patch_is_masked_as_often_as_by_the_official_generator(golden):
    official = golden("masking.npz")
    theirs = official["coverage"]
    asked = int(official["asked"][np.abs(official["mean"] - theirs.sum()).argmin()])
    n = 16000
    ours = block_masks(torch.full((n,), asked), GRID, generator=draw()).double().mean(0).reshape(GRID).numpy()
    z = (ours - theirs) / np.sqrt(theirs * (1 - theirs) * (1 / n + 1 / 4000))
    # Neighbours are masked together, so the mean square scatters more than for 256 independent patches.
    assert np.square(z).mean() < 1.7
    assert np.abs(z).max() < 5


def test_same_distribution_as_a_naive_loop():
    grid, asked, min_patches, aspect = (10, 17), 100, 3, (0.4, 3.0)
    n = 2500
    rng = np.random.default_rng(0)
    theirs = np.stack([naive_mask(asked, grid, rng, min_patches, 85, aspect) for _ in range(n)])
    ours = block_masks(
        torch.full((4 * n,), asked),
        grid,
        generator=draw(),
        min_patches=min_patches,
        aspect=aspect,
    )
    ours = ours.reshape(-1, *grid).numpy()
    assert_same_mean(ours.sum((1, 2)), theirs.sum((1, 2)), "patches masked")
    for i, direction in enumerate(("vertical", "horizontal")):
        assert_same_mean(edge_lengths(ours)[i], edge_lengths(theirs)[i], f"{direction} edges")
    mean = theirs.mean(0)
    z = (ours.mean(0) - mean) / np.sqrt(mean * (1 - mean) * (1 / n + 1 / (4 * n)))
    assert np.square(z).mean() < 1.7


def test_a_small_request_is_one_block_of_exactly_that_size():
    # The smallest block is as large as the request, so nothing else can be taken.
    masks = block_masks(torch.tensor([4] * 200), (6, 6), generator=draw(), aspect=(1, 1)).reshape(-1, 6, 6)
    assert (masks.sum((1, 2)) == 4).all()
    assert (masks.any(2).sum(1) == 2).all() and (masks.any(1).sum(1) == 2).all()


def test_each_image_gets_its_own_mask_for_its_own_number():
    asked = torch.tensor([0, 10, 40, 100, 200, 256] * 20)
    before = asked.clone()
    masks = block_masks(asked, GRID, generator=draw())
    assert masks.shape == (120, 256) and masks.dtype == torch.bool
    assert torch.equal(asked, before)
    counts = masks.sum(1)
    assert (counts <= asked).all()
    assert (counts[asked == 0] == 0).all()
    assert (counts[asked == 40] >= 36).all()
    assert len(masks[asked == 40].unique(dim=0)) == 20


@pytest.mark.parametrize(("grid", "masked"), [((4, 12), 0), ((12, 4), 0), ((5, 12), 16), ((12, 5), 16)])
def test_blocks_stay_smaller_than_the_grid(grid, masked):
    asked = torch.full((100,), 16)  # exactly one block of 4 x 4
    masks = block_masks(asked, grid, generator=draw(), min_patches=16, aspect=(1, 1))
    assert (masks.sum(1) == masked).all()


def test_smallest_grid():
    masks = block_masks(torch.full((300,), 4), (2, 2), generator=draw())
    assert (masks.sum(1) <= 4).all() and masks.any()


def test_the_generator_alone_decides():
    asked = torch.full((16,), 60)
    first = block_masks(asked, GRID, generator=draw(3))
    torch.manual_seed(0)
    assert torch.equal(first, block_masks(asked, GRID, generator=draw(3)))
    assert not torch.equal(first, block_masks(asked, GRID, generator=draw(4)))
    batch = mask_batch(16, GRID, generator=draw(3))
    assert torch.equal(batch, mask_batch(16, GRID, generator=draw(3)))


@pytest.mark.gpu
def test_masks_are_made_on_the_generators_device():
    generator = torch.Generator("cuda").manual_seed(0)
    masks = mask_batch(64, GRID, generator=generator)
    assert masks.is_cuda
    assert (masks.any(1).sum() == 32) and masks.sum(1).max() <= 128


def test_batch_of_512_images_takes_milliseconds():
    mask_batch(512, GRID, generator=draw())
    start = time.process_time()  # a busy machine shall not make it fail
    mask_batch(512, GRID, generator=draw())
    assert time.process_time() - start < 0.5  # 5 ms; a loop over images takes 1 s


def test_half_of_the_crops_are_masked_with_ratios_spread_evenly():
    masks = mask_batch(40, GRID, generator=draw())
    counts = masks.sum(1).sort().values
    assert (counts > 0).sum() == 20
    edges = torch.linspace(0.1, 0.5, 21) * 256
    assert (counts[20:] <= edges[1:]).all()
    assert (counts[20:] >= edges[:-1].floor() - 8).all()  # a mask may fall a few patches short


@pytest.mark.parametrize(
    ("n_crops", "probability", "masked"), [(5, 0.5, 2), (1, 0.5, 0), (6, 0, 0), (6, 1, 6)]
)
def test_number_of_masked_crops_is_rounded_down(n_crops, probability, masked):
    masks = mask_batch(n_crops, (7, 7), generator=draw(), probability=probability)
    assert masks.shape == (n_crops, 49)
    assert masks.any(1).sum() == masked


def test_number_asked_for_is_uniform_within_the_range():
    counts = torch.cat(
        [
            mask_batch(1, GRID, generator=draw(seed), ratio=(0.2, 0.4), probability=1).sum(1)
            for seed in range(400)
        ]
    ).double()
    assert abs(counts.mean() / 256 - 0.3) < 0.01
    assert abs(counts.std() / 256 - 0.2 / math.sqrt(12)) < 0.006


def test_which_crop_gets_which_ratio_is_shuffled():
    generator = draw()
    counts = torch.stack([mask_batch(8, (7, 7), generator=generator).sum(1) for _ in range(300)]).double()
    by_position = counts.mean(0)
    assert (by_position - by_position.mean()).abs().max() < 4.5 * counts.std() / math.sqrt(300)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"asked": torch.tensor([300])}, "0 to 256"),
        ({"asked": torch.tensor([-1])}, "got -1"),
        ({"asked": torch.tensor([5.0])}, "integer tensor"),
        ({"asked": torch.tensor([True])}, "integer tensor"),
        ({"asked": torch.tensor([[5]])}, "integer tensor"),
        ({"asked": [5]}, "list"),
        ({"grid": (1, 16), "asked": torch.tensor([5])}, "2 x 2 patches or more"),
        ({"min_patches": 0}, "min_patches"),
        ({"aspect": (0, 1)}, "aspect"),
        ({"aspect": (2, 1)}, "aspect"),
    ],
)
def test_block_masks_refuses(arguments, words):
    arguments = {"asked": torch.tensor([5]), "grid": GRID, "generator": draw()} | arguments
    with pytest.raises(ValueError, match=words):
        block_masks(**arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_crops": 0}, "n_crops"),
        ({"ratio": (0.5, 0.1)}, "ratio"),
        ({"ratio": (0.1, 1.5)}, "ratio"),
        ({"probability": 1.5}, "probability"),
        ({"probability": float("nan")}, "probability"),
        ({"grid": (1, 1)}, "2 x 2"),
    ],
)
def test_mask_batch_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        mask_batch(**({"n_crops": 4, "grid": GRID, "generator": draw()} | arguments))
