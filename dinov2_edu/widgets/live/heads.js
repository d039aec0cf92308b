// The heads that a finished run came with: which prototype student and teacher name for a token.
// Twin: dinov2_edu.heads.ProjectionHead, read by dinov2_edu.weights.read_book_heads.
import { Engine } from "./engine.js";
import { headLogits } from "./head.js";
import { Graph } from "./layers.js";
import { readSafetensors } from "./safetensors.js";
import { matrixForm } from "./vit_config.js";

export class Heads {
  /**
   * From a file whose tensors have names such as "teacher.dino_head.mlp.0.weight".
   *
   * backbone: SHA-256 of the file of weights that they must belong to. mostTokens: at once.
   */
  static async fromFile(buffer, backbone, mostTokens = 32 * 32) {
    const { tensors, metadata } = readSafetensors(buffer);
    if (metadata.backbone !== backbone) {
      throw new Error("The file of heads is of other weights than the model: load the page again.");
    }
    const found = {};
    let [numbers, row] = [0, 0]; // a head's numbers, and those that a token becomes on its way through it
    for (const [name, tensor] of Object.entries(tensors)) {
      const [who, head, ...rest] = name.split(".");
      ((found[who] ??= {})[head] ??= {})[rest.join(".")] = tensor;
      numbers += tensor.data.length + 16;
      if (who === "teacher" && rest.at(-1).startsWith("weight")) row += 2 * tensor.shape[0];
    }
    for (const who of ["student", "teacher"]) {
      if (!found[who]?.dino_head?.["last_layer.weight_v"]) throw new Error(`The file of heads has none of the ${who}'s.`);
    }
    const engine = await Engine.create({ megabytes: 4 + Math.ceil((4 * (2 * numbers + mostTokens * row)) / 2 ** 20) });
    for (const heads of Object.values(found)) for (const head of Object.values(heads)) {
      for (const [name, { shape, data }] of Object.entries(head)) head[name] = engine.from(data, ...matrixForm(shape));
    }
    return new Heads(engine, found);
  }

  constructor(engine, found) {
    Object.assign(this, { engine, found, base: engine.mark() });
  }

  /**
   * The prototype with the largest logit for each of the patch tokens [n d]: Int32Array [n]. who: student or teacher.
   *
   * A logit is the cosine with a prototype times its gain, which is trained, so the largest need not be the nearest.
   */
  named(who, tokens, d) {
    const { engine, found: { [who]: { ibot_head: own, dino_head: shared } } } = this;
    const { cols: wanted } = (own ?? shared)["mlp.0.weight"];
    if (wanted !== d) throw new Error(`The heads want tokens of ${wanted} numbers, not of ${d}.`);
    engine.release(this.base);
    const { data, cols } = headLogits(new Graph(engine), own ?? shared, engine.from(tokens, tokens.length / d, d));
    return Int32Array.from({ length: tokens.length / d }, (_, row) => {
      let best = row * cols;
      for (let at = best + 1; at < (row + 1) * cols; at++) if (data[at] > data[best]) best = at;
      return best - row * cols;
    });
  }
}
