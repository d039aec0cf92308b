"""Several processes learn as one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tiny_training import TINY, draw

from dinov2_edu.losses import koleo_loss
from dinov2_edu.training import Batch, build_state, distill_from, train_step
from dinov2_edu.training import step as step_module

TWO = """
import sys
import torch
from test_training_processes import slices, without_warm_up
from dinov2_edu.training import build_state, step_generator, train_step
from dinov2_edu.training.processes import process_group, rank

given, made = sys.argv[1:]
torch.set_num_threads(1)
with process_group("cpu"):
    found = {}
    for targets, batches in torch.load(given, weights_only=False).items():
        state = build_state(without_warm_up(targets))
        records = [
            train_step(state, slices(batch, rank()), step_generator(state.config, state.step)) for batch in batches
        ]
        found[targets] = (state.student_network.state_dict(), state.teacher.state_dict(), state.centers, records)
    if rank() == 0:
        torch.save(found, made)
"""


def without_warm_up(targets: str):
    """A run whose first step already moves."""
    return replace(TINY, targets=targets, warmup_steps=0, separate_heads=True)


def slices(batch: Batch, process: int) -> Batch:
    """The half of a batch that one of two processes sees: images 0-3 or 4-7 of every crop."""

    def half(crops, n_crops):
        return crops.unflatten(0, (n_crops, -1))[:, process * 4 : process * 4 + 4].flatten(0, 1)

    return Batch(
        half(batch.global_crops, 2), half(batch.local_crops, TINY.crops.n_local), half(batch.masks, 2)
    )


def koleo_of_halves(tokens: torch.Tensor) -> torch.Tensor:
    """KoLeo as two processes have it: each looks for neighbours among its own rows, as the official loss does."""
    return torch.stack([koleo_loss(half) for half in tokens.chunk(2)]).mean()


@pytest.mark.slow
def test_two_processes_on_halves_equal_one_on_the_whole(tmp_path, monkeypatch):
    """Losses, centres and weights after three steps, with centering and with Sinkhorn-Knopp; KoLeo half by half."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}
    script, given, made = tmp_path / "two.py", tmp_path / "batches.pt", tmp_path / "made.pt"
    script.write_text(TWO)
    batches = {
        targets: [draw(without_warm_up(targets), step)[0] for step in range(3)]
        for targets in ("centering", "sinkhorn_knopp")
    }
    torch.save(batches, given)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*command, script, given, made], env=environment, check=True, timeout=240)
    monkeypatch.setattr(step_module, "koleo_loss", koleo_of_halves)
    for targets, (student, teacher, centers, theirs) in torch.load(made, weights_only=False).items():
        state = build_state(without_warm_up(targets))
        for batch, other in zip(batches[targets], theirs, strict=True):
            for name, value in train_step(state, batch, torch.Generator()).items():
                assert float(value) == pytest.approx(float(other[name]), abs=1e-5, rel=1e-5), (
                    f"{targets}: {name}"
                )
        pairs = (
            (state.student.state_dict(), student),
            (state.teacher.state_dict(), teacher),
            (state.centers, centers),
        )
        for ours, other in pairs:
            for name, value in ours.items():
                difference = (value - other[name]).abs().max()
                assert difference < 1e-5, f"{targets}: {name} differs by {difference:.1e}"


def assert_same_in_a_group(run):
    """What a lone process computes is what it computes as the one member of a group."""
    plain = run()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert run() == pytest.approx(plain, rel=1e-5)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("alone", ["dino_weight", "ibot_weight", "koleo_weight"])
def test_one_loss_alone_trains_in_a_process_group(alone):
    """Though a head, or the mask token, then gets no gradient, which DistributedDataParallel has to be told."""
    losses = dict.fromkeys(("dino_weight", "ibot_weight", "koleo_weight"), 0.0) | {alone: 1.0}
    config = replace(without_warm_up("centering"), **losses)
    batches = [draw(config, step) for step in range(3)]

    def run():
        state = build_state(config)
        return [train_step(state, *batch)["loss"].item() for batch in batches]

    assert_same_in_a_group(run)


def test_distillation_trains_in_a_process_group():
    """Nothing is masked there, and still every weight has to get a gradient."""
    teacher = build_state(replace(TINY, seed=5)).teacher
    config = replace(without_warm_up("centering"), dino_weight=1.0, ibot_weight=1.0)
    batches = [draw(config, step) for step in range(3)]

    def run():
        state = build_state(config)
        return [train_step(state, *batch, distill_from(teacher))["loss"].item() for batch in batches]

    assert_same_in_a_group(run)
