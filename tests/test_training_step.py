"""The pretraining step against four whole steps of the official code, and what must hold of any step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_training import TINY, draw

from dinov2_edu.crops import CropConfig
from dinov2_edu.ema import update_teacher
from dinov2_edu.losses import sinkhorn_knopp
from dinov2_edu.training import Batch, TrainConfig, build_state, compute_losses, train_step
from dinov2_edu.training.step import feature_spread, make_targets
from dinov2_edu.vit import ViTConfig

RECIPES = [
    f"step_{targets}_{heads}_head"
    for targets in ("centering", "sinkhorn_knopp")
    for heads in ("shared", "separate")
]


def step_config(numbers: dict[str, np.ndarray], vit: ViTConfig) -> TrainConfig:
    """The run that an official step file describes, from its config and its weights' shapes."""

    def value(name):
        return numbers[f"config/{name}"].item()

    head = "student/dino_head"
    return TrainConfig(
        vit=vit,
        crops=CropConfig(
            global_size=numbers["global_crops"].shape[-1],
            local_size=numbers["local_crops"].shape[-1],
            n_local=value("local_crops_number"),
        ),
        n_prototypes=len(numbers[f"{head}.last_layer.weight_g"]),
        head_hidden=len(numbers[f"{head}.mlp.0.weight"]),
        head_bottleneck=len(numbers[f"{head}.mlp.4.weight"]),
        separate_heads=bool(value("separate_head")),
        targets="sinkhorn_knopp" if value("sinkhorn") else "centering",
        koleo_weight=value("koleo_weight"),
        student_temperature=value("student_temp"),
        batch_size=len(numbers["global_crops"]) // 2,
    )


@pytest.fixture(params=RECIPES)
def official(request, golden, vit_config):
    numbers = golden(f"{request.param}.npz")
    state = build_state(step_config(numbers, vit_config(numbers)))
    for who, network in (("student", state.student), ("teacher", state.teacher)):
        prefix = f"{who}/"
        weights = {
            k.removeprefix(prefix): torch.from_numpy(v) for k, v in numbers.items() if k.startswith(prefix)
        }
        network.load_state_dict(weights, strict=True)
    batch = Batch(*(torch.from_numpy(numbers[name]) for name in ("global_crops", "local_crops", "masks")))
    return state, batch, numbers


@pytest.mark.golden
def test_losses_are_the_official_ones(official):
    state, batch, numbers = official
    parts = compute_losses(state, batch, numbers["teacher_temp"].item()).parts
    logged = {  # the official log halves two of the terms
        "dino_local": parts["dino_local"],
        "dino_global": parts["dino_global"],
        "koleo": parts["koleo"] / 2,
        "ibot": parts["ibot"] / 2,
    }
    names = {"dino_local": "dino_local_crops_loss", "dino_global": "dino_global_crops_loss"}
    for ours, value in logged.items():
        theirs = numbers[f"losses/{names.get(ours, ours + '_loss')}"].item()
        assert value.item() == pytest.approx(theirs, abs=1e-5, rel=1e-5), ours


@pytest.mark.golden
def test_gradients_are_the_official_ones(official):
    state, batch, numbers = official
    compute_losses(state, batch, numbers["teacher_temp"].item()).total.backward()
    theirs = {
        k.removeprefix("grads/"): torch.from_numpy(v) for k, v in numbers.items() if k.startswith("grads/")
    }
    ours = {name: parameter.grad for name, parameter in state.student.named_parameters()}
    assert set(theirs) == {name for name, grad in ours.items() if grad is not None}
    for name, expected in theirs.items():
        difference = (ours[name] - expected).norm() / expected.norm().clamp(min=1e-8)
        assert difference < 1e-4, f"{name}: relative difference {difference:.1e}"


@pytest.mark.golden
def test_the_teacher_after_is_the_official_one(official):
    state, _, numbers = official
    update_teacher(state.teacher, state.student, numbers["momentum"].item())
    after = {
        k.removeprefix("teacher_after/"): v for k, v in numbers.items() if k.startswith("teacher_after/")
    }
    assert after
    ours = state.teacher.state_dict()
    for name, expected in after.items():
        torch.testing.assert_close(ours[name], torch.from_numpy(expected), atol=1e-6, rtol=1e-6)


def test_a_step_moves_student_teacher_centres_and_nothing_of_the_batch():
    state = build_state(TINY)
    before = {k: v.clone() for k, v in state.teacher.state_dict().items()}
    batch, generator = draw(TINY)
    kept = batch.global_crops.clone()
    train_step(state, batch, generator)  # the warm-up begins at a learning rate of 0
    record = train_step(state, *draw(TINY, 1))
    assert state.step == 2
    assert torch.equal(kept, batch.global_crops)
    assert any(not torch.equal(before[k], v) for k, v in state.teacher.state_dict().items())
    assert state.centers["cls"].abs().max() > 0 and state.centers["patch"].abs().max() > 0
    parts = ("dino_local", "dino_global", "koleo", "ibot")
    assert record["loss"].item() == pytest.approx(sum(record[name].item() for name in parts), rel=1e-5)


def test_the_teacher_never_gets_a_gradient():
    state = build_state(TINY)
    compute_losses(state, draw(TINY)[0], 0.04).total.backward()
    assert all(p.grad is None and not p.requires_grad for p in state.teacher.parameters())


def test_targets_use_the_centre_of_before():
    state = build_state(TINY)
    batch, _ = draw(TINY)
    with torch.no_grad():
        logits = state.teacher(batch.global_crops).global_cls_logits
        first = compute_losses(state, batch, 0.05)
    torch.testing.assert_close(first.teacher_logits["cls"], logits)
    state.centers["cls"] = logits.mean(dim=0)
    with torch.no_grad():
        second = compute_losses(state, batch, 0.05)
    assert second.metrics["target_entropy"] > first.metrics["target_entropy"]


def test_make_targets_names_three_methods():
    logits, center = torch.randn(6, 5), torch.randn(5)
    bare = make_targets(logits, None, 0.1, "none")
    torch.testing.assert_close(bare, (logits / 0.1).softmax(dim=-1))
    torch.testing.assert_close(
        make_targets(logits, center, 0.1, "centering"), ((logits - center) / 0.1).softmax(-1)
    )
    torch.testing.assert_close(make_targets(logits, None, 0.1, "sinkhorn_knopp"), sinkhorn_knopp(logits, 0.1))


@pytest.mark.parametrize("weight", ["dino_weight", "ibot_weight", "koleo_weight"])
def test_a_part_with_weight_0_is_absent_and_the_others_stay(weight):
    full, part = TINY, replace(TINY, **{weight: 0.0})
    with torch.no_grad():
        all_parts = compute_losses(build_state(full), draw(full)[0], 0.05).parts
        left = compute_losses(build_state(part), draw(part)[0], 0.05).parts
    gone = {"dino_weight": {"dino_local", "dino_global"}}.get(weight, {weight.removesuffix("_weight")})
    assert set(all_parts) - set(left) == gone
    if weight == "koleo_weight":
        for name, value in left.items():
            torch.testing.assert_close(value, all_parts[name])


def test_no_local_crops():
    config = replace(TINY, crops=replace(TINY.crops, n_local=0))
    record = train_step(build_state(config), *draw(config))
    assert "dino_local" not in record and torch.isfinite(record["loss"])


def test_stochastic_depth_follows_the_generator():
    """And not torch's own generator, of which a resumed run knows nothing."""
    config = replace(TINY, vit=replace(TINY.vit, drop_path=0.5))
    state, (batch, _) = build_state(config), draw(config)

    def loss(seed):
        return compute_losses(state, batch, 0.05, torch.Generator().manual_seed(seed)).total

    state.student.eval()
    whole = loss(0)
    state.student.train()
    first = loss(0)
    assert first != whole
    torch.rand(1)
    assert loss(0) == first != loss(1)


def test_a_short_run_cuts_the_rise_of_the_temperature_off():
    """As the official code: the slope belongs to the duration asked for, not to the length of the run."""
    config = replace(TINY, teacher_temperature=(0.04, 0.07), teacher_temperature_steps=31)
    temperatures = build_state(config).schedules.teacher_temperature
    assert temperatures == pytest.approx([0.04 + 0.001 * step for step in range(config.steps)])


def test_the_temperature_rises_as_in_the_official_schedule():
    """`CosineScheduler` with a warm-up as long as itself: `np.linspace`, then the last value."""
    for rise, pair in ((0, (0.04, 0.07)), (1, (0.04, 0.07)), (12, (0.02, 0.05))):
        config = replace(TINY, teacher_temperature=pair, teacher_temperature_steps=rise)
        official = [*np.linspace(*pair, rise), *[pair[1]] * (config.steps - rise)]
        np.testing.assert_allclose(build_state(config).schedules.teacher_temperature, official, rtol=1e-12)


@pytest.mark.parametrize("targets", ["centering", "sinkhorn_knopp", "none"])
def test_centres_are_kept_for_centering_alone(targets):
    state = build_state(replace(TINY, targets=targets))
    record = train_step(state, *draw(TINY))
    assert set(state.centers) == ({"cls", "patch"} if targets == "centering" else set())
    assert torch.isfinite(record["loss"])


def test_a_run_that_has_had_all_its_steps_is_refused():
    state = build_state(TINY)
    state.step = TINY.steps
    with pytest.raises(ValueError, match="has had all its 20 steps"):
        train_step(state, *draw(TINY))


def test_feature_spread_is_1_on_a_full_sphere_and_0_at_a_point():
    assert feature_spread(torch.eye(8).repeat(1, 1) - torch.eye(8).flip(0)).item() == pytest.approx(
        1, abs=1e-6
    )
    assert feature_spread(torch.ones(5, 8) * torch.arange(1.0, 6)[:, None]).item() == pytest.approx(
        0, abs=1e-3
    )


def test_bfloat16_stays_near_float32():
    with torch.no_grad():
        exact = compute_losses(build_state(TINY), draw(TINY)[0], 0.05)
        half = replace(TINY, precision="bfloat16")
        rounded = compute_losses(build_state(half), draw(half)[0], 0.05)
    assert rounded.total.item() == pytest.approx(exact.total.item(), rel=0.02)
    assert rounded.total.item() != exact.total.item()


@pytest.mark.bad_input
def test_three_global_crops_are_refused():
    batch, _ = draw(TINY)
    with pytest.raises(ValueError, match="two global crops"):
        compute_losses(build_state(TINY), Batch(batch.global_crops[:3], None, None), 0.05)
