// Block masks over a photo's patch grid: one crop with a histogram of what is masked, or a batch of crops.
import { batchAsked, blockMask } from "./_blocks.js";
import {
  axes, button, decodeImage, figure, gallery, h, percent, remember, row, segmented, shell, slider, uniforms,
} from "./_shared.js";

const N_CROPS = 16;

/** The counts of n masks, drawn one after another with the same settings, for tests and for the histogram. */
export function drawCounts(n, asked, settings) {
  return Array.from({ length: n }, (_, i) => blockMask(asked, settings, uniforms(i + 1)).count);
}

// ---- the pictures -----------------------------------------------------------------------------------------

/** The photo with its masked patches covered; a strong line around each block, a faint one around each patch. */
function paintMask(ui, ctx, side, photo, mask, grid) {
  const edge = (index) => Math.round(index * side / grid);
  ctx.drawImage(photo, 0, 0, side, side);
  ctx.fillStyle = ui.color("mask");
  mask.owner.forEach((block, patch) => {
    if (block < 0) return;
    const [r, c] = [Math.floor(patch / grid), patch % grid];
    ctx.fillRect(edge(c), edge(r), edge(c + 1) - edge(c), edge(r + 1) - edge(r));
  });
  ctx.fillStyle = "rgba(255, 255, 255, 0.28)";
  for (let i = 1; i < grid && side > 150; i++) {
    ctx.fillRect(edge(i), 0, 1, side);
    ctx.fillRect(0, edge(i), side, 1);
  }
  ctx.fillStyle = "#ffffff";
  mask.owner.forEach((block, patch) => {
    const [r, c] = [Math.floor(patch / grid), patch % grid];
    if (c && mask.owner[patch - 1] !== block) ctx.fillRect(edge(c) - 1, edge(r), 2, edge(r + 1) - edge(r));
    if (r && mask.owner[patch - grid] !== block) ctx.fillRect(edge(c), edge(r) - 1, edge(c + 1) - edge(c), 2);
  });
}

/** Bars: how many patches the masks were short of what was asked. */
function paintHistogram(ui, ctx, size, shortfalls) {
  const worst = Math.max(4, ...shortfalls);
  const counts = new Array(worst + 1).fill(0);
  shortfalls.forEach((missing) => { counts[missing] += 1; });
  const area = axes(ui, ctx, size, {
    domain: { x: [-0.6, worst + 0.6], y: [0, 1.1] }, yFormat: percent,
    xLabel: "patches short of what was asked", yLabel: "share of the draws",
  });
  const width = (area.x(1) - area.x(0)) * 0.72;
  counts.forEach((count, missing) => {
    const share = count / shortfalls.length;
    ctx.fillStyle = ui.color(missing ? "bad" : "good");
    ctx.fillRect(area.x(missing) - width / 2, area.y(share), width, area.bottom - area.y(share));
    if (!count) return;
    ctx.fillStyle = ui.color("ink");
    ctx.textAlign = "center";
    ctx.fillText(percent(share, share < 0.1 ? 1 : 0), area.x(missing), area.y(share) - 9);
  });
  return `Histogram of ${shortfalls.length} draw${shortfalls.length === 1 ? "" : "s"}: ${percent(shareShort(shortfalls))} fell short, `
    + `at most by ${Math.max(...shortfalls)}.`;
}

/** The batch as small pictures; pressing one shows its crop. */
function addBatch(ui, photo, current) {
  const caption = "A batch of 16 global crops (drawn here on one photo). Press one to see it.";
  const box = h("figure", { class: "dv2-figure" });
  ui.stage.append(box);
  const update = gallery(ui, { key: "crop", label: "Crops of the batch", columns: 4, into: box });
  box.append(h("figcaption", {}, caption));
  ui.watch(() => {
    box.hidden = ui.model.get("view") !== "batch";
    if (box.hidden) return;
    const { batch, grid } = current();
    update(batch.map((mask, value) => {
      const share = percent(mask.count / grid ** 2);
      return {
        value, text: mask.count ? share : "whole",
        name: `Crop ${value + 1}: ${mask.count ? `${share} masked` : "not masked"}`,
        paint: (ctx, side) => paintMask(ui, ctx, side, photo, mask, grid),
      };
    }));
  });
}

// ---- the widget -------------------------------------------------------------------------------------------

function sentence(model, { grid, shown, shortfalls, batch }) {
  const missing = shown.asked - shown.count;
  const blocks = `${shown.blocks.length} block${shown.blocks.length === 1 ? "" : "s"}`;
  const result = `asked for ${shown.asked} of ${grid * grid} patches, masked ${shown.count} with ${blocks}`
    + (missing ? `, ${missing} short.` : ".");
  if (model.get("view") === "one") {
    const history = shortfalls.length > 1
      ? ` Of ${shortfalls.length} draws, ${percent(shareShort(shortfalls))} fell short.` : "";
    return `Draw ${shortfalls.length}: ${result}${history}`;
  }
  const masked = batch.filter((mask) => mask.asked).length;
  return `${masked} of ${batch.length} crops are masked. Crop ${model.get("crop") + 1}: `
    + (shown.asked ? result : "the student sees it whole.");
}

const shareShort = (shortfalls) => shortfalls.filter(Boolean).length / shortfalls.length;

function compute(grid, ratio, smallest, aspect, draws) {
  const settings = { grid, smallest, aspect };
  const patches = grid * grid;
  const asked = Math.floor(patches * ratio + 1e-9);
  const uniform = uniforms(draws + 50000);
  return {
    grid, one: blockMask(asked, settings, uniforms(draws)),
    shortfalls: drawCounts(draws, asked, settings).map((count) => asked - count),
    batch: batchAsked(N_CROPS, patches, uniform).map((n) => blockMask(n, settings, uniform)),
  };
}

async function render({ model, el }) {
  const ui = shell({ model, el, label: "Block masks" });
  const photo = await decodeImage(model.get("photo"));
  const computed = remember(compute);
  const current = () => {
    const all = computed(...["grid", "ratio", "smallest", "aspect", "draws"].map((key) => model.get(key)));
    return { ...all, shown: model.get("view") === "one" ? all.one : all.batch[model.get("crop")] };
  };

  segmented(ui, { key: "view", label: "Show", options: [["one", "one crop"], ["batch", "a batch of 16"]] });
  const ratio = slider(ui, { key: "ratio", label: "Share to mask", min: 0.05, max: 0.75, step: 0.01, format: percent });
  const patches = (n) => `${n} patch${n === 1 ? "" : "es"}`;
  slider(ui, { key: "smallest", label: "Smallest block", min: 1, max: 32, format: patches });
  slider(ui, {
    key: "aspect", label: "Height : width", min: 0.1, max: 1, step: 0.05,
    format: (low) => (low === 1 ? "squares" : `${low.toFixed(2)} – ${(1 / low).toFixed(1)}`),
  });
  const line = row(ui, "Draw");
  const draw = (n) => ui.set({ draws: model.get("draws") + n });
  button(ui, { label: "Draw again", primary: true, into: line, onPress: () => draw(1) });
  const hundred = button(ui, { label: "Draw 100", into: line, onPress: () => draw(100) });

  figure(ui, {
    caption: "What the student sees: grey patches are replaced by the mask token.",
    paint: (ctx, { width }) => {
      const { shown, grid } = current();
      paintMask(ui, ctx, width, photo, shown, grid);
      return `A photo of ${grid} by ${grid} patches; ${shown.count} of them are covered `
        + `by ${shown.blocks.length} blocks.`;
    },
  });
  const histogram = figure(ui, {
    caption: "Asked against masked, over all draws so far.", aspect: () => (ui.root.clientWidth < 540 ? 1.5 : 1),
    paint: (ctx, size) => paintHistogram(ui, ctx, size, current().shortfalls),
  });
  histogram.parentElement.classList.add("dv2-later");
  addBatch(ui, photo, current);

  ui.watch(() => {
    const now = current();
    const one = model.get("view") === "one";
    histogram.parentElement.hidden = !one;
    ratio.disabled = hundred.disabled = !one;
    ui.say(sentence(model, now));
    const masked = [...now.shown.owner.keys()].filter((patch) => now.shown.owner[patch] >= 0);
    if (String(masked) !== String(model.get("masked"))) ui.set({ masked });
  });
  return ui.cleanup;
}

export default { render };
