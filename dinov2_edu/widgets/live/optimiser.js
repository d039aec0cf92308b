// AdamW, clipping, the moving teacher, and what changes with the step. Twin: dinov2_edu.schedules, dinov2_edu.ema,
// training.state.Schedules and torch.optim.AdamW.

/** Half a cosine from start to end after a linear warm-up from 0, at one step. Twin: schedules.cosine_schedule. */
export function cosineSchedule([start, end], step, steps, warmup = 0) {
  if (step < warmup) return start * (warmup > 1 ? step / (warmup - 1) : 0);
  return end + (start - end) * (1 + Math.cos(Math.PI * (step - warmup) / Math.max(steps - warmup, 1))) / 2;
}

/** What a step uses. Steps after the last one keep the end's values, so that a run can go on. */
export function scheduleAt(config, step) {
  const now = Math.min(step, config.steps);
  const lr = cosineSchedule(config.lr, now, config.steps, config.warmup_steps);
  const [cool, warm] = config.teacher_temperature;
  const rise = config.teacher_temperature_steps;
  const warming = rise > 1 ? cool + (warm - cool) * step / (rise - 1) : cool;
  return {
    lr, last_layer_lr: step < config.freeze_last_layer_steps ? 0 : lr,
    weight_decay: cosineSchedule(config.weight_decay, now, config.steps),
    momentum: cosineSchedule(config.momentum, now, config.steps),
    teacher_temperature: step < rise ? warming : warm,
  };
}

const FIRST_LAYER = /(^|\.)(patch_embed|cls_token|pos_embed|mask_token|register_tokens)(\.|$)/;

/** Factors on learning rate and weight decay of a parameter. Twin: schedules.parameter_multipliers. */
export function parameterMultipliers(name, { vit: { depth }, layer_decay, patch_embed_multiplier }) {
  const block = /(^|\.)blocks\.(\d+)\./.exec(name);
  const layer = FIRST_LAYER.test(name) ? 0 : block ? Number(block[2]) + 1 : depth + 1;
  const lr = layer_decay ** (depth + 1 - layer) * (name.includes("patch_embed") ? patch_embed_multiplier : 1);
  const exempt = /\.(bias|gamma)$/.test(name) || name.split(".").some((word) => word.includes("norm"));
  return { lr, weight_decay: exempt ? 0 : 1 };
}

/** Scale the gradients of some tensors down to a norm of at most `most`. Twin: torch's clip_grad_norm_. */
export function clipGradients({ kernels }, tensors, most) {
  const grads = tensors.map((tensor) => tensor.grad);
  const squares = grads.reduce((total, grad) => total + kernels.squares(grad.rows * grad.cols, grad.at), 0);
  const factor = most / (Math.sqrt(squares) + 1e-6);
  if (factor < 1) for (const grad of grads) kernels.scale(grad.rows * grad.cols, grad.at, factor);
}

export class AdamW {
  /** parameters: a `Parameters` with gradients, whose names decide the factors. */
  constructor(engine, parameters, config) {
    this.engine = engine;
    this.parameters = parameters;
    [this.first, this.second] = [0, 1].map(() => engine.zeros(1, parameters.all.cols));
    this.factors = Object.fromEntries(
      Object.keys(parameters.byName).map((name) => [name, parameterMultipliers(name, config)]));
    this.step = 0;
  }

  update({ lr, last_layer_lr, weight_decay }, [beta1, beta2] = [0.9, 0.999], eps = 1e-8) {
    const { engine: { kernels }, parameters: { byName, all } } = this;
    this.step += 1;
    const root = 1 / Math.sqrt(1 - beta2 ** this.step);
    for (const [name, { at, rows, cols, grad }] of Object.entries(byName)) {
      const factor = this.factors[name];
      const rate = factor.lr * (name.includes("last_layer") ? last_layer_lr : lr);
      const place = at - all.at;
      kernels.adamw(rows * cols, at, grad.at, this.first.at + place, this.second.at + place, 1 - beta1, 1 - beta2,
        root, eps, rate / (1 - beta1 ** this.step), 1 - rate * weight_decay * factor.weight_decay);
    }
  }
}

/** Every teacher weight a little towards the student's: momentum 1 stands still, 0 copies. Twin: ema.update_teacher. */
export function updateTeacher({ kernels }, teacher, student, momentum) {
  kernels.move(teacher.all.cols, teacher.all.at, student.all.at, 1 - momentum);
}
