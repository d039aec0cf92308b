// Runs the widgets of a notebook page without a kernel and without a network.
//
// Each widget's module and data, as the notebook left them, stand as JSON in the page, or in a script beside it that
// puts the same text into `widgetState`: that is fetched once the page can be read. This file gives every widget a model
// of its own and calls its `render`. Only anywidgets are run: the controls of ipywidgets need Python to answer, so a
// sentence stands in their place instead of a slider that moves and changes nothing.
(() => {
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';
  const NEEDS_PYTHON = "This control needs Python: open the page in Colab, or run the notebook yourself.";
  const FAILED = "This control could not start in your browser. The text and the figures say what it shows.";
  const PATIENCE = 1000; // milliseconds for a control to start before the next one does as well

  const report = (error) => console.error("widget:", error);
  const rest = (milliseconds = 0) => new Promise((done) => setTimeout(done, milliseconds));
  const decode = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

  /** Put bytes where a path leads: only through what the state itself holds, never to what every object inherits. */
  function place(values, path, bytes) {
    let holder = values;
    for (const key of path.slice(0, -1)) {
      if (!Object.hasOwn(holder, key)) throw new Error(`the state has no place ${JSON.stringify(path)} for its bytes`);
      holder = holder[key];
    }
    const open = { configurable: true, enumerable: true, writable: true };
    Object.defineProperty(holder, path.at(-1), { value: bytes, ...open });
  }

  /** A model as anywidget's `render` expects it: values, change events, and no kernel to save to. */
  function makeModel({ state, buffers }) {
    const values = Object.assign(Object.create(null), state); // a name such as "constructor" is a name like any other
    for (const { path, data } of buffers ?? []) place(values, path, decode(data));
    const listeners = new Map();
    const fire = (event) => [...(listeners.get(event) ?? [])].forEach((listener) => {
      try {
        listener();
      } catch (error) {
        report(error); // another view of the same model must hear of the change all the same
      }
    });
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

  /** A sentence in the place of a control, also where the page kept one for it. */
  function note(view, text) {
    if (view.nextElementSibling?.matches(".widget-host")) view.nextElementSibling.remove();
    const paragraph = document.createElement("p");
    paragraph.className = "widget-note";
    paragraph.textContent = text;
    view.after(paragraph);
  }

  /** Where a control goes: the place that the page keeps for it, or one made now. */
  function placeAfter(view) {
    if (view.nextElementSibling?.matches(".widget-host")) return view.nextElementSibling;
    const host = document.createElement("div");
    host.className = "widget-host";
    view.after(host);
    return host;
  }

  /** Resolves when what was drawn now is on the screen; at once in a tab that nobody sees, which draws no frames. */
  const painted = () => new Promise((done) => {
    if (document.hidden) done();
    else requestAnimationFrame(() => requestAnimationFrame(done));
  });

  /** A widget's definition and its one model, ready to be shown; all views of the widget share them. */
  async function begin(entry) {
    const widget = await load(entry.state._esm);
    addStyle(entry.state._css);
    const model = makeModel(entry);
    await widget.initialize?.({ model });
    return { widget, model };
  }

  const begun = new Map(); // model id -> promise of what `begin` returns
  async function show(view, entries) {
    try {
      const id = JSON.parse(view.textContent).model_id;
      const entry = entries.get(id);
      if (entry?.model_module !== "anywidget") return note(view, NEEDS_PYTHON);
      const host = placeAfter(view);
      if (!begun.has(id)) begun.set(id, begin(entry));
      const { widget, model } = await begun.get(id);
      await widget.render?.({ model, el: host });
      await painted();
      host.style.minHeight = ""; // the place that the page kept is filled
      host.dataset.ready = "true";
    } catch (error) {
      note(view, FAILED);
      report(error);
    }
  }

  /** What the page's controls hold: from the page itself, or from the script that it names, once it is on the screen. */
  async function readState() {
    const holder = document.querySelector(STATE);
    if (!holder.dataset.src) return holder.textContent;
    await self.afterPaint(holder.dataset.src);
    return self.widgetState;
  }

  async function start() {
    const views = [...document.querySelectorAll(VIEW)];
    let entries = new Map();
    try {
      if (views.length) entries = new Map(Object.entries(JSON.parse(await readState()).state));
    } catch (error) {
      for (const view of views) note(view, FAILED);
      return report(error);
    }
    for (const view of views) {
      await Promise.race([show(view, entries), rest(PATIENCE)]);
      await rest(); // lets the page answer between two widgets
    }
  }

  if (document.readyState === "complete") start();
  else addEventListener("DOMContentLoaded", start);
})();
