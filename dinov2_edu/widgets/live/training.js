// One pretraining step: both networks, targets, losses, gradients, AdamW, teacher. Twin: dinov2_edu.training.step
// (compute_losses, train_step) and training.state.TrainState; settings are those of training.TrainConfig.
import { Graph } from "./layers.js";
import { koleoLoss } from "./koleo.js";
import { dinoLoss, featureSpread, ibotLoss } from "./losses.js";
import { Network, initialise } from "./network.js";
import { AdamW, clipGradients, scheduleAt, updateTeacher } from "./optimiser.js";
import { entropies, makeTargets, updateCenter } from "./targets.js";

export class TrainState {
  /** config: as TrainConfig.to_dict() gives it; it may be changed between two steps. uniform: draws from 0 to 1. */
  constructor(engine, config, uniform) {
    Object.assign(this, { engine, config, step: 0 });
    this.student = new Network(engine, config, true);
    this.teacher = new Network(engine, config, false);
    initialise(this.student.parameters, config, uniform);
    this.teacher.parameters.all.data.set(this.student.parameters.all.data);
    this.optimiser = new AdamW(engine, this.student.parameters, config);
    this.centers = { cls: new Float64Array(config.n_prototypes), patch: new Float64Array(config.n_prototypes) };
    this.base = engine.mark();
  }
}

/**
 * Losses and gradients of a batch; changes no weight. Twin: compute_losses.
 *
 * batch: { globals, locals, images, masks } of normalised crops, all first ones, then all second ones, and masks (bytes,
 * 1 = masked) of the global ones. Returns { metrics, means, seen }: metrics named as in the package, what moves the
 * centers, and the logits and targets that were seen.
 */
export function computeLosses(state, batch, temperature) {
  const { engine, config, student, teacher } = state;
  const { n_prototypes: k, crops } = config;
  const shape = { globals: batch.globals, locals: batch.locals, crops: 2 * batch.images,
    nLocal: crops.n_local * batch.images };
  const masks = config.ibot_weight ? batch.masks : null;
  const read = [];
  masks?.forEach((masked, place) => { if (masked) read.push(place); });

  const taught = teacher.forward(new Graph(engine), { ...shape, nLocal: 0 }, crops, { read });
  const graph = new Graph(engine, true);
  const guessed = student.forward(graph, shape, crops, { masks, read });
  guessed.logits.grad = engine.zeros(guessed.logits.rows, k);

  const wanted = {
    cls: taught.logits.data.subarray(0, shape.crops * k), patch: taught.logits.data.subarray(shape.crops * k),
  };
  const targets = Object.fromEntries(Object.entries(wanted).map(([kind, logits]) =>
    [kind, makeTargets(logits, k, state.centers[kind], temperature, config.targets)]));
  const metrics = {};
  const row = { logits: guessed.logits.data, grads: guessed.logits.grad.data, k, temperature: config.student_temperature };
  if (config.dino_weight) {
    const { global, local } = dinoLoss(row, targets.cls,
      { images: batch.images, nLocal: crops.n_local, localFrom: guessed.localFrom, weight: config.dino_weight });
    metrics.dino_global = global;
    if (crops.n_local) metrics.dino_local = local;
  }
  if (config.koleo_weight) metrics.koleo = addKoleo(state, guessed.tokens, batch.images);
  if (masks) {
    metrics.ibot = ibotLoss(row, targets.patch, { read, n: masks.length / shape.crops, crops: shape.crops,
      first: guessed.patchFrom, weight: config.ibot_weight });
  }
  metrics.loss = Object.values(metrics).reduce((total, part) => total + part, 0);
  graph.backward();
  const { each, ofMean } = entropies(targets.cls, k);
  Object.assign(metrics, { target_entropy: each, mean_target_entropy: ofMean,
    feature_spread: featureSpread(taught.tokens.data, shape.crops, config.vit.width) });
  if (read.length) metrics.patch_target_entropy = entropies(targets.patch, k).each;
  return { metrics, wanted, seen: { targets, read, guessed } };
}

/** KoLeo acts on the class tokens before the head: its gradient goes in before the tape runs further back. */
function addKoleo({ engine, config }, tokens, images) {
  const { width } = config.vit;
  tokens.grad = engine.zeros(tokens.rows, width);
  return [0, images].reduce((total, from) =>
    total + koleoLoss(tokens.data, tokens.grad.data, from, images, width, config.koleo_weight), 0);
}

/**
 * One step: losses, gradients, clipping, AdamW, teacher, centers. Twin: train_step.
 *
 * Returns { metrics, seen }; what `seen` shows lies in the engine's memory until the next step or evaluation.
 */
export function trainStep(state, batch) {
  const { engine, config, student, teacher } = state;
  const now = scheduleAt(config, state.step);
  engine.release(state.base);
  student.parameters.grads.data.fill(0);
  const { metrics, wanted, seen } = computeLosses(state, batch, now.teacher_temperature);
  for (const part of ["backbone", "dino_head", "ibot_head"]) {
    clipGradients(engine, Object.values(student.parameters.under(part)), config.clip);
  }
  state.optimiser.update(now);
  updateTeacher(engine, teacher.parameters, student.parameters, now.momentum);
  for (const [kind, center] of Object.entries(state.centers)) updateCenter(center, wanted[kind], config.center_momentum);
  state.step += 1;
  const { lr, momentum, teacher_temperature } = now;
  return { metrics: { ...metrics, lr, momentum, teacher_temperature }, seen };
}
