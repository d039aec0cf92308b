// Reads and writes .safetensors: 8 bytes length of the header, a JSON header, then the numbers. Twin: the Python package
// safetensors; what is written here, dinov2_edu.weights.load_backbone opens.

const HALVES = new Float32Array(65536);                     // a table is the fastest reader of half precision
for (let h = 0; h < 65536; h++) {
  const [sign, exponent, fraction] = [h & 0x8000 ? -1 : 1, (h >> 10) & 31, h & 1023];
  if (exponent === 31) HALVES[h] = fraction ? NaN : sign * Infinity;
  else HALVES[h] = sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

const READERS = {
  F16: (bytes) => Float32Array.from(new Uint16Array(bytes), (h) => HALVES[h]),
  BF16: (bytes) => new Float32Array(Uint32Array.from(new Uint16Array(bytes), (h) => h << 16).buffer),
  F32: (bytes) => new Float32Array(bytes),
  I8: (bytes) => Float32Array.from(new Int8Array(bytes)),
  U8: (bytes) => new Uint8Array(bytes),
};

/** { tensors: name -> { shape, data: Float32Array, of U8 Uint8Array }, metadata } of a file's ArrayBuffer. Throws an Error in words. */
export function readSafetensors(buffer) {
  let header;
  let start;
  try {
    start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  } catch {
    throw new Error("This is no .safetensors file, or its beginning is missing.");
  }
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(entries)) {
    const read = READERS[dtype];
    if (!read) throw new Error(`${name} is of type ${dtype}; F16, BF16, F32, I8 and U8 can be read.`);
    if (start + to > buffer.byteLength) throw new Error(`The file is cut short: ${name} is not all there.`);
    tensors[name] = { shape, data: read(buffer.slice(start + from, start + to)) };
  }
  return { tensors, metadata };
}

/** An ArrayBuffer with tensors (name -> { shape, data }) in single precision; metadata: name -> text. */
export function writeSafetensors(tensors, metadata = {}) {
  const header = { __metadata__: metadata };
  let size = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [size, size += 4 * data.length] };
  }
  const text = JSON.stringify(header);
  const bytes = new TextEncoder().encode(text);
  const room = Math.ceil(bytes.length / 8) * 8;             // the numbers begin at a multiple of 8
  const file = new Uint8Array(8 + room + size).fill(32);    // 32: a space
  new DataView(file.buffer).setBigUint64(0, BigInt(room), true);
  file.set(bytes, 8);
  for (const [name, { data }] of Object.entries(tensors)) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 8 + room + header[name].data_offsets[0]);
  }
  return file.buffer;
}
