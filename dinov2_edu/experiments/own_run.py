"""The settings of a run on somebody's own pictures: chosen from how many there are, how large, and for how long.

Each choice comes with a sentence that says why. The rules are drawn from runs whose end is known: the presets of this
package and the official configs. Chapter 13 shows what some of them are worth, measured.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from dinov2_edu.checks import check_at_least, check_one_of, checked, require
from dinov2_edu.crops import small_image_crops
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.vit import BOOK_VIT

SIDES = (32, 64, 96, 128)
"""Pixels that pictures may be shrunk to. A whole picture is always 8 x 8 patches, so the network's work is the
same; but larger crops have to be cut: on a CPU a step at 128 pixels took 1.7 times as long as one at 32."""
FEWEST_PICTURES, FEWEST_STEPS, LONG = 64, 50, 3000
PATCHES = 8
"""Patches along the side of a whole picture; a global crop has half of them, a local crop a quarter."""


class Choice(NamedTuple):
    """A setting, what was chosen, and why."""

    setting: str
    value: str
    why: str


@dataclass(frozen=True)
class OwnRun:
    """A config for own pictures, and a sentence for each choice in it."""

    config: TrainConfig
    choices: tuple[Choice, ...]


@checked
def own_side(shorter_side: int) -> int:
    """Pixels to shrink pictures to: 64 where the middle picture has them, else 32.

    Larger sides cost memory and decoding; ask for them where what you look for is small.

    Args:
        shorter_side: of the middle picture of the folder, in pixels.

    Raises:
        ValueError: below 16, where two crops of a picture hold nearly nothing.
    """
    require(
        shorter_side >= 16,
        f"half of the pictures have less than 16 pixels along their shorter side, this one {shorter_side}: "
        "crops of them show nothing; use larger pictures",
    )
    return 64 if shorter_side >= 64 else 32


@checked
def own_momentum(steps: int) -> float:
    """The teacher's first momentum for a run of so many steps: 1 - 0.1 sqrt(1700 / steps), between 0.9 and 0.996.

    The teacher's memory, 1 / (1 - momentum) steps, then grows with the root of the run. The rule passes near four runs
    whose end is known: `patterns10_run` (0.9 of 1,700 steps), `cifar10_run` (0.95 of 6,000), and the official
    configs (0.992 of 125,000; 0.994 of 625,000).
    """
    check_at_least(1, steps=steps)
    return round(min(0.996, max(0.9, 1 - 0.1 * math.sqrt(1700 / steps))), 4)


@checked
def own_run(n_pictures: int, side: int = 32, steps: int | None = None) -> OwnRun:
    """Choose the settings of a run on `n_pictures` pictures that are shrunk to `side` pixels.

    Args:
        n_pictures: pictures to learn from, duplicates left out.
        side: 32, 64, 96 or 128; see `own_side`.
        steps: length of the run; None for about 30 rounds through the pictures where these make 500 to 3,000 steps
            of 64, or 3,000 to 6,000 steps of 128. Below, 500 steps, which are more rounds (of 64 pictures 250);
            between, 3,000 (of 6,400 pictures 60 rounds); above, 6,000, which are fewer (of 100,000 pictures 8).

    Raises:
        ValueError: too few pictures or steps to learn anything from, or another side.
    """
    check_one_of(SIDES, side=side)
    require(
        n_pictures >= FEWEST_PICTURES,
        f"{n_pictures} pictures are too few to train on: at least {FEWEST_PICTURES} make a batch; take features of a "
        'trained backbone instead, load_backbone("vits14")',
    )
    if steps is None:
        rounds = 30 * n_pictures
        steps = max(500, rounds // 64) if rounds // 64 < LONG else max(LONG, min(6000, rounds // 128))
    batch = _batch(n_pictures, steps)
    require(
        steps >= FEWEST_STEPS,
        f"{steps} steps are too few: the warm-up alone takes some, ask for {FEWEST_STEPS} or more",
    )
    config = _config(side, batch, steps)
    return OwnRun(config, _choices(config, n_pictures))


def _batch(n_pictures: int, steps: int) -> int:
    """The largest of 32, 64 and 128 that leaves two batches a round; 128 in long runs alone."""
    largest = 128 if steps >= LONG else 64
    return next(batch for batch in (128, 64, 32) if batch <= largest and 2 * batch <= n_pictures)


def _config(side: int, batch: int, steps: int) -> TrainConfig:
    patch, long = side // PATCHES, steps >= LONG
    vit = replace(BOOK_VIT, img_size=side, patch_size=patch)
    if not long:
        vit = replace(vit, width=96, depth=3, heads=3, init_std=0.06)
    crops = replace(
        small_image_crops(),
        global_size=side // 2,
        local_size=side // 4,
        n_local=4,
        local_scale=(max(0.05, round((10 / side) ** 2, 2)), 0.35),
        blur=(0.0, 0.0, 0.0),
    )
    return TrainConfig(
        vit=vit,
        crops=crops,
        n_prototypes=2 * batch,
        head_hidden=256,
        head_bottleneck=64,
        targets="sinkhorn_knopp",
        ibot_weight=0.3,
        koleo_weight=0.02,
        lr=(2.5e-3 if long else 3e-3, 1e-5),
        warmup_steps=max(10, min(200, steps // 30)),
        weight_decay=(0.04, 0.1),
        momentum=(own_momentum(steps), 1.0),
        teacher_temperature=(0.03, 0.03) if long else (0.02, 0.02),
        teacher_temperature_steps=0,
        patch_embed_multiplier=0.5,
        batch_size=batch,
        steps=steps,
    )


def _choices(config: TrainConfig, n_pictures: int) -> tuple[Choice, ...]:
    vit, crops, batch, steps = config.vit, config.crops, config.batch_size, config.steps
    low, high = crops.local_scale
    memory = 1 / (1 - config.momentum[0])
    rounds = steps * batch / n_pictures
    return (
        Choice(
            "network",
            f"width {vit.width}, {vit.depth} blocks, patch {vit.patch_size}",
            f"below {LONG:,} steps a small one, whose steps are cheap; a picture of {vit.img_size} pixels is "
            f"{PATCHES} x {PATCHES} patches",
        ),
        Choice(
            "batch",
            f"{batch} pictures",
            f"at least two batches in {n_pictures:,} pictures; KoLeo and Sinkhorn-Knopp compare pictures of one batch",
        ),
        Choice("steps", f"{steps:,}", f"each picture is seen {rounds:.1f} times, never twice alike"),
        Choice(
            "global crops",
            f"2 of {crops.global_size} px, {crops.global_scale[0]:.0%} to {crops.global_scale[1]:.0%} of the area",
            "as the paper's, on half of the side: a step costs a fourth, and whole pictures work afterwards",
        ),
        Choice(
            "local crops",
            f"{crops.n_local} of {crops.local_size} px, {low:.0%} to {high:.0%} of the area",
            f"the smallest is about {max(10, round(low**0.5 * vit.img_size))} pixels of the shrunk picture wide: less "
            "shows nothing",
        ),
        Choice(
            "prototypes",
            f"{config.n_prototypes}",
            f"as many as the teacher's class tokens in a step, 2 x {batch}, which have to be spread over them",
        ),
        Choice(
            "momentum",
            f"{config.momentum[0]:g} to 1",
            f"the teacher remembers about {memory:.0f} of {steps:,} steps; the root of the run's length decides",
        ),
        Choice(
            "learning rate",
            f"{config.lr[0]:g}, {config.warmup_steps} steps of warm-up",
            "what the book's own runs of this size had",
        ),
        Choice(
            "teacher temperature",
            f"{config.teacher_temperature[0]:g}",
            "sharper than the paper's 0.04 to 0.07: logits have no time to grow in a short run",
        ),
    )
