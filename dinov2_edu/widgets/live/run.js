// A run from the first picture to the last k-NN accuracy. Twin: dinov2_edu.training.loop.fit, with Patterns10 drawn as it
// goes, so that training starts at once.
import { drawBatch, normalise } from "./crops.js";
import { diagnose } from "./diagnosis.js";
import { knnAccuracy, nearestRows } from "./knn.js";
import { Patterns10, joinedBytes } from "./patterns10.js";
import { changed } from "./presets.js";
import { TrainState, trainStep } from "./training.js";
import { uniforms } from "../_numbers.js";

const DEFAULTS = { pictures: 4000, first: 640, each: 16, neighbours: 600, tests: 300 };

/** What a step saw, with its logits out of the engine's memory, which the next step or evaluation writes over. */
const kept = ({ targets, read, guessed: { logits, patchFrom, localFrom } }) =>
  ({ targets, read, logits: logits.data.slice(), patchFrom, localFrom });

export class Run {
  /**
   * seed: of weights, crops and masks. data: { pictures: how many there will be, first: drawn before the first step,
   * each: drawn in each step, neighbours: labelled ones for k-NN, tests: asked ones }.
   */
  constructor(engine, config, seed = 0, data = {}) {
    this.engine = engine;
    this.sizes = { ...DEFAULTS, ...data };
    this.uniform = uniforms(1000 + seed);
    this.world = new Patterns10(this.sizes.pictures, 1, config.vit.img_size);
    this.world.draw(this.sizes.first);
    this.state = new TrainState(engine, config, this.uniform);
    this.history = {};
    this.shortcut = 0;
    this.asked = null;
    this.last = null;
    this.found = null;
  }

  get step() { return this.state.step; }

  /** Change settings from now on: fields of TrainConfig, and `shortcut`. Sizes of the network stay. */
  change({ shortcut = this.shortcut, ...settings }) {
    this.shortcut = shortcut;
    this.state.config = changed(this.state.config, settings);
  }

  /** More pictures to train on, gray bytes [n side side], drawn as often as a texture is; returns their label. */
  addPictures(bytes) {
    const label = this.world.add(bytes);
    this.asked = null;
    return label;
  }

  /** One step; its metrics go into the history and come back. */
  next() {
    const { world, state, uniform, sizes } = this;
    world.draw(sizes.each);
    const chosen = Array.from({ length: state.config.batch_size }, () => world.choose(uniform));
    const batch = drawBatch(world, chosen, state.config, uniform, this.shortcut);
    const { metrics, seen } = trainStep(state, batch);
    for (const [name, value] of Object.entries(metrics)) (this.history[name] ??= []).push(value);
    this.last = { batch, chosen, seen: kept(seen) };
    return metrics;
  }

  /**
   * The pictures of the evaluation, drawn and normalised when they are first needed. Of pictures that were added, the
   * first is asked behind the test pictures, and the others are known.
   */
  evaluation() {
    if (this.asked) return this.asked;
    const { world, sizes: { neighbours, tests } } = this;
    world.draw(Math.max(0, neighbours - world.count));
    const other = new Patterns10(tests, 2, world.side);
    other.draw();
    const plane = world.side ** 2;
    const own = ({ bytes, labels }, from, to) =>
      ({ bytes: bytes.subarray(from * plane, to * plane), labels: labels.subarray(from, to) });
    const join = (a, b) => ({ bytes: joinedBytes(a.bytes, b.bytes), labels: joinedBytes(a.labels, b.labels) });
    const drawn = own(world, 0, neighbours);
    const known = world.added.map(({ first, n }) => own(world, first + 1, first + n)).reduce(join, drawn);
    const asked = world.added.map(({ first }) => own(world, first, first + 1)).reduce(join, other);
    this.asked = {
      known: normalise(known.bytes, 1, plane), labels: known.labels.slice(), knownBytes: known.bytes.slice(),
      asked: normalise(asked.bytes, 1, plane), wanted: asked.labels.slice(), bytes: asked.bytes,
    };
    return this.asked;
  }

  /** Class tokens of the evaluation's pictures by the teacher, before the head: { known, asked }; once a step. */
  features() {
    const pictures = this.evaluation();
    const { engine, world: { side }, state: { teacher, base, step } } = this;
    if (this.found?.step === step && this.found.pictures === pictures) return this.found;
    engine.release(base);
    const of = (pixels) => teacher.features(engine, pixels, pixels.length / side ** 2, side);
    this.found = { step, pictures, known: of(pictures.known), asked: of(pictures.asked) };
    return this.found;
  }

  /** k-NN accuracy (k = 20) of the teacher's class tokens on test pictures, 0 to 1. Twin: evaluation.knn_evaluator. */
  knn() {
    const { labels, wanted } = this.evaluation();
    const { known, asked } = this.features();
    const { width } = this.state.config.vit;
    return knnAccuracy(this.engine, known, labels, asked.subarray(0, this.sizes.tests * width), wanted, width);
  }

  /** The same for the pixels themselves. */
  pixelKnn() {
    const { known, labels, asked, wanted } = this.evaluation();
    const plane = this.world.side ** 2;
    this.engine.release(this.state.base);
    return knnAccuracy(this.engine, known, labels, asked.subarray(0, this.sizes.tests * plane), wanted, plane);
  }

  /**
   * The k nearest labelled pictures of the first `count` test pictures, and of the first of those that were added:
   * [{ asked, label, nearest: [{ index, cosine, label }] }].
   */
  neighbours(count = 5, k = 5) {
    const { labels, wanted } = this.evaluation();
    const { known, asked } = this.features();
    const { width } = this.state.config.vit;
    const rows = [...Array(count).keys(), ...this.world.added.map((_, i) => this.sizes.tests + i)];
    const queries = new Float32Array(rows.length * width);
    rows.forEach((row, i) => queries.set(asked.subarray(row * width, (row + 1) * width), i * width));
    const found = nearestRows(this.engine, known, queries, width, k);
    return found.map((list, i) => ({ asked: rows[i], label: wanted[rows[i]],
      nearest: list.map(({ index, cosine }) => ({ index, cosine, label: labels[index] })) }));
  }

  /** The verdict on the last `window` steps; whether targets ever told pictures apart is asked of all. */
  diagnosis(window = 100) {
    return diagnose(this.history, this.state.config.n_prototypes, window);
  }
}
