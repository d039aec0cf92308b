"""Rows for *learn it*: the config, the state, the step, the loop, checkpoints, the diagnosis."""

from dataclasses import replace

import torch
from kinds import (
    BYTES,
    IMAGES,
    NAN,
    above_zero,
    config,
    device,
    draw,
    flag,
    function,
    generator,
    images,
    optional_generator,
    pair,
    real,
    refuses,
    share,
    tensor,
    text,
    whole,
)
from torch import nn

from dinov2_edu import training
from dinov2_edu.crops import CropConfig
from dinov2_edu.training import TrainConfig, cost
from dinov2_edu.training.doctor import examine, read_log
from dinov2_edu.training.state import Schedules
from dinov2_edu.vit import ViTConfig

TINY = TrainConfig(
    vit=ViTConfig(img_size=14, patch_size=7, width=8, depth=1, heads=2),
    crops=CropConfig(global_size=14, local_size=7, n_local=1, blur_kernel=3),
    n_prototypes=4,
    head_hidden=8,
    head_bottleneck=4,
    batch_size=2,
    steps=3,
    warmup_steps=1,
    teacher_temperature_steps=1,
)
FIELDS = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
STATE = training.build_state(TINY)
BATCH = training.draw_batch(BYTES, TINY, draw())
state = [
    (None, "^NAME: wanted a TrainState, got None"),
    (STATE.student, "^NAME: wanted a TrainState, got Network"),
]
batch = [(None, "^batch: wanted a Batch, got None"), (BYTES, "^batch: wanted a Batch, got a uint8 tensor")]

refuses(
    TrainConfig,
    FIELDS,
    vit=config("ViTConfig"),
    crops=config("CropConfig"),
    n_prototypes=whole(2, r"^n_prototypes must be at least 2 \(one leaves nothing to choose from\), got 1"),
    ibot_bottleneck=[
        (0, "^ibot_bottleneck must be at least 1, got 0"),
        (1.5, "^ibot_bottleneck: wanted a whole number"),
    ],
    **{name: whole() for name in ("head_hidden", "head_bottleneck", "batch_size", "steps")},
    **{
        name: whole(0)
        for name in ("warmup_steps", "teacher_temperature_steps", "freeze_last_layer_steps", "seed")
    },
    separate_heads=flag(),
    targets=[*text(), ("swav", "^targets must be .*got 'swav'")],
    precision=[*text(), ("float8", "^precision must be .*got 'float8'")],
    **{
        name: real((-1.0, "^NAME must be at least 0, got -1.0"))
        for name in ("dino_weight", "ibot_weight", "koleo_weight")
    },
    mask_ratio=[
        *pair(),
        ((0.5, 0.1), "^mask_ratio must be"),
        ((0.1, 1.5), "^mask_ratio must lie between 0 and 1, got 1.5"),
    ],
    mask_probability=share(),
    student_temperature=above_zero(),
    teacher_temperature=[*pair(), ((0.0, 0.07), "^teacher_temperature must be a finite number above 0")],
    momentum=[*pair(), ((0.9, 1.1), "^momentum must lie between 0 and 1, got 1.1")],
    center_momentum=share(),
    lr=[
        *pair(),
        ((1e-3, -1.0), "the last learning rate must be at least 0, got -1.0"),
        ((0.0, 0.0), "the highest learning rate"),
    ],
    weight_decay=[*pair(), ((0.04, -1.0), "^weight_decay must be at least 0")],
    layer_decay=real(
        (0.0, "^layer_decay must be above 0 and at most 1, got 0"),
        (1.5, "^layer_decay must be above 0 and at most 1"),
    ),
    patch_embed_multiplier=real((-1.0, "^patch_embed_multiplier must be at least 0, got -1")),
    clip=above_zero(),
    compile=flag(),
)
refuses(TrainConfig, FIELDS, steps=[(1, "warmup_steps 1 leave nothing of 1 steps: shorten the warm-up")])
refuses(TrainConfig, FIELDS, seed=[(2**32, r"seed must lie between 0 and 2\*\*32 - 1, got 4294967296")])
refuses(TrainConfig, FIELDS, batch_size=[(1, "KoLeo needs at least 2 images a batch")])
refuses(TrainConfig, FIELDS, vit=[(replace(TINY.vit, in_channels=1), "vit.in_channels must be 3, got 1")])
refuses(
    TrainConfig,
    FIELDS,
    crops=[(replace(TINY.crops, local_size=8), "crops.local_size 8 is not a multiple of the patch size 7")],
)
refuses(
    TrainConfig.from_dict,
    {"values": TINY.to_dict()},
    values=[({"steps": 3, "joy": 1}, "TrainConfig has no field joy"), ({"lr": 3}, "^lr: wanted")],
)
refuses(
    training.build_state, {"config": TINY, "device": "cpu"}, config=config("TrainConfig"), device=device()
)
refuses(training.Network, {"config": TINY}, config=config("TrainConfig"))
VIEWS = {"global_crops": IMAGES, "local_crops": IMAGES[..., :7, :7], "masks": torch.zeros(2, 4).bool()}
refuses(
    STATE.student_network.forward,
    {**VIEWS, "generator": None},
    global_crops=tensor("(g, c: channels, big, big)", 4),
    local_crops=[(IMAGES[0], "axis|shape"), (BYTES[..., :7, :7], "got a uint8 tensor")],
    masks=[
        (torch.zeros(2, 4), r"use .bool\(\)"),
        (torch.zeros(1, 4).bool(), "with g = 2 as in global_crops"),
    ],
    generator=optional_generator(),
)
refuses(
    training.draw_batch,
    {"images": BYTES, "config": TINY, "generator": draw()},
    images=images("uint8")[:6],
    config=config("TrainConfig"),
    generator=generator(),
)
refuses(
    training.compute_losses,
    {"state": STATE, "batch": BATCH, "teacher_temperature": 0.07, "generator": draw()},
    state=state,
    batch=batch,
    teacher_temperature=above_zero(),
    generator=optional_generator(),
)
refuses(
    training.train_step,
    {
        "state": training.build_state(TINY),
        "batch": BATCH,
        "generator": draw(),
        "losses_of": training.compute_losses,
    },
    state=state,
    batch=batch,
    generator=generator(),
    losses_of=function(),
)
refuses(
    training.distill_from,
    {"teacher": STATE.teacher},
    teacher=[
        (None, "^teacher: wanted a Network, got None"),
        (STATE, "^teacher: wanted a Network, got TrainState"),
        (STATE.teacher.backbone, "^teacher: wanted a Network, got VisionTransformer"),
    ],
)
OTHER = replace(TINY, n_prototypes=8)
refuses(
    training.distill_from(STATE.teacher),
    {"state": STATE, "batch": BATCH, "teacher_temperature": 0.07},
    state=[*state, (training.build_state(OTHER), "the student has 8 prototypes, the teacher's heads 4")],
    batch=batch,
    teacher_temperature=above_zero(),
)
refuses(Schedules, {"config": TINY}, config=config("TrainConfig"))
at = Schedules(TINY).at
refuses(at, {"step": 2}, step=[*whole(None), (-1, "^step must lie in 0 to 2, got -1"), (3, "got 3")])
refuses(training.step_generator, {"config": TINY, "step": 0}, config=config("TrainConfig"), step=whole(0))
refuses(
    training.FitOptions,
    vars(training.FitOptions()),
    log_every=whole(),
    evaluate=function(),
    evaluate_every=whole(),
    folder=[(3, "^folder: wanted a string, a path or None, got 3")],
    checkpoint_every=whole(),
    on_log=function(),
    progress=flag(),
    stop_on_collapse=flag(),
)
QUIET = training.FitOptions(progress=False)
refuses(
    training.fit,
    {
        "state": training.build_state(TINY),
        "images": BYTES,
        "options": QUIET,
        "until": 1,
        "losses_of": training.compute_losses,
    },
    state=state,
    images=[*images("uint8")[:6], (BYTES[:1], "batch|images")],
    options=[({"log_every": 1}, "^options: wanted a FitOptions or None")],
    until=whole(0),
    losses_of=function(),
)
refuses(
    training.save_checkpoint,
    {"state": STATE, "path": "x"},
    run=False,
    state=state,
    path=[(3, "^path: wanted a string or a path, got 3"), (None, "^path: wanted a string or a path")],
)
refuses(
    training.load_checkpoint,
    {"path": "x"},
    run=False,
    path=[(3, "^path: wanted a string or a path, got 3")],
    device=device(),
)
refuses(
    training.start_from,
    {"previous": STATE, "config": TINY},
    previous=[(None, "^previous: wanted a TrainState")],
    config=[*config("TrainConfig"), (replace(TINY, n_prototypes=8), "n_prototypes must stay .* 4, got 8")],
)
HISTORY = {name: [1.0, 0.9] for name in ("loss", "target_entropy", "mean_target_entropy", "feature_spread")}
refuses(
    training.diagnose,
    {"history": HISTORY, "n_prototypes": 4},
    history=[
        ({}, "the history is empty: run some steps first"),
        ({"loss": [1.0]}, "lacks 'target_entropy'"),
        ({**HISTORY, "loss": []}, "lacks 'loss'"),
        ([1.0], "^history: wanted a dictionary"),
        ({**HISTORY, "loss": "low"}, "^history: wanted a dictionary"),
    ],
    n_prototypes=whole(2),
)
assert (
    training.diagnose({**HISTORY, "target_entropy": [NAN]}, 4).name == "diverged"
)  # no error: that is what it is for
assert isinstance(STATE.student, nn.Module) and isinstance(BATCH.masks, torch.Tensor)

LOG = '{"iteration": 0, "total_loss": 1.0}'
refuses(
    read_log,
    {"source": LOG},
    source=[
        (None, "^source: wanted a string or a path, got None"),
        (b"{}", "^source: wanted a string or a path, got b'{}'"),
        ("a,b\n1,2\n", "^no loss in this log, only a, b: wanted history.json"),
        (LOG[:-1], "^line 1 of the log is cut off or no JSON"),
    ],
)
refuses(
    examine,
    {"log": read_log(LOG), "n_prototypes": None},
    log=[(LOG, "^log: wanted a Log, got"), (None, "^log: wanted a Log, got None")],
    n_prototypes=whole(2),
)

# cost

RUN = cost.Run(8, 1, batch=2, steps=3)
utilisation = [(0.0, "^utilisation: wanted above 0, at most 1, got 0"), (39.0, "at most 1, got 39")]
wrong_run = [
    (None, "^plan: wanted a Run, got None"),
    ("ViT-S", "^plan: wanted a Run"),
    (RUN._replace(steps=0), "^steps"),
]
refuses(
    cost.flops_of_run,
    {"plan": RUN},
    plan=[*wrong_run, (RUN._replace(drop_path=1.0), "^drop_path: wanted 0 to 1")],
)
refuses(
    cost.gpu_hours,
    {"plan": RUN, "peak": 1.0, "utilisation": 0.5},
    plan=wrong_run,
    peak=above_zero(),
    utilisation=utilisation,
)
refuses(cost.gigabytes, {"plan": RUN, "gpus": 1}, plan=wrong_run[:2], gpus=whole())
