// A figure is fetched when it comes near, so that the first screen is there soon. Once it is, the others follow, so that a
// page that is open can be read without a network. The twin for the other theme stays where it is.
addEventListener("load", () => {
  if (navigator.connection?.saveData) return;
  const soon = window.requestIdleCallback ?? setTimeout;
  soon(() => {
    for (const image of document.querySelectorAll('.bd-article img[loading="lazy"]')) {
      if (image.offsetParent) image.loading = "eager";
    }
  });
});
