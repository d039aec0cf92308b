// Where a token looks: one row of the attention matrix at a time, drawn beside the photo on a scale that does not move.
import {
  bars, cellPath, clamp, decodeImage, gallery, h, indexOfMax, mean, outline, percent, segmented, shell, slider,
  strokeOverPhoto, sum, typed,
} from "./_shared.js";
import { SHARES, boardFigure, scaleColor, shareOnScale, tokenGrid } from "./_tokens.js";

const STYLE = `
.dv2-side p { font-size: 0.88rem; margin: 0.9rem 0 0.3rem; }
.dv2-side p:first-child { margin-top: 0; }`;

// ---- the formulas -----------------------------------------------------------------------------------------

/** The weights of one recorded row: its 8-bit levels times its scale. */
export const dequantise = (levels, scale) => Array.from(levels, (level) => level / 255 * scale);

/**
 * Marks the fewest patches that together hold a share of the weights: features.top_share_mask for one map.
 * Equal weights are taken in order, as Python's stable sort does.
 */
export function topShareMask(weights, share) {
  const order = [...weights.keys()].sort((i, j) => weights[j] - weights[i] || i - j);
  const wanted = share * sum(weights) * (1 - 1e-12);
  const marked = new Array(weights.length).fill(false);
  let before = 0;
  for (const i of order) {
    if (before >= wanted) break;
    marked[i] = true;
    before += weights[i];
  }
  return marked;
}

/** Which patches a map marks; none is left out while the share is all. */
const markedOf = (patches, keep) => (keep < 1 ? topShareMask(patches, keep) : patches.map(() => true));

/** The recorded place nearest to a place along one side: the middle of its block. */
export const recordedPlace = (place, every, side) =>
  Math.min(Math.floor(place / every) * every + Math.floor(every / 2), side - 1);

// ---- the data ---------------------------------------------------------------------------------------------

/** Reads the model's bytes: { prefix, tokens, row(layer, head, query) } with head -1 for the mean of all heads. */
function readAttention(model) {
  const [rows, cols, every, nHeads] = ["rows", "cols", "every", "n_heads"].map((key) => model.get(key));
  const levels = typed(model.get("attention"), Uint8Array);
  const scales = typed(model.get("scales"), Float32Array);
  const prefix = 1 + model.get("n_registers");
  const tokens = prefix + rows * cols;
  const perRow = Math.ceil(cols / every);
  const queries = prefix + Math.ceil(rows / every) * perRow;

  const headRow = (layer, head, query) => {
    const at = (layer * nHeads + head) * queries + query;
    return dequantise(levels.subarray(at * tokens, (at + 1) * tokens), scales[at]);
  };
  const row = (layer, head, query) => {
    if (head >= 0) return headRow(layer, head, query);
    const all = Array.from({ length: nHeads }, (_, each) => headRow(layer, each, query));
    return all[0].map((_, key) => mean(all.map((weights) => weights[key])));
  };
  const patchQuery = ([r, c]) => prefix + Math.floor(r / every) * perRow + Math.floor(c / every);
  return { prefix, tokens, row, patchQuery };
}

const registerNames = (model) => Array.from({ length: model.get("n_registers") }, (_, i) => `register ${i + 1}`);

/** Index of the chosen query among the recorded ones. */
function chosenQuery(model, data) {
  const query = model.get("query");
  return query === "patch" ? data.patchQuery(model.get("patch")) : ["cls", ...registerNames(model)].indexOf(query);
}

// ---- the pictures -----------------------------------------------------------------------------------------

/** Weights of patches in the one scale of colours; darker where a mask leaves a patch out. tokens: how many share. */
function drawWeights(ctx, place, { patches, marked, tokens }, grid) {
  tokenGrid(ctx, place, grid, (i) => scaleColor(shareOnScale(patches[i] * tokens)).map((value) => (marked[i] ? value : 0.3 * value)));
}

// ---- the words --------------------------------------------------------------------------------------------

const patchName = (index, cols) => `row ${Math.floor(index / cols) + 1}, column ${index % cols + 1}`;
const headName = (head) => (head < 0 ? "mean of all heads" : `head ${head + 1}`);

function queryName(model) {
  const [query, [r, c]] = [model.get("query"), model.get("patch")];
  if (query === "cls") return "the class token";
  return query === "patch" ? `the patch at row ${r + 1}, column ${c + 1}` : query;
}

function sentence(model, view) {
  const strongest = indexOfMax(view.patches);
  const share = view.keep < 1 ? view.keep : 0.5;
  const few = topShareMask(view.patches, share).filter(Boolean).length;
  const others = view.registers.length ? `, registers ${percent(sum(view.registers), 1)}` : "";
  return `In ${model.get("layers")[view.layer]}, ${headName(view.head)}, ${queryName(model)} looks most at `
    + `${patchName(strongest, view.grid[1])} (${percent(view.patches[strongest], 1)}). `
    + `To the class token: ${percent(view.cls, 1)}${others}. `
    + `Top ${percent(share)} of what goes to patches: ${few} of ${view.patches.length}.`;
}

// ---- the widget -------------------------------------------------------------------------------------------

/** Everything that is shown of the chosen row. */
function lookAt(model, data) {
  const [layer, head, keep] = ["layer", "head", "keep"].map((key) => model.get(key));
  const weights = data.row(layer, head, chosenQuery(model, data));
  const patches = weights.slice(data.prefix);
  return {
    layer, head, keep, patches, tokens: data.tokens, cls: weights[0], registers: weights.slice(1, data.prefix),
    marked: markedOf(patches, keep),
    grid: [model.get("rows"), model.get("cols")],
  };
}

/** Photo and map side by side, both to point at. */
function boards(ui, photo, view) {
  const { model } = ui;
  const [every, ...grid] = ["every", "rows", "cols"].map((key) => model.get(key));
  const choose = (place) => {
    const patch = place.map((at, axis) => recordedPlace(clamp(at, 0, grid[axis] - 1), every, grid[axis]));
    const same = model.get("query") === "patch" && String(patch) === String(model.get("patch"));
    if (!same) ui.set({ query: "patch", patch });
  };
  const board = (title, paint) => ({ title, grid, aspect: grid[1] / grid[0], paint: (ctx, place) => {
    paint(ctx, place);
    const { marked, keep } = view();
    if (keep < 1) strokeOverPhoto(ctx, outline(marked, grid, place));
    if (model.get("query") === "patch") strokeOverPhoto(ctx, cellPath(model.get("patch"), grid, place));
  } });
  const recorded = every > 1 ? ` One patch in each ${every} x ${every} is recorded.` : "";
  boardFigure(ui, {
    caption: `Tap a patch, or move with the arrow keys, to see where it looks.${recorded} ${model.get("source")}`,
    boards: () => ({
      list: [board("the photo", (ctx, at) => ctx.drawImage(photo, at.x, at.y, at.width, at.height)),
        board(headName(model.get("head")), (ctx, at) => drawWeights(ctx, at, view(), grid))],
      columns: () => 2, scale: SHARES,
      alt: `The photo, and beside it where ${queryName(model)} looks. Arrow keys move to another patch.`,
    }),
    tap: ({ patch }) => choose(patch),
    step: ([columns, rows]) => {
      const [r, c] = model.get("patch");
      choose(model.get("query") === "patch" ? [r + rows * every, c + columns * every] : [r, c]);
    },
    press: () => {},
  });
}

/** The heads of the chosen layer as small maps to choose from. */
function headMosaic(ui, into, data) {
  const { model } = ui;
  const grid = [model.get("rows"), model.get("cols")];
  const heads = Array.from({ length: model.get("n_heads") + 1 }, (_, i) => i - 1);
  into.append(h("p", {}, "Heads of this layer"));
  const update = gallery(ui, { key: "head", label: "Heads of this layer", columns: 4, into });
  ui.watch(() => {
    const query = chosenQuery(model, data);
    update(heads.map((head) => ({
      value: head, name: headName(head), text: head < 0 ? "mean" : `${head + 1}`,
      paint: (ctx, side) => {
        const patches = data.row(model.get("layer"), head, query).slice(data.prefix);
        const scale = side / Math.max(...grid);
        const place = { x: 0, y: 0, width: grid[1] * scale, height: grid[0] * scale };
        const marked = markedOf(patches, model.get("keep"));
        drawWeights(ctx, place, { patches, marked, tokens: data.tokens }, grid);
      },
    })));
  });
}

/** How much goes to the tokens that are no patches. */
function tokenBars(ui, into, view) {
  into.append(h("p", {}, "Shared out among"));
  const update = bars(ui, { label: "Attention by kind of token", into });
  ui.watch(() => {
    const { cls, registers, patches } = view();
    const apart = registers.map((weight, i) => [`register ${i + 1}`, weight, "register"]);
    const kinds = [["class token", cls, "cls"], ...apart, [`${patches.length} patches`, sum(patches), "patch"]];
    update(kinds.map(([name, share, role]) => ({ name, share, text: percent(share, 1), color: ui.color(role) })));
  });
}

async function render({ model, el }) {
  const photo = await decodeImage(model.get("photo"));
  const ui = shell({ model, el, label: "Attention beside the photo", style: STYLE });
  const data = readAttention(model);
  const view = () => lookAt(model, data);
  boards(ui, photo, view);

  const [heads, kinds] = [0, 1].map(() => h("div", { class: "dv2-side dv2-later" }));
  ui.stage.append(heads, kinds);
  headMosaic(ui, heads, data);
  tokenBars(ui, kinds, view);

  const [names, layers] = [registerNames(model), model.get("layers")];
  segmented(ui, { key: "query", label: "Who looks", wide: names.length > 0, options: [
    ["cls", "class token"], ...names.map((name) => [name, name]), ["patch", "a patch"]] });
  slider(ui, { key: "layer", label: "Layer", min: 0, max: layers.length - 1, format: (i) => layers[i] });
  slider(ui, { key: "keep", label: "Mark strongest", min: 0.05, max: 1, step: 0.05,
    format: (share) => (share < 1 ? `top ${percent(share)}` : "off") });
  ui.watch(() => ui.say(sentence(model, view())));
  return ui.cleanup;
}

export default { render };
