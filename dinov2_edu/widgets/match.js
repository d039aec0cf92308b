// A patch of one photo, and where pixels, random and trained weights find it in another, beside where it is.
import { cellPath, clamp, decodeImage, outline, percent, segmented, shell, strokeOverPhoto, toggle, typed } from "./_shared.js";
import { boardFigure } from "./_tokens.js";

const NEAR = 1; // patches: a match this near to the truth counts as right

// ---- the formulas -----------------------------------------------------------------------------------------

/** How far a found patch (its index) lies from the true place [row, column], in patches; NaN where that is unknown. */
export const distanceOf = (index, [row, col], cols) =>
  Math.hypot(Math.floor(index / cols) - row, index % cols - col);

/** The share of the patches with a known place that were found within some patches of it: probe.correct_keypoints. */
export function shareRight(distances, near) {
  const known = distances.filter((distance) => !Number.isNaN(distance));
  return known.filter((distance) => distance <= near).length / known.length;
}

// ---- the data ---------------------------------------------------------------------------------------------

/** Reads the model's bytes: { grid, names, truth(i), found(name, i), distances(name) }. */
function readMatches(model) {
  const grid = [model.get("rows"), model.get("cols")];
  const names = model.get("names");
  const n = grid[0] * grid[1];
  const found = typed(model.get("found"), Int32Array);
  const places = typed(model.get("truth"), Float32Array);
  const truth = (i) => [places[2 * i], places[2 * i + 1]];
  const foundBy = (name, i) => found[names.indexOf(name) * n + i];
  const distances = new Map(names.map((name) => [
    name, Array.from({ length: n }, (_, i) => distanceOf(foundBy(name, i), truth(i), grid[1]))]));
  return { grid, names, truth, found: foundBy, distances: (name) => distances.get(name) };
}

// ---- the words --------------------------------------------------------------------------------------------

const placed = (row, col) => `row ${row + 1}, column ${col + 1}`;
const off = (distance) => (distance < 0.05 ? "right there" : `${distance.toFixed(1)} patches off`);

function sentence(model, data) {
  const [[row, col], name] = [model.get("patch"), model.get("seen_by")];
  const { grid: [, cols], names } = data;
  const i = row * cols + col;
  const at = data.found(name, i);
  const begin = `The patch at ${placed(row, col)} of the left photo: by ${name} it is found at `
    + `${placed(Math.floor(at / cols), at % cols)} of the right one`;
  const share = percent(shareRight(data.distances(name), NEAR));
  const all = `Of all patches whose place is known, ${name} finds ${share} within one patch.`;
  if (Number.isNaN(data.truth(i)[0])) return `${begin}. Where it is was not measured, or lies outside the photo. ${all}`;
  const others = names.filter((other) => other !== name).map((other) => `by ${other} ${off(data.distances(other)[i])}`);
  const compared = others.length ? `; ${others.join(", ")}` : "";
  return `${begin}, ${off(data.distances(name)[i])}${compared}. ${all}`;
}

// ---- the widget -------------------------------------------------------------------------------------------

/** A ring around a place [row, column], a patch and a half wide. */
function ring([row, col], [rows, cols], { x, y, width, height }) {
  const path = new Path2D();
  const radius = Math.max(6, 0.75 * width / cols);
  path.arc(x + (col + 0.5) / cols * width, y + (row + 0.5) / rows * height, radius, 0, 2 * Math.PI);
  return path;
}

function boards(ui, [left, right], data) {
  const { model } = ui;
  const { grid } = data;
  const board = (title, photo, marks) => ({ title, grid, aspect: photo.width / photo.height, paint: (ctx, place) => {
    ctx.drawImage(photo, place.x, place.y, place.width, place.height);
    marks(ctx, place);
  } });
  const chosen = () => model.get("patch")[0] * grid[1] + model.get("patch")[1];
  const here = board("left: choose a patch", left, (ctx, place) => {
    if (model.get("marked")) {
      const marked = data.distances(model.get("seen_by")).map((distance) => distance <= NEAR);
      strokeOverPhoto(ctx, outline(marked, grid, place));
    }
    strokeOverPhoto(ctx, cellPath(model.get("patch"), grid, place));
  });
  const there = board("right: square found, ring true", right, (ctx, place) => {
    const [at, truth] = [data.found(model.get("seen_by"), chosen()), data.truth(chosen())];
    strokeOverPhoto(ctx, cellPath([Math.floor(at / grid[1]), at % grid[1]], grid, place));
    if (!Number.isNaN(truth[0])) strokeOverPhoto(ctx, ring(truth, grid, place));
  });
  const choose = (place) => {
    const patch = place.map((at, axis) => clamp(at, 0, grid[axis] - 1));
    if (String(patch) !== String(model.get("patch"))) ui.set({ patch });
  };
  boardFigure(ui, {
    caption: `Press on the left photo and move, or use the arrow keys. ${model.get("source")}`,
    boards: () => ({
      list: [here, there], columns: (width) => (width > 480 ? 2 : 1),
      alt: "Two photos of one scene. A square marks the chosen patch in the left one and the patch found for it in the "
        + "right one; a ring marks where it truly is. Arrow keys move to another patch.",
    }),
    tap: ({ board: pressed, patch }) => { if (pressed === here) choose(patch); },
    step: ([columns, rows]) => choose([model.get("patch")[0] + rows, model.get("patch")[1] + columns]),
    press: () => {},
  });
}

async function render({ model, el }) {
  const photos = await Promise.all(["left", "right"].map((key) => decodeImage(model.get(key))));
  const ui = shell({ model, el, label: "A patch found in a second photo" });
  const data = readMatches(model);
  boards(ui, photos, data);
  segmented(ui, { key: "seen_by", label: "Seen by", wide: true, options: data.names.map((name) => [name, name]) });
  toggle(ui, { key: "marked", label: "Outline what is found right" });
  ui.watch(() => ui.say(sentence(model, data)));
  return ui.cleanup;
}

export default { render };
