// The layers of a ViT, and a tape that plays their derivatives backwards. Twin: dinov2_edu.vit.block and autograd.
//
// With `record`, each layer leaves a function on the tape that computes its derivative, and keeps what that needs.

export class Graph {
  constructor(engine, record = false) {
    this.engine = engine;
    this.tape = record ? [] : null;
  }

  backward() { while (this.tape.length) this.tape.pop()(); }

  /** A tensor's gradient, made on first use, and whether something is in it already. */
  grad(tensor) {
    const add = tensor.grad !== null;
    if (!add) tensor.grad = this.engine.tensor(tensor.rows, tensor.cols);
    return [tensor.grad, add];
  }

  /** x W^T + b with W [out in] as in torch. With `into`, it is added to that tensor: a residual branch. */
  linear(x, weight, bias, into = null) {
    const { engine } = this;
    const y = into ?? engine.tensor(x.rows, weight.rows);
    engine.product(x, weight, y, { tb: true, add: into !== null, bias });
    this.tape?.push(() => {
      engine.product(y.grad, x, weight.grad, { ta: true, add: true });
      if (bias) engine.kernels.column_sums(y.rows, y.cols, y.grad.at, bias.grad.at);
      if (x.constant) return;
      const [grad, add] = this.grad(x);
      engine.product(y.grad, weight, grad, { add });
    });
    return y;
  }

  layerNorm(x, gain, bias, eps = 1e-6) {
    const { rows, cols } = x;
    const { engine, engine: { kernels }, tape } = this;
    const y = engine.tensor(rows, cols);
    const unit = tape && engine.tensor(rows, cols);
    const scales = tape && engine.tensor(rows, 1);
    kernels.norm(rows, cols, x.at, gain.at, bias.at, y.at, unit?.at ?? 0, scales?.at ?? 0, eps);
    tape?.push(() => {
      const [dx, add] = this.grad(x);
      kernels.norm_grad(rows, cols, unit.at, scales.at, gain.at, y.grad.at, dx.at, +add, gain.grad.at, bias.grad.at);
    });
    return y;
  }

  gelu(x) {
    const { engine: { kernels }, engine, tape } = this;
    const n = x.rows * x.cols;
    const y = engine.tensor(x.rows, x.cols);
    const slope = tape && engine.tensor(x.rows, x.cols);
    if (n) kernels.gelu(n, x.at, y.at, slope?.at ?? 0);
    tape?.push(() => {
      x.grad = y.grad;                                      // in place: nobody else reads the gradient of y
      if (n) kernels.multiply(n, x.grad.at, slope.at);
    });
    return y;
  }

  /**
   * Multi-head self-attention from queries q [m, d] and, side by side, keys and values kv [images t, 2 d].
   *
   * counts: how many rows of q belong to each picture (m = their sum); t of each if null. q and kv may be columns of a
   * wider matrix: { at, grad, rows, stride } as `columns` gives them. Returns [m, d].
   */
  attention(q, k, v, { images, heads, counts = null }) {
    const { engine, tape } = this;
    const t = k.rows / images;
    const d = q.cols;
    const size = d / heads;
    const scale = size ** -0.5;
    const ld = (t + 3) & ~3;
    const most = counts ? Math.max(...counts) : t;
    const y = engine.tensor(q.rows, d);
    const chunk = tape ? most : Math.min(most, 128);        // a head's whole matrix of a large picture would be 40 MB
    const weights = engine.tensor(tape ? q.rows * heads : chunk, ld);
    let row = 0;
    for (let b = 0; b < images; b++) {
      const mine = counts ? counts[b] : t;
      for (let done = 0; done < mine; done += chunk) {
        const rows = Math.min(chunk, mine - done);
        const first = row + done;
        engine.kernels.attend(rows, t, heads, size, q.at + 4 * first * q.stride, q.stride,
          k.at + 4 * b * t * k.stride, v.at + 4 * b * t * k.stride, k.stride, y.at + 4 * first * d, d,
          weights.at + (tape ? 4 * first * heads * ld : 0), ld, tape ? 4 * rows * ld : 0, scale);
      }
      row += mine;
    }
    tape?.push(() => {
      const room = engine.tensor(most, ld);
      for (let b = 0, first = 0; b < images; b++) {
        const rows = counts ? counts[b] : t;
        const [atQ, atK] = [4 * first * q.stride, 4 * b * t * k.stride];
        engine.kernels.attend_grad(rows, t, heads, size, q.at + atQ, q.stride, k.at + atK, v.at + atK, k.stride,
          q.grad() + atQ, k.grad() + atK, v.grad() + atK, y.grad.at + 4 * first * d, d,
          weights.at + 4 * first * heads * ld, ld, 4 * rows * ld, room.at, scale);
        first += rows;
      }
    });
    return y;
  }

  /** Columns [from, to) of a matrix, as `attention` wants them: { at, grad(), rows, cols, stride }. */
  columns(x, from, to) {
    return { at: x.at + 4 * from, rows: x.rows, cols: to - from, stride: x.cols,
      grad: () => this.grad(x)[0].at + 4 * from };
  }

  /** x + gain * branch, in place in x: LayerScale on a residual branch. Twin: vit.block.LayerScale. */
  addScaled(x, branch, gain) {
    const { rows, cols } = x;
    const [xs, bs, gs] = [x.data, branch.data, gain.data];
    for (let i = 0; i < rows * cols; i++) xs[i] += gs[i % cols] * bs[i];
    this.tape?.push(() => {
      const [dx, dbranch, dgain] = [x.grad.data, this.grad(branch)[0].data, gain.grad.data];
      for (let i = 0; i < rows * cols; i++) {
        dbranch[i] = gs[i % cols] * dx[i];
        dgain[i % cols] += bs[i] * dx[i];
      }
    });
    return x;
  }

  /** Some rows of x, in the order of `index`. */
  pick(x, index) {
    const { cols } = x;
    const y = this.engine.tensor(index.length, cols);
    const [xs, ys] = [x.data, y.data];
    for (let i = 0; i < index.length; i++) for (let c = 0; c < cols; c++) ys[i * cols + c] = xs[index[i] * cols + c];
    this.tape?.push(() => {
      const [{ data: dx }, add] = this.grad(x);
      const dy = y.grad.data;
      if (!add) dx.fill(0);
      for (let i = 0; i < index.length; i++) for (let c = 0; c < cols; c++) dx[index[i] * cols + c] += dy[i * cols + c];
    });
    return y;
  }

  /** Matrices of equal width, one below the other. */
  stack(parts) {
    const { cols } = parts[0];
    const y = this.engine.tensor(parts.reduce((rows, x) => rows + x.rows, 0), cols);
    let at = 0;
    for (const x of parts) { y.data.set(x.data, at); at += x.data.length; }
    this.tape?.push(() => {
      let from = 0;
      for (const x of parts) {
        const [{ data: dx }, add] = this.grad(x);
        const dy = y.grad.data;
        for (let i = 0; i < dx.length; i++) dx[i] = add ? dx[i] + dy[from + i] : dy[from + i];
        from += dx.length;
      }
    });
    return y;
  }

  /** Each row divided by its length, times a gain of its own if `gain` [rows 1] is given (weight normalisation). */
  unitRows(x, gain = null) {
    const { rows, cols } = x;
    const { engine, tape } = this;
    const y = engine.tensor(rows, cols);
    const lengths = new Float32Array(rows);
    const [xs, ys] = [x.data, y.data];
    for (let r = 0, at = 0; r < rows; r++, at += cols) {
      let squares = 0;
      for (let c = 0; c < cols; c++) squares += xs[at + c] ** 2;
      lengths[r] = Math.max(Math.sqrt(squares), 1e-12);
      const scale = (gain ? gain.data[r] : 1) / lengths[r];
      for (let c = 0; c < cols; c++) ys[at + c] = xs[at + c] * scale;
    }
    tape?.push(() => {
      const [{ data: dx }, add] = this.grad(x);
      const dy = y.grad.data;
      for (let r = 0, at = 0; r < rows; r++, at += cols) {
        let along = 0;                                      // how far dy points along the row
        for (let c = 0; c < cols; c++) along += dy[at + c] * xs[at + c] / lengths[r];
        if (gain) gain.grad.data[r] += along;
        const scale = (gain ? gain.data[r] : 1) / lengths[r];
        for (let c = 0; c < cols; c++) {
          const across = scale * (dy[at + c] - along * xs[at + c] / lengths[r]);
          dx[at + c] = add ? dx[at + c] + across : across;
        }
      }
    });
    return y;
  }
}
