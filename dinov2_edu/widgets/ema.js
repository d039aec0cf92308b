// The teacher as a moving average of the student, in one and in two weights.
import { cosineAt } from "./_cosine.js";
import {
  axes, button, figure, font, h, haloText, legend, mean, normals, player, remember, row, segmented, shell, short,
  slider, strokeLine, uniforms,
} from "./_shared.js";

const N_STEPS = 600;
const TURN = N_STEPS / 2; // the student moves in weight 1 until here, then in weight 2
const MOMENTA = [0, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.992, 0.995, 0.998, 0.999, 1];
const DOMAIN = [-0.5, 2.7]; // of a weight; the same for every setting, so that changes can be compared
const STEPS_PER_SECOND = 120; // of the Play button

// ---- the formulas -----------------------------------------------------------------------------------------

/** Momentum at each of n steps on half a cosine from start to end: schedules.cosine_schedule. */
export const cosineSchedule = (start, end, n) =>
  Array.from({ length: n }, (_, t) => cosineAt(start, end, n, t));

/** The moving average that starts at values[0]: teacher = m teacher + (1 - m) student, with m = momenta[t]. */
export function movingAverage(values, momenta) {
  const averages = [values[0]];
  for (let t = 1; t < values.length; t++) {
    averages.push(momenta[t] * averages[t - 1] + (1 - momenta[t]) * values[t]);
  }
  return averages;
}

/** Long-run lag in steps behind a student that moves at constant speed. */
export const longRunLag = (momentum) => momentum / (1 - momentum);

/** Long-run standard deviation of the teacher, as a share of the student's. */
export const longRunJitter = (momentum) => Math.sqrt((1 - momentum) / (1 + momentum));

/** What is expected at each step of this very run: { lag, jitter }, arrays in the units of the two formulas above. */
export function expected(momenta) {
  const steps = momenta.map((_, t) => t);
  const variance = [0];
  for (let t = 1; t < momenta.length; t++) {
    variance.push(momenta[t] ** 2 * variance[t - 1] + (1 - momenta[t]) ** 2);
  }
  return { lag: movingAverage(steps, momenta).map((where, t) => t - where), jitter: variance.map(Math.sqrt) };
}

/** The student's two weights over N_STEPS + 1 steps: { path, weights }, with and without jitter. */
export function studentRun(step, noise, seed) {
  const normal = normals(uniforms(seed));
  const path = [[], []];
  const weights = [[], []];
  for (let t = 0; t <= N_STEPS; t++) {
    [Math.min(t, TURN), Math.max(0, t - TURN)].forEach((moved, axis) => {
      path[axis].push(step * moved);
      weights[axis].push(step * moved + (t ? noise * normal() : 0));
    });
  }
  return { path, weights };
}

const spread = (values) => Math.sqrt(mean(values.map((value) => value ** 2)));

function simulate(momentum, schedule, step, noise, seed) {
  const momenta = schedule === "cosine"
    ? cosineSchedule(momentum, 1, N_STEPS + 1) : new Array(N_STEPS + 1).fill(momentum);
  const student = studentRun(step, noise, seed);
  const teacher = student.weights.map((values) => movingAverage(values, momenta));
  const calm = student.path.map((values) => movingAverage(values, momenta)); // the teacher if nothing jittered
  const beforeTurn = (values) => values.slice(TURN - 100, TURN + 1);
  const lastHalf = (values, base) => values.map((value, t) => value - base[t]).slice(TURN);
  const jitterOf = (runs, bases) => spread(runs.flatMap((values, axis) => lastHalf(values, bases[axis])));
  const expectation = expected(momenta);
  return {
    momenta, student, teacher, calm,
    lag: step && mean(beforeTurn(student.weights[0].map((w, t) => (w - teacher[0][t]) / step))),
    expectedLag: mean(beforeTurn(expectation.lag)),
    jitter: noise && jitterOf(teacher, calm) / jitterOf(student.weights, student.path),
    expectedJitter: spread(expectation.jitter.slice(TURN)),
  };
}

// ---- the pictures -----------------------------------------------------------------------------------------

function drawLine(ctx, points, color, width, alpha) {
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.globalAlpha = alpha;
  ctx.lineJoin = "round";
  ctx.beginPath();
  points.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
  ctx.stroke();
  ctx.globalAlpha = 1;
}

function drawCloud(ctx, points, color, radius, alpha) {
  ctx.fillStyle = color;
  ctx.globalAlpha = alpha;
  for (const [x, y] of points) {
    ctx.beginPath();
    ctx.arc(x, y, radius, 0, 2 * Math.PI);
    ctx.fill();
  }
  ctx.globalAlpha = 1;
}

function drawMarker(ctx, [x, y], color, ring) {
  ctx.beginPath();
  ctx.arc(x, y, 6, 0, 2 * Math.PI);
  ctx.fillStyle = color;
  ctx.fill();
  ctx.strokeStyle = ring;
  ctx.lineWidth = 2;
  ctx.stroke();
}

/** Both paths: what comes after the step looked at stays faint, the place at that step is marked. */
function drawRun(ui, ctx, area, run, at, { toPoint, drawStudent }) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(area.left, 0, area.right - area.left, area.bottom);
  ctx.clip();
  const layers = [
    ["student", run.student.weights, drawStudent.draw, drawStudent.size, 0.6],
    ["teacher", run.teacher, drawLine, 3, 1],
  ];
  for (const [role, weights, draw, size, alpha] of layers) {
    const points = weights[0].map((_, t) => toPoint(weights, t));
    draw(ctx, points.slice(at), ui.color(role), size, 0.2 * alpha);
    draw(ctx, points.slice(0, at + 1), ui.color(role), size, alpha);
  }
  ctx.restore();
  for (const [role, weights] of layers) drawMarker(ctx, toPoint(weights, at), ui.color(role), ui.color("surface"));
}

/** The lag as a double arrow in time, from when the student's path was where the teacher is at the turn. */
function drawLag(ui, ctx, area, run) {
  const behind = TURN - run.calm[0][TURN] / (run.student.path[0][1] || 1);
  const [from, to, y] = [area.x(TURN - behind), area.x(TURN), area.y(run.calm[0][TURN])];
  if (to - from < 12) return;
  for (const [color, width] of [[ui.color("surface"), 5], [ui.color("ink"), 1.5]]) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width;
    strokeLine(ctx, from, y, to, y);
    for (const [x, way] of [[from, 1], [to, -1]]) {
      strokeLine(ctx, x, y, x + 5 * way, y - 4);
      strokeLine(ctx, x, y, x + 5 * way, y + 4);
    }
  }
  ctx.font = font(ui, 12, 600);
  ctx.textAlign = "left";
  ctx.fillStyle = ui.color("ink");
  haloText(ui, ctx, `${behind.toFixed(0)} steps behind`, to + 8, y + 18);
}

function paintOverTime(ui, ctx, size, run) {
  const domain = { x: [0, N_STEPS], y: DOMAIN };
  const area = axes(ui, ctx, size, { domain, xLabel: "training step", yLabel: "weight 1" });
  const at = ui.model.get("at");
  drawRun(ui, ctx, area, run, at, {
    toPoint: (weights, t) => [area.x(t), area.y(weights[0][t])], drawStudent: { draw: drawLine, size: 1.1 },
  });
  if (at >= TURN) drawLag(ui, ctx, area, run);
  return `Weight 1 over ${N_STEPS} training steps: the student climbs with jitter until step ${TURN} and then stays; `
    + `the teacher follows later and more smoothly.`;
}

function paintInPlane(ui, ctx, size, run) {
  const area = axes(ui, ctx, size, { domain: { x: DOMAIN, y: DOMAIN }, xLabel: "weight 1", yLabel: "weight 2" });
  drawRun(ui, ctx, area, run, ui.model.get("at"), {
    toPoint: (weights, t) => [area.x(weights[0][t]), area.y(weights[1][t])],
    drawStudent: { draw: drawCloud, size: 1.8 },
  });
  return "Weight 2 against weight 1: the student moves right, then up; the teacher cuts the corner.";
}

// ---- the widget -------------------------------------------------------------------------------------------

/** A text that a narrow screen may break after each slash: formulas have no spaces. */
const breakable = (text) => text.split("/").flatMap((part, i) => (i ? ["/", h("wbr"), part] : [part]));

function comparison(ui) {
  const cells = [0, 1, 2].map(() => [0, 1, 2].map(() => h("td")));
  const heads = ["the teacher's", "measured", "expected in this run", "in a long run"];
  const names = ["lag, in steps", "jitter (standard deviation), student's = 1", "variance, student's = 1"];
  ui.root.append(h("table", { class: "dv2-table" },
    h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, cells.map((line, i) => h("tr", {}, h("th", { scope: "row" }, names[i]), line)))));
  return (rows) => rows.forEach((texts, i) => texts.forEach((text, j) => {
    cells[i][j].replaceChildren(...breakable(text));
  }));
}

function sentence(run, { at, momentum, schedule, step, noise }) {
  const where = `At step ${at} the momentum is ${short(Number(run.momenta[at].toFixed(5)))}. `;
  if (momentum === 1) return `${where}The teacher never moves.`;
  const lag = step
    ? `Moving, the teacher is ${run.lag.toFixed(0)} steps behind` : "The student stands still, so nothing lags";
  const jitter = noise
    ? `it jitters ${run.jitter.toFixed(2)} times as much as the student, with ${short(run.jitter ** 2)} of its variance`
    : "nothing jitters";
  const [longLag, longJitter] = [longRunLag(momentum).toFixed(0), longRunJitter(momentum).toFixed(2)];
  const formula = schedule === "constant" ? `; the formulas say ${longLag} and ${longJitter} for a long run.` : ".";
  return `${where}${lag}, and ${jitter}${formula}`;
}

function render({ model, el }) {
  const ui = shell({ model, el, label: "Student and teacher paths" });
  const current = remember(simulate);
  const run = () => current(...["momentum", "schedule", "step", "noise", "seed"].map((key) => model.get(key)));

  legend(ui, [["student", "student: moves and jitters"], ["teacher", "teacher: moving average of the student"]]);
  for (const [caption, paint] of [["One weight over time", paintOverTime], ["Two weights", paintInPlane]]) {
    const canvas = figure(ui, { caption, aspect: 1.35, paint: (ctx, size) => paint(ui, ctx, size, run()) });
    canvas.parentElement.classList.toggle("dv2-later", paint === paintInPlane);
  }
  const fill = comparison(ui);

  slider(ui, { key: "momentum", label: "Momentum m", values: MOMENTA });
  slider(ui, { key: "step", label: "Student's step", min: 0, max: 0.008, step: 0.0005 });
  slider(ui, { key: "noise", label: "Student's jitter", min: 0, max: 0.3, step: 0.01 });
  slider(ui, { key: "at", label: "Training step", min: 0, max: N_STEPS });
  const schedules = [["constant", "constant"], ["cosine", "cosine to 1"]];
  segmented(ui, { key: "schedule", label: "Schedule of m", options: schedules });
  const line = row(ui, "Run");
  player(ui, { key: "at", label: "Play", last: N_STEPS, perSecond: STEPS_PER_SECOND, into: line });
  button(ui, { label: "Other noise", into: line, onPress: () => ui.set({ seed: model.get("seed") + 1 }) });

  ui.watch(() => {
    const now = run();
    const keys = ["at", "momentum", "schedule", "step", "noise"];
    const chosen = Object.fromEntries(keys.map((key) => [key, model.get(key)]));
    const { momentum, schedule, step, noise } = chosen;
    const settles = schedule === "constant" && momentum < 1;
    fill([
      [step ? now.lag.toFixed(1) : "–", now.expectedLag.toFixed(1),
        settles ? `m/(1−m) = ${longRunLag(momentum).toFixed(1)}` : "–"],
      [noise ? now.jitter.toFixed(3) : "–", now.expectedJitter.toFixed(3),
        settles ? `√((1−m)/(1+m)) = ${longRunJitter(momentum).toFixed(3)}` : "–"],
      [noise ? short(now.jitter ** 2) : "–", short(now.expectedJitter ** 2),
        settles ? `(1−m)/(1+m) = ${short(longRunJitter(momentum) ** 2)}` : "–"],
    ]);
    ui.say(sentence(now, chosen));
    const { lag, jitter } = now;
    if (model.get("lag") !== lag || model.get("jitter") !== jitter) ui.set({ lag, jitter });
  });
  return ui.cleanup;
}

export default { render };
