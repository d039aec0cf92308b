// What the curves of a run say. Twin: dinov2_edu.training.diagnosis.diagnose, same rules, same words; a test holds both
// to the same verdicts on the recorded runs.
import { decimals, roundHalfEven } from "../_numbers.js";

const WINDOW = 0.1;                   // share of the log, at its end, that is averaged
const MIN_MUTUAL_INFORMATION = 0.04;  // of target and image, as a share of ln K: below it, targets count as the same
const MIN_SPREAD = 0.05;              // features below it count as one point
const SOUND = ["learning", "plateau"];

/**
 * { name, evidence, advice, collapsed } from the curves: { loss: [...], target_entropy: [...], ... }. What is averaged
 * is the last tenth of the last `window` records.
 */
export function diagnose(history, nPrototypes, window = Infinity) {
  const verdict = (name, evidence, advice = "") => ({ name, evidence, advice, collapsed: !SOUND.includes(name) });
  const endOf = (values) => meanOfEnd(window === Infinity ? values : values.slice(-window));
  if (!history.loss?.length) throw new Error("the history is empty: run some steps first");
  if (!history.loss.every(Number.isFinite)) {
    return verdict("diverged", "The loss is no longer a finite number.",
      "Lower the learning rate, warm up longer, or use float32; duplicate images make KoLeo infinite.");
  }
  const [entropy, meanEntropy, spread] =
    ["target_entropy", "mean_target_entropy", "feature_spread"].map((name) => endOf(history[name]));
  const top = Math.log(nPrototypes);
  const mutualInformation = meanEntropy - entropy;
  const numbers = `target entropy ${decimals(entropy, 3)} of at most ln ${nPrototypes} = ${decimals(top, 3)}; ` +
    `mutual information of target and image ${decimals(Math.max(mutualInformation, 0), 3)} nats; ` +
    `feature spread ${decimals(spread, 3)}`;
  if (mutualInformation < MIN_MUTUAL_INFORMATION * top) {
    const most = history.mean_target_entropy.reduce((most, mean, i) => Math.max(most, mean - history.target_entropy[i]), 0);
    const fresh = most < MIN_MUTUAL_INFORMATION * top && spread >= MIN_SPREAD;
    return verdict(...sameTarget(entropy / top, numbers, fresh));
  }
  if (spread < MIN_SPREAD) {
    return verdict("features", `All images have nearly one feature: ${numbers}.`,
      "Raise KoLeo's weight, or check that images differ and are normalised.");
  }
  return verdict("learning", `Targets differ from image to image: ${numbers}.`);
}

function sameTarget(relativeEntropy, numbers, fresh) {
  if (relativeEntropy > 0.98 && fresh) {
    return ["plateau", `Every target is uniform, as it has been since the start, and the features differ: ${numbers}.`,
      "Wait, for small runs stay here for their first few hundred steps; sharpen the teacher (a lower teacher " +
      "temperature); or draw the heads anew, if uniform targets have trained them."];
  }
  if (relativeEntropy > 0.98) {
    return ["uniform", `Every target has become the uniform distribution: ${numbers}.`,
      "Sharpen the teacher (a lower teacher temperature), and keep the features apart (KoLeo)."];
  }
  if (relativeEntropy < 0.1) {
    return ["one prototype", `Every image is sent to one prototype: ${numbers}.`,
      "Centre the teacher's logits or use Sinkhorn-Knopp, and let the teacher lag (momentum near 1)."];
  }
  return ["constant", `Every image gets one and the same target, neither sharp nor uniform: ${numbers}.`,
    "Let the teacher lag (momentum near 1), and check the centring and both temperatures."];
}

/** The mean of the last tenth. */
function meanOfEnd(values) {
  const count = Math.max(1, roundHalfEven(values.length * WINDOW));
  return values.slice(-count).reduce((total, value) => total + value, 0) / count;
}
