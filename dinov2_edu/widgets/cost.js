// What a run costs: operations by part, hours, energy, memory. Twin of dinov2_edu.training.cost.
import { bars, h, more, percent, segmented, select, shell, slider, sum, toggle } from "./_shared.js";

const [HIDDEN, DINO_BOTTLENECK, IBOT_BOTTLENECK, PROTOTYPES] = [2048, 384, 256, 131072];
const MASKED = 0.5 * 0.3;
const KEPT = 18;
const OVERHEAD = 1.1; // of the building: the PUE of the paper's section 9
const GIANT = [1536, 40];
const SIZES = { "ViT-S": [384, 12], "ViT-B": [768, 12], "ViT-L": [1024, 24], "ViT-g": GIANT };
const A100 = { patch: 14, global_size: 224, local_size: 98, n_local: 8, gpus: 96, peak: 312, utilisation: 0.39, watts: 400,
  steps: 625000 };
const distilled = (name) => ({ ...A100, width: SIZES[name][0], depth: SIZES[name][1], batch: 2048, drop_path: 0,
  teacher: true });
const PRESETS = {
  "ViT-g": { ...A100, width: 1536, depth: 40, batch: 3072, drop_path: 0.4, teacher: false },
  "ViT-L": distilled("ViT-L"), "ViT-B": distilled("ViT-B"), "ViT-S": distilled("ViT-S"),
};
const PUBLISHED = { "ViT-g": 22016, "ViT-L": 8000, "ViT-B": 5300, "ViT-S": 4500 }; // A100 hours
const BATCHES = [32, 64, 128, 256, 512, 1024, 2048, 3072, 4096];
const STEPS = [1000, 2000, 5000, 10000, 20000, 50000, 100000, 125000, 250000, 500000, 625000, 1000000];
const GPUS = [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 256, 512];
const PEAKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 82, 165, 312, 500, 990, 2250];
const SIDES = [28, 56, 112, 168, 224, 280, 336, 392, 448, 518];
const STYLE = ".dv2-cost .dv2-table { margin: 0; } .dv2-cost p { font-size: 0.88rem; margin: 0 0 0.4rem; }";

// ---- the formulas -----------------------------------------------------------------------------------------

function forward({ patch }, side, [width, depth]) {
  const n = Math.floor(side / patch) ** 2;
  const t = n + 1;
  return depth * (24 * t * width ** 2 + 4 * t ** 2 * width) + 6 * n * patch ** 2 * width;
}

const headWeights = (width, bottleneck) => width * HIDDEN + HIDDEN ** 2 + HIDDEN * bottleneck + bottleneck * PROTOTYPES;
const throughHeads = (width, crops, masked) =>
  2 * crops * headWeights(width, DINO_BOTTLENECK) + 2 * masked * headWeights(width, IBOT_BOTTLENECK);

/** Operations of a run by part: cost.flops_of_run. */
export function flopsOfRun(run) {
  const shape = [run.width, run.depth];
  const guide = run.teacher ? GIANT : shape;
  const images = run.batch * run.steps;
  const pixels = 2 * forward(run, run.global_size, shape) + run.n_local * forward(run, run.local_size, shape);
  const student = pixels * (1 - run.drop_path) * images;
  const masked = 2 * (run.teacher ? 1 : MASKED) * Math.floor(run.global_size / run.patch) ** 2;
  const heads = 3 * throughHeads(run.width, 2 + run.n_local, masked) + throughHeads(guide[0], 2, masked);
  return { teacher: 2 * forward(run, run.global_size, guide) * images, forward: student, backward: 2 * student,
    heads: heads * images };
}

/** Hours of one GPU: cost.gpu_hours. */
export const gpuHours = (run) =>
  sum(Object.values(flopsOfRun(run))) / (run.peak * 1e12 * run.utilisation * 3600);

/** Gigabytes of one GPU: cost.gigabytes. */
export function gigabytes(run) {
  const heads = headWeights(run.width, DINO_BOTTLENECK) + headWeights(run.width, IBOT_BOTTLENECK);
  let weights = 20 * (12 * run.width ** 2 * run.depth + heads);
  if (run.teacher) weights += 2 * 12 * GIANT[0] ** 2 * GIANT[1];
  const tokens = 2 * (Math.floor(run.global_size / run.patch) ** 2 + 1)
    + run.n_local * (Math.floor(run.local_size / run.patch) ** 2 + 1);
  const kept = KEPT * run.width * run.depth * tokens * run.batch * (1 - run.drop_path) * 2;
  return { weights: weights / run.gpus / 1e9, activations: kept / run.gpus / 1e9 };
}

// ---- words ------------------------------------------------------------------------------------------------

const KEYS = ["width", "depth", "patch", "teacher", "global_size", "local_size", "n_local", "batch", "steps", "drop_path",
  "gpus", "peak", "utilisation", "watts"];
const readRun = (model) => Object.fromEntries(KEYS.map((key) => [key, model.get(key)]));
const grouped = (value) => Math.round(value).toLocaleString("en-US");
const scientific = (value, digits) => {
  const [factor, power] = value.toExponential(digits).split("e+");
  return `${factor} · 10${[...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
};
const amount = (value) => (value >= 100 ? grouped(value) : String(Number(value.toPrecision(2))));
const presetOf = (run) =>
  Object.keys(PRESETS).find((name) => Object.entries(PRESETS[name]).every(([key, value]) => run[key] === value));

function price(model) {
  const run = readRun(model);
  const parts = flopsOfRun(run);
  const hours = gpuHours(run);
  const memory = gigabytes(run);
  return { run, parts, total: sum(Object.values(parts)), hours, days: hours / run.gpus / 24, memory,
    energy: (hours * run.watts * OVERHEAD) / 1000, preset: presetOf(run) };
}

function sentence({ run, total, hours, days, energy, memory, preset }) {
  const time = days >= 1 ? `${amount(days)} days` : `${amount(24 * days)} hours`;
  const held = preset ? ` Published for the ${preset}: ${grouped(PUBLISHED[preset])} hours, `
    + `${hours >= PUBLISHED[preset] ? "+" : "−"}${percent(Math.abs(hours / PUBLISHED[preset] - 1))} here.` : "";
  return `${scientific(total, 1)} operations: ${amount(hours)} GPU hours, ${time} on ${run.gpus} `
    + `${run.gpus === 1 ? "GPU" : "GPUs"}, ${amount(energy)} kWh, ${amount(memory.weights + memory.activations)} GB a GPU.${held}`;
}

function rowsOf({ total, hours, days, energy, memory }) {
  return [["operations", scientific(total, 2)], ["GPU hours", amount(hours)],
    ["days, all GPUs at once", amount(days)], ["kilowatt-hours", amount(energy)],
    ["GB a GPU: weights and averages", amount(memory.weights)], ["GB a GPU: activations", amount(memory.activations)]];
}

// ---- the widget -------------------------------------------------------------------------------------------

function controls(ui) {
  const { model } = ui;
  segmented(ui, { key: "run", label: "A published run", wide: true, options: Object.keys(PRESETS).map((name) => [name,
    name === "ViT-g" ? "ViT-g, trained" : `${name}, distilled`]) });
  model.on("change:run", () => PRESETS[model.get("run")] && ui.set(PRESETS[model.get("run")]));
  slider(ui, { key: "batch", label: "Images a step", values: BATCHES, format: grouped });
  slider(ui, { key: "steps", label: "Steps", values: STEPS, format: grouped });
  slider(ui, { key: "gpus", label: "GPUs", values: GPUS });
  const into = more(ui, "More: model, crops, speed");
  select(ui, { key: "width", label: "Student", into, options: Object.entries(SIZES).map(([name, [width]]) => [width, name]) });
  model.on("change:width", () => {
    const found = Object.values(SIZES).find(([width]) => width === model.get("width"));
    if (found) ui.set({ depth: found[1] });
  });
  toggle(ui, { key: "teacher", label: "a frozen ViT-g teaches", into });
  slider(ui, { key: "global_size", label: "Global crop, pixels", values: SIDES, into });
  slider(ui, { key: "n_local", label: "Local crops", min: 0, max: 12, into });
  slider(ui, { key: "peak", label: "One GPU at its peak, TFLOP/s", values: PEAKS, into });
  slider(ui, { key: "utilisation", label: "Share of the peak that is reached", min: 0.05, max: 0.8, step: 0.01, into,
    format: (value) => percent(value) });
}

function render({ model, el }) {
  const ui = shell({ model, el, label: "Cost of a run", style: STYLE });
  ui.root.classList.add("dv2-cost");
  const place = h("div", {}, h("p", {}, "Share of the operations"));
  const body = h("tbody");
  ui.stage.append(place, h("table", { class: "dv2-table" }, body));
  const update = bars(ui, { label: "Share of the operations", into: place });
  controls(ui);
  ui.watch(() => {
    const now = price(model);
    const names = { teacher: ["teacher", "teacher"], forward: ["student, forward", "student"],
      backward: ["student, backward", "student"], heads: ["heads", "muted"] };
    update(Object.entries(now.parts).map(([part, value]) => ({ name: names[part][0], share: value / now.total,
      text: percent(value / now.total, 1), color: `var(--dv2-${names[part][1]})` })));
    body.replaceChildren(...rowsOf(now).map(([name, text]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, text))));
    ui.say(sentence(now));
    if (Math.abs(now.hours - model.get("hours")) > 1e-9 * now.hours) ui.set({ hours: now.hours, kilowatt_hours: now.energy });
  });
  return ui.cleanup;
}

export default { render };
