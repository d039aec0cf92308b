"""Sharding as chapter 10 shows it: a backbone in pieces over two processes is the whole backbone."""

import os
import subprocess
import sys

import pytest

TWO = """
import copy
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from dinov2_edu.training.processes import process_group, rank
from dinov2_edu.vit import vit_tiny

torch.manual_seed(0)
torch.set_num_threads(1)
model, images = vit_tiny(depth=2, width=48, layer_scale=None), torch.randn(8, 3, 32, 32)
whole = copy.deepcopy(model)
with process_group("cpu"):
    mesh = init_device_mesh("cpu", (2,))
    for part in [*model.blocks, model]:
        fully_shard(part, mesh=mesh)
    kept = sum(p.to_local().numel() for p in model.parameters())
    assert kept < 0.6 * sum(p.numel() for p in whole.parameters())
    mine = slice(rank(), None, 2)
    features = model(images[mine]).cls
    torch.testing.assert_close(features, whole(images)[0][mine])
    features.square().mean().backward()
    whole(images).cls.square().mean().backward()
    for network in (model, whole):
        torch.optim.AdamW(network.parameters(), lr=1e-3).step()
    for sharded, plain in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(sharded.full_tensor(), plain, rtol=0, atol=1e-5)
"""


@pytest.mark.slow
def test_a_sharded_backbone_learns_as_the_whole_one(tmp_path):
    """Features, and the weights after one AdamW step on halves of a batch."""
    script = tmp_path / "two.py"
    script.write_text(TWO)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
