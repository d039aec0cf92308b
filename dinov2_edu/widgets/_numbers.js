// Numbers, their words, random draws, bytes and colours.

/** The same function, which computes anew only when an argument (number, string, boolean) differs from the last. */
export function remember(compute) {
  let last = null;
  return (...args) => {
    if (!last || args.some((value, i) => value !== last.args[i])) last = { args, result: compute(...args) };
    return last.result;
  };
}

/** A typed array from a bytes traitlet: typed(model.get("logits"), Float32Array). */
export function typed(view, Kind) {
  const { buffer, byteOffset = 0, byteLength } = view.buffer ? view : { buffer: view, byteLength: view.byteLength };
  return new Kind(buffer.slice(byteOffset, byteOffset + byteLength));
}

/** A decoded picture (ImageBitmap) from a bytes traitlet that holds a JPEG or PNG file. */
export const decodeImage = (view) => createImageBitmap(new Blob([typed(view, Uint8Array)]));

/** Uniform numbers in [0, 1) that are the same for the same seed (mulberry32). */
export function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  };
}

/** Standard normal numbers from uniform ones (Box and Muller). */
export const normals = (uniform) => () =>
  Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());

/** Numbers in a random order drawn from `uniform` (Fisher and Yates). */
export function shuffled(values, uniform) {
  const order = [...values];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** Softmax of one row of logits at a temperature. */
export function softmax(logits, temperature = 1) {
  const top = Math.max(...logits);
  const weights = Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
  const total = sum(weights);
  return weights.map((weight) => weight / total);
}

/** Entropy in nats: 0 when one prototype has it all, ln k when uniform. */
export const entropy = (probs) => -sum(probs.map((p) => (p > 0 ? p * Math.log(p) : 0)));

export const indexOfMax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
export const sum = (values) => { let total = 0; for (const value of values) total += value; return total; };
export const mean = (values) => sum(values) / values.length;
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Rounds as Python does: a half goes to the even neighbour. */
export function roundHalfEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** A number with so many decimals, as Python writes it: toFixed, but a half goes to the even neighbour. */
export function decimals(value, digits) {
  const text = value.toFixed(digits);
  const [, rest] = Math.abs(value).toFixed(digits + 25).split(".");
  if (!/^50*$/.test(rest?.slice(digits) ?? "") || Number(text.at(-1)) % 2 === 0) return text;
  return (value - Math.sign(value) * 10 ** -(digits + 1)).toFixed(digits); // toFixed took the one further from 0
}

// ---- words and ticks --------------------------------------------------------------------------------------

/** Round numbers between low and high, about `count` of them. */
export function ticks(low, high, count = 5) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return found;
}

/** The letter that names a prototype: A to Z for 0 to 25. */
export const letterOf = (k) => String.fromCharCode(65 + k);

/** A number's text with a real minus sign. */
export const minus = (text) => text.replace("-", "−");

/** A number in few characters: 0.25, −12, 1.5k. */
export function short(value) {
  if (Math.abs(value) >= 10000) return minus(`${Number((value / 1000).toPrecision(3))}k`);
  return minus(String(Number(value.toPrecision(3))));
}

/** A share in per cent; the line does not break before the sign. */
export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;

// ---- colours ----------------------------------------------------------------------------------------------

/** [red, green, blue] (0 to 255) of "#rrggbb" or "rgb(...)". */
export function rgb(text) {
  if (text.startsWith("#")) return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  return text.match(/[\d.]+/g).slice(0, 3).map(Number);
}

/** The colour a share of the way from one colour to another, as "rgb(r, g, b)". */
export function mix(from, to, share) {
  const [a, b] = [rgb(from), rgb(to)];
  return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * share)).join(", ")})`;
}

/** Black or white, whichever reads better on this colour. */
export function inkOn(background) {
  const linear = rgb(background).map((v) => (v / 255 <= 0.04045 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return luminance > 0.18 ? "#000000" : "#ffffff";
}
