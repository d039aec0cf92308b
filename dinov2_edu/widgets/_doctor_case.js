// A log as the rules ask it: first and last values, how a curve moves, K. Twin: dinov2_edu.training.doctor.case.
import { roundHalfEven, sum } from "./_numbers.js";

const POWERS = Array.from({ length: 14 }, (_, i) => 2 ** (i + 5)); // of prototypes: 32 to 262,144
export const FEWEST_RECORDS = 5; // FEWEST
export const VERDICT_CURVES = ["loss", "target_entropy", "mean_target_entropy", "feature_spread"]; // diagnosis.READ

/** statistics.median */
function medianOf(values) {
  const [sorted, half] = [[...values].sort((a, b) => a - b), Math.floor(values.length / 2)];
  return values.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** A log and its K, and what the rules ask of them; what the log lacks is NaN, and K 0: Case. */
export class LogCase {
  #finite = {};

  constructor(log, nPrototypes, words) {
    Object.assign(this, { log, words, facts: log.facts, broken: notFinite(log) });
    const given = nPrototypes || this.fact("n_prototypes", 0);
    [this.k, this.kFrom] = given >= 2 ? [Math.trunc(given), "given"] : kOf(this);
    this.top = this.k ? Math.log(this.k) : NaN;
    const batch = this.fact("batch", this.first("batch"));
    this.batch = batch > 0 ? batch : NaN;
    this.where = words.pieces[this.facts.per_gpu ? "gpu" : "step"];
  }

  /** A number that the log says of its run: Case.fact. */
  fact(name, otherwise = NaN) { return this.facts[name] ?? otherwise; }

  /** All finite values of a curve: Case.values. */
  values(name) {
    this.#finite[name] ??= (this.log.curves[name]?.values ?? []).filter(Number.isFinite);
    return this.#finite[name];
  }

  /** The values of several curves at the steps at which all of them are finite: Case.together. */
  together(names) {
    const found = names.map((name) => {
      const { steps, values } = this.log.curves[name] ?? { steps: [], values: [] };
      return new Map(steps.map((step, i) => [step, values[i]]));
    });
    const steps = [...found[0].keys()].filter((step) => found.every((one) => Number.isFinite(one.get(step))));
    return Object.fromEntries(names.map((name, i) => [name, steps.map((step) => found[i].get(step))]));
  }

  /** The first value of a curve: Case.first. */
  first(name) { return this.values(name)[0] ?? NaN; }

  /** The mean of a curve's last tenth: Case.end. */
  end(name) {
    const values = this.values(name);
    const last = values.slice(-Math.max(1, roundHalfEven(values.length / 10)));
    return last.length ? sum(last) / last.length : NaN;
  }

  /** By how much a curve moved over its last half: its last quarter less the one before: Case.drift. */
  drift(name) {
    const half = this.values(name).slice(Math.floor(this.values(name).length / 2));
    const middle = Math.floor(half.length / 2);
    return medianOf(half.slice(middle)) - medianOf(half.slice(0, middle));
  }

  /** The step of the last record: Case.last_step. */
  lastStep() { return Math.max(...Object.values(this.log.curves).map((curve) => curve.steps.at(-1))); }
}

/** K from a loss that stands at ln K, else from one that began at or just above it: _k_of. */
function kOf(logCase) {
  const exact = exactK(logCase);
  if (exact) return [exact, "fits"];
  const curve = logCase.log.curves.dino;
  if (!curve || curve.values.length < FEWEST_RECORDS || curve.steps[0] > 0.01 * logCase.lastStep()) return [0, ""];
  const above = (k) => curve.values[0] - Math.log(k);
  const guess = POWERS.find((k) => above(k) >= -0.02 && above(k) <= 0.35);
  return guess ? [guess, "guess"] : [0, ""];
}

/** The K at whose logarithm the loss stands, to a thousandth; 0 where it stands at none: exact_k. */
export function exactK(logCase) {
  const name = logCase.values("dino").length ? "dino" : "loss";
  const end = logCase.end(name);
  if (logCase.values(name).length < FEWEST_RECORDS || Math.abs(logCase.drift(name)) > 0.001 * end) return 0;
  return POWERS.find((k) => Math.abs(end - Math.log(k)) <= 0.001 * Math.log(k)) ?? 0;
}

/** The first curve to leave the finite numbers, if any is beyond them at the end; else null: _not_finite. */
function notFinite(log) {
  const found = [];
  for (const name of ["koleo", "ibot", "dino", ...VERDICT_CURVES.slice(1), "loss"]) {
    const curve = log.curves[name];
    if (!curve || curve.values.slice(-Math.max(1, Math.floor(curve.values.length / 10))).every(Number.isFinite)) continue;
    const at = curve.values.findIndex((value) => !Number.isFinite(value));
    found.push({ curve: name, step: curve.steps[at], value: curve.values[at] });
  }
  return found.length ? found.reduce((best, one) => (one.step < best.step ? one : best)) : null;
}
