// One way of drawing a token grid: boards of patches beside the photo, on scales that do not move.
import { clamp, mix, rgb } from "./_numbers.js";
import { arrowStep, figure, font } from "./_figures.js";
import { h } from "./_shell.js";

const GAP = 10;      // pixels between boards
const TITLE = 20;    // pixels above a board for its name
const SCALE = 46;    // pixels beneath all boards for the scale
const TALLEST = 1.3; // a board's height in widths of its column
const STOPS = ["#0c1428", "#45286e", "#a83766", "#ee7f3a", "#fdf2b8"]; // lightness rises evenly, whatever eyes see of hues

/** The colour of a share (0 dark to 1 bright) on the scale of all token grids, as [red, green, blue] in 0 to 255. */
export function scaleColor(share) {
  const at = clamp(share, 0, 1) * (STOPS.length - 1);
  const below = Math.min(Math.floor(at), STOPS.length - 2);
  return rgb(mix(STOPS[below], STOPS[below + 1], at - below));
}

const DOUBLINGS = [-2, 5];
/** The scale of attention, of which an even share is 1. */
export const SHARES = { label: "attention in even shares, one step for each doubling", ends: ["1/4 or less", "32 or more"] };
/** Where even shares lie on it, 0 to 1: a step for each doubling. */
export const shareOnScale = (shares) => (Math.log2(Math.max(shares, 1e-9)) - DOUBLINGS[0]) / (DOUBLINGS[1] - DOUBLINGS[0]);

/** Draws tokens as a grid of plain squares: colorOf(i) gives [red, green, blue] in 0 to 255, or null for see-through. */
export function tokenGrid(ctx, { x, y, width, height }, [rows, cols], colorOf) {
  const canvas = h("canvas", { width: cols, height: rows });
  const inner = canvas.getContext("2d");
  const pixels = inner.createImageData(cols, rows);
  for (let i = 0; i < rows * cols; i++) {
    const color = colorOf(i);
    if (color) pixels.data.set([...color.map(Math.round), 255], 4 * i);
  }
  inner.putImageData(pixels, 0, 0);
  ctx.imageSmoothingEnabled = false;
  ctx.drawImage(canvas, x, y, width, height);
  ctx.imageSmoothingEnabled = true;
}

/** The places of boards of some aspects (width / height) in a picture of a width: { places, height }. */
export function layBoards(width, aspects, columns) {
  const cell = (width - (columns - 1) * GAP) / columns;
  const places = [];
  let top = 0;
  for (let first = 0; first < aspects.length; first += columns) {
    const sizes = aspects.slice(first, first + columns).map((aspect) => Math.min(cell, TALLEST * cell * aspect));
    const heights = sizes.map((size, i) => size / aspects[first + i]);
    sizes.forEach((size, i) => places.push({ x: i * (cell + GAP), y: top + TITLE, width: size, height: heights[i] }));
    top += TITLE + Math.max(...heights) + GAP;
  }
  return { places, height: top };
}

/** The scale beneath the boards, with its ends and middle in words. */
function drawScale(ui, ctx, top, width, { label, ends }) {
  const length = Math.min(width, 320);
  for (let i = 0; i < length; i++) {
    ctx.fillStyle = `rgb(${scaleColor(i / (length - 1)).map(Math.round)})`;
    ctx.fillRect(i, top + 18, 1, 9);
  }
  ctx.font = font(ui, 12);
  ctx.fillStyle = ui.color("soft");
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  ctx.fillText(label, 0, top + 8);
  ctx.textAlign = "left";
  ctx.fillText(ends[0], 0, top + 37);
  ctx.textAlign = "right";
  ctx.fillText(ends[1], length, top + 37);
}

/** The board under a place on the canvas, and the patch: { board, patch: [row, column] }, or null between boards. */
function patchUnder(boards, places, [x, y]) {
  for (const [i, { grid }] of boards.entries()) {
    const share = [(y - places[i].y) / places[i].height, (x - places[i].x) / places[i].width];
    if (share.every((s) => s >= 0 && s < 1)) {
      return { board: boards[i], patch: share.map((s, axis) => Math.floor(s * grid[axis])) };
    }
  }
  return null;
}

/**
 * A canvas of boards side by side, which takes pointer and keyboard.
 *
 * boards() gives { list, columns (of a width), scale, alt, over(ctx, places) }; a board is { title, grid: [rows, cols],
 * aspect, paint(ctx, place), ... }. tap({ board, patch, dragged }) is called where a reader presses (dragged: the mouse
 * came from another patch), step([columns, rows]) for an arrow key, press() for the space bar or Enter.
 */
export function boardFigure(ui, { caption, boards, tap, step, press }) {
  const layout = (width, { list, columns }) => layBoards(width, list.map(({ aspect }) => aspect), columns(width));
  const canvas = figure(ui, {
    caption, interactive: true,
    aspect: (width) => {
      const now = boards();
      return width / (layout(width, now).height + (now.scale ? SCALE : 0));
    },
    paint: (ctx, { width }) => {
      const now = boards();
      const { places, height } = layout(width, now);
      now.list.forEach((board, i) => {
        board.paint(ctx, places[i]);
        ctx.font = font(ui, 12.5);
        ctx.fillStyle = ui.color("ink");
        ctx.textAlign = "left";
        ctx.textBaseline = "alphabetic";
        ctx.fillText(board.title, places[i].x, places[i].y - 6, places[i].width);
      });
      now.over?.(ctx, places);
      if (now.scale) drawScale(ui, ctx, height, width, now.scale);
      return now.alt;
    },
  });
  canvas.setAttribute("role", "application");
  canvas.parentElement.classList.add("dv2-wide");
  followBoards(canvas, { boards, layout, tap, step, press });
  return canvas;
}

/** A finger taps, because it also scrolls; a mouse may draw. */
function followBoards(canvas, { boards, layout, tap, step, press }) {
  let last = null; // where the mouse is while it is down
  const found = (event) => {
    const { left, top, width } = canvas.getBoundingClientRect();
    const now = boards();
    return patchUnder(now.list, layout(width, now).places, [event.clientX - left, event.clientY - top]);
  };
  const act = (event, dragged) => {
    const place = found(event);
    if (!place) return;
    const name = `${place.board.title} ${place.patch}`;
    if (name === last) return;
    last = name;
    tap({ ...place, dragged });
  };
  let finger = false;
  canvas.addEventListener("pointerdown", (event) => {
    finger = event.pointerType === "touch";
    last = null;
    if (!finger && event.button === 0) act(event, false);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!finger && event.buttons & 1) act(event, true);
  });
  canvas.addEventListener("click", (event) => {
    if (finger) act(event, false);
    [last, finger] = [null, false];
  });
  canvas.addEventListener("keydown", (event) => {
    const moved = arrowStep(event);
    if (moved) return step(moved);
    if (event.key !== " " && event.key !== "Enter") return undefined;
    event.preventDefault();
    return press();
  });
}
