// How positions learnt on one grid of patches are stretched to another. Twin: VisionTransformer.positions, which asks
// torch.nn.functional.interpolate.

/**
 * The weights of bicubic resizing along one side, [size, old], as torch has them.
 *
 * scale: old pixels a new one; torch keeps the one it was given, which need not be old / size.
 */
export function bicubicMatrix(old, size, { antialias = false, scale = old / size } = {}) {
  const a = antialias ? -0.5 : -0.75;                       // torch has one constant for each
  const kernel = (x) => {
    const far = Math.abs(x);
    if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
    return far < 2 ? ((far - 5) * far + 8) * far * a - 4 * a : 0;
  };
  const matrix = new Float32Array(size * old);
  for (let i = 0; i < size; i++) {
    const center = scale * (i + 0.5);
    if (antialias) antialiased(matrix.subarray(i * old, (i + 1) * old), center, Math.max(scale, 1), kernel);
    else {                                                  // the pixels at the border are repeated
      const first = Math.floor(center - 0.5) - 1;
      for (let j = first; j < first + 4; j++) {
        matrix[i * old + Math.min(Math.max(j, 0), old - 1)] += kernel(j + 0.5 - center);
      }
    }
  }
  return matrix;
}

/** One row of it with a kernel as wide as the picture shrinks: it ends at the border and is made to sum to 1. */
function antialiased(row, center, stretch, kernel) {
  const first = Math.max(Math.floor(center - 2 * stretch + 0.5), 0);
  const last = Math.min(Math.floor(center + 2 * stretch + 0.5), row.length);
  let total = 0;
  for (let j = first; j < last; j++) total += row[j] = kernel((j + 0.5 - center) / stretch);
  for (let j = first; j < last; j++) row[j] /= total;
}

/** How the positions of a grid of rows x cols are mixed from those of the learnt side x side: [rows cols, side side]. */
export function positionMix(rows, cols, { img_size, patch_size, interpolate_offset, interpolate_antialias }) {
  const side = img_size / patch_size;
  const [down, across] = [rows, cols].map((n) => bicubicMatrix(side, n, {
    antialias: interpolate_antialias,
    scale: interpolate_offset ? side / (n + interpolate_offset) : side / n,
  }));
  const mix = new Float32Array(rows * cols * side * side);
  let at = 0;
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) {
    for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) mix[at++] = down[r * side + y] * across[c * side + x];
  }
  return mix;
}
