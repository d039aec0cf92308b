"""The official recipes, held to the numbers of the official files and to the official schedules step by step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dinov2_edu.experiments.recipes import EPOCH, default_recipe, published_recipe
from dinov2_edu.schedules import parameter_multipliers
from dinov2_edu.training import Network
from dinov2_edu.training.state import Schedules
from dinov2_edu.vit import VisionTransformer

TABLE = {  # what: (default, published), as in ssl_default_config.yaml and vitg14.yaml @ b8931f7
    "epochs": (100, 500),
    "warm-up, epochs": (10, 80),
    "learning rate at 1,024 images": (4e-3, 2e-4),
    "learning rate at the end": (1e-6, 1e-6),
    "weight decay": ((0.04, 0.4), (0.04, 0.2)),
    "momentum": ((0.992, 1.0), (0.994, 1.0)),
    "teacher temperature": ((0.04, 0.07), (0.04, 0.07)),
    "its rise, epochs": (30, 30),
    "student temperature": (0.1, 0.1),
    "layer-wise decay": (0.9, 1.0),
    "patch embedding": (0.2, 0.2),
    "stochastic depth": (0.3, 0.4),
    "clip": (3.0, 3.0),
    "last layer frozen, epochs": (1, 1),
    "separate heads": (False, True),
    "prototypes": (65_536, 131_072),
    "bottlenecks": ((256, 256), (384, 256)),
    "hidden width of the heads": (2048, 2048),
    "targets": ("centering", "sinkhorn_knopp"),
    "global crops": ((2, 224, (0.32, 1.0)), (2, 224, (0.32, 1.0))),
    "local crops": ((8, 96, (0.05, 0.32)), (8, 98, (0.05, 0.32))),
    "blur": ((0.0, 0.9, 0.5), (0.0, 0.9, 0.5)),
    "masks": ((0.5, (0.1, 0.5)), (0.5, (0.1, 0.5))),
    "loss weights": ((1.0, 1.0, 0.1), (1.0, 1.0, 0.1)),
    "patch": (16, 14),
    "backbone": ((1024, 24, 16, "mlp"), (1536, 40, 24, "swiglu")),
    "layer scale": (1e-5, 1e-5),
}


def in_words(config) -> dict:
    """A config in the words of the table."""
    crops, vit = config.crops, config.vit
    return {
        "epochs": config.steps / EPOCH,
        "warm-up, epochs": config.warmup_steps / EPOCH,
        "learning rate at 1,024 images": config.lr[0] / (config.batch_size / 1024) ** 0.5,
        "learning rate at the end": config.lr[1],
        "weight decay": config.weight_decay,
        "momentum": config.momentum,
        "teacher temperature": config.teacher_temperature,
        "its rise, epochs": config.teacher_temperature_steps / EPOCH,
        "student temperature": config.student_temperature,
        "layer-wise decay": config.layer_decay,
        "patch embedding": config.patch_embed_multiplier,
        "stochastic depth": vit.drop_path,
        "clip": config.clip,
        "last layer frozen, epochs": config.freeze_last_layer_steps / EPOCH,
        "separate heads": config.separate_heads,
        "prototypes": config.n_prototypes,
        "bottlenecks": (config.head_bottleneck, config.ibot_bottleneck or config.head_bottleneck),
        "hidden width of the heads": config.head_hidden,
        "targets": config.targets,
        "global crops": (2, crops.global_size, crops.global_scale),
        "local crops": (crops.n_local, crops.local_size, crops.local_scale),
        "blur": crops.blur,
        "masks": (config.mask_probability, config.mask_ratio),
        "loss weights": (config.dino_weight, config.ibot_weight, config.koleo_weight),
        "patch": vit.patch_size,
        "backbone": (vit.width, vit.depth, vit.heads, vit.ffn),
        "layer scale": vit.layer_scale,
    }


@pytest.mark.parametrize("batch_size", [1024, 3072])
@pytest.mark.parametrize(("column", "recipe"), list(enumerate([default_recipe, published_recipe])))
def test_every_number_of_a_recipe_is_the_official_one(column, recipe, batch_size):
    wanted = {what: values[column] for what, values in TABLE.items()}
    found = in_words(recipe(batch_size))
    assert found.keys() == wanted.keys()
    for what, value in wanted.items():
        assert found[what] == (pytest.approx(value) if isinstance(value, float) else value), what


def test_the_published_rate_at_the_published_batch():
    assert published_recipe().batch_size == 3072
    assert published_recipe().lr[0] == pytest.approx(3.5e-4, rel=0.02)  # as the paper rounds it


def official_cosine(base, final, total, warmup=0, start_warmup=0.0):
    """What the official CosineScheduler computes, said anew: a linear warm-up, then half a cosine."""
    ramp = np.linspace(start_warmup, base, warmup)
    at = np.arange(total - warmup)
    return np.concatenate([ramp, final + 0.5 * (base - final) * (1 + np.cos(np.pi * at / len(at)))])


@pytest.mark.parametrize("recipe", [default_recipe, published_recipe])
def test_schedules_equal_the_official_ones_at_every_step(recipe):
    config = recipe()
    ours, n = Schedules(config), config.steps
    rate = official_cosine(*config.lr, n, config.warmup_steps)
    np.testing.assert_allclose(ours.lr, rate, rtol=1e-12)
    np.testing.assert_allclose(ours.weight_decay, official_cosine(*config.weight_decay, n), rtol=1e-12)
    np.testing.assert_allclose(ours.momentum, official_cosine(*config.momentum, n), rtol=1e-12)
    rise = 30 * EPOCH
    warm = official_cosine(0.07, 0.07, rise, rise, 0.04)
    np.testing.assert_allclose(ours.teacher_temperature[:rise], warm, rtol=1e-12)
    assert (ours.teacher_temperature[rise:] == 0.07).all()
    assert (ours.last_layer_lr[:EPOCH] == 0).all()
    np.testing.assert_array_equal(ours.last_layer_lr[EPOCH:], ours.lr[EPOCH:])


@pytest.mark.parametrize(("recipe", "lowest"), [(default_recipe, 0.9**25), (published_recipe, 1.0)])
def test_only_the_default_slows_the_layers_one_by_one(recipe, lowest):
    config = recipe()
    with torch.device("meta"):
        backbone = VisionTransformer(config.vit)
    factors = parameter_multipliers(
        backbone,
        layer_decay=config.layer_decay,
        patch_embed_multiplier=config.patch_embed_multiplier,
    )
    assert factors["cls_token"][0] == pytest.approx(lowest)
    assert factors["patch_embed.proj.weight"][0] == pytest.approx(0.2 * lowest)
    assert factors["norm.weight"][0] == 1


def test_the_published_heads_have_bottlenecks_of_their_own():
    with torch.device("meta"):
        network = Network(published_recipe())
    assert network.dino_head.last_layer.weight_v.shape == (131_072, 384)
    assert network.ibot_head.last_layer.weight_v.shape == (131_072, 256)


def test_the_page_has_every_number():
    """`book/paper-versus-code.md` shows the two recipes side by side; its numbers are these."""
    text = (Path(__file__).parents[1] / "book" / "paper-versus-code.md").read_text("utf-8")
    table = text[text.index("## Three recipes") : text.index("## Faults in")]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line
    ]
    said = {row[0]: row[1:] for row in rows[2:]}
    for column, config in enumerate([default_recipe(), published_recipe()]):
        wanted = {
            "epochs (steps)": f"{config.steps // EPOCH} ({config.steps:,})",
            "warm-up of the learning rate": f"{config.warmup_steps // EPOCH} epochs ({config.warmup_steps:,} steps)",
            "weight decay, on a cosine": "{} to {}".format(*config.weight_decay),
            "momentum of the teacher, on a cosine": "{} to {:g}".format(*config.momentum),
            "stochastic depth": f"{config.vit.drop_path}",
            "local crops": f"{config.crops.local_size} pixels",
            "patch size": f"{config.vit.patch_size}",
            "heads": "one for DINO, one for iBOT" if config.separate_heads else "one, shared",
            "targets": {"sinkhorn_knopp": "Sinkhorn-Knopp"}.get(config.targets, config.targets),
        }
        for what, words in wanted.items():
            assert said[what][column] == words
        assert said["prototypes"][column].startswith(f"{config.n_prototypes:,}")
        assert said["bottleneck of the head"][column].startswith(f"{config.head_bottleneck}")
        assert said["layer-wise decay of the learning rate"][column].startswith(f"{config.layer_decay}")
        rate = config.lr[0] / (config.batch_size / 1024) ** 0.5
        at_1024 = said["learning rate at 1,024 images, times sqrt(batch / 1024)"][column]
        assert float(at_1024.split()[0]) == pytest.approx(rate)
