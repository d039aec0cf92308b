// From the pixels of a canvas to what the backbone sees. Twin: dinov2_edu.features.Preprocessing (bicubic, antialiased,
// ImageNet statistics), without its centre crop: the page cuts, because it shows what it cuts.
import { bicubicMatrix } from "./positions.js";
import { clamp } from "../_numbers.js";

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

/** Mean and standard deviation of each channel; one gray channel has the means of the three. */
export function statistics(channels) {
  if (channels === 3) return IMAGENET;
  const average = (values) => [values.reduce((total, value) => total + value, 0) / values.length];
  return { mean: average(IMAGENET.mean), std: average(IMAGENET.std) };
}

/**
 * Normalised pixels [channels height width] of RGBA bytes [from.height from.width 4], transparency laid on white.
 *
 * channels: 3, or 1 for gray with the weights that torchvision has.
 */
export function picturePixels(rgba, from, { height, width }, channels = 3) {
  const planes = channelPlanes(rgba, channels);
  const [down, across] = [[from.height, height], [from.width, width]].map(([old, size]) =>
    (old === size ? null : bicubicMatrix(old, size, { antialias: true })));
  const { mean, std } = statistics(channels);
  const out = new Float32Array(channels * height * width);
  planes.forEach((plane, channel) => {
    const narrow = across ? resizeRows(plane, from.height, from.width, across, width) : plane;
    const small = down ? resizeColumns(narrow, from.height, width, down, height) : narrow;
    const at = channel * height * width;
    for (let i = 0; i < small.length; i++) out[at + i] = (clamp(small[i], 0, 1) - mean[channel]) / std[channel];
  });
  return out;
}

function channelPlanes(rgba, channels) {
  const n = rgba.length / 4;
  const planes = Array.from({ length: channels }, () => new Float32Array(n));
  for (let i = 0; i < n; i++) {
    const opaque = rgba[4 * i + 3] / 255;
    const [r, g, b] = [0, 1, 2].map((c) => (rgba[4 * i + c] * opaque + 255 * (1 - opaque)) / 255);
    if (channels === 3) [planes[0][i], planes[1][i], planes[2][i]] = [r, g, b];
    else planes[0][i] = 0.2989 * r + 0.587 * g + 0.114 * b;
  }
  return planes;
}

/** The few old pixels of each new one: [first, after the last]. */
function spans(matrix, old, size) {
  return Array.from({ length: size }, (_, i) => {
    let [first, last] = [0, old];
    while (first < old && matrix[i * old + first] === 0) first++;
    while (last > first && matrix[i * old + last - 1] === 0) last--;
    return [first, last];
  });
}

function resizeRows(plane, rows, old, matrix, size) {
  const out = new Float32Array(rows * size);
  spans(matrix, old, size).forEach(([first, last], i) => {
    for (let r = 0; r < rows; r++) {
      let total = 0;
      for (let j = first; j < last; j++) total += matrix[i * old + j] * plane[r * old + j];
      out[r * size + i] = total;
    }
  });
  return out;
}

function resizeColumns(plane, old, cols, matrix, size) {
  const out = new Float32Array(size * cols);
  spans(matrix, old, size).forEach(([first, last], i) => {
    for (let j = first; j < last; j++) {
      const weight = matrix[i * old + j];
      for (let c = 0; c < cols; c++) out[i * cols + c] += weight * plane[j * cols + c];
    }
  });
  return out;
}
