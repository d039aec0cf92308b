// The nearest pictures of a bank that the build made: fetched on a press and asked here, and their vote.
import { decodeImage, percent } from "./_numbers.js";
import { aspectOf, fixed, photoBoard } from "./_boards.js";
import { cosines, fetchError, fileOf, unitRows } from "./_seeing.js";
import { h } from "./_shell.js";
import { download } from "./live/download.js";
import { knnVotes, largest } from "./live/knn.js";
import { picturePixels } from "./live/pictures.js";
import { readSafetensors } from "./live/safetensors.js";

const K = 20;
const AT_ONCE = 60;   // pictures between two looks at whether the reader still waits
const ROWS_AT_ONCE = 500;
const BY = { trained: "trained weights", random: "random weights", pixels: "pixels" };

const breathe = () => new Promise((done) => { setTimeout(done); });

/** Take the mean of all rows [n d] from each, and put it into `mean`; the page answers in between. */
async function center(data, d, mean) {
  const total = new Float64Array(d);
  for (let at = 0, row = 1; at < data.length; at += d, row++) {
    for (let k = 0; k < d; k++) total[k] += data[at + k];
    if (row % ROWS_AT_ONCE === 0) await breathe();
  }
  total.forEach((value, k) => { mean[k] = value * d / data.length; });
  for (let at = 0, row = 1; at < data.length; at += d, row++) {
    for (let k = 0; k < d; k++) data[at + k] -= mean[k];
    if (row % ROWS_AT_ONCE === 0) await breathe();
  }
}

/**
 * The bank of a control. load(progress), ready(), stop(); tile(i): the place of a picture in `canvas`;
 * rows(network, going): unit rows { data, d, mean } of all pictures; going(share) says false where nobody waits any more.
 */
export function pictureBank(model) {
  const about = model.get("bank");
  const { side, columns } = about;
  const box = { width: side, height: side };
  const made = new Map();
  let [known, canvas, fetching] = [null, null, null];
  const tile = (i) => [side * (i % columns), side * Math.floor(i / columns), side, side];
  const rgba = (i) => canvas.getContext("2d").getImageData(...tile(i)).data;

  async function load(progress) {
    fetching = new AbortController();
    try {
      const { bytes, url } = await fileOf(model, about.file);
      const all = readSafetensors(bytes ?? await download(url, { signal: fetching.signal,
        progress: (done) => progress(Math.min(1, done / (1e6 * about.megabytes))) }));
      if (JSON.parse(all.metadata.bank).weights !== about.weights) {
        throw new Error("These pictures were embedded by other weights than this page's: load the page again.");
      }
      const image = await decodeImage(all.tensors.pictures.data);
      canvas = h("canvas", { width: image.width, height: image.height });
      canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0);
      known = { ...all.tensors, n: all.tensors.labels.data.length };
    } catch (error) {
      throw error.name === "AbortError" ? new Error("stopped") : fetchError(error);
    }
  }

  /** The features that came with the pictures. */
  const given = ({ data, shape: [, d] }) => ({ data: unitRows({ data, d }), d, mean: new Float32Array(d) });

  /** Pixels less their mean. */
  async function pixelRows(going) {
    const d = 3 * side * side;
    const data = new Float32Array(known.n * d);
    for (let i = 0; i < known.n; i++) {
      if (i % AT_ONCE === 0) {
        if (!going(i / known.n)) throw new Error("stopped");
        await breathe();
      }
      data.set(picturePixels(rgba(i), box, box), i * d);
    }
    const mean = new Float32Array(d);
    await center(data, d, mean);
    return { data: unitRows({ data, d }), d, mean };
  }

  async function rows(network, going) {
    if (!made.has(network)) {
      made.set(network, network === "pixels" ? await pixelRows(going)
        : given(known[network === "trained" ? "features" : network]));
    }
    return made.get(network);
  }
  return { about, load, tile, rows, ready: () => Boolean(known), labels: () => known.labels.data, canvas: () => canvas,
    stop: () => fetching?.abort() };
}

/** The nearest of a bank to a vector: { nearest: [{ index, cosine, label }], votes: share of each class }. */
export function ask({ data, d, mean }, vector, labels, nClasses, k = K) {
  const unit = unitRows({ data: vector.map((value, i) => value - mean[i]), d });
  const all = cosines(unit, 0, data, d);
  const nearest = largest(all, k).map((index) => ({ index, cosine: all[index], label: labels[index] }));
  return { nearest, votes: knnVotes([nearest], labels, nClasses)[0] };
}

export async function nearestScene(state, [picture], session) {
  const { bank } = session;
  const { side, classes } = bank.about;
  const network = state.network;
  const rows = await bank.rows(network, session.going);
  const { nearest, votes } = ask(rows, await session.square(network, picture, side), bank.labels(), classes.length);
  const one = [1, 1];
  const board = ({ index, cosine, label }, i) => ({
    title: `${classes[label]} ${fixed(cosine)}`, grid: one, slot: i + 1, aspect: aspectOf(one),
    paint: (ctx, at) => ctx.drawImage(bank.canvas(), ...bank.tile(index), at.x, at.y, at.width, at.height),
  });
  const order = Array.from(votes.keys()).sort((a, b) => votes[b] - votes[a]).filter((i) => votes[i] > 0);
  const [first, ...others] = order.map((i) => `${classes[i]} ${percent(votes[i])}`);
  return {
    list: [photoBoard(picture, one, 0), ...nearest.map(board)],
    columns: (width) => (width > 560 ? 7 : 5), scale: null, grid: one,
    alt: `${picture.name} and the ${nearest.length} pictures nearest to it: ${nearest.map(({ label }) => classes[label]).join(", ")}.`,
    bars: order.map((i, place) => ({ name: classes[i], share: votes[i], text: percent(votes[i]), color: "var(--dv2-teacher)", strong: !place })),
    said: `By ${BY[network]}, the vote for “${picture.name}” is ${first}${others.length ? `; then ${others.join(", ")}` : ""}. `
      + `Nearest: ${classes[nearest[0].label]} at a cosine of ${fixed(nearest[0].cosine)}; the ${nearest.length}th has ${fixed(nearest.at(-1).cosine)}.`,
  };
}

/** What the bank is, and what its votes are worth, in a line. */
export const aboutBank = ({ data, side, measured_on: test, right }) => `${data}. Features at ${side} pixels, by the book’s own weights; `
  + `the ${K} nearest vote (temperature 0.07). Such a vote is right for ${percent(right.trained)} of ${test}; by random weights for `
  + `${percent(right.random)}, by pixels for ${percent(right.pixels)}. What is none of the ten things gets a vote all the same.`;
