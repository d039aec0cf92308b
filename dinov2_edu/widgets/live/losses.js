// DINO and iBOT, each with its gradient. Twin: dinov2_edu.losses (dino_loss, ibot_loss).
//
// Each takes the student's numbers and a place for their gradient, returns weight * loss and adds weight * gradient.

/**
 * weight * cross-entropy of one row of student logits with a target of sum `mass`, and its gradient.
 *
 * second: a target that is added to the first.
 */
function crossEntropyRow({ logits, grads, k, temperature }, row, target, weight, second = null) {
  const [from, to] = [row * k, row * k + k];
  const mass = second ? 2 : 1;
  let [top, total, loss] = [-Infinity, 0, 0];
  for (let c = from; c < to; c++) top = Math.max(top, logits[c]);
  for (let c = from; c < to; c++) total += Math.exp((logits[c] - top) / temperature);
  const log = Math.log(total);
  for (let c = 0; c < k; c++) {
    const logProb = (logits[from + c] - top) / temperature - log;
    const wanted = target[c] + (second ? second[c] : 0);
    loss -= wanted * logProb;
    grads[from + c] += weight / temperature * (mass * Math.exp(logProb) - wanted);
  }
  return weight * loss;
}

/**
 * The class-token loss in its two parts. Twin: training.step._dino_parts.
 *
 * student: { logits, grads, k, temperature }. targets: [2 images, k], all first crops before all second ones. Rows
 * 0 to 2 images of the student are the global crops, from `localFrom` on the local ones, crop by crop.
 */
export function dinoLoss(student, targets, { images, nLocal, localFrom, weight }) {
  const { k } = student;
  const each = weight / (images * (2 + 2 * nLocal));
  const target = (row) => targets.subarray(row * k, (row + 1) * k);
  let global = 0;
  for (let i = 0; i < 2 * images; i++) {                    // a global crop predicts the teacher's other one
    global += crossEntropyRow(student, i, target((i + images) % (2 * images)), each);
  }
  let local = 0;
  for (let i = 0; i < nLocal * images; i++) {               // a local crop predicts both
    const image = i % images;
    local += crossEntropyRow(student, localFrom + i, target(image), each, target(images + image));
  }
  return { global, local };
}

/** The masked-patch loss. read: rising flat positions in [crops n]; student rows from `first` on are in their order. */
export function ibotLoss(student, targets, { read, n, crops, first, weight }) {
  const { k } = student;
  const masked = new Int32Array(crops);
  for (const place of read) masked[Math.floor(place / n)] += 1;
  let loss = 0;
  read.forEach((place, i) => {
    const share = weight / (masked[Math.floor(place / n)] * crops);
    loss += crossEntropyRow(student, first + i, targets.subarray(i * k, (i + 1) * k), share);
  });
  return loss;
}

/** 1 where the directions of the class tokens fill the sphere, 0 where they agree. Twin: training.step.feature_spread. */
export function featureSpread(tokens, count, d) {
  const mean = new Float64Array(d);
  for (let i = 0; i < count; i++) {
    let squares = 0;
    for (let c = 0; c < d; c++) squares += tokens[i * d + c] ** 2;
    const scale = 1 / Math.max(Math.sqrt(squares), 1e-12) / count;
    for (let c = 0; c < d; c++) mean[c] += tokens[i * d + c] * scale;
  }
  return Math.sqrt(Math.max(0, 1 - mean.reduce((total, x) => total + x * x, 0)));
}
