"""Two runs to start from; `dataclasses.replace` changes what you like."""

from dataclasses import replace

from dinov2_edu.crops import small_image_crops
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.vit import ViTConfig


def patterns10_run() -> TrainConfig:
    """A tiny ViT on Patterns10, for two CPU cores: width 96, 3 blocks, patch 8; 1,400 steps of 64 images.

    Reached: 84.5 % k-NN accuracy (seed 0; 2,000 test pictures, 5,000 labelled neighbours), where pixels have 20.9 %
    and random weights 28.5 %.

    What a run this small needed, against the paper's settings: initial weights of 0.06 instead of 0.02, so that the
    class token sees the patches at all; 32 prototypes, because a batch of 64 images cannot balance many; a sharper
    teacher (0.02), because the logits have no time to grow; a teacher that lags less (0.9); a weak KoLeo (0.02),
    because six of 64 images share a texture, and pushing nearest neighbours apart pushes those apart.
    """
    return TrainConfig(
        vit=ViTConfig(img_size=32, patch_size=8, width=96, depth=3, heads=3, layer_scale=None, init_std=0.06),
        crops=replace(small_image_crops(), blur=(0.0, 0.0, 0.0), n_local=4, local_scale=(0.15, 0.4)),
        n_prototypes=32,
        head_hidden=256,
        head_bottleneck=64,
        targets="sinkhorn",
        lr=(3e-3, 1e-5),
        warmup_steps=60,
        weight_decay=(0.04, 0.1),
        teacher_temperature=(0.02, 0.02),
        teacher_temperature_steps=0,
        ibot_weight=0.3,
        koleo_weight=0.02,
        momentum=(0.9, 1.0),
        batch_size=64,
        steps=1400,
    )


def cifar10_run() -> TrainConfig:
    """ViT of width 192, 12 blocks and patch 4 on CIFAR-10's training images, for a GPU with bfloat16.

    Not yet run to its end, so what it reaches is unknown, and the book ships no checkpoint of it.
    """
    return TrainConfig(
        vit=ViTConfig(img_size=32, patch_size=4, width=192, depth=12, heads=3, layer_scale=None),
        crops=replace(small_image_crops(), blur=(0.0, 0.0, 0.0)),
        targets="sinkhorn",
        separate_heads=True,
        lr=(1e-3, 1e-6),
        weight_decay=(0.04, 0.2),
        momentum=(0.996, 1.0),
        teacher_temperature_steps=3000,
        warmup_steps=1000,
        batch_size=512,
        steps=30_000,
        precision="bfloat16",
    )


PRESETS = {"patterns10": patterns10_run, "cifar10": cifar10_run}
