// Bottleneck features and prototypes on a sphere that can be turned, and KoLeo's push on the class tokens.
import {
  arrowStep, bars, button, clamp, entropy, figure, font, h, indexOfMax, legend, letterOf, minus, more, percent, player,
  reducedMotion, row, segmented, shell, slider, softmax, toggle, typed,
} from "./_shared.js";
import { dot, koleo, koleoStep, length, nearestOthers, unit } from "./_koleo.js";
import { drawSphere, project, turn, wrap } from "./_sphere.js";

const TEMPERATURES = [0.04, 0.07, 0.1, 0.2, 0.5, 1];
const MAX_STEPS = 200;
const STEP_SIZE = 0.004;
const GLIDE = 330; // milliseconds that features take to or from length 1
const STYLE = ".dv2-chosen p { font-size: 0.88rem; margin: 0 0 0.4rem; }";

// ---- the formulas -----------------------------------------------------------------------------------------

/** What a head says of a point: logits with its prototypes' directions, with or without normalisation. */
export function logits(point, prototypes, normalise) {
  const feature = normalise ? unit(point) : point;
  return prototypes.map((prototype) => dot(feature, unit(prototype)));
}

// ---- the data ---------------------------------------------------------------------------------------------

function readPoints(model, key) {
  const values = typed(model.get(key), Float32Array);
  return Array.from({ length: values.length / 3 }, (_, i) => Array.from(values.subarray(3 * i, 3 * i + 3)));
}

/** The class tokens after any number of KoLeo steps; each step is computed once. */
function koleoPath(start) {
  const path = [start];
  return (steps) => {
    while (path.length <= steps) path.push(koleoStep(path.at(-1), STEP_SIZE));
    return path[steps];
  };
}

function readData(model) {
  const keys = ["cls_points", "patch_points", "prototypes", "ibot_points", "ibot_prototypes"];
  const [cls, patches, prototypes, ibotPatches, ibotPrototypes] = keys.map((key) => readPoints(model, key));
  return {
    clsAfter: koleoPath(cls), patches, prototypes, ibotPatches, ibotPrototypes,
    nCls: cls.length, nTokens: cls.length + patches.length,
    longest: Math.max(...[...cls, ...patches, ...ibotPatches].map(length)),
  };
}

/** The spheres shown: { title, tokens: [{ kind, index, point }], prototypes }; `index` counts over all tokens. */
function spheresOf(model, data) {
  const cls = data.clsAfter(model.get("koleo_steps")).map((point, index) => ({ kind: "cls", index, point }));
  const patches = (points) => points.map((point, i) => ({ kind: "patch", index: data.nCls + i, point }));
  if (model.get("heads") === "shared") {
    return [{ title: "shared head", tokens: [...cls, ...patches(data.patches)], prototypes: data.prototypes }];
  }
  return [{ title: "DINO head", tokens: cls, prototypes: data.prototypes },
    { title: "iBOT head", tokens: patches(data.ibotPatches), prototypes: data.ibotPrototypes }];
}

const tokenName = ({ nCls }, index) =>
  (index < nCls ? `class token ${index + 1}` : `patch token ${index - nCls + 1}`);

/** The chosen token with everything its head says of it. */
function lookAt(model, data) {
  const chosen = Math.min(model.get("token"), data.nTokens - 1);
  const sphere = spheresOf(model, data).find((each) => each.tokens.some((token) => token.index === chosen));
  const token = sphere.tokens.find((each) => each.index === chosen);
  const cosines = logits(token.point, sphere.prototypes, true);
  const scores = logits(token.point, sphere.prototypes, model.get("normalise"));
  return { token, sphere, cosines, probs: softmax(scores, model.get("temperature")) };
}

// ---- the picture ------------------------------------------------------------------------------------------

/** Centre and radius of a sphere in a picture; `reach` is the longest feature it must hold. */
const ballIn = ({ width, height }, reach) => (
  { x: width / 2, y: height / 2 + 10, radius: (Math.min(width, height - 20) / 2 - 12) / reach });

/** Marks and lines of a sphere; `blend` is how far features have gone from their own length (0) to length 1. */
function arrange(model, { tokens, prototypes }, ball, view, blend) {
  const at = (point) => project(ball, view(point));
  const shown = (point) => unit(point).map((value, axis) => blend * value + (1 - blend) * point[axis]);
  const owners = tokens.map(({ point }) => indexOfMax(logits(point, prototypes, true)));
  const features = tokens.map(({ kind, index, point }) => (
    { kind, index, chosen: index === model.get("token"), ...at(shown(point)) }));
  const diamonds = prototypes.map((point, k) => (
    { kind: "prototype", name: letterOf(k), used: owners.includes(k), ...at(unit(point)) }));
  return {
    features, diamonds, marks: [...features, ...diamonds],
    links: model.get("lines") === "prototype"
      ? features.map((mark, i) => [mark, diamonds[owners[i]]]) : neighbourLinks(tokens, features),
    spokes: blend < 1 ? features.map((mark) => [ball, mark]) : [],
  };
}

/** From each class token to its nearest other one. */
function neighbourLinks(tokens, features) {
  const cls = tokens.filter(({ kind }) => kind === "cls");
  return nearestOthers(cls.map(({ point }) => unit(point))).map((j, i) => [features[i], features[j]]);
}

function drawTitle(ui, ctx, { width }, { title }, { diamonds }) {
  const used = diamonds.filter((diamond) => diamond.used).length;
  ctx.font = font(ui, 13);
  ctx.textAlign = "center";
  ctx.fillStyle = ui.color("ink");
  ctx.fillText(`${title}: ${used} of ${diamonds.length} prototypes used`, width / 2, 12);
}

/** How far features have glided to length 1; asks for another frame while they are on their way. */
function glide(ui) {
  let [from, goal, began] = [null, null, 0];
  return () => {
    const [wanted, now] = [Number(ui.model.get("normalise")), performance.now()];
    if (goal === null || reducedMotion()) [from, goal] = [wanted, wanted];
    const share = clamp((now - began) / GLIDE, 0, 1);
    const at = from + (goal - from) * share * share * (3 - 2 * share);
    if (wanted !== goal) [from, goal, began] = [at, wanted, now];
    if (at !== goal) ui.repaint();
    return at;
  };
}

/** One sphere as a picture; the second is there only where heads are separate. */
function sphereFigure(ui, data, which, glided) {
  const { model } = ui;
  const place = h("div");
  ui.stage.append(place);
  ui.watch(() => { place.hidden = which >= spheresOf(model, data).length; });
  let features = [];
  const canvas = figure(ui, {
    caption: which ? "" : `Drag, or use the arrow keys, to turn it. ${model.get("source")}`,
    interactive: true, into: place,
    paint: (ctx, size) => {
      const [sphere, blend] = [spheresOf(model, data)[which], glided()];
      const ball = ballIn(size, blend * 1.08 + (1 - blend) * Math.max(1.08, data.longest));
      const view = (point) => turn(point, model.get("yaw"), model.get("pitch"));
      const arranged = arrange(model, sphere, ball, view, blend);
      features = arranged.features;
      drawSphere(ui, ctx, ball, view, arranged);
      drawTitle(ui, ctx, size, sphere, arranged);
      return `${sphere.title}: ${sphere.tokens.length} tokens and ${sphere.prototypes.length} prototypes, `
        + `turned by ${model.get("yaw")} and ${model.get("pitch")} degrees. Arrow keys turn the sphere.`;
    },
  });
  turnAndChoose(ui, canvas, () => features);
}

// ---- turning, choosing, moving ----------------------------------------------------------------------------

/** A drag or an arrow key turns the sphere; a press without a drag chooses the nearest token. */
function turnAndChoose(ui, canvas, featuresNow) {
  const { model } = ui;
  let start = null;
  const turnTo = (yaw, pitch) => ui.set({ yaw: Math.round(wrap(yaw)), pitch: Math.round(clamp(pitch, -90, 90)) });
  canvas.setAttribute("role", "application");
  canvas.style.cursor = "grab";
  canvas.addEventListener("keydown", (event) => {
    const step = arrowStep(event);
    if (step) turnTo(model.get("yaw") + 5 * step[0], model.get("pitch") + 5 * step[1]);
  });
  canvas.addEventListener("pointerdown", (event) => {
    const [yaw, pitch] = [model.get("yaw"), model.get("pitch")];
    start = { x: event.clientX, y: event.clientY, yaw, pitch, dragged: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!start) return;
    const [dx, dy] = [event.clientX - start.x, event.clientY - start.y];
    start.dragged ||= Math.hypot(dx, dy) > 4;
    if (start.dragged) turnTo(start.yaw + dx / 2, start.pitch + dy / 2);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (start && !start.dragged) chooseNearest(ui, canvas, featuresNow(), event);
    start = null;
  });
  canvas.addEventListener("pointercancel", () => { start = null; });
}

/** Chooses the token under the pointer, one in front before one behind. */
function chooseNearest(ui, canvas, features, event) {
  const { left, top } = canvas.getBoundingClientRect();
  const [atX, atY] = [event.clientX - left, event.clientY - top];
  const away = ({ x, y, z }) => Math.hypot(x - atX, y - atY) + (z < 0 ? 6 : 0);
  const [hit] = [...features].sort((a, b) => away(a) - away(b));
  if (away(hit) < 22) ui.set({ token: hit.index });
}

/** Buttons for KoLeo's push: play, one step, back to the start. */
function koleoButtons(ui) {
  const into = row(ui, "KoLeo's push", { wide: true });
  const walk = player(ui, { key: "koleo_steps", label: "Play KoLeo's push", last: MAX_STEPS, perSecond: 60, primary: true,
    into });
  const step = () => ui.set({ koleo_steps: Math.min(MAX_STEPS, ui.model.get("koleo_steps") + 1) });
  button(ui, { label: "One step", into, onPress: step });
  button(ui, { label: "Start again", into, onPress: () => { walk.stop(); ui.set({ koleo_steps: 0 }); } });
}

// ---- the widget -------------------------------------------------------------------------------------------

function sentence(model, data, { token, sphere, cosines, probs }) {
  const best = indexOfMax(probs);
  const name = tokenName(data, token.index);
  const long = model.get("normalise") ? "brought to length 1" : `length ${length(token.point).toFixed(2)}`;
  const steps = model.get("koleo_steps");
  const [before, now] = [0, steps].map((at) => minus(koleo(data.clsAfter(at)).loss.toFixed(3)));
  const push = steps ? `KoLeo loss after ${steps} step${steps === 1 ? "" : "s"}: ${now}; it was ${before}.` : `KoLeo loss: ${now}.`;
  return `${name[0].toUpperCase()}${name.slice(1)} (${long}) is nearest prototype ${letterOf(best)} `
    + `of the ${sphere.title}: cosine ${minus(cosines[best].toFixed(2))}, probability ${percent(probs[best], 1)}. `
    + `Entropy ${entropy(probs).toFixed(2)} of at most ${Math.log(probs.length).toFixed(2)}. ${push}`;
}

/** The chosen token's probabilities as bars. */
function chosenBars(ui, data) {
  const title = h("p");
  const place = h("div", { class: "dv2-chosen dv2-later" }, title);
  ui.stage.append(place);
  const update = bars(ui, { label: "Probabilities of the prototypes", into: place });
  ui.watch(() => {
    const { token, sphere, probs } = lookAt(ui.model, data);
    place.classList.toggle("dv2-wide", ui.model.get("heads") === "separate"); // two spheres take the place beside
    title.textContent = `What the ${sphere.title} says of ${tokenName(data, token.index)}: `
      + "probability of each prototype";
    update(probs.map((share, k) => ({
      name: letterOf(k), share, text: percent(share, 1), strong: k === indexOfMax(probs), color: ui.color(token.kind),
    })));
  });
}

const degrees = (angle) => minus(`${angle}°`);

function controls(ui, data) {
  segmented(ui, { key: "heads", label: "Heads",
    options: [["shared", "shared"], ["separate", "a head for each"]] });
  segmented(ui, { key: "lines", label: "Lines lead to the nearest",
    options: [["prototype", "prototype"], ["neighbour", "class token"]] });
  slider(ui, { key: "token", label: "Token", min: 0, max: data.nTokens - 1,
    format: (index) => tokenName(data, index) });
  slider(ui, { key: "temperature", label: "Temperature", values: TEMPERATURES });
  slider(ui, { key: "koleo_steps", label: "KoLeo steps taken", min: 0, max: MAX_STEPS });
  koleoButtons(ui);
  const into = more(ui, "More: turn, tilt, length");
  slider(ui, { key: "yaw", label: "Turn", min: -180, max: 180, step: 5, format: degrees, into });
  slider(ui, { key: "pitch", label: "Tilt", min: -90, max: 90, step: 5, format: degrees, into });
  toggle(ui, { key: "normalise", label: "features brought to length 1", into });
}

function render({ model, el }) {
  const ui = shell({ model, el, label: "Prototypes on a sphere", style: STYLE });
  const data = readData(model);
  const glided = glide(ui);
  legend(ui, [["cls", "class tokens (discs)"], ["patch", "patch tokens (squares)"],
    ["ink", "prototypes (lettered diamonds)"]]);
  [0, 1].forEach((which) => sphereFigure(ui, data, which, glided));
  chosenBars(ui, data);
  controls(ui, data);
  ui.watch(() => ui.say(sentence(model, data, lookAt(model, data))));
  return ui.cleanup;
}

export default { render };
