"""Block masks: which patches of a global crop the student does not see.

A mask is made of rectangular blocks of patches, as in BEiT and iBOT. Half of a batch's global crops are
masked, each with its own share of patches. Masks are boolean and True means masked.
"""

import math

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from dinov2_edu.checks import check_at_least, check_probability, check_range, checked, require
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import PatchMask

N_PROPOSALS = 10
"""How many blocks in a row may be refused before an image's mask is taken as it is."""


@checked
@torch_defaults()
def block_masks(
    asked: Int[Tensor, " b"],
    grid: tuple[int, int],
    *,
    generator: torch.Generator,
    min_patches: int = 4,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> PatchMask:
    """Mask about `asked[i]` patches of image i with random rectangular blocks.

    Blocks are proposed one after another. A proposal draws its area uniformly between `min_patches` and what
    is still to be masked (at most half of the grid), its aspect ratio (height / width) log-uniformly, and its
    place uniformly. It is taken if it is smaller than the grid in both directions and newly masks at least
    one patch and no more than that limit. Ten refusals in a row end an image. So a mask never has more
    patches than asked for, and often a few less.

    The ten proposals that may be needed until one is taken do not depend on each other, so they are drawn
    together, for all images at once, and each image takes its first good one. This changes the order of the
    draws and not their distribution.

    Args:
        asked: number of patches to mask in each image, 0 to rows * cols.
        grid: number of patches down and across, at least 2 each.
        generator: source of the draws; the masks are made on its device.
        min_patches: smallest area that is drawn for a block, in patches.
        aspect: smallest and largest height / width of a block, before rounding to whole patches.

    Returns:
        Masks with the patches in row order, True = masked, on the generator's device.

    Raises:
        ValueError: counts outside the grid, a grid too small for blocks, or an empty range of aspect or area.

    Source: BEiT (Bao et al. 2021), algorithm 1; official dinov2/data/masking.py @ b8931f7.
    """
    _check_block_settings(asked, grid, min_patches, aspect)
    rows, cols = grid
    left_to_mask = asked.to(generator.device, torch.int64, copy=True)
    masks = torch.zeros(len(asked), rows, cols, dtype=torch.bool, device=generator.device)
    active = left_to_mask.nonzero().squeeze(1)
    while len(active):
        limit = left_to_mask[active].clamp(max=rows * cols // 2)
        in_rows, in_cols, fits = _propose_blocks(limit, grid, min_patches, aspect, generator)
        free = in_rows.float() @ (~masks[active]).float()  # b 10 cols: in each column, over the block's rows
        newly_masked = (free * in_cols).sum(-1)
        good = fits & (newly_masked > 0) & (newly_masked <= limit[:, None])
        first = good.int().argmax(dim=1)
        image = torch.arange(len(active), device=active.device)
        block = in_rows[image, first][:, :, None] & in_cols[image, first][:, None, :]
        found = good.any(dim=1)
        active, block, newly_masked = active[found], block[found], newly_masked[image, first][found]
        masks[active] |= block
        left_to_mask[active] -= newly_masked.long()
        active = active[left_to_mask[active] > 0]
    return masks.flatten(1)


@checked
@torch_defaults()
def mask_batch(
    n_crops: int,
    grid: tuple[int, int],
    *,
    generator: torch.Generator,
    ratio: tuple[float, float] = (0.1, 0.5),
    probability: float = 0.5,
) -> PatchMask:
    """Make the masks for a batch of global crops: a share of the crops is masked, each with another ratio.

    Exactly `int(n_crops * probability)` crops are masked. The range `ratio` is cut into as many equal parts,
    and each masked crop draws its own ratio from its own part, so that every batch covers the whole range.
    Which crop gets which part is shuffled.

    Args:
        n_crops: number of global crops in the batch (both crops of every image).
        grid: number of patches down and across a crop.
        generator: source of the draws; the masks are made on its device.
        ratio: smallest and largest share of a crop's patches that is asked for, 0 to 1.
        probability: share of the crops that are masked at all, 0 to 1.

    Returns:
        Masks, True = masked; unmasked crops have rows without a True.

    Raises:
        ValueError: no crops, or a ratio or probability outside 0 to 1.

    Source: official dinov2/data/collate.py @ b8931f7.
    """
    check_at_least(1, n_crops=n_crops)
    check_probability(probability, "probability")
    lowest, highest = ratio
    require(0 <= lowest <= highest <= 1, f"ratio must be (smallest, largest) within 0 to 1, got {ratio!r}")
    rows, cols = grid
    device = generator.device
    n_masked = int(n_crops * probability)
    edges = torch.linspace(lowest, highest, n_masked + 1, device=device)
    uniforms = torch.rand(n_masked, generator=generator, device=device)
    asked = torch.zeros(n_crops, dtype=torch.int64, device=device)
    asked[:n_masked] = (rows * cols * torch.lerp(edges[:-1], edges[1:], uniforms)).long()
    order = torch.randperm(n_crops, generator=generator, device=device)
    return block_masks(asked[order], grid, generator=generator)


def _propose_blocks(
    limit: Int[Tensor, " b"],
    grid: tuple[int, int],
    min_patches: int,
    aspect: tuple[float, float],
    generator: torch.Generator,
) -> tuple[Bool[Tensor, "b 10 rows"], Bool[Tensor, "b 10 cols"], Bool[Tensor, "b 10"]]:
    """Draw ten blocks for every image: the rows and columns each covers, and whether it fits the grid."""
    rows, cols = grid
    draws = torch.rand(4, len(limit), N_PROPOSALS, generator=generator, device=generator.device)
    area = torch.lerp(draws.new_tensor(float(min_patches)), limit[:, None].to(draws.dtype), draws[0])
    low, high = math.log(aspect[0]), math.log(aspect[1])
    root = torch.exp((low + (high - low) * draws[1]) / 2)
    height, width = (area.sqrt() * root).round(), (area.sqrt() / root).round()
    top = (draws[2] * (rows - height + 1)).floor()
    left = (draws[3] * (cols - width + 1)).floor()
    row = torch.arange(rows, device=generator.device)
    col = torch.arange(cols, device=generator.device)
    in_rows = (row >= top[..., None]) & (row < (top + height)[..., None])
    in_cols = (col >= left[..., None]) & (col < (left + width)[..., None])
    return in_rows, in_cols, (height < rows) & (width < cols)


def _check_block_settings(
    asked: Tensor,
    grid: tuple[int, int],
    min_patches: int,
    aspect: tuple[float, float],
) -> None:
    """Refuse counts, grids and ranges from which no block could be drawn."""
    rows, cols = grid
    require(
        rows >= 2 and cols >= 2,
        f"a block must be smaller than the grid in both directions, so the grid needs 2 x 2 patches or more, "
        f"got {rows} x {cols}",
    )
    if len(asked):
        fewest, most = int(asked.min()), int(asked.max())
        require(
            fewest >= 0 and most <= rows * cols,
            f"asked: wanted counts from 0 to {rows * cols} (the patches of a {rows} x {cols} grid), "
            f"got {fewest} to {most}",
        )
    check_at_least(1, min_patches=min_patches)
    check_range(aspect, "aspect")
