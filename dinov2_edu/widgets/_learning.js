// A run that trains in the page, as a control sees it: its curves, what happened, and what is taken away. Draws nothing.
import { percent } from "./_numbers.js";
import { startLive } from "./live/client.js";
import { BREAKS, PRESETS } from "./live/presets.js";

const RUN = "page";
const EVALUATE = 25;   // steps between two measurements of k-NN
const JUDGE = 10;      // steps between two verdicts on the curves, and between two looks at a picture
const WINDOW = 100;    // steps whose last tenth a verdict looks at
const TOO_LONG = 100;  // seconds that a run of "minute" may take where the page chooses
const NEAREST = { count: 5, k: 5 };
const FALL = 0.1;      // of k-NN below its best: three standard errors

/** What can be taken away while a run goes on, in words; "shortcut" puts something in. */
export const BREAK_WORDS = {
  centering: "no centering", sharpening: "no sharpening", ema: "no EMA", multicrop: "no local crops", koleo: "no KoLeo",
  shortcut: "a watermark on each picture",
};

/** Settings with a thing taken away (broken) or given back, for a preset. */
export function settingsFor(name, broken, preset) {
  if (name === "shortcut") return { shortcut: broken ? 1 : 0 };
  const from = (settings, wanted) => Object.fromEntries(Object.entries(wanted).map(([key, value]) =>
    [key, value?.constructor === Object ? from(settings[key], value) : settings[key]]));
  return broken ? BREAKS[name] : from(PRESETS[preset], BREAKS[name]);
}

let secondsAStep = null; // of "minute" on this device, measured at the first press

/** How many seconds a step takes on this device, and which preset suits it: a few steps of a small run are timed in a worker of their own. */
async function suitable() {
  if (secondsAStep === null) {
    const trial = startLive();
    try {
      await trial.ask("startRun", { run: "trial", preset: "minute", data: { pictures: 64, first: 64 }, paused: true });
      const times = [];
      for (let i = 0; i < 6; i++) {
        const start = performance.now();
        await trial.ask("stepOnce", { run: "trial" });
        times.push((performance.now() - start) / 1000);
      }
      secondsAStep = Math.min(...times);
    } finally {
      trial.stop();
    }
  }
  return { seconds: secondsAStep, preset: secondsAStep * PRESETS.minute.steps > TOO_LONG ? "quick" : "minute" };
}

export class LearningRun {
  /** hear(what) is called with "numbers" (many times a second), "told" (a line of the log) or "state". */
  constructor(hear) {
    this.hear = hear;
    Object.assign(this, { state: "off", curves: {}, marks: [], log: [], breaks: [], step: 0, knn: null, pixels: null,
      neighbours: null, untrained: null, strip: null, pictures: null, verdict: null, error: "", saved: false });
  }

  /** Draw Patterns10, measure pixels and the untrained network, and be ready for the first step. */
  async start({ preset, seed, delay }) {
    this.turn("preparing");
    try {
      this.preset = preset;
      if (preset === "auto") {
        const found = await suitable();
        if (this.state === "stopped") return;
        this.preset = found.preset;
        const runs = found.preset === "quick" ? "a quick look at a smaller network" : "the run of a minute";
        this.tell(`This device makes ${Math.round(1 / found.seconds)} steps a second: ${runs}.`);
      }
      this.live = startLive();
      const { config } = await this.ask("startRun",
        { preset: this.preset, seed, delay, evaluateEvery: EVALUATE, paused: true });
      Object.assign(this, { config, seed, last: config.steps, levelAt: Math.log(config.n_prototypes) });
      this.pictures = await this.ask("testPictures");
      this.pixels = await this.ask("pixelKnn");
      await this.measure();
      this.listen();
      this.turn("paused");
    } catch (error) {
      this.fail(error);
    }
  }

  /** Ask the worker; where it fails, the run has failed, and nothing that waits for the answer goes on. */
  ask(task, given = {}) {
    return this.live.ask(task, { run: RUN, ...given }).catch((error) => {
      this.fail(error);
      return new Promise(() => {});
    });
  }

  listen() {
    this.live.on("step", ({ step, metrics }) => this.record(step, metrics));
    this.live.on("knn", (event) => this.take(event));
    this.live.on("ended", () => { this.turn("ended"); this.judge(); });
    this.live.on("failed", ({ error }) => this.fail(new Error(error)));
  }

  turn(state) {
    if (this.state !== "stopped") this.state = state;
    this.hear("state");
  }

  fail(error) {
    if (this.state === "stopped") return;
    this.error = error.message;
    this.turn("failed");
  }

  /** A step's numbers, after it. */
  record(step, metrics) {
    this.step = step;
    for (const [name, value] of Object.entries(metrics)) this.add(name, step, value);
    if (step % JUDGE === 0) this.judge();
    this.hear("numbers");
  }

  add(name, step, value) {
    const curve = this.curves[name] ??= { steps: [], values: [] };
    curve.steps.push(step);
    curve.values.push(value);
  }

  async measure() {
    this.take({ step: this.step, accuracy: await this.ask("knn"), neighbours: await this.ask("neighbours", NEAREST) });
  }

  /** What k-NN found. */
  take({ step, accuracy, neighbours }) {
    this.add("knn", step, accuracy);
    this.knn = accuracy;
    this.neighbours = neighbours;
    this.untrained ??= { accuracy, neighbours };
    const fallen = accuracy <= this.best - FALL;
    if (fallen && !this.fallen) this.tell(`k-NN has fallen from ${percent(this.best)} to ${percent(accuracy)}.`);
    if (!fallen && this.fallen) this.tell(`k-NN is back at ${percent(accuracy)}.`);
    this.fallen = fallen;
    this.hear("numbers");
  }

  /** Ask what the curves say, by the rules of `diagnose`. One look may err: two that agree count. */
  async judge() {
    if (this.step < 2 * JUDGE) return this.look();
    const [now, before] = [await this.ask("diagnosis", { window: WINDOW }), this.judged];
    this.judged = now;
    if (now.collapsed === before?.collapsed || now.name === "diverged") this.verdict = { ...now, step: this.step };
    if (now.name === before?.name && now.name !== this.told) {
      this.told = now.name;
      this.tell(`“${now.name}”: ${now.evidence.split(":")[0]}.`.replace("..", "."));
    }
    this.hear("numbers");
    return this.look();
  }

  /** What the last step saw of picture `this.picture`. */
  async look(picture = this.picture ?? 0) {
    this.picture = picture;
    if (this.step === 0) return;
    this.strip = await this.ask("strip", { picture });
    this.hear("numbers");
  }

  tell(text) {
    this.log.push({ step: this.step, text });
    this.hear("told");
  }

  // ---- what a reader does ----

  async resume() { this.turn("running"); await this.ask("resume"); }
  async pause() { if (this.state === "running") { this.turn("paused"); await this.ask("pause"); } }
  async speed(delay) { if (this.live) await this.ask("speed", { delay }); }
  stop() { this.state = "stopped"; this.live?.stop(); }

  async stepOnce() {
    const metrics = await this.ask("stepOnce");
    this.record(this.step + 1, metrics);
    await this.look();
    if (this.step % EVALUATE === 0) await this.measure();
    if (this.step >= this.last) this.turn("ended");
  }

  /** Take away what is new in the list, give back what is no longer in it. */
  async setBreaks(breaks) {
    const before = this.breaks;
    this.breaks = [...breaks];
    const turned = Object.keys(BREAK_WORDS).filter((name) => before.includes(name) !== breaks.includes(name));
    for (const name of turned) {
      const broken = breaks.includes(name);
      await this.ask("change", { settings: settingsFor(name, broken, this.preset) });
      this.marks.push({ step: this.step, name, broken });
      this.tell(broken ? `From here on: ${BREAK_WORDS[name]}.` : `Given back: no longer ${BREAK_WORDS[name]}.`);
    }
  }

  /** Pictures of the reader's own, gray bytes [n side side], as one more texture; the first is asked, the others known. */
  async addOwn(bytes) {
    const count = bytes.length / this.pictures.side ** 2;
    await this.ask("addPictures", { bytes });
    await this.ask("pause");
    this.pictures = await this.ask("testPictures");
    this.neighbours = await this.ask("neighbours", NEAREST);
    this.tell(`${count} pictures of yours are a texture like the others from here on.`);
    if (this.state === "running") await this.ask("resume");
  }

  /** The bytes of a file that `load_backbone` opens. */
  save() { return this.ask("save"); }

  // ---- in words ----

  get best() { return Math.max(...(this.curves.knn?.values ?? [0])); }

  /** Where the run is and what the rules say of it, in a few sentences. */
  sentence() {
    if (this.error) return this.error;
    if (this.state === "preparing") return "Drawing Patterns10, then measuring the pixels and the untrained network …";
    const broken = this.breaks.map((name) => BREAK_WORDS[name]).join(", ");
    const { values, steps } = this.curves.knn;
    const paused = this.state === "paused" ? ", paused" : "";
    const start = `Step ${this.step} of ${this.last}${paused}${broken ? `, with ${broken}` : ""}: k-NN ${percent(values.at(-1))} ` +
      `at step ${steps.at(-1)} (pixels ${percent(this.pixels)}, untrained ${percent(values[0])}).`;
    return [start, this.judgement(), this.repaired()].filter(Boolean).join(" ");
  }

  judgement() {
    if (!this.verdict) return "";
    const { name, evidence, advice } = this.verdict;
    if (name !== "learning") {
      const alive = !this.breaks.includes("koleo") && this.knn > this.untrained.accuracy + FALL;
      const what = name === "plateau" ? "A plateau, no collapse" : `Collapse, “${name}”`;
      return `${what}: ${evidence} ${advice}` +
        (alive ? " The backbone does better than its targets: KoLeo, which looks at no target, goes on." : "");
    }
    if (!this.fallen) return `Learning: ${evidence}`;
    return `The rules find nothing wrong (${evidence.toLowerCase().replace(/\.$/, "")}), and yet k-NN has fallen from ` +
      `${percent(this.best)} to ${percent(this.knn)}: pictures are distinguished by something else than their texture.`;
  }

  /** Whether what was given back has helped, said as it is. */
  repaired() {
    const given = this.marks.findLast(({ broken }) => !broken);
    if (!given || this.breaks.length || !this.verdict || this.verdict.step < given.step + 2 * JUDGE) return "";
    const steps = this.step - given.step;
    const since = `All was given back ${steps} steps ago`;
    if (this.verdict.name !== "learning") return `${since}, and it has not recovered so far.`;
    if (!this.fallen) return `${since}, and it learns.`;
    return `${since}; targets differ, but k-NN is still below its best of ${percent(this.best)}.`;
  }
}
