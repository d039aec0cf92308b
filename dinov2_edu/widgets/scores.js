// One vector against the prototypes of a head two numbers wide: scores, temperature, probabilities.
import {
  arrowStep, bars, clamp, entropy, figure, font, h, haloText, indexOfMax, letterOf, minus, percent, shell, slider,
  softmax, strokeLine, toggle,
} from "./_shared.js";
import { dot, length, unit } from "./_koleo.js";

const TEMPERATURES = [0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1];
const LONGEST = 3;
const STYLE = `
.dv2-scores .dv2-bars { grid-template-columns: max-content 1fr 4.6em; }
.dv2-scores p { font-size: 0.88rem; margin: 0 0 0.4rem; }
@container (max-width: 34rem) {
  .dv2-scores .dv2-stage { display: grid; grid-template-columns: 1fr 1fr; gap: 0.5rem; align-items: center; }
  .dv2-scores .dv2-bars { grid-template-columns: max-content 1fr 3.8em; gap: 0 0.35rem; }
}`;

// ---- the formulas of dinov2_edu.heads.Prototypes ----------------------------------------------------------

const radians = (degrees) => (degrees * Math.PI) / 180;
export const direction = (degrees) => [Math.cos(radians(degrees)), Math.sin(radians(degrees))];

/** The logits of a vector: cosines where it is brought to length 1, else cosines times its length. */
export const scoresOf = (vector, prototypes, normalise) =>
  prototypes.map((one) => dot(normalise ? unit(vector) : vector, unit(one)));

function lookAt(model) {
  const prototypes = model.get("prototypes").map(direction);
  const vector = direction(model.get("angle")).map((value) => value * model.get("length"));
  const scores = scoresOf(vector, prototypes, model.get("normalise"));
  const probs = softmax(scores, model.get("temperature"));
  return { prototypes, vector, scores, probs, best: indexOfMax(probs) };
}

// ---- the picture ------------------------------------------------------------------------------------------

function paintCircle(ui, ctx, { width, height }) {
  const { model } = ui;
  const { prototypes, vector, best } = lookAt(model);
  const [x0, y0] = [width / 2, height / 2];
  const radius = Math.min(width, height) / 2 / 1.28;
  const reach = model.get("normalise") ? 1 : Math.max(1, model.get("length")); // a longer arrow shrinks the circle
  const at = ([x, y]) => [x0 + (x * radius) / reach, y0 - (y * radius) / reach];
  ctx.strokeStyle = ui.color("line");
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  ctx.arc(x0, y0, radius / reach, 0, 2 * Math.PI);
  ctx.stroke();
  ctx.font = font(ui, 13, 600);
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  prototypes.forEach((one, k) => drawPrototype(ui, ctx, at(one), at(one.map((v) => v * (1 + 0.17 * reach))), k, k === best));
  const shown = model.get("normalise") ? unit(vector) : vector;
  if (model.get("normalise") && model.get("length") !== 1) drawGhost(ui, ctx, [x0, y0], at(vector));
  drawArrow(ctx, [x0, y0], at(shown), ui.color("cls"));
  return `A circle with ${prototypes.length} prototypes, A to ${letterOf(prototypes.length - 1)}. The arrow points to `
    + `${minus(`${model.get("angle")}`)} degrees, nearest to ${letterOf(best)}. Arrow keys turn it.`;
}

function drawPrototype(ui, ctx, [x, y], [xLabel, yLabel], k, nearest) {
  ctx.fillStyle = ui.color(nearest ? "ink" : "soft");
  ctx.beginPath();
  [[0, -6], [6, 0], [0, 6], [-6, 0]].forEach(([dx, dy]) => ctx.lineTo(x + dx, y + dy));
  ctx.fill();
  haloText(ui, ctx, letterOf(k), xLabel, yLabel);
}

/** What the MLP gave, before it is brought to length 1: a thin line that ends where it would. */
function drawGhost(ui, ctx, [x0, y0], [x, y]) {
  ctx.strokeStyle = ui.color("soft");
  ctx.lineWidth = 1;
  ctx.setLineDash([3, 4]);
  strokeLine(ctx, x0, y0, x, y);
  ctx.setLineDash([]);
}

function drawArrow(ctx, [x0, y0], [x, y], color) {
  const angle = Math.atan2(y - y0, x - x0);
  const back = (turn) => [x - 11 * Math.cos(angle + turn), y - 11 * Math.sin(angle + turn)];
  Object.assign(ctx, { strokeStyle: color, fillStyle: color, lineWidth: 3 });
  ctx.beginPath();
  ctx.moveTo(x0, y0);
  ctx.lineTo(x - 8 * Math.cos(angle), y - 8 * Math.sin(angle));
  ctx.stroke();
  ctx.beginPath();
  [[x, y], back(0.45), back(-0.45)].forEach((place) => ctx.lineTo(...place));
  ctx.fill();
}

/** The pointer takes the arrow's head along; arrow keys turn it, or make it longer and shorter. */
function turnByHand(ui, canvas) {
  const wrapped = (degrees) => ((Math.round(degrees) + 540) % 360) - 180;
  const follow = (event) => {
    const box = canvas.getBoundingClientRect();
    const [dx, dy] = [event.clientX - box.left - box.width / 2, box.top + box.height / 2 - event.clientY];
    ui.set({ angle: wrapped((Math.atan2(dy, dx) * 180) / Math.PI) });
  };
  canvas.setAttribute("role", "application");
  canvas.style.cursor = "grab";
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); follow(event); });
  canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) follow(event); });
  canvas.addEventListener("keydown", (event) => {
    const step = arrowStep(event);
    if (!step) return;
    const longer = clamp(ui.model.get("length") - 0.1 * step[1], 0.1, LONGEST);
    ui.set({ angle: wrapped(ui.model.get("angle") - 5 * step[0]), length: Number(longer.toFixed(1)) });
  });
}

// ---- the widget -------------------------------------------------------------------------------------------

function sentence(model, { scores, probs, best }) {
  const score = minus(scores[best].toFixed(2));
  const said = model.get("normalise")
    ? `cosine ${score}` : `score ${score}, the cosine times a length of ${model.get("length").toFixed(1)}`;
  return `Nearest is ${letterOf(best)} (${said}). At temperature ${model.get("temperature")} it gets `
    + `${percent(probs[best], 1)}; entropy ${entropy(probs).toFixed(2)} of at most ${Math.log(probs.length).toFixed(2)}.`;
}

function render({ model, el }) {
  const ui = shell({ model, el, label: "One vector and its scores", style: STYLE });
  ui.root.classList.add("dv2-scores");
  const canvas = figure(ui, { interactive: true, aspect: (width) => width / Math.min(270, width),
    paint: (ctx, size) => paintCircle(ui, ctx, size) });
  turnByHand(ui, canvas);
  const place = h("div", {}, h("p", {}, "Probability of each prototype"));
  ui.stage.append(place);
  const update = bars(ui, { label: "Probability of each prototype", into: place });
  ui.watch(() => {
    const now = lookAt(model);
    update(now.probs.map((share, k) => ({ name: letterOf(k), share, text: percent(share, 1), strong: k === now.best,
      color: "var(--dv2-cls)" })));
    ui.say(sentence(model, now));
  });
  slider(ui, { key: "temperature", label: "Temperature", values: TEMPERATURES });
  slider(ui, { key: "angle", label: "Direction", min: -180, max: 180,
    format: (degrees) => minus(`${degrees}°`) });
  slider(ui, { key: "length", label: "Length", min: 0.1, max: LONGEST, step: 0.1,
    format: (value) => value.toFixed(1) });
  toggle(ui, { key: "normalise", label: "brought to length 1" });
  return ui.cleanup;
}

export default { render };
