// Teacher logits -> centre -> temperature -> target, the student beside it, and how each collapse looks.
import {
  axes, bars, button, entropy, figure, h, indexOfMax, inkOn, legend, mean, minus, mix, more, percent, remember, row,
  segmented, shell, slider, softmax, sum, typed,
} from "./_shared.js";
import { centerTargets, columnMeans, klDivergence, sinkhornKnopp } from "./_targets.js";

const MAX_HALF_STEPS = 12;
const WINNER = 2; // the prototype that is ahead for every image in the collapse onto one
const SAME = 0.04; // of ln K: targets that tell less of their image count as one and the same (training/diagnosis.py)
const TEMPERATURES = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.5, 1];

const STYLE = `
.dv2 .dv2-heat { width: 100%; border-collapse: separate; border-spacing: 2px; table-layout: fixed; margin: 0;
  font-size: 12px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.dv2 .dv2-heat :is(td, th) { height: 25px; padding: 0; border: 0; text-align: center; font-weight: 400;
  color: var(--dv2-ink); background: none; white-space: nowrap; letter-spacing: -0.02em; }
.dv2 .dv2-heat td { border-radius: 3px; }
.dv2 .dv2-heat :is(th, .dv2-sum) { color: var(--dv2-soft); }
.dv2 .dv2-heat tr > :first-child { width: 12.5%; }
.dv2 .dv2-heat tbody tr { cursor: pointer; }
.dv2 .dv2-heat tr.dv2-chosen th { color: var(--dv2-ink); font-weight: 700; }
.dv2 .dv2-heat tr.dv2-chosen td:not(.dv2-sum) { outline: 1.5px solid var(--dv2-ink); }
.dv2 .dv2-heat .dv2-uneven { color: color-mix(in srgb, var(--dv2-bad) 65%, var(--dv2-ink)); font-weight: 700; }
.dv2-losses > .dv2-readout + style + .dv2-stage { margin-top: 1.2rem; }
.dv2-losses .dv2-beside > .dv2-later { margin-top: 1rem; }
.dv2-losses .dv2-gap p { font-size: 0.85rem; color: var(--dv2-soft); margin: 0; }
.dv2-losses .dv2-gap .dv2-ends { color: var(--dv2-ink); }
.dv2-losses .dv2-gap div { position: relative; height: 0.8rem; margin: 0.3rem 0; border-radius: 3px; background: var(--dv2-raised); }
.dv2-losses .dv2-gap i { position: absolute; top: 0; bottom: 0; border-radius: 3px; background: var(--dv2-teacher); min-width: 2px; }
@container (max-width: 34rem) {
  .dv2-losses .dv2-beside { display: contents; }
  .dv2-losses .dv2-gap { margin-bottom: 0.6rem; }
  .dv2-losses > .dv2-controls > .dv2-control:first-child { grid-column: 1 / -1; }
  .dv2-losses .dv2-bars { grid-template-columns: 1fr max-content; }
  .dv2-losses .dv2-bars i { grid-area: 2 / 1 / 3 / 3; margin-bottom: 0.25rem; }
}`;

// ---- what is computed -------------------------------------------------------------------------------------

/** What a collapse makes of healthy logits: nothing, all prototypes alike, or one ahead for every image. */
export function collapse(rows, outputs) {
  if (outputs === "alike") return rows.map((r) => r.map((logit) => 0.06 * logit));
  if (outputs === "one wins") return rows.map((r) => r.map((logit, k) => 0.6 * logit + (k === WINNER ? 0.8 : 0)));
  return rows;
}

function makeTargets(rows, { targets, temperature, halfSteps }) {
  if (targets === "sinkhorn") return sinkhornKnopp(rows, temperature, halfSteps);
  const center = targets === "centre" ? columnMeans(rows) : rows[0].map(() => 0);
  return centerTargets(rows, center, temperature);
}

/** Everything that is shown: logits, targets, the student, and the readings (means over the images, in nats). */
function compute(teacherRows, studentRows, settings) {
  const teacher = collapse(teacherRows, settings.outputs);
  const target = makeTargets(teacher, settings);
  const student = collapse(studentRows, settings.outputs).map((r) => softmax(r, settings.studentTemperature));
  const complete = target.map((r) => r.map((p) => p / sum(r))); // between two half steps a row need not sum to 1
  const kl = mean(complete.map((r, i) => klDivergence(r, student[i])));
  const targetEntropy = mean(complete.map(entropy));
  return {
    teacher, center: columnMeans(teacher), target, student, kl, targetEntropy, crossEntropy: targetEntropy + kl,
    use: entropy(columnMeans(complete)), winner: indexOfMax(columnMeans(complete)),
  };
}

// ---- the pictures -----------------------------------------------------------------------------------------

const number = (value) => minus(value.toFixed(2).replace(/^(-?)0\./, "$1.").replace(/^-\.00$/, ".00"));

/** A table of numbers on coloured cells; returns its caption and fill(rows, { role, shareOf, footValues, even }). */
function heatTable(ui, { text = "", nRows, nColumns, footLabel, withSums = false, into = ui.stage }) {
  const cells = Array.from({ length: nRows }, () => Array.from({ length: nColumns }, () => h("td")));
  const sums = cells.map(() => (withSums ? h("td", { class: "dv2-sum" }) : null));
  const foot = Array.from({ length: nColumns }, () => h("td", { class: "dv2-sum" }));
  const lines = cells.map((line, i) =>
    h("tr", { onclick: () => ui.set({ image: i }) }, h("th", { scope: "row" }, String(i + 1)), line, sums[i]));
  const columns = foot.map((_, k) => h("th", { scope: "col" }, String(k + 1)));
  const table = h("table", { class: "dv2-heat" },
    h("thead", {}, h("tr", {}, h("td"), columns, withSums ? h("th", { scope: "col" }, "sum") : null)),
    h("tbody", {}, lines),
    footLabel ? h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, footLabel), foot, withSums ? h("td") : null)) : null);
  const caption = h("figcaption", {}, text);
  into.append(h("figure", { class: into === ui.stage ? "dv2-figure" : "dv2-figure dv2-later" }, table, caption));

  return { caption, fill(rows, { role, shareOf, footValues, even }) {
    const write = (cell, value, target) => {
      cell.textContent = number(value);
      cell.classList.toggle("dv2-uneven", target != null && Math.abs(value - target) > 0.005);
    };
    rows.forEach((values, i) => {
      lines[i].classList.toggle("dv2-chosen", i === ui.model.get("image"));
      values.forEach((value, k) => {
        const color = mix(ui.color("surface"), ui.color(role), shareOf(value));
        Object.assign(cells[i][k].style, { background: color, color: inkOn(color) });
        write(cells[i][k], value);
      });
      if (withSums) write(sums[i], sum(values), even?.row);
    });
    footValues?.forEach((value, k) => write(foot[k], value, even?.column));
  } };
}

/** The chosen image's target and the student's answer, prototype by prototype. */
function paintBars(ui, ctx, size, target, student) {
  const area = axes(ui, ctx, size, {
    domain: { x: [0.4, target.length + 0.6], y: [0, 1.1] }, yFormat: percent,
    xLabel: "prototype", yLabel: "probability",
  });
  const width = (area.x(1) - area.x(0)) * 0.36;
  [["teacher", target, -width], ["student", student, 0]].forEach(([role, values, offset]) => {
    ctx.fillStyle = ui.color(role);
    values.forEach((p, k) => ctx.fillRect(area.x(k + 1) + offset, area.y(p), width - 1, area.bottom - area.y(p)));
  });
  return `Image ${ui.model.get("image") + 1}: target ${target.map((p) => percent(p)).join(", ")}; `
    + `student ${student.map((p) => percent(p)).join(", ")}.`;
}

/** The two entropies as a stretch of a line from 0 to ln K: what lies between them is what a target says of its image. */
function gapLine(into) {
  const stretch = h("i");
  const place = h("div", { class: "dv2-gap" }, h("p", {}, "From the entropy of one target to that of their mean, 0 to ln K"),
    h("div", { "aria-hidden": "true" }, stretch), h("p", { class: "dv2-ends" }));
  into.append(place);
  return ({ targetEntropy, use, target }) => {
    const most = Math.log(target[0].length);
    const [from, to] = [targetEntropy, use].map((value) => Math.min(1, value / most));
    Object.assign(stretch.style, { left: `${100 * from}%`, width: `${100 * Math.max(0, to - from)}%` });
    place.lastChild.textContent = `one ${targetEntropy.toFixed(2)}, mean ${use.toFixed(2)}: `
      + `${Math.max(0, use - targetEntropy).toFixed(2)} of ${most.toFixed(2)} nats tell images apart`;
  };
}

// ---- the widget -------------------------------------------------------------------------------------------

/** What the gap of the entropies says: 0 when all images get one target, whatever that is; then its entropy says which. */
export function verdict({ use, targetEntropy, winner, target }) {
  const most = Math.log(target[0].length);
  const gap = Math.max(0, use - targetEntropy);
  const says = `${gap.toFixed(2)} of ${most.toFixed(2)} nats`;
  if (gap < SAME * most) {
    if (targetEntropy > 0.5 * most) return `Collapse to uniform: a target says ${says} of its image.`;
    return `Collapse onto one: every image gets prototype ${winner + 1}, so a target says ${says} of its image.`;
  }
  if (gap < 0.25 * most) return `Weak: a target says ${says} of its image.`;
  const used = Math.exp(use).toFixed(1);
  return `Healthy: a target says ${says} of its image; together they use ${used} of ${target[0].length} prototypes.`;
}

function sentence(now, image) {
  const k = indexOfMax(now.target[image]);
  return `${verdict(now)} For image ${image + 1}, prototype ${k + 1} gets ${percent(now.target[image][k])} `
    + `in the target and ${percent(now.student[image][k])} in the student.`;
}

function readings(now) {
  const most = Math.log(now.target[0].length);
  const reading = (name, value, color, text = value.toFixed(2)) =>
    ({ name, share: Math.min(1, value / most), text, color: `var(--dv2-${color})` });
  const ofMost = (value) => `${value.toFixed(2)} of ${most.toFixed(2)}`;
  return [
    reading("Entropy of a target", now.targetEntropy, "teacher", ofMost(now.targetEntropy)),
    reading("Entropy of the mean target", now.use, "teacher", ofMost(now.use)),
    reading("KL(target ‖ student)", now.kl, "student"),
    reading("Cross-entropy = entropy + KL", now.crossEntropy, "muted"),
  ];
}

function addControls(ui, nRows) {
  slider(ui, { key: "teacher_temperature", label: "Teacher temperature", values: TEMPERATURES });
  segmented(ui, { key: "targets", label: "Targets by", options: [
    ["softmax", "softmax"], ["centre", "centre"], ["sinkhorn", "Sinkhorn"]] });
  segmented(ui, { key: "outputs", label: "Networks' outputs", options: [
    ["healthy", "healthy"], ["alike", "all alike"], ["one wins", "one wins"]] });
  const into = more(ui, "More: image, student's temperature, Sinkhorn's steps");
  segmented(ui, { key: "image", label: "Image", into, options:
    Array.from({ length: nRows }, (_, i) => [i, String(i + 1)]) });
  slider(ui, { key: "student_temperature", label: "Student temperature", values: TEMPERATURES, into });
  const halfSteps = slider(ui, {
    key: "half_steps", label: "Sinkhorn steps", min: 0, max: MAX_HALF_STEPS, into,
    format: (n) => (n ? `${n}: ${n % 2 ? "columns" : "rows"}` : "none"),
  });
  const next = button(ui, { label: "One step", into: row(ui, "Sinkhorn", { into }), onPress: () =>
    ui.set({ half_steps: (ui.model.get("half_steps") + 1) % (MAX_HALF_STEPS + 1) }) });
  ui.watch(() => { halfSteps.disabled = next.disabled = ui.model.get("targets") !== "sinkhorn"; });
}

function readRows(view, nColumns) {
  const values = Array.from(typed(view, Float32Array));
  return Array.from({ length: values.length / nColumns }, (_, i) => values.slice(i * nColumns, (i + 1) * nColumns));
}

function render({ model, el }) {
  const ui = shell({ model, el, label: "Targets and losses", style: STYLE });
  ui.root.classList.add("dv2-losses");
  const nColumns = model.get("n_prototypes");
  const teacherRows = readRows(model.get("teacher_logits"), nColumns);
  const studentRows = readRows(model.get("student_logits"), nColumns);
  const nRows = teacherRows.length;
  const computed = remember((targets, temperature, halfSteps, outputs, studentTemperature) =>
    compute(teacherRows, studentRows, { targets, temperature, halfSteps, outputs, studentTemperature }));
  const current = () => computed(...["targets", "teacher_temperature", "half_steps", "outputs", "student_temperature"]
    .map((key) => model.get(key)));

  const targets = heatTable(ui, { text: "Targets: rows are images, columns prototypes",
    nRows, nColumns, footLabel: "sum", withSums: true });
  const beside = h("div", { class: "dv2-beside" });
  const after = h("div", { class: "dv2-stage" });
  ui.stage.append(beside);
  ui.root.append(after);
  const showGap = gapLine(beside);
  const chosen = figure(ui, { caption: "The chosen image: its target and the student's answer", aspect: 2, into: after, paint: (ctx, size) =>
    paintBars(ui, ctx, size, current().target[model.get("image")], current().student[model.get("image")]) });
  chosen.parentElement.classList.add("dv2-later");
  const panel = h("div", { class: "dv2-later" });
  beside.append(panel);
  legend(ui, [["teacher", "teacher"], ["student", "student"]], panel);
  const showReadings = bars(ui, { label: "Means over the images, in nats", into: panel });
  const logits = heatTable(ui, { nRows, nColumns, footLabel: "mean", into: after });
  const student = heatTable(ui, { text: "Student's probabilities for the same images", nRows, nColumns, into: after });
  addControls(ui, nRows);

  ui.watch(() => {
    const now = current();
    const [low, high] = [Math.min(...teacherRows.flat()), Math.max(...teacherRows.flat())];
    const even = model.get("targets") === "sinkhorn" ? { row: 1, column: nRows / nColumns } : null;
    logits.fill(now.teacher, { role: "teacher", footValues: now.center,
      shareOf: (value) => 0.6 * Math.min(1, Math.max(0, (value - low) / (high - low))) });
    const use = model.get("targets") === "centre" ? "subtracted for the targets" : "not used here";
    logits.caption.textContent =
      `Teacher's logits: a row an image, a column a prototype. Last row: their mean, the centre (${use})`;
    targets.fill(now.target, { role: "teacher", shareOf: (p) => Math.min(1, p), even,
      footValues: now.target[0].map((_, k) => sum(now.target.map((r) => r[k]))) });
    student.fill(now.student, { role: "student", shareOf: (p) => p });
    showReadings(readings(now));
    showGap(now);
    ui.say(sentence(now, model.get("image")));
    const [entropyNow, klNow] = [now.targetEntropy, now.kl];
    if (entropyNow !== model.get("target_entropy") || klNow !== model.get("kl")) {
      ui.set({ target_entropy: entropyNow, kl: klNow });
    }
  });
  return ui.cleanup;
}

export default { render };
