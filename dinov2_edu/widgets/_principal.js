// Principal components of token rows, and the two-pass colours that the package computes.
import { sum, uniforms } from "./_numbers.js";

/** Eigenvalues (largest first) and eigenvectors of a symmetric d x d matrix, by Jacobi's rotations. */
export function eigenSymmetric(matrix, d) {
  const a = Float64Array.from(matrix);
  const vectors = new Float64Array(d * d); // row i is an eigenvector
  for (let i = 0; i < d; i++) vectors[i * d + i] = 1;
  const size = sum(a.map((value) => value * value));
  for (let sweep = 0; sweep < 60; sweep++) {
    let rest = 0;
    for (let p = 0; p < d; p++) for (let q = p + 1; q < d; q++) rest += a[p * d + q] ** 2;
    if (rest <= 1e-26 * size) break;
    for (let p = 0; p < d; p++) for (let q = p + 1; q < d; q++) rotate(a, vectors, d, p, q);
  }
  const order = Array.from({ length: d }, (_, i) => i).sort((i, j) => a[j * d + j] - a[i * d + i]);
  return {
    values: order.map((i) => a[i * d + i]),
    vectors: order.map((i) => vectors.slice(i * d, (i + 1) * d)),
  };
}

/** One rotation that brings a[p, q] to zero. */
function rotate(a, vectors, d, p, q) {
  const between = a[p * d + q];
  if (between === 0) return;
  const theta = (a[q * d + q] - a[p * d + p]) / (2 * between);
  const tan = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const cos = 1 / Math.sqrt(tan * tan + 1);
  const sin = tan * cos;
  const turn = (array, i, j) => {
    const [x, y] = [array[i], array[j]];
    array[i] = cos * x - sin * y;
    array[j] = sin * x + cos * y;
  };
  for (let i = 0; i < d; i++) turn(a, i * d + p, i * d + q);
  for (let i = 0; i < d; i++) turn(a, p * d + i, q * d + i);
  for (let i = 0; i < d; i++) turn(vectors, p * d + i, q * d + i);
}

const SPARE = 8;      // directions iterated beside those wanted: the more, the faster the wanted ones settle
const ROUNDS = 60;    // at most; few are needed unless components are equally strong
const SETTLED = 1e-10;

/** The strongest `count` eigenvalues and eigenvectors of a symmetric matrix without negative ones, by subspace iteration. */
export function leadingEigen(matrix, d, count) {
  const m = Math.min(d, count + SPARE);
  const apply = (v) => {
    const image = new Float64Array(d);
    for (let i = 0, at = 0; i < d; i++) {
      let total = 0;
      for (let j = 0; j < d; j++, at++) total += matrix[at] * v[j];
      image[i] = total;
    }
    return image;
  };
  const uniform = uniforms(1);
  let found = { values: [], vectors: Array.from({ length: m }, () => Float64Array.from({ length: d }, () => uniform() - 0.5)) };
  for (let round = 0; round < ROUNDS; round++) {
    const basis = orthonormal(orthonormal(found.vectors.map(apply)).map(apply));
    const images = basis.map(apply);
    const small = basis.flatMap((v) => images.map((image) => dot(v, image)));
    const { values, vectors: turns } = eigenSymmetric(small, m);
    const turned = (from) => turns.map((turn) => {
      const made = new Float64Array(d);
      from.forEach((v, k) => { for (let i = 0; i < d; i++) made[i] += turn[k] * v[i]; });
      return made;
    });
    const [vectors, mapped] = [turned(basis), turned(images)];
    found = { values, vectors };
    const worst = Math.max(...vectors.slice(0, count).map((v, k) =>
      Math.max(...v.map((value, i) => Math.abs(mapped[k][i] - values[k] * value)))));
    if (worst <= SETTLED * (values[0] || 1)) break;
  }
  return { values: found.values.slice(0, count), vectors: found.vectors.slice(0, count) };
}

/** Vectors at right angles and of length 1 (Gram and Schmidt, twice, because once loses digits). */
function orthonormal(vectors) {
  const basis = [];
  for (const vector of vectors) {
    const rest = Float64Array.from(vector);
    for (let pass = 0; pass < 2; pass++) for (const one of basis) {
      const along = dot(rest, one);
      for (let i = 0; i < rest.length; i++) rest[i] -= along * one[i];
    }
    const length = Math.max(Math.sqrt(dot(rest, rest)), 1e-300);
    basis.push(rest.map((value) => value / length));
  }
  return basis;
}

/** Scores of token rows (arrays of d numbers) on their leading components, and each one's share of variance. */
export function principal(rows, count) {
  const d = rows[0].length;
  const centre = new Float64Array(d);
  for (const token of rows) for (let i = 0; i < d; i++) centre[i] += token[i] / rows.length;
  const centred = rows.map((token) => {
    const rest = new Float64Array(d);
    for (let i = 0; i < d; i++) rest[i] = token[i] - centre[i];
    return rest;
  });
  const covariance = new Float64Array(d * d);
  for (const token of centred) {
    for (let i = 0; i < d; i++) {
      const value = token[i];
      for (let j = i, at = i * d + i; j < d; j++, at++) covariance[at] += value * token[j];
    }
  }
  for (let i = 0; i < d; i++) for (let j = 0; j < i; j++) covariance[i * d + j] = covariance[j * d + i];
  const { values, vectors } = leadingEigen(covariance, d, count);
  const total = sum(Array.from({ length: d }, (_, i) => covariance[i * d + i])) || 1;
  const leading = vectors.map(largestPositive);
  return {
    scores: centred.map((token) => leading.map((direction) => dot(token, direction))),
    explained: values.map((value) => Math.max(0, value) / total),
  };
}

/** A component's sign is arbitrary: the largest loading is made positive, as features.pca_colours does. */
function largestPositive(direction) {
  const largest = direction.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
  return largest < 0 ? direction.map((value) => -value) : direction;
}

function dot(a, b) {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
}

/**
 * features.pca_colours: { first, foreground, colors, explained }, one entry a token row.
 *
 * `first` is the first component over all rows in standard deviations; `colors` holds each component stretched to
 * 0 to 1 over the foreground, null in the background. With `passes` 1 every row counts as foreground. With too few
 * foreground rows for a PCA, all colours are null and nothing is explained.
 */
export function pcaColors(rows, { count, threshold, foregroundHigh, passes }) {
  const raw = principal(rows, 1).scores.map(([score]) => score);
  const deviation = Math.max(Math.sqrt(sum(raw.map((score) => score * score)) / raw.length), 1e-12);
  const first = raw.map((score) => score / deviation);
  const inside = (score) => (foregroundHigh ? score > threshold : score < threshold);
  const foreground = first.map((score) => passes === 1 || inside(score));
  const chosen = rows.filter((_, i) => foreground[i]);
  if (chosen.length <= count) return { first, foreground, colors: rows.map(() => null), explained: [] };

  const { scores, explained } = principal(chosen, count);
  const low = scores[0].map((_, k) => Math.min(...scores.map((score) => score[k])));
  const high = scores[0].map((_, k) => Math.max(...scores.map((score) => score[k])));
  const stretch = (value, k) => (value - low[k]) / Math.max(high[k] - low[k], 1e-12);
  const stretched = scores.map((score) => score.map(stretch));
  let next = 0;
  return { first, foreground, colors: foreground.map((on) => (on ? stretched[next++] : null)), explained };
}
