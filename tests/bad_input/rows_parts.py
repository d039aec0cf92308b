"""Rows for the parts and the ground: losses, schedules, the teacher, heads, masks, the backbone, crops, files."""

import hashlib
import io

import torch
from kinds import (
    BYTES,
    IMAGES,
    NAN,
    above_zero,
    config,
    draw,
    flag,
    function,
    generator,
    images,
    one_of,
    optional_generator,
    pair,
    pixels,
    probs,
    ranged,
    real,
    refuses,
    share,
    tensor,
    text,
    three,
    whole,
)
from torch import nn

from dinov2_edu import crops, ema, files, heads, losses, masking, numerics, palette, schedules, vit
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.vit.mimetic import sinusoidal_positions

# losses

LOGITS = torch.linspace(-1, 1, 6).reshape(2, 3)
PROBS = LOGITS.softmax(-1)
VIEWS = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
MASKS = torch.tensor([[True, False], [True, False]])

refuses(
    losses.center_targets,
    {"teacher_logits": LOGITS, "center": torch.zeros(3), "temperature": 0.07},
    teacher_logits=tensor("(..., k: prototypes)", 2)[:4],
    center=[
        *tensor("(k: prototypes,)", 1),
        (torch.zeros(4), r"^center: .* with k = 3 as in teacher_logits, got .*\(4,\)"),
    ],
    temperature=above_zero(),
)
refuses(
    losses.update_center,
    {"center": torch.zeros(3), "teacher_logits_mean": torch.ones(3), "momentum": 0.9},
    center=tensor("(k: prototypes,)", 1),
    teacher_logits_mean=[*tensor("(k: prototypes,)", 1), (torch.zeros(4), "with k = 3 as in center")],
    momentum=share(),
)
refuses(
    losses.sinkhorn_knopp,
    {"teacher_logits": LOGITS, "temperature": 0.07, "n_iterations": 3, "all_reduce": None},
    teacher_logits=tensor("(m: rows, k: prototypes)", 2),
    temperature=above_zero(),
    n_iterations=whole(),
    all_reduce=function(),
)
refuses(
    losses.cross_entropy,
    {"student_logits": LOGITS, "teacher_probs": PROBS, "student_temperature": 0.1},
    student_logits=tensor("(..., k: prototypes)", 2)[:4],
    teacher_probs=[
        *probs(),
        (PROBS[:, :2], "with k = 3 as in student_logits"),
        (PROBS[:1], r"with \.\.\. = \(2,\) as in student_logits"),
    ],
    student_temperature=above_zero(),
)
refuses(
    losses.dino_loss,
    {"student_logits": VIEWS, "teacher_probs": VIEWS.softmax(-1), "temperature": 0.1, "skip_same_view": True},
    student_logits=[
        *tensor("(student_views, b: images, k: prototypes)", 3),
        (VIEWS[:, :2], "teacher_probs: .* with b = 2 as in student_logits"),
    ],
    teacher_probs=[*probs(3), (VIEWS[..., :2].softmax(-1), "with k = 4 as in student_logits")],
    temperature=above_zero(),
    skip_same_view=flag(),
)
refuses(
    losses.ibot_loss,
    {"student_logits": LOGITS, "teacher_probs": PROBS, "masks": MASKS, "temperature": 0.1},
    student_logits=tensor("(m: rows, k: prototypes)", 2),
    teacher_probs=[*probs(), (PROBS[:1], "with m = 2 as in student_logits")],
    masks=[
        (
            MASKS.float(),
            r"^masks: wanted a bool tensor of shape \(b: images, n\), True = masked, got .*use .bool\(\)",
        ),
        (MASKS[0], r"got a bool tensor of shape \(2,\)"),
        (~MASKS | MASKS, "one row for each of the 4 masked patches"),
        (MASKS[:0], "wanted at least one image"),
    ],
    temperature=above_zero(),
)
refuses(
    losses.koleo_loss,
    {"features": LOGITS, "eps": 1e-8},
    features=[
        *tensor("(b: images, d: width)", 2),
        (LOGITS[:1], "at least 2 images, got 1: use a larger batch"),
    ],
    eps=above_zero(),
)
refuses(losses.entropy, {"probs": PROBS}, probs=[*probs(), *tensor("(..., k: prototypes)", 2)[:4]])
refuses(
    losses.kl_divergence,
    {"teacher_probs": PROBS, "student_probs": PROBS},
    teacher_probs=probs(),
    student_probs=[*probs(), (PROBS[:, :2], "with k = 3 as in teacher_probs")],
)

# schedules, ema, heads

refuses(
    schedules.cosine_schedule,
    {"start": 1.0, "end": 0.0, "n_steps": 9, "warmup_steps": 2},
    start=real(),
    end=real(),
    n_steps=whole(),
    warmup_steps=[
        *whole(0, "warmup_steps must be at least 0 and fit.*got -1"),
        (10, "fit into n_steps = 9, got 10"),
    ],
)
refuses(
    schedules.linear_schedule,
    {"start": 1.0, "end": 0.0, "n_steps": 9, "n_total": 12},
    start=real(),
    end=real(),
    n_steps=whole(0),
    n_total=whole(),
)
refuses(schedules.scaled_lr, {"base": 0.1, "batch_size": 64}, base=real(), batch_size=whole())
refuses(
    schedules.parameter_multipliers,
    {"model": nn.Linear(2, 2), "layer_decay": 0.9, "patch_embed_multiplier": 0.2},
    model=[(None, "^model: wanted a torch.nn.Module, got None"), ({}, "^model: wanted a torch.nn.Module")],
    layer_decay=real((0.0, "^layer_decay must be above 0 and at most 1, got 0"), (1.5, "at most 1, got 1.5")),
    patch_embed_multiplier=real((-0.1, "^patch_embed_multiplier must be at least 0, got -0.1")),
)
refuses(
    ema.make_teacher, {"student": nn.Linear(2, 2)}, student=[(None, "^student: wanted a torch.nn.Module")]
)
refuses(
    ema.update_teacher,
    {"teacher": nn.Linear(2, 2), "student": nn.Linear(2, 2), "momentum": 0.9},
    teacher=[
        (nn.Linear(3, 2), "parameter 'weight' is a float32 tensor .* in the teacher"),
        (None, "torch.nn.Module"),
    ],
    student=[(nn.Linear(2, 2, bias=False), "parameter 'bias' is in the teacher and not in the student")],
    momentum=share(),
)
HEAD = heads.ProjectionHead(4, 3, hidden_dim=5, bottleneck_dim=2)
refuses(
    heads.Prototypes, {"bottleneck_dim": 2, "n_prototypes": 3}, bottleneck_dim=whole(), n_prototypes=whole()
)
refuses(HEAD.last_layer.forward, {"units": torch.rand(2, 2)}, units=tensor("(..., e)", 2)[:4])
refuses(
    heads.ProjectionHead,
    {"in_dim": 4, "n_prototypes": 3, "hidden_dim": 5, "bottleneck_dim": 2, "n_layers": 3},
    in_dim=whole(),
    n_prototypes=whole(),
    hidden_dim=whole(),
    bottleneck_dim=whole(),
    n_layers=whole(),
)
for call in (HEAD.forward, HEAD.bottleneck):
    wrong = [
        (
            torch.rand(2, 5),
            r"^tokens: wanted a tensor of shape \(..., 4\), got a float32 tensor of shape \(2, 5\)",
        )
    ]
    refuses(call, {"tokens": torch.rand(2, 4)}, tokens=[*tensor("(..., d: width)", 2)[:4], *wrong])

# masking

refuses(
    masking.block_masks,
    {
        "asked": torch.tensor([3]),
        "grid": (4, 4),
        "generator": draw(),
        "min_patches": 1,
        "aspect": (0.3, 3),
    },
    asked=[
        (3, "^asked: wanted an integer tensor"),
        (torch.tensor([3.0]), r"float32 tensor of shape \(1,\): use .long\(\)"),
        (torch.tensor([[3]]), r"got an int64 tensor of shape \(1, 1\)"),
        (torch.tensor([17]), "counts from 0 to 16 .*got 17 to 17"),
        (torch.tensor([-1]), "counts from 0 to 16 .*got -1 to -1"),
    ],
    grid=[
        *pair("whole numbers"),
        (4, "^grid: wanted 2 whole numbers, got 4"),
        ((1, 4), "needs 2 x 2 patches"),
    ],
    generator=generator(),
    min_patches=whole(),
    aspect=ranged(),
)
refuses(
    masking.mask_batch,
    {"n_crops": 4, "grid": (4, 4), "generator": draw(), "ratio": (0.1, 0.5), "probability": 0.5},
    n_crops=whole(),
    grid=pair("whole numbers"),
    generator=generator(),
    ratio=[
        *pair(),
        ((0.5, 0.1), "^ratio must be"),
        ((-0.1, 0.5), "^ratio must be"),
        ((0.1, 1.5), "^ratio must be"),
    ],
    probability=share(),
)

# vit

CONFIG = ViTConfig(img_size=28, patch_size=7, width=8, depth=2, heads=2, drop_path=0.5)
MODEL = VisionTransformer(CONFIG).eval()
PATCH_MASK = torch.zeros(2, 4, dtype=torch.bool)
masks = [
    (PATCH_MASK.float(), r"^masks: wanted a bool tensor of shape .*True = masked"),
    (PATCH_MASK[:1], "^masks: .*b = 2 as in images"),
    (
        PATCH_MASK[:, :3],
        r"^masks: wanted a bool tensor of shape \(2, 4\), True = masked, got a bool tensor of shape \(2, 3\)",
    ),
]
tiled = [(IMAGES[..., :13], "multiples of the patch size 7, got 14 x 13: resize or crop to 14 x 14")]
refuses(
    ViTConfig,
    vars(CONFIG),
    **{name: whole() for name in ("img_size", "patch_size", "in_channels", "width", "depth", "heads")},
    mlp_ratio=above_zero(),
    ffn=one_of("mlp", "swiglu"),
    n_registers=whole(0),
    layer_scale=real(),
    drop_path=real(
        (1.0, r"^drop_path must lie in \[0, 1\), got 1.0"), (-0.1, r"^drop_path must lie in \[0, 1\)")
    ),
    init_std=above_zero(),
    init=one_of("official", "mimetic"),
    interpolate_offset=real((-0.1, "^interpolate_offset must be at least 0")),
    interpolate_antialias=flag(),
)
refuses(ViTConfig, vars(CONFIG), img_size=[(30, "img_size 30 is not a multiple of patch_size 7")])
refuses(ViTConfig, vars(CONFIG), heads=[(3, "width 8 is not a multiple of heads 3")])
refuses(VisionTransformer, {"config": CONFIG}, config=config("ViTConfig"))
refuses(MODEL.embed, {"images": IMAGES, "masks": PATCH_MASK}, images=[*images(), *tiled], masks=masks)
refuses(
    MODEL.forward,
    {"images": IMAGES, "masks": PATCH_MASK, "generator": draw()},
    images=[
        *tensor("(b: images, c: channels, height, width)", 4)[1:4],
        *images()[3:],
        *tiled,
        ("a.jpg", "got 'a.jpg'"),
    ],
    masks=[*masks[1:], ([None], "^masks: ")],
    generator=optional_generator(),
)
refuses(
    MODEL.tokens_at,
    {"images": IMAGES, "patch_indices": torch.tensor([0, 7]), "masks": PATCH_MASK, "generator": draw()},
    images=[*images(), *tiled],
    patch_indices=[
        (torch.tensor([8]), "^patch_indices must lie in 0 to 7, got 8 to 8"),
        (torch.tensor([-1]), "^patch_indices must lie in 0 to 7, got -1 to -1"),
        (torch.tensor([1.0]), r"^patch_indices: wanted an integer tensor of shape \(m: rows,\)"),
        ([0, 1], "use torch.as_tensor"),
    ],
    masks=masks,
    generator=optional_generator(),
)
layer = [(2, "layer 2 does not exist: this backbone has blocks 0 to 1"), (-3, "layer -3 does not exist")]
refuses(
    MODEL.intermediate_layers,
    {"images": IMAGES, "layers": [0, -1], "norm": True},
    images=[*images(), *tiled],
    layers=[
        ([], "layers is empty"),
        (1, "^layers: wanted a list of whole numbers, got 1"),
        ([0.5], "got .0.5"),
        ([2], layer[0][1]),
    ],
    norm=flag(),
)
refuses(
    MODEL.attention_maps,
    {"images": IMAGES, "layer": -1},
    images=[*images(), *tiled],
    layer=[*whole(None), *layer],
)
for preset in (vit.vit_tiny, vit.vit_small, vit.vit_base, vit.vit_large, vit.vit_giant2):
    refuses(
        preset,
        {},
        run=False,
        depth=whole(),
        ffn=one_of("mlp", "swiglu")[:1],
    )
refuses(
    vit.fingerprint,
    {"model": MODEL},
    model=[(None, "^model: wanted a torch.nn.Module"), (MODEL.state_dict(), "Module")],
)
refuses(
    vit.stochastic_depth,
    {"tokens": torch.rand(4, 3, 8), "branch": torch.zeros_like, "drop": 0.5, "generator": draw()},
    tokens=tensor("(b: images, t: tokens, d: width)", 3),
    branch=function(),
    drop=real((1.0, r"^drop must lie in \[0, 1\)"), (-0.5, r"^drop must lie in \[0, 1\)")),
    generator=optional_generator(),
)

# crops

FACTORS = torch.ones(2)
factors = [
    (1.0, "^NAME: wanted a floating-point tensor"),
    (torch.ones(3), r"^NAME: .* with b = 2 as in images, got .*\(3,\)"),
    (torch.ones(2).long(), r"an int64 tensor .*use .float\(\)"),
    (torch.tensor([1.0, NAN]), "not a finite number"),
]
for operation in (crops.adjust_brightness, crops.adjust_contrast, crops.adjust_saturation):
    refuses(operation, {"images": IMAGES, "factors": FACTORS}, images=pixels(), factors=factors)
refuses(crops.adjust_hue, {"images": IMAGES, "turns": FACTORS}, images=pixels(), turns=factors)
refuses(crops.grayscale, {"images": IMAGES}, images=pixels())
refuses(crops.solarize, {"images": IMAGES, "threshold": 0.5}, images=pixels(), threshold=real())
STATISTICS = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
std = [
    *three(),
    ((0.2, 0.2, 0.0), "std must be above 0"),
    ((0.2, 0.2), "three numbers each|wanted 3 finite numbers"),
]
mean = [*three(), ((0.5, 0.5), "three numbers each|wanted 3 finite numbers")]
refuses(crops.normalize, {"images": IMAGES, **STATISTICS}, images=pixels(), mean=mean, std=std)
refuses(crops.denormalize, {"images": IMAGES, **STATISTICS}, images=images(), mean=mean, std=std)
refuses(
    crops.gaussian_blur,
    {"images": IMAGES, "sigmas": FACTORS, "kernel_size": 5},
    images=pixels(),
    sigmas=[
        *factors[:3],
        (torch.tensor([1.0, 0.0]), "sigmas must be above 0, got 0"),
        (torch.tensor([1.0, NAN]), "sigmas"),
    ],
    kernel_size=[
        *whole(None),
        (4, "odd whole number.*got 4"),
        (31, "images of at least 16 pixels a side, got 14"),
    ],
)
scale = [*ranged(), ((0.1, 1.5), "^NAME must be .*at most 1, got")]
refuses(
    crops.sample_boxes,
    {"n": 3, "size": (8, 8), "scale": (0.1, 1.0), "ratio": (0.75, 1.3), "generator": draw()},
    n=whole(0),
    size=[*pair("whole numbers"), ((0, 8), "^size must be .* at least 1 each, got")],
    scale=scale,
    ratio=ranged(),
    generator=generator(),
)
refuses(
    crops.boxes_from_uniform,
    {
        "uniforms": torch.rand(3, 22, generator=draw()),
        "size": (8, 8),
        "scale": (0.1, 1.0),
        "ratio": (0.75, 1.3),
    },
    uniforms=[
        *tensor("(n, 22)", 2),
        (torch.ones(3, 22), "uniforms must lie in 0 to 1"),
        (-torch.ones(3, 22), "in 0 to 1"),
    ],
    size=pair("whole numbers"),
    scale=scale,
    ratio=ranged(),
)
BOX = torch.tensor([[0.0, 0.0, 4.0, 4.0]] * 2)
refuses(
    crops.crop_and_resize,
    {"images": IMAGES, "boxes": BOX, "size": 4, "flips": torch.tensor([True, False])},
    images=[
        (IMAGES * 255, "must lie in 0 to 1"),
        (IMAGES[0], "add the batch axis"),
        (IMAGES.long(), "got an int64 tensor"),
    ],
    boxes=[
        (BOX[:1], "^boxes: .* with b = 2 as in images"),
        (BOX[:, :3], r"^boxes: .*\(b: images, 4: top, left, height, width\)"),
        (BOX + 11, "must lie inside the 14 x 14 image"),
        (BOX * NAN, "must lie inside the 14 x 14 image"),
        (BOX.tolist(), "use torch.as_tensor"),
    ],
    size=whole(1, "size must be at least 1, got 0"),
    flips=[(torch.ones(2), r"use .bool\(\)"), (torch.ones(3).bool(), "with b = 2 as in images")],
)
refuses(
    crops.resize,
    {"images": IMAGES, "size": (4, 4)},
    images=[
        (IMAGES * 255, "must lie in 0 to 1"),
        (IMAGES[0], "add the batch axis"),
        (IMAGES.long(), "got an int64 tensor"),
    ],
    size=[
        *pair("whole numbers"),
        (0, "must be at least 1, got 0"),
        ((4, 0), "must be at least 1, got 0"),
    ],
)
refuses(
    crops.resize_matrix,
    {"starts": torch.zeros(2), "lengths": torch.full((2,), 4.0), "sides": (8, 4), "flips": None},
    starts=tensor("(n,)", 1),
    lengths=[*tensor("(n,)", 1), (torch.ones(3), "with n = 2 as in starts")],
    sides=[*pair("whole numbers"), ((0, 4), r"sides \(old, new\) must be at least 1 pixel")],
    flips=[(torch.ones(2), r"use .bool\(\)")],
    interpolation=one_of("bilinear", "bicubic"),
    antialias=flag(),
)
CROPS = crops.CropConfig()
refuses(
    crops.CropConfig,
    vars(CROPS),
    global_size=whole(1, "global_size must be at least 1, got 0"),
    local_size=whole(1, "local_size must be at least 1, got 0"),
    n_local=whole(0),
    global_scale=scale,
    local_scale=scale,
    ratio=ranged(),
    **{name: share() for name in ("flip", "jitter", "grayscale", "solarize")},
    blur=[
        *three(),
        ((0.5, 0.5), "3 finite numbers"),
        ((0.5, 0.5, 2.0), "blur must lie between 0 and 1, got 2.0"),
    ],
    blur_sigma=ranged(),
    blur_kernel=[*whole(None), (8, "odd whole number.*got 8"), (999, "larger crops")],
    mean=mean,
    std=std,
)
refuses(
    crops.augment,
    {"views": IMAGES, "config": CROPS, "kind": "local", "generator": draw()},
    views=pixels(),
    config=config("CropConfig"),
    kind=one_of("global1", "global2", "local"),
    generator=generator(),
)
SMALL = crops.CropConfig(global_size=14, local_size=7, n_local=1, blur_kernel=3)
refuses(
    crops.multi_crop,
    {"images": BYTES, "config": SMALL, "generator": draw()},
    images=[
        (IMAGES, r"wanted bytes \(uint8\).*use \(255 \* images\).round\(\).byte\(\)"),
        *images("uint8")[2:6],
        ([], "a picture or a list of some"),
        ("no.jpg", "no.jpg: there is no such file"),
        (3, "^images: wanted .*a picture, got 3"),
    ],
    config=config("CropConfig"),
    generator=generator(),
)

refuses(vit.PatchEmbed, {"config": ViTConfig()}, config=config("ViTConfig"))
refuses(sinusoidal_positions, {"side": 2, "width": 8}, side=whole(), width=whole())
for part in (vit.Mlp, vit.SwiGLU):
    refuses(part, {"width": 8, "hidden": 16}, width=whole(), hidden=whole())

# the ground

refuses(
    numerics.best_precision,
    {"device": "cpu"},
    device=[(None, "^device: wanted a torch.device or a string, got None"), (0, "got 0")],
)

refuses(numerics.stream, {"purpose": "crops"}, purpose=text())
refuses(palette.role_colour, {"name": "teacher"}, name=text())
for call in (files.local_path, files.last_name, files.write_whole):
    more = {"content": b""} if call is files.write_whole else {}
    refuses(
        call,
        {"path": "x", **more},
        run=False,
        path=[(3, "^path: wanted a string or a path, got 3"), (None, "got None")],
    )
refuses(
    files.write_whole, {"path": "x", "content": b""}, run=False, content=[(3, "^content: wanted .*, got 3")]
)
refuses(
    files.hash_blocks,
    {"digest": hashlib.sha256(), "file": io.BytesIO()},
    run=False,
    file=[("x", "^file: wanted .*, got 'x'"), (None, "got None"), (io.StringIO(), "^file: wanted ")],
)
refuses(
    files.hold_folder,
    {"folder": "x", "content": "a run"},
    run=False,
    folder=[(3, "^folder: wanted a string or a path, got 3"), (None, "got None")],
    content=text(),
    wait_s=[("long", "^wait_s: wanted "), (float("nan"), "^wait_s: wanted ")],
    elsewhere=text(),
)
refuses(
    files.write_together,
    {"folder": "x", "contents": {"a": b""}},
    run=False,
    folder=[(3, "^folder: wanted a string or a path, got 3"), (None, "got None")],
    contents=[
        ([], "^contents: wanted "),
        ({"a": 3}, "^contents: wanted "),
        ({}, "^contents is empty: name at least one file"),
    ],
)
