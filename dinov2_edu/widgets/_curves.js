// Curves of a training run on the axes of a chart, and the line at ln K.
import { font, haloText, strokeLine } from "./_figures.js";
import { h } from "./_shell.js";

/** A curve, { steps, values }, with gaps where values are not finite. */
export function drawCurve(ctx, area, { steps, values }, color, { dash = [], width = 2 } = {}) {
  ctx.strokeStyle = color;
  ctx.lineWidth = width;
  ctx.setLineDash(dash);
  ctx.lineJoin = "round";
  ctx.beginPath();
  let down = false;
  values.forEach((value, i) => {
    if (!Number.isFinite(value)) { down = false; return; }
    const place = [area.x(steps[i]), area.y(value)];
    if (down) ctx.lineTo(...place); else ctx.moveTo(...place);
    down = true;
  });
  ctx.stroke();
  ctx.setLineDash([]);
}

/** A dotted line across the chart at a height, and what it stands for. */
export function drawLevel(ui, ctx, area, level, text) {
  ctx.strokeStyle = ui.color("soft");
  ctx.lineWidth = 1;
  ctx.setLineDash([3, 3]);
  strokeLine(ctx, area.left, area.y(level), area.right, area.y(level));
  ctx.setLineDash([]);
  ctx.font = font(ui, 12);
  ctx.fillStyle = ui.color("soft");
  ctx.textAlign = "right";
  haloText(ui, ctx, text, area.right - 10, area.y(level) - 9);
}

/** A sample of a line, as a small drawing. */
export function lineSample({ role, dash }) {
  const box = h("span");
  box.innerHTML = `<svg viewBox="0 0 26 10" width="26" height="10" aria-hidden="true"><line x1="0" y1="5" x2="26" y2="5"
    stroke="var(--dv2-${role})" stroke-width="2.5" stroke-dasharray="${dash.join(" ")}"/></svg>`;
  return box.firstChild;
}
