// Student and teacher: a backbone with its heads, all weights in one stretch of memory. Twin: training.network.Network.
import { Graph } from "./layers.js";
import { headLogits, headShapes } from "./head.js";
import { VisionTransformer } from "./vit.js";
import { backboneShapes, matrixForm } from "./vit_config.js";
import { normals } from "../_numbers.js";

/** Name -> shape of a network's weights, as its `state_dict()` has them. */
export function networkShapes(config) {
  const under = (prefix, shapes) =>
    Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [`${prefix}.${name}`, shape]));
  return {
    ...under("backbone", backboneShapes(config.vit)), ...under("dino_head", headShapes(config)),
    ...(config.separate_heads ? under("ibot_head", headShapes(config, config.ibot_bottleneck ?? undefined)) : {}),
  };
}

/** Named weights side by side in memory, each with a place for its gradient if `grads`. */
export class Parameters {
  constructor(engine, shapes, grads) {
    this.shapes = shapes;
    const room = (shape) => 16 * Math.ceil(shape.reduce((product, n) => product * n, 1) / 16);
    const count = Object.values(shapes).reduce((total, shape) => total + room(shape), 0);
    this.all = engine.zeros(1, count);
    this.grads = grads ? engine.zeros(1, count) : null;
    this.byName = {};
    let at = 0;
    for (const [name, shape] of Object.entries(shapes)) {
      const form = matrixForm(shape);
      this.byName[name] = engine.look(this.all.at + at, ...form);
      if (grads) this.byName[name].grad = engine.look(this.grads.at + at, ...form);
      at += 4 * room(shape);
    }
  }

  /** The tensors whose names begin with `prefix.`, by the rest of the name. */
  under(prefix) {
    const found = Object.entries(this.byName).filter(([name]) => name.startsWith(`${prefix}.`));
    return Object.fromEntries(found.map(([name, tensor]) => [name.slice(prefix.length + 1), tensor]));
  }

  /** Name -> { shape, data }, copied. */
  state(prefix) {
    return Object.fromEntries(Object.entries(this.under(prefix)).map(([name, { data }]) =>
      [name, { shape: this.shapes[`${prefix}.${name}`], data: data.slice() }]));
  }
}

/** Fresh weights. Twin: VisionTransformer._initialise and ProjectionHead, with other random numbers. */
export function initialise({ byName }, { vit: { init_std, init, layer_scale, in_channels, patch_size } }, uniform) {
  if (init !== "official") throw new Error(`The page starts networks with init "official" only, not "${init}".`);
  const normal = normals(uniform);
  const cut = () => { for (;;) { const x = normal(); if (Math.abs(x) <= 2) return x; } };
  const flat = (bound) => () => bound * (2 * uniform() - 1);
  const rule = (name, cols) => {
    if (name.endsWith("weight_g")) return () => 1;
    if (name.endsWith("weight_v")) return flat(cols ** -0.5);
    if (name.includes("patch_embed")) return flat((in_channels * patch_size ** 2) ** -0.5); // torch's for convolutions
    if (name.endsWith("gamma")) return () => layer_scale;
    if (/norm\d?\.weight$/.test(name)) return () => 1;
    if (name.endsWith("pos_embed")) return () => 0.02 * cut();
    if (name.endsWith("cls_token") || name.endsWith("register_tokens")) return () => 1e-6 * normal();
    if (name.endsWith("bias") || name.endsWith("mask_token")) return () => 0;
    return name.includes("_head.") ? () => 0.02 * cut() : () => init_std * cut();
  };
  for (const [name, { data, cols }] of Object.entries(byName)) {
    const draw = rule(name, cols);
    for (let i = 0; i < data.length; i++) data[i] = draw();
  }
}

/** Backbone and heads on their parameters. */
export class Network {
  constructor(engine, config, grads) {
    this.parameters = new Parameters(engine, networkShapes(config), grads);
    this.backbone = new VisionTransformer(engine, config.vit, this.parameters.under("backbone"));
    this.dinoHead = this.parameters.under("dino_head");
    this.ibotHead = config.separate_heads ? this.parameters.under("ibot_head") : null;
  }

  /**
   * What one network says about a batch: class tokens and logits. Twin: Network.forward.
   *
   * Returns { tokens, logits, patchFrom, localFrom }: rows of logits are the global crops' class tokens, then (from
   * patchFrom on) the patches at `read`, then (from localFrom on) the local crops' class tokens; `tokens` lacks these.
   */
  forward(graph, { globals, locals, crops, nLocal }, { global_size, local_size }, { masks = null, read = [] } = {}) {
    const { backbone, dinoHead, ibotHead } = this;
    const tokens = backbone.tokensAt(graph, globals, crops, global_size, global_size, { masks, read });
    const local = nLocal ? backbone.tokensAt(graph, locals, nLocal, local_size, local_size) : null;
    const [patchFrom, localFrom] = [crops, crops + read.length];
    if (!ibotHead || !read.length) {
      const all = local ? graph.stack([tokens, local]) : tokens;
      return { tokens, logits: headLogits(graph, dinoHead, all), patchFrom, localFrom };
    }
    const rows = [...Array(tokens.rows).keys()];
    const classes = graph.pick(tokens, rows.slice(0, crops));
    const patches = graph.pick(tokens, rows.slice(crops));
    const said = headLogits(graph, dinoHead, local ? graph.stack([classes, local]) : classes);
    const aside = headLogits(graph, ibotHead, patches);
    const order = [...Array(said.rows + aside.rows).keys()];
    const arranged = [...order.slice(0, crops), ...order.slice(said.rows), ...order.slice(crops, said.rows)];
    return { tokens, logits: graph.pick(graph.stack([said, aside]), arranged), patchFrom, localFrom };
  }

  /** Class tokens of pictures [count c size size] after the final norm, a copy [count d]. */
  features(engine, pixels, count, size, chunk = 50) {
    const { width, in_channels } = this.backbone.config;
    const found = new Float32Array(count * width);
    const each = in_channels * size * size;
    for (let from = 0; from < count; from += chunk) {
      const some = Math.min(chunk, count - from);
      const mark = engine.mark();
      const part = pixels.subarray(from * each, (from + some) * each);
      found.set(this.backbone.tokensAt(new Graph(engine), part, some, size, size).data, from * width);
      engine.release(mark);
    }
    return found;
  }
}
