// What the teacher's scores become, on the numbers themselves. Twin: dinov2_edu.losses (center_targets, update_center,
// sinkhorn_knopp, entropy) and training.step.make_targets. Logits are rows of k numbers in one array.

/** softmax((row - center) / temperature) of each row; center: k numbers, or null for none. */
export function centerTargets(logits, k, temperature, center = null) {
  const out = new Float64Array(logits.length);
  for (let at = 0; at < out.length; at += k) {
    let top = -Infinity;
    let total = 0;
    for (let c = 0; c < k; c++) {
      out[at + c] = (logits[at + c] - (center ? center[c] : 0)) / temperature;
      top = Math.max(top, out[at + c]);
    }
    for (let c = 0; c < k; c++) total += out[at + c] = Math.exp(out[at + c] - top);
    for (let c = 0; c < k; c++) out[at + c] /= total;
  }
  return out;
}

/** The center moved towards the mean of the rows, in place. */
export function updateCenter(center, logits, momentum) {
  const k = center.length;
  const rows = logits.length / k;
  if (!rows) return;
  for (let c = 0; c < k; c++) {
    let total = 0;
    for (let at = c; at < logits.length; at += k) total += logits[at];
    center[c] = momentum * center[c] + (1 - momentum) * total / rows;
  }
}

/** Sinkhorn-Knopp: each prototype gets the same total, then each row sums to 1, `iterations` times over. */
export function sinkhornKnopp(logits, k, temperature, iterations = 3) {
  const out = new Float64Array(logits.length);
  const tops = new Float64Array(k).fill(-Infinity);
  const sums = new Float64Array(k);
  for (let i = 0; i < out.length; i++) out[i] = logits[i] / temperature;
  // The first scaling is done on logarithms, so that a prototype that nobody likes does not become 0 / 0.
  for (let i = 0; i < out.length; i++) tops[i % k] = Math.max(tops[i % k], out[i]);
  for (let i = 0; i < out.length; i++) sums[i % k] += Math.exp(out[i] - tops[i % k]);
  for (let at = 0; at < out.length; at += k) {
    let top = -Infinity;
    for (let c = 0; c < k; c++) top = Math.max(top, out[at + c] -= tops[c] + Math.log(sums[c]));
    for (let c = 0; c < k; c++) out[at + c] = Math.exp(out[at + c] - top);
  }
  for (let n = 0; n < iterations; n++) {
    if (n > 0) {
      sums.fill(1e-300);
      for (let i = 0; i < out.length; i++) sums[i % k] += out[i];
      for (let i = 0; i < out.length; i++) out[i] /= sums[i % k];
    }
    for (let at = 0; at < out.length; at += k) {
      let total = 0;
      for (let c = 0; c < k; c++) total += out[at + c];
      for (let c = 0; c < k; c++) out[at + c] /= total;
    }
  }
  return out;
}

/** Targets by method: "sinkhorn_knopp", "centering", or "none" (a bare softmax). */
export function makeTargets(logits, k, center, temperature, method) {
  if (method === "sinkhorn_knopp") return sinkhornKnopp(logits, k, temperature);
  return centerTargets(logits, k, temperature, method === "centering" ? center : null);
}

/** The entropy in nats of k numbers from a place on. */
export function entropyOf(probs, from, k) {
  let total = 0;
  for (let c = from; c < from + k; c++) if (probs[c] > 0) total -= probs[c] * Math.log(probs[c]);
  return total;
}

/** Mean entropy of the rows, and the entropy of their mean. */
export function entropies(probs, k) {
  const rows = probs.length / k;
  const mean = new Float64Array(k);
  let each = 0;
  for (let at = 0; at < probs.length; at += k) {
    each += entropyOf(probs, at, k) / rows;
    for (let c = 0; c < k; c++) mean[c] += probs[at + c] / rows;
  }
  return { each, ofMean: entropyOf(mean, 0, k) };
}
