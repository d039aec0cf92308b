// A confusion matrix whose cells open: which images, how sure the probe was, and what lay nearby in training.
import {
  arrowStep, bars, clamp, crisp, decodeImage, gallery, h, inkOn, minus, mix, percent, shell, sum, typed,
} from "./_shared.js";
import { tileDrawer } from "./_tiles.js";

const STYLE = `
.dv2-matrix {
  width: 100%; margin: 0; table-layout: fixed; border-collapse: separate; border-spacing: 1px;
  font-size: 0.78rem; font-variant-numeric: tabular-nums;
}
.dv2 .dv2-matrix :is(th, td) { padding: 0; border: 0; text-align: center; font-weight: 400; overflow: visible; }
.dv2-matrix tbody td { height: 2rem; cursor: pointer; border-radius: 2px; }
.dv2-matrix td[aria-selected="true"] { outline: 2.5px solid var(--dv2-ink); position: relative; }
.dv2 .dv2-matrix td:focus-visible { outline: 3px solid var(--dv2-focus); outline-offset: 1px; z-index: 1; }
.dv2 .dv2-matrix :is(tbody th, thead td) { width: 3.4rem; text-align: right; padding-right: 0.4rem; }
.dv2-matrix thead th { vertical-align: bottom; }
.dv2-matrix thead span { writing-mode: vertical-rl; transform: rotate(180deg); padding-top: 0.2rem; }
.dv2-note { color: var(--dv2-soft); font-size: 0.85rem; margin: 0.35rem 0 0; }
.dv2-open p { font-size: 0.88rem; margin: 0.8rem 0 0.3rem; }
.dv2-open p:first-child { font-size: 1rem; font-weight: 600; margin: 0 0 0.4rem; }
.dv2-closer { display: grid; grid-template-columns: auto 1fr; gap: 1rem; align-items: start; margin-top: 0.5rem; }
.dv2-near { display: flex; gap: 0.8rem; margin: 0; padding: 0; list-style: none; font-size: 0.8rem; }
.dv2 .dv2-near li { margin: 0; }
.dv2-near canvas { display: block; margin-bottom: 0.2rem; }
.dv2-open canvas { border-radius: 3px; }`;

// ---- the data ---------------------------------------------------------------------------------------------

/** The rows, `width` numbers each, of a bytes traitlet. */
function rowsOf(model, key, Kind, width) {
  const values = typed(model.get(key), Kind);
  const row = (i) => Array.from(values.subarray(i * width, (i + 1) * width));
  return Array.from({ length: values.length / width }, (_, i) => row(i));
}

/** Reads the model's bytes: { classes, counts[actual][predicted], cell(actual, predicted) -> its images }. */
function readMistakes(model) {
  const classes = model.get("classes");
  const k = model.get("n_neighbours");
  const probs = rowsOf(model, "probs", Float32Array, classes.length);
  const similarities = rowsOf(model, "similarities", Float32Array, k);
  const neighbours = rowsOf(model, "neighbours", Int32Array, 3);
  const nearOf = (i) => neighbours.slice(i * k, (i + 1) * k).map(([index, label, tile], j) => (
    { index, label, tile, similarity: similarities[i][j] }));
  const images = rowsOf(model, "entries", Int32Array, 4).map(([index, actual, predicted, tile], i) => (
    { index, actual, predicted, tile, probs: probs[i], near: nearOf(i) }));
  return {
    classes, counts: rowsOf(model, "counts", Int32Array, classes.length),
    cell: (actual, predicted) => images.filter((one) => one.actual === actual && one.predicted === predicted),
  };
}

// ---- the matrix -------------------------------------------------------------------------------------------

const takenFor = ({ classes }, actual, predicted) =>
  (actual === predicted ? `${classes[actual]}, recognised` : `${classes[actual]} taken for ${classes[predicted]}`);

/** The table: one cell is in the tab order, arrow keys move on, and where the focus is, the cell is open. */
function matrix(ui, data) {
  const { classes, counts } = data;
  const open = (actual, predicted) => ui.set({ actual, predicted, shown: 0 });
  const cells = counts.map((line, r) => line.map((count, c) => h("td", {
    role: "gridcell", "aria-label": `${takenFor(data, r, c)}: ${count}`, onclick: () => open(r, c),
  }, String(count))));
  const follow = (event) => {
    const step = arrowStep(event);
    if (!step) return;
    const to = [ui.model.get("actual") + step[1], ui.model.get("predicted") + step[0]];
    const [r, c] = to.map((at) => clamp(at, 0, classes.length - 1));
    open(r, c);
    cells[r][c].focus();
  };
  const head = h("tr", {}, h("td"), classes.map((name) => h("th", { scope: "col" }, h("span", {}, name))));
  const body = cells.map((line, r) => h("tr", {}, h("th", { scope: "row" }, classes[r]), line));
  const table = h("table", {
    class: "dv2-matrix", role: "grid", onkeydown: follow,
    "aria-label": "Confusion matrix: rows are actual classes, columns what the probe says",
  }, h("thead", {}, head), h("tbody", {}, body));
  const note = "Rows: what an image is. Columns: what the probe says. Stronger colour: a larger share of the row.";
  ui.stage.append(h("div", {}, table, h("p", { class: "dv2-note" }, `${note} ${ui.model.get("source")}`)));
  ui.watch(() => paintMatrix(ui, cells, counts));
}

function paintMatrix(ui, cells, counts) {
  cells.forEach((line, r) => line.forEach((cell, c) => {
    const share = counts[r][c] / (sum(counts[r]) || 1);
    const strength = r === c ? share : Math.min(1, Math.sqrt(3 * share)); // a root brings few mistakes out
    const color = mix(ui.color("raised"), ui.color(r === c ? "good" : "bad"), strength);
    const open = r === ui.model.get("actual") && c === ui.model.get("predicted");
    cell.style.background = color;
    cell.style.color = counts[r][c] ? inkOn(color) : ui.color("soft");
    cell.tabIndex = open ? 0 : -1;
    cell.setAttribute("aria-selected", open);
  }));
}

// ---- the open cell ----------------------------------------------------------------------------------------

/** The cell's images to choose from, with how sure the probe was. */
function thumbnails(ui, into, images, drawTile) {
  const update = gallery(ui, { key: "shown", label: "Images of this cell", columns: 6, into });
  ui.watch(() => update(images().map(({ tile, probs }, value) => ({
    value, name: `image ${value + 1}, ${percent(Math.max(...probs))} sure`, text: percent(Math.max(...probs)),
    paint: (ctx, side) => drawTile(ctx, tile, side),
  }))));
}

/** The chosen image, enlarged, and the probe's probabilities beside it. */
function enlarged(ui, into, data, current, drawTile) {
  const photo = h("canvas", { role: "img" });
  const scores = h("div");
  into.append(h("div", { class: "dv2-closer" }, photo, scores));
  const update = bars(ui, { label: "The probe's probabilities", into: scores });
  const roleOf = ({ actual, predicted }, i) => (i === actual ? "good" : i === predicted ? "bad" : "muted");
  ui.watch(() => {
    const image = current();
    if (!image) return;
    drawTile(crisp(photo, 128, 128), image.tile, 128);
    photo.setAttribute("aria-label", `test image ${image.index}, enlarged: ${data.classes[image.actual]}`);
    update(image.probs.map((share, i) => ({
      name: data.classes[i], share, text: percent(share, 1), color: ui.color(roleOf(image, i)),
      strong: i === image.actual || i === image.predicted,
    })));
  });
}

/** The nearest training images, each with its class and similarity. */
function neighbourList(ui, into, data, current, drawTile) {
  const items = Array.from({ length: ui.model.get("n_neighbours") }, () => (
    { canvas: h("canvas", { role: "img" }), words: h("span") }));
  into.append(h("p", {}, "Nearest training images, with cosine similarity"),
    h("ul", { class: "dv2-near" }, items.map(({ canvas, words }) => h("li", {}, canvas, words))));
  ui.watch(() => current()?.near.forEach(({ index, label, tile, similarity }, i) => {
    drawTile(crisp(items[i].canvas, 64, 64), tile, 64);
    items[i].canvas.setAttribute("aria-label", `training image ${index}: ${data.classes[label]}`);
    items[i].words.textContent = `${data.classes[label]} ${minus(similarity.toFixed(2))}`;
  }));
}

/** The opened cell beside the matrix. */
function openedCell(ui, data, images, current, drawTile) {
  const title = h("p");
  const place = h("div", { class: "dv2-open" }, title);
  const closer = h("div");
  ui.stage.append(place);
  thumbnails(ui, place, images, drawTile);
  place.append(closer);
  ui.watch(() => {
    const [actual, predicted] = [ui.model.get("actual"), ui.model.get("predicted")];
    const [count, nShown] = [data.counts[actual][predicted], images().length];
    const number = count === 1 ? "1 image" : `${count} images`;
    const few = nShown < count ? `, the ${nShown} surest shown` : "";
    title.textContent = `${takenFor(data, actual, predicted)}: ${number}${few}`;
    closer.hidden = !nShown;
  });
  enlarged(ui, closer, data, current, drawTile);
  neighbourList(ui, closer, data, current, drawTile);
}

// ---- the widget -------------------------------------------------------------------------------------------

function sentence(model, { classes, counts }, image) {
  const [actual, predicted] = [model.get("actual"), model.get("predicted")];
  const [count, total] = [counts[actual][predicted], sum(counts[actual])];
  const verb = actual === predicted ? "recognised as" : "taken for";
  const rate = `${count} of ${total} images of class ${classes[actual]} are ${verb} ${classes[predicted]}.`;
  if (!image) return rate;
  const sure = [...new Set([predicted, actual])].map((c) => `${classes[c]} ${percent(image.probs[c], 1)}`);
  const near = image.near.map(({ label, similarity }) => `${classes[label]} ${minus(similarity.toFixed(2))}`);
  return `${rate} Image ${model.get("shown") + 1}: ${sure.join(", ")}. Nearest in training: ${near.join(", ")}.`;
}

async function render({ model, el }) {
  const sheet = await decodeImage(model.get("sprite"));
  const ui = shell({ model, el, label: "Confusion matrix and its images", style: STYLE });
  const data = readMistakes(model);
  const images = () => data.cell(model.get("actual"), model.get("predicted"));
  const current = () => images()[model.get("shown")];
  matrix(ui, data);
  openedCell(ui, data, images, current, tileDrawer(model, sheet));
  ui.watch(() => {
    const chosen = current()?.index ?? -1;
    if (chosen !== model.get("chosen")) ui.set({ chosen });
    ui.say(sentence(model, data, current()));
  });
  return ui.cleanup;
}

export default { render };
