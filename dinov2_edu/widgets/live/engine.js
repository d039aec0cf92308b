// Numbers in WebAssembly memory, and matrix products on them. Twin: what torch.Tensor is to the package.
//
// A tensor here is a matrix of float32: an address, rows, cols. All activations of a step live on one stack of memory
// that `release` empties at once. The memory is made once and never grows, because growing would detach every
// Float32Array that looks into it.
import { PLAIN_SIMD, RELAXED_SIMD } from "./kernels.js";

export const NO_SIMD = "This browser cannot run the model: it lacks WebAssembly SIMD, which browsers have had since " +
  "2021 to 2023. A newer one will do; everything else on the page works without it.";

const HEAD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10]; // a module of one function
const ONES = [65, 1, 253, 17];                                                     // i32.const 1, i32x4.splat
const validates = (code) => typeof WebAssembly === "object" &&
  WebAssembly.validate(new Uint8Array([...HEAD, code.length + 4, 1, code.length + 2, 0, ...code, 11]));

/** "relaxed" (fused multiply-add), "plain" (SIMD without it) or "" (no SIMD): what this browser's WebAssembly can do. */
export function simdSupport() {
  if (validates([...ONES, ...ONES, ...ONES, 253, 133, 2])) return "relaxed";
  return validates(ONES) ? "plain" : "";
}

const binary = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/** A matrix of float32 in an engine's memory; `grad` is its gradient, a matrix of the same form, or null. */
export class Tensor {
  constructor(memory, at, rows, cols) {
    Object.assign(this, { memory, at, rows, cols, grad: null, constant: false, view: null });
  }

  /** The numbers; the view is made on first use, because most tensors are only ever read by the kernels. */
  get data() { return this.view ??= new Float32Array(this.memory.buffer, this.at, this.rows * this.cols); }

  /** Some of its rows, in the same memory; also of the gradient, if there is one. */
  slice(from, to) {
    const part = new Tensor(this.memory, this.at + 4 * from * this.cols, to - from, this.cols);
    if (this.grad) part.grad = this.grad.slice(from, to);
    return part;
  }
}

export class Engine {
  /**
   * An engine with `megabytes` of memory, all that it will ever have.
   *
   * simd: "relaxed" or "plain"; the better of what there is by default. rows: 4 or 8 rows of a product in registers at
   * a time; by default whichever is faster here (4 on x86-64, which has 16 registers; ARM has 32).
   * Throws an Error with NO_SIMD where there is no SIMD, and one with the megabytes where they are not to be had.
   */
  static async create({ megabytes = 64, simd = null, rows = 0 } = {}) {
    simd ??= simdSupport();
    if (!simd) throw new Error(NO_SIMD);
    let memory;
    try {
      memory = new WebAssembly.Memory({ initial: Math.ceil(megabytes) * 16 });
    } catch {
      throw new Error(`This device did not give the ${Math.ceil(megabytes)} MB of memory that this needs.`);
    }
    const { instance } = await WebAssembly.instantiate(binary(simd === "relaxed" ? RELAXED_SIMD : PLAIN_SIMD),
      { env: { memory } });
    const engine = new Engine(instance.exports, memory, simd);
    engine.kernels.rows.value = rows || engine.fasterRows();
    return engine;
  }

  constructor(kernels, memory, simd) {
    this.kernels = kernels;
    this.memory = memory;
    this.simd = simd;
    this.top = (kernels.heap.value + 63) & ~63;
    this.peak = this.top;
    this.end = memory.buffer.byteLength - 64; // a vector may be read past the last number
  }

  /** Rows a block, 4 or 8, that make a small product faster; each is tried for a few milliseconds. */
  fasterRows(size = 64, milliseconds = 4) {
    const mark = this.mark();
    const [a, b, c] = [0, 1, 2].map(() => this.zeros(size, size));
    const counts = [4, 8].map((rows) => {
      this.kernels.rows.value = rows;
      for (let i = 0; i < 20; i++) this.product(a, b, c);   // until the browser has optimised the code
      const start = performance.now();
      let count = 0;
      while (performance.now() - start < milliseconds) for (let i = 0; i < 10; i++, count++) this.product(a, b, c);
      return count / (performance.now() - start);
    });
    this.release(mark);
    return counts[1] > 1.1 * counts[0] ? 8 : 4;
  }

  mark() { return this.top; }
  release(mark) { this.top = mark; }

  /** A new matrix; its numbers are whatever was there before. */
  tensor(rows, cols) {
    const made = this.look(this.top, rows, cols);
    this.top += (4 * rows * cols + 63) & ~63;
    if (this.top > this.end) {
      const [wanted, there] = [this.top, this.end].map((bytes) => Math.ceil(bytes / 2 ** 20));
      throw new Error(`This needs more than the ${there} MB of memory that were set aside (at least ${wanted}): ` +
        "take a smaller picture or a smaller batch.");
    }
    this.peak = Math.max(this.peak, this.top);
    return made;
  }

  zeros(rows, cols) { const made = this.tensor(rows, cols); made.data.fill(0); return made; }
  from(values, rows, cols) { const made = this.tensor(rows, cols); made.data.set(values); return made; }
  look(at, rows, cols) { return new Tensor(this.memory, at, rows, cols); }

  /** c = a b (or += with add); a and b may be read transposed. bias: a tensor added to every row. */
  product(a, b, c, { ta = false, tb = false, add = false, bias = null } = {}) {
    const k = ta ? a.rows : a.cols;
    if (c.rows && c.cols && k) {
      this.kernels.gemm(c.rows, c.cols, k, a.at, ta ? 1 : a.cols, ta ? a.cols : 1,
        b.at, tb ? 1 : b.cols, tb ? b.cols : 1, c.at, c.cols, +add, bias ? bias.at : 0);
    }
    return c;
  }
}
