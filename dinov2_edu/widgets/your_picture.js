// Your picture: a photo of the reader's own, looked at through the book's network, which runs in the page.
import { bars, button, clamp, h, minus, percent, row, segmented, shell, slider, toggle } from "./_shared.js";
import { album, pictureRows } from "./_album.js";
import { flag, inAddress, oneOf, wholeNumber } from "./_address.js";
import { doors } from "./_doors.js";
import { aboutBank, pictureBank } from "./_nearest.js";
import { NEEDS_MODEL, SCENES, waitingScene } from "./_scenes.js";
import { hiddenBits, hiddenText, indexOf, patchAtPlace, placeOf } from "./_boards.js";
import { seeing } from "./_seeing.js";
import { boardFigure } from "./_tokens.js";

const STYLE = `
.dv2-note { font-size: 0.88rem; color: var(--dv2-soft); margin: 0; }
.dv2-notice { margin: 0.6rem 0 0; padding: 0.5rem 0.85rem; border: 1px solid var(--dv2-soft); border-radius: 5px; }
.dv2-over { outline: 3px dashed var(--dv2-focus); outline-offset: 6px; }
.dv2-video { display: block; width: min(100%, 20rem); border-radius: 3px; }
.dv2-pictures { max-width: 26rem; }
.dv2-albums { display: flex; flex-wrap: wrap; gap: 0.6rem 1.5rem; }
.dv2-albums > * { flex: 1 1 15rem; }
.dv2-waiting canvas { opacity: 0.6; }`;
const VIEWS = [["similarity", "similarity"], ["colours", "PCA colours"], ["attention", "attention"],
  ["blocks", "through the blocks"], ["masking", "masking"]];
const viewsOf = (model) => [...VIEWS, ...(model.get("heads")?.file ? [["prototypes", "prototypes"]] : []), ...(model.get("bank").file ? [["nearest", "nearest pictures"]] : [])];
const WAIT = 400; // milliseconds before "computing" is said
const STATE = ["view", "network", "size", "place", "more", "less", "threshold", "query", "block", "cut", "foreground_high",
  "together", "hidden", "config"];

const stateOf = (ui) => ({ ...Object.fromEntries(STATE.map((key) => [key, ui.model.get(key)])),
  heads: ui.model.get("heads") ?? {}, color: ui.color });

// ---- what a press or a key does ---------------------------------------------------------------------------

const same = (a, b, grid) => String(patchAtPlace(a, grid)) === String(patchAtPlace(b, grid));

/** The list of places with one more, or without the one that lies on the same patch. */
const toggled = (places, place, grid) => (places.some((one) => same(one, place, grid))
  ? places.filter((one) => !same(one, place, grid)) : [...places, place]);

/** Chooses a patch as the view wants it. `brush` is what a mouse that is dragged gives to further patches. */
function chooser(ui, gridNow) {
  const { model } = ui;
  let brush = 1;
  const wanted = () => (model.get("more").length ? model.get("more") : [model.get("place")]);
  const hide = (patch, grid, dragged) => {
    const bits = hiddenBits(model.get("hidden"), grid);
    if (!dragged) brush = 1 - bits[indexOf(patch, grid)];
    bits[indexOf(patch, grid)] = brush;
    return { hidden: hiddenText(bits, grid) };
  };
  const act = (here, dragged = false) => {
    const grid = gridNow();
    const [view, tap] = [model.get("view"), model.get("tap")];
    if (view === "nearest") return undefined;
    if (view === "masking") return ui.set({ place: here, ...hide(patchAtPlace(here, grid), grid, dragged) });
    if (view === "attention") return ui.set({ place: here, query: "patch" });
    if (view !== "similarity" || tap === "one") return ui.set({ place: here, more: [], less: [] });
    const more = wanted();
    const changed = { place: here, more, [tap]: toggled(tap === "more" ? more : model.get("less"), here, grid) };
    return ui.set(changed.more.length ? changed : { ...changed, more: [here] });
  };
  const step = ([dx, dy]) => {
    const grid = gridNow();
    const [r, c] = patchAtPlace(model.get("place"), grid);
    const patch = [clamp(r + dy, 0, grid[0] - 1), clamp(c + dx, 0, grid[1] - 1)];
    const place = placeOf(patch, grid);
    if (model.get("view") === "masking") ui.set({ place });
    else if (model.get("view") === "similarity" && model.get("tap") !== "one") ui.set({ place, more: wanted() });
    else act(place);
  };
  return { act, step, press: () => act(model.get("place")) };
}

/** What a tap does now, beneath the picture. */
function hint(model) {
  const [view, tap] = [model.get("view"), model.get("tap")];
  if (view === "nearest") return "The middle of your picture, and those nearest to it, class and cosine above each.";
  if (view === "masking") return "A tap hides a patch or shows it; a mouse may draw. By keyboard: arrow keys and the space bar.";
  if (view === "similarity" && tap !== "one") {
    return `A tap adds a patch that is ${tap === "more" ? "wanted (+)" : "not wanted (−)"}, or takes it away. By keyboard: arrow keys and the space bar.`;
  }
  return view === "colours" ? "Patches with like colours have like tokens." : "Tap a patch, or move with the arrow keys.";
}

// ---- the scene that is shown ------------------------------------------------------------------------------

/** Keeps a scene up to date: of requests that come while one is computed, the last counts. */
function director(ui, { make, failed, waiting }) {
  let [scene, busy, again] = [null, false, false];
  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    ui.root.toggleAttribute("data-busy", true);
    const timer = setTimeout(() => waiting(true), WAIT);
    do {
      again = false;
      try {
        scene = await make();
      } catch (error) {
        if (error.message !== "stopped") failed(error);
      }
    } while (again);
    clearTimeout(timer);
    waiting(false);
    busy = false;
    ui.repaint();
    ui.root.toggleAttribute("data-busy", false);
  }
  return { refresh, scene: () => scene };
}

// ---- controls ---------------------------------------------------------------------------------------------

/** Shows an element only in some views. */
function only(ui, views, element) {
  const box = element.closest(".dv2-control, .dv2-row, .dv2-toggle") ?? element;
  ui.watch(() => { box.hidden = !views.includes(ui.model.get("view")); });
  return box;
}

function maskButtons(ui, gridNow) {
  const line = row(ui, "Hidden patches", { wide: true });
  const hide = (choose) => {
    const grid = gridNow();
    ui.set({ hidden: hiddenText(Uint8Array.from({ length: grid[0] * grid[1] }, choose), grid) });
  };
  button(ui, { label: "Hide half at random", into: line, onPress: () => hide(() => Number(Math.random() < 0.5)) });
  button(ui, { label: "Hide all", into: line, onPress: () => hide(() => 1) });
  button(ui, { label: "Show all", into: line, onPress: () => hide(() => 0) });
  only(ui, ["masking"], line);
}

function controls(ui, { ready, gridNow, pictures }) {
  const { model } = ui;
  segmented(ui, { key: "view", label: "View", wide: true, options: viewsOf(model) });
  only(ui, ["similarity", "colours", "masking", "prototypes"], pictureRows(ui, pictures));
  const networks = segmented(ui, { key: "network", label: "Seen by", options: [
    ["trained", "trained"], ["random", "random"], ["pixels", "pixels"]] });
  ui.watch(() => {
    const learnt = NEEDS_MODEL.includes(model.get("view"));
    networks[2].parentElement.hidden = learnt;
    networks[0].closest(".dv2-control").hidden = !ready() || model.get("view") === "prototypes";
    if (learnt && model.get("network") === "pixels") ui.set({ network: "trained" });
  });
  only(ui, [...VIEWS.map(([name]) => name), "prototypes"], segmented(ui, { key: "size", label: "Longer side, pixels",
    options: model.get("sizes").map((size) => [size, String(size)]) })[0]);
  only(ui, ["similarity"], segmented(ui, { key: "tap", label: "A tap chooses", wide: true, options: [
    ["one", "the one patch"], ["more", "more like this"], ["less", "less like this"]] })[0]);
  only(ui, ["similarity", "blocks"], slider(ui, { key: "threshold", label: "Outline from", min: 0, max: 1, step: 0.01,
    format: (value) => minus(value.toFixed(2)) }));
  only(ui, ["attention"], segmented(ui, { key: "query", label: "Who looks", options: [
    ["cls", "class token"], ["patch", "a patch"]] })[0]);
  only(ui, ["attention"], slider(ui, { key: "block", label: "Block", min: 1, max: model.get("config").depth }));
  only(ui, ["colours"], slider(ui, { key: "cut", label: "Cut at", min: -2, max: 2, step: 0.05,
    format: (value) => `${minus(value.toFixed(2))} standard deviations` }));
  const line = row(ui, "Which patches");
  toggle(ui, { key: "foreground_high", label: "foreground is above the cut", into: line });
  toggle(ui, { key: "together", label: "both pictures together", into: line });
  only(ui, ["colours"], line);
  maskButtons(ui, gridNow);
}

/** A button that loads something, { load, stop, ready }, shows how far it is, and cancels. */
function loadButton(ui, { label, what, wanted = () => true, into, notice, changed }) {
  let loading = false;
  const press = button(ui, { label, primary: true, into, onPress: async () => {
    if (loading) { what.stop(); return; }
    loading = true;
    notice("");
    press.textContent = "Loading … press to cancel";
    try {
      await what.load((share) => { press.textContent = `Loading ${percent(share)}, press to cancel`; });
    } catch (error) {
      if (error.message !== "stopped") notice(error.message);
    }
    loading = false;
    press.textContent = label;
    changed();
  } });
  ui.watch(() => { press.hidden = what.ready() || !wanted(); });
  return press;
}

const megabytes = (count) => `${count.toFixed(1)} MB`;

/** What stands beneath the boards in some views: a list of bars, and what was measured of this view. */
function beneath(ui, scene) {
  const update = bars(ui, { label: "Shares" });
  const list = ui.stage.lastChild;
  const note = h("p", { class: "dv2-note dv2-wide" });
  ui.stage.append(note);
  const { model } = ui;
  ui.watch(() => {
    const { bars: items = [] } = scene();
    list.hidden = !items.length;
    update(items);
    const about = { nearest: () => aboutBank(model.get("bank")) };
    note.textContent = items.length ? about[model.get("view")]?.() ?? "" : "";
    note.hidden = !note.textContent;
  });
}

// ---- the address ------------------------------------------------------------------------------------------

const placesKind = {
  read: (text) => {
    const found = text ? text.split("/").map((one) => one.split(",").map(Number)) : [];
    return found.every((one) => one.length === 2 && one.every((v) => v >= 0 && v <= 1)) ? found : undefined;
  },
  write: (list) => list.map((one) => one.map((v) => Number(v.toFixed(3))).join(",")).join("/"),
};
const placeKind = { read: (text) => placesKind.read(text)?.[0], write: (one) => placesKind.write([one]) };
const numberKind = (low, high) => ({
  read: (text) => (text !== "" && Number(text) >= low && Number(text) <= high ? Number(text) : undefined),
  write: (value) => String(Number(value.toFixed(2))),
});

function bindAddress(ui) {
  const { model } = ui;
  const [samples, { depth }] = [oneOf(model.get("names")), model.get("config")];
  return inAddress(ui, {
    view: oneOf(viewsOf(model).map(([name]) => name)), network: oneOf(["trained", "random", "pixels"]),
    size: oneOf(model.get("sizes")), photo: samples, other: samples, place: placeKind, more: placesKind, less: placesKind,
    threshold: numberKind(0, 1), query: oneOf(["cls", "patch"]), block: wholeNumber(1, depth), cut: numberKind(-2, 2),
    foreground_high: flag, together: flag,
    hidden: { read: (text) => (/^\d{1,2}x\d{1,2}:[0-9a-f]*$/.test(text) ? text : undefined), write: String },
  });
}

// ---- the widget -------------------------------------------------------------------------------------------

async function render({ model, el }) {
  const ui = shell({ model, el, label: "Your picture", style: STYLE });
  const status = h("p", { class: "dv2-notice", role: "status", hidden: true });
  const notice = (text) => { status.textContent = text; status.hidden = !text; };
  const pictures = await album(ui, notice);
  const session = seeing(model);
  const bank = pictureBank(model);
  const networkNow = () => (session.ready() ? model.get("network") : "pixels");
  const going = (share) => {
    const waited = model.get("view") === "nearest" && networkNow() === "pixels";
    if (waited) ui.say(`The pictures' pixels are read: ${percent(share)}.`);
    return waited;
  };
  Object.assign(session, { bank, going });
  const forget = bindAddress(ui);
  const chosen = () => [pictures.named(model.get("photo"), 0), pictures.named(model.get("other"), 1)];
  const gridNow = () => session.grid(chosen()[0], model.get("size"));

  const make = () => {
    const state = stateOf(ui);
    if (state.view === "nearest" && !bank.ready()) {
      return waitingScene(state, chosen(), session, "This view needs the pictures to compare with: fetch them first.");
    }
    if (session.ready()) return SCENES[state.view](state, chosen(), session);
    if (NEEDS_MODEL.includes(state.view)) {
      return waitingScene(state, chosen(), session, "This view needs the model: load it first. It then runs here, in your browser.");
    }
    return SCENES[state.view]({ ...state, network: "pixels" }, chosen(), session);
  };
  const show = director(ui, {
    make, failed: (error) => notice(error.message), waiting: (on) => { ui.root.classList.toggle("dv2-waiting", on); ui.busy(on); },
  });
  await show.refresh();
  model.on("change", show.refresh);
  const hand = chooser(ui, gridNow);
  const canvas = boardFigure(ui, {
    caption: "Tap a patch.", boards: () => show.scene(),
    tap: ({ board, patch, dragged }) => { if (board.slot === 0) hand.act(placeOf(patch, board.grid), dragged); },
    step: hand.step, press: hand.press,
  });
  beneath(ui, show.scene);
  ui.watch(() => { canvas.nextSibling.textContent = `${hint(model)} ${model.get("source")}`; });
  const line = row(ui, "Your picture", { wide: true });
  loadButton(ui, { label: `Load the model (${megabytes(model.get("megabytes"))})`, what: session, into: line, notice, changed: show.refresh });
  if (bank.about.file) {
    loadButton(ui, { label: `Fetch the pictures (${megabytes(bank.about.megabytes)})`, what: bank, into: line, notice, changed: show.refresh,
      wanted: () => model.get("view") === "nearest" });
  }
  const close = doors(ui, { into: line, say: notice, give: async (files) => {
    if (!files.length) return;
    ui.root.toggleAttribute("data-reading", true);
    await pictures.add(files);
    ui.root.toggleAttribute("data-reading", false);
  } });
  line.append(h("p", { class: "dv2-note" }, "Or drop a picture here, or paste one. It stays in this browser: nothing is sent anywhere."));
  ui.root.append(status);
  controls(ui, { ready: session.ready, gridNow, pictures });
  ui.watch(() => ui.say(show.scene().said));
  const leave = () => { session.stop(); show.refresh(); }; // and whoever comes back by the browser's arrow loads again
  addEventListener("pagehide", leave);
  return () => {
    for (const end of [session.stop, close, forget, ui.cleanup]) end();
    removeEventListener("pagehide", leave);
    model.off("change", show.refresh);
  };
}

export default { render };
