// Crisp canvases and what is drawn on them: axes, text, outlines; pictures to choose from, bars, legends.
import { clamp, short, ticks } from "./_numbers.js";
import { h, place } from "./_shell.js";

/**
 * A captioned canvas that stays crisp: paint(ctx, { width, height }) draws in CSS pixels.
 *
 * `aspect` is width / height, or a function of the width. The paint function may return a sentence, which
 * becomes the picture's text alternative. Give `interactive: true` for a canvas that takes the keyboard; the
 * caller adds the listeners and gives it a role where "img" is not enough.
 */
export function figure(ui, { caption, aspect = 1, paint, interactive = false, into }) {
  const canvas = h("canvas", { role: "img", "aria-label": caption, tabindex: interactive ? 0 : null });
  const parts = [canvas, caption ? h("figcaption", {}, caption) : null];
  (into ?? ui.stage).append(h("figure", { class: "dv2-figure" }, parts));
  ui.watch(() => {
    const width = Math.floor(canvas.parentElement.clientWidth);
    if (!width) return;
    const height = Math.round(width / (typeof aspect === "function" ? aspect(width) : aspect));
    const said = paint(crisp(canvas, width, height), { width, height });
    if (said) canvas.setAttribute("aria-label", said);
  });
  return canvas;
}

/** Sizes a canvas to width x height CSS pixels at the screen's own density and returns its cleared context. */
export function crisp(canvas, width, height) {
  const density = window.devicePixelRatio || 1;
  const [columns, rows] = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== columns || canvas.height !== rows) { canvas.width = columns; canvas.height = rows; }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const ctx = canvas.getContext("2d");
  ctx.setTransform(density, 0, 0, density, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return ctx;
}

/** A crop of a photo, resized by the browser to a canvas of `side` pixels. */
export function cutOut(photo, { box: [top, left, height, width], flip }, side) {
  const canvas = h("canvas", { width: side, height: side });
  const ctx = canvas.getContext("2d", { willReadFrequently: true });
  ctx.imageSmoothingQuality = "high";
  if (flip) ctx.setTransform(-1, 0, 0, 1, side, 0);
  ctx.drawImage(photo, left, top, width, height, 0, 0, side, side);
  return canvas;
}

/** The page's own font at a size in CSS pixels, as a canvas wants it. */
export const font = (ui, size, weight = 400) => `${weight} ${size}px ${getComputedStyle(ui.root).fontFamily}`;

/** A line that can be seen on any photo: white on dark. */
export function strokeOverPhoto(ctx, path) {
  for (const [color, width] of [["rgba(0, 0, 0, 0.75)", 4], ["#ffffff", 1.8]]) {
    ctx.strokeStyle = color;
    ctx.lineWidth = width;
    ctx.stroke(path);
  }
}

/** The border between marked cells of a grid and the others, as a path; the last argument is the grid's place. */
export function outline(marked, [rows, cols], { x = 0, y = 0, width, height }) {
  const path = new Path2D();
  const [w, t] = [width / cols, height / rows];
  const inside = (r, c) => r >= 0 && c >= 0 && r < rows && c < cols && Boolean(marked[r * cols + c]);
  const line = (r, c, right, down) => {
    path.moveTo(x + c * w, y + r * t);
    path.lineTo(x + (c + right) * w, y + (r + down) * t);
  };
  for (let r = 0; r <= rows; r++) {
    for (let c = 0; c <= cols; c++) {
      if (inside(r, c) !== inside(r - 1, c)) line(r, c, 1, 0);
      if (inside(r, c) !== inside(r, c - 1)) line(r, c, 0, 1);
    }
  }
  return path;
}

/** One cell of a grid, as a path. */
export function cellPath([r, c], [rows, cols], { x = 0, y = 0, width, height }) {
  const path = new Path2D();
  path.rect(x + c / cols * width, y + r / rows * height, width / cols, height / rows);
  return path;
}

/**
 * Draws the axes of a plot and returns { x, y, left, right, top, bottom }: x(value) and y(value) give pixels.
 *
 * `domain` is { x: [low, high], y: [low, high] }; ticks sit on round numbers; labels name the quantity and unit.
 */
export function axes(ui, ctx, { width, height }, { domain, xLabel, yLabel, xFormat = short, yFormat = short }) {
  const area = { left: 46, right: width - 16, top: 24, bottom: height - 40 };
  const x = (v) => area.left + (v - domain.x[0]) / (domain.x[1] - domain.x[0]) * (area.right - area.left);
  const y = (v) => area.bottom - (v - domain.y[0]) / (domain.y[1] - domain.y[0]) * (area.bottom - area.top);
  ctx.font = font(ui, 12);
  ctx.lineWidth = 1;
  ctx.textBaseline = "middle";
  for (const tick of ticks(...domain.y, (area.bottom - area.top) / 36)) {
    ctx.strokeStyle = ui.color("line");
    strokeLine(ctx, area.left, y(tick), area.right, y(tick));
    ctx.fillStyle = ui.color("soft");
    ctx.textAlign = "right";
    ctx.fillText(yFormat(tick), area.left - 7, y(tick));
  }
  ctx.textAlign = "center";
  for (const tick of ticks(...domain.x, (area.right - area.left) / 64)) {
    ctx.fillText(xFormat(tick), x(tick), area.bottom + 13);
  }
  ctx.fillStyle = ui.color("ink");
  ctx.fillText(xLabel, (area.left + area.right) / 2, area.bottom + 30);
  ctx.textAlign = "left";
  ctx.fillText(yLabel, 4, 10);
  return { x, y, ...area };
}

export function strokeLine(ctx, x0, y0, x1, y1) {
  ctx.beginPath();
  ctx.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
  ctx.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
  ctx.stroke();
}

/** Text with a rim in the page's colour, so that it can be read on top of lines. */
export function haloText(ui, ctx, text, x, y) {
  ctx.lineJoin = "round";
  ctx.lineWidth = 4;
  ctx.strokeStyle = ui.color("surface");
  ctx.strokeText(text, x, y);
  ctx.fillText(text, x, y);
}

// ---- lists of things -------------------------------------------------------------------------------------

/** A legend: entries are [palette role, text] pairs. */
export function legend(ui, entries, into) {
  const item = ([role, text]) => h("span", {}, h("i", { style: `background: var(--dv2-${role})` }), text);
  return place(ui, into ?? ui.stage, h("p", { class: "dv2-legend dv2-wide" }, entries.map(item)));
}

/** A list of labelled bars; returns update(items), an item being { name, share (0 to 1), text, color, strong }. */
export function bars(ui, { label, into }) {
  const list = place(ui, into ?? ui.stage, h("ul", { class: "dv2-bars", "aria-label": label }));
  const item = ({ name, share, text, color, strong }) => h("li", { class: strong ? "dv2-strong" : null },
    h("span", {}, name), h("i", { style: `--dv2-share: ${share}; --dv2-bar: ${color}`, "aria-hidden": "true" }),
    h("b", {}, text));
  return (items) => list.replaceChildren(...items.map(item));
}

/**
 * Small square pictures, one of them chosen: buttons that write their value to a key.
 *
 * Returns update(items), an item being { value, name (said to a screen reader), text (under the picture),
 * paint(ctx, side) }.
 */
export function gallery(ui, { key, label, columns, into }) {
  const attributes = { class: "dv2-gallery", role: "group", "aria-label": label, style: `--dv2-columns: ${columns}` };
  const box = place(ui, into ?? ui.stage, h("div", attributes));
  const thumbs = [];
  const add = () => {
    const thumb = { canvas: h("canvas"), text: h("span") };
    const choose = () => ui.set({ [key]: thumb.value });
    thumb.press = h("button", { type: "button", onclick: choose }, thumb.canvas, thumb.text);
    box.append(thumb.press);
    thumbs.push(thumb);
  };
  return (items) => {
    while (thumbs.length < items.length) add();
    thumbs.forEach((thumb, i) => {
      thumb.press.hidden = i >= items.length;
      if (thumb.press.hidden) return;
      const { value, name, text, paint } = items[i];
      thumb.value = value;
      thumb.text.textContent = text;
      thumb.press.setAttribute("aria-label", name);
      thumb.press.setAttribute("aria-pressed", value === ui.model.get(key));
      const side = Math.floor(thumb.press.clientWidth - 4);
      if (side > 0) paint(crisp(thumb.canvas, side, side), side);
    });
  };
}

// ---- keyboard and pointer on a canvas ---------------------------------------------------------------------

/** The [columns, rows] an arrow key moves by, or null for another key; keeps the page from scrolling. */
export function arrowStep(event) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (step) event.preventDefault();
  return step ?? null;
}

/** Where a pointer is on an element, as shares [x, y] of its width and height, within 0 to 1. */
export function pointerShare(event, element = event.currentTarget) {
  const box = element.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((v) => clamp(v, 0, 1));
}
