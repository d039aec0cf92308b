"""The optimiser, held to AdamW written out here: groups, learning rates, decay, clipping, schedules, frozen layers."""

import copy
import math
import re
from dataclasses import replace

import pytest
import torch
from tiny_training import TINY, draw

from dinov2_edu.schedules import parameter_multipliers
from dinov2_edu.training import build_state, compute_losses, train_step
from dinov2_edu.training import state as state_module
from dinov2_edu.training.config import TrainConfig

CONFIG = replace(
    TINY,
    vit=replace(TINY.vit, n_registers=2, layer_scale=0.1),
    separate_heads=True,
    lr=(0.02, 0.001),
    warmup_steps=0,
    weight_decay=(0.5, 2.0),
    layer_decay=0.7,
    patch_embed_multiplier=0.2,
    momentum=(0.8, 1.0),
    clip=0.05,  # below every module's norm, so that all are clipped
    freeze_last_layer_steps=1,
    center_momentum=0.8,
    steps=4,
)

LR_MULTIPLIERS = (  # depth 2: the input is layer 0, the blocks 1 and 2, what follows 3
    (r"backbone\.patch_embed\.", 0.2 * 0.7**3),
    (r"backbone\.(cls_token|pos_embed|mask_token|register_tokens)$", 0.7**3),
    (r"backbone\.blocks\.0\.", 0.7**2),
    (r"backbone\.blocks\.1\.", 0.7),
    (r"backbone\.norm\.|dino_head\.|ibot_head\.", 1.0),
)
UNDECAYED = r"\.bias$|\.norm\d?\.weight$|\.gamma$"


def cosine(start: float, end: float, step: int, n_steps: int) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * step / n_steps)) / 2


class WrittenOut:
    """The whole update by hand: clipped gradients, AdamW, the teacher's average and the centres."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.state = config, build_state(config)
        self.first = {n: torch.zeros_like(w) for n, w in self.state.student.named_parameters()}
        self.second = {n: torch.zeros_like(w) for n, w in self.state.student.named_parameters()}

    def gradients(self, step: int) -> dict[str, torch.Tensor]:
        student, centers = self.state.student, self.state.centers
        student.zero_grad()
        batch, generator = draw(self.config, step)
        losses = compute_losses(self.state, batch, self.state.schedules.teacher_temperature[step], generator)
        losses.total.backward()
        for name, logits in losses.teacher_logits.items():
            centers[name] = 0.8 * centers[name] + 0.2 * logits.mean(dim=0)
        found = {n: w.grad.clone() for n, w in student.named_parameters()}
        for module in ("backbone.", "dino_head.", "ibot_head."):
            mine = [gradient for name, gradient in found.items() if name.startswith(module)]
            norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in mine))
            assert norm > self.config.clip, "the test wants every module clipped"
            for gradient in mine:
                gradient.mul_(self.config.clip / (norm + 1e-6))
        return found

    def step(self, step: int) -> None:
        gradients = self.gradients(step)
        with torch.no_grad():
            self.update(step, gradients)

    def update(self, step: int, gradients: dict[str, torch.Tensor]) -> None:
        config = self.config
        decay = cosine(*config.weight_decay, step, config.steps)
        momentum = cosine(*config.momentum, step, config.steps)
        averages = dict(self.state.teacher.named_parameters())
        for name, weight in self.state.student.named_parameters():
            (multiplier,) = [value for pattern, value in LR_MULTIPLIERS if re.match(pattern, name)]
            frozen = "last_layer" in name and step < config.freeze_last_layer_steps
            lr = 0.0 if frozen else multiplier * cosine(*config.lr, step, config.steps)
            first = self.first[name].mul_(0.9).add_(0.1 * gradients[name])
            second = self.second[name].mul_(0.999).add_(0.001 * gradients[name] ** 2)
            weight *= 1 - lr * (0.0 if re.search(UNDECAYED, name) else decay)
            root = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            weight -= lr * first / (1 - 0.9 ** (step + 1)) / root
            averages[name].mul_(momentum).add_((1 - momentum) * weight)


def stepped() -> list[tuple]:
    """Two steps of a run: the student before each, then the run, and the same by hand.

    The second begins both times from the run's own weights: where a gradient is 0 but for rounding, as that of a
    key's bias, AdamW makes a whole step of the rounding.
    """
    state, by_hand, found = build_state(CONFIG), WrittenOut(CONFIG), []
    for step in range(2):
        by_hand.state.student.load_state_dict(state.student.state_dict())
        by_hand.state.teacher.load_state_dict(state.teacher.state_dict())
        before = copy.deepcopy(state.student.state_dict())
        train_step(state, *draw(CONFIG, step))
        by_hand.step(step)
        found.append((before, copy.deepcopy(state), copy.deepcopy(by_hand.state)))
    return found


@pytest.fixture(scope="module")
def two_steps():
    return stepped()


def check_weights(steps: list[tuple]) -> None:
    """Each tensor of the student lies where the written-out step puts it."""
    for step, (before, state, wanted) in enumerate(steps):
        wanted = wanted.student.state_dict()
        for name, weight in state.student.state_dict().items():
            moved = (wanted[name] - before[name]).abs().max()
            assert (moved == 0) == ("last_layer" in name and step == 0), name
            difference = (weight - wanted[name]).abs().max()
            assert difference <= 1e-4 * moved + 1e-7, f"step {step}, {name}: {difference:.1e} of {moved:.1e}"


def test_every_weight_is_where_adamw_takes_it(two_steps):
    check_weights(two_steps)


WRONG = {
    "no weight decay": lambda name, lr, decay: (lr, 0.0),
    "decay on biases and norms": lambda name, lr, decay: (lr, 1.0),
    "no learning-rate multipliers": lambda name, lr, decay: (1.0, decay),
    "no slower patch embedding": lambda name, lr, decay: (lr / 0.2 if "patch_embed" in name else lr, decay),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_written_out_adamw_sees_a_wrong_group(monkeypatch, wrong):
    def multipliers(*arguments, **named):
        right = parameter_multipliers(*arguments, **named)
        return {name: WRONG[wrong](name, *pair) for name, pair in right.items()}

    monkeypatch.setattr(state_module, "parameter_multipliers", multipliers)
    with pytest.raises(AssertionError, match=r"step \d, .*: .* of "):
        check_weights(stepped())


def test_the_written_out_adamw_sees_gradients_that_are_not_clipped(monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, norm: None)
    with pytest.raises(AssertionError, match=r"step \d, .*: .* of "):
        check_weights(stepped())


def test_the_teacher_and_the_centres_follow(two_steps):
    _, state, wanted = two_steps[-1]
    for name, weight in state.teacher.state_dict().items():
        torch.testing.assert_close(
            weight, wanted.teacher.state_dict()[name], msg=lambda text, name=name: f"{name}: {text}"
        )
    for name, center in state.centers.items():
        torch.testing.assert_close(center, wanted.centers[name])


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_the_last_layer_rests_for_its_first_steps(steps):
    """The published recipe freezes the prototypes, and nothing else, for its first epoch."""
    state = build_state(replace(CONFIG, freeze_last_layer_steps=steps))
    for step in range(3):
        before = {name: weight.detach().clone() for name, weight in state.student.named_parameters()}
        train_step(state, *draw(CONFIG, step))
        resting = {n for n, w in state.student.named_parameters() if torch.equal(w, before[n])}
        prototypes = {n for n in before if "last_layer" in n}
        assert prototypes and resting == (prototypes if step < steps else set())
