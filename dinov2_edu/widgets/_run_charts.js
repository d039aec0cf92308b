// Charts of a run that trains in the page: k-NN accuracy, entropies, losses, spread, with the run before it in thin lines.
import { drawCurve, drawLevel, lineSample } from "./_curves.js";
import { axes, figure, font, haloText, legend, strokeLine } from "./_figures.js";
import { BREAK_WORDS } from "./_learning.js";
import { percent, short } from "./_numbers.js";
import { h } from "./_shell.js";

const CHARTS = {
  knn: { title: "k-NN accuracy", percent: true, lines: [["knn", "k-NN", "teacher", []]], top: () => 0.8,
    levels: (run) => (run.pixels === null ? [] : [[run.pixels, `pixels ${percent(run.pixels)}`]]) },
  entropy: { title: "entropy of targets, nats",
    lines: [["mean_target_entropy", "mean target", "cls", [7, 3]], ["target_entropy", "one target", "teacher", []],
      ["patch_target_entropy", "a patch's target", "patch", [2, 3]]],
    top: (run) => 1.15 * (run.levelAt ?? Math.log(32)),
    levels: ({ levelAt: at, config }) => (at ? [[at, `ln ${config.n_prototypes} = ${at.toFixed(2)}: uniform`]] : []) },
  loss: { title: "parts of the loss",
    lines: [["loss", "sum", "muted", []], ["dino_local", "DINO, local", "local-crop", [9, 3, 2, 3]],
      ["dino_global", "DINO, global", "global-crop", [7, 3]], ["ibot", "iBOT", "patch", [2, 3]],
      ["koleo", "KoLeo", "register", [4, 4]]], levels: () => [] },
  spread: { title: "spread of the features", lines: [["feature_spread", "spread", "student", []]], top: () => 1.05,
    levels: () => [] },
};

/** What a chart spans upwards: as far as it always does, or over all that is drawn. */
function heightsOf({ lines, top }, runs) {
  const values = lines.flatMap(([key]) => runs.flatMap((run) => run.curves[key]?.values ?? [])).filter(Number.isFinite);
  if (top) return [0, Math.max(top(runs[0]), ...values)];
  return [Math.min(0, ...values), 1.05 * Math.max(1, ...values)];
}

/** Dotted lines where something was taken away or given back. */
function drawMarks(ui, ctx, area, { marks }, named) {
  ctx.strokeStyle = ui.color("ink");
  ctx.lineWidth = 1;
  marks.forEach(({ step, name, broken }, i) => {
    ctx.setLineDash([2, 3]);
    strokeLine(ctx, area.x(step), area.top, area.x(step), area.bottom);
    ctx.setLineDash([]);
    if (!named) return;
    ctx.font = font(ui, 12);
    ctx.fillStyle = ui.color("ink");
    ctx.textAlign = area.x(step) > (area.left + area.right) / 2 ? "right" : "left";
    const text = broken ? BREAK_WORDS[name] : `${name} repaired`;
    haloText(ui, ctx, text, area.x(step) + (ctx.textAlign === "left" ? 4 : -4), area.top + 8 + 15 * (i % 3));
  });
}

/** The chart of a name; runs() gives the run of now and the one before it, or null. Returns its figure. */
export function chart(ui, name, runs, into) {
  const kind = CHARTS[name];
  const canvas = figure(ui, {
    into, aspect: (width) => width / 215,
    paint: (ctx, size) => {
      const [run, before] = runs();
      const drawn = before ? [run, before] : [run];
      const last = Math.max(...drawn.map((one) => one.last ?? 1000));
      const area = axes(ui, ctx, size, { domain: { x: [0, last], y: heightsOf(kind, drawn) }, xLabel: "step",
        yLabel: kind.title, yFormat: kind.percent ? (value) => percent(value) : short });
      for (const [level, text] of kind.levels(run)) drawLevel(ui, ctx, area, level, text);
      drawMarks(ui, ctx, area, run, name === "knn");
      for (const [key, , role, dash] of kind.lines) {
        if (before?.curves[key]) drawCurve(ctx, area, before.curves[key], ui.color("soft"), { dash, width: 0.8 });
        if (run.curves[key]) drawCurve(ctx, area, run.curves[key], ui.color(role), { dash, width: kind.percent ? 3 : 2 });
      }
      return chartWords(kind, run);
    },
  });
  if (kind.lines.length > 1) {
    legend(ui, [], canvas.parentElement).append(...kind.lines.map(([, text, role, dash]) =>
      h("span", {}, lineSample({ role, dash }), ` ${text}`)));
  }
  return canvas.parentElement;
}

function chartWords({ title, lines, percent: inPercent, levels }, run) {
  const words = inPercent ? (value) => percent(value) : short;
  const said = lines.flatMap(([key, text]) => {
    const values = run.curves[key]?.values;
    return values ? [`${text} ${words(values[0])} at first, now ${words(values.at(-1))}`] : [];
  });
  const lasting = levels(run).map(([, text]) => text);
  return `Chart over steps: ${title}. ${[...said, ...lasting].join("; ") || "No step yet"}.`;
}
