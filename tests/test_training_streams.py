"""Random streams: nothing is drawn twice from the same numbers, by whatever step, epoch, seed or process."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from tiny_training import QUIET, TINY, byte_images

from dinov2_edu.numerics import stream
from dinov2_edu.training import FitOptions, build_state, draw_batch, fit, step_generator
from dinov2_edu.training import step as step_module
from dinov2_edu.training import streams as streams_module
from dinov2_edu.training.streams import EpochOrder
from dinov2_edu.vit import block as block_module


def test_crops_masks_and_stochastic_depth_go_on_in_one_stream(monkeypatch):
    """Begun from one seed each, the uniforms that set the masks' sizes would equal the first flips."""
    begun = []

    def spy(module, name, generator_of):
        work = getattr(module, name)

        def watched(*arguments, **named):
            begun.append((name, generator_of(arguments, named).get_state()))
            return work(*arguments, **named)

        monkeypatch.setattr(module, name, watched)

    spy(step_module, "multi_crop", lambda arguments, named: named["generator"])
    spy(step_module, "mask_batch", lambda arguments, named: named["generator"])
    spy(block_module, "stochastic_depth", lambda arguments, named: arguments[-1])
    config = replace(TINY, vit=replace(TINY.vit, drop_path=0.5), steps=4)
    fit(build_state(config), byte_images(), FitOptions(**QUIET), until=3)
    assert {name for name, _ in begun} == {"multi_crop", "mask_batch", "stochastic_depth"}
    assert all(not torch.equal(one, other) for (_, one), (_, other) in combinations(begun, 2))


def test_no_two_seeds_steps_epochs_or_purposes_share_a_stream():
    """Sums do: seed 0 at step 48,573 and seed 1 at step 0, or an epoch's number and a step's."""
    steps = [*range(1000), *range(48_000, 49_000)]
    seeds = [
        step_generator(replace(TINY, seed=seed), step).initial_seed() for seed in range(3) for step in steps
    ]
    seeds += [
        stream("order of images", seed, epoch).initial_seed() for seed in range(3) for epoch in range(1000)
    ]
    seeds += [stream("weights", seed).initial_seed() for seed in range(1000)]
    assert len(set(seeds)) == len(seeds) == 10_000
    assert max(seeds) < 2**32, "torch's CPU generator reads 32 bits"


def test_the_order_of_images_and_the_weights_come_from_streams_of_their_own():
    fresh, permuted = torch.Generator(), EpochOrder(8, replace(TINY, seed=0)).batch(0)
    assert not torch.equal(permuted, torch.randperm(8, generator=fresh.manual_seed(0)))
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    token = build_state(TINY).student.backbone.cls_token
    assert torch.equal(before, torch.random.get_rng_state()), "the caller's generator is left alone"
    assert torch.equal(token, build_state(TINY).student.backbone.cls_token)
    assert not torch.equal(token, build_state(replace(TINY, seed=1)).student.backbone.cls_token)


@pytest.mark.parametrize("step", [0, 5])
def test_two_processes_draw_differently_and_share_one_order(monkeypatch, step):
    draws, chosen, whole = [], [], EpochOrder(24, TINY).batch(step)
    monkeypatch.setattr(streams_module, "world_size", lambda: 2)
    for process in (0, 1):
        monkeypatch.setattr(streams_module, "rank", lambda process=process: process)
        generator = step_generator(TINY, step)
        draws.append(draw_batch(byte_images(), TINY, generator))
        chosen.append(EpochOrder(24, TINY).batch(step))
    assert not torch.equal(draws[0].global_crops, draws[1].global_crops)
    assert not torch.equal(draws[0].masks, draws[1].masks)
    assert torch.equal(
        torch.stack(chosen, dim=1).flatten(), whole
    )  # each takes every second image of one batch


def test_the_largest_seed_can_be_drawn_from():
    step_generator(replace(TINY, seed=2**32 - 1), TINY.steps - 1)


def test_a_stream_reads_a_number_by_its_value():
    assert stream("step", np.int64(3)).initial_seed() == stream("step", 3).initial_seed()
    assert stream("step", 3).initial_seed() != stream("step", 3, 0).initial_seed()
    for number in (3.0, True, "3", None):
        with pytest.raises(ValueError, match=rf"numbers of a stream must be whole, got {number!r}"):
            stream("step", number)
