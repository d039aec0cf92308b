// Boards of "Your picture": photos and token grids with their marks, places on them, and the words for these.
import { minus } from "./_numbers.js";
import { cellPath, strokeOverPhoto } from "./_figures.js";
import { cutFor } from "./_seeing.js";
import { scaleColor, tokenGrid } from "./_tokens.js";

// ---- places and words -------------------------------------------------------------------------------------

/** The patch [row, column] at a place (shares down and across). */
export const patchAtPlace = (place, grid) => place.map((share, i) => Math.min(grid[i] - 1, Math.floor(share * grid[i])));

/** The middle of a patch as a place. */
export const placeOf = (patch, grid) => patch.map((at, i) => (at + 0.5) / grid[i]);

export const indexOf = ([r, c], [, cols]) => r * cols + c;
export const patchOf = (index, [, cols]) => [Math.floor(index / cols), index % cols];
export const inWords = ([r, c]) => `row ${r + 1}, column ${c + 1}`;
export const fixed = (value, digits = 2) => minus(value.toFixed(digits));

/** Hidden patches as text, "4x4:0660" (rows x columns, then bits as hexadecimal), for any grid. */
export function hiddenBits(text, [rows, cols]) {
  const [, r, c, digits] = /^(\d+)x(\d+):([0-9a-f]*)$/.exec(text) ?? [null, 1, 1, "0"];
  const bit = (y, x) => {
    const at = y * Number(c) + x;
    return (parseInt(digits[at >> 2] ?? "0", 16) >> (3 - (at & 3))) & 1;
  };
  return Uint8Array.from({ length: rows * cols }, (_, i) =>
    bit(Math.floor((Math.floor(i / cols) + 0.5) / rows * r), Math.floor(((i % cols) + 0.5) / cols * c)));
}

export function hiddenText(bits, [rows, cols]) {
  let digits = "";
  for (let i = 0; i < bits.length; i += 4) {
    digits += (8 * bits[i] + 4 * (bits[i + 1] ?? 0) + 2 * (bits[i + 2] ?? 0) + (bits[i + 3] ?? 0)).toString(16);
  }
  return `${rows}x${cols}:${digits}`;
}

// ---- boards -----------------------------------------------------------------------------------------------

export const aspectOf = ([rows, cols]) => cols / rows;

/** A photo, cut to the grid, with `marks(ctx, place)` over it. */
export function photoBoard(picture, grid, slot, marks = () => {}) {
  return {
    title: picture.name, grid, slot, aspect: aspectOf(grid),
    paint: (ctx, place) => {
      ctx.imageSmoothingEnabled = true;
      ctx.imageSmoothingQuality = "high";
      ctx.drawImage(picture.canvas, ...cutFor(picture.canvas, grid), place.x, place.y, place.width, place.height);
      marks(ctx, place);
    },
  };
}

/** Values (0 to 1) of the tokens of a grid in the one scale of colours. */
export function valueBoard(title, values, grid, slot, marks = () => {}) {
  return {
    title, grid, slot, aspect: aspectOf(grid), values,
    paint: (ctx, place) => {
      tokenGrid(ctx, place, grid, (i) => scaleColor(values[i]));
      marks(ctx, place);
    },
  };
}

export const four = (width) => (width > 560 ? 4 : 2);
export const frame = (ctx, patch, grid, place) => strokeOverPhoto(ctx, cellPath(patch, grid, place));

/** A plus or a minus on a patch. */
export function sign(ctx, patch, grid, place, isMore) {
  const [x, y] = [place.x + (patch[1] + 0.5) / grid[1] * place.width, place.y + (patch[0] + 0.5) / grid[0] * place.height];
  const path = new Path2D();
  path.moveTo(x - 4, y);
  path.lineTo(x + 4, y);
  if (isMore) { path.moveTo(x, y - 4); path.lineTo(x, y + 4); }
  strokeOverPhoto(ctx, path);
}

export const middle = ([r, c], [rows, cols], place) =>
  [place.x + (c + 0.5) / cols * place.width, place.y + (r + 0.5) / rows * place.height];
