"""One pretraining step: views and masks in, losses, gradients, a better student and a slower teacher out.

Source: `forward_backward` in official `dinov2/train/ssl_meta_arch.py` and `do_train` in `train.py` @ b8931f7.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
from dinov2_edu.shapes import ByteImages, require
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.network import CropMasks, GlobalCrops, LocalCrops, Outputs
from dinov2_edu.training.processes import (
    all_reduce_sum,
    average_over_all,
    gather_rows,
    mean_over_all,
    rank,
    world_size,
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


def step_generator(config: TrainConfig, step: int) -> torch.Generator:
    """A step's random numbers: they follow from the seed, the step and the process.

    So a run that was stopped and resumed sees what it would have seen.
    """
    return torch.Generator().manual_seed((config.seed * 1_000_003 + step) * 4096 + rank())


def draw_batch(images: ByteImages, config: TrainConfig, step: int) -> Batch:
    """Crop, augment and mask a batch, with the draws of the step."""
    views = multi_crop(images, config.crops, generator=step_generator(config, step))
    masks = None
    if config.ibot_weight:
        masks = mask_batch(
            2 * len(images),
            config.crop_grid,
            generator=step_generator(config, step),
            ratio=config.mask_ratio,
            probability=config.mask_probability,
        )
    return Batch.from_views(views, masks)


@dataclass
class Losses:
    """The parts of the loss as they enter the sum, the targets' statistics, and the logits' means."""

    parts: dict[str, Float[Tensor, ""]]
    metrics: dict[str, Float[Tensor, ""]]
    new_centers: dict[str, Float[Tensor, " k"]]

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is differentiated."""
        return torch.stack(list(self.parts.values())).sum()


def make_targets(
    logits: Float[Tensor, "m k"], center: Float[Tensor, " k"], temperature: float, method: str
) -> Float[Tensor, "m k"]:
    """Turn teacher logits into the distributions that the student shall match."""
    if method == "sinkhorn":
        return sinkhorn_knopp(logits, temperature, all_reduce=all_reduce_sum)
    return center_targets(logits, torch.zeros_like(center) if method == "none" else center, temperature)


def compute_losses(state: TrainState, batch: Batch, teacher_temperature: float) -> Losses:
    """Run both networks and compute every part of the loss; changes nothing.

    DINO matches a student's global crop with the *other* teacher crop and a local crop with both, and averages over
    these pairs; iBOT matches masked patches; KoLeo spreads the class tokens of each global crop.

    Raises:
        ValueError: an odd number of global crops.
    """
    config = state.config
    require(
        len(batch.global_crops) % 2 == 0, f"wanted two global crops an image, got {len(batch.global_crops)}"
    )
    patch_indices = masks = None
    if batch.masks is not None and config.ibot_weight:
        patch_indices = batch.masks.flatten().nonzero().squeeze(1).to(state.device)
        masks = batch.masks.to(state.device)
    skips = step_generator(config, state.step) if config.vit.drop_path else None
    bf16 = torch.autocast(state.device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    with bf16:
        with torch.no_grad():
            teacher = state.teacher(batch.global_crops, patch_indices=patch_indices)
        student = state.student(
            batch.global_crops, batch.local_crops, masks=masks, patch_indices=patch_indices, generator=skips
        )
    parts, metrics, centers = {}, {}, {}
    targets = make_targets(
        teacher.global_cls_logits.float(), state.centers["cls"], teacher_temperature, config.targets
    )
    metrics["target_entropy"] = mean_over_all(entropy(targets)[:, None]).squeeze()
    metrics["mean_target_entropy"] = entropy(mean_over_all(targets))
    metrics["feature_spread"] = feature_spread(teacher.cls_tokens)
    centers["cls"] = mean_over_all(teacher.global_cls_logits)
    parts |= _dino_parts(student, targets, config)
    if config.koleo_weight:
        pair = student.cls_tokens.float().chunk(2)
        parts["koleo"] = config.koleo_weight * sum(koleo_loss(gather_rows(tokens)) for tokens in pair)
    if patch_indices is not None:
        targets = make_targets(
            teacher.patch_logits.float(), state.centers["patch"], teacher_temperature, config.targets
        )
        metrics["patch_target_entropy"] = mean_over_all(entropy(targets)[:, None]).squeeze()
        centers["patch"] = mean_over_all(teacher.patch_logits)
        parts["ibot"] = config.ibot_weight * ibot_loss(
            student.patch_logits.float(), targets, masks, temperature=config.student_temperature
        )
    return Losses(parts, metrics, centers)


def _dino_parts(student: Outputs, targets: Float[Tensor, "g k"], config: TrainConfig) -> dict[str, Tensor]:
    """The class-token loss, split as the official log splits it; both parts share one number of pairs.

    Without local crops that number is 2; the official code, which counts at least one local pair, divides by 3.
    """
    if not config.dino_weight:
        return {}
    teacher = targets.unflatten(0, (2, -1))  # 2 b k
    n_pairs = 2 + 2 * config.crops.n_local
    views = student.global_cls_logits.float().unflatten(0, (2, -1))
    temperature = config.student_temperature
    matched = dino_loss(views, teacher, temperature=temperature, skip_same_view=True)
    parts = {"dino_global": config.dino_weight * matched / n_pairs}
    if student.local_cls_logits is not None:
        views = student.local_cls_logits.float().unflatten(0, (config.crops.n_local, -1))
        matched = dino_loss(views, teacher, temperature=temperature)
        parts["dino_local"] = config.dino_weight * matched / n_pairs
    return parts


def feature_spread(tokens: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """How far the class tokens of a batch lie apart: 1 where their directions fill the sphere, 0 where they agree.

    It is the root of 1 - |mean of the unit vectors|^2.
    """
    unit = nn.functional.normalize(tokens.float(), dim=-1)
    return (1 - mean_over_all(unit).square().sum()).clamp(min=0).sqrt()


def train_step(state: TrainState, batch: Batch) -> dict[str, Tensor | float]:
    """One step: losses, gradients, clipping, AdamW, teacher, centres.

    The centre used for the targets is the one before this step's update, as in the official code.

    Returns:
        The loss, its parts and metrics as tensors on the device (reading one waits for the device), the schedules as
        numbers.
    """
    config, schedules, step = state.config, state.schedules, state.step
    temperature = float(schedules.teacher_temperature[step])
    for group in state.optimizer.param_groups:
        lr = schedules.last_layer_lr[step] if group["is_last_layer"] else schedules.lr[step]
        group["lr"] = float(lr * group["lr_multiplier"])
        group["weight_decay"] = float(schedules.weight_decay[step] * group["wd_multiplier"])

    losses = compute_losses(state, batch, temperature)
    state.optimizer.zero_grad(set_to_none=True)
    losses.total.backward()
    for network in state.student_network.children():
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
    state.optimizer.step()

    momentum = float(schedules.momentum[step])
    update_teacher(state.teacher, state.student_network, momentum)
    for name, mean in losses.new_centers.items():
        state.centers[name] = update_center(state.centers[name], mean, config.center_momentum)
    state.step += 1
    numbers = {"lr": float(schedules.lr[step]), "momentum": momentum, "teacher_temperature": temperature}
    seen = {"loss": losses.total, **losses.parts, **losses.metrics}
    return {**average_over_all({name: value.detach() for name, value in seen.items()}), **numbers}


def images_per_process(config: TrainConfig) -> int:
    """This process's share of a batch.

    Raises:
        ValueError: the batch does not divide evenly.
    """
    n = world_size()
    require(config.batch_size % n == 0, f"batch_size {config.batch_size} does not divide over {n} processes")
    return config.batch_size // n
