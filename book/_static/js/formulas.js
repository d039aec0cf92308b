// Draws a page's formulas a few at a time, so that the page answers in between. Must come before MathJax.
(() => {
  const SLICE = 20; // milliseconds of drawing before the page gets its turn

  async function drawAll() {
    let began = performance.now();
    for (const formula of document.querySelectorAll(".math")) {
      await window.MathJax.typesetPromise([formula]);
      if (performance.now() - began < SLICE) continue;
      await new Promise((rest) => setTimeout(rest));
      began = performance.now();
    }
  }

  window.MathJax = { ...window.MathJax, startup: { pageReady: drawAll } };
})();
