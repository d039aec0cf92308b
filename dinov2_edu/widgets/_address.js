// The state of a control in the page's address, so that what is seen can be sent to somebody: #view=attention&layer=4.
//
// Only on a page of the book: a notebook's address belongs to JupyterLab or Colab.

const PAUSE = 250; // milliseconds; browsers refuse to rewrite an address many times a second

/** What a fragment says of some keys: { key: text }. A fragment without "=" is a heading's, and says nothing. */
export function readAddress(fragment, keys) {
  if (!fragment.includes("=")) return {};
  const said = new URLSearchParams(fragment.replace(/^#/, ""));
  return Object.fromEntries(keys.filter((key) => said.has(key)).map((key) => [key, said.get(key)]));
}

/** The fragment for { key: text }; a comma and a slash stay as they are, because a fragment may hold them. */
export const writeAddress = (said) =>
  `#${new URLSearchParams(said).toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":")}`;

/**
 * Binds keys of the model to the address. `read` and `write` turn a key's text into its value and back:
 * { key: { read: (text) => value or undefined where the text is wrong, write: (value) => text } }.
 *
 * The address is read once, now, and when the reader follows a link within the page; it is written when a bound value
 * changes. Returns what ends this.
 */
export function inAddress(ui, kinds) {
  const { model } = ui;
  if (model.widget_manager) return () => {};
  const keys = Object.keys(kinds);
  const take = () => {
    const said = readAddress(location.hash, keys);
    const values = Object.entries(said).map(([key, text]) => [key, kinds[key].read(text)]);
    const known = values.filter(([, value]) => value !== undefined);
    if (known.length) ui.set(Object.fromEntries(known));
  };
  const now = () => { // what another control has put there stays
    const there = location.hash.includes("=") ? [...new URLSearchParams(location.hash.slice(1))] : [];
    const others = there.filter(([key]) => !keys.includes(key));
    return writeAddress(Object.fromEntries([...others, ...keys.map((key) => [key, kinds[key].write(model.get(key))])]));
  };
  take();
  let [last, timer] = [now(), null];
  const changed = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (now() === last) return;
      last = now();
      history.replaceState(history.state, "", last);
    }, PAUSE);
  };
  for (const key of keys) model.on(`change:${key}`, changed); // and nothing else: a run changes its step all the time
  addEventListener("hashchange", take);
  return () => {
    clearTimeout(timer);
    for (const key of keys) model.off(`change:${key}`, changed);
    removeEventListener("hashchange", take);
  };
}

/** A whole number between two bounds, one of some words, a switch: kinds for `inAddress`. */
export const wholeNumber = (low, high) => ({
  read: (text) => (/^-?\d+$/.test(text) && Number(text) >= low && Number(text) <= high ? Number(text) : undefined),
  write: String,
});
export const oneOf = (words) => ({ read: (text) => words.find((word) => String(word) === text), write: String });
export const flag = { read: (text) => ({ on: true, off: false })[text], write: (on) => (on ? "on" : "off") };
