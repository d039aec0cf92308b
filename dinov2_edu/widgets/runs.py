"""Recorded training runs, healthy and collapsed, one beside the other with a cursor through time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from dinov2_edu.checks import check_at_least
from dinov2_edu.widgets._base import BookWidget, array_bytes, bundle, one_of

METRICS = {
    "loss": "loss, all parts",
    "dino_global": "DINO loss, global crops",
    "dino_local": "DINO loss, local crops",
    "ibot": "iBOT loss",
    "koleo": "KoLeo loss",
    "target_entropy": "target entropy, nats",
    "mean_target_entropy": "mean target's entropy, nats",
    "patch_target_entropy": "patch target entropy, nats",
    "feature_spread": "feature spread",
    "knn": "k-NN accuracy",
    "dense": "accuracy on single patches",
    "lr": "learning rate",
    "momentum": "teacher momentum",
    "teacher_temperature": "teacher temperature",
}
"""Key of a training history to the words for it, in the order in which they are offered."""

MAX_POINTS = 300
"""Longer curves are thinned to every 2nd, 3rd ... record."""


class RunsWidget(BookWidget):
    """Training curves of several runs, laid over each other or side by side, read out at any step.

    Traitlets, all readable from Python after a reader moved the control:
        metric: the key of the history that is drawn.
        visible: for each run, whether it is drawn.
        charts: "overlaid" for one chart, "side by side" for one a run.
        step: the training step that is read out.

    Args:
        runs: dicts with `name` (short), `diagnosis` (a sentence, may be missing) and `history`, a dict of
            lists as `fit` records it: `step` and a list for each quantity; one recorded at other steps has
            its own, such as `knn` and `knn_step`. An empty list is left out.
        n_prototypes: K; entropies then get a line at ln K, where targets are uniform.
        source: which data and model this is, in a few words for the caption.
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.

    Raises:
        ValueError: no run, one without name or history, two of one name, or a quantity without its steps.
    """

    _esm = bundle("runs.js")
    runs = traitlets.List(traitlets.Dict()).tag(sync=True)
    numbers = traitlets.Bytes().tag(sync=True)
    metrics = traitlets.List(traitlets.List(traitlets.Unicode())).tag(sync=True)
    n_prototypes = traitlets.Int(0).tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)

    metric = traitlets.Unicode().tag(sync=True)
    visible = traitlets.List(traitlets.Bool()).tag(sync=True)
    charts = traitlets.Enum(["overlaid", "side by side"], "overlaid").tag(sync=True)
    step = traitlets.Int(0, min=0).tag(sync=True)

    def __init__(
        self,
        runs: Sequence[Mapping[str, Any]],
        *,
        n_prototypes: int = 0,
        **values: Any,
    ) -> None:
        check_at_least(0, n_prototypes=n_prototypes)
        _check(runs)
        packed, numbers = pack_runs(runs)
        present = {key for run in packed for key in run["curves"]}
        metrics = [
            [key, METRICS.get(key, key.replace("_", " "))]
            for key in [*METRICS, *sorted(present - METRICS.keys())]
        ]
        metrics = [pair for pair in metrics if pair[0] in present]
        last = max(int(max(run["history"]["step"])) for run in runs)
        values = {
            "metric": "target_entropy" if "target_entropy" in present else metrics[0][0],
            "visible": [True] * len(runs), "step": last, **values,
        }  # fmt: skip
        super().__init__(
            runs=packed, numbers=array_bytes(numbers, "float32"), metrics=metrics,
            n_prototypes=n_prototypes, **values,
        )  # fmt: skip

    @traitlets.validate("metric", "visible")
    def _known(self, proposal: dict[str, Any]) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "metric":
            return one_of(dict(self.metrics), proposal)
        if len(value) != len(self.runs):
            raise traitlets.TraitError(
                f"visible: wanted a value for each of {len(self.runs)} runs, got {len(value)}"
            )
        return value


def pack_runs(runs: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Put the numbers of all curves into one array.

    Returns:
        For each run its name, diagnosis and `curves`, from key to (start, length): at start lie `length`
        steps, then as many values. And the array.
    """
    packed: list[dict[str, Any]] = []
    pieces: list[np.ndarray] = []
    at = 0
    for run in runs:
        curves = {}
        for key in _quantities(run["history"]):
            steps = _thinned(run["history"].get(f"{key}_step", run["history"]["step"]))
            values = _thinned(run["history"][key])
            pieces += [steps, values]
            curves[key] = [at, len(steps)]
            at += 2 * len(steps)
        packed.append({"name": run["name"], "diagnosis": run.get("diagnosis", ""), "curves": curves})
    return packed, np.concatenate(pieces)


def _quantities(history: Mapping[str, Any]) -> list[str]:
    """The keys of all that was recorded, steps left out."""
    return [
        key for key, values in history.items() if key != "step" and not key.endswith("_step") and len(values)
    ]


def _thinned(values: Sequence[float]) -> np.ndarray:
    """Every so many-th value, counted from the last, so that the end of a run is always there."""
    every = max(1, -(-len(values) // MAX_POINTS))
    return np.asarray(values, dtype=np.float64)[::-1][::every][::-1]


def _check(runs: Sequence[Mapping[str, Any]]) -> None:
    if not runs:
        raise ValueError("no runs: give a list of dicts with name, diagnosis and history")
    for i, run in enumerate(runs):
        history = run.get("history") or {}
        if not run.get("name") or not len(history.get("step", ())) or not _quantities(history):
            raise ValueError(
                f"run {i}: wanted a dict with a name and a history with at least one step and one quantity, "
                f"got {sorted(run)} and a history of {sorted(history)}"
            )
        for key in _quantities(history):
            steps = history.get(f"{key}_step", history["step"])
            if len(history[key]) != len(steps):
                raise ValueError(
                    f"run {run['name']!r}: {len(history[key])} values of {key} at {len(steps)} steps; "
                    f"give its own steps as {key}_step"
                )
    if len({run["name"] for run in runs}) != len(runs):
        raise ValueError(f"two runs have one name: {[run['name'] for run in runs]}")
