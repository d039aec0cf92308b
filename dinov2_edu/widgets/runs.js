// Recorded training runs: their curves over each other or side by side, and all their numbers at one step.
import { drawCurve, drawLevel, lineSample } from "./_curves.js";
import { axes, figure, h, more, segmented, select, shell, short, slider, strokeLine, toggle, typed } from "./_shared.js";

// A run keeps its colour and its dashes in every chart; the dashes tell runs apart without colour.
const ROLES = ["student", "teacher", "patch", "cls", "register", "local-crop", "global-crop"];
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [1, 2], [12, 3]];
// These are at ln K when targets are uniform.
const ENTROPIES = ["target_entropy", "mean_target_entropy", "patch_target_entropy"];
const AT_HAND = 3; // switches of runs that are seen at once; the others are folded away
const STYLE = `
.dv2-runlist {
  display: grid; gap: 0.35rem 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr));
}
.dv2-runlist p { margin: 0 0 0 2.6rem; font-size: 0.85rem; color: var(--dv2-soft); }
.dv2-runlist svg { flex: none; }
.dv2-runlist span { display: inline-flex; align-items: center; gap: 0.5rem; }
.dv2-scroll { overflow-x: auto; }
.dv2 .dv2-scroll .dv2-table tr.dv2-drawn :is(th, td) { font-weight: 600; background: var(--dv2-raised); }
.dv2 .dv2-scroll .dv2-table thead th { vertical-align: bottom; }`;

// ---- the data ---------------------------------------------------------------------------------------------

/** Each run as { name, diagnosis, curves: { key: { steps, values } } }. */
function readRuns(model) {
  const numbers = typed(model.get("numbers"), Float32Array);
  return model.get("runs").map(({ name, diagnosis, curves }, index) => ({
    name, diagnosis, role: ROLES[index % ROLES.length], dash: DASHES[index % DASHES.length],
    curves: Object.fromEntries(Object.entries(curves).map(([key, [start, length]]) => [key, {
      steps: numbers.subarray(start, start + length), values: numbers.subarray(start + length, start + 2 * length),
    }])),
  }));
}

/** The last value recorded at or before a step; null where nothing was yet. */
export function valueAt({ steps, values }, step) {
  let found = null;
  for (let i = 0; i < steps.length && steps[i] <= step; i++) found = values[i];
  return found;
}

/** All steps at which anything was recorded, in order. */
export function allSteps(runs) {
  const steps = runs.flatMap((run) => Object.values(run.curves).flatMap((curve) => [...curve.steps]));
  return [...new Set(steps)].sort((a, b) => a - b);
}

const visibleRuns = (model, runs) => runs.filter((_, i) => model.get("visible")[i]);

/** The height of ln K for quantities that have it, else null. */
function uniformLevel(model) {
  const k = model.get("n_prototypes");
  return k > 1 && ENTROPIES.includes(model.get("metric")) ? Math.log(k) : null;
}

const words = (value) => {
  if (value === null || value === undefined) return "–";
  return Number.isFinite(value) ? short(value) : "not finite";
};

// ---- the pictures -----------------------------------------------------------------------------------------

/** What the axes span: all finite values of the runs drawn, the reference line, and a little air. */
function domainOf(runs, metric, level) {
  const curves = runs.map((run) => run.curves[metric]).filter(Boolean);
  const values = curves.flatMap((curve) => [...curve.values]).filter(Number.isFinite);
  if (level !== null) values.push(level);
  if (!values.length) values.push(0, 1);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const air = 0.06 * (high - low) || 0.05 * Math.abs(high) || 0.5;
  const last = Math.max(1, ...curves.map((curve) => curve.steps.at(-1)));
  return { x: [0, last], y: [low >= 0 && low < 0.4 * high ? 0 : low - air, high + air] };
}

/** The cursor, and a dot where each curve is at that step. */
function drawCursor(ui, ctx, area, runs, metric, step) {
  if (area.x(step) > area.right + 0.5) return;
  ctx.strokeStyle = ui.color("ink");
  ctx.lineWidth = 1;
  strokeLine(ctx, area.x(step), area.top, area.x(step), area.bottom);
  for (const run of runs) {
    const value = run.curves[metric] ? valueAt(run.curves[metric], step) : null;
    if (!Number.isFinite(value)) continue;
    ctx.beginPath();
    ctx.arc(area.x(step), area.y(value), 4.5, 0, 2 * Math.PI);
    ctx.fillStyle = ui.color(run.role);
    ctx.fill();
    ctx.strokeStyle = ui.color("surface");
    ctx.lineWidth = 1.5;
    ctx.stroke();
  }
}

/** Panels of the figure: one for all runs, or one for each, in a grid; [{ runs, x, y, width, height, title }]. */
function panels(model, runs, width) {
  const wide = width > 520;
  if (model.get("charts") === "overlaid" || runs.length < 2) {
    return [{ runs, x: 0, y: 0, width, height: wide ? 320 : 270, title: "" }];
  }
  const columns = !wide ? 1 : runs.length === 2 || runs.length === 4 ? 2 : 3;
  const size = { width: width / columns, height: wide ? 220 : 190 };
  return runs.map((run, i) => {
    const [x, y] = [(i % columns) * size.width, Math.floor(i / columns) * size.height];
    return { runs: [run], x, y, ...size, title: run.name };
  });
}

const heightOf = (places) => Math.max(...places.map((place) => place.y + place.height));

function paintPanel(ui, ctx, place, domain, label) {
  const [metric, step, level] = [ui.model.get("metric"), ui.model.get("step"), uniformLevel(ui.model)];
  ctx.save();
  ctx.translate(place.x, place.y);
  const area = axes(ui, ctx, place, { domain, xLabel: "training step", yLabel: place.title || label });
  if (level !== null) drawLevel(ui, ctx, area, level, `ln ${ui.model.get("n_prototypes")} = ${level.toFixed(2)}: uniform`);
  for (const run of place.runs) {
    if (run.curves[metric]) drawCurve(ctx, area, run.curves[metric], ui.color(run.role), run);
  }
  drawCursor(ui, ctx, area, place.runs, metric, step);
  ctx.restore();
  return area;
}

// ---- the runs and their numbers ---------------------------------------------------------------------------

/** A switch for each run, with its line and its diagnosis, and what few readers need. */
function runList(ui, runs) {
  const list = (label) => h("div", { class: "dv2-runlist dv2-wide", role: "group", "aria-label": label });
  const [first, others] = [list("Runs drawn"), list("Other runs drawn")];
  ui.controls.append(first);
  const left = runs.length - AT_HAND;
  const fold = more(ui, left > 0 ? `${left} more ${left > 1 ? "runs" : "run"}, charts side by side` : "Charts side by side");
  if (left > 0) fold.append(others);
  segmented(ui, { key: "charts", label: "Charts", into: fold,
    options: [["overlaid", "over each other"], ["side by side", "side by side"]] });
  runs.forEach((run, index) => {
    const item = h("div");
    (index < AT_HAND ? first : others).append(item);
    const input = toggle(ui, {
      key: `visible.${index}`, label: run.name, into: item,
      get: () => ui.model.get("visible")[index],
      set: (on) => ui.set({ visible: ui.model.get("visible").map((old, i) => (i === index ? on : old)) }),
    });
    input.nextSibling.prepend(lineSample(run));
    if (run.diagnosis) item.append(h("p", {}, run.diagnosis));
  });
}

/** All quantities of the runs drawn, at the cursor. */
function numbersTable(ui, runs) {
  const table = h("table", { class: "dv2-table" });
  const label = "All numbers at this step";
  ui.root.append(h("div", { class: "dv2-scroll", tabindex: 0, role: "region", "aria-label": label }, table));
  ui.watch(() => {
    const { model } = ui;
    const drawn = visibleRuns(model, runs);
    const head = h("tr", {}, h("th", { scope: "col" }, `at step ${model.get("step")}`),
      drawn.map((run) => h("th", { scope: "col" }, lineSample(run), h("br"), run.name)));
    const number = ({ curves }, key) => h("td", {}, words(curves[key] && valueAt(curves[key], model.get("step"))));
    const lines = model.get("metrics").map(([key, name]) => h("tr",
      { class: key === model.get("metric") ? "dv2-drawn" : null },
      h("th", { scope: "row" }, name), drawn.map((run) => number(run, key))));
    table.replaceChildren(h("thead", {}, head), h("tbody", {}, lines));
  });
}

function sentence(model, runs, label) {
  const drawn = visibleRuns(model, runs);
  if (!drawn.length) return "No run is drawn: switch one on.";
  const values = drawn.map((run) => {
    const curve = run.curves[model.get("metric")];
    return `${run.name} ${words(curve && valueAt(curve, model.get("step")))}`;
  });
  const level = uniformLevel(model);
  const reference = level === null ? "" : ` ln ${model.get("n_prototypes")} is ${level.toFixed(3)}.`;
  return `Step ${model.get("step")}, ${label}: ${values.join("; ")}.${reference}`;
}

// ---- the widget -------------------------------------------------------------------------------------------

/** The step under the pointer, in whichever chart it is. */
function followPointer(ui, canvas, steps, paintedNow) {
  const point = (event) => {
    const { left, top } = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    const { places, areas } = paintedNow();
    const inside = (low, size, at) => low <= at && at < low + size;
    const index = places.findIndex((each) => inside(each.x, each.width, x) && inside(each.y, each.height, y));
    if (index < 0) return;
    const pixels = (step) => Math.abs(places[index].x + areas[index].x(step) - x);
    const step = steps.reduce((best, each) => (pixels(each) < pixels(best) ? each : best), steps[0]);
    if (step !== ui.model.get("step")) ui.set({ step });
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
}

function render({ model, el }) {
  const ui = shell({ model, el, label: "Recorded training runs", style: STYLE });
  const runs = readRuns(model);
  const steps = allSteps(runs);
  const label = () => model.get("metrics").find(([key]) => key === model.get("metric"))[1];
  const places = (width) => panels(model, visibleRuns(model, runs), width);
  let painted = { places: [], areas: [] };

  const canvas = figure(ui, {
    caption: model.get("source"), aspect: (width) => width / heightOf(places(width)),
    paint: (ctx, { width }) => {
      const domain = domainOf(visibleRuns(model, runs), model.get("metric"), uniformLevel(model));
      const now = places(width);
      painted = { places: now, areas: now.map((place) => paintPanel(ui, ctx, place, domain, label())) };
      const names = visibleRuns(model, runs).map((run) => run.name);
      return `Curves of ${label()} over training steps: ${names.join(", ")}.`;
    },
  });
  canvas.parentElement.classList.add("dv2-wide");
  followPointer(ui, canvas, steps, () => painted);

  select(ui, { key: "metric", label: "Quantity", options: model.get("metrics") });
  slider(ui, { key: "step", label: "Training step", values: steps });
  runList(ui, runs);
  numbersTable(ui, runs);
  ui.watch(() => ui.say(sentence(model, runs, label())));
  return ui.cleanup;
}

export default { render };
