// What a page can be read without is fetched once it is on the screen: `afterPaint(address)` runs a script then, and
// the page names more of them itself, as <script type="text/after-paint" data-src="...">.
(() => {
  const PATIENCE = 5000; // milliseconds: not every browser says when it has painted

  const painted = new Promise((done) => new PerformanceObserver(done).observe({ type: "paint", buffered: true }));
  const seen = document.hidden || Promise.race([painted, new Promise((done) => setTimeout(done, PATIENCE))]);

  /** Resolves when the script has run; is refused when it did not arrive. */
  self.afterPaint = async (address) => {
    await seen;
    await new Promise((done, refuse) => {
      const script = document.createElement("script");
      script.onload = done;
      script.onerror = () => refuse(new Error(`a script did not arrive: ${script.src}`));
      script.src = address;
      document.head.append(script);
    });
  };

  for (const { dataset } of document.querySelectorAll('script[type="text/after-paint"]')) {
    self.afterPaint(dataset.src).catch(console.error);
  }
})();
