// Hover or focus a link to a glossary word, a section or a reference: what it leads to stands beside it, before one goes there.
{ // a block: scripts of a page share their names
  const DELAY = 250; // milliseconds: a pointer that only passes asks for nothing
  const pages = new Map(); // address -> the page, fetched once

  const pageAt = (address) => {
    if (address === location.origin + location.pathname) return Promise.resolve(document);
    if (!pages.has(address)) {
      const read = fetch(address).then((answer) => (answer.ok ? answer.text() : ""));
      pages.set(address, read.then((text) => new DOMParser().parseFromString(text, "text/html")).catch(() => null));
    }
    return pages.get(address);
  };

  /** The heading and first paragraph of a section, or the text of a reference, without links and controls of its own. */
  function excerpt(target) {
    const box = document.createElement("div");
    const parts = target.matches("section")
      ? [target.querySelector("h1, h2, h3, h4"), target.querySelector(":scope > p")]
      : [target.querySelector("p") ?? target];
    for (const part of parts.filter(Boolean)) {
      const copy = document.importNode(part, true);
      for (const extra of copy.querySelectorAll(".headerlink, script, button")) extra.remove();
      for (const inner of [copy, ...copy.querySelectorAll("*")]) inner.removeAttribute("id");
      for (const link of copy.querySelectorAll("a")) link.replaceWith(...link.childNodes);
      const line = document.createElement(/^H\d$/.test(part.tagName) ? "strong" : "p"); // no second heading of that name
      line.append(...copy.childNodes);
      box.append(line);
    }
    return box.textContent.trim() ? box : null;
  }

  let shown = null; // { link, tip }
  let wanted = null; // the link that the reader is at
  let waiting = 0;

  function hide() {
    clearTimeout(waiting);
    shown?.link.removeAttribute("aria-describedby");
    shown?.tip.remove();
    shown = null;
  }

  async function show(link) {
    const address = new URL(link.href);
    const page = await pageAt(address.origin + address.pathname);
    const target = page?.getElementById(decodeURIComponent(address.hash.slice(1)));
    const words = target && excerpt(target);
    if (!words || wanted !== link) return;
    hide();
    words.className = "link-preview";
    words.id = "link-preview";
    words.setAttribute("role", "tooltip");
    document.querySelector(".bd-article").append(words);
    link.setAttribute("aria-describedby", words.id);
    const [at, room] = [link.getClientRects()[0], words.offsetParent.getBoundingClientRect()];
    words.style.left = `${Math.max(0, Math.min(at.left - room.left, room.width - words.offsetWidth))}px`;
    const below = at.bottom + words.offsetHeight < innerHeight;
    words.style.top = `${below ? at.bottom - room.top : at.top - room.top - words.offsetHeight}px`;
    words.addEventListener("pointerleave", hide);
    shown = { link, tip: words };
    globalThis.MathJax?.typesetPromise?.([words]);
  }

  for (const link of document.querySelectorAll(".bd-article a.reference.internal[href*='#']")) {
    const ask = (delay) => { wanted = link; clearTimeout(waiting); waiting = setTimeout(() => show(link), delay); };
    const leave = ({ relatedTarget }) => {
      wanted = null;
      clearTimeout(waiting);
      if (!shown?.tip.contains(relatedTarget)) hide(); // the pointer may go on to the preview and rest there
    };
    link.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && ask(DELAY));
    link.addEventListener("pointerleave", leave);
    link.addEventListener("focus", () => link.matches(":focus-visible") && ask(0));
    link.addEventListener("blur", leave);
  }
  addEventListener("keydown", ({ key }) => key === "Escape" && hide());
}
