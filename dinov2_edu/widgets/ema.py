"""The teacher as a moving average: a noisy student path, the teacher's path, its lag and its calm."""

import traitlets

from dinov2_edu.widgets._base import BookWidget, bundle


class EmaWidget(BookWidget):
    """Two weights of a student move and jitter; the teacher is their moving average.

    The student moves on by `step` every training step, first in weight 1, from half of them on in weight 2,
    and lands `noise` (a standard deviation) off its path each time. Everything is computed in the browser.

    Traitlets, all readable from Python after a reader moved the control:
        momentum: the share of the old teacher that is kept, 0 to 1.
        schedule: "constant", or "cosine" for a rise from `momentum` to 1.
        step, noise: how far the student moves and how much it jitters, in weight units.
        at: the training step that is looked at, 0 to 600.
        seed: number of the noise's draw.
        lag: the teacher's measured lag in steps at the end of the first straight.
        jitter: the teacher's measured jitter as a share of the student's.

    Args:
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.
    """

    _esm = bundle("ema.js")
    momentum = traitlets.Float(0.98, min=0.0, max=1.0).tag(sync=True)
    schedule = traitlets.Enum(["constant", "cosine"], "constant").tag(sync=True)
    step = traitlets.Float(0.006, min=0.0, max=0.008).tag(sync=True)
    noise = traitlets.Float(0.15, min=0.0, max=0.3).tag(sync=True)
    at = traitlets.Int(600, min=0, max=600).tag(sync=True)
    seed = traitlets.Int(1, min=0).tag(sync=True)
    lag = traitlets.Float(0.0).tag(sync=True)
    jitter = traitlets.Float(0.0).tag(sync=True)
