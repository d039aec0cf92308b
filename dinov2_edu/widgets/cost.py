"""The cost calculator: from a run's sizes to operations, memory, hours and kilowatt-hours."""

import traitlets

from dinov2_edu.widgets._base import BookWidget, bundle

RUNS = ("ViT-g", "ViT-L", "ViT-B", "ViT-S")
"""The published runs: one trained, three distilled from it."""


class CostWidget(BookWidget):
    """Prices a training run; its formulas are those of `dinov2_edu.training.cost`.

    Traitlets, all readable from Python after a reader moved the control:
        run: the preset that was taken last, one of `RUNS`; moving another input leaves its name.
        width, depth, patch: of the student.
        teacher: whether a frozen ViT-g teaches it (distillation); else the teacher follows the student.
        global_size, local_size, n_local, batch, steps, drop_path: as in `training.cost.Run`.
        gpus, peak, utilisation, watts: how many, TFLOP/s of one, the share reached, and its power; the building's
            overhead of 1.1 is added to the power.
        hours, kilowatt_hours: what was found, of all GPUs together.

    Args:
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.
    """

    _esm = bundle("cost.js")
    run = traitlets.Enum(RUNS, "ViT-g").tag(sync=True)
    width = traitlets.Int(1536, min=1).tag(sync=True)
    depth = traitlets.Int(40, min=1).tag(sync=True)
    patch = traitlets.Int(14, min=1).tag(sync=True)
    teacher = traitlets.Bool(False).tag(sync=True)
    global_size = traitlets.Int(224, min=1).tag(sync=True)
    local_size = traitlets.Int(98, min=1).tag(sync=True)
    n_local = traitlets.Int(8, min=0).tag(sync=True)
    batch = traitlets.Int(3072, min=1).tag(sync=True)
    steps = traitlets.Int(625_000, min=1).tag(sync=True)
    drop_path = traitlets.Float(0.4, min=0.0, max=0.9).tag(sync=True)
    gpus = traitlets.Int(96, min=1).tag(sync=True)
    peak = traitlets.Float(312.0, min=0.01).tag(sync=True)
    utilisation = traitlets.Float(0.39, min=0.01, max=1.0).tag(sync=True)
    watts = traitlets.Int(400, min=1).tag(sync=True)
    hours = traitlets.Float(0.0).tag(sync=True)
    kilowatt_hours = traitlets.Float(0.0).tag(sync=True)
