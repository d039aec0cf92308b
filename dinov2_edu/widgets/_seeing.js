// What the networks make of a picture: the engine started on a press, its answers kept, pixels for comparison.
import { startLive } from "./live/client.js";
import { picturePixels } from "./live/pictures.js";

const KEPT = 6;         // looks whose tokens are kept; one at 128 pixels takes 13 MB
const NOT_FETCHED = "The file could not be fetched. Are you offline, or is the page open as a file, without a server?";

/** Rows and columns of patches of a picture whose longer side has `size` pixels. */
export function gridOf({ width, height }, size, patch) {
  const long = size / patch;
  const short = Math.max(1, Math.round(long * Math.min(width, height) / Math.max(width, height)));
  return height > width ? [long, short] : [short, long];
}

/** The part of a canvas that has a grid's proportions, from its centre: [left, top, width, height] in whole pixels. */
export function cutFor({ width, height }, [rows, cols]) {
  const [w, t] = [Math.min(width, Math.round(height * cols / rows)), Math.min(height, Math.round(width * rows / cols))];
  return [Math.floor((width - w) / 2), Math.floor((height - t) / 2), Math.max(1, w), Math.max(1, t)];
}

/** Each patch of normalised pixels [3 height width] as a row: channel by channel, as torch's unfold gives them. */
export function patchRows(pixels, [rows, cols], patch) {
  const [height, width] = [rows * patch, cols * patch];
  const d = 3 * patch * patch;
  const data = new Float32Array(rows * cols * d);
  let at = 0;
  for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) for (let channel = 0; channel < 3; channel++) {
    for (let y = 0; y < patch; y++) {
      const from = (channel * height + r * patch + y) * width + c * patch;
      for (let x = 0; x < patch; x++) data[at++] = pixels[from + x];
    }
  }
  return { data, d };
}

/** The bytes of a file from the kernel, or its address where the built book has it beside its pages. */
export function fileOf(model, file) {
  if (!model.widget_manager) {
    const root = document.documentElement.dataset.content_root ?? "";
    return Promise.resolve({ url: new URL(`${root}_static/weights/${file}`, document.baseURI).href });
  }
  return new Promise((resolve) => {
    const heard = (message, buffers) => {
      if (message?.file !== file) return;
      model.off("msg:custom", heard);
      const { buffer, byteOffset, byteLength } = buffers[0];
      resolve({ bytes: buffer.slice(byteOffset, byteOffset + byteLength) });
    };
    model.on("msg:custom", heard);
    model.send({ wanted: file });
  });
}

/** What went wrong with a file, in words for the reader. */
export const fetchError = (error) => (/fetch/i.test(error.message) && !/\d/.test(error.message)
  ? new Error(NOT_FETCHED) : error);

/**
 * The session with the engine. A picture is { id, canvas }; a network "trained", "random" or "pixels".
 *
 *   load(progress)    start the worker, fetch the weights (progress(share) while it lasts), draw random ones
 *   ready()           whether that has been done
 *   grid(picture, size)
 *   tokens(network, picture, size, { block, mask })  { data [n d], d, cls [d], grid }; block: from 1, none for the end
 *   withoutHeads()    why there are no heads although they were wanted; empty where nothing is wrong
 *   prototypes(who, picture, size, mask)  { named: Int32Array [n], grid }: by the head of "student" or "teacher" (trained)
 *   attention(network, picture, size, block, query)  Float32Array [heads t]; query: a token
 *   square(network, picture, side)  class token [d] of the picture's middle square, or its pixels
 *   stop()            end the worker; what was asked rejects with "stopped"
 */
export function seeing(model) {
  const { patch_size: patch } = model.get("config");
  const mostPixels = Math.max(...model.get("sizes")) ** 2;
  const heads = () => model.get("heads") ?? {}; // a control may take none
  let [live, ready, withoutHeads] = [null, false, ""];
  const looks = new Map();    // key -> promise
  const grid = (picture, size) => gridOf(picture.canvas, size, patch);

  async function load(progress) {
    live = startLive();
    const mine = live;
    live.on("progress", ({ name, done: ofFile }) => {
      let done = ofFile;
      if (name === "heads") done += 1e6 * (model.get("megabytes") - heads().megabytes);
      if (["trained", "heads"].includes(name)) progress(Math.min(1, done / (1e6 * model.get("megabytes"))));
    });
    try {
      const given = await fileOf(model, model.get("weights_file"));
      if (live !== mine) throw new Error("stopped");
      const transfer = given.bytes ? [given.bytes] : [];
      const { config } = await live.ask("loadModel", { name: "trained", mostPixels, ...given }, transfer);
      await live.ask("loadModel", { name: "random", mostPixels, random: config, seed: 0 });
      if (heads().file) await loadHeads(mine);
      ready = true;
    } catch (error) {
      if (live === mine) stop();
      throw fetchError(error);
    }
  }

  /** The model is of use without them, so that a file that does not come or does not fit is noted, no more. */
  async function loadHeads(mine) {
    try {
      const given = await fileOf(model, heads().file);
      if (live === mine) await live.ask("loadHeads", { name: "heads", backbone: heads().backbone, ...given }, given.bytes ? [given.bytes] : []);
      withoutHeads = "";
    } catch (error) {
      withoutHeads = fetchError(error).message;
    }
    if (live !== mine) throw new Error("stopped");
  }

  function stop() {
    live?.stop();
    [live, ready] = [null, false];
    looks.clear();
  }

  const bytesOf = (picture, size, now = grid(picture, size)) => {
    const [left, top, width, height] = cutFor(picture.canvas, now);
    const { data } = picture.canvas.getContext("2d").getImageData(left, top, width, height);
    return { rgba: data, from: { height, width }, height: now[0] * patch, width: now[1] * patch };
  };

  function look(network, picture, size, mask) {
    const key = [network, picture.id, size, mask ? mask.join("") : ""].join("|");
    if (!looks.has(key)) {
      const asked = live.ask("look", { model: network, key, mask, ...bytesOf(picture, size) });
      asked.catch(() => looks.delete(key));
      looks.set(key, asked);
      for (const old of [...looks.keys()].slice(0, -KEPT)) {
        looks.delete(old);
        live.ask("forget", { key: old });
      }
    } else { // used last
      const promise = looks.get(key);
      looks.delete(key);
      looks.set(key, promise);
    }
    return looks.get(key).then((about) => ({ key, ...about }));
  }

  async function tokens(network, picture, size, { block = null, mask = null } = {}) {
    const now = grid(picture, size);
    if (network === "pixels") {
      const { rgba, from, height, width } = bytesOf(picture, size);
      return { ...patchRows(picturePixels(rgba, from, { height, width }), now, patch), cls: null, grid: now };
    }
    const { key, prefix, width: d } = await look(network, picture, size, mask);
    const all = await live.ask("tokens", { key, layer: block === null ? null : block - 1, norm: true });
    return { data: all.slice(prefix * d), d, cls: all.slice(0, d), grid: now };
  }

  async function prototypes(who, picture, size, mask = null) {
    const { key } = await look("trained", picture, size, mask);
    return { named: await live.ask("prototypes", { name: "heads", who, key }), grid: grid(picture, size) };
  }

  async function attention(network, picture, size, block, query) {
    const { key } = await look(network, picture, size, null);
    return live.ask("attention", { key, layer: block - 1, query });
  }

  /** The class token of a picture's middle, or its pixels, at side x side. */
  async function square(network, picture, side) {
    const { rgba, from, height, width } = bytesOf(picture, side, [side / patch, side / patch]);
    if (network === "pixels") return picturePixels(rgba, from, { height, width });
    const key = `${network} square`;
    const { width: d } = await live.ask("look", { model: network, key, rgba, from, height, width });
    return (await live.ask("tokens", { key })).slice(0, d);
  }

  return { load, stop, ready: () => ready, withoutHeads: () => withoutHeads, grid, tokens, prototypes, attention, square };
}

/** Tokens with each row brought to length 1, so that a product of two is their cosine. */
export function unitRows({ data, d }) {
  const unit = new Float32Array(data.length);
  for (let at = 0; at < data.length; at += d) {
    let square = 0;
    for (let i = at; i < at + d; i++) square += data[i] * data[i];
    const scale = 1 / Math.max(Math.sqrt(square), 1e-12);
    for (let i = at; i < at + d; i++) unit[i] = data[i] * scale;
  }
  return unit;
}

/** Cosines of one row of unit rows (at `index` of `from`) with all of `others`. */
export function cosines(from, index, others, d) {
  const row = from.subarray(index * d, (index + 1) * d);
  return Float32Array.from({ length: others.length / d }, (_, i) => {
    let total = 0;
    for (let k = 0; k < d; k++) total += row[k] * others[i * d + k];
    return total;
  });
}
