// How teacher logits become targets, and how far a student is from them: the formulas of dinov2_edu.losses.
import { mean, softmax, sum } from "./_numbers.js";

/** Mean of each column: here the centre is the batch's own mean, in training a moving average of it. */
export const columnMeans = (rows) => rows[0].map((_, k) => mean(rows.map((r) => r[k])));

/** Softmax of every row after the centre is subtracted: losses.center_targets. */
export const centerTargets = (rows, center, temperature) =>
  rows.map((r) => softmax(r.map((logit, k) => logit - center[k]), temperature));

const logSumExp = (values) => {
  const top = Math.max(...values);
  return top + Math.log(sum(values.map((value) => Math.exp(value - top))));
};

/**
 * Sinkhorn-Knopp stopped after any half step; after 2 n of them it is losses.sinkhorn_knopp with n iterations.
 *
 * The matrix holds as many images as it has rows. Odd half steps give every column the same total, even ones
 * bring every row to 1.
 */
export function sinkhornKnopp(rows, temperature, halfSteps) {
  const [nRows, nColumns] = [rows.length, rows[0].length];
  let logs = rows.map((r) => r.map((logit) => logit / temperature));
  const total = logSumExp(logs.flat());
  logs = logs.map((r) => r.map((value) => value - total + Math.log(nRows)));
  for (let step = 1; step <= halfSteps; step++) {
    if (step % 2) {
      const sums = logs[0].map((_, k) => logSumExp(logs.map((r) => r[k])) - Math.log(nRows / nColumns));
      logs = logs.map((r) => r.map((value, k) => value - sums[k]));
    } else {
      logs = logs.map((r) => { const whole = logSumExp(r); return r.map((value) => value - whole); });
    }
  }
  return logs.map((r) => r.map(Math.exp));
}

/** KL(teacher || student) in nats. */
export const klDivergence = (teacher, student) =>
  sum(teacher.map((p, k) => (p > 0 ? p * (Math.log(p) - Math.log(student[k])) : 0)));
