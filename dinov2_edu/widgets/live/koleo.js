// KoLeo with its gradient, which it adds as the losses beside it do. Twin: dinov2_edu.losses.koleo_loss.

/** KoLeo on `count` class tokens of width d from row `from` on: -mean log distance to the nearest other. */
export function koleoLoss(tokens, grads, from, count, d, weight, eps = 1e-8) {
  const units = new Float64Array(count * d);
  const pushes = new Float64Array(count * d);
  const lengths = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let squares = 0;
    for (let c = 0; c < d; c++) squares += tokens[(from + i) * d + c] ** 2;
    lengths[i] = Math.max(Math.sqrt(squares), eps);
    for (let c = 0; c < d; c++) units[i * d + c] = tokens[(from + i) * d + c] / lengths[i];
  }
  let loss = 0;
  for (let i = 0; i < count; i++) {
    const nearest = nearestOther(units, i, count, d);
    let squares = 0;
    for (let c = 0; c < d; c++) squares += (units[i * d + c] - units[nearest * d + c] + eps) ** 2;
    const distance = Math.sqrt(squares);
    loss -= Math.log(distance + eps) / count;
    const slope = -1 / (count * (distance + eps) * Math.max(distance, 1e-30));
    for (let c = 0; c < d; c++) {
      const push = slope * (units[i * d + c] - units[nearest * d + c] + eps);
      pushes[i * d + c] += push;
      pushes[nearest * d + c] -= push;
    }
  }
  for (let i = 0; i < count; i++) {                         // back through the division by the length
    let along = 0;
    for (let c = 0; c < d; c++) along += pushes[i * d + c] * units[i * d + c];
    for (let c = 0; c < d; c++) {
      grads[(from + i) * d + c] += weight * (pushes[i * d + c] - along * units[i * d + c]) / lengths[i];
    }
  }
  return weight * loss;
}

/** The row of units [count d] that is nearest to row i (the largest cosine). */
export function nearestOther(units, i, count, d) {
  let [nearest, best] = [-1, -Infinity];
  for (let j = 0; j < count; j++) {
    if (j === i) continue;
    let cosine = 0;
    for (let c = 0; c < d; c++) cosine += units[i * d + c] * units[j * d + c];
    if (cosine > best) [nearest, best] = [j, cosine];
  }
  return nearest;
}
