"""What a run costs before it is begun: operations by part, memory of a GPU, hours and kilowatt-hours."""

from typing import NamedTuple

from dinov2_edu.checks import check_above_zero, check_at_least, checked, require

HIDDEN, DINO_BOTTLENECK, IBOT_BOTTLENECK, PROTOTYPES = 2048, 384, 256, 131_072
"""The heads of the published recipe."""
MASKED = 0.5 * 0.3
"""Share of the global crops' patches that are masked: every second crop, 10 to 50 % of it."""
KEPT = 18
"""Numbers that a block keeps for the backward pass, for each token and unit of width, with fused attention."""


class Run(NamedTuple):
    """A run to be priced.

    Attributes:
        width, depth: of the student.
        batch, steps: images a step over all GPUs, and steps.
        patch, global_size, local_size: pixels a side.
        n_local: local crops beside the two global ones.
        drop_path: share of the student's work that stochastic depth leaves out.
        teacher: width and depth of a frozen teacher (distillation); None where the teacher follows the student.
    """

    width: int
    depth: int
    batch: int
    steps: int
    patch: int = 14
    global_size: int = 224
    local_size: int = 98
    n_local: int = 8
    drop_path: float = 0.0
    teacher: tuple[int, int] | None = None


def _forward(plan: Run, side: int, shape: tuple[int, int]) -> float:
    width, depth = shape
    n = (side // plan.patch) ** 2
    t = n + 1
    return depth * (24 * t * width**2 + 4 * t**2 * width) + 6 * n * plan.patch**2 * width


def _head(width: int, bottleneck: int) -> int:
    """Weights of a head."""
    return width * HIDDEN + HIDDEN**2 + HIDDEN * bottleneck + bottleneck * PROTOTYPES


def _through_heads(width: int, crops: float, masked: float) -> float:
    """Operations of an image's class tokens and masked patches through their heads, forward."""
    return 2 * crops * _head(width, DINO_BOTTLENECK) + 2 * masked * _head(width, IBOT_BOTTLENECK)


@checked
def flops_of_run(plan: Run) -> dict[str, float]:
    """Count the operations of a whole run: teacher forward, student forward and backward, heads.

    A backward pass counts as two forward passes. Left out: crops, losses, the optimiser.

    Args:
        plan: what to count.

    Raises:
        ValueError: a size that is not above 0, or `drop_path` outside 0 to 1.
    """
    sizes = {
        "width": plan.width,
        "depth": plan.depth,
        "patch": plan.patch,
        "batch": plan.batch,
        "steps": plan.steps,
    }
    check_above_zero(**sizes)
    check_at_least(0, n_local=plan.n_local)
    require(0 <= plan.drop_path < 1, f"drop_path: wanted 0 to 1, 1 left out, got {plan.drop_path}")
    shape = plan.width, plan.depth
    guide = plan.teacher or shape
    images = plan.batch * plan.steps
    student = 2 * _forward(plan, plan.global_size, shape) + plan.n_local * _forward(
        plan, plan.local_size, shape
    )
    student *= (1 - plan.drop_path) * images
    share = MASKED if plan.teacher is None else 1  # distillation masks nothing: all patches are counted
    masked = 2 * share * (plan.global_size // plan.patch) ** 2
    heads = 3 * _through_heads(plan.width, 2 + plan.n_local, masked) + _through_heads(guide[0], 2, masked)
    teacher = 2 * _forward(plan, plan.global_size, guide) * images
    return {"teacher": teacher, "forward": student, "backward": 2 * student, "heads": heads * images}


@checked
def gpu_hours(plan: Run, *, peak: float = 312.0, utilisation: float = 0.39) -> float:
    """Hours of one GPU for the whole run.

    Args:
        plan: what to price.
        peak: TFLOP/s of the GPU in half precision; an A100's data sheet says 312.
        utilisation: share of the peak that is reached. The default is what the published ViT-g reached: its operations
            by `flops_of_run`, over the 22,016 A100 hours of the paper's section 9.

    Raises:
        ValueError: `peak` not above 0, or `utilisation` outside 0 to 1.
    """
    check_above_zero(peak=peak)
    require(0 < utilisation <= 1, f"utilisation: wanted above 0, at most 1, got {utilisation}")
    return sum(flops_of_run(plan).values()) / (peak * 1e12 * utilisation * 3600)


@checked
def gigabytes(plan: Run, gpus: int = 1) -> dict[str, float]:
    """Estimate the memory of one GPU: "weights" (with gradient, both averages of AdamW and the EMA) and "activations".

    A weight takes five numbers of four bytes, cut into as many pieces as there are GPUs; one of a frozen teacher takes
    two bytes more. Activations are those of the student's blocks: two bytes a number, fused attention, nothing
    recomputed.

    Args:
        plan: what to price.
        gpus: that share the weights and the batch.

    Raises:
        ValueError: `gpus` below 1.
    """
    check_at_least(1, gpus=gpus)
    backbone = 12 * plan.width**2 * plan.depth
    heads = _head(plan.width, DINO_BOTTLENECK) + _head(plan.width, IBOT_BOTTLENECK)
    weights = 20 * (backbone + heads)
    weights += 2 * 12 * plan.teacher[0] ** 2 * plan.teacher[1] if plan.teacher else 0
    tokens = 2 * ((plan.global_size // plan.patch) ** 2 + 1)
    tokens += plan.n_local * ((plan.local_size // plan.patch) ** 2 + 1)
    kept = KEPT * plan.width * plan.depth * tokens * plan.batch * (1 - plan.drop_path) * 2
    return {"weights": weights / gpus / 1e9, "activations": kept / gpus / 1e9}
