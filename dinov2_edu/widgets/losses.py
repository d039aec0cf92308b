"""From teacher logits to a target: centre, temperature, Sinkhorn-Knopp, and what each collapse looks like."""

import numpy as np
import traitlets

from dinov2_edu.widgets._base import BookWidget, array_bytes, bundle


def _made_up_logits() -> tuple[np.ndarray, np.ndarray]:
    """Make up the teacher's and the student's logits of six images and eight prototypes.

    Each image has a favourite, and two prototypes lead for all. The student has learnt most of it and errs a little
    everywhere.
    """
    teacher = np.random.default_rng(4).normal(0, 0.11, (6, 8))
    teacher[np.arange(6), [0, 3, 5, 1, 6, 3]] += 0.45
    teacher[:, [3, 6]] += 0.15
    return teacher, 0.8 * teacher + np.random.default_rng(5).normal(0, 0.08, teacher.shape)


TEACHER, STUDENT = _made_up_logits()


class LossesWidget(BookWidget):
    """Shows the teacher logits of a small made-up batch, the targets made of them, and the student beside them.

    Traitlets, all readable from Python after a reader moved the control:
        targets: "softmax" alone, with the "centre" (the batch's mean logits) subtracted first, or "sinkhorn".
        teacher_temperature, student_temperature: above 0.
        half_steps: steps of Sinkhorn-Knopp; odd ones scale columns, even ones rows, two make an iteration.
        outputs: "healthy", or what a collapse makes of the same logits: "alike" (all prototypes nearly equal)
            or "one wins" (one prototype ahead for every image).
        image: the row that is looked at, 0 to 5.
        target_entropy, kl: means over the images, in nats, of what is shown.

    Args:
        still, alt, values: the still figure, its words, and starting values of the traitlets: see `BookWidget`.
    """

    _esm = bundle("losses.js")
    teacher_logits = traitlets.Bytes(array_bytes(TEACHER, "float32")).tag(sync=True)
    student_logits = traitlets.Bytes(array_bytes(STUDENT, "float32")).tag(sync=True)
    n_prototypes = traitlets.Int(TEACHER.shape[1]).tag(sync=True)
    targets = traitlets.Enum(["softmax", "centre", "sinkhorn"], "centre").tag(sync=True)
    teacher_temperature = traitlets.Float(0.07, min=1e-3).tag(sync=True)
    student_temperature = traitlets.Float(0.1, min=1e-3).tag(sync=True)
    half_steps = traitlets.Int(6, min=0, max=12).tag(sync=True)
    outputs = traitlets.Enum(["healthy", "alike", "one wins"], "healthy").tag(sync=True)
    image = traitlets.Int(0, min=0, max=len(TEACHER) - 1).tag(sync=True)
    target_entropy = traitlets.Float(0.0).tag(sync=True)
    kl = traitlets.Float(0.0).tag(sync=True)
