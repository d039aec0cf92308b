// Ten textures, drawn in the page. Twin: dinov2_edu.data.patterns, which says why they look as they do: the same world
// from the same uniform numbers, in one gray channel.
import { clamp, uniforms } from "../_numbers.js";

const offset = (x) => x - Math.round(x);                    // from the nearest whole number
const wrap = (n) => ((n % 16) + 16) % 16;
const ROW = Math.sqrt(3) / 2;

/** Distance to the nearest point of a lattice of triangles with side 1. */
function toCenter(x, y) {
  const [dx, dy] = [offset(x), 2 * ROW * offset(y / (2 * ROW))];
  const [ex, ey] = [offset(x + 0.5), 2 * ROW * offset(y / (2 * ROW) + 0.5)];
  return Math.sqrt(Math.min(dx * dx + dy * dy, ex * ex + ey * ey));
}

/** (x, y in periods, knob 0 to 1, table) -> depth inside the ink in periods, 0 at its edge. Worms get waves instead. */
const FIELDS = {
  stripes: (x, y, knob) => 0.18 + 0.14 * knob - Math.abs(offset(x)),
  zigzags: (x, y, knob) => (0.2 + 0.12 * knob - Math.abs(offset(x + 2 * Math.abs(offset(y / 2))))) / Math.SQRT2,
  checks: (x, y, knob) => {
    const side = 0.5 - Math.max(Math.abs(offset(x)), Math.abs(offset(y)));
    return ((Math.round(x) + Math.round(y)) % 2 === 0 ? side : -side) + 0.06 * (knob - 0.5);
  },
  bricks: (x, y, knob) => {
    const along = 1.8 * offset(x / 1.8 + (Math.round(y) % 2 ? 0.5 : 0));
    return Math.min(0.9 - Math.abs(along), 0.5 - Math.abs(offset(y))) - 0.09 - 0.07 * knob;
  },
  dots: (x, y, knob) => 0.26 + 0.1 * knob - toCenter(x, y),
  rings: (x, y, knob) => 0.12 + 0.06 * knob - Math.abs(1.5 * toCenter(x / 1.5, y / 1.5) - 0.5),
  crosses: (x, y, knob) => {
    const [p, q] = [offset((2 * x + y) / 3), offset((2 * y - x) / 3)];
    const [across, up, width] = [0.6 * Math.abs(2 * p - q), 0.6 * Math.abs(2 * q + p), 0.09 + 0.06 * knob];
    return Math.max(Math.min(0.47 - across, width - up), Math.min(0.47 - up, width - across));
  },
  cells: (x, y, knob, table) => {
    let [near, next] = [81, 81];
    const [column, row] = [Math.floor(x), Math.floor(y)];
    for (let i = column - 1; i <= column + 1; i++) for (let j = row - 1; j <= row + 1; j++) {
      const at = wrap(j) * 16 + wrap(i);
      const squares = (x - i - table[at]) ** 2 + (y - j - table[256 + at]) ** 2;
      if (squares < near) { next = near; near = squares; } else if (squares < next) next = squares;
    }
    return (Math.sqrt(next) - Math.sqrt(near)) / 2 - 0.06 - 0.05 * knob;
  },
  worms: (x, y, knob, waves) => {
    let height = 0;
    for (let i = 0; i < 48; i += 3) height += Math.cos(waves[i] * x + waves[i + 1] * y + waves[i + 2]);
    return (height / Math.sqrt(8) + 0.4 * (knob - 0.5)) / 8;
  },
  grain: (x, y, knob, table) => table[wrap(Math.floor(3.5 * y)) * 16 + wrap(Math.floor(3.5 * x))] - 0.6 + 0.2 * knob,
};

export const PATTERN_CLASSES = Object.keys(FIELDS);

/** Sixteen waves from a table: how fast each goes along x and y, and its phase. */
function wavesOf(table) {
  const waves = new Float64Array(48);
  for (let i = 0; i < 16; i++) {
    const angle = 2 * Math.PI * table[i];
    const frequency = 3 * Math.PI * (0.75 + 0.2 * table[32 + i]);
    waves.set([frequency * Math.cos(angle), frequency * Math.sin(angle), 2 * Math.PI * table[16 + i]], 3 * i);
  }
  return waves;
}

const between = (uniform, low, high) => low + (high - low) * uniform;

/** The four pieces of the quilt from 7 uniform numbers each. */
const piecesOf = (draws) => [0, 1, 2, 3].map((piece) => {
  const [scale, angle, left, top, knob, brightness, swap] = draws.slice(2 + 7 * piece, 9 + 7 * piece);
  const turn = between(angle, -0.5, 0.5);
  return { periods: 3.5 * (5 / 3.5) ** scale, cos: Math.cos(turn), sin: Math.sin(turn), left: 16 * left, top: 16 * top,
    knob: between(knob, 0.25, 0.75), brightness: between(brightness, 0.15, 0.55), swap: swap < 0.5 };
});

/** A picture without noise, [size size] in 0 to 1, from 30 uniform numbers and a table of 512. Twin: patterns._draw. */
export function drawPattern(label, draws, table, size = 32) {
  const name = PATTERN_CLASSES[label];
  const field = FIELDS[name];
  const numbers = name === "worms" ? wavesOf(table) : table;
  const pieces = piecesOf(draws);
  const [cutX, cutY] = [between(draws[0], 0.35, 0.65), between(draws[1], 0.35, 0.65)];
  const side = 2 * size;
  const gray = new Float32Array(size * size);
  for (let r = 0; r < side; r++) for (let c = 0; c < side; c++) {
    const [u, v] = [(c + 0.5) / side, (r + 0.5) / side];
    const p = pieces[2 * (v > cutY) + (u > cutX)];
    const x = p.periods * ((u - 0.5) * p.cos + (v - 0.5) * p.sin) + p.left;
    const y = p.periods * ((v - 0.5) * p.cos - (u - 0.5) * p.sin) + p.top;
    const ink = clamp(0.5 + field(x, y, p.knob, numbers) * side / p.periods, 0, 1);
    gray[(r >> 1) * size + (c >> 1)] += (p.brightness + 0.3 * (p.swap ? ink : 1 - ink)) / 4;
  }
  return gray;
}

/** Two stretches of bytes as one. */
export function joinedBytes(first, second) {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}

/** A world of pictures that are drawn as they are needed; picture i shows texture i % 10. */
export class Patterns10 {
  /** most: pictures there will be; draw() makes more of them. */
  constructor(most, seed, size = 32) {
    Object.assign(this, { most, side: size, channels: 1, count: 0, uniform: uniforms(seed), added: [] });
    this.bytes = new Uint8Array(most * size * size);
    this.labels = Uint8Array.from({ length: most }, (_, i) => i % 10);
  }

  /** Add pictures of the reader's own, gray bytes [n side side], behind the drawn ones; returns their label, from 10 on. */
  add(bytes) {
    const plane = this.side ** 2;
    const n = bytes.length / plane;
    if (!n || n % 1) throw new Error(`Wanted pictures of ${this.side} x ${this.side} gray bytes, got ${bytes.length} bytes.`);
    const [first, label] = [this.labels.length, 10 + this.added.length];
    this.bytes = joinedBytes(this.bytes, bytes);
    this.labels = joinedBytes(this.labels, new Uint8Array(n).fill(label));
    this.added.push({ first, n });
    return label;
  }

  /** The place of a random picture; each texture is as likely as any other, added ones too. */
  choose(uniform) {
    const kind = Math.floor(uniform() * (10 + this.added.length)) - 10;
    if (kind < 0) return Math.floor(uniform() * this.count);
    const { first, n } = this.added[kind];
    return first + Math.floor(uniform() * n);
  }

  /** Draw up to so many more; returns how many there are. */
  draw(more = this.most) {
    const { uniform, side, bytes } = this;
    for (const end = Math.min(this.count + more, this.most); this.count < end; this.count++) {
      const draws = Array.from({ length: 30 }, uniform);
      const gray = drawPattern(this.count % 10, draws, Float64Array.from({ length: 512 }, uniform), side);
      const at = this.count * side * side;
      for (let i = 0; i < gray.length; i++) {
        bytes[at + i] = Math.round(255 * clamp(gray[i] + 0.04 * (uniform() - 0.5), 0, 1));
      }
    }
    return this.count;
  }
}
