"""The hyperparameters of the official repository as configs of ours: the default, and what was published.

They are meant to be read, drawn and compared (chapter 06); no machine that this book was made on can run them. The
recipes of our own runs stand in `dinov2_edu.experiments.presets`.

Source: `dinov2/configs/ssl_default_config.yaml` and `dinov2/configs/train/vitg14.yaml` @ b8931f7; paper, appendix B.1
and table 16.
"""

from dataclasses import replace

from dinov2_edu.checks import checked
from dinov2_edu.crops import official_code_crops
from dinov2_edu.schedules import scaled_lr
from dinov2_edu.training import TrainConfig
from dinov2_edu.vit import ViTConfig

EPOCH = 1250
"""Steps that the official configs call an epoch, whatever the data (`OFFICIAL_EPOCH_LENGTH`)."""


@checked
def default_recipe(batch_size: int = 1024) -> TrainConfig:
    """`ssl_default_config.yaml`: a ViT-L/16, one shared head, centering, 125,000 steps. Not what was published.

    Args:
        batch_size: images a step over all GPUs; the learning rate, 0.004 at 1,024, goes with its square root.

    Source: `dinov2/configs/ssl_default_config.yaml` @ b8931f7.
    """
    return TrainConfig(
        vit=ViTConfig(img_size=224, patch_size=16, width=1024, depth=24, heads=16, drop_path=0.3),
        crops=replace(official_code_crops(), local_size=96),
        n_prototypes=65_536,
        head_hidden=2048,
        head_bottleneck=256,
        separate_heads=False,
        targets="centering",
        teacher_temperature=(0.04, 0.07),
        teacher_temperature_steps=30 * EPOCH,
        momentum=(0.992, 1.0),
        lr=(scaled_lr(0.004, batch_size), 1e-6),
        warmup_steps=10 * EPOCH,
        weight_decay=(0.04, 0.4),
        layer_decay=0.9,
        patch_embed_multiplier=0.2,
        clip=3.0,
        freeze_last_layer_steps=EPOCH,
        batch_size=batch_size,
        steps=100 * EPOCH,
    )


@checked
def published_recipe(batch_size: int = 3072) -> TrainConfig:
    """`vitg14.yaml`, the recipe of the published ViT-g/14: heads apart, Sinkhorn-Knopp, 625,000 steps.

    `vitl14.yaml` differs in the backbone's sizes and the batch of a GPU alone. (The released ViT-S, B and L were
    distilled from the ViT-g, so no recipe here made them.)

    Args:
        batch_size: images a step over all GPUs; the learning rate, 0.0002 at 1,024, goes with its square root.

    Source: `dinov2/configs/train/vitg14.yaml` @ b8931f7; paper, appendix B.1 and table 16.
    """
    return replace(
        default_recipe(batch_size),
        vit=ViTConfig(
            img_size=224, patch_size=14, width=1536, depth=40, heads=24, ffn="swiglu", drop_path=0.4
        ),
        crops=official_code_crops(),
        n_prototypes=131_072,
        head_bottleneck=384,
        ibot_bottleneck=256,
        separate_heads=True,
        targets="sinkhorn_knopp",
        momentum=(0.994, 1.0),
        lr=(scaled_lr(0.0002, batch_size), 1e-6),
        warmup_steps=80 * EPOCH,
        weight_decay=(0.04, 0.2),
        layer_decay=1.0,
        steps=500 * EPOCH,
    )
