// Reads a training log, whoever wrote it, into curves of one set of names and one scale: { kind, curves: { name: { steps,
// values } }, facts, notes }. Twin: dinov2_edu.training.doctor.logs, function by function.
import { refusedLog } from "./_doctor_words.js";

const MOST_BYTES = 32 * 2 ** 20; // MAX_BYTES
const LOG_NAMES = ["history.json", "training_metrics.json", "metrics.csv", "metrics.jsonl"]; // NAMES
const TAKEN_AS_THEY_ARE = ["target_entropy", "mean_target_entropy", "patch_target_entropy", "feature_spread",
  "knn", "lr", "momentum", "teacher_temperature"]; // KNOWN
const IS_NUMBER = /^(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|[+-]?inf(?:inity)?)$/i; // _NUMBER
const LINES = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/; // where Python's splitlines() breaks

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isNumber = (value) => typeof value === "number"; // _is_number
const own = (object, key, otherwise) => (Object.hasOwn(object, key) ? object[key] : otherwise);

/** The largest as Python's max() finds it; `otherwise` where there is none. */
export const largestOf = (values, otherwise = undefined) =>
  (values.length ? values.reduce((best, value) => (value > best ? value : best)) : otherwise);

// ---- files ------------------------------------------------------------------------------------------------

/** Of several files the one that is a log by its name, else the first. */
export const likeliest = (files) =>
  LOG_NAMES.map((name) => files.find((file) => file.name === name)).find(Boolean) ?? files[0];

/** The text of a file: _read. Throws an Error with a sentence for the reader. */
export async function logText(file, words) {
  if (file.size > MOST_BYTES) throw tooLarge(file.size, words);
  const bytes = await file.arrayBuffer().catch(() => { throw refusedLog(words, "unreadable", { name: file.name }); });
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (!text.includes("\0")) return text;
  } catch { /* no UTF-8 */ }
  throw refusedLog(words, file.name.endsWith(".pt") ? "checkpoint" : "no text", { name: file.name });
}

/** _too_large */
const tooLarge = (size, words) => refusedLog(words, "large", { size: Math.round(size / 2 ** 20) });

// ---- reading ----------------------------------------------------------------------------------------------

/** A log from its text: read_log. Throws an Error with a sentence for the reader. */
export function readLog(source, words) {
  const text = source.replace(/^\ufeff+/, "").trim();
  if (!text) throw refusedLog(words, "empty");
  if (source.length > MOST_BYTES) throw tooLarge(source.length, words);
  const { kind, rows, facts, notes } = parseLog(text, words);
  if (rows.length && !rows.some((row) => "step" in row || "iteration" in row)) facts.by_epoch = true;
  const curves = {};
  const scaled = SCALED[kind];
  for (const row of forward(rows)) {
    const found = { ...Object.fromEntries(TAKEN_AS_THEY_ARE.map((name) => [name, row[name]])), ...scaled(row, facts) };
    for (const [name, value] of Object.entries(found)) {
      if (value === undefined) continue;
      curves[name] ??= { steps: [], values: [] };
      curves[name].steps.push(row.step);
      curves[name].values.push(value);
    }
  }
  if (!curves.loss && !curves.dino) throw withoutLoss(rows, words);
  return { kind, curves, facts, notes };
}

/** Why a table without a loss is refused: the end of read_log. */
function withoutLoss(rows, words) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))].sort();
  if (!names.length) return refusedLog(words, "no number");
  return refusedLog(words, "no loss", { names: names.slice(0, 12).join(", ") + (names.length > 12 ? " ..." : "") });
}

/** Kind, rows of numbers by step, facts and notes: _parse. */
function parseLog(text, words) {
  if (!text.startsWith("{")) return { kind: "lightning", rows: tableRows(text), facts: {}, notes: [] };
  const whole = fromJson(text);
  if (isObject(whole)) {
    const history = own(whole, "history", own(whole, "loss"));
    if (history !== null && typeof history === "object") return ourLog(whole, words);
  }
  const { rows, notes } = jsonRows(text, words);
  const official = rows.some((row) => "total_loss" in row || "dino_global_crops_loss" in row);
  // The official log lists half of iBOT and of KoLeo.
  const facts = official ? { weights: [1, 0.5], koleo_scale: 0.1, per_gpu: true } : {};
  return { kind: official ? "official" : "lightning", rows, facts, notes };
}

/** The value of JSON in which NaN and infinities may stand, as Python writes it; undefined where it is none: _json. */
export function fromJson(text) {
  try {
    return JSON.parse(text);
  } catch { /* perhaps for a number that JSON has no word for */ }
  const words = { NaN, Infinity, "-Infinity": -Infinity };
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g, (found) => (found in words ? `"\\u0000${found}"` : found));
  if (marked === text) return undefined;
  try {
    return JSON.parse(marked, (_, value) => (typeof value === "string" && value[0] === "\0" ? words[value.slice(1)] : value));
  } catch {
    return undefined;
  }
}

/** A row for each line of JSON; the last line may be cut off: _json_rows. */
function jsonRows(text, words) {
  const lines = text.split(LINES).filter((line) => line.trim());
  const [rows, notes] = [[], []];
  lines.forEach((line, i) => {
    const found = fromJson(line);
    if (isObject(found)) rows.push(Object.fromEntries(Object.entries(found).filter(([, value]) => isNumber(value))));
    else if (i === 0 || i < lines.length - 1) {
      throw refusedLog(words, "line", { number: i + 1, line: quoted([...line].slice(0, 40).join("")) });
    } else notes.push(words.notes["cut off"]);
  });
  return { rows, notes };
}

/** A text as Python's repr() shows it. */
function quoted(text) {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const signs = { "\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\", [mark]: `\\${mark}` };
  const code = (sign) => `\\x${sign.charCodeAt(0).toString(16).padStart(2, "0")}`;
  return mark + text.replace(/[\\'"\0-\x1f\x7f-\xa0]/g, (sign) => signs[sign] ?? (/['"]/.test(sign) ? sign : code(sign))) + mark;
}

/** Rows of a CSV table; a cell that is no number is left out: _csv_rows. */
function tableRows(text) {
  const [names, ...lines] = text.split(LINES).map((line) =>
    line.split(",").map((cell) => cell.trim().replace(/^"+|"+$/g, "")));
  const cells = (line) => names.slice(0, line.length).map((name, i) => [name, line[i]]);
  return lines.map((line) => Object.fromEntries(
    cells(line).filter(([, cell]) => IS_NUMBER.test(cell)).map(([name, cell]) => [name, cellNumber(cell)])));
}

/** float() of a cell. */
function cellNumber(cell) {
  if (/nan/i.test(cell)) return NaN;
  if (/inf/i.test(cell)) return cell.startsWith("-") ? -Infinity : Infinity;
  return Number(cell);
}

/** Rows with their step, in order: of one step they are one, and a run that went back wrote over what it undid: _forward. */
function forward(rows) {
  const found = [];
  rows.forEach((row, number) => {
    const step = row[["step", "iteration", "epoch"].find((name) => name in row)] ?? number;
    if (!Number.isFinite(step)) return;
    while (found.length && found.at(-1).step > step) found.pop();
    if (found.length && found.at(-1).step === step) Object.assign(found.at(-1), row);
    else found.push({ ...row, step });
  });
  return found;
}

// ---- who wrote it -----------------------------------------------------------------------------------------

/** The history of `python -m dinov2_edu train`: _ours. */
function ourLog(whole, words) {
  const config = isObject(whole.config) ? whole.config : null;
  const history = isObject(own(whole, "history")) ? whole.history : whole;
  const byStep = new Map();
  for (const [name, values] of Object.entries(history)) {
    const steps = own(history, `${name}_step`, own(history, "step"));
    if (name.endsWith("step") || !Array.isArray(values) || !Array.isArray(steps)) continue;
    if (values.length > steps.length) {
      throw refusedLog(words, "lengths", { values: values.length, name, steps: steps.length });
    }
    // A part of the loss that was switched on later has the last steps.
    const last = steps.slice(steps.length - values.length);
    values.forEach((value, i) => {
      if (!isNumber(last[i]) || !isNumber(value)) return;
      if (!byStep.has(last[i])) byStep.set(last[i], { step: last[i] });
      byStep.get(last[i])[name] = value;
    });
  }
  const rows = [...byStep.values()].sort((a, b) => a.step - b.step);
  return { kind: "ours", rows, facts: factsOf(config ?? {}), notes: config ? [] : [words.notes["no config"]] };
}

/** What a config says of its run: _facts. */
function factsOf(config) {
  const given = { ...config, n_local: isObject(config.crops) ? config.crops.n_local : undefined };
  const copied = { n_prototypes: "n_prototypes", batch: "batch_size", steps: "steps", warmup: "warmup_steps",
    student_temperature: "student_temperature", koleo_weight: "koleo_weight", mask_probability: "mask_probability",
    n_local: "n_local" };
  const facts = Object.fromEntries(Object.entries(copied).filter(([, key]) => isNumber(given[key]))
    .map(([name, key]) => [name, given[key]]));
  if (typeof config.targets === "string") facts.targets = config.targets;
  if (!Object.keys(config).length) facts.assumed = true;
  const weights = ["dino_weight", "ibot_weight"].map((name) => own(config, name, 1));
  facts.weights = weights.every(isNumber) ? weights : [1, 1];
  facts.koleo_scale = 2 * (facts.koleo_weight ?? 0.1);
  return facts;
}

/** A row by the names of this module, by who wrote it: _in_one_scale. */
const SCALED = {
  ours: (row, facts) => ({ // _ours_scaled
    loss: row.loss,
    dino: "dino_global" in row ? times(row.dino_global + (row.dino_local ?? 0), 1, facts.weights[0]) : undefined,
    ibot: times(row.ibot, 1, facts.weights[1]),
    koleo: times(row.koleo, 1, facts.koleo_scale),
  }),
  official: (row, facts) => ({ // _official_scaled
    loss: row.total_loss,
    dino: ofPairs(row.dino_global_crops_loss, row.dino_local_crops_loss),
    ibot: times(row.ibot_loss, 2),
    koleo: times(row.koleo_loss, 1, facts.koleo_scale),
    momentum: row.mom,
    batch: row.current_batch_size,
  }),
  lightning: (row) => { // _lightning_scaled
    const first = (...names) =>
      names.flatMap((name) => ["", "_step", "_epoch"].map((end) => row[name + end])).find((value) => value !== undefined);
    const rates = Object.keys(row).filter((name) => name.startsWith("lr-")).map((name) => row[name]);
    return {
      loss: first("train_loss", "loss"),
      dino: ofPairs(first("train_loss/dino_global_loss"), first("train_loss/dino_local_loss")),
      ibot: first("train_loss/ibot_loss"),
      koleo: times(first("train_loss/koleo_loss"), 1, 2),
      lr: rates.length ? largestOf(rates) : first("train_lr", "lr"),
      momentum: first("schedule/momentum", "momentum"),
      teacher_temperature: first("schedule/teacher_temp", "teacher_temperature"),
      knn: first("val_knn_top1", "knn") ?? times(first("kNN_accuracy"), 1, 100),
    };
  },
};

/** The mean over pairs; without local crops the official code divides by 3 where there are 2: _pairs. */
function ofPairs(onGlobal, onLocal) {
  if (onGlobal === undefined) return undefined;
  return onLocal === undefined || onLocal === 0 ? 1.5 * onGlobal : onGlobal + onLocal;
}

/** _times */
const times = (value, factor, divisor = 1) => (value === undefined || divisor === 0 ? undefined : (value * factor) / divisor);
