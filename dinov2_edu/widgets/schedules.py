"""The schedules of the official recipes and of a run of the reader's own, under one cursor."""

from typing import Any

import traitlets

from dinov2_edu.widgets._base import BookWidget, bundle


class SchedulesWidget(BookWidget):
    """Learning rate, weight decay, momentum, teacher temperature and the teacher's lag over a whole run.

    The run of the reader's own is the published recipe at another batch, length and first momentum: the learning rate
    scales with the root of the batch, and warm-ups keep their share of the run. All is computed in the browser, from
    the numbers of `default_recipe()` and `published_recipe()`.

    Traitlets, all readable from Python after a reader moved the control:
        recipe: "published", "default" or "yours".
        unit: what the axis counts: "steps", "epochs" (of 1,250 steps, as the official code counts) or "share".
        place: where the cursor is, 0 to 1,000 thousandths of the run.
        beside: whether the other recipes are drawn, too.
        batch, steps, momentum: the run of the reader's own: images a step, length, momentum of the first step.

    Args:
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.
    """

    _esm = bundle("schedules.js")
    recipes = traitlets.Dict().tag(sync=True)
    recipe = traitlets.Enum(["published", "default", "yours"], "published").tag(sync=True)
    unit = traitlets.Enum(["steps", "epochs", "share"], "epochs").tag(sync=True)
    place = traitlets.Int(500, min=0, max=1000).tag(sync=True)
    beside = traitlets.Bool(False).tag(sync=True)
    batch = traitlets.Int(64, min=1).tag(sync=True)
    steps = traitlets.Int(1000, min=2).tag(sync=True)
    momentum = traitlets.Float(0.994, min=0.0, max=1.0).tag(sync=True)

    def __init__(self, **values: Any) -> None:
        from dinov2_edu.experiments.recipes import default_recipe, published_recipe  # they load torch

        recipes = {"published": _numbers(published_recipe()), "default": _numbers(default_recipe())}
        super().__init__(recipes=recipes, **values)


def _numbers(config: Any) -> dict[str, Any]:
    """What the control needs of a recipe; the learning rate is the one for 1,024 images."""
    from dinov2_edu.experiments.recipes import EPOCH

    return {
        "batch": config.batch_size,
        "steps": config.steps,
        "epoch": EPOCH,
        "warmup": config.warmup_steps,
        "rate": config.lr[0] / (config.batch_size / 1024) ** 0.5,
        "rateEnd": config.lr[1],
        "decay": config.weight_decay,
        "momentum": config.momentum,
        "temperature": config.teacher_temperature,
        "rise": config.teacher_temperature_steps,
    }
