"""Exercises of chapter 06: the teacher without a loop, a schedule with warm-up, clipping part by part."""

import torch
from torch import Tensor

from dinov2_edu.exercises import Exercise
from dinov2_edu.schedules import cosine_schedule


def _students(generator: torch.Generator) -> dict:
    steps = int(torch.randint(5, 12, (), generator=generator))
    return {
        "students": torch.randn(steps, 6, generator=generator),
        "momentum": 0.5 + 0.4 * float(torch.rand((), generator=generator)),
    }


def _unrolled(students: Tensor, momentum: float) -> Tensor:
    teacher = students[0]
    for student in students[1:]:
        teacher = torch.lerp(student, teacher, momentum)
    return teacher


def _start_like_the_others(students: Tensor, momentum: float) -> Tensor:
    return (1 - momentum) * momentum ** torch.arange(len(students)).flip(0) @ students


def _settings(generator: torch.Generator) -> dict:
    warmup = int(torch.randint(2, 10, (), generator=generator))
    peak = 0.001 + 0.01 * float(torch.rand((), generator=generator))
    return {"peak": peak, "end": 1e-6, "n_steps": 40, "warmup": warmup}


def _schedule(peak: float, end: float, n_steps: int, warmup: int) -> Tensor:
    return torch.from_numpy(cosine_schedule(peak, end, n_steps, warmup_steps=warmup)).float()


def _parts(generator: torch.Generator) -> dict:
    sizes = (2.0, 0.05, 1.0)  # the second part is short enough to stay as it is
    shapes = ((3, 2), (4,))
    parts = [[size * (torch.rand(shape, generator=generator) + 0.5) for shape in shapes] for size in sizes]
    return {"parts": parts, "limit": 1.0}


def _norm(gradients: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients]).norm()


def _clip(parts: list[list[Tensor]], limit: float) -> list[list[Tensor]]:
    return [_clip_one(gradients, limit) for gradients in parts]


def _clip_one(gradients: list[Tensor], limit: float) -> list[Tensor]:
    return [gradient * (limit / _norm(gradients)).clamp(max=1) for gradient in gradients]


def _clip_together(parts: list[list[Tensor]], limit: float) -> list[list[Tensor]]:
    scale = (limit / _norm([gradient for gradients in parts for gradient in gradients])).clamp(max=1)
    return [[gradient * scale for gradient in gradients] for gradients in parts]


def _clip_each_tensor(parts: list[list[Tensor]], limit: float) -> list[list[Tensor]]:
    return [[_clip_one([gradient], limit)[0] for gradient in gradients] for gradients in parts]


def _bring_to_limit(parts: list[list[Tensor]], limit: float) -> list[list[Tensor]]:
    return [[gradient * limit / _norm(gradients) for gradient in gradients] for gradients in parts]


EXERCISES = {
    "unrolled": Exercise(
        task="the teacher (d,) that begins as the first of `students` (steps, d) and is updated with `momentum` "
        "after each of the others",
        reference=_unrolled,
        make_inputs=_students,
        hint="The student of n steps ago has (1 - m) m^n; what is left of the start has no factor 1 - m.",
        mistakes={
            "the start was weighed like a student that was averaged in": _start_like_the_others,
            "the momentum was given to the student": lambda students, momentum: _unrolled(
                students, 1 - momentum
            ),
        },
    ),
    "schedule": Exercise(
        task="`n_steps` learning rates: linear from 0 to `peak` in `warmup` steps, then half a cosine towards `end`",
        reference=_schedule,
        make_inputs=_settings,
        hint="The cosine has n_steps - warmup steps and starts at `peak`.",
        mistakes={
            "the cosine runs over all steps instead of those after the warm-up": lambda peak, end, n_steps, warmup: (
                torch.cat([torch.linspace(0, peak, warmup), _schedule(peak, end, n_steps, 0)[warmup:]])
            )
        },
        tolerance=1e-6,
    ),
    "clip": Exercise(
        task="the gradients of `parts`, those of each part scaled so that their common norm is at most `limit`",
        reference=_clip,
        make_inputs=_parts,
        hint="Square and add up all entries of a part, take the root, and scale by min(1, limit / norm).",
        mistakes={
            "all parts were clipped together": _clip_together,
            "each tensor was clipped for itself": _clip_each_tensor,
            "a gradient shorter than the limit was made longer": _bring_to_limit,
        },
    ),
}
