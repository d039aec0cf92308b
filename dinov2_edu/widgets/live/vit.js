// The Vision Transformer: images in, tokens out. Twin: dinov2_edu.vit.backbone.VisionTransformer and vit.block.Block;
// settings and parameters have the names that they have there.
import { Tensor } from "./engine.js";
import { positionMix } from "./positions.js";

/** Numbers [from, from + count) of a bias, and of its gradient. */
function part(bias, from, count) {
  const some = new Tensor(bias.memory, bias.at + 4 * from, 1, count);
  if (bias.grad) some.grad = part(bias.grad, from, count);
  return some;
}

export class VisionTransformer {
  /** weights: name -> tensor of an engine. config: as VIT_DEFAULTS. */
  constructor(engine, config, weights) {
    Object.assign(this, { engine, config, weights, mixes: new Map() });
  }

  /** Tokens before the first patch: the class token and the registers. */
  get prefix() { return 1 + this.config.n_registers; }

  /** Rows and columns of patches of a picture. Throws an Error where the patches do not tile it. */
  grid(height, width) {
    const { patch_size } = this.config;
    if (height % patch_size || width % patch_size || !height || !width) {
      throw new Error(`A picture of ${height} x ${width} pixels is not tiled by patches of ${patch_size}.`);
    }
    return [height / patch_size, width / patch_size];
  }

  /** Position of each patch [n, d] of a grid, and what carries its gradient home. */
  positions(graph, rows, cols) {
    const { engine, config, weights: { pos_embed } } = this;
    const side = config.img_size / config.patch_size;
    const learnt = pos_embed.slice(1, pos_embed.rows);
    if (rows === side && cols === side) return learnt;
    const key = `${rows} x ${cols}`;
    if (!this.mixes.has(key)) this.mixes.set(key, positionMix(rows, cols, config));
    const mix = engine.from(this.mixes.get(key), rows * cols, side * side);
    const resized = engine.product(mix, learnt, engine.tensor(rows * cols, config.width));
    graph.tape?.push(() => engine.product(mix, resized.grad, learnt.grad, { ta: true, add: true }));
    return resized;
  }

  /** The pixels of each patch as a row, [count n, channels patch patch]: a convolution whose stride is its kernel. */
  patches(pixels, count, height, width) {
    const { in_channels: channels, patch_size: p } = this.config;
    const [rows, cols] = this.grid(height, width);
    const cut = this.engine.tensor(count * rows * cols, channels * p * p);
    const flat = cut.data;
    cut.constant = true;                                    // nobody wants the gradient of pixels
    let to = 0;
    for (let b = 0; b < count; b++) for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) {
      for (let channel = 0; channel < channels; channel++) for (let y = 0; y < p; y++) {
        let from = ((b * channels + channel) * height + r * p + y) * width + c * p;
        for (let x = 0; x < p; x++) flat[to++] = pixels[from++];
      }
    }
    return cut;
  }

  /** The tokens that enter the first block. pixels: normalised, [count c height width]; masks: bytes [count n]. */
  embed(graph, pixels, count, height, width, masks = null) {
    const { engine, weights, prefix } = this;
    const [rows, cols] = this.grid(height, width);
    const n = rows * cols;
    const positions = this.positions(graph, rows, cols);
    const cut = this.patches(pixels, count, height, width);
    const patches = graph.linear(cut, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"]);
    const tokens = engine.tensor(count * (prefix + n), this.config.width);
    this.assemble(tokens, patches, positions, count, n, masks);
    graph.tape?.push(() => this.assembleBack(graph, tokens, patches, positions, count, n, masks));
    return tokens;
  }

  assemble(tokens, patches, positions, count, n, masks) {
    const { weights: w, config: { width: d, n_registers } } = this;
    const [out, seen, place] = [tokens.data, patches.data, positions.data];
    const [cls, first, hidden] = [w.cls_token.data, w.pos_embed.data, w.mask_token.data];
    let to = 0;
    for (let b = 0; b < count; b++) {
      for (let c = 0; c < d; c++) out[to++] = cls[c] + first[c];
      for (let i = 0; i < n_registers * d; i++) out[to++] = w.register_tokens.data[i];
      for (let i = 0; i < n; i++) {
        const masked = masks?.[b * n + i];
        const [source, from] = masked ? [hidden, 0] : [seen, (b * n + i) * d];
        for (let c = 0; c < d; c++) out[to++] = source[from + c] + place[i * d + c];
      }
    }
  }

  assembleBack(graph, tokens, patches, positions, count, n, masks) {
    const { weights: w, config: { width: d, n_registers } } = this;
    const dt = tokens.grad.data;
    const dpatches = graph.grad(patches)[0].data;
    const [{ data: dplace }, add] = graph.grad(positions);
    if (!add) dplace.fill(0);
    const [dcls, dfirst, dhidden] = [w.cls_token.grad.data, w.pos_embed.grad.data, w.mask_token.grad.data];
    let from = 0;
    for (let b = 0; b < count; b++) {
      for (let c = 0; c < d; c++, from++) { dcls[c] += dt[from]; dfirst[c] += dt[from]; }
      for (let i = 0; i < n_registers * d; i++, from++) w.register_tokens.grad.data[i] += dt[from];
      for (let i = 0; i < n; i++) {
        const masked = masks?.[b * n + i];
        const to = (b * n + i) * d;
        for (let c = 0; c < d; c++, from++) {
          dplace[i * d + c] += dt[from];
          dpatches[to + c] = masked ? 0 : dt[from];
          if (masked) dhidden[c] += dt[from];
        }
      }
    }
  }

  /** x + (LayerScale of) the layer's output, in place. */
  residual(graph, x, inner, layer, scale) {
    const { weights: w } = this;
    const [weight, bias] = [w[`${layer}.weight`], w[`${layer}.bias`]];
    if (w[scale]) return graph.addScaled(x, graph.linear(inner, weight, bias), w[scale]);
    return graph.linear(inner, weight, bias, x);
  }

  /** Attention, then feed-forward, each added to `tokens` in place. qkvSeen: called with queries, keys and values. */
  block(graph, tokens, index, images, qkvSeen = null) {
    const { weights: w, config: { heads, width: d } } = this;
    const at = `blocks.${index}`;
    const normed = graph.layerNorm(tokens, w[`${at}.norm1.weight`], w[`${at}.norm1.bias`]);
    const qkv = graph.linear(normed, w[`${at}.attn.qkv.weight`], w[`${at}.attn.qkv.bias`]);
    qkvSeen?.(qkv);
    const [q, k, v] = [0, 1, 2].map((i) => graph.columns(qkv, i * d, (i + 1) * d));
    const mixed = graph.attention(q, k, v, { images, heads });
    return this.feed(graph, this.residual(graph, tokens, mixed, `${at}.attn.proj`, `${at}.ls1.gamma`), index);
  }

  /** A block of which only some rows are wanted: keys and values of all tokens, everything else of those alone. */
  blockAt(graph, tokens, index, { rows, counts }) {
    const { weights: w, config: { heads, width: d } } = this;
    const at = `blocks.${index}`;
    const [weight, bias] = [w[`${at}.attn.qkv.weight`], w[`${at}.attn.qkv.bias`]];
    const normed = graph.layerNorm(tokens, w[`${at}.norm1.weight`], w[`${at}.norm1.bias`]);
    const kv = graph.linear(normed, weight.slice(d, 3 * d), part(bias, d, 2 * d));
    const q = graph.linear(graph.pick(normed, rows), weight.slice(0, d), part(bias, 0, d));
    const mixed = graph.attention(graph.columns(q, 0, d), graph.columns(kv, 0, d), graph.columns(kv, d, 2 * d),
      { images: counts.length, heads, counts });
    const some = graph.pick(tokens, rows);
    return this.feed(graph, this.residual(graph, some, mixed, `${at}.attn.proj`, `${at}.ls1.gamma`), index);
  }

  feed(graph, tokens, index) {
    const { weights: w } = this;
    const at = `blocks.${index}`;
    const normed = graph.layerNorm(tokens, w[`${at}.norm2.weight`], w[`${at}.norm2.bias`]);
    const inner = graph.gelu(graph.linear(normed, w[`${at}.mlp.fc1.weight`], w[`${at}.mlp.fc1.bias`]));
    return this.residual(graph, tokens, inner, `${at}.mlp.fc2`, `${at}.ls2.gamma`);
  }

  /**
   * All tokens [count t, d] of some pictures after the final norm. Twin: VisionTransformer.forward.
   *
   * seen(block, tokens, qkv): called after each block with its tokens and with queries, keys and values [count t, 3 d];
   * both are overwritten by the next block.
   */
  tokens(graph, pixels, count, height, width, { masks = null, seen = null } = {}) {
    const { engine, weights, config: { depth } } = this;
    const tokens = this.embed(graph, pixels, count, height, width, masks);
    for (let i = 0; i < depth; i++) {
      const mark = engine.mark();
      let qkv;
      this.block(graph, tokens, i, count, (all) => { qkv = all; });
      seen?.(i, tokens, qkv);
      if (!graph.tape) engine.release(mark);                // without a tape, a block's numbers are not needed again
    }
    return graph.layerNorm(tokens, weights["norm.weight"], weights["norm.bias"]);
  }

  /**
   * Class tokens, then the patch tokens at `read` (rising flat positions in [count n]). Twin: tokens_at, except that
   * here the last block's queries, too, are computed for these tokens alone.
   */
  tokensAt(graph, pixels, count, height, width, { masks = null, read = [] } = {}) {
    const { engine, weights, prefix, config: { depth } } = this;
    const [gridRows, gridCols] = this.grid(height, width);
    const wanted = readRows(count, gridRows * gridCols, prefix, read);
    const tokens = this.embed(graph, pixels, count, height, width, masks);
    for (let i = 0; i < depth - 1; i++) {
      const mark = engine.mark();
      this.block(graph, tokens, i, count);
      if (!graph.tape) engine.release(mark);
    }
    const some = this.blockAt(graph, tokens, depth - 1, wanted);
    return graph.layerNorm(graph.pick(some, wanted.order), weights["norm.weight"], weights["norm.bias"]);
  }
}

/** Which rows of [count t] are wanted, picture by picture, how many of each, and where class tokens and patches are. */
function readRows(count, n, prefix, read) {
  const [rows, counts, classes, patches] = [[], new Int32Array(count), [], []];
  for (let b = 0, next = 0; b < count; b++) {
    const first = rows.length;
    classes.push(first);
    rows.push(b * (prefix + n));
    for (; next < read.length && read[next] < (b + 1) * n; next++) {
      patches.push(rows.length);
      rows.push(b * (prefix + n) + prefix + read[next] - b * n);
    }
    counts[b] = rows.length - first;
  }
  return { rows, counts, order: classes.concat(patches) };
}

/** Queries, keys and values of a block to attention weights of one query token: [heads, t]. Twin: Attention.weights. */
export function attentionRow(qkv, query, { heads, width }) {
  const t = qkv.length / (3 * width);
  const size = width / heads;
  const found = new Float32Array(heads * t);
  for (let h = 0; h < heads; h++) {
    const row = found.subarray(h * t, (h + 1) * t);
    const q = query * 3 * width + h * size;
    let top = -Infinity;
    for (let j = 0; j < t; j++) {
      const k = j * 3 * width + width + h * size;
      let score = 0;
      for (let c = 0; c < size; c++) score += qkv[q + c] * qkv[k + c];
      row[j] = score * size ** -0.5;
      top = Math.max(top, row[j]);
    }
    let total = 0;
    for (let j = 0; j < t; j++) total += row[j] = Math.exp(row[j] - top);
    for (let j = 0; j < t; j++) row[j] /= total;
  }
  return found;
}


