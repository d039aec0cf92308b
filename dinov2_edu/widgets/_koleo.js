// KoLeo on points of any length: the loss, its gradient, and gradient descent on it.
import { sum } from "./_shared.js";

export const EPS = 1e-8;

export const length = (point) => Math.hypot(...point);
export const dot = (a, b) => sum(a.map((value, i) => value * b[i]));

/** A point brought to length 1. */
export const unit = (point) => point.map((value) => value / Math.max(length(point), EPS));

/** For each unit vector the index of its nearest other one (the largest cosine). */
export function nearestOthers(units) {
  return units.map((one, i) => {
    const cosines = units.map((other, j) => (i === j ? -2 : dot(one, other)));
    return cosines.indexOf(Math.max(...cosines));
  });
}

const difference = (a, b) => a.map((value, i) => value - b[i] + EPS);

/** losses.koleo_loss: minus the mean log distance to the nearest other, of points brought to length 1. */
export function koleoLoss(points) {
  const units = points.map(unit);
  const distances = nearestOthers(units).map((j, i) => length(difference(units[i], units[j])));
  return -sum(distances.map((distance) => Math.log(distance + EPS))) / points.length;
}

/** The gradient of koleoLoss for each point. */
export function koleoGradient(points) {
  const units = points.map(unit);
  const gradients = units.map(() => [0, 0, 0]);
  nearestOthers(units).forEach((j, i) => {
    const apart = difference(units[i], units[j]);
    const distance = length(apart);
    apart.forEach((value, axis) => {
      const pull = value / distance / (distance + EPS) / points.length;
      gradients[i][axis] -= pull;
      gradients[j][axis] += pull;
    });
  });
  return gradients.map((gradient, i) => { // back through the normalisation: only the part along the sphere counts
    const outward = dot(gradient, units[i]);
    return gradient.map((value, axis) => (value - outward * units[i][axis]) / Math.max(length(points[i]), EPS));
  });
}

/** Points after one step of gradient descent on the KoLeo loss, summed over the points instead of averaged. */
export function koleoStep(points, stepSize) {
  const gradients = koleoGradient(points);
  const size = stepSize * points.length;
  return points.map((point, i) => point.map((value, axis) => value - size * gradients[i][axis]));
}
