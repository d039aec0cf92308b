// Runs the widgets of a notebook page without a kernel and without a network.
//
// The page carries each widget's module and data, as the notebook left them. This file gives every widget a model of
// its own and calls its `render`. Only anywidgets are run: the controls of ipywidgets need Python to answer, so a
// sentence stands in their place instead of a slider that moves and changes nothing.
(() => {
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';
  const NEEDS_PYTHON = "This control needs Python: open the page in Colab, or run the notebook yourself.";
  const FAILED = "This control could not start in your browser. The text and the figures say what it shows.";

  const decode = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

  /** A model as anywidget's `render` expects it: values, change events, and no kernel to save to. */
  function makeModel({ state, buffers = [] }) {
    const values = { ...state };
    for (const { path, data } of buffers) {
      const holder = path.slice(0, -1).reduce((inner, key) => inner[key], values);
      holder[path.at(-1)] = decode(data);
    }
    const listeners = new Map();
    const fire = (event) => [...(listeners.get(event) ?? [])].forEach((listener) => listener());
    const each = (events, act) => events.split(/\s+/).forEach(act);
    return {
      get: (key) => values[key],
      set(key, value) {
        if (Object.is(values[key], value)) return;
        values[key] = value;
        fire(`change:${key}`);
        fire("change");
      },
      on: (events, listener) => each(events, (event) => listeners.set(event, [...(listeners.get(event) ?? []), listener])),
      off: (events, listener) => each(events, (event) => {
        listeners.set(event, listener ? (listeners.get(event) ?? []).filter((one) => one !== listener) : []);
      }),
      save_changes() {},
      send() {},
      widget_manager: null,
    };
  }

  const modules = new Map(); // source -> promise of the widget's definition; two views of one kind share it
  function load(source) {
    if (!modules.has(source)) {
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      modules.set(source, import(url).then(({ default: widget }) => (typeof widget === "function" ? widget() : widget)));
    }
    return modules.get(source);
  }

  const sheets = new Set();
  function addStyle(text) {
    if (!text || sheets.has(text)) return;
    sheets.add(text);
    const style = document.createElement("style");
    style.textContent = text;
    document.head.append(style);
  }

  function note(place, text) {
    const paragraph = document.createElement("p");
    paragraph.className = "widget-note";
    paragraph.textContent = text;
    place.after(paragraph);
  }

  async function show(view, entry, models) {
    if (entry?.model_module !== "anywidget") return note(view, NEEDS_PYTHON);
    const host = document.createElement("div");
    host.className = "widget-host";
    view.after(host);
    try {
      const widget = await load(entry.state._esm);
      addStyle(entry.state._css);
      if (!models.has(entry)) {
        models.set(entry, makeModel(entry));
        await widget.initialize?.({ model: models.get(entry) });
      }
      await widget.render?.({ model: models.get(entry), el: host });
      host.dataset.ready = "true";
    } catch (error) {
      host.remove();
      note(view, FAILED);
      console.error("widget:", error);
    }
  }

  async function start() {
    const embedded = document.querySelector(STATE);
    const entries = embedded ? JSON.parse(embedded.textContent).state : {};
    const models = new Map();
    for (const view of document.querySelectorAll(VIEW)) {
      await show(view, entries[JSON.parse(view.textContent).model_id], models);
      await new Promise((rest) => setTimeout(rest)); // lets the page answer between two widgets
    }
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
