// What the doctor suspects: for each cause a rule on the numbers of a log. Twin: dinov2_edu.training.doctor.causes.
//
// A rule, called as its twin there, gives { weight, values }: how strongly it suspects, and the numbers for its sentence; or
// null. What a log lacks is NaN: no comparison holds.
import { decimals, roundHalfEven } from "./_numbers.js";
import { putInto } from "./_doctor_words.js";
import { largestOf } from "./_doctor_logs.js";

const STUCK = ["plateau", "flat", "unknown", "falling"];
const COLLAPSED = ["uniform", "one prototype", "constant", "features"];
const BAD = [...STUCK, ...COLLAPSED, "unstable"];
const ALL_STATES = [...BAD, "learning", "astray"]; // ALL

const suspect = (holds, weight, values) => (holds ? { weight, values } : null);
const inPercent = (share, digits = 1) => `${decimals(100 * share, digits)} %`;

/** _koleo */
function koleoRule({ broken }) { return suspect(broken.curve === "koleo", 10, broken); }

/** _rate_at_the_end */
function rateAtTheEnd(c) {
  const rates = c.values("lr");
  return suspect(c.broken.curve !== "koleo" && rates.length, 5, { lr: largestOf(rates), curve: c.broken.curve });
}

/** _equal */
function equal(c) { return suspect(c.end("koleo") > 10, 9, { distance: Math.exp(-c.end("koleo")) }); }

/** _logits */
function logits(c) {
  const first = c.first("dino");
  return suspect(first > c.top + 2, 8, { first, k: c.k, top: c.top });
}

/** _alike */
function alike(c) {
  const spread = c.first("feature_spread");
  return suspect(spread < 0.3, 4, { spread });
}

/** _temperature */
function temperature(c) {
  const student = c.fact("student_temperature", 0.1);
  const highest = largestOf(c.values("teacher_temperature"), 0);
  return suspect(highest && highest >= 0.8 * student, 8, { temperature: highest, student });
}

/** _targets */
function targetsRule({ facts }) { return suspect(facts.targets === "none", 7, { targets: facts.targets }); }

/** _batch */
function batchRule({ batch, where }) { return suspect(batch <= 32, Math.min(8, 64 / batch), { batch, where }); }

/** _prototypes */
function prototypesRule(c) {
  const ratio = c.k / (2 * c.batch);
  // A loss below that floor says that the targets are not Sinkhorn-Knopp's, or that there were more GPUs.
  if (!(ratio >= 64) || c.end("dino") <= Math.log(ratio)) return null;
  const gpus = c.facts.per_gpu ? c.words.pieces.gpus : "";
  return { weight: Math.min(6, ratio / 32), values: { k: c.k, targets: 2 * c.batch, where: c.where,
    ratio: roundHalfEven(ratio), floor: Math.log(ratio), gpus } };
}

/** Steps of the whole run: by its config, else by how far its momentum has come on the cosine to 1: length_of. */
function lengthOf(c) {
  if (c.fact("steps") > 0) return c.fact("steps");
  const curve = c.log.curves.momentum;
  if (!curve || !(curve.values[0] < 1) || c.facts.by_epoch) return NaN;
  const left = (1 - curve.values.at(-1)) / (1 - curve.values[0]);
  const angle = Math.acos(Math.max(-1, Math.min(1, 2 * left - 1)));
  return angle > 0.05 ? (Math.PI * curve.steps.at(-1)) / angle : NaN;
}

/** _lag_of */
function lagOf(c) {
  const momentum = c.first("momentum");
  return { momentum, lag: momentum < 1 ? 1 / (1 - momentum) : NaN };
}

/** _slow */
function slow(c) {
  const [{ momentum, lag }, length] = [lagOf(c), lengthOf(c)];
  return suspect(lag >= length / 5, (5 * lag) / length, { momentum, lag: roundHalfEven(lag), length: roundHalfEven(length) });
}

/** _no_lag */
function noLag(c) {
  const { momentum, lag } = lagOf(c);
  return suspect(momentum < 0.5, 3, { momentum, lag: roundHalfEven(lag) });
}

/** _fast */
function fast(c) {
  const { momentum, lag } = lagOf(c);
  const centered = (c.facts.targets ?? "centering") === "centering";
  return suspect(momentum >= 0.5 && momentum < 0.95 && centered, 2, { momentum, lag: roundHalfEven(lag) });
}

/** _masks */
function masksRule(c) {
  const said = c.fact("mask_probability");
  const share = Number.isNaN(said) ? shareAtFirst(c) : said;
  const how = Number.isNaN(said) ? c.words.pieces["first record"] : "";
  return suspect((share < 0.25 || share > 0.75) && c.values("ibot").length, 3, { share: inPercent(share, 0), how });
}

/** Of an untrained network both losses are at ln K a crop, so iBOT's part of the DINO loss is the masked share: _share_at_first. */
function shareAtFirst(c) {
  const [dino, ibot] = [c.first("dino"), c.first("ibot")];
  if (!(dino >= 0.9 * (c.k ? c.top : 2)) || c.facts.assumed) return NaN;
  // Where DINO has fallen already the share comes out too large; without ln K nobody knows.
  return ibot > 0.75 * dino && !(dino < 1.2 * c.top) ? NaN : ibot / dino;
}

/** _rate */
function rate(c) {
  const [wanted, highest] = [4e-3 * Math.sqrt(c.batch / 1024), largestOf(c.values("lr"), 0)];
  const where = putInto(c.words.pieces.images, { where: c.where });
  return suspect(highest >= 3.5 * wanted, Math.min(7, highest / wanted), { lr: highest, wanted, batch: c.batch, where });
}

/** _no_rate */
function noRate(c) {
  const [wanted, rates] = [2e-4 * Math.sqrt(c.batch / 1024), c.values("lr")];
  const low = rates.length && largestOf(rates) < wanted / 10 && !warmingUp(c);
  return suspect(low, 4, { lr: largestOf(rates), wanted });
}

/** _swings */
function swings(c) {
  const values = c.values("dino");
  let [low, best] = [Infinity, { rise: 0, low: 0, high: 0 }];
  for (const value of values.slice(Math.floor(values.length / 3))) {
    low = Math.min(low, value);
    if (value - low > best.rise) best = { rise: value - low, low, high: value };
  }
  const holds = best.rise > 0 && best.rise >= 0.5 * (c.k ? c.top : largestOf(values));
  return suspect(holds, 3, { low: best.low, high: best.high });
}

/** _warming_up */
function warmingUp(c) {
  const rates = c.values("lr");
  return rates.length > 1 && rates.at(-1) >= largestOf(rates) && rates.some((one) => one < largestOf(rates));
}

/** _young */
function young(c) {
  const [length, step, rising] = [lengthOf(c), c.lastStep(), warmingUp(c)];
  const of = length > 0 ? putInto(c.words.pieces.of, { length: roundHalfEven(length) }) : "";
  return suspect(rising || step < 0.1 * length, 7, { step, of, warmup: rising ? c.words.pieces.warmup : "" });
}

/** Whether k-NN accuracy was measured, and never rose by two points above the first: gains_nothing. */
export function gainsNothing(c) {
  const [first, ...later] = c.values("knn");
  return later.length > 0 && largestOf(later) <= first + 0.02 && first < 0.9;
}

/** _shortcut */
function shortcut(c) {
  const [first, end, accuracies] = [c.first("dino"), c.end("dino"), c.values("knn")];
  return suspect(gainsNothing(c) && end <= 0.98 * first, 4,
    { first, end, knn_first: inPercent(accuracies[0]), knn_end: inPercent(accuracies.at(-1)) });
}

/** _leak */
function leak(c) {
  const accuracy = c.first("knn");
  return suspect(accuracy >= 0.9, 6, { knn: inPercent(accuracy), step: c.log.curves.knn?.steps[0] });
}

/** _no_koleo */
function noKoleo(c, state) { return suspect(c.fact("koleo_weight") === 0, state === "astray" ? 5 : 1, {}); }

/** _no_crops */
function noCrops(c) { return suspect(c.fact("n_local") === 0, 0.5, {}); }

/** Cause -> the states in which it is asked for, and its rule: RULES. */
export const CAUSE_RULES = {
  koleo: [["diverged"], koleoRule],
  "rate at the end": [["diverged"], rateAtTheEnd],
  equal: [BAD, equal],
  logits: [ALL_STATES, logits],
  alike: [BAD, alike],
  temperature: [BAD, temperature],
  targets: [BAD, targetsRule],
  batch: [BAD, batchRule],
  prototypes: [[...STUCK, "uniform", "astray"], prototypesRule],
  slow: [ALL_STATES, slow],
  "no lag": [ALL_STATES, noLag],
  fast: [[...COLLAPSED, "unstable"], fast],
  masks: [ALL_STATES, masksRule],
  rate: [[...COLLAPSED, "unstable", "plateau", "flat"], rate],
  "no rate": [STUCK, noRate],
  swings: [[...COLLAPSED, "unstable", "unknown"], swings],
  young: [["plateau", "flat", "unknown"], young],
  shortcut: [["learning", "astray", "falling", "unknown", "features"], shortcut],
  leak: [[...ALL_STATES, "diverged"], leak],
  "no koleo": [ALL_STATES, noKoleo],
  "no crops": [ALL_STATES, noCrops],
};
