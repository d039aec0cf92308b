// A backbone to look at pictures with, from a file or from random numbers, and what it says about a picture.
// Twin: dinov2_edu.weights.load_backbone, VisionTransformer.intermediate_layers and attention_maps.
import { Engine } from "./engine.js";
import { Graph } from "./layers.js";
import { initialise, Parameters } from "./network.js";
import { statistics } from "./pictures.js";
import { readSafetensors, writeSafetensors } from "./safetensors.js";
import { VisionTransformer, attentionRow } from "./vit.js";
import { VIT_DEFAULTS, backboneShapes, matrixForm } from "./vit_config.js";
import { uniforms } from "../_numbers.js";

/** Megabytes for weights of so many numbers and one picture of at most so many pixels. */
export function megabytesFor(nWeights, { patch_size, img_size, width }, mostPixels) {
  const tokens = mostPixels / patch_size ** 2 + 8;
  const positions = (tokens + 1) * (img_size / patch_size) ** 2;
  return Math.ceil((4 * (nWeights + 16 * tokens * width + 160 * tokens + 2 * positions)) / 2 ** 20) + 4;
}

export class Model {
  /** name -> { shape, data } of a backbone, and its ViTConfig. */
  static async fromState(tensors, config, { mostPixels = 256 * 256, ...options } = {}) {
    const full = { ...VIT_DEFAULTS, ...config };
    const wanted = backboneShapes(full);
    for (const [name, shape] of Object.entries(wanted)) {
      const given = tensors[name];
      if (!given) throw new Error(`The weights do not fit: ${name} is missing. Is it the file of another model?`);
      if (String(given.shape) !== String(shape)) {
        throw new Error(`The weights do not fit: ${name} has the shape ${given.shape}, wanted ${shape}.`);
      }
    }
    const size = Object.values(tensors).reduce((total, { data }) => total + data.length + 16, 0);
    const engine = await Engine.create({ megabytes: megabytesFor(size, full, mostPixels), ...options });
    const put = (name) => engine.from(tensors[name].data, ...matrixForm(tensors[name].shape));
    const backbone = new VisionTransformer(engine, full,
      Object.fromEntries(Object.keys(wanted).map((name) => [name, put(name)])));
    return new Model(engine, backbone);
  }

  /** From a .safetensors file that holds its ViTConfig as metadata "config", as the book's own checkpoint. */
  static async fromFile(buffer, options) {
    const { tensors, metadata } = readSafetensors(buffer);
    if (!metadata.config) throw new Error("The file does not say which sizes its model has (metadata \"config\").");
    const plain = Object.fromEntries(Object.entries(tensors).map(([name, tensor]) =>
      [name.replace(/^backbone\./, ""), tensor]));
    return Model.fromState(plain, JSON.parse(metadata.config), options);
  }

  /** With random weights, as networks start here. */
  static async random(config, seed = 0, options = {}) {
    const full = { ...VIT_DEFAULTS, ...config, init: "official" };
    const shapes = backboneShapes(full);
    const numbers = Object.values(shapes).reduce((total, shape) => total + shape.reduce((n, s) => n * s, 1) + 16, 0);
    const engine = await Engine.create({ megabytes: 1 + numbers / 2 ** 18 });
    const parameters = new Parameters(engine, Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [`backbone.${name}`, shape])), false);
    initialise(parameters, { vit: full }, uniforms(seed + 1));
    return Model.fromState(parameters.state("backbone"), full, options);
  }

  constructor(engine, backbone) {
    Object.assign(this, { engine, backbone, base: engine.mark() });
  }

  get config() { return this.backbone.config; }

  /**
   * Everything that the blocks say about one picture. pixels: normalised [c height width]; mask: bytes [n] or null.
   *
   * Returns { rows, cols, prefix, final, blocks, qkv }: final [t d] after the last norm; blocks[i] [t d] and qkv[i]
   * [t 3d] of each block. Copies, which stay when the engine goes on.
   */
  look(pixels, height, width, mask = null) {
    const { engine, backbone } = this;
    const [rows, cols] = backbone.grid(height, width);
    const [blocks, qkv] = [[], []];
    engine.release(this.base);
    const seen = (i, tokens, all) => { blocks.push(tokens.data.slice()); qkv.push(all.data.slice()); };
    const final = backbone.tokens(new Graph(engine), pixels, 1, height, width, { masks: mask, seen });
    return { rows, cols, prefix: backbone.prefix, final: final.data.slice(), blocks, qkv };
  }

  /** Tokens [t d] after block `layer`, or after the last norm if null. norm: apply the last norm to a block's tokens. */
  tokensOf({ final, blocks }, layer = null, norm = false) {
    if (layer === null) return final.slice();
    this.checkLayer(layer);
    if (!norm) return blocks[layer].slice();
    const { engine, backbone: { weights, config: { width } } } = this;
    engine.release(this.base);
    const tokens = engine.from(blocks[layer], blocks[layer].length / width, width);
    return new Graph(engine).layerNorm(tokens, weights["norm.weight"], weights["norm.bias"]).data.slice();
  }

  /** Where token `query` looks in block `layer`: [heads t]; tokens are class token, registers, patches. */
  attentionOf({ qkv }, layer, query) {
    this.checkLayer(layer);
    const tokens = qkv[layer].length / (3 * this.config.width);
    if (!(query >= 0 && query < tokens)) throw new Error(`There are tokens 0 to ${tokens - 1}, not ${query}.`);
    return attentionRow(qkv[layer], query, this.config);
  }

  checkLayer(layer) {
    const { depth } = this.config;
    if (!(layer >= 0 && layer < depth)) throw new Error(`There are blocks 0 to ${depth - 1}, not ${layer}.`);
  }
}

/**
 * A backbone of one gray channel as one of three, which sees in a gray picture exactly what the first one saw.
 *
 * state: name -> { shape, data }; config: its ViTConfig. Returns [state, config].
 */
export function withThreeChannels(state, config) {
  if (config.in_channels === 3) return [state, config];
  const name = "patch_embed.proj.weight";
  const { shape: [width, , p], data } = state[name];
  const [{ std: [gray] }, { std: colours }] = [statistics(1), statistics(3)];
  const wide = new Float32Array(3 * data.length);
  for (let row = 0; row < width; row++) for (let c = 0; c < 3; c++) for (let i = 0; i < p * p; i++) {
    wide[(3 * row + c) * p * p + i] = data[row * p * p + i] * colours[c] / (3 * gray);
  }
  return [{ ...state, [name]: { shape: [width, 3, p, p], data: wide } }, { ...config, in_channels: 3 }];
}

/** A file with a run's teacher, which load_backbone opens; settings, step and curves are in its metadata. */
export function saveRun({ state: { teacher, config, step }, history }) {
  const [tensors, vit] = withThreeChannels(teacher.parameters.state("backbone"), config.vit);
  return writeSafetensors(tensors,
    { config: JSON.stringify(vit), run: JSON.stringify({ config: { ...config, vit }, step, history }) });
}
