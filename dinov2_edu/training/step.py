"""One pretraining step: views and masks in, losses, gradients, a better student and a slower teacher out.

Source: `forward_backward` in official `dinov2/train/ssl_meta_arch.py` and `do_train` in `train.py` @ b8931f7.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dinov2_edu.checks import check_above_zero, checked, require
from dinov2_edu.crops import Views, multi_crop
from dinov2_edu.ema import update_teacher
from dinov2_edu.losses import (
    center_targets,
    dino_loss,
    entropy,
    ibot_loss,
    koleo_loss,
    sinkhorn_knopp,
    update_center,
)
from dinov2_edu.masking import mask_batch
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import ByteImages
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.network import CropMasks, GlobalCrops, LocalCrops, Outputs
from dinov2_edu.training.processes import (
    all_reduce_sum,
    average_over_all,
    mean_over_all,
)
from dinov2_edu.training.state import TrainState


@dataclass
class Batch:
    """What one step learns from: crops, crop-major (all first crops, then all second), and the student's masks."""

    global_crops: GlobalCrops
    local_crops: LocalCrops | None
    masks: CropMasks | None

    @classmethod
    def from_views(cls, views: Views, masks: CropMasks | None) -> "Batch":
        """Lay an augmented batch out crop by crop."""
        global_crops, local_crops = views.crop_major()
        return cls(global_crops, local_crops if len(local_crops) else None, masks)


@checked
def draw_batch(images: ByteImages, config: TrainConfig, generator: torch.Generator) -> Batch:
    """Crop, augment and mask a batch; `step_generator` gives the generator of a step of a run."""
    views = multi_crop(images, config.crops, generator=generator)
    masks = None
    if config.ibot_weight:
        masks = mask_batch(
            2 * len(images),
            config.crop_grid,
            generator=generator,
            ratio=config.mask_ratio,
            probability=config.mask_probability,
        )
    return Batch.from_views(views, masks)


@dataclass
class Losses:
    """The parts of the loss as they enter the sum, the targets' statistics, and the teacher's logits."""

    parts: dict[str, Float[Tensor, ""]]
    metrics: dict[str, Float[Tensor, ""]]
    teacher_logits: dict[str, Float[Tensor, "m k"]]

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is differentiated."""
        return torch.stack(list(self.parts.values())).sum()


def make_targets(
    logits: Float[Tensor, "m k"], center: Float[Tensor, " k"] | None, temperature: float, method: str
) -> Float[Tensor, "m k"]:
    """Turn teacher logits into the distributions that the student shall match.

    Args:
        logits: of the teacher.
        center: the running centre; read by "centering" alone, zero where None.
        temperature: the teacher's.
        method: "centering", "sinkhorn_knopp" or "none".
    """
    if method == "sinkhorn_knopp":
        return sinkhorn_knopp(logits, temperature, all_reduce=all_reduce_sum)
    if method == "none" or center is None:
        center = logits.new_zeros(logits.shape[-1])
    return center_targets(logits, center, temperature)


@checked
def compute_losses(
    state: TrainState, batch: Batch, teacher_temperature: float, generator: torch.Generator | None = None
) -> Losses:
    """Run both networks and compute every part of the loss; changes nothing.

    DINO matches a student's global crop with the *other* teacher crop and a local crop with both, and averages over
    these pairs; iBOT matches masked patches; KoLeo spreads the class tokens of each global crop among the images of
    this process, as the official loss does.

    Args:
        state: the networks, the centres and the config.
        batch: crops and masks.
        teacher_temperature: of this step.
        generator: for stochastic depth; torch's own if None.

    Raises:
        ValueError: an odd number of global crops, or a temperature that is not above 0.
    """
    check_above_zero(teacher_temperature=teacher_temperature)
    teacher, student = _run_networks(state, batch, generator)
    return losses_between(state, teacher, student, batch.masks, teacher_temperature)


def losses_between(
    state: TrainState, teacher: Outputs, student: Outputs, masks: CropMasks | None, temperature: float
) -> Losses:
    """Every part of the loss, given what the two networks said.

    Args:
        state: the centres and the config.
        teacher: what makes the targets.
        student: what shall match them.
        masks: patches whose logits both gave; True = there is a row for it.
        temperature: the teacher's.
    """
    config, centers = state.config, state.centers
    cls_targets = make_targets(teacher.global_cls_logits, centers.get("cls"), temperature, config.targets)
    logits, targets = {"cls": teacher.global_cls_logits}, {"cls": cls_targets}
    parts = _dino_parts(student, cls_targets, config) if config.dino_weight else {}
    if config.koleo_weight:
        first, second = (koleo_loss(tokens) for tokens in student.cls_tokens.chunk(2))
        parts["koleo"] = config.koleo_weight * (first + second)
    student_patches, teacher_patches = student.patch_logits, teacher.patch_logits
    if student_patches is not None and teacher_patches is not None and masks is not None:
        logits["patch"] = teacher_patches
        targets["patch"] = make_targets(teacher_patches, centers.get("patch"), temperature, config.targets)
        masks = masks.to(state.device)
        ibot = ibot_loss(student_patches, targets["patch"], masks, temperature=config.student_temperature)
        parts["ibot"] = config.ibot_weight * ibot
    return Losses(parts, _metrics(targets, teacher), logits)


def _run_networks(
    state: TrainState, batch: Batch, generator: torch.Generator | None
) -> tuple[Outputs, Outputs]:
    """The teacher on whole global crops, the student on masked global and on local ones; float32 comes out."""
    crops, config = batch.global_crops, state.config
    require(len(crops) % 2 == 0, f"wanted two global crops an image, got {len(crops)}")
    masks = patch_indices = None
    if batch.masks is not None and config.ibot_weight:
        # Counted where the masks were drawn, on the CPU, so that nothing waits for a GPU.
        patch_indices = batch.masks.flatten().nonzero().squeeze(1).to(state.device)
        masks = batch.masks.to(state.device)
    with torch.autocast(state.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        with torch.no_grad():
            teacher = state.teacher(crops, patch_indices=patch_indices)
        student = state.student(
            crops, batch.local_crops, masks=masks, patch_indices=patch_indices, generator=generator
        )
    return teacher.float(), student.float()


def _dino_parts(student: Outputs, targets: Float[Tensor, "g k"], config: TrainConfig) -> dict[str, Tensor]:
    """The class-token loss, split as the official log splits it; both parts share one number of pairs.

    Without local crops that number is 2; the official code, which counts at least one local pair, divides by 3.
    """
    teacher = targets.unflatten(0, (2, -1))  # 2 b k
    n_local, temperature = config.crops.n_local, config.student_temperature
    weight = config.dino_weight / (2 + 2 * n_local)
    views = student.global_cls_logits.unflatten(0, (2, -1))
    parts = {"dino_global": weight * dino_loss(views, teacher, temperature=temperature, skip_same_view=True)}
    if student.local_cls_logits is not None:
        views = student.local_cls_logits.unflatten(0, (n_local, -1))
        parts["dino_local"] = weight * dino_loss(views, teacher, temperature=temperature)
    return parts


def _metrics(targets: dict[str, Float[Tensor, "m k"]], teacher: Outputs) -> dict[str, Float[Tensor, ""]]:
    """What `diagnose` reads, over all processes: entropies of the targets (nats) and the spread of the features."""
    metrics = {
        "target_entropy": mean_over_all(entropy(targets["cls"])[:, None]).squeeze(),
        "mean_target_entropy": entropy(mean_over_all(targets["cls"])),
        "feature_spread": feature_spread(teacher.cls_tokens),
    }
    if "patch" in targets:
        metrics["patch_target_entropy"] = mean_over_all(entropy(targets["patch"])[:, None]).squeeze()
    return metrics


def feature_spread(tokens: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """How far the class tokens of a batch lie apart: 1 where their directions fill the sphere, 0 where they agree.

    It is the root of 1 - |mean of the unit vectors|^2.
    """
    unit = nn.functional.normalize(tokens.float(), dim=-1)
    return (1 - mean_over_all(unit).square().sum()).clamp(min=0).sqrt()


LossFunction = Callable[[TrainState, Batch, float, torch.Generator | None], Losses]
"""(state, batch, teacher's temperature, generator) -> the losses, as `compute_losses` gives them."""


@checked
@torch_defaults()
def train_step(
    state: TrainState, batch: Batch, generator: torch.Generator, losses_of: LossFunction = compute_losses
) -> dict[str, Tensor | float]:
    """One step: losses, gradients, clipping, AdamW, teacher, centres.

    The centre used for the targets is the one before this step's update, as in the official code.

    Args:
        state: what is trained; changed in place.
        batch: from `draw_batch`.
        generator: the step's own, which drew the batch and now draws stochastic depth.
        losses_of: what the student learns from: its own slow teacher, or a finished one (`distill_from`).

    Returns:
        The loss, its parts and metrics as tensors on the device (reading one waits for the device), the schedules as
        numbers.

    Raises:
        ValueError: the run has had all its steps.
    """
    config, step = state.config, state.step
    require(
        step < config.steps, f"the run has had all its {config.steps} steps: begin another with start_from"
    )
    now = state.schedules.at(step)
    for group in state.optimizer.param_groups:
        lr = now["last_layer_lr"] if group["is_last_layer"] else now["lr"]
        group["lr"] = lr * group["lr_multiplier"]
        group["weight_decay"] = now["weight_decay"] * group["wd_multiplier"]

    losses = losses_of(state, batch, now["teacher_temperature"], generator)
    state.optimizer.zero_grad(set_to_none=True)
    losses.total.backward()
    for network in state.student_network.children():
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
    state.optimizer.step()

    update_teacher(state.teacher, state.student_network, now["momentum"])
    for name, logits in losses.teacher_logits.items():
        if name in state.centers:  # kept for centering alone
            mean = mean_over_all(logits)
            state.centers[name] = update_center(state.centers[name], mean, config.center_momentum)
    state.step += 1
    seen = {"loss": losses.total, **losses.parts, **losses.metrics}
    seen = average_over_all({name: value.detach() for name, value in seen.items()})
    return {**seen, **{name: now[name] for name in ("lr", "momentum", "teacher_temperature")}}
