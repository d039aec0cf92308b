// Sliders, alternatives, switches and buttons, bound to the model.
//
// Each takes the shell and a model key, appends itself to `into` (the shell's controls by default) and follows
// the model. All are native inputs, so keyboard, touch and screen readers work as everywhere.
import { freshId, h, place, reducedMotion } from "./_shell.js";

/** A labelled slider; `values` gives uneven stops, `format` the words of a value. */
export function slider(ui, { key, label, min, max, step = 1, values, format = String, into }) {
  const valueAt = (position) => (values ? values[position] : position);
  const positionOf = (value) => (values ? nearest(values, value) : value);
  const input = h("input", {
    type: "range", min: values ? 0 : min, max: values ? values.length - 1 : max, step: values ? 1 : step,
    "aria-label": label, "data-key": key,
    oninput: () => ui.set({ [key]: valueAt(Number(input.value)) }),
  });
  const output = h("output", { class: "dv2-value", "aria-hidden": "true" });
  const head = h("span", { class: "dv2-label" }, label, output);
  place(ui, into, h("label", { class: "dv2-control" }, head, input));
  ui.watch(() => {
    const value = ui.model.get(key);
    input.value = positionOf(value);
    output.textContent = format(value);
    input.setAttribute("aria-valuetext", format(value));
    fillTrack(input, 0, fraction(input));
  });
  return input;
}

/** Two thumbs on one track for a key that holds [low, high]; the thumbs push each other and never cross. */
export function rangeSlider(ui, { key, label, min, max, step, format = String, into }) {
  const thumb = (index, name) => h("input", {
    type: "range", min, max, step, "aria-label": `${label}, ${name}`, "data-key": `${key}.${index}`,
    oninput: (event) => {
      const value = Number(event.target.value);
      const [low, high] = ui.model.get(key);
      ui.set({ [key]: index ? [Math.min(low, value), value] : [value, Math.max(high, value)] });
    },
  });
  const inputs = [thumb(0, "smallest"), thumb(1, "largest")];
  const output = h("output", { class: "dv2-value", "aria-hidden": "true" });
  const head = h("span", { class: "dv2-label" }, label, output);
  const track = h("div", { class: "dv2-pair" }, inputs);
  place(ui, into, h("div", { class: "dv2-control", role: "group", "aria-label": label }, head, track));
  ui.watch(() => {
    const values = ui.model.get(key);
    inputs.forEach((input, index) => {
      input.value = values[index];
      input.setAttribute("aria-valuetext", format(values[index]));
    });
    output.textContent = `${format(values[0])} – ${format(values[1])}`;
    fillTrack(track, fraction(inputs[0]), fraction(inputs[1]));
    inputs[0].style.zIndex = fraction(inputs[0]) > 0.5 ? 1 : 0; // where both stand on one place, take the one that can move
  });
  return inputs;
}

/** A labelled drop-down; options are [value, text] pairs. */
export function select(ui, { key, label, options, into }) {
  const input = h("select", {
    "aria-label": label, "data-key": key,
    onchange: () => ui.set({ [key]: options[input.selectedIndex][0] }),
  }, options.map(([, text]) => h("option", {}, text)));
  place(ui, into, h("label", { class: "dv2-control" }, h("span", { class: "dv2-label" }, label), input));
  ui.watch(() => { input.selectedIndex = options.findIndex(([value]) => value === ui.model.get(key)); });
  return input;
}

/** A row of alternatives of which one is chosen (radio buttons: arrow keys move); options are [value, text]. */
export function segmented(ui, { key, label, options, wide = false, into }) {
  const name = freshId();
  const inputs = options.map(([value, text]) => h("input", {
    type: "radio", name, "aria-label": text, "data-key": key, "data-value": value,
    onchange: () => ui.set({ [key]: value }),
  }));
  const row = h("div", { class: "dv2-segments" },
    inputs.map((input, index) => h("label", {}, input, h("span", {}, options[index][1]))));
  const kind = wide ? "dv2-control dv2-two" : "dv2-control";
  place(ui, into, h("div", { class: kind, role: "radiogroup", "aria-label": label },
    h("span", { class: "dv2-label" }, label), row));
  ui.watch(() => inputs.forEach((input, i) => { input.checked = options[i][0] === ui.model.get(key); }));
  return inputs;
}

/** A switch for a boolean key; `get` and `set` may replace the key where the value lives inside a list. */
export function toggle(ui, { key, label, get = () => ui.model.get(key), set = (on) => ui.set({ [key]: on }), into }) {
  const input = h("input", { type: "checkbox", role: "switch", "data-key": key, onchange: () => set(input.checked) });
  place(ui, into, h("label", { class: "dv2-toggle" }, input, h("span", {}, label)));
  ui.watch(() => { input.checked = Boolean(get()); });
  return input;
}

/** A push button; `primary` for the one a reader presses most. */
export function button(ui, { label, onPress, primary = false, into }) {
  const kind = primary ? "dv2-button dv2-primary" : "dv2-button";
  return place(ui, into, h("button", { type: "button", class: kind, onclick: onPress }, label));
}

/**
 * A button that walks a whole number from where it is to `last`, `perSecond` a second, and pauses on another press.
 *
 * Where motion is unwelcome it jumps to the end. Screen readers read the readout out when the walk is over.
 * Returns { stop }.
 */
export function player(ui, { key, label, last, perSecond, primary = false, into }) {
  let playing = false;
  const show = (on) => {
    playing = on;
    press.textContent = on ? "Pause" : label;
    ui.busy(on);
  };
  const press = button(ui, { label, primary, into, onPress: () => {
    if (playing) return show(false);
    if (reducedMotion()) return ui.set({ [key]: last });
    const from = ui.model.get(key) < last ? ui.model.get(key) : 0;
    const start = performance.now();
    show(true);
    const frame = (now) => {
      if (!playing || !ui.root.isConnected) return show(false);
      const at = from + Math.max(0, now - start) / 1000 * perSecond;
      ui.set({ [key]: Math.min(last, Math.round(at)) });
      return at < last ? requestAnimationFrame(frame) : show(false);
    };
    return requestAnimationFrame(frame);
  } });
  return { stop: () => show(false) };
}

/** A line of buttons and switches among the controls; `wide` where more than two have to fit. */
export function row(ui, label, { wide = false, into = null } = {}) {
  const kind = wide ? "dv2-row dv2-two" : "dv2-row";
  return place(ui, into, h("div", { class: kind, role: "group", "aria-label": label }));
}

/** A fold for the controls that few readers need; returns the place inside it. */
export function more(ui, label) {
  const inside = h("div", { class: "dv2-controls" });
  place(ui, null, h("details", { class: "dv2-more dv2-wide" }, h("summary", {}, label), inside));
  return inside;
}

const fraction = ({ value, min, max }) => (value - min) / (max - min || 1);

function fillTrack(element, from, to) {
  element.style.setProperty("--dv2-from", from);
  element.style.setProperty("--dv2-to", to);
}

function nearest(values, wanted) {
  let best = 0;
  values.forEach((value, i) => { if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = i; });
  return best;
}
