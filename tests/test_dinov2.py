"""The one file against four official steps, the package, an AdamW written out here, and itself on pictures."""

import ast
import copy
import math
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from dinov2_edu import dinov2
from dinov2_edu.crops import CropConfig
from dinov2_edu.data import patterns10
from dinov2_edu.dinov2 import Config, Network, ViT
from dinov2_edu.experiments.recipes import published_recipe
from dinov2_edu.probe import knn_accuracy
from dinov2_edu.training import Batch, TrainConfig, build_state, compute_losses
from dinov2_edu.vit import ViTConfig

FILE = Path(dinov2.__file__)
README = FILE.parents[1] / "README.md"
RECIPES = [
    f"step_{targets}_{heads}_head.npz"
    for targets in ("centering", "sinkhorn_knopp")
    for heads in ("shared", "separate")
]
TINY = Config(
    img_size=16,
    patch=4,
    width=24,
    depth=2,
    heads=2,
    prototypes=32,
    hidden=32,
    bottleneck=16,
    global_size=16,
    local_size=8,
    n_local=2,
    blur=(0.0, 0.9, 0.5),
    teacher_temp=(0.04, 0.07),
    teacher_temp_steps=5,
    ibot_weight=0.7,
    koleo_weight=0.1,
    batch=8,
    steps=20,
    warmup=3,
    patch_embed_lr_mult=0.2,
    freeze_last_layer=2,
)


def tensors(numbers, prefix):
    return {k.removeprefix(prefix): torch.from_numpy(v) for k, v in numbers.items() if k.startswith(prefix)}


@pytest.fixture(params=RECIPES)
def official(request, golden):
    """Student and teacher of an official step, with all its numbers."""
    numbers = golden(request.param)
    given = {name: value.item() for name, value in numbers.items() if name.startswith("config/")}
    head = "student/dino_head"
    config = replace(
        TINY,
        img_size=given["config/img_size"],
        patch=given["config/patch_size"],
        width=given["config/embed_dim"],
        depth=given["config/depth"],
        heads=given["config/num_heads"],
        prototypes=len(numbers[f"{head}.last_layer.weight_g"]),
        hidden=len(numbers[f"{head}.mlp.0.weight"]),
        bottleneck=len(numbers[f"{head}.mlp.4.weight"]),
        separate_heads=bool(given["config/separate_head"]),
        global_size=numbers["global_crops"].shape[-1],
        local_size=numbers["local_crops"].shape[-1],
        n_local=given["config/local_crops_number"],
        targets="sinkhorn_knopp" if given["config/sinkhorn"] else "centering",
        teacher_temp=(numbers["teacher_temp"].item(),) * 2,
        student_temp=given["config/student_temp"],
        ibot_weight=1.0,
        koleo_weight=given["config/koleo_weight"],
        momentum=(numbers["momentum"].item(),) * 2,
        batch=len(numbers["global_crops"]) // 2,
    )
    student, teacher = Network(config), Network(config).requires_grad_(False)
    student.load_state_dict(tensors(numbers, "student/"), strict=True)
    teacher.load_state_dict(tensors(numbers, "teacher/"), strict=True)
    return student, teacher, numbers


def losses_of(student, teacher, views, masks, temperature, centers=None):
    """DINO, iBOT and KoLeo, and the new centres."""
    centers = torch.zeros(2, student.c.prototypes) if centers is None else centers
    *targets, centers = dinov2.teacher_targets(teacher, centers, views[0], masks, temperature)
    return dinov2.student_losses(student, *targets, *views, masks), centers


def batch_of(numbers):
    crops = [torch.from_numpy(numbers[name]) for name in ("global_crops", "local_crops")]
    return crops, torch.from_numpy(numbers["masks"])


def total(losses, c):
    dino, ibot, koleo = losses
    return dino + c.ibot_weight * ibot + c.koleo_weight * koleo


@pytest.mark.golden
def test_losses_are_the_official_ones(official):
    student, teacher, numbers = official
    views, masks = batch_of(numbers)
    (dino, ibot, koleo), _ = losses_of(student, teacher, views, masks, numbers["teacher_temp"].item())
    logged = {name: numbers[f"losses/{name}_loss"].item() for name in ("ibot", "koleo")}
    official_dino = sum(numbers[f"losses/dino_{kind}_crops_loss"].item() for kind in ("local", "global"))
    assert dino.item() == pytest.approx(official_dino, rel=1e-5)
    # The official log halves these two.
    assert ibot.item() == pytest.approx(2 * logged["ibot"], rel=1e-5)
    assert student.c.koleo_weight * koleo.item() == pytest.approx(2 * logged["koleo"], rel=1e-5, abs=1e-6)


@pytest.mark.golden
def test_gradients_are_the_official_ones(official):
    """Fails in torch 2.4 to 2.11 with `pairs.trace()` in `dino_loss`: of a v x 2 matrix its gradient is wrong."""
    student, teacher, numbers = official
    views, masks = batch_of(numbers)
    losses, _ = losses_of(student, teacher, views, masks, numbers["teacher_temp"].item())
    total(losses, student.c).backward()
    ours = {name: parameter.grad for name, parameter in student.named_parameters()}
    theirs = tensors(numbers, "grads/")
    assert set(theirs) == {name for name, grad in ours.items() if grad is not None}
    for name, expected in theirs.items():
        difference = (ours[name] - expected).norm() / expected.norm().clamp(min=1e-8)
        assert difference < 1e-4, f"{name}: relative difference {difference:.1e}"


@pytest.mark.golden
def test_the_teacher_after_a_step_is_the_official_one(official, monkeypatch):
    """At the first step of a warm-up the learning rate is 0, so that the teacher alone moves, as in the file."""
    student, teacher, numbers = official
    views, masks = batch_of(numbers)
    given(monkeypatch, views, masks)
    optimizer = make_optimizer(student)
    before = copy.deepcopy(student.state_dict())
    losses, _ = dinov2.train_step(
        student, teacher, torch.zeros(2, student.c.prototypes), optimizer, views[0], 0
    )
    logged = {
        name: numbers[f"losses/{name}_loss"].item() for name in ("dino_local_crops", "dino_global_crops")
    }
    assert losses["dino"].item() == pytest.approx(sum(logged.values()), rel=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
    after = tensors(numbers, "teacher_after/")
    assert after
    for name, expected in after.items():
        torch.testing.assert_close(teacher.state_dict()[name], expected, atol=1e-6, rtol=1e-6)


def given(monkeypatch, views, masks):
    """Let the next steps see these crops and masks."""
    monkeypatch.setattr(dinov2, "make_views", lambda images, c: views)
    monkeypatch.setattr(dinov2, "make_masks", lambda n_crops, c: masks)


def make_optimizer(student):
    return torch.optim.AdamW([{"params": [p], "name": name} for name, p in student.named_parameters()])


@pytest.mark.golden
@pytest.mark.parametrize("size", ["70x70", "28x28", "56x98"])
@torch.no_grad()
def test_tokens_are_the_official_ones(golden, size):
    numbers = golden("backbone.npz")
    sizes = {
        "img_size": "img_size",
        "patch": "patch_size",
        "width": "embed_dim",
        "depth": "depth",
        "heads": "num_heads",
    }
    model = ViT(Config(**{ours: numbers[f"config/{theirs}"].item() for ours, theirs in sizes.items()}))
    model.load_state_dict(tensors(numbers, "weights/"), strict=True)
    images, masks = (torch.from_numpy(numbers[f"{size}/{name}"]) for name in ("images", "masks"))
    for where, hidden in ((size, None), (f"{size}/masked", masks)):
        cls_tokens, patch_tokens = model(images, hidden)
        for ours, name in ((cls_tokens, "clstoken"), (patch_tokens, "patchtokens")):
            expected = torch.from_numpy(numbers[f"{where}/x_norm_{name}"])
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_the_released_names_and_shapes_load_strictly():
    d, norm = 384, {"weight": (384,), "bias": (384,)}

    def linear(into, out):
        return {"weight": (out, into), "bias": (out,)}

    modules = {"norm": norm, "patch_embed.proj": {"weight": (d, 3, 14, 14), "bias": (d,)}}
    for i in range(12):
        parts = {"norm1": norm, "norm2": norm, "ls1": {"gamma": (d,)}, "ls2": {"gamma": (d,)}}
        parts |= {"attn.qkv": linear(d, 3 * d), "attn.proj": linear(d, d)}
        parts |= {"mlp.fc1": linear(d, 4 * d), "mlp.fc2": linear(4 * d, d)}
        modules |= {f"blocks.{i}.{name}": shapes for name, shapes in parts.items()}
    shapes = {f"{module}.{name}": shape for module, each in modules.items() for name, shape in each.items()}
    shapes |= {"cls_token": (1, 1, d), "pos_embed": (1, 1370, d), "mask_token": (1, d)}
    assert len(shapes) == 175
    assert sum(math.prod(shape) for shape in shapes.values()) == 22_056_576
    with torch.device("meta"):
        model = ViT(Config(img_size=518, patch=14, width=d, depth=12, heads=6))
        released = {name: torch.empty(shape) for name, shape in shapes.items()}
    model.load_state_dict(released, strict=True, assign=True)


def drawn_batch(c, seed=0):
    torch.manual_seed(seed)
    side = c.global_size // c.patch
    views = (
        torch.randn(2 * c.batch, 3, c.global_size, c.global_size),
        torch.randn(c.n_local * c.batch, 3, c.local_size, c.local_size),
    )
    masks = torch.rand(2 * c.batch, side**2) < 0.3
    masks[:3] = False
    return views, masks


@pytest.mark.parametrize("targets", ["centering", "sinkhorn_knopp"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("n_local", [TINY.n_local, 0])
def test_losses_and_centres_are_those_of_the_package(targets, separate, n_local):
    c = replace(TINY, targets=targets, separate_heads=separate, n_local=n_local)
    config = TrainConfig(
        vit=ViTConfig(img_size=16, patch_size=4, width=24, depth=2, heads=2, layer_scale=1.0),
        crops=CropConfig(global_size=16, local_size=8, n_local=c.n_local, blur=(0, 0, 0)),
        n_prototypes=c.prototypes,
        head_hidden=c.hidden,
        head_bottleneck=c.bottleneck,
        separate_heads=separate,
        targets=targets,
        ibot_weight=c.ibot_weight,
        koleo_weight=c.koleo_weight,
        batch_size=c.batch,
        steps=20,
        warmup_steps=2,
    )
    torch.manual_seed(1)
    student, teacher = Network(c), Network(c)
    views, masks = drawn_batch(c)
    centers = 0.1 * torch.randn(2, c.prototypes)
    losses, after = losses_of(student, teacher, views, masks, 0.05, centers)
    state = build_state(config)
    state.student.load_state_dict(student.state_dict())
    state.teacher.load_state_dict(teacher.state_dict())
    state.centers = {"cls": centers[0], "patch": centers[1]}
    local = views[1] if n_local else None  # as the package says that there are none
    package = compute_losses(state, Batch(views[0], local, masks), 0.05)
    torch.testing.assert_close(total(losses, c), package.total, rtol=1e-5, atol=1e-6)
    if targets == "centering":
        means = torch.stack([package.teacher_logits[name].mean(dim=0) for name in ("cls", "patch")])
        torch.testing.assert_close(after, 0.9 * centers + 0.1 * means, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("targets", ["centering", "sinkhorn_knopp"])
def test_a_batch_without_a_masked_patch_has_finite_losses_and_centres(targets):
    c = replace(TINY, targets=targets)
    student, (views, masks) = Network(c), drawn_batch(c)
    before = torch.ones(2, c.prototypes)
    losses, after = losses_of(student, copy.deepcopy(student), views, torch.zeros_like(masks), 0.05, before)
    assert total(losses, c).isfinite() and after.isfinite().all()
    kept = 0.9 if targets == "centering" else 1.0  # a mean of nothing is 0, as in the package
    torch.testing.assert_close(after[1], kept * before[1])


def test_targets_of_another_name_are_refused():
    with pytest.raises(AssertionError, match=r"targets=sinkhorn$"):
        Network(replace(TINY, targets="sinkhorn"))


def test_a_network_begins_as_the_package_s_does():
    """Each tensor has the spread that the package's has, whatever numbers were drawn."""
    torch.manual_seed(0)
    c = replace(TINY, width=96, prototypes=64, hidden=96, init_std=0.02)
    vit = ViTConfig(
        img_size=c.img_size,
        patch_size=c.patch,
        width=96,
        depth=c.depth,
        heads=c.heads,
        layer_scale=1.0,
        init_std=0.02,
    )
    config = TrainConfig(
        vit=vit,
        n_prototypes=64,
        head_hidden=96,
        head_bottleneck=c.bottleneck,
        separate_heads=c.separate_heads,
    )
    ours, theirs = Network(c).state_dict(), build_state(config).student.state_dict()
    assert ours.keys() == theirs.keys()
    for name in ours:
        spread, expected = (one[name].double().pow(2).mean().sqrt().item() for one in (ours, theirs))
        assert spread == pytest.approx(expected, rel=0.35, abs=1e-9), name


@pytest.mark.golden
def test_centres_move_as_the_official_ones(golden):
    numbers = golden("losses.npz")
    centers = torch.zeros(2, numbers["dino/teacher_logits"].shape[-1])
    rows = zip(
        *(
            torch.from_numpy(numbers[f"dino/{n}"])
            for n in ("teacher_logits", "centered_probs", "centers_after")
        ),
        strict=True,
    )
    for logits, probs, after in rows:
        teacher = SimpleNamespace(
            c=Config(targets="centering"),
            backbone=lambda crops, tokens=logits: (tokens, tokens[:, None]),
            heads=(torch.nn.Identity(), torch.nn.Identity()),
        )
        masks = torch.ones(len(logits), 1, dtype=torch.bool)
        cls_targets, patch_targets, centers = dinov2.teacher_targets(teacher, centers, None, masks, 0.05)
        torch.testing.assert_close(cls_targets.flatten(0, 1), probs, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(patch_targets, probs, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(centers, after.expand(2, -1), atol=1e-6, rtol=1e-5)


@pytest.mark.golden
def test_schedules_are_the_official_ones(golden):
    numbers = golden("optim.npz")
    n_steps = len(numbers["lr"])
    c = replace(
        TINY,
        steps=n_steps,
        warmup=10,
        lr=(0.004, 1e-6),
        weight_decay=(0.04, 0.4),
        momentum=(0.992, 1.0),
        teacher_temp_steps=len(numbers["teacher_temp"]),
    )
    ours = [dinov2.schedules(step, c) for step in range(n_steps)]
    temperatures = [*numbers["teacher_temp"], *[0.07] * n_steps][:n_steps]
    theirs = zip(*(numbers[n] for n in ("lr", "weight_decay", "momentum")), temperatures, strict=True)
    for step, expected in enumerate(theirs):
        assert ours[step] == pytest.approx(expected, rel=1e-9), step


@pytest.mark.parametrize(
    "changes", [{}, {"warmup": 0}, {"warmup": 1, "teacher_temp_steps": 1}, {"teacher_temp_steps": 40}]
)
def test_schedules_are_those_of_the_package(changes):
    c = replace(TINY, **changes)
    config = TrainConfig(
        lr=c.lr,
        warmup_steps=c.warmup,
        weight_decay=c.weight_decay,
        momentum=c.momentum,
        teacher_temperature=c.teacher_temp,
        teacher_temperature_steps=c.teacher_temp_steps,
        freeze_last_layer_steps=c.freeze_last_layer,
        vit=ViTConfig(img_size=32, patch_size=4, width=8, depth=1, heads=1),
        steps=c.steps,
    )
    package = build_state(config).schedules
    names = ("lr", "weight_decay", "momentum", "teacher_temperature")
    for step in range(c.steps):
        expected = [float(getattr(package, name)[step]) for name in names]
        assert dinov2.schedules(step, c) == pytest.approx(expected, rel=1e-9, abs=1e-15), step


@pytest.mark.golden
def test_multipliers_are_the_official_ones(golden):
    """The recorded ones have layer-wise decay, which the published recipe has not: it cancels within a layer."""
    numbers = golden("optim.npz")
    c = replace(TINY, patch_embed_lr_mult=numbers["config/patch_embed_lr_mult"].item(), freeze_last_layer=0)
    lr = dict(zip(numbers["names"].tolist(), numbers["lr_multiplier"].tolist(), strict=True))
    for name, decay in zip(numbers["names"].tolist(), numbers["wd_multiplier"].tolist(), strict=True):
        assert dinov2.multipliers(name, 0, c)[1] == decay, name
        if "patch_embed" in name:
            assert dinov2.multipliers(name, 0, c)[0] == pytest.approx(lr[name] / lr["cls_token"])


# ---- the optimiser, written out ----


def clipped_gradients(student, teacher, centers, views, masks, temperature):
    """Gradients by name, each module's brought to a norm of at most `clip`, and the new centres."""
    losses, centers = losses_of(student, teacher, views, masks, temperature, centers)
    named = dict(student.named_parameters())
    found = torch.autograd.grad(total(losses, student.c), list(named.values()), allow_unused=True)
    grads = {name: grad for name, grad in zip(named, found, strict=True) if grad is not None}
    for module in ("backbone", "dino_head", "ibot_head"):
        own = [grad for name, grad in grads.items() if name.split(".")[0] == module]
        norm = math.sqrt(sum(float(grad.double().square().sum()) for grad in own))
        for grad in own:
            grad *= min(1.0, student.c.clip / (norm + 1e-6))
    return grads, centers


def adamw_by_hand(student, teacher, batches, c):
    """Where student and teacher stand after training on the batches: AdamW and EMA as their papers write them."""
    student, teacher = copy.deepcopy(student), copy.deepcopy(teacher)
    centers = torch.zeros(2, c.prototypes, dtype=torch.double)
    first, second = ({n: torch.zeros_like(p) for n, p in student.named_parameters()} for _ in range(2))
    undecayed = re.compile(r"bias$|gamma$|norm")
    for step, (views, masks) in enumerate(batches):
        wave = (1 + math.cos(math.pi * step / c.steps)) / 2
        rate = c.lr[0] * step / (c.warmup - 1)
        assert step < c.warmup
        decay = c.weight_decay[1] + (c.weight_decay[0] - c.weight_decay[1]) * wave
        momentum = c.momentum[1] + (c.momentum[0] - c.momentum[1]) * wave
        temperature = c.teacher_temp[0] + (c.teacher_temp[1] - c.teacher_temp[0]) * step / (
            c.teacher_temp_steps - 1
        )
        grads, centers = clipped_gradients(student, teacher, centers, views, masks, temperature)
        with torch.no_grad():
            for name, p in student.named_parameters():
                own = rate * (c.patch_embed_lr_mult if name.startswith("backbone.patch_embed.") else 1)
                own = 0.0 if ".last_layer." in name and step < c.freeze_last_layer else own
                first[name] = 0.9 * first[name] + 0.1 * grads[name]
                second[name] = 0.999 * second[name] + 0.001 * grads[name] ** 2
                mean = first[name] / (1 - 0.9 ** (step + 1))
                scale = (second[name] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                p -= own * (0.0 if undecayed.search(name) else decay) * p + own * mean / scale
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.copy_(momentum * slow + (1 - momentum) * fast)
    return student, teacher


def stepped(student, teacher, batches, monkeypatch):
    """Where `train_step` takes them."""
    student, teacher = copy.deepcopy(student), copy.deepcopy(teacher)
    centers, optimizer = torch.zeros(2, student.c.prototypes).double(), make_optimizer(student)
    for step, (views, masks) in enumerate(batches):
        given(monkeypatch, views, masks)
        _, centers = dinov2.train_step(student, teacher, centers, optimizer, views[0], step)
    return student, teacher


def furthest(ours, theirs):
    """The largest difference of two networks, and the tensor that has it."""
    pairs = zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True)
    return max((float((a - b).abs().max()), name) for (name, a), b in pairs)


OPTIMISED = replace(
    TINY,
    targets="centering",
    warmup=4,
    freeze_last_layer=2,
    lr=(2e-3, 1e-5),
    weight_decay=(5.0, 9.0),
    momentum=(0.8, 1.0),
    clip=0.05,
)


@pytest.fixture
def start():
    """A student whose every tensor is far from 0, so that each kind of decay shows, its teacher, four batches.

    In double precision: the biases of keys have no gradient but rounding, of which Adam would make whole steps.
    """
    torch.manual_seed(3)
    student = Network(OPTIMISED).double()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    teacher = copy.deepcopy(student).requires_grad_(False)
    batches = [drawn_batch(OPTIMISED, seed) for seed in range(4)]
    return student, teacher, [([crops.double() for crops in views], masks) for views, masks in batches]


def test_steps_are_an_adamw_written_out(start, monkeypatch):
    ours, theirs = stepped(*start, monkeypatch), adamw_by_hand(*start, OPTIMISED)
    for mine, expected in zip(ours, theirs, strict=True):
        difference, name = furthest(mine, expected)
        assert difference < 1e-9, f"{name} is {difference:.1e} away"
    assert furthest(ours[0], start[0])[0] > 1e-3


RIGHT = dinov2.multipliers
WRONG = {
    "no weight decay": lambda name, step, c: (RIGHT(name, step, c)[0], 0.0),
    "decay on biases and norms": lambda name, step, c: (RIGHT(name, step, c)[0], 1.0),
    "no learning-rate multipliers": lambda name, step, c: (1.0, RIGHT(name, step, c)[1]),
    "a last layer that never rests": lambda name, step, c: RIGHT(name, 99, c),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_written_out_adamw_sees_a_wrong_group(start, monkeypatch, wrong):
    monkeypatch.setattr(dinov2, "multipliers", WRONG[wrong])
    assert furthest(stepped(*start, monkeypatch)[0], adamw_by_hand(*start, OPTIMISED)[0])[0] > 1e-5


@pytest.mark.parametrize("wrong", ["never", "all modules together"])
def test_the_written_out_adamw_sees_a_wrong_clip(start, monkeypatch, wrong):
    if wrong == "never":
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, norm: None)
    else:
        monkeypatch.setattr(Network, "children", lambda self: [self])
    assert furthest(stepped(*start, monkeypatch)[0], adamw_by_hand(*start, OPTIMISED)[0])[0] > 1e-5


# ---- crops and masks ----


@pytest.mark.golden
def test_masks_are_those_of_the_official_generator(golden):
    numbers = golden("masking.npz")
    random.seed(0)
    n = 150
    for asked, mean, std in zip(numbers["asked"], numbers["mean"], numbers["std"], strict=True):
        masks = torch.stack([dinov2.block_mask(int(asked), 16) for _ in range(n)])
        counts = masks.sum(dim=1).double()
        assert masks.dtype == torch.bool and counts.max() <= asked
        assert abs(counts.mean() - mean) < 4 * std * math.sqrt(1 / n + 1 / 4000)
    assert counts.std() == pytest.approx(std, rel=0.35)


def test_masks_are_made_of_blocks():
    """A masked patch has more masked neighbours than scattered ones would have."""
    random.seed(0)
    masks = torch.stack([dinov2.block_mask(77, 16) for _ in range(50)]).view(-1, 16, 16)
    alike = (masks[:, 1:] & masks[:, :-1]).sum() / masks[:, 1:].sum()
    assert alike > 0.6  # scattered: 77 / 256 = 0.3


def test_half_of_the_crops_are_masked_each_with_a_share_of_its_own():
    random.seed(0)
    c = replace(TINY, global_size=64, mask_ratio=(0.1, 0.5))
    for _ in range(5):
        masks = dinov2.make_masks(16, c)
        counts = masks.sum(dim=1)
        assert masks.shape == (16, 256) and (counts == 0).sum() == 8
        shares = counts[counts > 0].sort().values / 256
        ends = torch.linspace(0.1, 0.5, 9)[1:]
        assert (shares <= ends).all() and (shares > ends - 0.15).all()
    assert dinov2.make_masks(3, c).any(dim=1).sum() == 1  # as int(3 * 0.5)


def test_views_have_their_shapes_order_and_range(monkeypatch):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (5, 3, 20, 24), dtype=torch.uint8)
    c = replace(TINY, global_size=16, local_size=8, n_local=3)
    global_crops, local_crops = dinov2.make_views(images, c)
    assert global_crops.shape == (10, 3, 16, 16) and local_crops.shape == (15, 3, 8, 8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for crops in (global_crops, local_crops):
        pixels = crops * std[:, None, None] + mean[:, None, None]
        assert pixels.min() > -1e-5 and pixels.max() < 1 + 1e-5 and pixels.std() > 0.1
    monkeypatch.setattr(dinov2, "change_colors", lambda x, blur, solarize: x)
    flat = torch.arange(5, dtype=torch.uint8).mul(50).view(5, 1, 1, 1).expand(5, 3, 20, 24)
    for crops in dinov2.make_views(flat, c):  # all first crops, then all second ones
        seen = (crops * std[:, None, None] + mean[:, None, None]).mean((1, 2, 3)) * 255
        torch.testing.assert_close(seen.view(-1, 5), (torch.arange(5.0) * 50).expand(len(crops) // 5, 5))


def test_each_kind_of_crop_has_its_own_chance_of_blur_and_the_second_alone_is_solarised(monkeypatch):
    seen = []
    monkeypatch.setattr(dinov2, "change_colors", lambda x, *chances: seen.append((len(x), *chances)) or x)
    c = replace(TINY, n_local=3, blur=(0.1, 0.2, 0.3))
    dinov2.make_views(torch.zeros(5, 3, 20, 20, dtype=torch.uint8), c)
    assert seen == [(5, 0.1, 0.0), (5, 0.2, 0.2), (15, 0.3, 0.0)]


def test_a_crop_is_cut_from_the_middle_of_every_draw(monkeypatch):
    """A mirror of 0, once in millions of draws, would make a crop of one repeated column."""
    monkeypatch.setattr(dinov2, "draw", lambda x, low, high: torch.full((len(x), 1, 1, 1), (low + high) / 2))
    crops = dinov2.random_resized_crop(torch.rand(4, 3, 32, 32), 16, (0.2, 0.5))
    assert crops.std(dim=3).min() > 0


def test_without_local_crops_a_step_is_made_all_the_same():
    c = replace(TINY, n_local=0)
    images = torch.randint(0, 256, (c.batch, 3, 20, 20), dtype=torch.uint8)
    global_, local = dinov2.make_views(images, c)
    assert len(global_) == 2 * c.batch and len(local) == 0
    student = Network(c)
    before = copy.deepcopy(student.state_dict())
    dinov2.train(student, images)
    assert any(not torch.equal(before[name], after) for name, after in student.state_dict().items())


def test_boxes_lie_in_the_picture_and_have_the_share_asked_for():
    """On a picture whose red is how far right and whose green is how far down, a crop says where it was cut."""
    torch.manual_seed(0)
    n, side = 600, 64
    line = (torch.arange(side) + 0.5) / side
    picture = torch.stack(
        [line.expand(side, side), line[:, None].expand(side, side), torch.zeros(side, side)]
    )
    crops = dinov2.random_resized_crop(picture.expand(n, -1, -1, -1), 16, (0.2, 0.5))
    middle = crops[:, :, 4:12, 4:12]  # away from edges, where the picture is mirrored
    width = (middle[:, 0, :, -1] - middle[:, 0, :, 0]).mean(dim=1) / 7 * 16
    height = (middle[:, 1, -1] - middle[:, 1, 0]).mean(dim=1) / 7 * 16
    centre = middle[:, :2].mean((2, 3))
    area, aspect = width.abs() * height, width.abs() / height
    assert area.min() > 0.195 and area.max() < 0.505 and area.mean() == pytest.approx(0.35, abs=0.02)
    assert aspect.min() > 0.74 and aspect.max() < 1.35
    assert (width < 0).float().mean() == pytest.approx(0.5, abs=0.08)
    edges = torch.cat(
        [
            centre - torch.stack([width.abs(), height], 1) / 2,
            centre + torch.stack([width.abs(), height], 1) / 2,
        ]
    )
    assert edges.min() > -0.01 and edges.max() < 1.01 and edges.min() < 0.05 and edges.max() > 0.95


def test_colours_change_as_often_as_they_should():
    torch.manual_seed(0)
    x = torch.rand(2000, 3, 6, 6)
    y = dinov2.change_colors(x, 0.0, 0.0)
    grey = (y[:, 0] - y[:, 1]).abs().amax((1, 2)) < 1e-6
    same = (y - x).abs().amax((1, 2, 3)) < 1e-6
    assert grey.float().mean() == pytest.approx(0.2, abs=0.04)
    assert same.float().mean() == pytest.approx(0.2 * 0.8, abs=0.04)
    gains = y.mean((1, 2, 3)) / x.mean((1, 2, 3))
    assert gains[~same].std() > 0.1  # each picture has a brightness of its own
    bright = x[:, :1].expand(-1, 3, -1, -1)  # grey pictures: hue and saturation leave them alone
    turned = dinov2.change_colors(bright, 0.0, 1.0)
    assert turned.max() < 0.51
    blurred = dinov2.change_colors(x, 0.4, 0.0).std((1, 2, 3)) < 0.6 * y.std((1, 2, 3))
    assert 0.1 < blurred.float().mean() < 0.5


# ---- what was learnt, and the file itself ----


@torch.no_grad()
def test_nearest_neighbours_vote_as_in_the_package():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (1100, 3, 4, 4), dtype=torch.uint8)
    labels = (images.float().mean((1, 2, 3)) > 127).long() + (images[:, 0, 0, 0] > 200).long()

    def backbone(x):
        return x.flatten(1), None

    train, test = (images[:550], labels[:550]), (images[550:], labels[550:])
    features = dinov2.normalize(images / 255).flatten(1)
    expected = knn_accuracy(features[:550], train[1], features[550:], test[1])
    assert dinov2.knn_accuracy(backbone, train, test) == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
def test_a_short_run_learns():
    """The file's own settings, 250 steps instead of 1,700, and the warm-up shortened with them."""
    c = Config(steps=250, warmup=40)
    torch.manual_seed(c.seed)
    random.seed(c.seed)
    train, test = patterns10(5000), patterns10(1000, split="test")
    student = Network(c)
    before = dinov2.knn_accuracy(student.backbone, (train.images, train.labels), (test.images, test.labels))
    teacher = dinov2.train(student, train.images)
    after = dinov2.knn_accuracy(teacher.backbone, (train.images, train.labels), (test.images, test.labels))
    assert after > before + 0.1, f"k-NN accuracy {before:.3f} before, {after:.3f} after"


def test_it_runs_as_a_script_on_a_folder_of_pictures(tmp_path):
    torch.manual_seed(0)
    for split, n in (("train", 12), ("test", 3)):
        for name in ("first", "second"):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = torch.randint(0, 256, (40, 36 + i, 3), dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
    (tmp_path / "copied.py").write_text(FILE.read_text())  # alone, as someone would who copies it
    settings = ["data=pictures", "steps=3", "warmup=1", "batch=8", "targets=centering", "lr=(1e-3,1e-5)"]
    done = subprocess.run(
        [sys.executable, "copied.py", *settings],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"before: \d+\.\d%\nstep 0 loss \d.*\nstep 2 loss \d.*\n.*after: \d+\.\d%", done.stdout)
    ViT(Config()).load_state_dict(torch.load(tmp_path / "backbone.pth", weights_only=True), strict=True)


def test_it_is_short_and_stands_alone():
    text = FILE.read_text()
    assert len(text.splitlines()) <= 380
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module)
    allowed = {"torch", "torchvision", *sys.stdlib_module_names}
    assert {name.split(".")[0] for name in imported} <= allowed


def test_the_comments_quote_the_published_recipe():
    """A setting whose comment ends without a value has the published one."""
    recipe = published_recipe()
    published = {
        **{
            name: getattr(recipe.vit, name)
            for name in ("img_size", "width", "depth", "heads", "layer_scale", "init_std")
        },
        **{name: getattr(recipe.crops, name) for name in ("global_size", "local_size", "n_local", "blur")},
        **{name: getattr(recipe.crops, name) for name in ("global_scale", "local_scale")},
        **{
            name: getattr(recipe, name)
            for name in ("separate_heads", "mask_ratio", "ibot_weight", "koleo_weight")
        },
        **{name: getattr(recipe, name) for name in ("steps", "lr", "weight_decay", "momentum", "clip")},
        "patch": recipe.vit.patch_size,
        "prototypes": recipe.n_prototypes,
        "hidden": recipe.head_hidden,
        "bottleneck": recipe.head_bottleneck,
        "teacher_temp": recipe.teacher_temperature,
        "teacher_temp_steps": recipe.teacher_temperature_steps,
        "student_temp": recipe.student_temperature,
        "targets": recipe.targets,
        "batch": recipe.batch_size,
        "warmup": recipe.warmup_steps,
        "patch_embed_lr_mult": recipe.patch_embed_multiplier,
        "freeze_last_layer": recipe.freeze_last_layer_steps,
    }
    text = FILE.read_text().split("class Config", 1)[1].split("\n\n", 1)[0]
    for name, value, _, comment in re.findall(
        r"^    (\w+): \w+ = (.*?)(  # (.*))?$", text, flags=re.MULTILINE
    ):
        quoted = re.search(r"(?:^|; )([\d(][^;]*)$", comment)
        if name in published:
            given = ast.literal_eval(quoted[1] if quoted else value)
            wanted = published.pop(name)
            assert given == (pytest.approx(wanted, rel=0.02) if name == "lr" else wanted), name
    assert not published
    assert recipe.ibot_bottleneck == 256 and "iBOT's head 256" in text


def test_the_step_in_the_readme_is_the_step_of_the_file():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    shown = [block for block in blocks if "loss.backward()" in block]
    assert len(shown) == 1
    lines = [line.strip() for line in shown[0].splitlines() if line.strip()]
    step = FILE.read_text().split("def train_step", 1)[1].split("\ndef ", 1)[0]
    body = [line.strip() for line in step.splitlines() if line.strip()]
    start = body.index(lines[0])
    assert body[start : start + len(lines)] == lines
