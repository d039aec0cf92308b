"""Rows for *use it*: pictures, data, weights, features, probes."""

from functools import partial

import numpy as np
import torch
from kinds import (
    BYTES,
    IMAGES,
    NAN,
    above_zero,
    device,
    draw,
    flag,
    generator,
    images,
    labels,
    one_of,
    optional_generator,
    real,
    refuses,
    tensor,
    text,
    three,
    whole,
)
from PIL import Image
from torch import nn

from dinov2_edu import data, features, pictures, probe, weights
from dinov2_edu.vit import VisionTransformer, ViTConfig

CONFIG = ViTConfig(img_size=28, patch_size=7, width=8, depth=2, heads=2)
MODEL = VisionTransformer(CONFIG).eval()
PHOTO = Image.new("RGB", (14, 14))
BAD = [(None, "got None"), (3, "^NAME: wanted .*, got 3")]

# probe

ROWS = torch.randn(8, 3, generator=draw())
CLASSES = torch.tensor([0, 1] * 4)
PROBS = torch.tensor([[0.7, 0.3]] * 8)


def rows(other: str = "") -> list:
    """What no rows of features may be."""
    kind = [
        *tensor("(n, d: width)" if not other else "(m: rows, d: width)", 2),
        (ROWS[:0], "no row|with n = 0|with m"),
    ]
    kind = [
        (bad, said) for bad, said in kind if not isinstance(bad, torch.Tensor) or bad.dtype != torch.int64
    ]
    kind += [(ROWS.int(), r"use .float\(\)"), (ROWS * NAN, "8 of 8 rows hold numbers that are not finite")]
    return kind + (
        [(ROWS[:, :2], f"with d = 3 as in {other}")]
        if other
        else [(ROWS[0], r"got a float32 tensor of shape \(3,\)")]
    )


ids = [
    (CLASSES + 10**9, r"labels number classes from 0, got 1000000001: number ids with"),
    (CLASSES - 1, "0 or above, got -1"),
]
pair = {"train": ROWS, "train_labels": CLASSES, "test": ROWS, "test_labels": CLASSES}
refuses(
    probe.nearest,
    {"train": ROWS, "queries": ROWS, "k": 2},
    train=rows(),
    queries=rows("train"),
    k=whole(1, "k must lie in 1 to 8.*got 0"),
)
refuses(probe.nearest, {"train": ROWS, "queries": ROWS, "k": 2}, k=[(9, "k must lie in 1 to 8.*got 9")])
refuses(
    probe.knn_predict,
    {"train": ROWS, "labels": CLASSES, "test": ROWS, "k": 2, "temperature": 0.07},
    train=rows(),
    labels=[*labels(), *ids],
    test=rows("train"),
    k=whole(),
    temperature=above_zero(),
)
for call in (probe.knn_accuracy, probe.knn_report):
    accuracy = call is probe.knn_accuracy
    more = {"k": whole(), "temperature": above_zero()} if accuracy else {}
    refuses(
        call,
        {**pair, "k": 2} if accuracy else pair,
        train=rows(),
        train_labels=[*labels(), *ids],
        test=rows("train"),
        test_labels=[*labels("m"), *ids],
        **more,
    )
names = [
    ("ab", "^NAME: wanted a tuple of strings, got 'ab'"),
    ((0, 1), "^NAME: wanted a tuple of strings"),
    (("a",), "1 class names for 2"),
]
refuses(
    probe.knn_report,
    pair,
    class_names=names,
    test_labels=[(CLASSES + 1, r"classes \[2\].*no training picture")],
)
SPLITS = {"train": (ROWS, CLASSES), "test": (ROWS, CLASSES)}
both = [
    (
        ROWS,
        r"^NAME: wanted \(a floating-point tensor .*, an integer tensor .*\)( or None)?, got a float32 tensor",
    ),
    ((ROWS, CLASSES.tolist()), "^NAME: wanted "),
    (
        (ROWS, CLASSES[:3]),
        r"^NAME: wanted .*, got \(a float32 tensor of shape \(8, 3\), an int64 tensor of shape \(3,\)\)",
    ),
    ((ROWS * NAN, CLASSES), "not finite"),
    ((ROWS, CLASSES + 10**9), "number ids with"),
]
refuses(
    probe.few_shot_curve,
    {**SPLITS, "generator": draw(), "labels_per_class": (1,), "n_draws": 1, "method": "knn"},
    train=both,
    test=both,
    generator=generator(),
    labels_per_class=[
        (3, "^labels_per_class: wanted a list of whole numbers, got 3"),
        ((), r"labels_per_class must hold numbers from 1, got \(\)"),
        ((0,), "numbers from 1"),
        ((9,), "asks for 9, but a class has only 4"),
        ((1.5,), "wanted a list of whole numbers"),
    ],
    n_draws=whole(),
    method=one_of("logistic", "knn"),
)
refuses(
    probe.official_probe,
    {"model": MODEL, "train": BYTES, "test": BYTES, "protocol": "knn", "size": 28, "steps": 1},
    run=False,
    model=[
        (None, "^model: wanted a VisionTransformer"),
        (nn.Identity(), "^model: wanted a VisionTransformer"),
    ],
    train=[
        (BYTES, "the training pictures have no labels"),
        (3, "wanted an ImageSet"),
        ("nowhere", "no folder nowhere"),
    ],
    protocol=one_of("logreg", "linear", "knn"),
    size=whole(None),
    steps=whole(),
)
RIGHT = np.array([True, False])
wrong = [
    ([True, False], r"^NAME: wanted a bool array of shape \(n,\), got \[True, False\]"),
    (RIGHT.astype(int), "^NAME: wanted a bool array .*, got an int64 array"),
    (RIGHT[None], r"got a bool array of shape \(1, 2\)"),
]
refuses(
    probe.paired_test,
    {"first": RIGHT, "second": RIGHT},
    first=wrong,
    second=[*wrong, (RIGHT[:1], "with n = 2 as in first")],
)
CUT = {"photos": BYTES, "size": 14, "grid": 2, "n_crops": 1, "disturbed": False, "generator": draw()}
refuses(
    probe.crop_pairs,
    CUT,
    photos=[(IMAGES, "^NAME: wanted a uint8 tensor"), (None, "^NAME: wanted a uint8 tensor")],
    size=whole(),
    grid=whole(),
    n_crops=whole(),
    disturbed=flag(),
    generator=generator(),
)
TOKENS = torch.randn(2, 4, 5, generator=draw())
refuses(
    probe.matched_shares,
    {"pairs": probe.crop_pairs(**CUT), "wholes": TOKENS, "crops": TOKENS},
    pairs=[(None, "^NAME: wanted a CropPairs, got None")],
    wholes=[(TOKENS[0], "^NAME: wanted a floating-point tensor"), (TOKENS.int(), r"use .float\(\)")],
    crops=[(TOKENS[..., :3], "^NAME: .* with d = 5 as in wholes, got")],
)
refuses(
    probe.logistic_probe,
    {
        "train": ROWS,
        "labels": CLASSES,
        "c": 1.0,
        "c_grid": (0.1, 1.0),
        "generator": draw(),
        "test": (ROWS, CLASSES),
    },
    train=rows(),
    labels=[*labels(), *ids, (CLASSES * 0, "one class only")],
    c=above_zero(),
    c_grid=[(0.1, "^c_grid: wanted a list of finite numbers, got 0.1"), ((0.1, NAN), "finite numbers")],
    generator=optional_generator(),
    test=both,
)
refuses(
    partial(probe.logistic_probe, ROWS, CLASSES),
    {"c_grid": (0.1, 1.0)},
    c_grid=[((), "c_grid must hold numbers above 0"), ((0.0, 1.0), "c_grid must hold numbers above 0")],
)
PROBE = probe.logistic_probe(ROWS, CLASSES, c=1.0)
refuses(PROBE.probabilities, {"features": ROWS}, features=[*rows(), (ROWS[:, :2], "features 3 wide, got 2")])
refuses(
    PROBE.report,
    {"features": ROWS, "labels": CLASSES, "class_names": ("a", "b")},
    features=[*rows(), (ROWS[:, :2], "features 3 wide, got 2")],
    labels=[*labels(), *ids, (CLASSES + 1, r"classes \[2\].*no training picture")],
    class_names=names,
)
refuses(
    probe.make_report,
    {"probabilities": PROBS, "labels": CLASSES, "class_names": ("a", "b"), "method": "probe", "notes": ()},
    probabilities=[
        (ROWS, "rows that sum to 1.*use softmax"),
        (PROBS * 2, "rows that sum to 1"),
        (PROBS * NAN, "not finite"),
        (PROBS.tolist(), "use torch.as_tensor"),
        (PROBS[:0], "at least one row|with n = 0"),
    ],
    labels=[*labels(), (CLASSES + 1, "labels must lie in 0 to 1, got 1 to 2"), (CLASSES - 1, "got -1 to 0")],
    class_names=names,
    method=text(),
    notes=[("converged", "^notes: wanted a tuple of strings"), ((1,), "^notes: wanted a tuple of strings")],
)
refuses(
    probe.wilson_interval,
    {"correct": 3, "total": 5, "z": 1.96},
    correct=[*whole(None), (-1, "0 <= correct <= total"), (6, "got 6 of 5")],
    total=[*whole(None), (0, "got 3 of 0")],
    z=above_zero(),
)

# features

MAPS = torch.rand(2, 3, 3).numpy()
refuses(
    features.ExtractOptions,
    vars(features.ExtractOptions()),
    n_layers=whole(),
    precision=[*text(), ("float8", "^precision must be .*got 'float8'")],
    batch_size=whole(),
    shard_size=whole(),
    progress=flag(),
    wait_s=real((-1.0, "^wait_s must be at least 0, got -1.0")),
)
statistics = [*three(), ((0.5, 0.5), "wanted 3 finite numbers")]
refuses(
    features.Preprocessing,
    vars(features.Preprocessing()),
    size=whole(),
    resize=whole(None),
    interpolation=one_of("bicubic", "bilinear"),
    antialias=flag(),
    mean=statistics,
    std=[*statistics, ((0.2, 0.2, 0.0), "std must be above 0"), ((0.2, 0.2, -1.0), "std must be above 0")],
)
refuses(
    features.Preprocessing,
    {"size": 8, "resize": 9},
    resize=[(7, r"resize \(7\) must be at least size \(8\)")],
)
refuses(features.Preprocessing(size=14).__call__, {"images": BYTES}, images=images("uint8")[:6])
refuses(features.Preprocessing(size=14).__call__, {"images": BYTES}, images=[(IMAGES, "wanted .*uint8")])
READY = features.Preprocessing(size=14)
QUIET = features.ExtractOptions(progress=False)
refuses(
    features.extract_features,
    {"model": MODEL, "images": BYTES, "preprocessing": READY, "on_error": "raise", "options": QUIET},
    model=[
        (None, "^model: wanted a VisionTransformer, got None"),
        (nn.Linear(1, 1), "^model: wanted a VisionTransformer"),
    ],
    images=[
        (None, "^images: wanted "),
        (3, "^images: wanted "),
        ([], "got an empty list"),
        (IMAGES, "uint8|bytes"),
        (BYTES[0], r"images\[None\]|shape"),
        ("/nowhere/at/all", "/nowhere/at/all"),
    ],
    preprocessing=[
        (None, "^preprocessing: wanted a Preprocessing, got None"),
        (224, "^preprocessing: wanted"),
    ],
    cache_dir=[(3, "^cache_dir: wanted a string, a path or None, got 3")],
    on_error=[*text(), ("other", "^on_error must be .raise. or .skip., got .other.")],
    options=[
        (None, "^options: wanted an ExtractOptions, got None"),
        ({"n_layers": 2}, "^options: wanted an ExtractOptions"),
    ],
)
refuses(
    features.attention_over_patches,
    {"model": MODEL, "image": IMAGES[:1], "layer": -1},
    model=[(None, "^model: wanted a VisionTransformer")],
    image=[
        (None, "^image: wanted a Tensor, got None"),
        (IMAGES, "wanted one image"),
        (IMAGES[0].permute(1, 2, 0), "channels come last"),
        (BYTES[:1], "divide bytes by 255"),
        (IMAGES[:1, :, :13], "multiples of the patch size 7"),
    ],
    layer=[*whole(None), (2, "layer 2 does not exist")],
)
refuses(
    features.top_share_mask,
    {"attention": MAPS, "share": 0.6},
    attention=[
        (
            MAPS[0],
            r"^attention: wanted a floating-point array of shape \(h: heads, rows, cols\), got a float32 array",
        ),
        (-MAPS, "negative"),
        (MAPS * NAN, "negative|not finite"),
        (MAPS.astype(int), "^attention: wanted a floating-point array"),
        (torch.rand(2, 3, 3), "^attention: wanted a floating-point array"),
    ],
    share=real((0.0, "share must lie above 0"), (1.5, "share must lie above 0 and at most at 1, got 1.5")),
)
TOKENS = torch.randn(2, 9, 6, generator=draw())
refuses(
    features.pca_colours,
    {"patch_tokens": TOKENS, "n_components": 3, "threshold": 0.0, "foreground_high": True},
    patch_tokens=[
        (TOKENS[0], r"shape \(b, n, d\)"),
        (TOKENS * NAN, "not finite"),
        (None, "^patch_tokens: wanted a Tensor or a numpy array, got None"),
        (TOKENS.tolist(), "^patch_tokens: wanted a Tensor or a numpy array"),
    ],
    n_components=[
        *whole(None),
        (0, "n_components must lie in 1 to 6"),
        (7, "n_components must lie in 1 to 6"),
    ],
    threshold=real((99.0, "too few for 3 components: move the threshold")),
    foreground_high=flag(),
)

# data

SET = {
    "images": BYTES,
    "labels": torch.tensor([0, 1]),
    "class_names": ("a", "b"),
    "name": "two",
    "notice": "",
}
refuses(
    data.ImageSet,
    SET,
    images=[*images("uint8")[:6], (IMAGES, r"^images: wanted a uint8 tensor")],
    labels=[
        ([0, 1], "use torch.as_tensor"),
        (torch.zeros(2), r"use .long\(\)"),
        (torch.zeros(3).long(), "with b = 2 as in images|shape .2,."),
        (torch.tensor([0, 2]), "labels must lie in 0 to 1, got 0 to 2"),
        (torch.tensor([0, -1]), "labels must lie in 0 to 1, got -1 to 0"),
    ],
    class_names=[
        ("ab", "^class_names: wanted a tuple of strings, got 'ab'"),
        ((0, 1), "^class_names: wanted a tuple of strings"),
    ],
    name=text(),
    notice=text(),
)
refuses(
    data.ImageSet(**SET).subset,
    {"indices": [0]},
    indices=[
        ([], "a list of indices, got"),
        ([2], "indices must lie in 0 to 1, got 2"),
        ([0.5], "whole numbers"),
        ([True], "whole numbers"),
    ],
)
refuses(
    data.patterns10,
    {"n": 1, "split": "train", "size": 8, "seed": 0},
    n=whole(),
    split=[*text(), ("all", "split must be .*got 'all'")],
    size=[*whole(None), (7, "^size must be at least 8, got 7|size")],
    seed=[*whole(None), (-1, "^seed must .*-1")],
)
refuses(
    data.load_cifar10,
    {"split": "train"},
    run=False,
    split=[*text(), ("all", "split must be .*got 'all'")],
    root=[(3, "^root: wanted")],
)
refuses(
    data.cifar10_or_patterns,
    {"split": "train"},
    run=False,
    split=[*text(), ("all", "split must be")],
    n=whole(1, "50000 pictures, asked for 0"),
)
refuses(data.sample_image, {"name": "china"}, name=[*text(), ("dog", "no sample photo 'dog', only china")])

# weights

refuses(
    weights.load_backbone,
    {"name": "random"},
    run=False,
    name=[(3, "^name: wanted a string or a path, got 3"), (None, "got None"), ("vits15", "vits15")],
    dtype=[(torch.int64, "(?i)float"), ("float32", "^dtype: wanted a torch.dtype, got 'float32'")],
    device=device(),
    heads=whole(1, "random has its own number of heads"),
)
refuses(
    weights.available_backbone,
    {"names": ("book",)},
    run=False,
    names=[
        ("book", "^names: wanted a list of strings, got 'book'"),
        ((), r"names must be some of vits14, .*, got \(\)"),
        ((3,), "^names: wanted a list"),
    ],
    device=device(),
)
refuses(
    weights.load_state,
    {"config": CONFIG, "state": MODEL.state_dict(), "origin": "here"},
    config=[(None, "^config: wanted a ViTConfig, got None")],
    origin=text(),
)
refuses(weights.fetch_official, {"name": "vits14"}, run=False, name=[*text(), ("vits15", "vits15")])
refuses(
    weights.save_book_checkpoint,
    {"model": MODEL, "card": {}},
    run=False,
    model=[(None, "^model: wanted a VisionTransformer")],
    card=[(None, "^card: wanted a dict, got None"), ([], "^card: wanted a dict")],
    folder=[(3, "^folder: wanted a string, a path or None, got 3")],
)
for call in (weights.read_book_card, weights.read_book_checkpoint):
    refuses(call, {}, folder=[(3, "^folder: wanted a string, a path or None, got 3")])
for call in (weights.to_timm, weights.to_transformers):
    refuses(
        call,
        {"model": MODEL},
        model=[(None, "^model: wanted a VisionTransformer"), (MODEL.state_dict(), "VisionTransformer")],
    )

# pictures

for call in (pictures.read_rgb, pictures.read_tensor):
    refuses(
        call,
        {"picture": PHOTO, "name": "a photo"},
        picture=[
            (None, "wanted a picture.*None"),
            (3, "wanted a picture.*3"),
            ("no.jpg", "a photo: there is no such file"),
            (b"no picture", "(?i)not|no picture"),
            (np.zeros((2, 3, 4, 5)), r"\(h w\)"),
            (np.zeros((4, 4, 3)), "(?i)uint8|bytes|float"),
        ],
    )
refuses(
    pictures.read_ahead,
    {"pictures": [PHOTO]},
    pictures=[
        (3, "^NAME: wanted a list of pictures, got 3"),
        ("x.png", "wanted a list"),
        ([3], r"got \[3\]"),
    ],
)
refuses(
    pictures.find_pictures,
    {"folder": "."},
    run=False,
    folder=[(3, "^folder: wanted a string or a path, got 3"), (None, "got None")],
)
refuses(
    pictures.read_folder,
    {"folder": "."},
    run=False,
    folder=[(3, "^folder: wanted a string or a path, got 3"), ("/nowhere", "/nowhere")],
)
