"""Runs to start from; `dataclasses.replace` changes what you like."""

from dataclasses import replace

from dinov2_edu.checks import checked, require
from dinov2_edu.crops import small_image_crops
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.vit import BOOK_VIT, ViTConfig


def patterns10_run() -> TrainConfig:
    """A tiny ViT on Patterns10, for two CPU cores: width 96, 3 blocks, patch 8; 1,700 steps of 64 images.

    Reached: 89.0 % k-NN accuracy (seed 0; 2,000 test pictures, 5,000 labelled neighbours), where pixels have 20.9 %
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
        targets="sinkhorn_knopp",
        lr=(3e-3, 1e-5),
        warmup_steps=60,
        weight_decay=(0.04, 0.1),
        teacher_temperature=(0.02, 0.02),
        teacher_temperature_steps=0,
        ibot_weight=0.3,
        koleo_weight=0.02,
        momentum=(0.9, 1.0),
        batch_size=64,
        steps=1700,
    )


def cifar10_run() -> TrainConfig:
    """The first of the four runs behind the book's own checkpoint: a small ViT on CIFAR-10, for two CPU cores.

    Width 128, 6 blocks, patch 4. Global crops have 16 pixels, a fourth of the patches of a whole picture: so a
    step costs a fourth too, and the teacher is of use at 32 pixels all the same. Attention and positions start
    mimetic, because a run this short does not get far beyond finding them. `cifar10_second_run`,
    `cifar10_third_run` and `cifar10_last_run` go on from here. The model card beside the checkpoint says what was
    reached.
    """
    return TrainConfig(
        vit=BOOK_VIT,
        crops=replace(
            small_image_crops(),
            global_size=16,
            local_size=8,
            n_local=4,
            local_scale=(0.1, 0.35),
            blur=(0.0, 0.0, 0.0),
        ),
        n_prototypes=256,
        head_hidden=256,
        head_bottleneck=64,
        targets="sinkhorn_knopp",
        ibot_weight=0.3,
        koleo_weight=0.02,
        lr=(2.5e-3, 1e-5),
        warmup_steps=100,
        weight_decay=(0.04, 0.1),
        momentum=(0.95, 1.0),
        teacher_temperature=(0.03, 0.03),
        teacher_temperature_steps=0,
        patch_embed_multiplier=0.5,
        batch_size=128,
        steps=6000,
    )


def cifar10_second_run() -> TrainConfig:
    """A second round of the book's own run: from the weights of `cifar10_run`, the learning rate up again and down.

    When the first round ended, k-NN accuracy had stopped because the learning rate had. Crops are a little
    tighter here, so that things on them are nearer to the size they have on a whole picture. Start it with
    `start_from`, or `--start-from` on the command line.
    """
    config = cifar10_run()
    return replace(
        config,
        crops=replace(config.crops, global_scale=(0.2, 1.0)),
        lr=(2e-3, 1e-5),
        warmup_steps=200,
        momentum=(0.96, 1.0),
        seed=1,
        steps=8000,
    )


def cifar10_third_run() -> TrainConfig:
    """A third round of the book's own run, with fresh heads of four times the prototypes, and twice the batch.

    When the second round ended, k-NN accuracy stood still; with all of this, and a higher learning rate, it rose again
    while that rate was still near its top. Start it with `start_from(..., fresh_heads=True)`, or
    `--start-from FOLDER --fresh-heads`.
    """
    config = cifar10_second_run()
    return replace(
        config,
        n_prototypes=1024,
        lr=(2.5e-3, 1e-5),
        warmup_steps=250,
        momentum=(0.97, 1.0),
        batch_size=256,
        seed=2,
        steps=4800,
    )


def cifar10_last_run() -> TrainConfig:
    """The last phase of the book's own run: crops of 24 and 12 pixels, as DINOv2's last steps see larger pictures.

    On crops of 16 pixels things are smaller than on a whole picture of 32, and of the sizes tried the third round's
    backbone does best on pictures of 24. Here a crop shows things about as large as the whole picture does. A step
    costs twice as much, so it is short, with a smaller learning rate and a slower teacher. Start it with `start_from`,
    or `--start-from` on the command line: the heads stay.
    """
    config = cifar10_third_run()
    return replace(
        config,
        crops=replace(config.crops, global_size=24, local_size=12),
        lr=(1e-3, 1e-5),
        warmup_steps=100,
        momentum=(0.985, 1.0),
        seed=3,
        steps=1250,
    )


def cifar10_gpu_run() -> TrainConfig:
    """CIFAR-10 for one GPU and some ten minutes: width 192, 9 blocks (4 M parameters), whole crops, large batches.

    Nobody has run it to its end yet; `tools/gpu_session.py` sets its length by the GPU's speed.
    """
    config = cifar10_run()
    return replace(
        config,
        vit=replace(config.vit, width=192, depth=9, heads=3),
        crops=replace(config.crops, global_size=32, local_size=16, n_local=6, global_scale=(0.2, 1.0)),
        n_prototypes=4096,
        head_hidden=1024,
        head_bottleneck=128,
        lr=(2e-3, 1e-5),
        warmup_steps=400,
        momentum=(0.99, 1.0),
        precision="auto",
        batch_size=1024,
        steps=8000,
    )


@checked
def with_steps(config: TrainConfig, steps: int | None) -> TrainConfig:
    """A config cut or stretched to as many steps as a command's `--steps` asks for; as it is where that is None.

    Raises:
        ValueError: the warm-up leaves nothing of them.
    """
    if steps is None:
        return config
    require(
        steps > config.warmup_steps,
        f"--steps must be above the {config.warmup_steps} steps of this run's warm-up, got {steps}",
    )
    return replace(config, steps=steps)


PRESETS = {
    "patterns10": patterns10_run,
    "cifar10": cifar10_run,
    "cifar10-second": cifar10_second_run,
    "cifar10-third": cifar10_third_run,
    "cifar10-last": cifar10_last_run,
    "cifar10-gpu": cifar10_gpu_run,
}
