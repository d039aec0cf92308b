// A small DINOv2 that learns Patterns10 in the page: start it, watch it, break it, give back what it lacks.
import { inAddress, oneOf, wholeNumber } from "./_address.js";
import { BREAK_WORDS, LearningRun } from "./_learning.js";
import { chart } from "./_run_charts.js";
import { PRESETS } from "./live/presets.js";
import { neighboursAspect, paintNeighbours, paintStrip, sameTexture, stripAspect } from "./_seen.js";
import { button, figure, h, more, percent, reducedMotion, row, segmented, shell, slider, toggle } from "./_shared.js";

const LENGTHS = [["auto", "what suits this device"], ["minute", "a minute"], ["quick", "a quick look"]];
const DELAYS = [0, 50, 200, 1000];
const LABELS = { running: "Pause", preparing: "Drawing …", ended: "Train again", failed: "Train again" };
const FRAME = 100;   // milliseconds between two pictures while it runs, at least
const SHARE = 5;     // and at least so many times what drawing one takes, so that the page answers on a slow device
const SEEDS = 9;
const FOLDED = ["ema", "multicrop"]; // parts that are missed later and less: their switches are folded away
const STYLE = `
.dv2 .dv2-row.dv2-wide { align-items: center; }
.dv2 > .dv2-stage ~ .dv2-stage { margin-top: 1.1rem; }
.dv2 .dv2-log { margin: 0.9rem 0 0; padding-left: 1.6rem; font-size: 0.88rem; }
.dv2 .dv2-log li { margin: 0.15rem 0; }
.dv2 figure.dv2-figure .dv2-legend { margin-top: 0.3rem; }
.dv2 figure.dv2-figure .dv2-control { margin-top: 0.5rem; }`;

// ---- the run ----------------------------------------------------------------------------------------------

/** What the buttons do; the run of now and the one before it are run.now and run.before. */
function runner(ui) {
  const { model } = ui;
  let [last, timer, began, cost] = [0, null, 0, 0];
  const held = { now: null, before: null };
  ui.watch(() => { began = performance.now(); });
  const show = () => {
    clearTimeout(timer);
    last = performance.now();
    const { step, knn, verdict, state } = held.now;
    ui.busy(state === "running");
    ui.set({ step, knn: knn ?? 0, verdict: verdict?.name ?? "" });
    ui.repaint();
  };
  const hear = (what) => { // numbers come many times a second: not each of them is drawn, but the last one is at once
    const pause = what !== "numbers" || held.now.state !== "running" ? 0 : Math.max(reducedMotion() ? 10 * FRAME : FRAME, SHARE * cost);
    const wait = pause - (performance.now() - last);
    if (wait <= 0) return show();
    clearTimeout(timer);
    timer = setTimeout(show, wait);
    return undefined;
  };
  const fresh = () => { held.now = new LearningRun(hear); };
  const reset = () => {
    held.now.stop();
    if (held.now.step) held.before = held.now;
    fresh();
    show();
  };
  const ready = async () => {
    if (held.now.state === "ended" || held.now.state === "failed") reset();
    const run = held.now;
    if (run.state === "off") {
      await run.start({ preset: model.get("preset"), seed: model.get("seed"), delay: model.get("delay") });
      if (run.state === "paused") await run.setBreaks(model.get("breaks"));
    }
    return held.now === run && run.state === "paused" ? run : null;
  };
  fresh();
  return Object.assign(held, {
    press: async () => {
      if (held.now.state === "running") return held.now.pause();
      return (await ready())?.resume();
    },
    one: async () => { await held.now.pause(); return (await ready())?.stepOnce(); },
    reset,
    drawn: () => { setTimeout(() => { cost = performance.now() - began; }); }, // after the browser's part of the frame
    stop: () => { clearTimeout(timer); held.now.stop(); },
  });
}

/** Give the teacher to the reader as a file. */
async function download(run) {
  run.tell("The teacher goes into my-run.safetensors; in Python, load_backbone(\"my-run.safetensors\") opens it.");
  const url = URL.createObjectURL(new Blob([await run.save()], { type: "application/octet-stream" }));
  h("a", { href: url, download: "my-run.safetensors" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A file as gray bytes [side side] of its middle square; throws a sentence where it is no picture. */
async function grayBytes(file, side) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error(`${file.name} could not be read as a picture; take JPEG, PNG or WebP files.`);
  });
  const square = Math.min(bitmap.width, bitmap.height);
  const ctx = h("canvas", { width: side, height: side }).getContext("2d");
  ctx.fillStyle = "#ffffff"; // beneath what is transparent
  ctx.fillRect(0, 0, side, side);
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(bitmap, (bitmap.width - square) / 2, (bitmap.height - square) / 2, square, square, 0, 0, side, side);
  bitmap.close();
  const { data } = ctx.getImageData(0, 0, side, side);
  const gray = (i) => 0.2989 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
  return Uint8Array.from({ length: side * side }, (_, i) => Math.round(gray(4 * i)));
}

/** Add the reader's files to what is trained on; nothing leaves the page. */
async function addFiles(run, files) {
  try {
    if (files.length < 2) throw new Error("Take two pictures at least, ten are better: one is asked for, the others are found.");
    const all = [];
    for (const file of files) all.push(await grayBytes(file, run.pictures.side)); // one photo in memory at a time
    await run.addOwn(await new Blob(all).arrayBuffer().then((buffer) => new Uint8Array(buffer)));
  } catch (error) {
    run.tell(error.message);
  }
}

// ---- the widget -------------------------------------------------------------------------------------------

function wideRow(ui, label, into = null) {
  const line = row(ui, label, { into });
  line.classList.add("dv2-wide");
  return line;
}

function buttons(ui, run) {
  const line = wideRow(ui, "The run");
  const go = button(ui, { label: "Train", primary: true, into: line, onPress: run.press });
  const one = button(ui, { label: "One step", into: line, onPress: run.one });
  const again = button(ui, { label: "Start over", into: line, onPress: run.reset });
  ui.watch(() => {
    const { state, step } = run.now;
    go.textContent = LABELS[state] ?? (step ? "Go on" : "Train");
    go.disabled = state === "preparing";
    one.disabled = state === "preparing";
    again.disabled = state === "off" || state === "preparing";
  });
}

/** The teacher as a file, and the reader's own pictures. */
function fileButtons(ui, run, into) {
  const line = row(ui, "Files", { wide: true, into });
  const save = button(ui, { label: "Save the teacher", into: line, onPress: () => download(run.now) });
  const files = h("input", { type: "file", accept: "image/*", multiple: true, hidden: true,
    onchange: () => addFiles(run.now, files.files).finally(() => { files.value = ""; }) });
  line.append(files);
  const own = button(ui, { label: "Add pictures of yours", into: line, onPress: () => files.click() });
  ui.watch(() => {
    const { state, step } = run.now;
    own.disabled = !["running", "paused"].includes(state);
    save.disabled = !step || state === "preparing" || state === "failed";
  });
}

/** A line of switches, each of which takes a part of the method away. */
function breakSwitches(ui, names, label, into = null) {
  const line = wideRow(ui, label, into);
  line.append(h("span", {}, `${label}:`));
  const { model } = ui;
  const all = Object.keys(BREAK_WORDS);
  const turned = (name, on) => all.filter((one) => (one === name ? on : model.get("breaks").includes(one)));
  for (const name of names) {
    toggle(ui, { key: `breaks.${name}`, label: BREAK_WORDS[name], into: line,
      get: () => model.get("breaks").includes(name), set: (on) => ui.set({ breaks: turned(name, on) }) });
  }
}

function settings(ui, run) {
  const into = more(ui, "Two more parts, length, seed, speed, files");
  breakSwitches(ui, FOLDED, "Two more to take away", into);
  segmented(ui, { key: "preset", label: "Length, at the next start", options: LENGTHS, into })
    .at(0).closest(".dv2-control").classList.add("dv2-wide");
  slider(ui, { key: "seed", label: "Seed, at the next start", min: 0, max: SEEDS, into });
  slider(ui, { key: "delay", label: "Pause between steps", values: DELAYS, into,
    format: (milliseconds) => (milliseconds ? `${milliseconds / 1000} s` : "none") });
  ui.model.on("change:delay", () => run.now.speed(ui.model.get("delay")));
  fileButtons(ui, run, into);
}

function words(model, { now, before }) {
  const compared = before ? ` Thin lines: the run before, k-NN ${percent(before.knn)} at step ${before.step}.` : "";
  if (now.state !== "off") return now.sentence() + compared;
  const [length, seed, delay] = ["preset", "seed", "delay"].map((key) => model.get(key));
  const more = [
    length === "auto" ? "for as long as suits this device" : `for ${PRESETS[length].steps} steps`, `from seed ${seed}`,
    delay ? `resting ${delay / 1000} s after each step` : "", ...model.get("breaks").map((name) => `with ${BREAK_WORDS[name]}`),
  ].filter(Boolean).join(", ");
  return `Nothing runs yet. “Train” draws ten textures and trains a small DINOv2 on them, in this page, ${more}.${compared}`;
}

/** What happened, in the order in which it did. */
function logList(ui, run) {
  const list = h("ol", { class: "dv2-log", "aria-label": "What happened" });
  ui.root.append(list);
  ui.watch(() => {
    const { log } = run.now;
    list.hidden = !log.length;
    if (list.children.length === log.length && list.run === run.now) return;
    list.run = run.now;
    list.replaceChildren(...log.map(({ step, text }) => h("li", {}, `Step ${step}: ${text}`)));
  });
}

/** The strip and the neighbours, beneath the controls, once there is something to see. */
function later(ui, run) {
  const stage = h("div", { class: "dv2-stage", hidden: true });
  ui.root.append(stage);
  const shows = (name) => ui.model.get("shows").includes(name);
  if (shows("strip")) {
    const box = figure(ui, { into: stage, aspect: stripAspect(() => run.now.strip),
      caption: "Up: what the teacher says, the target. Down: what the student guesses. One bar a prototype.",
      paint: (ctx, size) => paintStrip(ui, ctx, size, run.now.strip, run.now.pictures?.names ?? []) }).parentElement;
    slider(ui, { key: "picture", label: "Picture of the batch", min: 0, max: 31, format: (i) => String(i + 1), into: box });
    ui.model.on("change:picture", () => run.now.look(ui.model.get("picture")));
  }
  if (shows("neighbours")) {
    const caption = figure(ui, { into: stage, caption: " ", aspect: neighboursAspect(() => run.now),
      paint: (ctx, size) => paintNeighbours(ui, ctx, size, run.now) }).nextSibling;
    ui.watch(() => {
      const { neighbours, untrained } = run.now;
      if (!neighbours) return;
      const before = sameTexture(untrained.neighbours);
      caption.textContent = `${sameTexture(neighbours)} show the same texture; before training ${before}.`;
    });
  }
  ["loss", "spread"].filter(shows).forEach((name) => chart(ui, name, () => [run.now, run.before], stage));
  [...stage.children].forEach((part) => part.classList.add("dv2-later"));
  ui.watch(() => { stage.hidden = !stage.children.length || !run.now.neighbours; });
}

/** How the list of breaks is written into the address. */
const BREAK_LIST = {
  read: (text) => {
    const names = text.split(",").filter(Boolean);
    return names.every((name) => Object.hasOwn(BREAK_WORDS, name)) ? names : undefined;
  },
  write: (names) => names.join(","),
};

function render({ model, el }) {
  const ui = shell({ model, el, label: "A small DINOv2 that learns in the page", style: STYLE });
  const lengths = oneOf(LENGTHS.map(([name]) => name));
  const leave = inAddress(ui, { preset: lengths, seed: wholeNumber(0, SEEDS), breaks: BREAK_LIST });
  const run = runner(ui);
  ["knn", "entropy"].filter((name) => model.get("shows").includes(name)).forEach((name, i) => {
    const box = chart(ui, name, () => [run.now, run.before]);
    if (i) box.classList.add("dv2-later");
  });
  buttons(ui, run);
  breakSwitches(ui, Object.keys(BREAK_WORDS).filter((name) => !FOLDED.includes(name)), "Break it while it runs");
  model.on("change:breaks", () => {
    if (["running", "paused"].includes(run.now.state)) run.now.setBreaks(model.get("breaks"));
  });
  settings(ui, run);
  logList(ui, run);
  later(ui, run);
  ui.watch(() => ui.say(words(model, run)));
  ui.watch(run.drawn);
  let resting = null; // the run that waits for its tab to be seen again
  const hide = () => {
    if (document.hidden && run.now.state === "running") { resting = run.now; resting.pause(); }
    else if (!document.hidden && resting) { if (resting.state === "paused") resting.resume(); resting = null; }
  };
  document.addEventListener("visibilitychange", hide);
  return () => { document.removeEventListener("visibilitychange", hide); leave(); run.stop(); ui.cleanup(); };
}

export default { render };
