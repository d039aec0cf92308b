// The frame around every widget: its elements, its state, its theme.
//
// State lives in the model and nowhere else: a control writes to the model, the model's change event repaints.
// Python, a second view of the same widget and the controls are thereby all the same kind of author.

/** Builds an element: h("p", { class: "note", onclick: f }, "text", child). Null children are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

let lastId = 0;
/** A fresh id for label/for pairs; unique on the page. */
export const freshId = () => `dv2-${Date.now().toString(36)}-${lastId++}`;

/** Puts an element into a place, the shell's controls by default, and returns it. */
export function place(ui, into, element) {
  (into ?? ui.controls).append(element);
  return element;
}

// ---- the shell --------------------------------------------------------------------------------------------

/**
 * The frame around a widget: a stage for figures, a place for controls, one sentence of readout; `style` has its own rules.
 *
 * Returns { model, root, stage, controls, say, busy, set, color, watch, repaint, cleanup }:
 *   say(text)      the readout, which screen readers read out
 *   busy(on)       keeps the readout from being read out, while it changes many times a second
 *   set(changes)   writes several values to the model and sends them on
 *   color(role)    the theme's colour of a role: a palette role, "ink", "soft", "line", "surface" or "raised"
 *   watch(paint)   calls paint now and, at most once a frame, whenever model, theme or width change
 *   cleanup        what render() returns
 */
export function shell({ model, el, label, style = null }) {
  const stage = h("div", { class: "dv2-stage" });
  const controls = h("div", { class: "dv2-controls" });
  const readout = h("p", { class: "dv2-readout", "aria-live": "polite" });
  const root = h("div", { class: "dv2", role: "group", "aria-label": label }, stage, controls, readout,
    style && h("style", {}, style));
  // JupyterLab takes the arrow keys for itself, also from a slider, unless the slider itself forbids it.
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
  if (model.get("has_still")) root.classList.add("dv2-has-still");
  el.append(root);

  const painters = [];
  const colors = new Map();
  const styleOf = (role) => getComputedStyle(root).getPropertyValue(`--dv2-${role}`).trim();
  const ready = () => { // notebooks may attach the element, or bring the style sheet, only after render()
    if (!root.isConnected || !styleOf("ink")) return false;
    const theme = isDark(root) ? "dark" : "light";
    if (root.dataset.dv2Theme !== theme) {
      root.dataset.dv2Theme = theme;
      colors.clear();
    }
    return true;
  };
  let waiting = false;
  const repaint = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (ready()) painters.forEach((paint) => paint());
      else if (root.isConnected) repaint();
    });
  };
  const stops = [onThemeChange(repaint), onResize(root, repaint)];
  model.on("change", repaint);

  return {
    model, root, stage, controls, repaint,
    say: (text) => { if (readout.textContent !== text) readout.textContent = text; },
    busy: (on) => readout.setAttribute("aria-busy", on),
    set: (changes) => {
      for (const [key, value] of Object.entries(changes)) model.set(key, value);
      model.save_changes();
    },
    color: (role) => {
      if (!colors.has(role)) colors.set(role, styleOf(role));
      return colors.get(role);
    },
    watch: (paint) => {
      painters.push(paint);
      if (ready()) paint();
    },
    cleanup: () => { stops.forEach((stop) => stop()); model.off("change", repaint); },
  };
}

/** Whether the page around an element is dark: the book, JupyterLab, Colab and VS Code each say so in their way. */
export function isDark(element) {
  const { documentElement: html, body } = document;
  if (html.dataset.theme) return html.dataset.theme === "dark";
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false";
  if (html.hasAttribute("theme")) return html.getAttribute("theme") === "dark";
  if (/\bvscode-(dark|high-contrast|light)\b/.test(body.className)) return !body.classList.contains("vscode-light");
  for (let node = element; node; node = node.parentElement) {
    const [red, green, blue, alpha = 1] = getComputedStyle(node).backgroundColor.match(/[\d.]+/g).map(Number);
    if (alpha > 0.5) return 0.3 * red + 0.6 * green + 0.1 * blue < 110;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function onThemeChange(callback) {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(callback);
  const options = { attributes: true, attributeFilter: ["data-theme", "theme", "class", "data-jp-theme-light"] };
  observer.observe(document.documentElement, options);
  observer.observe(document.body, options);
  query.addEventListener("change", callback);
  return () => { observer.disconnect(); query.removeEventListener("change", callback); };
}

function onResize(element, callback) {
  const observer = new ResizeObserver(callback); // also calls when the element is first put on the page
  observer.observe(element);
  return () => observer.disconnect();
}

/** Whether the reader asked for less motion: animations then jump to their end. */
export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
