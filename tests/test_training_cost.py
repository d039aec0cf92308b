"""The price of a run: operations against torch's counter, hours against the published, memory against what is kept."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dinov2_edu.heads import ProjectionHead
from dinov2_edu.training import cost
from dinov2_edu.training.cost import Run, flops_of_run, gigabytes, gpu_hours
from dinov2_edu.vit import vit_small

PUBLISHED = {
    "ViT-g": (Run(1536, 40, 3072, 625_000, drop_path=0.4), 22_016),
    "ViT-L": (Run(1024, 24, 2048, 625_000, teacher=(1536, 40)), 8_000),
    "ViT-B": (Run(768, 12, 2048, 625_000, teacher=(1536, 40)), 5_300),
    "ViT-S": (Run(384, 12, 2048, 625_000, teacher=(1536, 40)), 4_500),
}


def counted(work) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_operations_are_those_that_torch_counts():
    with torch.device("meta"):
        model, head = vit_small(), ProjectionHead(384, 131_072, bottleneck_dim=384)
        sides = [counted(lambda side=side: model(torch.empty(1, 3, side, side))) for side in (224, 98)]
        through = counted(lambda: head(torch.empty(1, 384)))
    found = flops_of_run(Run(384, 12, 1, 1))
    assert found["teacher"] == 2 * sides[0] and found["forward"] == 2 * sides[0] + 8 * sides[1]
    assert found["backward"] == 2 * found["forward"]
    assert 2 * cost._head(384, 384) == pytest.approx(through, rel=0.01)
    twice = flops_of_run(Run(384, 12, 4, 7))
    assert twice == {name: 28 * value for name, value in found.items()}
    assert flops_of_run(Run(384, 12, 1, 1, drop_path=0.25))["forward"] == 0.75 * found["forward"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_hours_are_within_fifteen_per_cent_of_the_published_ones(name):
    run, hours = PUBLISHED[name]
    assert gpu_hours(run) == pytest.approx(hours, rel=0.15)


def test_the_default_utilisation_is_that_of_the_published_giant():
    run, hours = PUBLISHED["ViT-g"]
    assert sum(flops_of_run(run).values()) / (312e12 * 3600 * hours) == pytest.approx(0.39, abs=0.005)


def test_activations_are_what_torch_keeps():
    block = vit_small(depth=1).blocks[0]
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (
            kept.update({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()}) or tensor
        ),
        lambda tensor: tensor,
    ):
        held = block(torch.randn(1, 257, 384))
    weights = 4 * sum(parameter.numel() for parameter in block.parameters())
    run = Run(384, 1, 1, 1, n_local=0)
    numbers = (sum(kept.values()) - weights) / 4
    assert held.shape == (1, 257, 384)
    assert gigabytes(run)["activations"] * 1e9 / 2 == pytest.approx(2 * numbers, rel=0.02)
    assert gigabytes(run, 4)["weights"] == gigabytes(run)["weights"] / 4


def test_what_cannot_be_priced_is_refused():
    run = PUBLISHED["ViT-S"][0]
    for bad, said in (
        ({"steps": 0}, "steps"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"n_local": -1}, "n_local"),
    ):
        with pytest.raises(ValueError, match=said):
            flops_of_run(run._replace(**bad))
    with pytest.raises(ValueError, match="utilisation: wanted above 0, at most 1, got 39"):
        gpu_hours(run, utilisation=39.0)
    with pytest.raises(ValueError, match="gpus"):
        gigabytes(run, 0)
