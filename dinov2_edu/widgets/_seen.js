// What a training step looks at and says: crops, masks, targets and guesses of one picture; neighbours of test pictures.
import { font, outline } from "./_figures.js";
import { indexOfMax, mean, percent } from "./_numbers.js";
import { h } from "./_shell.js";

const GAP = 8;       // pixels between pictures
const NAME = 18;     // pixels for a line of text above or beneath a picture
const ROW = 46;      // pixels for a target and the guess at it
const FLAT = 0.2;    // a share as high as the bars of a row are at least
const BEST = 5;      // neighbours of a picture

const painted = new WeakMap();   // bytes of a gray picture -> a canvas of its size
function grayCanvas(bytes, side) {
  if (!painted.has(bytes)) {
    const canvas = h("canvas", { width: side, height: side });
    const ctx = canvas.getContext("2d");
    const image = ctx.createImageData(side, side);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < bytes.length; i++) pixels[i] = 0xff000000 | (bytes[i] * 0x010101);
    ctx.putImageData(image, 0, 0);
    painted.set(bytes, canvas);
  }
  return painted.get(bytes);
}

function drawGray(ctx, bytes, side, { x, y, size }) {
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(grayCanvas(bytes, side), x, y, size, size);
}

function write(ui, ctx, text, x, y, { color = "soft", align = "left", room } = {}) {
  ctx.font = font(ui, 12);
  ctx.fillStyle = ui.color(color);
  ctx.textAlign = align;
  ctx.textBaseline = "middle";
  ctx.fillText(text, x, y, room);
}

/** Pairs that a loss compares, one of a kind: { name, target, guess }. */
function pairsOf({ globals: [first, second], locals }) {
  const pairs = [{ name: "DINO: teacher on crop 2, student on crop 1", target: second.target, guess: first.guess }];
  if (locals.length) {
    pairs.push({ name: "DINO: teacher on crop 1, student on local crop 1", target: first.target, guess: locals[0].guess });
  }
  for (const [i, { patches }] of [first, second].entries()) {
    if (!patches.length) continue;
    pairs.push({ name: `iBOT: one hidden patch of crop ${i + 1}, which the teacher saw`, ...patches[0] });
    break;
  }
  return pairs;
}

export const stripAspect = (strip) => (width) =>
  width / (strip() ? 2 * NAME + pictureSize(width, strip()) + 3 * (NAME + ROW) : 2 * NAME);

/** Three pictures beside a square of four small ones. */
const pictureSize = (width, { locals }) => Math.min(130, (width - 3 * GAP) / (locals.length ? 4 : 3));

/** Where masked patches are, hatched as everywhere in the book. */
function drawMask(ui, ctx, { mask }, { x, y, size }) {
  if (!mask) return;
  const grid = Math.sqrt(mask.length);
  const cell = size / grid;
  ctx.fillStyle = ui.color("mask");
  mask.forEach((masked, i) => {
    if (masked) ctx.fillRect(x + (i % grid) * cell, y + Math.floor(i / grid) * cell, cell, cell);
  });
  ctx.strokeStyle = ui.color("ink");
  ctx.lineWidth = 1;
  ctx.stroke(outline(mask, [grid, grid], { x, y, width: size, height: size }));
}

/** A target's bars upwards, the guess's downwards, prototype by prototype. */
function drawPair(ui, ctx, { name, target, guess }, y, width) {
  const scale = Math.max(FLAT, ...target, ...guess);
  write(ui, ctx, name, 0, y + NAME / 2, { room: width - 90 });
  write(ui, ctx, `height: ${percent(scale)}`, width, y + NAME / 2, { align: "right" });
  const [middle, half, step] = [y + NAME + ROW / 2, (ROW / 2 - 3) / scale, width / target.length];
  ctx.fillStyle = ui.color("line");
  ctx.fillRect(0, middle, width, 1);
  target.forEach((share, i) => {
    ctx.fillStyle = ui.color("teacher");
    ctx.fillRect(i * step + 1, middle - half * share, step - 2, half * share);
    ctx.fillStyle = ui.color("student");
    ctx.fillRect(i * step + 1, middle + 1, step - 2, half * guess[i]);
  });
}

/** The strip of a step; returns its words. */
export function paintStrip(ui, ctx, { width }, strip, names) {
  if (!strip) { write(ui, ctx, "No step has been made yet.", 0, NAME); return "No step has been made yet."; }
  const size = pictureSize(width, strip);
  const { globals, locals, side, picture, label } = strip;
  const at = (i) => ({ x: i * (size + GAP), y: NAME, size });
  write(ui, ctx, names[label] ?? "your picture", at(0).x, NAME / 2, { room: size });
  drawGray(ctx, picture, side, at(0));
  globals.forEach((crop, i) => {
    write(ui, ctx, `crop ${i + 1}`, at(i + 1).x, NAME / 2, { color: "ink", room: size });
    drawGray(ctx, crop.pixels, crop.size, at(i + 1));
    drawMask(ui, ctx, crop, at(i + 1));
  });
  if (locals.length) write(ui, ctx, "local crops", at(3).x, NAME / 2, { color: "ink", room: size });
  const small = (size - 4) / 2;
  locals.slice(0, 4).forEach((crop, i) => drawGray(ctx, crop.pixels, crop.size,
    { x: at(3).x + (i % 2) * (small + 4), y: NAME + Math.floor(i / 2) * (small + 4), size: small }));
  const pairs = pairsOf(strip);
  pairs.forEach((pair, i) => drawPair(ui, ctx, pair, NAME + size + GAP + i * (NAME + ROW), width));
  const hidden = globals.map(({ mask }) => (mask ? mask.reduce((total, one) => total + one, 0) : 0));
  const said = pairs.map(({ name, target, guess }) => `${name}: the target is ${percent(Math.max(...target))} ` +
    `prototype ${indexOfMax(target) + 1}, to which the student gives ${percent(guess[indexOfMax(target)])}`);
  return `Step ${strip.step}, a picture of ${names[label] ?? "yours"}: two global crops with ${hidden.join(" and ")} ` +
    `patches hidden, ${locals.length} local crops. ${said.join(". ")}.`;
}

// ---- neighbours -------------------------------------------------------------------------------------------

/** How many of the nearest pictures show the same texture, as "7 of 25". */
export const sameTexture = (found) => {
  const same = found.flatMap(({ label, nearest }) => nearest.filter((one) => one.label === label));
  return `${same.length} of ${BEST * found.length}`;
};

const cellSize = (width, rows) => Math.min(52, (width - GAP) / (BEST + 1) - 4, 300 / rows);
export const neighboursAspect = (run) => (width) => {
  const rows = run()?.neighbours?.length ?? 0;
  return width / (NAME + rows * (cellSize(width, rows) + 4) + 4);
};

const cuts = new WeakMap();       // bytes of many pictures -> Map from a place to the bytes of one, always the same object
function bytesAt(all, i, plane) {
  if (!cuts.has(all)) cuts.set(all, new Map());
  const found = cuts.get(all);
  if (!found.has(i)) found.set(i, all.subarray(i * plane, (i + 1) * plane));
  return found.get(i);
}

/** Test pictures and the nearest labelled pictures of each; returns their words. */
export function paintNeighbours(ui, ctx, { width }, { neighbours, untrained, pictures }) {
  if (!neighbours) return "Nothing has been measured yet.";
  const { side, tests, known } = pictures;
  const nameOf = (label) => pictures.names[label] ?? "yours";
  const size = cellSize(width, neighbours.length);
  const bytesOf = (all, i) => bytesAt(all, i, side ** 2);
  write(ui, ctx, "test picture", 0, NAME / 2);
  write(ui, ctx, "its nearest, the same texture framed", size + GAP + 4 + 26, NAME / 2, { room: width - size - 30 });
  neighbours.forEach(({ asked, label, nearest }, row) => {
    const y = NAME + 2 + row * (size + 4);
    drawGray(ctx, bytesOf(tests, asked), side, { x: 0, y, size });
    nearest.forEach((one, i) => {
      const x = size + GAP + 4 + i * (size + 4);
      ctx.globalAlpha = one.label === label ? 1 : 0.55;
      drawGray(ctx, bytesOf(known, one.index), side, { x, y, size });
      ctx.globalAlpha = 1;
      if (one.label !== label) return;
      ctx.strokeStyle = ui.color("good");
      ctx.lineWidth = 3;
      ctx.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
    });
  });
  const namesOf = (nearest) => nearest.map((one) => nameOf(one.label)).join(", ");
  const each = neighbours.map(({ label, nearest }) => `${nameOf(label)}: ${namesOf(nearest)}`);
  const cosine = mean(neighbours.map(({ nearest }) => nearest[0].cosine));
  return `Nearest neighbours of ${neighbours.length} test pictures: ${sameTexture(neighbours)} show the same ` +
    `texture, before training ${sameTexture(untrained.neighbours)}. Mean cosine of ` +
    `the first ${cosine.toFixed(2)}. ${each.join("; ")}.`;
}
