"""Random streams: nothing is drawn twice from the same numbers, by whatever step, epoch, seed or process."""

import ast
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import QUIET, TINY, byte_images

import dinov2_edu
from dinov2_edu.numerics import stream
from dinov2_edu.training import FitOptions, build_state, draw_batch, fit, step_generator
from dinov2_edu.training import step as step_module
from dinov2_edu.training import streams as streams_module
from dinov2_edu.training.streams import EpochOrder
from dinov2_edu.vit import block as block_module

PACKAGE = Path(dinov2_edu.__file__).parent


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


SEEDED = {
    "data/mosaics.py pattern_mosaics": "which quarters stand together; no picture of their world is drawn from these",
    "data/patterns.py patterns10": "the data set itself, known by its seed; two numbers a seed, one for each split",
    "experiments/ablations.py _renew_heads": "heads as the run of another seed would have them",
    "experiments/own_finetune.py tuned": "what peft draws, with torch's own generator",
    "notebook.py setup": "what a chapter draws where readers see it: its layers, its crops",
    "numerics.py stream": "a stream",
    "probe/logistic.py _held_out": "which tenth is held out",
    "probe/protocols.py held_out_tenth": "which tenth is held out, drawn as the official evaluation draws it",
    "weights/backbones.py _random": "the random network that is everywhere the control",
    "widgets/losses.py _made_up_logits": "six made-up pictures and a made-up student",
}
"""Functions that seed a generator with a number of their own, and what it draws."""


def seeded_in(path: Path) -> set[str]:
    """Functions of a file that seed a generator, or hand on a seed that is a sum."""
    found = set()
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in ast.walk(function):
            if isinstance(call, ast.Call):
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                sums = any(word.arg == "seed" and isinstance(word.value, ast.BinOp) for word in call.keywords)
                if sums or name in ("manual_seed", "manual_seed_all", "default_rng", "RandomState"):
                    found.add(f"{path.relative_to(PACKAGE)} {function.name}")
    return found


def test_a_generator_elsewhere_begins_from_a_purpose():
    """Else two calls given one seed share their draws: scenes and the crops they are cut into, in the dense test."""
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "dinov2.py"]
    assert set().union(*map(seeded_in, files)) == set(SEEDED)


def test_a_stream_reads_a_number_by_its_value():
    assert stream("step", np.int64(3)).initial_seed() == stream("step", 3).initial_seed()
    assert stream("step", 3).initial_seed() != stream("step", 3, 0).initial_seed()
    for number in (3.0, True, "3", None):
        with pytest.raises(ValueError, match=rf"numbers of a stream must be whole, got {number!r}"):
            stream("step", number)
