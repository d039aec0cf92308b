// The worker: everything heavy happens here, off the page's thread.
//
// A message in is { id, task, ...arguments }; the answer is { id, result } or { id, error } with a sentence to show.
// A run also sends { event, run, ... } on its own: "step", "knn", "ended", "failed". Names, arguments and results of the
// tasks are in the README of this folder; client.js makes promises of them.
import { download } from "./download.js";
import { Engine } from "./engine.js";
import { Heads } from "./heads.js";
import { Model, saveRun } from "./model.js";
import { PATTERN_CLASSES } from "./patterns10.js";
import { picturePixels } from "./pictures.js";
import { PRESETS, changed } from "./presets.js";
import { Run } from "./run.js";
import { stripOf } from "./strip.js";

const models = new Map();   // name -> Model
const heads = new Map();    // name -> Heads
const looks = new Map();    // key -> { model, ...what Model.look gives }
const runs = new Map();     // name -> { run, active, ... }

function held(map, name, what) {
  if (!map.has(name)) throw new Error(`There is no ${what} "${name}".`);
  return map.get(name);
}

/** The bytes that were given, or those behind an address, with "progress" events. */
const bytesOf = ({ bytes = null, url = null }, name) => bytes
  ?? download(url, { progress: (done, total) => postMessage({ event: "progress", name, done, total }) });

const looking = {
  async loadModel({ name, bytes = null, url = null, random = null, seed = 0, mostPixels }) {
    const options = mostPixels ? { mostPixels } : {};
    const model = random ? await Model.random(random, seed, options)
      : await Model.fromFile(await bytesOf({ bytes, url }, name), options);
    models.set(name, model);
    return { config: model.config, simd: model.engine.simd };
  },

  /** rgba + from {height, width}: a canvas's bytes; or pixels: normalised already. */
  look({ model, key, rgba = null, from = null, pixels = null, height, width, mask = null }) {
    const start = performance.now();
    const { config } = held(models, model, "model");
    const input = pixels ?? picturePixels(rgba, from, { height, width }, config.in_channels);
    const seen = models.get(model).look(input, height, width, mask);
    looks.set(key, { model, ...seen });
    return { rows: seen.rows, cols: seen.cols, prefix: seen.prefix, depth: config.depth, heads: config.heads,
      width: config.width, milliseconds: performance.now() - start };
  },

  tokens({ key, layer = null, norm = false }) {
    const look = held(looks, key, "look");
    return held(models, look.model, "model").tokensOf(look, layer, norm);
  },

  attention({ key, layer, query }) {
    const look = held(looks, key, "look");
    return held(models, look.model, "model").attentionOf(look, layer, query);
  },

  async loadHeads({ name, backbone, bytes = null, url = null }) {
    heads.set(name, await Heads.fromFile(await bytesOf({ bytes, url }, name), backbone));
  },

  prototypes({ name, who, key }) {
    const { model, prefix, final } = held(looks, key, "look");
    const { width } = held(models, model, "model").config;
    return held(heads, name, "file of heads").named(who, final.subarray(prefix * width), width);
  },

  forget({ key = null, model = null, heads: file = null }) {
    if (key !== null) looks.delete(key);
    if (file !== null) heads.delete(file);
    if (model === null) return;
    models.delete(model);
    for (const [name, look] of looks) if (look.model === model) looks.delete(name);
  },
};

const training = {
  async startRun({ run: name, preset = "minute", settings = {}, seed = 0, data = {}, evaluateEvery = 50, until = null,
    delay = 0, paused = false, megabytes = 96, simd = null, rows = 0 }) {
    const config = changed({ ...PRESETS[preset], seed }, settings);
    const engine = await Engine.create({ megabytes, simd, rows });
    const run = new Run(engine, config, seed, data);
    runs.set(name, { run, evaluateEvery, delay, active: !paused, until: until ?? config.steps });
    keepGoing();
    return { config, simd: engine.simd, rows: engine.kernels.rows.value };
  },

  change({ run, settings }) { held(runs, run, "run").run.change(settings); },
  pause({ run }) { held(runs, run, "run").active = false; },
  resume({ run, until = null }) {
    const entry = held(runs, run, "run");
    if (until !== null) entry.until = until;
    entry.active = true;
    keepGoing();
  },
  speed({ run, delay }) { held(runs, run, "run").delay = delay; },
  addPictures({ run, bytes }) { return held(runs, run, "run").run.addPictures(bytes); },
  stepOnce({ run }) { return held(runs, run, "run").run.next(); },
  knn({ run }) { return held(runs, run, "run").run.knn(); },
  pixelKnn({ run }) { return held(runs, run, "run").run.pixelKnn(); },
  neighbours({ run, count, k }) { return held(runs, run, "run").run.neighbours(count, k); },
  testPictures({ run }) {
    const { run: of } = held(runs, run, "run");
    const { bytes, wanted, knownBytes, labels } = of.evaluation();
    return { side: of.world.side, tests: bytes, labels: wanted, known: knownBytes, knownLabels: labels,
      names: PATTERN_CLASSES };
  },
  strip({ run, picture = 0 }) { return stripOf(held(runs, run, "run").run, picture); },
  diagnosis({ run, window }) { return held(runs, run, "run").run.diagnosis(window); },
  history({ run }) { return held(runs, run, "run").run.history; },
  save({ run }) { return saveRun(held(runs, run, "run").run); },
};

// ---- the loop: one step of each active run in turn, and room for messages between them ---------------------

let going = false;
const { port1, port2 } = new MessageChannel();
let wake = null;
port1.onmessage = () => wake?.();
const breathe = (milliseconds) => new Promise((done) => {
  if (milliseconds > 0) setTimeout(done, milliseconds);
  else { wake = done; port2.postMessage(0); }
});

async function keepGoing() {
  if (going) return;
  going = true;
  for (;;) {
    const active = [...runs].filter(([, entry]) => entry.active);
    if (!active.length) break;
    for (const [name, entry] of active) advance(name, entry);
    await breathe(Math.min(...active.map(([, { delay }]) => delay)));
  }
  going = false;
}

function advance(name, entry) {
  const { run, evaluateEvery } = entry;
  try {
    const start = performance.now();
    const metrics = run.next();
    postMessage({ event: "step", run: name, step: run.step, metrics, milliseconds: performance.now() - start });
    const ended = run.step >= entry.until;
    if (evaluateEvery && (run.step % evaluateEvery === 0 || ended)) {
      postMessage({ event: "knn", run: name, step: run.step, accuracy: run.knn(), neighbours: run.neighbours() });
    }
    if (ended) {
      entry.active = false;
      postMessage({ event: "ended", run: name, step: run.step });
    }
  } catch (error) {
    entry.active = false;
    postMessage({ event: "failed", run: name, error: error.message });
  }
}

/** Buffers that may leave the worker instead of being copied. */
const buffersOf = (value) => (value instanceof ArrayBuffer ? [value] : ArrayBuffer.isView(value) ? [value.buffer] : []);

async function answer({ data: { id, task, ...rest } }) {
  try {
    const work = looking[task] ?? training[task];
    if (!work) throw new Error(`There is no task "${task}".`);
    const result = await work(rest);
    postMessage({ id, result }, buffersOf(result));
  } catch (error) {
    postMessage({ id, error: error.message });
  }
}

if (typeof WorkerGlobalScope !== "undefined") onmessage = answer;
