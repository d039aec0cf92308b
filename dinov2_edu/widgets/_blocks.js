// Block masks: which patches of a crop the student does not see. Twin: dinov2_edu.masking.
import { roundHalfEven, shuffled } from "./_numbers.js";

const N_PROPOSALS = 10;

/**
 * One proposed block from four uniform numbers: { top, left, height, width, fits }.
 * `limit` is the most that it may newly mask; grid is the number of patches down and across.
 */
export function proposeBlock([area, ratio, down, across], limit, { grid, smallest, aspect }) {
  const patches = smallest + (limit - smallest) * area;
  const logAspect = Math.log(aspect) + (Math.log(1 / aspect) - Math.log(aspect)) * ratio;
  const root = Math.exp(logAspect / 2);
  const height = roundHalfEven(Math.sqrt(patches) * root);
  const width = roundHalfEven(Math.sqrt(patches) / root);
  return {
    height, width, fits: height < grid && width < grid,
    top: Math.floor(down * (grid - height + 1)), left: Math.floor(across * (grid - width + 1)),
  };
}

/** The patches (in row order) that a block covers. */
function patchesOf({ top, left, height, width }, grid) {
  const found = [];
  for (let r = top; r < top + height; r++) for (let c = left; c < left + width; c++) found.push(r * grid + c);
  return found;
}

/** A mask for `asked` patches: { owner, blocks, count }; owner[patch] is its block's number, or -1 if it is seen. */
export function blockMask(asked, settings, uniform) {
  const { grid } = settings;
  const owner = new Int16Array(grid * grid).fill(-1);
  const blocks = [];
  let count = 0;
  let refused = 0;
  while (count < asked && refused < N_PROPOSALS) {
    const limit = Math.min(asked - count, Math.floor(grid * grid / 2));
    const block = proposeBlock([uniform(), uniform(), uniform(), uniform()], limit, settings);
    const fresh = block.fits ? patchesOf(block, grid).filter((patch) => owner[patch] < 0) : [];
    if (fresh.length > 0 && fresh.length <= limit) {
      fresh.forEach((patch) => { owner[patch] = blocks.length; });
      blocks.push(block);
      count += fresh.length;
      refused = 0;
    } else refused += 1;
  }
  return { asked, owner, blocks, count };
}

/** How many patches each crop of a batch is asked to mask: a share of the crops, spread over the range of ratios. */
export function batchAsked(nCrops, nPatches, uniform, { ratio: [low, high] = [0.1, 0.5], probability = 0.5 } = {}) {
  const nMasked = Math.floor(nCrops * probability);
  const width = (high - low) / nMasked;
  const asked = Array.from({ length: nCrops }, (_, i) =>
    (i < nMasked ? Math.floor(nPatches * (low + width * (i + uniform()))) : 0));
  return shuffled(asked, uniform);
}
