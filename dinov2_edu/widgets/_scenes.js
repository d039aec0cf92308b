// The views of "Your picture": what is computed for each, its boards, and what it says in words.
//
// A scene is what boardFigure draws ({ list, columns, scale, alt, over }) and `said`, the readout. It is made anew whenever
// the reader chose something, from `state` (the model's values), two pictures and the session of _seeing.js.
import { indexOfMax, mean, percent, rgb, sum } from "./_numbers.js";
import { outline, strokeOverPhoto } from "./_figures.js";
import { pcaColors } from "./_principal.js";
import { cosines, unitRows } from "./_seeing.js";
import { SHARES, shareOnScale, tokenGrid } from "./_tokens.js";
import {
  aspectOf, fixed, four, frame, hiddenBits, inWords, indexOf, middle, patchAtPlace, patchOf, photoBoard, sign,
  valueBoard,
} from "./_boards.js";
import { nearestScene } from "./_nearest.js";

const COSINE = { label: "cosine", ends: ["0 or less", "1"] };
const MOVED = { label: "1 − cosine with the token of the whole picture", ends: ["0: not moved", "1 or more"] };
/** Views that pixels have no say in: there is nothing to see before the model is there. */
export const NEEDS_MODEL = ["attention", "blocks", "masking", "prototypes"];
const NETWORKS = { trained: "trained weights", random: "random weights", pixels: "pixels alone" };

// ---- similarity -------------------------------------------------------------------------------------------

/** Mean cosine with the patches wanted, less the mean cosine with those not wanted: a score for each of `others`. */
export function similarity(unit, d, more, less, others) {
  const average = (indices) => {
    const rows = indices.map((index) => cosines(unit, index, others, d));
    return rows[0].map((_, i) => mean(rows.map((row) => row[i])));
  };
  const wanted = average(more);
  if (!less.length) return wanted;
  const unwanted = average(less);
  return wanted.map((value, i) => value - unwanted[i]);
}

const atLeast = (scores, threshold) => Array.from(scores, (score) => score >= threshold);

async function similarityScene(state, [first, second], session) {
  const { network, size, threshold, place } = state;
  const [a, b] = await Promise.all([first, second].map((picture) => session.tokens(network, picture, size)));
  const patchesOf = (places) => places.map((one) => indexOf(patchAtPlace(one, a.grid), a.grid));
  const [more, less] = [patchesOf(state.more.length ? state.more : [place]), patchesOf(state.less)];
  const [unitA, unitB] = [a, b].map(unitRows);
  const [own, others] = [unitA, unitB].map((unit) => similarity(unitA, a.d, more, less, unit));
  const best = patchOf(indexOfMax(others), b.grid);
  const here = patchAtPlace(place, a.grid);
  const onFirst = (ctx, at) => {
    strokeOverPhoto(ctx, outline(atLeast(own, threshold), a.grid, at));
    if (state.more.length) more.forEach((index) => sign(ctx, patchOf(index, a.grid), a.grid, at, true));
    less.forEach((index) => sign(ctx, patchOf(index, a.grid), a.grid, at, false));
    frame(ctx, here, a.grid, at);
  };
  const onSecond = (ctx, at) => {
    strokeOverPhoto(ctx, outline(atLeast(others, threshold), b.grid, at));
    frame(ctx, best, b.grid, at);
  };
  const from = more.includes(indexOf(here, a.grid)) ? here : patchOf(more[0], a.grid);
  const counts = [own, others].map((scores) => `${sum(atLeast(scores, threshold))} of ${scores.length}`);
  const asked = more.length + less.length > 1
    ? `${more.length} patches wanted, ${less.length} not` : `Like ${inWords(from)} of “${first.name}”`;
  return {
    list: [
      photoBoard(first, a.grid, 0, onFirst), valueBoard("similarity here", own, a.grid, 0, (ctx, at) => frame(ctx, here, a.grid, at)),
      photoBoard(second, b.grid, 1, onSecond), valueBoard("and there", others, b.grid, 1, (ctx, at) => frame(ctx, best, b.grid, at)),
    ],
    columns: four, scale: COSINE, grid: a.grid,
    over: (ctx, places) => {
      const path = new Path2D();
      path.moveTo(...middle(from, a.grid, places[0]));
      path.lineTo(...middle(best, b.grid, places[2]));
      strokeOverPhoto(ctx, path);
    },
    alt: `${first.name} and ${second.name}, each beside the similarity of its patches to the chosen one. `
      + "Arrow keys move to another patch.",
    said: `${asked}, by ${NETWORKS[network]}: best match in “${second.name}” at ${inWords(best)} `
      + `(${fixed(others[indexOf(best, b.grid)])}). At least ${fixed(threshold)}: ${counts[0]} patches here, ${counts[1]} there.`,
  };
}

// ---- attention --------------------------------------------------------------------------------------------

async function attentionScene(state, [picture], session) {
  const { network, size, block, query, place, config: { heads, n_registers } } = state;
  const grid = session.grid(picture, size);
  const prefix = 1 + n_registers;
  const here = patchAtPlace(place, grid);
  const rows = await session.attention(network, picture, size, block, query === "cls" ? 0 : prefix + indexOf(here, grid));
  const t = rows.length / heads;
  const shares = Array.from({ length: heads }, (_, head) =>
    Array.from(rows.subarray(head * t + prefix, (head + 1) * t), (weight) => weight * t));
  const average = shares[0].map((_, i) => mean(shares.map((row) => row[i])));
  const mark = (ctx, at) => { if (query === "patch") frame(ctx, here, grid, at); };
  const board = (title, values) => valueBoard(title, values.map(shareOnScale), grid, 0, mark);
  const peaks = shares.map((values, head) => {
    const top = indexOfMax(values);
    return `head ${head + 1} ${fixed(values[top], 1)} at ${inWords(patchOf(top, grid))}`;
  });
  const who = query === "cls" ? "the class token" : `the patch at ${inWords(here)}`;
  const toClass = mean(Array.from({ length: heads }, (_, head) => rows[head * t]));
  return {
    list: [photoBoard(picture, grid, 0, mark), board("mean of the heads", average),
      ...shares.map((values, head) => board(`head ${head + 1}`, values))],
    columns: (width) => (width > 560 ? 3 : 2), scale: SHARES, grid,
    alt: `${picture.name}, and beside it where ${who} looks in each head of block ${block}. Arrow keys move to another patch.`,
    said: `Block ${block}, ${NETWORKS[network]}, ${who}. Strongest patch, in even shares of 1/${t}: ${peaks.join("; ")}. `
      + `To the class token ${percent(toClass, 1)}.`,
  };
}

// ---- colours ----------------------------------------------------------------------------------------------

const rowsOf = ({ data, d }) => Array.from({ length: data.length / d }, (_, i) => data.subarray(i * d, (i + 1) * d));

async function coloursScene(state, pictures, session) {
  const { network, size, cut, foreground_high: foregroundHigh, together } = state;
  const seen = await Promise.all(pictures.map((picture) => session.tokens(network, picture, size)));
  const options = { count: 3, threshold: cut, foregroundHigh, passes: 2 };
  const sets = together ? [seen.flatMap(rowsOf)] : seen.map(rowsOf);
  const found = sets.map((rows) => pcaColors(rows, options));
  const [first, second] = seen.map(({ grid: [rows, cols] }) => rows * cols);
  const colors = together ? [found[0].colors.slice(0, first), found[0].colors.slice(first, first + second)]
    : found.map((one) => one.colors);
  const board = (i) => ({
    title: "its three components", grid: seen[i].grid, slot: i, aspect: aspectOf(seen[i].grid), colors: colors[i],
    paint: (ctx, at) => {
      ctx.fillStyle = state.color("raised"); // now, since the theme may have changed
      ctx.fillRect(at.x, at.y, at.width, at.height);
      tokenGrid(ctx, at, seen[i].grid, (patch) => colors[i][patch]?.map((value) => 255 * value) ?? null);
    },
  });
  const shares = colors.map((ofOne) => ofOne.filter(Boolean).length / ofOne.length);
  const apart = together && Math.max(...shares) - Math.min(...shares) > 0.7
    ? " The first component tells the two pictures apart, and little within them: fit each alone." : "";
  const counts = colors.map((ofOne, i) => `${ofOne.filter(Boolean).length} of ${ofOne.length} of “${pictures[i].name}”`);
  const explained = found.map(({ explained: held }) => held.map((share) => percent(share)).join(", "));
  const none = found.some(({ explained: held }) => !held.length);
  return {
    list: pictures.flatMap((picture, i) => [photoBoard(picture, seen[i].grid, i), board(i)]),
    columns: four, scale: null, grid: seen[0].grid,
    alt: `${pictures.map(({ name }) => name).join(" and ")}, each beside its patches coloured by three components.`,
    said: `By ${NETWORKS[network]}, foreground: ${counts.join(", ")}. ${none ? "Too few for components: move the cut."
      : `Red, green and blue hold ${explained.join(" (second picture: ")}${together ? "" : ")"} of the foreground's variance.`}${apart}`,
  };
}

// ---- through the blocks -----------------------------------------------------------------------------------

async function blocksScene(state, [picture], session) {
  const { network, size, place, threshold, config: { depth } } = state;
  const numbers = Array.from({ length: depth }, (_, i) => i + 1);
  const seen = [await session.tokens("pixels", picture, size)];
  for (const block of numbers) seen.push(await session.tokens(network, picture, size, { block }));
  const { grid } = seen[0];
  const here = patchAtPlace(place, grid);
  const maps = seen.map((tokens) => {
    const unit = unitRows(tokens);
    return cosines(unit, indexOf(here, grid), unit, tokens.d);
  });
  const mark = (ctx, at) => frame(ctx, here, grid, at);
  const titles = ["pixels", ...numbers.map((block) => `block ${block}`)];
  const shares = maps.map((map) => percent(sum(atLeast(map, threshold)) / map.length));
  return {
    list: [photoBoard(picture, grid, 0, mark), ...maps.map((map, i) => valueBoard(titles[i], map, grid, 0, mark))],
    columns: four, scale: COSINE, grid,
    alt: `${picture.name}, and the similarity of its patches to the chosen one by pixels and after each block.`,
    said: `Like ${inWords(here)} of “${picture.name}”, ${NETWORKS[network]}. Patches with a cosine of at least ${fixed(threshold)}: `
      + `by pixels ${shares[0]}, after blocks 1 to ${depth}: ${shares.slice(1).join(", ")}.`,
  };
}

// ---- masking ----------------------------------------------------------------------------------------------

const cosineOf = (a, b) => {
  const [x, y] = [a, b].map((data) => unitRows({ data, d: data.length }));
  return sum(x.map((value, i) => value * y[i]));
};

/**
 * How far tokens moved: { moved: 1 - cosine with before, of each; own: mean cosine of the hidden ones with what they were;
 * others: with what the other hidden ones were }. Only where own is above others does a token know its place.
 */
export function howFar(whole, masked, hidden) {
  const [before, after] = [whole, masked].map(unitRows);
  const { d } = whole;
  const [sums, count] = [[new Float64Array(d), new Float64Array(d)], sum(hidden)];
  let same = 0;
  const moved = Array.from(hidden, (isHidden, i) => {
    let cosine = 0;
    for (let k = i * d; k < (i + 1) * d; k++) {
      cosine += before[k] * after[k];
      if (isHidden) { sums[0][k - i * d] += before[k]; sums[1][k - i * d] += after[k]; }
    }
    if (isHidden) same += cosine;
    return 1 - cosine;
  });
  const all = sum(sums[0].map((value, k) => value * sums[1][k]));
  return { moved, own: same / count, others: (all - same) / (count * (count - 1)) };
}

/**
 * At hidden patches: does the student's head, on the masked picture, name the prototype that the teacher's does on the whole?
 *
 * Both stand on the teacher's backbone, the only one that ships.
 */
async function answersOf(session, picture, size, hidden) {
  const places = Array.from(hidden.keys()).filter((i) => hidden[i]);
  if (!places.length) return { isRight: () => false, hits: 0, elsewhere: 0 };
  const [{ named: right }, { named: said }] = [await session.prototypes("teacher", picture, size),
    await session.prototypes("student", picture, size, hidden)];
  const hits = places.filter((i) => said[i] === right[i]);
  // The same answers, each held against the teacher's at every other hidden patch.
  const times = new Map();
  for (const i of places) times.set(right[i], (times.get(right[i]) ?? 0) + 1);
  const elsewhere = sum(places.map((i) => (times.get(said[i]) ?? 0) - Number(said[i] === right[i])));
  return { isRight: (i) => said[i] === right[i], hits: hits.length,
    elsewhere: elsewhere / Math.max(1, places.length * (places.length - 1)) };
}

async function maskingScene(state, [picture, other], session) {
  const { network, size, place, heads } = state;
  const grid = session.grid(picture, size);
  const hidden = hiddenBits(state.hidden, grid);
  const [whole, masked, stranger] = await Promise.all([session.tokens(network, picture, size),
    session.tokens(network, picture, size, { mask: hidden }), session.tokens(network, other, size)]);
  const { moved, own, others } = howFar(whole, masked, hidden);
  const count = sum(hidden);
  const seen = count < hidden.length ? `; seen tokens ${fixed(1 - mean(moved.filter((_, i) => !hidden[i])))}` : "";
  const here = patchAtPlace(place, grid);
  const cover = (ctx, at) => {
    const color = rgb(state.color("mask"));
    tokenGrid(ctx, at, grid, (i) => (hidden[i] ? color : null));
    frame(ctx, here, grid, at);
  };
  // Where nothing is hidden too: a board that came with the first hidden patch would move the others under a stroke.
  const answers = heads.file && !session.withoutHeads() && network === "trained" ? await answersOf(session, picture, size, hidden) : null;
  const board = answers && {
    title: "outlined: prototype guessed right", grid, slot: 0, aspect: aspectOf(grid),
    paint: (ctx, at) => {
      const [right, wrong, rest] = ["good", "bad", "raised"].map((role) => rgb(state.color(role)));
      tokenGrid(ctx, at, grid, (i) => (!hidden[i] ? rest : answers.isRight(i) ? right : wrong));
      strokeOverPhoto(ctx, outline(Array.from(hidden, (one, i) => Number(one && answers.isRight(i))), grid, at));
    },
  };
  const named = answers && count ? ` At ${answers.hits} of ${count} hidden patches (${percent(answers.hits / count)}) the student’s head, on the one backbone, names the `
    + `teacher’s prototype, one of ${heads.prototypes.toLocaleString("en")}${count > 1 ? `; it fits another hidden patch in ${percent(answers.elsewhere)}` : ""}.` : "";
  const said = count === 0 ? "No patch is hidden: tap some, or hide them at random."
    : `${count} of ${hidden.length} patches hidden, ${NETWORKS[network]}. Cosine with the whole picture’s: class token `
      + `${fixed(cosineOf(whole.cls, masked.cls))} (class token of “${other.name}”: ${fixed(cosineOf(whole.cls, stranger.cls))}), `
      + `hidden tokens ${fixed(own)} with what they were${count > 1 ? `, ${fixed(others)} with what other hidden ones were` : ""}${seen}.${named}`;
  return {
    list: [photoBoard(picture, grid, 0, cover), valueBoard("how far each token moved", moved, grid, 0,
      (ctx, at) => strokeOverPhoto(ctx, outline(hidden, grid, at))), ...(board ? [board] : [])],
    columns: (width) => (board && width > 560 ? 3 : 2), scale: MOVED, grid,
    alt: `${picture.name} with hidden patches, and how far each token moved${board ? ", and where the student named the teacher’s prototype" : ""}. Arrow keys move, the space bar hides a patch.`,
    said,
  };
}

// ---- prototypes -------------------------------------------------------------------------------------------

const ROLES = ["student", "teacher", "cls", "patch", "register", "global-crop", "local-crop"]; // colours that stay apart

async function prototypesScene(state, pictures, session) {
  const { size, place, heads } = state;
  if (session.withoutHeads()) return waitingScene(state, pictures, session, session.withoutHeads());
  const seen = await Promise.all(pictures.map((picture) => session.prototypes("teacher", picture, size)));
  const times = new Map();
  for (const { named } of seen) for (const name of named) times.set(name, (times.get(name) ?? 0) + 1);
  const often = [...times.keys()].sort((a, b) => times.get(b) - times.get(a) || a - b).slice(0, ROLES.length);
  const [{ named, grid }] = seen;
  const here = patchAtPlace(place, grid);
  const chosen = named[indexOf(here, grid)];
  const alike = seen.map((one) => Array.from(one.named, (name) => Number(name === chosen)));
  const marks = (i) => (ctx, at) => {
    strokeOverPhoto(ctx, outline(alike[i], seen[i].grid, at));
    if (i === 0) frame(ctx, here, grid, at);
  };
  const board = (i) => ({
    title: "its prototypes", grid: seen[i].grid, slot: i, aspect: aspectOf(seen[i].grid),
    paint: (ctx, at) => {
      const [colors, rest] = [ROLES.map((role) => rgb(state.color(role))), rgb(state.color("line"))];
      tokenGrid(ctx, at, seen[i].grid, (patch) => colors[often.indexOf(seen[i].named[patch])] ?? rest);
      marks(i)(ctx, at);
    },
  });
  const counts = alike.map((ofOne, i) => `${sum(ofOne)} of ${ofOne.length} patches of “${pictures[i].name}”`);
  const coloured = sum(often.map((name) => times.get(name))) / sum(seen.map((one) => one.named.length));
  return {
    list: pictures.flatMap((picture, i) => [photoBoard(picture, seen[i].grid, i, marks(i)), board(i)]),
    columns: four, scale: null, grid,
    alt: `${pictures.map(({ name }) => name).join(" and ")}, each beside its patches coloured by the prototype that the teacher’s head names. `
      + "Arrow keys move to another patch.",
    said: `The patch at ${inWords(here)} of “${pictures[0].name}” scores highest on prototype ${chosen} of ${heads.prototypes.toLocaleString("en")}, `
      + `and so do ${counts.join(" and ")}. Prototypes named in all: ${times.size}; the ${often.length} most frequent have a colour, ${percent(coloured)} of the patches.`,
  };
}

/** Photos alone, for a view that waits for the model. */
export function waitingScene(state, [picture], session, words) {
  const grid = session.grid(picture, state.size);
  return { list: [photoBoard(picture, grid, 0)], columns: () => 2, scale: null, grid, alt: picture.name, said: words };
}

export const SCENES = {
  similarity: similarityScene, attention: attentionScene, colours: coloursScene, blocks: blocksScene, masking: maskingScene,
  prototypes: prototypesScene,
  nearest: nearestScene,
};
