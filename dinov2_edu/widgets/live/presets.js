// Runs that are small enough for a page. Settings have the names of dinov2_edu.training.TrainConfig, which takes each of
// these once in_channels is 3; Patterns10 has one gray channel here.
import { VIT_DEFAULTS } from "./vit_config.js";

// k-NN accuracy with seed 0 (300 test pictures, 600 neighbours, standard error 3 points; pixels 14, untrained 21 and 17 %):
// minute: 38 % at step 100, 52 at 200, 61 at 250, 66 at 450. quick: 35 % at 100, 45 at 200, 49 at 400, a third of the time
// a step. tests/benchmarks/bench_live.py measures the time.
const MINUTE = {
  vit: { ...VIT_DEFAULTS, img_size: 32, patch_size: 4, in_channels: 1, width: 64, depth: 2, heads: 2, layer_scale: null,
    init_std: 0.06 },
  crops: { global_size: 16, local_size: 8, n_local: 4, global_scale: [0.32, 1], local_scale: [0.15, 0.4],
    ratio: [3 / 4, 4 / 3], flip: 0.5, jitter: 0.8, grayscale: 0, blur: [0, 0, 0], blur_sigma: [0.1, 1], blur_kernel: 5,
    solarize: 0.2 },
  n_prototypes: 32, head_hidden: 128, head_bottleneck: 32, ibot_bottleneck: null, separate_heads: false, targets: "sinkhorn_knopp",
  dino_weight: 1, ibot_weight: 0.3, koleo_weight: 0.02, mask_ratio: [0.1, 0.5], mask_probability: 0.5,
  student_temperature: 0.1, teacher_temperature: [0.02, 0.02], teacher_temperature_steps: 0, momentum: [0.9, 1],
  center_momentum: 0.9, lr: [3e-3, 1e-5], warmup_steps: 30, weight_decay: [0.04, 0.1], layer_decay: 1,
  patch_embed_multiplier: 0.2, clip: 3, freeze_last_layer_steps: 0, batch_size: 64, steps: 1000, precision: "float32",
  compile: false, seed: 0,
};

/** Settings with some of them changed, also inside vit and crops. */
export const changed = (config, { vit = {}, crops = {}, ...rest } = {}) =>
  ({ ...config, ...rest, vit: { ...config.vit, ...vit }, crops: { ...config.crops, ...crops } });

export const PRESETS = {
  minute: MINUTE,
  quick: changed(MINUTE, { vit: { width: 48, heads: 3 }, crops: { global_size: 12 }, batch_size: 32, steps: 700 }),
};

/** What is taken away while a run goes on, and what gives it back: changes to the settings of a preset. */
export const BREAKS = {
  centering: { targets: "none" },
  sharpening: { teacher_temperature: [1, 1] },
  ema: { momentum: [0, 0] },
  multicrop: { crops: { n_local: 0 } },
  koleo: { koleo_weight: 0 },
};
