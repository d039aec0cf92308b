"""From teacher logits to a target: centre, temperature, Sinkhorn-Knopp, and what each collapse looks like."""

from typing import Any

import numpy as np
import traitlets
from numpy.typing import ArrayLike

from dinov2_edu.checks import require
from dinov2_edu.widgets._base import BookWidget, array_bytes, bundle


class LossesWidget(BookWidget):
    """Shows a small batch's teacher logits, the targets made of them, and the student beside them.

    Traitlets, all readable from Python after a reader moved the control:
        targets: "softmax" alone, with the "centre" (the batch's mean logits) subtracted first, or "sinkhorn".
        teacher_temperature, student_temperature: above 0.
        half_steps: steps of Sinkhorn-Knopp; odd ones scale columns, even ones rows, two make an iteration.
        outputs: "healthy", or what a collapse makes of the same logits: "alike" (all prototypes nearly equal)
            or "one wins" (one prototype ahead for every image).
        image: the row that is looked at, from 0.
        target_entropy, kl: means over the images, in nats, of what is shown.

    Args:
        teacher_logits: one row an image, one column a prototype (6 x 8 fits a phone); made up if None.
        student_logits: the same shape; None makes a student that has learnt most of the teacher.
        still, alt: the still figure and its words, as in `BookWidget`.
        values: starting values of the traitlets.

    Raises:
        ValueError: the two are not matrices of the same shape, or empty.
    """

    _esm = bundle("losses.js")
    teacher_logits = traitlets.Bytes().tag(sync=True)
    student_logits = traitlets.Bytes().tag(sync=True)
    n_prototypes = traitlets.Int().tag(sync=True)
    targets = traitlets.Enum(["softmax", "centre", "sinkhorn"], "centre").tag(sync=True)
    teacher_temperature = traitlets.Float(0.07, min=1e-3).tag(sync=True)
    student_temperature = traitlets.Float(0.1, min=1e-3).tag(sync=True)
    half_steps = traitlets.Int(6, min=0, max=12).tag(sync=True)
    outputs = traitlets.Enum(["healthy", "alike", "one wins"], "healthy").tag(sync=True)
    image = traitlets.Int(0, min=0).tag(sync=True)
    target_entropy = traitlets.Float(0.0).tag(sync=True)
    kl = traitlets.Float(0.0).tag(sync=True)

    def __init__(
        self,
        teacher_logits: ArrayLike | None = None,
        student_logits: ArrayLike | None = None,
        *,
        still: Any = None,
        alt: str = "",
        **values: Any,
    ) -> None:
        teacher = np.asarray(_example_logits() if teacher_logits is None else teacher_logits)
        student = np.asarray(_learnt_from(teacher) if student_logits is None else student_logits)
        if teacher.ndim != 2 or teacher.shape != student.shape or teacher.size == 0:
            raise ValueError(
                f"teacher_logits and student_logits must be matrices (images, prototypes) of the same shape, not "
                f"empty, got {teacher.shape} and {student.shape}"
            )
        for name, logits in (("teacher_logits", teacher), ("student_logits", student)):
            numbers = np.issubdtype(logits.dtype, np.number)
            bad = int((~np.isfinite(logits)).sum()) if numbers else logits.size
            require(not bad, f"{name}: wanted finite numbers, {bad} of {logits.size} are not")
        super().__init__(
            teacher_logits=array_bytes(teacher, "float32"),
            student_logits=array_bytes(student, "float32"),
            n_prototypes=teacher.shape[1],
            still=still,
            alt=alt,
            **values,
        )

    @traitlets.validate("image")
    def _known(self, proposal: dict[str, Any]) -> int:
        n_images = len(self.teacher_logits) // (4 * self.n_prototypes)
        if proposal["value"] >= n_images:
            raise traitlets.TraitError(
                f"there are {n_images} images, counted from 0; got {proposal['value']}"
            )
        return proposal["value"]


def _example_logits() -> np.ndarray:
    """Make up six images, eight prototypes: each image has a favourite, two prototypes lead for all."""
    generator = np.random.default_rng(4)
    logits = generator.normal(0, 0.11, (6, 8))
    logits[np.arange(6), [0, 3, 5, 1, 6, 3]] += 0.45
    logits[:, [3, 6]] += 0.15
    return logits


def _learnt_from(teacher_logits: np.ndarray) -> np.ndarray:
    """Make up a student that has learnt most of the teacher's logits and errs a little everywhere."""
    errors = np.random.default_rng(5).normal(0, 0.08, teacher_logits.shape)
    return 0.8 * teacher_logits + errors
