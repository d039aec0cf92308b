// What training does to a crop's colours: the operations of dinov2_edu.crops, on one picture.
//
// A picture is a list of red, green, blue (0 to 1) a pixel, row by row.
import { clamp, sum } from "./_numbers.js";

const BLUR_KERNEL = 9; // pixels
const SOLARISE_FROM = 128 / 255;
const GRAY = [0.2989, 0.587, 0.114];

const clamped = (value) => clamp(value, 0, 1);
const grayAt = (rgb, i) => GRAY[0] * rgb[i] + GRAY[1] * rgb[i + 1] + GRAY[2] * rgb[i + 2];

export const adjustBrightness = (rgb, factor) => rgb.map((value) => clamped(value * factor));

export function adjustContrast(rgb, factor) {
  let total = 0;
  for (let i = 0; i < rgb.length; i += 3) total += grayAt(rgb, i);
  const gray = total / (rgb.length / 3);
  return rgb.map((value) => clamped(gray + (value - gray) * factor));
}

export function adjustSaturation(rgb, factor) {
  return rgb.map((value, i) => {
    const gray = grayAt(rgb, i - (i % 3));
    return clamped(gray + (value - gray) * factor);
  });
}

/** Turns the hue by a share of the colour circle. */
export function adjustHue(rgb, turn) {
  const turned = rgb.slice();
  for (let i = 0; i < rgb.length; i += 3) {
    const [red, green, blue] = [rgb[i], rgb[i + 1], rgb[i + 2]];
    const high = Math.max(red, green, blue);
    const chroma = high - Math.min(red, green, blue);
    if (chroma === 0) continue;
    let hue = (green - blue) / chroma;
    if (high !== red) hue = high === green ? (blue - red) / chroma + 2 : (red - green) / chroma + 4;
    hue = (((hue + 6 * turn) % 6) + 6) % 6;
    [5, 3, 1].forEach((shift, channel) => { // the channel's fall from the highest, around the circle in sixths
      const at = (shift + hue) % 6;
      turned[i + channel] = high - chroma * clamped(Math.min(at, 4 - at));
    });
  }
  return turned;
}

export const solarise = (rgb) => rgb.map((value) => (value >= SOLARISE_FROM ? 1 - value : value));

/** Gaussian blur with a 9-pixel kernel, mirrored at the edges: first along rows, then along columns. */
export function blur(rgb, side, sigma) {
  const reach = (BLUR_KERNEL - 1) / 2;
  const weights = Array.from({ length: BLUR_KERNEL }, (_, i) => Math.exp(-0.5 * ((i - reach) / sigma) ** 2));
  const total = sum(weights);
  const mirror = (at) => (at < 0 ? -at : at >= side ? 2 * side - 2 - at : at);
  const pass = (source, step, across) => {
    const blurred = new Float32Array(source.length);
    for (let line = 0; line < side; line++) {
      for (let at = 0; at < side; at++) {
        const place = line * across + at * step;
        for (let k = 0; k < BLUR_KERNEL; k++) {
          const from = line * across + mirror(at + k - reach) * step;
          for (let c = 0; c < 3; c++) blurred[place + c] += weights[k] / total * source[from + c];
        }
      }
    }
    return blurred;
  };
  return pass(pass(rgb, 3, 3 * side), 3 * side, 3);
}
