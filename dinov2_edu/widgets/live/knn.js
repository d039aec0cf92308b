// Weighted k-nearest neighbours: no training, the closest labelled features vote. Twin: dinov2_edu.probe.knn.

/** Rows divided by their length, a copy. */
function unitCopy(features, d) {
  const out = new Float32Array(features.length);
  for (let at = 0; at < out.length; at += d) {
    let squares = 0;
    for (let c = 0; c < d; c++) squares += features[at + c] ** 2;
    const scale = 1 / Math.max(Math.sqrt(squares), 1e-12);
    for (let c = 0; c < d; c++) out[at + c] = features[at + c] * scale;
  }
  return out;
}

/** The places of the k largest numbers, largest first. */
export function largest(row, k) {
  const best = [];
  for (let i = 0; i < row.length; i++) {
    if (best.length === k && row[i] <= row[best[k - 1]]) continue;
    if (best.length === k) best.pop();
    let at = best.length;
    while (at > 0 && row[best[at - 1]] < row[i]) at--;
    best.splice(at, 0, i);
  }
  return best;
}

/** The k rows of `known` [n d] most similar to each of `asked` [m d]: [{ index, cosine }, ...] each. Twin: nearest. */
export function nearestRows(engine, known, asked, d, k) {
  const mark = engine.mark();
  const [n, m, chunk] = [known.length / d, asked.length / d, 100];
  const directions = engine.from(unitCopy(known, d), n, d);
  const queries = unitCopy(asked, d);
  const found = [];
  for (let from = 0; from < m; from += chunk) {
    const inner = engine.mark();
    const rows = Math.min(chunk, m - from);
    const some = engine.from(queries.subarray(from * d, (from + rows) * d), rows, d);
    const { data } = engine.product(some, directions, engine.tensor(rows, n), { tb: true });
    for (let r = 0; r < rows; r++) {
      const row = data.subarray(r * n, (r + 1) * n);
      found.push(largest(row, Math.min(k, n)).map((index) => ({ index, cosine: row[index] })));
    }
    engine.release(inner);
  }
  engine.release(mark);
  return found;
}

/** The votes' share for each class. Twin: knn_predict. */
export function knnVotes(neighbours, labels, nClasses, temperature = 0.07) {
  return neighbours.map((list) => {
    const votes = new Float64Array(nClasses);
    for (const { index, cosine } of list) votes[labels[index]] += Math.exp((cosine - list[0].cosine) / temperature);
    const total = votes.reduce((sum, vote) => sum + vote, 0);
    return votes.map((vote) => vote / total);
  });
}

/** Share of the asked features whose vote is right, 0 to 1. Twin: knn_accuracy. */
export function knnAccuracy(engine, known, labels, asked, wanted, d, { k = 20, temperature = 0.07 } = {}) {
  const votes = knnVotes(nearestRows(engine, known, asked, d, k), labels, 1 + Math.max(...labels), temperature);
  const right = votes.filter((vote, i) => vote.indexOf(Math.max(...vote)) === wanted[i]).length;
  return right / votes.length;
}
