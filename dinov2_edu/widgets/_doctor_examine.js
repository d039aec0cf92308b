// What a training log shows, by which numbers, whom it suspects and what it cannot see. Twin: dinov2_edu.training.doctor.
import { exactK, FEWEST_RECORDS, LogCase, VERDICT_CURVES } from "./_doctor_case.js";
import { CAUSE_RULES, gainsNothing } from "./_doctor_causes.js";
import { largestOf } from "./_doctor_logs.js";
import { putInto } from "./_doctor_words.js";
import { decimals } from "./_numbers.js";
import { diagnose } from "./live/diagnosis.js";

/**
 * { state, title, advice, evidence, causes: [{ name, title, evidence, advice }], unseen, nPrototypes, kFrom } of a log:
 * examine. `nPrototypes` is 0 or null where nobody says it; K comes out as null where it is unknown.
 */
export function examineLog(log, nPrototypes, words) {
  const c = new LogCase(log, nPrototypes, words);
  const [seen, said] = stateOfLog(c);
  const state = seen === "learning" && gainsNothing(c) ? "astray" : seen;
  const evidence = said.map(([key, values]) => putInto(words.evidence[key], values, words.pieces));
  const [title, advice] = words.states[state];
  return { state, title, advice, evidence, causes: causesOf(c, state), unseen: unseenIn(c, state),
    nPrototypes: c.k || null, kFrom: c.kFrom };
}

/** _causes */
function causesOf(c, state) {
  const found = [];
  for (const [name, [states, rule]] of Object.entries(CAUSE_RULES)) {
    const suspected = states.includes(state) ? rule(c, state) : null;
    if (!suspected) continue;
    const [title, evidence, advice] = c.words.causes[name];
    found.push({ weight: suspected.weight, name, title, advice, evidence: putInto(evidence, suspected.values, c.words.pieces) });
  }
  return found.sort((a, b) => b.weight - a.weight).map(({ name, title, evidence, advice }) => ({ name, title, evidence, advice }));
}

/** _unseen */
function unseenIn(c, state) {
  if (["learning", "astray", "diverged"].includes(state)) return [];
  const entropies = VERDICT_CURVES.every((name) => c.values(name).length) ? [] : [c.words.unseen.entropies];
  const known = [...Object.keys(c.log.curves), ...Object.keys(c.facts), "entropies"];
  return [...entropies, ...Object.entries(c.words.unseen).filter(([name]) => !known.includes(name)).map(([, text]) => text)];
}

/** The state's key, and the sentences with their numbers, [key, values] each: _state. */
function stateOfLog(c) {
  if (c.broken) return ["diverged", [["not finite", c.broken]]];
  const name = c.values("dino").length ? "dino" : "loss";
  const n = c.values(name).length;
  if (n < FEWEST_RECORDS) return ["unknown", [["few", { n, fewest: FEWEST_RECORDS }]]];
  const curves = c.together(VERDICT_CURVES);
  if (c.k && curves.loss.length) return byEntropies(c, curves);
  const [state, said] = name === "dino" ? byDino(c) : bySum(c);
  return [state, [...said, ...(c.k ? aboutK(c) : [])]];
}

/** _by_entropies */
function byEntropies(c, curves) {
  const verdict = diagnose(curves, c.k);
  const more = c.values("dino").length ? [...theNumbers(c), ...aboutK(c)] : [];
  return [verdict.name, [["diagnosis", { said: verdict.evidence }], ...more]];
}

/** min() */
const lowestOf = (values) => -largestOf(values.map((value) => -value));

/** Held to ln K where K is known, else by its shape alone: _by_dino. */
function byDino(c) {
  const [first, end, moved] = [c.first("dino"), c.end("dino"), c.drift("dino")];
  const top = c.k ? c.top : Math.max(first, end);
  const [said, still, low] = [theNumbers(c), Math.abs(moved) <= 0.005 * top, lowestOf(c.values("dino"))];
  if (end < 0.03 * top) return ["one prototype", [["above zero", { dino: end }]]];
  if (!c.k && still && Math.abs(end - first) <= 0.02 * top) return ["flat", [...said, ["stands", { moved: end - first }]]];
  if (end > 1.05 * top) {
    const rising = end >= first || moved > 0.005 * top;
    return [rising && c.k ? "unstable" : "unknown", [...said, ["moves", { moved }]]];
  }
  if (c.k && still && end >= 0.99 * top) {
    return low < 0.9 * top ? ["uniform", [...said, ["fell back", { low }]]] : ["plateau", said];
  }
  const more = [["moves", { moved }], ...(c.k && end < top ? [["sinkhorn", {}]] : [])];
  return [moved < -0.005 * top ? "falling" : "unknown", [...said, ...more]];
}

/** Of a bare sum no more can be said than that it stands at ln K, at 0, or where it began: _by_sum. */
function bySum(c) {
  const [first, end, moved] = [c.first("loss"), c.end("loss"), c.drift("loss")];
  const scale = Math.max(Math.abs(first), Math.abs(end));
  const said = [["loss alone", { loss: end, first }]];
  const still = Math.abs(moved) <= 0.005 * scale;
  if (c.k && still && Math.abs(end - c.top) <= 0.001 * c.top) {
    const low = lowestOf(c.values("loss"));
    return low < 0.9 * c.top ? ["uniform", [...said, ["fell back", { low }]]] : ["plateau", said];
  }
  if (Math.abs(end) < 0.03 * scale) return ["one prototype", said];
  if (still && Math.abs(end - first) <= 0.02 * scale) return ["flat", [...said, ["stands", { moved: end - first }]]];
  return ["unknown", [...said, ["moves", { moved }]]];
}

/** The loss against ln K, and the sum: _numbers. */
function theNumbers(c) {
  const end = c.end("dino");
  if (!c.k) return [["dino without K", { dino: end, first: c.first("dino") }]];
  const said = [["dino", { dino: end, share: `${decimals((100 * end) / c.top, 1)} %`, k: c.k, top: c.top }]];
  const [{ weights }, loss, koleo] = [c.facts, c.end("loss"), c.end("koleo")];
  if (weights && c.values("loss").length) {
    const masked = c.values("ibot").length ? c.fact("mask_probability", 0.5) : 0;
    const part = c.values("koleo").length
      ? putInto(c.words.pieces.koleo, { koleo: koleo * c.fact("koleo_scale") }, c.words.pieces) : "";
    said.push(["sum", { sum: (weights[0] + weights[1] * masked) * c.top, koleo: part, loss }]);
    if (c.log.kind === "official") said.push(["halves", {}]);
  }
  if (c.log.kind !== "ours" && c.values("koleo").length) said.push(["distance", { distance: Math.exp(-koleo) }]);
  return said;
}

/** Where K is from, or that the loss fits another: _about_k. */
function aboutK(c) {
  if (c.kFrom !== "given") return [[c.kFrom, { k: c.k, first: c.first("dino") }]];
  const other = exactK(c);
  return other !== 0 && other !== c.k ? [["other K", { k: other, given: c.k }]] : [];
}
