// The curves of a training log, with ln K where it is known: losses, entropies, k-NN accuracy.
import { drawCurve, drawLevel, lineSample } from "./_curves.js";
import { axes, figure, legend } from "./_figures.js";
import { percent, short } from "./_numbers.js";
import { h } from "./_shell.js";

const POINTS = 600; // of a curve that are drawn at most
const LOG_CHARTS = [
  { title: "losses", level: true, lines: [["dino", "DINO", "global-crop", []], ["ibot", "iBOT", "patch", [2, 3]],
    ["koleo", "KoLeo", "register", [4, 4]], ["loss", "sum, as logged", "muted", [9, 3, 2, 3]]] },
  { title: "entropy of targets, nats", level: true, lines: [["mean_target_entropy", "mean target", "cls", [7, 3]],
    ["target_entropy", "one target", "teacher", []], ["patch_target_entropy", "a patch's target", "patch", [2, 3]]] },
  { title: "k-NN accuracy", lines: [["knn", "k-NN", "teacher", []]], words: percent },
];

/** A curve of at most POINTS points, counted from the last, so that the end of a run is always there. */
export function thinnedCurve({ steps, values }) {
  const every = Math.max(1, Math.ceil(values.length / POINTS));
  const kept = (_, i) => (values.length - 1 - i) % every === 0;
  return { steps: steps.filter(kept), values: values.filter(kept) };
}

const present = ({ lines }, shown) => lines.filter(([name]) => shown.curves[name]);

/** What all curves of a chart span upwards, from 0 or from below it. */
function heights(curves, level) {
  let [low, high] = [0, level ?? 0];
  for (const { values } of curves) {
    for (const value of values) {
      if (Number.isFinite(value)) [low, high] = [Math.min(low, value), Math.max(high, value)];
    }
  }
  return [1.05 * low, 1.12 * high || 1];
}

function logChart(ui, kind, nowShown) {
  const words = kind.words ?? short;
  const shown = () => (nowShown() && present(kind, nowShown()).length ? nowShown() : null);
  const levelOf = ({ k }) => (kind.level && k ? Math.log(k) : null);
  const levelText = ({ k }) => `ln ${k} = ${Math.log(k).toFixed(2)}: uniform`;
  let box = null;
  ui.watch(() => { if (box) box.hidden = !shown(); });
  const canvas = figure(ui, {
    aspect: (width) => width / 230,
    paint: (ctx, size) => {
      const now = shown();
      if (!now) return "";
      const lines = present(kind, now);
      const last = Math.max(1, ...lines.map(([name]) => now.curves[name].steps.at(-1)));
      const level = levelOf(now);
      const area = axes(ui, ctx, size, { xLabel: now.byEpoch ? "epoch" : "training step", yLabel: kind.title,
        yFormat: words, domain: { x: [0, last], y: heights(lines.map(([name]) => now.curves[name]), level) } });
      if (level !== null) drawLevel(ui, ctx, area, level, levelText(now));
      for (const [name, , role, dash] of [...lines].reverse()) {
        drawCurve(ctx, area, now.curves[name], ui.color(role), { dash });
      }
      const ends = lines.map(([name, text]) => {
        const { values } = now.curves[name];
        return `${text} ${inChart(values[0], words)} at first, ${inChart(values.at(-1), words)} at the end`;
      });
      return `Chart over steps: ${kind.title}. ${[...ends, ...(level === null ? [] : [levelText(now)])].join("; ")}.`;
    },
  });
  box = canvas.parentElement;
  box.hidden = !shown();
  const key = legend(ui, [], box);
  ui.watch(() => key.replaceChildren(...(shown() ? present(kind, shown()) : []).map(([, text, role, dash]) =>
    h("span", {}, lineSample({ role, dash }), ` ${text}`))));
  return box;
}

const inChart = (value, words) => (Number.isFinite(value) ? words(value) : "not finite");

/** The charts of the log of now: nowShown() gives { curves: { name: { steps, values } }, k or null, byEpoch }, or null. */
export function logCharts(ui, nowShown) {
  LOG_CHARTS.map((kind) => logChart(ui, kind, nowShown)).slice(1).forEach((box) => box.classList.add("dv2-later"));
}
