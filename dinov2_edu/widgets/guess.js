// Name a few pictures before the probe does, and see who was right more often.
import { button, crisp, decodeImage, h, indexOfMax, percent, shell, typed } from "./_shared.js";
import { tileDrawer } from "./_tiles.js";

const STYLE = `
.dv2-guess .dv2-stage { grid-template-columns: minmax(8rem, 14rem) 1fr; align-items: start; }
.dv2-guess canvas { display: block; border-radius: 4px; }
.dv2-answers { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 0.35rem; }
.dv2 .dv2-answers button {
  font: inherit; font-size: 0.88rem; text-align: left; min-height: 2.75rem; padding: 0.2rem 0.6rem; cursor: pointer;
  color: var(--dv2-ink); border: 1px solid var(--dv2-soft); border-radius: 5px; line-height: 1.25;
  background: linear-gradient(to right, color-mix(in srgb, var(--dv2-student) 30%, var(--dv2-surface))
    calc(100% * var(--dv2-share, 0)), var(--dv2-surface) 0);
}
.dv2 .dv2-answers button[aria-disabled="true"] { cursor: default; }
.dv2 .dv2-answers .dv2-true { outline: 2.5px solid var(--dv2-good); outline-offset: -1px; font-weight: 600; }
.dv2-answers small { display: block; font-weight: 400; min-height: 1.2em; }
.dv2-results { list-style: none; display: grid; grid-template-columns: repeat(auto-fill, minmax(5.2rem, 1fr)); gap: 0.5rem;
  margin: 0; padding: 0; font-size: 0.8rem; line-height: 1.3; }
.dv2 .dv2-results li { margin: 0; }
.dv2-guess .dv2-source { color: var(--dv2-soft); font-size: 0.85rem; margin: 0.5rem 0 0; }
@container (max-width: 34rem) {
  .dv2-guess .dv2-stage { display: grid; grid-template-columns: 6.5rem 1fr; gap: 0.6rem; }
  .dv2 .dv2-answers { grid-template-columns: 1fr 1fr; gap: 0.25rem; }
  .dv2 .dv2-answers button { min-height: 2.5rem; padding: 0.1rem 0.4rem; }
}`;

/** How many of the first answers are right: score([3, 1], [3, 2, 0]) is 1. */
export const score = (answers, labels) => answers.filter((answer, i) => answer === labels[i]).length;

function readGame(model) {
  const classes = model.get("classes");
  const all = typed(model.get("probs"), Float32Array);
  const probs = model.get("labels").map((_, i) => Array.from(all.subarray(i * classes.length, (i + 1) * classes.length)));
  return { classes, probs, labels: model.get("labels"), said: probs.map(indexOfMax) };
}

const scores = (model, { labels, said }) => {
  const guesses = model.get("guesses");
  return { n: guesses.length, you: score(guesses, labels), probe: score(said.slice(0, guesses.length), labels) };
};

/** The picture, its ten possible answers, and after a press who said what. */
function board(ui, game, drawTile) {
  const { model } = ui;
  const photo = h("canvas", { role: "img" });
  const marks = game.classes.map(() => h("small"));
  const answer = (k) => {
    const [at, guesses] = [model.get("at"), model.get("guesses")];
    if (at < guesses.length || at >= game.labels.length) return;
    ui.set({ guesses: [...guesses, k] });
  };
  const presses = game.classes.map((name, k) =>
    h("button", { type: "button", onclick: () => answer(k) }, name, marks[k]));
  const answers = h("div", { class: "dv2-answers", role: "group", "aria-label": "What is it?" }, presses);
  const frame = h("div", {}, photo, ui.model.get("source") ? h("p", { class: "dv2-source" }, ui.model.get("source")) : null);
  const results = h("ul", { class: "dv2-results dv2-wide" });
  ui.stage.append(frame, answers, results);
  ui.watch(() => {
    const at = model.get("at");
    const over = at >= game.labels.length;
    [frame.hidden, answers.hidden, results.hidden] = [over, over, !over];
    if (over) return listResults(model, game, results, drawTile);
    const side = Math.floor(frame.clientWidth);
    if (side > 0) drawTile(crisp(photo, side, side), at, side);
    photo.setAttribute("aria-label", `picture ${at + 1} of ${game.labels.length}, to be named`);
    return markAnswers(model, game, presses, marks);
  });
}

function markAnswers(model, { classes, probs, labels, said }, presses, marks) {
  const at = model.get("at");
  const guess = model.get("guesses")[at];
  const open = guess === undefined;
  classes.forEach((_, k) => {
    presses[k].setAttribute("aria-disabled", !open);
    presses[k].classList.toggle("dv2-true", !open && k === labels[at]);
    presses[k].style.setProperty("--dv2-share", open ? 0 : probs[at][k]);
    const notes = [k === labels[at] ? "it is" : "", k === guess ? "you" : "",
      k === said[at] ? `probe ${percent(probs[at][k])}` : ""];
    marks[k].textContent = open ? "" : notes.filter(Boolean).join(", ");
  });
}

function listResults(model, { classes, labels, said }, list, drawTile) {
  const guesses = model.get("guesses");
  const mark = (answer, i) => `${answer === labels[i] ? "✓" : "✗"} ${classes[answer]}`;
  list.replaceChildren(...labels.map((label, i) => {
    const canvas = h("canvas", { role: "img", "aria-label": `picture ${i + 1}: ${classes[label]}` });
    drawTile(crisp(canvas, 64, 64), i, 64);
    return h("li", {}, canvas, h("b", {}, classes[label]), h("br"), `you ${mark(guesses[i], i)}`, h("br"),
      `probe ${mark(said[i], i)}`);
  }));
}

function sentence(model, game) {
  const at = model.get("at");
  const { n, you, probe } = scores(model, game);
  const so = n ? ` So far: you ${you} of ${n}, the probe ${probe} of ${n}.` : "";
  if (at >= game.labels.length) {
    const who = you === probe ? "A draw." : you > probe ? "You win." : "The probe wins.";
    return `${who} You ${you} of ${n}, the probe ${probe} of ${n}.`;
  }
  if (n <= at) return `Picture ${at + 1} of ${game.labels.length}: what is it?${so}`;
  const { classes, probs, labels, said } = game;
  const guess = model.get("guesses")[at];
  const verdict = guess === labels[at] ? "Right" : "No";
  return `${verdict}: it is ${classes[labels[at]]}. The probe says ${classes[said[at]]}, `
    + `${percent(probs[at][said[at]])} sure.${so}`;
}

async function render({ model, el }) {
  const sheet = await decodeImage(model.get("sprite"));
  const ui = shell({ model, el, label: "Name it before the probe does", style: STYLE });
  ui.root.classList.add("dv2-guess");
  const game = readGame(model);
  board(ui, game, tileDrawer(model, sheet, true));
  const next = button(ui, { label: "Next picture", primary: true, onPress: () => ui.set({ at: model.get("at") + 1 }) });
  const again = button(ui, { label: "Play again", onPress: () => ui.set({ at: 0, guesses: [] }) });
  ui.watch(() => {
    const [at, n] = [model.get("at"), model.get("guesses").length];
    next.disabled = n <= at || at >= game.labels.length;
    again.disabled = n === 0;
    ui.say(sentence(model, game));
  });
  return ui.cleanup;
}

export default { render };
