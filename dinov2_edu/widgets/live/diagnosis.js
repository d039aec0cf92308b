// What the curves of a run say. Twin: dinov2_edu.training.diagnosis.diagnose, same rules, same words; a test holds both
// to the same verdicts on the recorded runs.
import { roundHalfEven } from "../_numbers.js";

const WINDOW = 0.1;                   // share of the log, at its end, that is averaged
const MIN_MUTUAL_INFORMATION = 0.04;  // of target and image, as a share of ln K: below it, targets count as the same

/** { name, evidence, advice, collapsed } from the end of the curves: { loss: [...], target_entropy: [...], ... }. */
export function diagnose(history, nPrototypes) {
  const verdict = (name, evidence, advice = "") => ({ name, evidence, advice, collapsed: name !== "learning" });
  if (!history.loss?.length) throw new Error("the history is empty: run some steps first");
  if (!history.loss.every(Number.isFinite)) {
    return verdict("diverged", "The loss is no longer a finite number.",
      "Lower the learning rate, warm up longer, or use float32; duplicate images make KoLeo infinite.");
  }
  const [entropy, meanEntropy, spread] =
    ["target_entropy", "mean_target_entropy", "feature_spread"].map((name) => endOf(history[name]));
  const top = Math.log(nPrototypes);
  const mutualInformation = meanEntropy - entropy;
  const numbers = `target entropy ${entropy.toFixed(3)} of at most ln ${nPrototypes} = ${top.toFixed(3)}; ` +
    `mutual information of target and image ${Math.max(mutualInformation, 0).toFixed(3)} nats; ` +
    `feature spread ${spread.toFixed(3)}`;
  if (mutualInformation < MIN_MUTUAL_INFORMATION * top) return verdict(...sameTarget(entropy / top, numbers));
  if (spread < 0.05) {
    return verdict("features", `All images have nearly one feature: ${numbers}.`,
      "Raise KoLeo's weight, or check that images differ and are normalised.");
  }
  return verdict("learning", `Targets differ from image to image: ${numbers}.`);
}

function sameTarget(relativeEntropy, numbers) {
  if (relativeEntropy > 0.98) {
    return ["uniform", `Every target is the uniform distribution: ${numbers}.`,
      "Sharpen the teacher (a lower teacher temperature), spread the features at the start (KoLeo), " +
      "or wait: small runs stay here for their first few hundred steps."];
  }
  if (relativeEntropy < 0.1) {
    return ["one prototype", `Every image is sent to one prototype: ${numbers}.`,
      "Centre the teacher's logits or use Sinkhorn-Knopp, and let the teacher lag (momentum near 1)."];
  }
  return ["constant", `Every image gets one and the same target, neither sharp nor uniform: ${numbers}.`,
    "Let the teacher lag (momentum near 1), and check the centring and both temperatures."];
}

/** The mean of the last tenth. */
function endOf(values) {
  const count = Math.max(1, roundHalfEven(values.length * WINDOW));
  return values.slice(-count).reduce((total, value) => total + value, 0) / count;
}
