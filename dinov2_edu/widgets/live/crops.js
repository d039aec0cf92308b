// Multi-crop: views of each picture and the masks of the large ones. Twin: dinov2_edu.crops.multi_crop and
// dinov2_edu.masking.mask_batch, for pictures without colour: of the jitter, brightness and contrast are left.
import { N_UNIFORMS, boxFromUniform } from "../_boxes.js";
import { batchAsked, blockMask } from "../_blocks.js";
import { clamp, uniforms } from "../_numbers.js";
import { statistics } from "./pictures.js";

const JITTER = 0.4;              // brightness and contrast are multiplied by 1 - JITTER to 1 + JITTER
const BRIGHT = 128 / 255;        // solarize inverts from here up

/** Bytes [n channels plane] to normalised numbers. */
export function normalise(bytes, channels, plane) {
  const { mean, std } = statistics(channels);
  const out = new Float32Array(bytes.length);
  for (let at = 0, i = 0; at < bytes.length; i = (i + 1) % channels) {
    for (const end = at + plane; at < end; at++) out[at] = (bytes[at] / 255 - mean[i]) / std[i];
  }
  return out;
}

/**
 * How one side is resized: for each new pixel its first old one, how many, and their weights (antialiased bicubic, as
 * crops.resize_matrix). Filled in place: thousands of small arrays a step would keep the garbage collector busy.
 */
class Taps {
  constructor(most) {
    this.first = new Int32Array(most);
    this.count = new Int32Array(most);
    this.weights = new Float32Array(most * most);
    this.stride = most;
  }

  fill(start, length, size, mirror) {
    const { weights, stride } = this;
    const scale = length / size;
    const stretch = Math.max(scale, 1);
    for (let i = 0; i < size; i++) {
      const center = scale * ((mirror ? size - 1 - i : i) + 0.5);
      const first = Math.max(Math.floor(center - 2 * stretch + 0.5), 0);
      const last = Math.min(Math.floor(center + 2 * stretch + 0.5), length);
      let total = 0;
      for (let j = first; j < last; j++) {
        const x = Math.abs(j + 0.5 - center) / stretch;
        const weight = x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
        total += weights[i * stride + j - first] = weight;
      }
      for (let j = 0; j < last - first; j++) weights[i * stride + j] /= total;
      this.first[i] = start + first;
      this.count[i] = last - first;
    }
  }
}

const MOST = 128; // pixels a side of the pictures and crops of a run
const [down, across, half] = [new Taps(MOST), new Taps(MOST), new Float32Array(MOST)];
const numbers = new Float64Array(N_UNIFORMS);

/** What is drawn for a crop: { box, flip, brightness, contrast, contrastFirst, solarize }. kind: as crops.KINDS. */
export function drawCrop(kind, side, { crops }, uniform) {
  const scale = kind === "local" ? crops.local_scale : crops.global_scale;
  for (let i = 0; i < N_UNIFORMS; i++) numbers[i] = uniform();
  const box = boxFromUniform(numbers, [side, side], scale, crops.ratio);
  const factor = () => 1 + JITTER * (2 * uniform() - 1);
  const [flip, jittered] = [uniform() < crops.flip, uniform() < crops.jitter];
  const [brightness, contrast, contrastFirst] = [factor(), factor(), uniform() < 0.5];
  return { box, flip, contrastFirst, brightness: jittered ? brightness : 1, contrast: jittered ? contrast : 1,
    solarize: uniform() < (kind === "global2" ? crops.solarize : 0) };
}

/** Resize what is in the box to size x size: numbers from 0 to 1, [channels size size] at a place of `out`. */
function resizeBox(bytes, from, side, channels, { box: [top, left, height, width], flip }, size, out, at) {
  down.fill(top, height, size, false);
  across.fill(left, width, size, flip);
  let to = at;
  for (let channel = 0; channel < channels; channel++) {
    const base = from + channel * side * side;
    for (let r = 0; r < size; r++) {
      const weights = r * down.stride;
      for (let c = left; c < left + width; c++) {
        let total = 0;
        for (let j = 0, i = base + down.first[r] * side + c; j < down.count[r]; j++, i += side) {
          total += down.weights[weights + j] * bytes[i];
        }
        half[c] = total / 255;
      }
      for (let c = 0; c < size; c++) {
        let total = 0;
        for (let j = 0, i = across.first[c]; j < across.count[c]; j++, i++) {
          total += across.weights[c * across.stride + j] * half[i];
        }
        out[to++] = clamp(total, 0, 1);
      }
    }
  }
}

/** Brightness and contrast in the drawn order, then solarize; twins of the same names in dinov2_edu.crops.colours. */
function recolour(out, at, end, { brightness, contrast, contrastFirst, solarize }) {
  const brighten = () => { for (let i = at; i < end; i++) out[i] = clamp(brightness * out[i], 0, 1); };
  const stretch = () => {
    let total = 0;
    for (let i = at; i < end; i++) total += out[i];
    const shift = (1 - contrast) * total / (end - at);
    for (let i = at; i < end; i++) out[i] = clamp(contrast * out[i] + shift, 0, 1);
  };
  if (contrastFirst && contrast !== 1) stretch();
  if (brightness !== 1) brighten();
  if (!contrastFirst && contrast !== 1) stretch();
  if (solarize) for (let i = at; i < end; i++) if (out[i] >= BRIGHT) out[i] = 1 - out[i];
}

/** One crop of a picture (bytes [channels side side] from a place on), normalised, to `out` from a place on. */
export function cutCrop(bytes, from, side, channels, drawn, size, out, at) {
  resizeBox(bytes, from, side, channels, drawn, size, out, at);
  const plane = size * size;
  recolour(out, at, at + channels * plane, drawn);
  const { mean, std } = statistics(channels);
  for (let channel = 0; channel < channels; channel++) {
    for (let i = at + channel * plane; i < at + (channel + 1) * plane; i++) out[i] = (out[i] - mean[channel]) / std[channel];
  }
}

/**
 * A shortcut: add a picture's own watermark to a crop. It is the same in every patch of all the picture's crops, so it
 * tells crops of one picture from all others, and has nothing to do with what is on it.
 */
function addWatermark(out, at, size, channels, patch, index, strength) {
  const uniform = uniforms(index);
  const mark = Float32Array.from({ length: patch * patch }, () => strength * (2 * uniform() - 1));
  for (let row = 0; row < channels * size; row++) for (let c = 0; c < size; c++) {
    out[at + row * size + c] += mark[((row % size) % patch) * patch + c % patch];
  }
}

/**
 * What one step learns from: crops of the pictures at `chosen`, all first ones, then all second ones, and the masks of
 * the global ones. Twin: training.step.draw_batch.
 *
 * pictures: { bytes, side, channels }. shortcut: strength of each picture's own watermark, 0 for none.
 * Returns { globals, locals, images, masks, drawn }; drawn: what was drawn for each crop, in the order of the crops.
 */
export function drawBatch({ bytes, side, channels }, chosen, config, uniform, shortcut = 0) {
  const { global_size, local_size, n_local } = config.crops;
  const each = channels * side * side;
  const drawn = [];
  const cut = (kinds, size) => {
    const room = channels * size * size;
    const out = new Float32Array(kinds.length * chosen.length * room);
    let at = 0;
    for (const kind of kinds) for (const index of chosen) {
      const draw = drawCrop(kind, side, config, uniform);
      cutCrop(bytes, index * each, side, channels, draw, size, out, at);
      if (shortcut) addWatermark(out, at, size, channels, config.vit.patch_size, index, shortcut);
      drawn.push(draw);
      at += room;
    }
    return out;
  };
  const globals = cut(["global1", "global2"], global_size);
  const locals = cut(Array.from({ length: n_local }, () => "local"), local_size);
  return { globals, locals, images: chosen.length, drawn,
    masks: config.ibot_weight ? maskBatch(2 * chosen.length, global_size / config.vit.patch_size, config, uniform) : null };
}

/** Masks of a batch of crops, bytes [crops, grid grid], 1 = masked. Twin: masking.mask_batch. */
export function maskBatch(crops, grid, { mask_ratio, mask_probability }, uniform) {
  const masks = new Uint8Array(crops * grid * grid);
  const asked = batchAsked(crops, grid * grid, uniform, { ratio: mask_ratio, probability: mask_probability });
  asked.forEach((count, crop) => {
    const { owner } = blockMask(count, { grid, smallest: 4, aspect: 0.3 }, uniform);
    owner.forEach((block, patch) => { masks[crop * grid * grid + patch] = +(block >= 0); });
  });
  return masks;
}
