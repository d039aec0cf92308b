// One step on a photo, in the page: crops fall, patches are hidden, and the network says how alike it finds what it sees.
import { button, cutOut, h, mean, minus, percent, row, shell, sum, uniforms } from "./_shared.js";
import { batchAsked, blockMask } from "./_blocks.js";
import { N_UNIFORMS, boxFromUniform } from "./_boxes.js";
import { album } from "./_album.js";
import { seeing } from "./_seeing.js";

const STYLE = `
.dv2-photo { width: 100%; max-width: 22rem; display: block; border-radius: 3px; }
.dv2-parts { display: grid; gap: 0.35rem; align-content: start; }
.dv2 p.dv2-who { margin: 0.2rem 0 0; font-size: 0.9rem; font-weight: 600; }
.dv2-tiles { display: flex; flex-wrap: wrap; gap: 0.4rem 0.5rem; align-items: end; }
.dv2 figure.dv2-tile { margin: 0; padding: 0; width: 3.1rem; text-align: center; animation: dv2-fall 0.35s backwards; }
.dv2 figure.dv2-tile.dv2-large { width: 5.2rem; }
.dv2-tile canvas { width: 100%; display: block; border: 2px solid; border-radius: 3px; }
.dv2 .dv2-tile figcaption { margin: 0; padding: 0; font: inherit; font-size: 0.8rem; color: var(--dv2-ink); min-height: 1.2em;
  font-variant-numeric: tabular-nums; }
.dv2-bar { height: 4px; border-radius: 2px; background: var(--dv2-line); }
.dv2-bar > i { display: block; height: 100%; border-radius: 2px; background: var(--dv2-ink); }
@keyframes dv2-fall { from { opacity: 0; transform: translateY(-0.8rem); } }
@media (prefers-reduced-motion: reduce) { .dv2 figure.dv2-tile { animation: none; } }`;
const N_LOCAL = 6;
const SCALES = { global: [0.32, 1], local: [0.05, 0.32] }; // shares of the photo, as in the official configs
const RATIO = [3 / 4, 4 / 3];
const SHOWN = 2;                                           // canvas pixels of a tile for each of the network's

/** What a step draws for a photo: eight crops { kind, name, box, flip }, and the masks of the two global ones. */
export function drawStep(seed, { width, height }, grid) {
  const uniform = uniforms(seed);
  const crop = (kind, name) => {
    const box = boxFromUniform(Array.from({ length: N_UNIFORMS }, uniform), [height, width], SCALES[kind], RATIO);
    return { kind, name, box, flip: uniform() < 0.5 };
  };
  const crops = [crop("global", "G1"), crop("global", "G2"),
    ...Array.from({ length: N_LOCAL }, (_, i) => crop("local", String(i + 1)))];
  const masks = batchAsked(2, grid * grid, uniform).map((asked) =>
    Array.from(blockMask(asked, { grid, smallest: 4, aspect: 0.3 }, uniform).owner, (owner) => Number(owner >= 0)));
  return { crops, masks };
}

function hidePatches(canvas, mask, grid, color) {
  const ctx = canvas.getContext("2d");
  const side = canvas.width / grid;
  ctx.resetTransform();
  ctx.fillStyle = color;
  mask.forEach((on, i) => { if (on) ctx.fillRect((i % grid) * side, Math.floor(i / grid) * side, side, side); });
}

function paintPhoto(ui, canvas, photo, crops) {
  [canvas.width, canvas.height] = [photo.width, photo.height];
  const ctx = canvas.getContext("2d");
  ctx.drawImage(photo, 0, 0);
  for (const { kind, box: [top, left, height, width] } of [...crops].reverse()) {
    for (const [color, line] of [["#ffffffb0", 5], [ui.color(`${kind}-crop`), 3]]) {
      [ctx.strokeStyle, ctx.lineWidth] = [color, line];
      ctx.strokeRect(left + 2, top + 2, width - 4, height - 4);
    }
  }
}

/**
 * How alike the network finds what student and teacher see: for each of the student's crops { same, other }.
 *
 * same: cosine of its class token with the teacher's of the other global crop (of a local crop: the mean of both);
 * other: the mean of the same against the global crops of the other photos.
 */
export async function agreement(session, network, sizes, mine, others, wanted = () => true) {
  const unit = async (key, photo, crop, mask) => {
    if (!wanted()) throw new Error("stopped");
    const size = sizes[crop.kind];
    const { cls } = await session.tokens(network, { id: key, canvas: cutOut(photo, crop, size) }, size, { mask });
    const length = Math.sqrt(sum(cls.map((value) => value * value)));
    return cls.map((value) => value / length);
  };
  const dot = (a, b) => sum(a.map((value, i) => value * b[i]));
  const teacher = async ({ key, photo, crops }) =>
    [await unit(`${key} t0`, photo, crops[0], null), await unit(`${key} t1`, photo, crops[1], null)];
  const whole = await teacher(mine);
  const foreign = [];
  for (const one of others) foreign.push(...await teacher(one));
  const found = [];
  for (const [i, crop] of mine.crops.entries()) {
    const said = await unit(`${mine.key} s${i}`, mine.photo, crop, i < 2 ? mine.masks[i] : null);
    const same = i < 2 ? dot(said, whole[1 - i]) : mean(whole.map((one) => dot(said, one)));
    found.push({ same, other: mean(foreign.map((one) => dot(said, one))) });
  }
  return found;
}

const two = (value) => minus(value.toFixed(2));

/** Of the steps seen so far, the means of the four numbers; one step says little. */
function overAll(seen) {
  if (seen.size < 2) return "One step says little: press for more, and a mean is kept.";
  const [same, other, randomSame, randomOther] = [0, 1, 2, 3].map((i) => two(mean([...seen.values()].map((means) => means[i]))));
  return `Mean of your ${seen.size} steps: trained ${same} and ${other}, random ${randomSame} and ${randomOther}.`;
}

function tile(ui, { kind, name }, canvas, order, caption = "") {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  canvas.style.borderColor = ui.color(`${kind}-crop`);
  const bar = h("i", { style: "width: 0" });
  const words = h("figcaption", {}, name);
  const box = h("figure", { class: `dv2-tile${kind === "global" ? " dv2-large" : ""}` }, canvas, h("div", { class: "dv2-bar" }, bar), words);
  box.style.animationDelay = `${60 * order}ms`;
  const show = (value) => {
    words.textContent = two(value);
    bar.style.width = percent(Math.max(0, value));
  };
  return { box, show };
}

async function render({ model, el }) {
  const ui = shell({ model, el, label: "One step on a photo", style: STYLE });
  const status = h("p", { class: "dv2-notice", role: "status", hidden: true });
  const notice = (text) => { status.textContent = text; status.hidden = !text; };
  const pictures = await album(ui, notice);
  const session = seeing(model);
  const { patch_size: patch } = model.get("config");
  const [global, local] = model.get("sizes");
  const sizes = { global, local };
  const [grid, names] = [sizes.global / patch, model.get("names")];

  const photo = h("canvas", { class: "dv2-photo", role: "img" });
  const [student, teacher] = [h("div", { class: "dv2-tiles" }), h("div", { class: "dv2-tiles" })];
  ui.stage.append(photo, h("div", { class: "dv2-parts" },
    h("p", { class: "dv2-who" }, "The student sees"), student, h("p", { class: "dv2-who" }, "The teacher sees"), teacher));

  const drawn = (name) => {
    const { canvas } = pictures.named(name, 0);
    return { key: `${name} ${model.get("seed")}`, photo: canvas, ...drawStep(model.get("seed"), canvas, grid) };
  };
  const seen = new Map();
  let [tiles, shown, latest, answered] = [[], "", 0, { key: "", found: [] }];

  function paint() {
    const mine = drawn(model.get("photo"));
    const now = `${mine.key} ${ui.root.dataset.dv2Theme}`;
    if (now === shown) return;
    shown = now;
    paintPhoto(ui, photo, mine.photo, mine.crops);
    photo.setAttribute("aria-label", `The photo ${model.get("photo")} with the boxes of two global and ${N_LOCAL} local crops.`);
    tiles = mine.crops.map((crop, i) => {
      const canvas = cutOut(mine.photo, crop, SHOWN * sizes[crop.kind]);
      const hidden = i < 2 ? sum(mine.masks[i]) : 0;
      if (hidden) hidePatches(canvas, mine.masks[i], grid, ui.color("mask"));
      const words = `${crop.kind} crop ${crop.name}${hidden ? `, ${percent(hidden / grid ** 2)} of its patches hidden` : ""}`;
      return tile(ui, crop, canvas, i, `Student: ${words}`);
    });
    student.replaceChildren(...tiles.map(({ box }) => box));
    teacher.replaceChildren(...mine.crops.slice(0, 2).map((crop, i) =>
      tile(ui, crop, cutOut(mine.photo, crop, SHOWN * sizes.global), i, `Teacher: global crop ${crop.name}, whole`).box));
    if (answered.key === mine.key) answered.found.forEach(({ same }, i) => tiles[i].show(same)); // as before the theme changed
  }

  async function answer() {
    const turn = ++latest;
    if (!session.ready()) {
      return ui.say("Views of one photo: the teacher sees two large ones, whole; the student sees these, one with gaps, and six small ones. "
        + "No label says that they belong together. Does the network find out?");
    }
    ui.root.toggleAttribute("data-busy", true);
    const mine = drawn(model.get("photo"));
    const others = names.filter((name) => name !== model.get("photo")).map(drawn);
    try {
      const wanted = () => turn === latest;
      const found = await agreement(session, "trained", sizes, mine, others, wanted);
      if (!wanted()) return undefined;
      answered = { key: mine.key, found };
      found.forEach(({ same }, i) => tiles[i].show(same));
      const untrained = await agreement(session, "random", sizes, mine, others, wanted);
      if (!wanted()) return undefined;
      const means = [found, untrained].flatMap((all) => ["same", "other"].map((key) => mean(all.map((one) => one[key]))));
      seen.set(mine.key, means);
      const [same, other, randomSame, randomOther] = means.map(two);
      ui.say(`Trained weights: the student's crops agree with the teacher's of the same photo by ${same} (cosine of class tokens, 1 at most), `
        + `with those of the other photos by ${other}. Random weights: ${randomSame} and ${randomOther}; colours alone go that far. ${overAll(seen)}`);
    } catch (error) {
      if (error.message !== "stopped") notice(error.message);
    }
    if (turn === latest) ui.root.toggleAttribute("data-busy", false);
    return undefined;
  }

  const line = row(ui, "Step", { wide: true });
  const first = `Let them answer (loads ${model.get("megabytes").toFixed(1)} MB)`;
  let loading = false;
  const next = button(ui, { label: first, primary: true, into: line, onPress: async () => {
    if (loading) return session.stop();
    if (session.ready()) return ui.set({ seed: model.get("seed") + 1 });
    loading = true;
    notice("");
    try {
      await session.load((share) => { next.textContent = `Loading ${percent(share)}, press to cancel`; });
    } catch (error) {
      if (error.message !== "stopped") notice(error.message);
    }
    loading = false;
    ui.repaint();
    return answer();
  } });
  button(ui, { label: "Other photo", into: line, onPress: () =>
    ui.set({ photo: names[(names.indexOf(model.get("photo")) + 1) % names.length] }) });
  ui.watch(() => {
    if (!loading) next.textContent = session.ready() ? "Next step" : first;
    paint();
  });
  ui.root.append(h("p", { class: "dv2-note", style: "font-size: 0.85rem; color: var(--dv2-soft); margin: 0.5rem 0 0" },
    `${model.get("source")} Both parts are played by the finished teacher. It runs in your browser.`), status);
  const changed = () => { paint(); answer(); };
  for (const key of ["seed", "photo"]) model.on(`change:${key}`, changed);
  answer();
  const leave = () => { session.stop(); ui.repaint(); };
  addEventListener("pagehide", leave);
  return () => {
    session.stop();
    ui.cleanup();
    removeEventListener("pagehide", leave);
    for (const key of ["seed", "photo"]) model.off(`change:${key}`, changed);
  };
}

export default { render };
