// Small repairs of the theme's markup, so that screen readers are told what sighted readers see.
const label = (element, text) => {
  if (element.getAttribute("aria-label") !== text) element.setAttribute("aria-label", text);
};

function nameParts() {
  for (const button of document.querySelectorAll("button.search-button__button")) label(button, "Search Ctrl+K");
  for (const button of document.querySelectorAll("button.theme-switch-button")) {
    const shown = button.textContent.trim();
    label(button, shown ? `Color mode: ${shown}` : "Color mode");
  }
  const sidebar = document.querySelector(".bd-sidebar-primary");
  if (sidebar && !sidebar.hasAttribute("role")) {
    sidebar.setAttribute("role", "complementary");
    label(sidebar, "Book");
  }
  for (const fold of document.querySelectorAll(".bd-sidebar-primary li.has-children > details > summary")) {
    label(fold, `Pages of ${fold.closest("li").querySelector("a").textContent.trim()}`);
  }
  for (const entry of document.querySelectorAll(".citation-list > .citation")) entry.setAttribute("role", "listitem");
}

/** What scrolls sideways must be reachable with the keyboard. All is measured, then all changed: one layout, not many. */
function reach() {
  const boxes = document.querySelectorAll(":is(.bd-article pre, .bd-article .cell_output, .bd-article div.math):not([tabindex])");
  for (const box of [...boxes].filter((one) => one.scrollWidth > one.clientWidth + 1)) box.tabIndex = 0;
}

function repair() {
  nameParts();
  reach();
}

let waiting = 0;
const repairSoon = () => { clearTimeout(waiting); waiting = setTimeout(repair, 100); };
nameParts(); // this script is deferred, so the page is there; nothing is measured before it is drawn
addEventListener("load", repairSoon);
addEventListener("resize", repairSoon);
new MutationObserver((changes) => {
  // Widgets redraw many times a second and keep their own markup in order.
  if (changes.some(({ target }) => !target.closest?.(".widget-host"))) repairSoon();
}).observe(document.body, { childList: true, subtree: true });
