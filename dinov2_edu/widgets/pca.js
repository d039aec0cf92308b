// Patch tokens as colours: the principal components are computed here, for whatever the reader chooses.
import {
  arrowStep, cellPath, clamp, decodeImage, figure, h, minus, outline, percent, remember, row, segmented, select, shell,
  slider, strokeOverPhoto, toggle, typed,
} from "./_shared.js";
import { pcaColors } from "./_principal.js";

const COLORS = ["red", "green", "blue"];
const GAP = 10; // pixels between photos

// ---- the data ---------------------------------------------------------------------------------------------

/** Each photo's tokens as rows of numbers. */
function readTokens(model) {
  const [nPatches, d] = [model.get("rows") * model.get("cols"), model.get("n_dims")];
  const levels = typed(model.get("tokens"), Int8Array);
  const scales = typed(model.get("scales"), Float32Array);
  const token = (at) => Float64Array.from(scales, (scale, i) => levels[at * d + i] * scale);
  return model.get("names").map((_, photo) =>
    Array.from({ length: nPatches }, (_, patch) => token(photo * nPatches + patch)));
}

/** pcaColors for each photo: of all photos in one PCA, or of each alone. */
function computeColors(tokens, together, options) {
  if (!together) return tokens.map((rows) => pcaColors(rows, options));
  const { first, foreground, colors, explained } = pcaColors(tokens.flat(), options);
  return tokens.map((rows, photo) => {
    const ofPhoto = (values) => values.slice(photo * rows.length, (photo + 1) * rows.length);
    return { first: ofPhoto(first), foreground: ofPhoto(foreground), colors: ofPhoto(colors), explained };
  });
}

const chosenComponents = (model) => COLORS.map((color) => model.get(color));

/** Red, green and blue (0 to 1) of one patch's components, or null in the background. */
function mixColor(components, chosen, flips) {
  if (!components) return null;
  return chosen.map((k, channel) => {
    if (k < 0) return 0;
    return flips[channel] ? 1 - components[k] : components[k];
  });
}

// ---- the pictures -----------------------------------------------------------------------------------------

/** Places of photos and of their maps (beneath each photo) in a picture of this width. */
function layOut(width, nPhotos, aspect) {
  const columns = Math.min(nPhotos, width > 520 ? 4 : 2);
  const size = { width: (width - (columns - 1) * GAP) / columns };
  size.height = size.width / aspect;
  const pair = 2 * size.height + 4 + 2 * GAP;
  const blocks = Array.from({ length: nPhotos }, (_, i) => {
    const [x, y] = [(i % columns) * (size.width + GAP), Math.floor(i / columns) * pair];
    return { photo: { x, y, ...size }, map: { x, y: y + size.height + 4, ...size } };
  });
  return { blocks, height: Math.ceil(nPhotos / columns) * pair - 2 * GAP };
}

/** One pixel a patch. `colorOf` gives [red, green, blue] in 0 to 1, or null for see-through. */
function patchPixels(rows, cols, colorOf) {
  const canvas = h("canvas", { width: cols, height: rows });
  const ctx = canvas.getContext("2d");
  const pixels = ctx.createImageData(cols, rows);
  for (let i = 0; i < rows * cols; i++) {
    const color = colorOf(i);
    if (color) pixels.data.set([...color.map((value) => Math.round(255 * value)), 255], 4 * i);
  }
  ctx.putImageData(pixels, 0, 0);
  return canvas;
}

/** What a map shows of a patch: the first component in grey (white: 2.5 deviations up), or the chosen colours. */
function shownColor(model, result) {
  const [show, chosen, flips] = [model.get("show"), chosenComponents(model), model.get("flips")];
  if (show !== "first") return (i) => mixColor(result.colors[i], chosen, flips);
  return (i) => new Array(3).fill(clamp(0.5 + result.first[i] / 5, 0, 1));
}

const corners = ({ x, y, width, height }) => [x, y, width, height];

/** A photo (a part of the strip) and the map beneath it; the first component is shown with the cut as a line. */
function paintBlock(ui, ctx, { photo, map }, { strip, at, width }, result) {
  const grid = [ui.model.get("rows"), ui.model.get("cols")];
  ctx.imageSmoothingEnabled = true;
  ctx.drawImage(strip, at, 0, width, strip.height, ...corners(photo));
  ctx.fillStyle = ui.color("raised");
  ctx.fillRect(...corners(map));
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(patchPixels(...grid, shownColor(ui.model, result)), ...corners(map));
  if (ui.model.get("show") === "first") strokeOverPhoto(ctx, outline(result.foreground, grid, map));
}

// ---- the words --------------------------------------------------------------------------------------------

/** Which patches the components were computed of. */
function patchesSaid(model, results, photo) {
  const all = model.get("together") && results.length > 1;
  const patches = all ? results.flatMap((each) => each.foreground) : results[photo].foreground;
  const over = all ? `all ${results.length} photos` : `“${model.get("names")[photo]}”`;
  return `${patches.filter(Boolean).length} of ${patches.length} patches of ${over}`;
}

const deviations = (value) => `${minus(value.toFixed(2))} standard deviations`;

function sentence(model, results) {
  const [photo, r, c] = model.get("patch");
  const { first, colors, explained } = results[photo];
  const inside = patchesSaid(model, results, photo);
  const index = r * model.get("cols") + c;
  const where = `Row ${r + 1}, column ${c + 1} of “${model.get("names")[photo]}”`;
  if (model.get("show") === "first") {
    return `First component: ${inside} are foreground. ${where}: ${deviations(first[index])}.`;
  }
  if (!explained.length) return `${inside} are foreground: too few for components. Move the cut.`;
  const chosen = chosenComponents(model);
  const shares = COLORS.filter((_, i) => chosen[i] >= 0)
    .map((color) => `${color} ${percent(explained[model.get(color)])}`);
  const mixed = mixColor(colors[index], chosen, model.get("flips"));
  const values = mixed ? COLORS.map((color, i) => `${color} ${mixed[i].toFixed(2)}`).join(", ") : "background";
  return `Components of ${inside}; share of the variance: ${shares.join(", ")}. ${where}: ${values}.`;
}

// ---- the widget -------------------------------------------------------------------------------------------

/** The patch [photo, row, column] under a place on the picture, or null between the photos. */
function patchAt(blocks, [x, y], grid) {
  for (const [photo, block] of blocks.entries()) {
    for (const place of Object.values(block)) {
      const share = [(y - place.y) / place.height, (x - place.x) / place.width];
      const inside = share.every((s) => s >= 0 && s < 1);
      if (inside) return [photo, ...share.map((s, axis) => Math.floor(s * grid[axis]))];
    }
  }
  return null;
}

/** The patch one step on; past a side edge the neighbouring photo begins. */
function stepFrom([photo, r, c], [dx, dy], grid, nPhotos) {
  const next = clamp(photo + Math.floor((c + dx) / grid[1]), 0, nPhotos - 1);
  const col = next === photo ? clamp(c + dx, 0, grid[1] - 1) : (c + dx + grid[1]) % grid[1];
  return [next, clamp(r + dy, 0, grid[0] - 1), col];
}

function followPointerAndKeys(ui, canvas, blocksNow) {
  const { model } = ui;
  const grid = [model.get("rows"), model.get("cols")];
  const choose = (patch) => { if (patch && String(patch) !== String(model.get("patch"))) ui.set({ patch }); };
  const point = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    choose(patchAt(blocksNow(), [event.clientX - left, event.clientY - top], grid));
  };
  canvas.setAttribute("role", "application");
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("keydown", (event) => {
    const step = arrowStep(event);
    if (step) choose(stepFrom(model.get("patch"), step, grid, model.get("names").length));
  });
}

function controls(ui) {
  const { model } = ui;
  segmented(ui, { key: "show", label: "What the colours show", wide: true, options: [
    ["first", "1. first component"], ["foreground", "2. components of the foreground"],
    ["all", "one pass over all patches"]] });
  slider(ui, { key: "threshold", label: "Cut at", min: -2, max: 2, step: 0.05, format: deviations });
  const numbers = Array.from({ length: model.get("n_components") }, (_, k) => [k, `component ${k + 1}`]);
  COLORS.forEach((color, channel) => {
    const into = h("div");
    ui.controls.append(into);
    const label = color[0].toUpperCase() + color.slice(1);
    select(ui, { key: color, label, options: [[-1, "none"], ...numbers], into });
    toggle(ui, {
      key: `flips.${channel}`, label: `flip ${color}'s sign`, into,
      get: () => model.get("flips")[channel],
      set: (on) => ui.set({ flips: model.get("flips").map((old, i) => (i === channel ? on : old)) }),
    });
  });
  const line = row(ui, "Which patches", { wide: true });
  toggle(ui, { key: "foreground_high", label: "foreground is above the cut", into: line });
  if (model.get("names").length > 1) toggle(ui, { key: "together", label: "all photos together", into: line });
}

const caption = (model) =>
  "Photos, and beneath each its patches' colours. Computed here from the "
  + `${model.get("n_dims")} strongest directions of the patch tokens `
  + `(${percent(model.get("variance_kept"))} of their variance), in 8 bits. ${model.get("source")}`;

async function render({ model, el }) {
  const strip = await decodeImage(model.get("photos"));
  const ui = shell({ model, el, label: "Principal components of patch tokens" });
  const tokens = readTokens(model);
  const grid = [model.get("rows"), model.get("cols")];
  const compute = remember((together, threshold, foregroundHigh, passes) =>
    computeColors(tokens, together, { count: model.get("n_components"), threshold, foregroundHigh, passes }));
  const results = () => compute(model.get("together"), model.get("threshold"), model.get("foreground_high"),
    model.get("show") === "all" ? 1 : 2);
  const layout = (width) => layOut(width, tokens.length, grid[1] / grid[0]);

  const canvas = figure(ui, {
    caption: caption(model), aspect: (width) => width / layout(width).height, interactive: true,
    paint: (ctx, { width }) => {
      const [now, { blocks }] = [results(), layout(width)];
      const [photo, ...patch] = model.get("patch");
      const part = strip.width / tokens.length;
      blocks.forEach((block, i) => paintBlock(ui, ctx, block, { strip, at: i * part, width: part }, now[i]));
      Object.values(blocks[photo]).forEach((place) => strokeOverPhoto(ctx, cellPath(patch, grid, place)));
      return `Photos (${model.get("names").join("; ")}) and their patches coloured by component. `
        + "Arrow keys move to another patch.";
    },
  });
  canvas.parentElement.classList.add("dv2-wide");
  followPointerAndKeys(ui, canvas, () => layout(canvas.getBoundingClientRect().width).blocks);
  controls(ui);
  ui.watch(() => ui.say(sentence(model, results())));
  return ui.cleanup;
}

export default { render };
