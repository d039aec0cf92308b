// What a search finds first: pages and their sections before names of the package. Sphinx reads this instead of its own.
var Scorer = { // `var`, since Sphinx declares it so, too
  objNameMatch: 3, objPartialMatch: 1, objPrio: { 0: 2, 1: 0, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 9, term: 5, partialTerm: 2,
  score: ([page, , , , score]) => (page.startsWith("book/api/") ? score - 200 : score),
};
