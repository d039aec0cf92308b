"""Curves that grow in a terminal: one line of text a quantity, drawn again as the run goes on."""

from collections.abc import Sequence
from itertools import pairwise

from tqdm import tqdm

from dinov2_edu.checks import checked, require
from dinov2_edu.training.state import TrainState

_LEVELS = "▁▂▃▄▅▆▇█"
_WIDTH = 48  # blocks

WATCHED = {
    "loss": "loss",
    "target_entropy": "target entropy",
    "feature_spread": "feature spread",
    "knn": "k-NN accuracy",
}
"""Quantities of a training history that are followed, and their names in the terminal."""


@checked
def sparkline(values: Sequence[float]) -> str:
    """A curve as one line of text, its lowest value as the lowest block; longer curves are averaged down to 48.

    Raises:
        ValueError: no values.
    """
    require(len(values) > 0, "a curve needs at least one value")
    count = min(_WIDTH, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    marks = [0 if span == 0 else round((mean - low) / span * (len(_LEVELS) - 1)) for mean in means]
    return "".join(_LEVELS[mark] for mark in marks)


class TerminalCurves:
    """A callback for `FitOptions.on_log` that writes the curves of a run every so many records.

    Args:
        every: records between two drawings.
    """

    def __init__(self, every: int = 10) -> None:
        require(every >= 1, f"every must be at least 1, got {every}")
        self.every = every
        self._records = 0

    def __call__(self, state: TrainState) -> None:
        self._records += 1
        if self._records % self.every:
            return
        lines = [f"after step {state.step} of {state.config.steps}"]
        for name, title in WATCHED.items():
            values = state.history.get(name)
            if values:
                lines.append(f"  {title:<15} {values[0]:7.3f} {sparkline(values)} {values[-1]:7.3f}")
        tqdm.write("\n".join(lines))
