// A sphere seen from the side: its ball and lines, and marks on it, near ones over far ones.
import { font, haloText, mix } from "./_shared.js";

/** Turns a point by two angles in degrees: x to the right, y up, z towards the reader. */
export function turn([x, y, z], yaw, pitch) {
  const [a, b] = [yaw * Math.PI / 180, pitch * Math.PI / 180];
  const [x1, z1] = [Math.cos(a) * x + Math.sin(a) * z, Math.cos(a) * z - Math.sin(a) * x];
  return [x1, Math.cos(b) * y - Math.sin(b) * z1, Math.sin(b) * y + Math.cos(b) * z1];
}

/** A degree in [-180, 180). */
export const wrap = (degrees) => ((degrees + 180) % 360 + 360) % 360 - 180;

/** Where a picture shows a turned point: `ball` is { x, y, radius } of the sphere on it. */
export const project = (ball, [x, y, z]) => ({ x: ball.x + ball.radius * x, y: ball.y - ball.radius * y, z });

/**
 * Draws a ball with marks and the lines between them.
 *
 * A mark is { kind, x, y, z, chosen }, a prototype's also { name, used }; `links` and `spokes` are pairs of marks,
 * `view` turns a point of the ball's own axes.
 */
export function drawSphere(ui, ctx, ball, view, { marks, links, spokes }) {
  const ordered = [...marks].sort((a, b) => a.z - b.z);
  drawBall(ui, ctx, ball);
  drawGraticule(ui, ctx, ball, view, false);
  drawLinks(ui, ctx, spokes, 0.25);
  drawLinks(ui, ctx, links, 0.5);
  ctx.globalAlpha = 0.4;
  ordered.filter((mark) => mark.z < 0).forEach((mark) => drawMark(ui, ctx, mark));
  drawGraticule(ui, ctx, ball, view, true);
  ordered.filter((mark) => mark.z >= 0).forEach((mark) => drawMark(ui, ctx, mark));
}

function drawBall(ui, ctx, { x, y, radius }) {
  const shade = ctx.createRadialGradient(x - radius / 3, y - radius / 3, radius / 8, x, y, radius);
  shade.addColorStop(0, mix(ui.color("raised"), ui.color("surface"), 0.5));
  shade.addColorStop(1, mix(ui.color("raised"), ui.color("soft"), 0.16));
  ctx.fillStyle = shade;
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fill();
}

const radians = (degrees) => degrees * Math.PI / 180;
const LATITUDES = [-60, -30, 0, 30, 60].map(radians);
const LONGITUDES = [0, 30, 60, 90, 120, 150].map(radians);

/** Circles of latitude and longitude: the near or the far half of each. */
function drawGraticule(ui, ctx, ball, view, near) {
  ctx.strokeStyle = ui.color("soft");
  ctx.lineWidth = 1;
  ctx.globalAlpha = near ? 0.35 : 0.12;
  ctx.beginPath();
  const circle = (pointAt) => {
    let down = false;
    for (let i = 0; i <= 72; i++) {
      const { x, y, z } = project(ball, view(pointAt(i * Math.PI / 36)));
      const visible = z >= 0 === near;
      if (visible) ctx[down ? "lineTo" : "moveTo"](x, y);
      down = visible;
    }
  };
  for (const a of LATITUDES) circle((t) => [Math.cos(a) * Math.cos(t), Math.sin(a), Math.cos(a) * Math.sin(t)]);
  for (const a of LONGITUDES) circle((t) => [Math.cos(t) * Math.cos(a), Math.sin(t), Math.cos(t) * Math.sin(a)]);
  ctx.stroke();
  ctx.globalAlpha = 1;
}

function drawLinks(ui, ctx, pairs, alpha) {
  for (const [from, to] of pairs) {
    ctx.strokeStyle = ui.color(from.chosen ? "ink" : "soft");
    ctx.lineWidth = from.chosen ? 2 : 1;
    ctx.globalAlpha = from.chosen ? 0.9 : alpha;
    ctx.beginPath();
    ctx.moveTo(from.x, from.y);
    ctx.lineTo(to.x, to.y);
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

/** Class tokens are discs, patch tokens squares, prototypes lettered diamonds: shape says what colour says. */
function drawMark(ui, ctx, { kind, x, y, used, name, chosen }) {
  const size = { cls: 5.5, patch: 4, prototype: 8 }[kind];
  const corners = [[0, -size], [size, 0], [0, size], [-size, 0], [0, -size]];
  ctx.beginPath();
  if (kind === "cls") ctx.arc(x, y, size, 0, 2 * Math.PI);
  else if (kind === "patch") ctx.rect(x - size, y - size, 2 * size, 2 * size);
  else corners.forEach(([dx, dy]) => ctx.lineTo(x + dx, y + dy));
  ctx.fillStyle = kind === "prototype" ? ui.color(used ? "ink" : "surface") : ui.color(kind);
  ctx.strokeStyle = ui.color(kind === "prototype" ? "ink" : "surface");
  ctx.lineWidth = 1.2;
  ctx.fill();
  ctx.stroke();
  if (kind === "prototype") {
    ctx.font = font(ui, 13, 600);
    ctx.textAlign = "left";
    ctx.fillStyle = ui.color("ink");
    haloText(ui, ctx, name, x + size + 2, y - 5);
  }
  if (!chosen) return;
  ctx.strokeStyle = ui.color("ink");
  ctx.lineWidth = 2.5;
  ctx.beginPath();
  ctx.arc(x, y, size + 5, 0, 2 * Math.PI);
  ctx.stroke();
}
