// The schedules of the official recipes and of a run of the reader's own, under one cursor, with the teacher's lag.
import { cosineAt } from "./_cosine.js";
import { drawCurve } from "./_curves.js";
import {
  axes, figure, more, percent, pointerShare, remember, segmented, shell, short, slider, strokeLine, toggle,
} from "./_shared.js";

const POINTS = 240; // of a curve
const PLACES = 1000; // of the cursor
const BATCHES = [16, 32, 64, 128, 256, 512, 1024, 2048, 3072, 4096];
const LENGTHS = [500, 1000, 2000, 5000, 10000, 20000, 50000, 125000, 250000, 625000];
const STARTS = [0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.992, 0.994, 0.996, 0.998];
const NAMES = { published: "Published", default: "Default", yours: "Your run" };
const DASH = { published: [], default: [7, 4], yours: [2, 3] };
const UNITS = { steps: "step", epochs: "epoch", share: "% of the run" };

// ---- the formulas -----------------------------------------------------------------------------------------

/** The published recipe at another batch, length and first momentum; warm-ups keep their share of the run. */
export function ownRecipe(published, { batch, steps, momentum }) {
  const shrunk = (part) => Math.round(part / published.steps * steps);
  return {
    ...published, batch, steps, momentum: [momentum, published.momentum[1]],
    warmup: shrunk(published.warmup), rise: shrunk(published.rise),
  };
}

/** The learning rate for a batch: what a recipe gives for 1,024 pictures, times sqrt(batch / 1024). */
export const scaledRate = ({ rate, batch }) => rate * Math.sqrt(batch / 1024);

const ramp = (start, end, n, t) => (n > 1 ? start + (end - start) * t / (n - 1) : start);

/** What the official code sets at step t of a recipe: training.state.Schedules. */
export function scheduleAt(recipe, t) {
  const { steps, warmup, rise, temperature } = recipe;
  const peak = scaledRate(recipe);
  return {
    rate: t < warmup ? ramp(0, peak, warmup, t) : cosineAt(peak, recipe.rateEnd, steps - warmup, t - warmup),
    decay: cosineAt(...recipe.decay, steps, t),
    momentum: cosineAt(...recipe.momentum, steps, t),
    temperature: t < rise ? ramp(...temperature, rise, t) : temperature[1],
  };
}

/** The teacher's lag at each step, in steps, behind a student that moves at constant speed. */
export function lags({ momentum: [start, end], steps }) {
  const late = new Float64Array(steps);
  for (let t = 0, lag = 0; t < steps; t++) {
    lag = cosineAt(start, end, steps, t) * (lag + 1);
    late[t] = lag;
  }
  return late;
}

/** A step of a run in a unit of the axis. */
export function inUnit(step, { steps, epoch }, unit) {
  return unit === "steps" ? step : unit === "epochs" ? step / epoch : 100 * step / steps;
}

/** The step at a place of the cursor, 0 to PLACES; the last place is the last step. */
export const stepAt = ({ steps }, place) => Math.round(place / PLACES * (steps - 1));

/** A run as it is drawn: its name, its recipe, its lag at every step, and its curves at some of them. */
function drawable(name, recipe) {
  const steps = Array.from({ length: POINTS + 1 }, (_, i) => Math.round(i / POINTS * (recipe.steps - 1)));
  const values = steps.map((t) => scheduleAt(recipe, t));
  const column = (key, factor = 1) => values.map((value) => factor * value[key]);
  const late = lags(recipe);
  return { name, recipe, late, curves: {
    steps, rate: column("rate", 1e4), decay: column("decay"), momentum: column("momentum"),
    temperature: column("temperature"), lag: steps.map((t) => late[t]),
  } };
}

// ---- the picture ------------------------------------------------------------------------------------------

// What acts on the student has its colour, what makes the teacher and its targets has the teacher's.
const CHARTS = [
  { key: "rate", role: "student", title: "learning rate, in 1/10,000", from: 0 },
  { key: "decay", role: "student", title: "weight decay", from: 0 },
  { key: "momentum", role: "teacher", title: "teacher momentum" },
  { key: "temperature", role: "teacher", title: "teacher temperature", from: 0 },
  { key: "lag", role: "teacher", title: "teacher's lag", from: 0 },
];

/** Charts in a grid: three a row, two where it is narrow. */
function grid(width) {
  const columns = width > 520 ? 3 : 2;
  const size = { width: Math.floor(width / columns), height: columns === 3 ? 175 : 150 };
  const at = (i) => ({ x: (i % columns) * size.width, y: Math.floor(i / columns) * size.height });
  return CHARTS.map((chart, i) => ({ chart, ...size, ...at(i) }));
}

const heightAt = (width) => Math.max(...grid(width).map(({ y, height }) => y + height));

function valuesIn(run, key, unit) {
  return key === "lag" ? run.curves.lag.map((lag) => inUnit(lag, run.recipe, unit)) : run.curves[key];
}

function paintChart(ui, ctx, place, runs, { unit, at }) {
  const { key, role, title, from } = place.chart;
  const drawn = runs.map((run) => ({
    run, steps: run.curves.steps.map((t) => inUnit(t, run.recipe, unit)), values: valuesIn(run, key, unit),
  }));
  const values = drawn.flatMap((one) => one.values);
  const [low, high] = [from ?? Math.min(...values), Math.max(...values)];
  const last = Math.max(...runs.map(({ recipe }) => inUnit(recipe.steps, recipe, unit)));
  const yLabel = key === "lag" ? `${title}, ${unit === "share" ? UNITS.share : unit}` : title;
  ctx.save();
  ctx.translate(place.x, place.y);
  const domain = { x: [0, last], y: [low, high + 0.06 * (high - low || 1)] };
  const area = axes(ui, ctx, place, { domain, xLabel: UNITS[unit], yLabel });
  for (const { run, steps, values: line } of [...drawn].reverse()) { // the chosen one, the first, is drawn last
    const chosen = run === runs[0];
    const look = { dash: DASH[run.name], width: chosen ? 2.5 : 1.3 };
    drawCurve(ctx, area, { steps, values: line }, ui.color(chosen ? role : "soft"), look);
  }
  const x = area.x(inUnit(at, runs[0].recipe, unit));
  ctx.strokeStyle = ui.color("ink");
  ctx.lineWidth = 1;
  strokeLine(ctx, x, area.top, x, area.bottom);
  ctx.restore();
  return { ...place, area, last };
}

/** The place of the cursor, 0 to PLACES, under a pointer over the charts; null beside them. */
function placeUnder(charts, { x, y }, steps) {
  const chart = charts.find((one) => x >= one.x && x < one.x + one.width && y >= one.y && y < one.y + one.height);
  if (!chart) return null;
  const { left, right } = chart.area;
  const value = (x - chart.x - left) / (right - left) * chart.last;
  return Math.max(0, Math.min(PLACES, Math.round(PLACES * value / steps)));
}

// ---- the widget -------------------------------------------------------------------------------------------

const whole = (value) => Math.round(value).toLocaleString("en");
const digits = (value, n = 2) => String(Number(value.toPrecision(n)));

function sentence({ name, recipe, late }, at) {
  const [now, lag] = [scheduleAt(recipe, at), late[at]];
  const [epoch, share] = [inUnit(at, recipe, "epochs"), at / recipe.steps];
  const where = `${NAMES[name]}, step ${whole(at)} of ${whole(recipe.steps)} (epoch ${short(epoch)}, `
    + `${percent(share)} of the run), ${whole(recipe.batch)} pictures a step: `;
  const values = `learning rate ${digits(now.rate)}, weight decay ${now.decay.toFixed(3)}, momentum `
    + `${Number(now.momentum.toFixed(5))}, teacher temperature ${now.temperature.toFixed(3)}. `;
  return `${where}${values}The teacher is ${whole(lag)} steps late: ${digits(lag / recipe.epoch)} epochs, `
    + `${digits(100 * lag / recipe.steps)}\u00a0% of the run.`;
}

function render({ model, el }) {
  const ui = shell({ model, el, label: "Schedules of a training run" });
  const official = model.get("recipes");
  const known = { published: remember(drawable), default: remember(drawable) };
  const own = remember((batch, steps, momentum) =>
    drawable("yours", ownRecipe(official.published, { batch, steps, momentum })));
  const run = (name) => (name === "yours"
    ? own(model.get("batch"), model.get("steps"), model.get("momentum")) : known[name](name, official[name]));
  const chosen = () => run(model.get("recipe"));
  const others = () => Object.keys(NAMES).filter((name) => name !== model.get("recipe"));
  const runs = () => [chosen(), ...(model.get("beside") ? others().map(run) : [])];
  const where = () => stepAt(chosen().recipe, model.get("place"));

  let charts = [];
  const paint = (ctx, { width }) => {
    const looked = { unit: model.get("unit"), at: where() };
    charts = grid(width).map((place) => paintChart(ui, ctx, place, runs(), looked));
    return "Five charts over the run: learning rate, weight decay, teacher momentum, teacher temperature and the "
      + `teacher's lag. ${NAMES[model.get("recipe")]}: the numbers at the cursor are in the text below.`;
  };
  const canvas = figure(ui, { caption: "", aspect: (width) => width / heightAt(width), paint });
  canvas.parentElement.classList.add("dv2-wide");
  const follow = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const [x, y] = pointerShare(event);
    const unit = model.get("unit");
    const length = inUnit(chosen().recipe.steps - 1, chosen().recipe, unit);
    const place = placeUnder(charts, { x: x * canvas.clientWidth, y: y * canvas.clientHeight }, length);
    if (place !== null) ui.set({ place });
  };
  canvas.addEventListener("pointerdown", follow);
  canvas.addEventListener("pointermove", follow);

  const recipes = [["published", "published"], ["default", "default"], ["yours", "a run of yours"]];
  segmented(ui, { key: "recipe", label: "Recipe", options: recipes, wide: true });
  const units = [["steps", "steps"], ["epochs", "epochs"], ["share", "share of the run"]];
  segmented(ui, { key: "unit", label: "Axis", options: units, wide: true });
  slider(ui, { key: "place", label: "Cursor", min: 0, max: PLACES, format: () => `step ${whole(where())}` });
  toggle(ui, { key: "beside", label: "The others, thin: published solid, default dashed, yours dotted" });
  const into = more(ui, "A run of yours: steps, pictures, momentum");
  const mine = [
    slider(ui, { key: "steps", label: "Steps of your run", values: LENGTHS, format: whole, into }),
    slider(ui, { key: "batch", label: "Pictures a step", values: BATCHES, format: whole, into }),
    slider(ui, { key: "momentum", label: "First momentum", values: STARTS, into }),
  ];
  ui.watch(() => {
    for (const input of mine) input.disabled = model.get("recipe") !== "yours";
    ui.say(sentence(chosen(), where()));
  });
  return ui.cleanup;
}

export default { render };
