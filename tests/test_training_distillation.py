"""Distillation: the losses against loops written out, and what a step may and may not change."""

from dataclasses import replace

import pytest
import torch
from tiny_training import QUIET, TINY, byte_images, draw

from dinov2_edu.training import FitOptions, build_state, compute_losses, distill_from, fit, train_step
from dinov2_edu.training.state import TrainState

LARGE = replace(TINY, vit=replace(TINY.vit, width=36, heads=3, depth=3), seed=5)
PLAIN = replace(TINY, targets="none", ibot_weight=0.5)


def teacher_and_student(config=PLAIN) -> tuple[TrainState, TrainState]:
    """A larger network, and a student of TINY's sizes."""
    return build_state(LARGE), build_state(config)


def cross_entropy(target, logits, temperature):
    """Of one row against one row, in nats."""
    return -(target * (logits / temperature).log_softmax(dim=-1)).sum()


@torch.no_grad()
def patch_logits(network, crops):
    """Logits of every patch, by the backbone's plain forward and the shared head."""
    return network.dino_head(network.backbone(crops).patches)


@torch.no_grad()
def cls_logits(network, crops):
    return network.dino_head(network.backbone(crops).cls)


def test_the_patch_loss_is_the_mean_over_all_patches_of_both_crops_unmasked():
    large, small = teacher_and_student()
    batch, generator = draw(PLAIN)
    found = distill_from(large.teacher)(small, batch, 0.07, generator).parts["ibot"]
    targets = (patch_logits(large.teacher, batch.global_crops) / 0.07).softmax(dim=-1)
    given = patch_logits(small.student, batch.global_crops)
    rows = [cross_entropy(t, g, 0.1) for t, g in zip(targets.flatten(0, 1), given.flatten(0, 1), strict=True)]
    torch.testing.assert_close(found, 0.5 * torch.stack(rows).mean())


def test_the_class_loss_matches_every_crop_with_the_large_teachers_other_views():
    large, small = teacher_and_student()
    batch, generator = draw(PLAIN)
    parts = distill_from(large.teacher)(small, batch, 0.07, generator).parts
    b = len(batch.global_crops) // 2
    targets = (cls_logits(large.teacher, batch.global_crops) / 0.07).softmax(dim=-1).unflatten(0, (2, b))
    views = cls_logits(small.student, batch.global_crops).unflatten(0, (2, b))
    local = cls_logits(small.student, batch.local_crops).unflatten(0, (-1, b))
    n_pairs = 2 + 2 * len(local)
    crossed = [cross_entropy(targets[1 - v, i], views[v, i], 0.1) for v in range(2) for i in range(b)]
    torch.testing.assert_close(parts["dino_global"], torch.stack(crossed).sum() / b / n_pairs)
    small_ones = [
        cross_entropy(targets[v, i], one[i], 0.1) for one in local for v in range(2) for i in range(b)
    ]
    torch.testing.assert_close(parts["dino_local"], torch.stack(small_ones).sum() / b / n_pairs)


def test_a_teacher_of_the_same_weights_and_no_masks_gives_the_losses_of_pretraining():
    state = build_state(replace(TINY, ibot_weight=0.0))
    batch, generator = draw(state.config)
    ours = distill_from(state.teacher)(state, batch, 0.07, generator)
    theirs = compute_losses(state, batch, 0.07, generator)
    assert ours.parts.keys() == theirs.parts.keys()
    for name, part in ours.parts.items():
        torch.testing.assert_close(part, theirs.parts[name], rtol=0, atol=0)


def test_masks_of_the_batch_are_not_looked_at():
    large, small = teacher_and_student()
    batch, generator = draw(PLAIN)
    bare = replace(batch, masks=None)
    first, second = (distill_from(large.teacher)(small, one, 0.07, generator) for one in (batch, bare))
    assert batch.masks.any() and torch.equal(first.total, second.total)


def test_a_step_moves_the_student_and_its_average_and_leaves_the_teacher_alone():
    large, small = teacher_and_student()
    batch, generator = draw(PLAIN)
    frozen = [w.clone() for w in large.teacher.state_dict().values()]
    before = small.teacher.backbone.blocks[0].mlp.fc1.weight.clone()
    train_step(small, batch, generator, distill_from(large.teacher))
    train_step(small, batch, generator, distill_from(large.teacher))  # the first step's rate is 0
    assert all(map(torch.equal, frozen, large.teacher.state_dict().values()))
    assert all(w.grad is None for w in large.teacher.parameters())
    student, spare = small.student_network.backbone, small.teacher.backbone
    moved = spare.blocks[0].mlp.fc1.weight
    assert not torch.equal(moved, before) and not torch.equal(moved, student.blocks[0].mlp.fc1.weight)


def test_the_spare_average_is_the_one_that_the_schedule_asks_for():
    large, small = teacher_and_student()
    batch, generator = draw(PLAIN)
    names = [name for name, _ in small.teacher.named_parameters()]
    wanted = {name: weight.clone() for name, weight in small.teacher.named_parameters()}
    for step in range(3):
        train_step(small, batch, generator, distill_from(large.teacher))
        momentum = float(small.schedules.momentum[step])
        for name, weight in small.student_network.named_parameters():
            wanted[name] = momentum * wanted[name] + (1 - momentum) * weight.detach()
    for name in names:
        torch.testing.assert_close(dict(small.teacher.named_parameters())[name], wanted[name])


def test_fit_distils_on_the_same_crops_as_without_a_teacher():
    large, small = teacher_and_student()
    seen = []

    def spy(state, batch, temperature, generator):
        seen.append(batch.global_crops)
        return distill_from(large.teacher)(state, batch, temperature, generator)

    fit(small, byte_images(), FitOptions(**QUIET), until=2, losses_of=spy)
    alone = build_state(PLAIN)

    def plain(state, batch, temperature, generator):
        assert torch.equal(batch.global_crops, seen[state.step])
        return compute_losses(state, batch, temperature, generator)

    fit(alone, byte_images(), FitOptions(**QUIET), until=2, losses_of=plain)
    assert len(seen) == 2 and small.history["loss"] != alone.history["loss"]


def test_distilling_brings_the_student_to_the_teachers_answers():
    """The cross-entropy to targets that stay as they are falls, on noise too."""
    config = replace(TINY, steps=60, targets="none", koleo_weight=0.0, lr=(5e-3, 1e-4))
    large, small = build_state(LARGE), build_state(config)
    with torch.no_grad():  # a fresh head answers nearly evenly: there would be nothing to learn
        large.teacher.dino_head.last_layer.weight_g.mul_(3)
    fit(small, byte_images(), FitOptions(**QUIET), losses_of=distill_from(large.teacher))
    parts = small.history["ibot"]
    targets_entropy = small.history["patch_target_entropy"][-1]
    assert parts[-1] - targets_entropy < 0.6 * (parts[0] - targets_entropy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_prototypes": 16}, "the student has 16 prototypes, the teacher's heads 32"),
        ({"vit": replace(TINY.vit, patch_size=8)}, "patches of 8 px, the teacher of 4"),
        ({"vit": replace(TINY.vit, drop_path=0.1)}, "no stochastic depth, got drop_path 0.1"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(change, said):
    small = build_state(replace(TINY, **change))
    batch, generator = draw(small.config)
    with pytest.raises(ValueError, match=said):
        distill_from(build_state(LARGE).teacher)(small, batch, 0.07, generator)
