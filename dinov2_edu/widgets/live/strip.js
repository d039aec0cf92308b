// What the last step of a run looked at and said about one of its pictures, to be shown.
import { statistics } from "./pictures.js";
import { centerTargets } from "./targets.js";

/** Normalised numbers of one crop back to bytes [plane], gray. */
function shown(pixels, at, size) {
  const { mean: [mean], std: [std] } = statistics(1);
  return Uint8ClampedArray.from(pixels.subarray(at, at + size * size), (x) => Math.round(255 * (x * std + mean)));
}

/**
 * Picture number `which` of the last batch:
 *
 * { step, index, label, side, picture, k, globals, locals, }; a global crop is { size, pixels, box, flip, mask, target,
 * guess, patches }, a local one lacks mask, target and patches. target and guess are [k] probabilities of the class
 * token: what the teacher says of this crop, and what the student does; patches: [{ place, target, guess }].
 */
export function stripOf(run, which = 0) {
  const { last, world, state: { config, step } } = run;
  if (!last) throw new Error("There is nothing to show before the first step.");
  const { batch, chosen, seen: { targets, read, logits, patchFrom, localFrom } } = last;
  const { n_prototypes: k, student_temperature, crops: { global_size, local_size, n_local }, vit } = config;
  const images = batch.images;
  const grid = (global_size / vit.patch_size) ** 2;
  const row = (probs, i) => Float32Array.from(probs.subarray(i * k, (i + 1) * k));
  const guess = (i) => row(centerTargets(logits.subarray(i * k, (i + 1) * k), k, student_temperature), 0);
  const view = (pixels, size, crop, drawn) =>
    ({ size, pixels: shown(pixels, crop * size * size, size), box: drawn.box, flip: drawn.flip });
  const globals = [0, 1].map((i) => {
    const crop = i * images + which;
    const places = read.map((place, at) => [place - crop * grid, at]).filter(([place]) => place >= 0 && place < grid);
    return { ...view(batch.globals, global_size, crop, batch.drawn[crop]), target: row(targets.cls, crop),
      guess: guess(crop), mask: batch.masks ? batch.masks.slice(crop * grid, (crop + 1) * grid) : null,
      patches: places.map(([place, at]) => ({ place, target: row(targets.patch, at), guess: guess(patchFrom + at) })) };
  });
  const locals = Array.from({ length: batch.drawn.length / images - 2 }, (_, i) => {
    const crop = i * images + which;
    return { ...view(batch.locals, local_size, crop, batch.drawn[2 * images + crop]), guess: guess(localFrom + crop) };
  });
  const plane = world.side ** 2;
  const index = chosen[which];
  return { step, index, label: world.labels[index], side: world.side, k, globals, locals, n_local,
    picture: world.bytes.slice(index * plane, (index + 1) * plane) };
}
