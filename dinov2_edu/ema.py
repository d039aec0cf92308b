"""The teacher: a copy of the student that no gradient reaches and that follows as a moving average."""

import copy

import torch
from torch import Tensor, nn

from dinov2_edu.checks import check_probability, checked, describe, require


@checked
def make_teacher(student: nn.Module) -> nn.Module:
    """Return a frozen copy of the student in evaluation mode, with the same weights and its own memory.

    Source: DINO (Caron et al. 2021), section 3.1, "teacher network".
    """
    return copy.deepcopy(student).requires_grad_(False).eval()


@checked
@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move every teacher weight a little towards the student's, in place.

    Computes `teacher = momentum * teacher + (1 - momentum) * student`: at momentum 1 the teacher stands
    still, at 0 it is the student. Buffers, such as running statistics, are copied. If anything does not
    match, nothing is changed.

    Raises:
        ValueError: the momentum is outside 0 to 1, or a parameter or buffer is missing on one side or has
            another shape or dtype there; the sentence names it.

    Source: DINO (Caron et al. 2021), section 3.1; official `update_teacher`, dinov2/train/ssl_meta_arch.py
    @ b8931f7.
    """
    check_probability(momentum, "momentum")
    weights = _pairs(dict(teacher.named_parameters()), dict(student.named_parameters()), "parameter")
    buffers = _pairs(dict(teacher.named_buffers()), dict(student.named_buffers()), "buffer")
    if weights:  # one call for all weights: many small ones would cost a launch each
        teacher_weights, student_weights = zip(*weights, strict=True)
        torch._foreach_lerp_(teacher_weights, student_weights, 1 - momentum)
    for teacher_buffer, student_buffer in buffers:
        teacher_buffer.copy_(student_buffer)


def _pairs(teacher: dict[str, Tensor], student: dict[str, Tensor], kind: str) -> list[tuple[Tensor, Tensor]]:
    """Pair tensors by name, or say which of them does not match."""
    for name in sorted(teacher.keys() ^ student.keys()):
        has, lacks = ("teacher", "student") if name in teacher else ("student", "teacher")
        raise ValueError(f"{kind} {name!r} is in the {has} and not in the {lacks}: use make_teacher(student)")
    for name, tensor in teacher.items():
        require(
            tensor.shape == student[name].shape and tensor.dtype == student[name].dtype,
            f"{kind} {name!r} is {describe(tensor)} in the teacher, {describe(student[name])} in the student",
        )
    return [(tensor, student[name]) for name, tensor in teacher.items()]
