// Multi-crop on a photo: the boxes, the crops as the network gets them, and the augmentations one by one.
import { N_UNIFORMS, boxFromUniform } from "./_boxes.js";
import { adjustBrightness, adjustContrast, adjustHue, adjustSaturation, blur, solarise } from "./_colours.js";
import {
  arrowStep, bars, button, clamp, cutOut, decodeImage, figure, font, gallery, h, inkOn, legend, more, percent,
  pointerShare, rangeSlider, remember, row, shell, slider, toggle, uniforms,
} from "./_shared.js";

const SIDES = { global: 224, local: 98 }; // pixels of a crop, as the network gets it
const AUGMENTATIONS = ["flip", "colour", "blur", "solarise"];
// How often training does each: for global crop 1, global crop 2, local crops (the paper's words).
const PROBABILITIES = { flip: [0.5, 0.5, 0.5], colour: [0.8, 0.8, 0.8], blur: [1, 0.1, 0.5], solarise: [0, 0.2, 0] };

const kindOf = (crop) => (crop < 2 ? "global" : "local");
const nameOf = (crop) => (crop < 2 ? `global ${crop + 1}` : `local ${crop - 1}`);

// ---- where a crop is cut ----------------------------------------------------------------------------------

function drawBoxes(size, globalScale, localScale, ratio, nLocal, seed) {
  const uniform = uniforms(seed);
  return Array.from({ length: 2 + nLocal }, (_, crop) => {
    const numbers = Array.from({ length: N_UNIFORMS }, uniform);
    return boxFromUniform(numbers, size, crop < 2 ? globalScale : localScale, ratio);
  });
}

/** The boxes with those that a reader moved put where they were moved to, inside the photo. */
export function moveBoxes(boxes, moved, [imageHeight, imageWidth]) {
  return boxes.map(([top, left, height, width], crop) => {
    const [newTop, newLeft] = moved[crop]?.length ? moved[crop] : [top, left];
    return [clamp(newTop, 0, imageHeight - height), clamp(newLeft, 0, imageWidth - width), height, width];
  });
}

/** The share of a box, 0 to 1, that lies inside another. */
export function seenBy([top, left, height, width], [otherTop, otherLeft, otherHeight, otherWidth]) {
  const down = Math.min(top + height, otherTop + otherHeight) - Math.max(top, otherTop);
  const across = Math.min(left + width, otherLeft + otherWidth) - Math.max(left, otherLeft);
  return Math.max(0, down) * Math.max(0, across) / (height * width);
}

/** The global crops that a crop is compared with: the teacher's, but never the crop itself. */
const partnersOf = (crop) => [0, 1].filter((partner) => partner !== crop);

// ---- what is done to it -------------------------------------------------------------------------------------

/** The strengths with which training would change this crop: drawn anew for every draw and crop. */
function strengths(seed, crop) {
  const uniform = uniforms(1000 * seed + crop + 500);
  const around = (center, reach) => center + reach * (2 * uniform() - 1);
  return {
    brightness: around(1, 0.4), contrast: around(1, 0.4), saturation: around(1, 0.2), hue: around(0, 0.1),
    sigma: 0.1 + 1.9 * uniform(),
  };
}

function augment(rgb, side, chosen, { brightness, contrast, saturation, hue, sigma }) {
  let changed = rgb;
  if (chosen.includes("colour")) {
    changed = adjustContrast(adjustBrightness(changed, brightness), contrast);
    changed = adjustHue(adjustSaturation(changed, saturation), hue);
  }
  if (chosen.includes("blur")) changed = blur(changed, side, sigma);
  return chosen.includes("solarise") ? solarise(changed) : changed;
}

/** Which augmentations training would do to each of n crops. */
function drawAugmentations(n, seed) {
  const uniform = uniforms(seed + 900000);
  return Array.from({ length: n }, (_, crop) =>
    AUGMENTATIONS.filter((name) => uniform() < PROBABILITIES[name][Math.min(crop, 2)]));
}

/** A crop as a canvas of the network's size: cut out and resized by the browser, flipped, then augmented. */
function cropCanvas(photo, box, side, chosen, strength) {
  const canvas = cutOut(photo, { box, flip: chosen.includes("flip") }, side);
  const ctx = canvas.getContext("2d");
  if (!chosen.some((name) => name !== "flip")) return canvas;
  const pixels = ctx.getImageData(0, 0, side, side);
  const byteOf = (i) => 4 * Math.floor(i / 3) + (i % 3); // the canvas has a fourth byte a pixel, its opacity
  const rgb = Float32Array.from({ length: 3 * side * side }, (_, i) => pixels.data[byteOf(i)] / 255);
  augment(rgb, side, chosen, strength).forEach((value, i) => { pixels.data[byteOf(i)] = 255 * value; });
  ctx.putImageData(pixels, 0, 0);
  return canvas;
}

// ---- the pictures -----------------------------------------------------------------------------------------

/** The photo with every box; the chosen one stands out, what lies outside of it is dimmed. */
function paintBoxes(ui, ctx, { width, height }, photo, boxes, chosen) {
  const zoom = width / photo.width;
  const place = ([top, left, boxHeight, boxWidth]) => [left, top, boxWidth, boxHeight].map((value) => value * zoom);
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(photo, 0, 0, width, height);
  ctx.fillStyle = "rgba(0, 0, 0, 0.4)";
  ctx.beginPath();
  ctx.rect(0, 0, width, height);
  ctx.rect(...place(boxes[chosen]));
  ctx.fill("evenodd");
  const order = [...boxes.keys()].reverse().filter((crop) => crop !== chosen).concat(chosen);
  for (const crop of order) {
    const [left, top, boxWidth, boxHeight] = place(boxes[crop]);
    const strong = crop === chosen;
    const role = `${kindOf(crop)}-crop`;
    for (const [color, lineWidth] of [["#ffffffb0", strong ? 5 : 3], [ui.color(role), strong ? 3.5 : 1.8]]) {
      ctx.strokeStyle = color;
      ctx.lineWidth = lineWidth;
      ctx.strokeRect(left + 1.5, top + 1.5, boxWidth - 3, boxHeight - 3);
    }
  }
  drawTags(ui, ctx, order.reverse().map((crop) => ({
    text: crop < 2 ? `G${crop + 1}` : String(crop - 1), place: place(boxes[crop]), color: ui.color(`${kindOf(crop)}-crop`),
  })));
}

const TAG_HEIGHT = 17;

/** Names the boxes at their top edges; a name moves on along its edge where another one stands already. */
function drawTags(ui, ctx, tags) {
  ctx.font = font(ui, 12, 700);
  ctx.textAlign = "center";
  ctx.textBaseline = "middle";
  const taken = [];
  for (const { text, place: [left, top, boxWidth], color } of tags) {
    const width = ctx.measureText(text).width + 9;
    const free = (x) => taken.every((tag) =>
      x >= tag.x + tag.width || tag.x >= x + width || Math.abs(top - tag.top) >= TAG_HEIGHT);
    let x = left;
    while (!free(x) && x + 1 + width <= left + boxWidth) x += 1;
    taken.push({ x, top, width });
    ctx.fillStyle = color;
    ctx.fillRect(x, top, width, TAG_HEIGHT);
    ctx.fillStyle = inkOn(color);
    ctx.fillText(text, x + width / 2, top + 9);
  }
}

/** The smallest box under a point of the photo, or -1. */
function boxAt(boxes, x, y) {
  let found = -1;
  boxes.forEach(([top, left, height, width], crop) => {
    const inside = x >= left && x < left + width && y >= top && y < top + height;
    if (inside && (found < 0 || height * width < boxes[found][2] * boxes[found][3])) found = crop;
  });
  return found;
}

// ---- the widget -------------------------------------------------------------------------------------------

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;

function describeAugmentations(chosen, strength) {
  const words = {
    flip: "flipped",
    colour: `brightness ×\u00a0${strength.brightness.toFixed(2)}, contrast ×\u00a0${strength.contrast.toFixed(2)}, `
      + `saturation ×\u00a0${strength.saturation.toFixed(2)}, hue\u00a0${signed(strength.hue)}`,
    blur: `blurred with sigma ${strength.sigma.toFixed(1)} px`,
    solarise: "values above one half inverted",
  };
  return AUGMENTATIONS.filter((name) => chosen.includes(name)).map((name) => words[name]).join("; ");
}

function sentence({ boxes, size, chosen, augmentations, strength }) {
  const [, , height, width] = boxes[chosen];
  const side = SIDES[kindOf(chosen)];
  const changes = describeAugmentations(augmentations[chosen], strength);
  const seen = partnersOf(chosen).map((partner) =>
    `${percent(seenBy(boxes[chosen], boxes[partner]))} of it in its crop ${nameOf(partner)}`);
  return `Crop ${nameOf(chosen)} takes ${percent(height * width / (size[0] * size[1]))} of the photo: `
    + `${width}\u00a0×\u00a0${height} pixels become ${side}\u00a0×\u00a0${side}${changes ? `; ${changes}` : ""}. `
    + `The teacher has seen ${seen.join(" and ")}.`;
}

function addControls(ui, current) {
  const { model } = ui;
  const share = { min: 0.02, max: 1, step: 0.01, format: percent };
  rangeSlider(ui, { key: "global_scale", label: "Global crops' area", ...share });
  rangeSlider(ui, { key: "local_scale", label: "Local crops' area", ...share });
  const drawAgain = () => ui.set({ seed: model.get("seed") + 1, moved: [] });
  button(ui, { label: "Draw again", primary: true, into: row(ui, "Draw"), onPress: drawAgain });

  const into = more(ui, "Shape, number, augmentations");
  const ratio = { min: 0.25, max: 4, step: 0.05, format: (value) => value.toFixed(2) };
  rangeSlider(ui, { key: "ratio", label: "Width : height", ...ratio, into });
  slider(ui, { key: "n_local", label: "Local crops", min: 0, max: 10, into });
  const line = row(ui, "All crops", { wide: true, into });
  button(ui, { label: "Augment as in training", into: line, onPress: () =>
    ui.set({ augmented: drawAugmentations(current().boxes.length, model.get("seed")) }) });
  button(ui, { label: "No augmentation", into: line, onPress: () => ui.set({ augmented: [] }) });
  addSwitches(ui, current, into);
}

/** A switch for each augmentation of the chosen crop. */
function addSwitches(ui, current, into) {
  const title = h("span", { class: "dv2-label" });
  const attributes = { class: "dv2-row dv2-two", role: "group", "aria-label": "Augmentations of the chosen crop" };
  const switches = h("div", attributes, title);
  into.append(switches);
  for (const name of AUGMENTATIONS) {
    toggle(ui, {
      key: name, label: name, into: switches,
      get: () => current().augmentations[current().chosen].includes(name),
      set: (on) => {
        const { augmentations, chosen } = current();
        const changed = augmentations.map((list) => [...list]);
        changed[chosen] = AUGMENTATIONS.filter((other) => (other === name ? on : changed[chosen].includes(other)));
        ui.set({ augmented: changed });
      },
    });
  }
  ui.watch(() => { title.textContent = `Do to crop ${nameOf(current().chosen)}:`; });
}

/** The chosen crop at the network's size, and how much of it the teacher has seen. */
function addChosen(ui, current, into) {
  const box = h("div", { class: "dv2-chosen-crop" });
  into.append(box);
  figure(ui, { caption: "", into: box, paint: (ctx, { width }) => {
    const { pictures, chosen } = current();
    ctx.imageSmoothingQuality = "high";
    ctx.drawImage(pictures[chosen], 0, 0, width, width);
    return `The chosen crop, ${nameOf(chosen)}.`;
  } });
  const beside = h("div", {}, h("p", { class: "dv2-label" }, "Of this crop the teacher has seen"));
  box.append(beside);
  const shares = bars(ui, { label: "Share of the crop that the teacher has seen", into: beside });
  ui.watch(() => {
    const { boxes, chosen } = current();
    shares(partnersOf(chosen).map((partner) => {
      const share = seenBy(boxes[chosen], boxes[partner]);
      return { name: `in ${nameOf(partner)}`, share, text: percent(share), color: ui.color("global-crop") };
    }));
  });
}

/**
 * A press on a box chooses it, a drag moves it, the arrow keys move the chosen one.
 *
 * A finger scrolls the page, unless it lies on the box that was chosen before.
 */
function chooseAndMove(ui, canvas, current) {
  const { model } = ui;
  let held = null;
  const place = (event) => {
    const { size } = current();
    const [x, y] = pointerShare(event, canvas);
    return [y * size[0], x * size[1]];
  };
  const moveTo = (top, left) => {
    const { boxes, chosen, size } = current();
    const moved = boxes.map((_, crop) => model.get("moved")[crop] ?? []);
    moved[chosen] = [clamp(Math.round(top), 0, size[0] - boxes[chosen][2]), clamp(Math.round(left), 0, size[1] - boxes[chosen][3])];
    ui.set({ moved });
  };
  canvas.setAttribute("role", "application");
  canvas.style.cursor = "grab";
  canvas.addEventListener("touchstart", (event) => {
    const { boxes, chosen } = current();
    const [y, x] = place(event.touches[0]);
    if (event.touches.length === 1 && boxAt([boxes[chosen]], x, y) === 0) event.preventDefault();
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    const { boxes, chosen } = current();
    const [y, x] = place(event);
    const found = event.pointerType === "touch" && boxAt([boxes[chosen]], x, y) === 0 ? chosen : boxAt(boxes, x, y);
    if (found < 0) return;
    ui.set({ crop: found });
    held = [y - boxes[found][0], x - boxes[found][1]];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [y, x] = place(event);
    moveTo(y - held[0], x - held[1]);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { held = null; });
  canvas.addEventListener("keydown", (event) => {
    const step = arrowStep(event);
    if (!step) return;
    const { boxes, chosen, size } = current();
    const reach = Math.max(1, Math.round(Math.max(...size) / 40));
    moveTo(boxes[chosen][0] + step[1] * reach, boxes[chosen][1] + step[0] * reach);
  });
}

const STYLE = `
.dv2-crops-half { display: grid; gap: 0.9rem; align-content: start; min-width: 0; }
.dv2-chosen-crop { display: grid; grid-template-columns: minmax(0, 8rem) 1fr; gap: 1rem; align-items: center; }
.dv2-chosen-crop p { margin: 0 0 0.4rem; }`;

async function render({ model, el }) {
  const ui = shell({ model, el, label: "Multi-crop", style: STYLE });
  const photo = await decodeImage(model.get("photo"));
  const size = model.get("photo_size");
  const boxesNow = remember((gLow, gHigh, lLow, lHigh, rLow, rHigh, nLocal, seed) =>
    drawBoxes(size, [gLow, gHigh], [lLow, lHigh], [rLow, rHigh], nLocal, seed));
  const cutters = Array.from({ length: 12 }, (_, crop) => remember((top, left, height, width, seed, list) => {
    const names = list.split(",").filter(Boolean);
    return cropCanvas(photo, [top, left, height, width], SIDES[kindOf(crop)], names, strengths(seed, crop));
  }));

  const current = () => {
    const ranges = ["global_scale", "local_scale", "ratio"].flatMap((key) => model.get(key));
    const seed = model.get("seed");
    const boxes = moveBoxes(boxesNow(...ranges, model.get("n_local"), seed), model.get("moved"), size);
    const chosen = Math.min(model.get("crop"), boxes.length - 1);
    const augmentations = boxes.map((_, crop) => model.get("augmented")[crop] ?? []);
    return {
      boxes, size, chosen, augmentations, strength: strengths(seed, chosen),
      pictures: boxes.map((box, crop) => cutters[crop](...box, seed, augmentations[crop].join(","))),
    };
  };

  legend(ui, [["global-crop", "global crops, 224 × 224 pixels"], ["local-crop", "local crops, 98 × 98 pixels"]]);
  const [left, right] = ["", " dv2-later"].map((more) => h("div", { class: `dv2-crops-half${more}` }));
  ui.stage.append(left, right);
  const canvas = figure(ui, { caption: "", into: left, aspect: size[1] / size[0], interactive: true, paint: (ctx, area) => {
    const { boxes, chosen } = current();
    paintBoxes(ui, ctx, area, photo, boxes, chosen);
    return `${model.get("photo_alt")}, with ${boxes.length} boxes on it; chosen is ${nameOf(chosen)}: arrow keys move it.`;
  } });
  chooseAndMove(ui, canvas, current);

  const globals = gallery(ui, { key: "crop", label: "Global crops", columns: 2, into: right });
  const locals = gallery(ui, { key: "crop", label: "Local crops", columns: 4, into: right });
  addChosen(ui, current, left);
  addControls(ui, current);

  ui.watch(() => {
    const now = current();
    const items = now.pictures.map((picture, value) => ({
      value, name: `Crop ${nameOf(value)}`, text: nameOf(value),
      paint: (ctx, side) => { ctx.imageSmoothingQuality = "high"; ctx.drawImage(picture, 0, 0, side, side); },
    }));
    globals(items.slice(0, 2));
    locals(items.slice(2));
    ui.say(sentence(now));
    if (String(now.boxes) !== String(model.get("boxes"))) ui.set({ boxes: now.boxes });
  });
  return ui.cleanup;
}

export default { render };
