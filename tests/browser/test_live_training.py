"""A training step in the page against the package's: losses, metrics, every gradient, AdamW, teacher and centers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dinov2_edu.data import patterns10
from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.schedules import parameter_multipliers
from dinov2_edu.training import (
    TrainConfig,
    build_state,
    compute_losses,
    draw_batch,
    step_generator,
    train_step,
)
from dinov2_edu.training.state import Schedules

BASE = replace(
    patterns10_run(),
    vit=replace(patterns10_run().vit, width=64, depth=2, heads=2, patch_size=4),
    crops=replace(patterns10_run().crops, global_size=16, local_size=8, n_local=2),
    batch_size=24, n_prototypes=32, head_hidden=128, head_bottleneck=32, warmup_steps=2, steps=50, koleo_weight=0.1,
)  # fmt: skip
CONFIGS = {
    "sinkhorn": replace(BASE, targets="sinkhorn_knopp"),
    "centering": replace(
        BASE,
        targets="centering",
        vit=replace(BASE.vit, interpolate_offset=0.0, interpolate_antialias=True),
        teacher_temperature=(0.04, 0.07),
        teacher_temperature_steps=20,
        layer_decay=0.9,
        freeze_last_layer_steps=5,
    ),
    "none": replace(BASE, targets="none", crops=replace(BASE.crops, global_size=32, n_local=0)),
    "own iBOT head": replace(
        BASE,
        separate_heads=True,
        ibot_bottleneck=20,
        vit=replace(BASE.vit, n_registers=2, layer_scale=0.3),
    ),
    "DINO alone": replace(
        BASE, ibot_weight=0.0, koleo_weight=0.0, teacher_temperature=(0.03, 0.05), teacher_temperature_steps=1
    ),
}
SET = """
const engine = await live.Engine.create({ megabytes: 96, simd });
const state = new live.TrainState(engine, config, live.uniforms(0));
state.step = step;
state.optimiser.step = step;
for (const [name, tensor] of Object.entries(state.student.parameters.byName)) {
  const place = (tensor.at - state.student.parameters.all.at) / 4;
  tensor.data.set(weights[`student.${name}`].data);
  state.teacher.parameters.byName[name].data.set(weights[`teacher.${name}`].data);
  state.optimiser.first.data.set(weights[`first.${name}`].data, place);
  state.optimiser.second.data.set(weights[`second.${name}`].data, place);
}
for (const kind of ["cls", "patch"]) state.centers[kind].set(weights[`center.${kind}`]?.data ?? []);
const given = { globals: batch.globals.data, locals: batch.locals?.data, masks: batch.masks?.data ?? null, images: 24 };
const each = (of) => Object.fromEntries(Object.entries(of.byName).map(([name, x]) => [name, x]));
"""
GRADIENTS = """
const found = live.computeLosses(state, given, temperature);
const parameters = Object.entries(state.student.parameters.byName);
return { metrics: found.metrics, grads: Object.fromEntries(parameters.map(([name, x]) => [name, x.grad.data])) };
"""
STEP = """
const { metrics } = live.trainStep(state, given);
const numbers = (network) => Object.fromEntries(Object.entries(network.parameters.byName).map(([n, x]) => [n, x.data]));
return { metrics, student: numbers(state.student), teacher: numbers(state.teacher), centers: state.centers };
"""


def trained_a_little(config: TrainConfig, steps: int = 4):
    """A run some steps old (at the start the mask token and many biases are 0), and its next batch."""
    state = build_state(config)
    images = patterns10(24 * (steps + 1)).images
    for step in range(steps):
        generator = step_generator(config, step)
        train_step(state, draw_batch(images[24 * step : 24 * step + 24], config, generator), generator)
    return state, draw_batch(images[-24:], config, step_generator(config, steps))


def handed_over(state, batch) -> dict:
    """What the page needs to stand where the package stands."""
    weights = {f"student.{name}": value for name, value in state.student.state_dict().items()}
    weights |= {f"teacher.{name}": value for name, value in state.teacher.state_dict().items()}
    for name, parameter in state.student.named_parameters():
        kept = state.optimizer.state.get(parameter) or {"exp_avg": torch.zeros_like(parameter)} | {
            "exp_avg_sq": torch.zeros_like(parameter)
        }
        weights |= {f"first.{name}": kept["exp_avg"], f"second.{name}": kept["exp_avg_sq"]}
    weights |= {f"center.{name}": value.double() for name, value in state.centers.items()}
    views = {"globals": batch.global_crops, "locals": batch.local_crops, "masks": batch.masks}
    return {
        "weights": {name: value.clone() for name, value in weights.items()},
        "batch": {name: value for name, value in views.items() if value is not None},
        "config": state.config.to_dict(),
        "step": state.step,
    }


def say_the_same(found: dict, wanted: dict) -> None:
    """Metrics: the same names, and numbers equal to 5 digits."""
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(float(value), rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize(("name", "simd"), [*((name, None) for name in CONFIGS), ("sinkhorn", "plain")])
def test_losses_and_every_gradient(live, name, simd):
    state, batch = trained_a_little(CONFIGS[name])
    temperature = float(state.schedules.teacher_temperature[state.step])
    given = handed_over(state, batch)
    losses = compute_losses(state, batch, temperature)
    state.optimizer.zero_grad()
    losses.total.backward()
    found = live.run(SET + GRADIENTS, simd=simd, temperature=temperature, **given)
    say_the_same(found["metrics"], {"loss": losses.total, **losses.parts, **losses.metrics})
    for key, parameter in state.student.named_parameters():
        wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if "qkv.bias" in key:  # a key's bias changes no attention: its gradient is rounding noise around 0
            width = len(wanted) // 3
            here = found["grads"][key].copy()
            assert np.abs(here[width : 2 * width]).max() < 1e-5 * np.abs(here).max()
        scale = max(float(wanted.abs().max()), 1e-12)
        np.testing.assert_allclose(
            found["grads"][key], wanted.flatten(), atol=1e-5 * scale, rtol=0, err_msg=key
        )


@pytest.mark.parametrize("name", ["sinkhorn", "centering", "own iBOT head"])
def test_a_whole_step(live, name):
    """AdamW divides by a gradient's own size, so rounding in a gradient near 0 moves a weight by up to the rate."""
    state, batch = trained_a_little(CONFIGS[name])
    found = live.run(SET + STEP, simd=None, **handed_over(state, batch))
    wanted = train_step(state, batch, step_generator(state.config, state.step))
    say_the_same(found["metrics"], wanted)
    for network in ("student", "teacher"):
        for key, value in getattr(state, network).state_dict().items():
            errors = np.abs(found[network][key] - value.flatten().numpy())
            if "qkv.bias" in key:  # the key's bias moves by rounding noise alone
                errors = np.delete(errors, np.s_[len(errors) // 3 : 2 * len(errors) // 3])
            assert np.quantile(errors, 0.99) < 2e-5 and errors.max() < 3e-3, f"{network} {key}"
    if state.config.targets == "centering":
        for kind, center in state.centers.items():
            np.testing.assert_allclose(found["centers"][kind], center, atol=1e-6)


def test_adamw_on_given_gradients(live):
    """The optimiser alone, three steps: with the same gradients it gives torch's weights to single precision."""
    config = CONFIGS["centering"]
    state, batch = trained_a_little(config, steps=1)
    student = state.student
    generator = torch.Generator().manual_seed(3)
    grads = [
        {n: torch.randn(p.shape, generator=generator) for n, p in student.named_parameters()}
        for _ in range(3)
    ]
    script = """
    for (const gradient of grads) {
      const parameters = Object.entries(state.student.parameters.byName);
      for (const [name, tensor] of parameters) tensor.grad.data.set(gradient[name].data);
      for (const part of ["backbone", "dino_head"]) {
        live.clipGradients(engine, Object.values(state.student.parameters.under(part)), config.clip);
      }
      state.optimiser.update(live.scheduleAt(config, state.step++));
    }
    return Object.fromEntries(Object.entries(state.student.parameters.byName).map(([name, x]) => [name, x.data]));
    """
    found = live.run(SET + script, simd=None, grads=grads, **handed_over(state, batch))
    for i, gradient in enumerate(grads):
        schedules, step = state.schedules, state.step + i
        for group in state.optimizer.param_groups:
            lr = schedules.last_layer_lr[step] if group["is_last_layer"] else schedules.lr[step]
            group["lr"] = float(lr * group["lr_multiplier"])
            group["weight_decay"] = float(schedules.weight_decay[step] * group["wd_multiplier"])
        for key, parameter in student.named_parameters():
            parameter.grad = gradient[key].clone()
        for part in student.children():
            torch.nn.utils.clip_grad_norm_(part.parameters(), config.clip)
        state.optimizer.step()
    for key, value in student.state_dict().items():
        np.testing.assert_allclose(found[key], value.flatten(), atol=2e-6, rtol=2e-6, err_msg=key)


def test_schedules_and_multipliers(live):
    for config in CONFIGS.values():
        script = """return { schedules: Array.from({ length: config.steps }, (_, i) => live.scheduleAt(config, i)),
          factors: Object.fromEntries(names.map((name) => [name, live.parameterMultipliers(name, config)])) };"""
        model = build_state(config).student
        names = [name for name, _ in model.named_parameters()]
        found = live.run(script, config=config.to_dict(), names=names)
        for name in ("lr", "last_layer_lr", "weight_decay", "momentum", "teacher_temperature"):
            here = [step[name] for step in found["schedules"]]
            np.testing.assert_allclose(here, getattr(Schedules(config), name), atol=1e-12, err_msg=name)
        wanted = parameter_multipliers(
            model, layer_decay=config.layer_decay, patch_embed_multiplier=config.patch_embed_multiplier
        )
        for name, (lr, decay) in wanted.items():
            assert found["factors"][name] == {"lr": pytest.approx(lr), "weight_decay": decay}, name


def test_page_presets_are_configs_of_the_package(live):
    found = live.run("return { presets: live.PRESETS, breaks: live.BREAKS };")
    for name, preset in found["presets"].items():
        assert preset["vit"].pop("in_channels") == 1  # Patterns10 is gray here, and has three channels there
        config = TrainConfig.from_dict(preset)
        assert config.to_dict().keys() == preset.keys(), name
    for change in found["breaks"].values():
        changed = found["presets"]["minute"] | change
        changed["crops"] = found["presets"]["minute"]["crops"] | change.get("crops", {})
        TrainConfig.from_dict(changed)
