"""Distillation: a small student learns from a large teacher that is finished and stays as it is.

The step is the one of pretraining with three things changed. The targets come from another network than the student's
own average; nothing is masked, and the iBOT loss is taken over all patches of both global crops; and the student's
average, which the step keeps as ever in `state.teacher`, now teaches nobody: it is the model that is released.

Source: paper, section 5 ("Model distillation"). The official repository @ b8931f7 has no code for it.
"""

import torch

from dinov2_edu.checks import check_above_zero, checked, require
from dinov2_edu.training.network import Network
from dinov2_edu.training.state import TrainState
from dinov2_edu.training.step import Batch, Losses, LossFunction, losses_between


@checked
def distill_from(teacher: Network) -> LossFunction:
    """What a student learns from when its teacher is a finished network: for `train_step` and `fit`.

    `fit(build_state(small), images, losses_of=distill_from(large))` distils; the result is its `state.teacher`.

    Args:
        teacher: backbone and heads of a run that has ended, such as its `state.teacher`; it is only read.

    Raises:
        ValueError: when the losses are computed: a student that does not fit this teacher, or has stochastic depth.

    Source: paper, section 5.
    """

    @checked
    def losses(
        state: TrainState, batch: Batch, teacher_temperature: float, generator: torch.Generator | None = None
    ) -> Losses:
        """As `compute_losses`, with the finished teacher's targets; the masks of the batch are not looked at."""
        check_above_zero(teacher_temperature=teacher_temperature)
        check_student(state, teacher)
        crops, config = batch.global_crops, state.config
        everywhere = crops.new_ones(len(crops), config.crop_grid[0] * config.crop_grid[1], dtype=torch.bool)
        patches = torch.arange(everywhere.numel(), device=crops.device) if config.ibot_weight else None
        with torch.autocast(state.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            with torch.no_grad():
                wanted = teacher(crops, patch_indices=patches)
            # No patch is masked; that this is said gives the mask token a gradient, of 0, as several processes want it.
            nothing = torch.zeros_like(everywhere)
            given = state.student(crops, batch.local_crops, masks=nothing, patch_indices=patches)
        return losses_between(state, wanted.float(), given.float(), everywhere, teacher_temperature)

    return losses


def check_student(state: TrainState, teacher: Network) -> None:
    """Refuse a student that cannot learn from this teacher.

    Raises:
        ValueError: says what differs.
    """
    vit, theirs = state.config.vit, teacher.backbone.config
    require(
        vit.patch_size == theirs.patch_size,
        f"the student has patches of {vit.patch_size} px, the teacher of {theirs.patch_size}: give both the same",
    )
    k = len(teacher.dino_head.last_layer.weight_g)
    require(
        state.config.n_prototypes == k,
        f"the student has {state.config.n_prototypes} prototypes, the teacher's heads {k}: give it the same number",
    )
    require(vit.drop_path == 0, f"a distilled student has no stochastic depth, got drop_path {vit.drop_path}")
