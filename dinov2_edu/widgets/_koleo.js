// KoLeo on points of any length: the loss, its gradient, and gradient descent on it.
import { sum } from "./_shared.js";
import { koleoLoss, nearestOther } from "./live/koleo.js";

export const length = (point) => Math.hypot(...point);
export const dot = (a, b) => sum(a.map((value, i) => value * b[i]));

/** A point brought to length 1. */
export const unit = (point) => point.map((value) => value / Math.max(length(point), 1e-8));

/** For each unit vector the index of its nearest other one (the largest cosine). */
export function nearestOthers(units) {
  const all = units.flat();
  return units.map((one, i) => nearestOther(all, i, units.length, one.length));
}

/** The KoLeo loss of points, and its gradient for each of them. */
export function koleo(points) {
  const [count, d] = [points.length, points[0].length];
  const all = new Float64Array(count * d);
  const loss = koleoLoss(points.flat(), all, 0, count, d, 1);
  return { loss, gradients: points.map((_, i) => Array.from(all.subarray(i * d, (i + 1) * d))) };
}

/** Points after one step of gradient descent on the KoLeo loss, summed over the points instead of averaged. */
export function koleoStep(points, stepSize) {
  const { gradients } = koleo(points);
  const size = stepSize * points.length;
  return points.map((point, i) => point.map((value, axis) => value - size * gradients[i][axis]));
}
