// The doctor: a training log of the reader's own, read, drawn and examined in the page. Twin: dinov2_edu.training.doctor.
import { inAddress, oneOf, wholeNumber } from "./_address.js";
import { logCharts, thinnedCurve } from "./_doctor_charts.js";
import { examineLog } from "./_doctor_examine.js";
import { likeliest, logText, readLog } from "./_doctor_logs.js";
import { inWords } from "./_doctor_words.js";
import { fileDoors } from "./_file_doors.js";
import { button, h, more, place, row, segmented, shell } from "./_shared.js";

const MOST_PROTOTYPES = 10_000_000;
const KINDS = { ours: "a history of this package", official: "a log of the official code", lightning: "a log as Lightning writes it" };
const K_IN_ADDRESS = wholeNumber(0, MOST_PROTOTYPES);
const STYLE = `
.dv2-doctor { overflow-wrap: anywhere; }
.dv2-note { font-size: 0.88rem; color: var(--dv2-soft); margin: 0; }
.dv2-notice { margin: 0.6rem 0 0; padding: 0.5rem 0.85rem; border: 1px solid var(--dv2-soft); border-radius: 5px; }
.dv2-over { outline: 3px dashed var(--dv2-focus); outline-offset: 6px; }
.dv2 :is(input[type="number"], textarea) {
  font: inherit; font-size: 0.9rem; color: var(--dv2-ink); background: var(--dv2-surface); width: 100%; margin: 0.2rem 0 0;
  border: 1px solid var(--dv2-soft); border-radius: 5px; min-height: 2.1rem; padding: 0.2rem 0.6rem;
}
.dv2 ::placeholder { color: var(--dv2-soft); opacity: 1; }
.dv2 textarea { display: block; height: 6rem; resize: vertical; font-family: monospace; }
.dv2 textarea:focus-visible { outline: 2.5px solid var(--dv2-focus); outline-offset: 2px; }
.dv2 figure.dv2-figure .dv2-legend { margin-top: 0.3rem; }
.dv2-findings { margin-top: 1rem; }
.dv2-findings :is(p, ul, ol) { margin: 0.5rem 0 0; }
.dv2-findings :is(ul, ol) { padding-left: 1.4rem; }
.dv2-findings li { margin: 0.2rem 0 0; }
.dv2-findings ol > li { margin-top: 0.7rem; }
.dv2-findings ol p { margin: 0.15rem 0 0; }
.dv2-findings .dv2-state { font-size: 1.15rem; font-weight: 600; }`;

// ---- what the module is held to Python by -----------------------------------------------------------------

/** Everything that is said of a log, or { refused }: what a test holds to Python's `examine(read_log(text), k)`. */
export function examineText(text, nPrototypes, words) {
  try {
    const log = readLog(text, words);
    return { kind: log.kind, notes: log.notes, curves: log.curves, ...examineLog(log, nPrototypes, words) };
  } catch (error) {
    return { refused: error.message };
  }
}

// ---- the log of now ---------------------------------------------------------------------------------------

/** Keeps the reader's own log, which never goes into the model: a notebook's kernel may be another machine. */
function patient(ui, notice) {
  const { model } = ui;
  const [words, samples, read] = [model.get("words"), model.get("samples"), new Map()];
  let [own, last] = [null, {}];
  const opened = (name) => {
    try { return { name, log: readLog(samples[name], words) }; } catch (error) { notice(asSentence(error)); return null; }
  };
  const sample = (name) => {
    if (!read.has(name)) read.set(name, opened(name));
    return read.get(name);
  };
  const now = () => (model.get("sample") ? sample(model.get("sample")) : own);
  /** { name, log, asksK, curves, k, byEpoch, findings } of the log of now, or null. */
  const examined = () => {
    const [found, given] = [now(), model.get("n_prototypes")];
    if (!found) return null;
    if (last.log === found.log && last.given === given) return last;
    const asksK = found.log.facts.n_prototypes === undefined;
    const findings = examineLog(found.log, asksK && given >= 2 ? given : 0, words);
    const curves = Object.fromEntries(Object.entries(found.log.curves).map(([name, curve]) => [name, thinnedCurve(curve)]));
    last = { ...found, given, asksK, findings, curves, k: findings.nPrototypes, byEpoch: found.log.facts.by_epoch };
    return last;
  };
  const take = (name, text) => {
    own = { name, log: readLog(text, words) };
    notice("");
    ui.set({ sample: "" });
    ui.repaint();
  };
  return { examined, take, words };
}

/** An error as a sentence for the reader. */
function asSentence({ message }) {
  return `${message.replace(/^[a-z]+ /, (word) => word[0].toUpperCase() + word.slice(1))}.`;
}

// ---- what is shown ----------------------------------------------------------------------------------------

/** A text whose `code` stands in code marks. */
const withCode = (text) => text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
const list = (texts) => h("ul", {}, texts.map((text) => h("li", {}, withCode(text))));

function aboutLog({ name, log, k, byEpoch, findings }, pieces) {
  const curve = log.curves[log.curves.dino ? "dino" : "loss"];
  const count = inWords(curve.values.length, pieces);
  const end = `${byEpoch ? "epoch" : "step"} ${inWords(curve.steps.at(-1), pieces)}`;
  const kWords = k ? `K = ${inWords(k, pieces)}${findings.kFrom === "given" ? "" : ", not said by the log"}` : "K unknown";
  return `${name}: ${KINDS[log.kind]}, ${count} ${count === "1" ? "record" : "records"} up to ${end}, ${kWords}.`;
}

function suspects({ causes, advice }) {
  if (!causes.length) {
    return advice ? [h("p", {}, "No number here points to a cause."), h("p", {}, h("strong", {}, "Try: "), withCode(advice))] : [];
  }
  const item = ({ title, evidence, advice: help }) => h("li", {}, h("strong", {}, title),
    h("p", {}, withCode(evidence)), h("p", {}, h("strong", {}, "Try: "), withCode(help)));
  return [h("p", {}, "Suspects, the strongest first:"), h("ol", { class: "dv2-suspects" }, causes.map(item))];
}

/** Verdict, evidence, suspects, what is missing: built anew only when something else is said. */
function findingsBox(ui, examined, pieces) {
  const box = h("div", { class: "dv2-findings", role: "region", "aria-label": "What the log shows" });
  ui.root.append(box);
  let drawn = null;
  ui.watch(() => {
    const now = examined();
    box.hidden = !now;
    if (!now || now === drawn) return;
    drawn = now;
    const { findings, log } = now;
    box.replaceChildren(
      h("p", { class: "dv2-state" }, findings.title),
      h("p", { class: "dv2-note" }, aboutLog(now, pieces)),
      h("div", { class: "dv2-evidence" }, list(findings.evidence)),
      ...suspects(findings),
      ...(findings.unseen.length ? [h("p", {}, "Not in this log:"), h("div", { class: "dv2-unseen" }, list(findings.unseen))] : []),
      ...log.notes.map((note) => h("p", { class: "dv2-note" }, note)),
    );
  });
}

function readoutOf(now) {
  if (!now) return "No log yet: choose one, drop it here, or paste its text.";
  const { title, causes, advice } = now.findings;
  const names = causes.map((cause) => cause.title).join("; ");
  if (names) return `${now.name}: ${title}. ${causes.length > 1 ? "Suspects" : "Suspect"}: ${names}.`;
  return `${now.name}: ${title}.${advice ? " No number points to a cause." : ""}`;
}

// ---- controls ---------------------------------------------------------------------------------------------

/** K, where the log does not say it. */
function prototypesField(ui, examined, notice) {
  const label = "Prototypes, K";
  const input = h("input", { type: "number", min: 2, max: MOST_PROTOTYPES, step: 1, inputmode: "numeric", "data-key": "n_prototypes",
    onchange: () => {
      const value = Number(input.value);
      const right = input.value === "" ? !input.validity.badInput : Number.isInteger(value) && value >= 2 && value <= MOST_PROTOTYPES;
      notice(right ? "" : "K is a whole number, 2 at least. Leave the field empty where you do not know it.");
      ui.set({ n_prototypes: right ? value : 0 });
    } });
  const box = place(ui, null, h("label", { class: "dv2-control" }, h("span", { class: "dv2-label" }, label), input));
  ui.watch(() => {
    const now = examined();
    box.hidden = !now?.asksK;
    input.placeholder = now?.k ? `${now.k}, from the loss` : "unknown";
    if (!input.matches(":focus")) input.value = ui.model.get("n_prototypes") || "";
  });
}

function pasteField(ui, read) {
  const into = more(ui, "Paste the text of a log");
  const field = h("textarea", { "aria-label": "Text of a log", spellcheck: "false", placeholder: "{\"history\": …" });
  place(ui, into, h("div", { class: "dv2-control dv2-wide" }, field));
  button(ui, { label: "Examine the text", into: row(ui, "Text of a log", { into }), onPress: () => read(field.value) });
}

function render({ model, el }) {
  const ui = shell({ model, el, label: "The doctor for training logs", style: STYLE });
  ui.root.classList.add("dv2-doctor");
  const status = h("p", { class: "dv2-notice", role: "status", hidden: true });
  const notice = (text) => { status.replaceChildren(...withCode(text)); status.hidden = !text; };
  const { examined, take, words } = patient(ui, notice);
  const samples = Object.keys(model.get("samples"));
  const forget = inAddress(ui, { sample: oneOf(samples),
    n_prototypes: { ...K_IN_ADDRESS, read: (text) => (text === "1" ? undefined : K_IN_ADDRESS.read(text)) } });
  const guarded = (read) => async (...given) => {
    ui.root.toggleAttribute("data-reading", true);
    try { await read(...given); } catch (error) { notice(asSentence(error)); }
    ui.root.toggleAttribute("data-reading", false);
  };
  const giveText = guarded((text) => take("Pasted text", text));
  const giveFiles = guarded(async (files) => {
    const file = likeliest(files);
    if (!file) return;
    const text = await logText(file, words);
    notice(`Reading ${file.name} …`);
    await new Promise((drawn) => { setTimeout(drawn, text.length > 1e6 ? 50 : 0); });
    take(file.name, text);
  });

  logCharts(ui, examined);
  if (samples.length) segmented(ui, { key: "sample", label: "A recorded run", wide: true, options: samples.map((name) => [name, name]) });
  prototypesField(ui, examined, notice);
  const line = row(ui, "Your log", { wide: true });
  const close = fileDoors(ui, { give: giveFiles, text: giveText, into: line, label: "Choose a log" });
  line.append(h("p", { class: "dv2-note" }, "Or drop one here, or paste it. It is read in this browser: nothing of it is sent anywhere."));
  pasteField(ui, giveText);
  ui.root.append(status);
  findingsBox(ui, examined, words.pieces);
  ui.watch(() => ui.say(readoutOf(examined())));
  return () => { for (const end of [close, forget, ui.cleanup]) end(); };
}

export default { render };
