"""Rows for *use it*: pictures, data, weights, features, probes."""

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
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
from kinds import pair as pair_of_numbers
from PIL import Image
from torch import nn

from dinov2_edu import data, features, pictures, probe, weights
from dinov2_edu.data import imageset, messy, mosaics
from dinov2_edu.features import eight_bits, recorded, recordings
from dinov2_edu.vit import VisionTransformer, ViTConfig

CONFIG = ViTConfig(img_size=28, patch_size=7, width=8, depth=2, heads=2)
MODEL = VisionTransformer(CONFIG).eval()
PHOTO = Image.new("RGB", (14, 14))
BAD = [(None, "got None"), (3, "^NAME: wanted .*, got 3")]

# probe

TWO = data.ImageSet(BYTES, torch.tensor([0, 1]), ("a", "b"), "two")
CLASSIFIER = probe.Classifier(MODEL, 8, 2)
refuses(
    probe.Classifier,
    {"backbone": MODEL, "width": 8, "n_classes": 2},
    backbone=[(None, "^backbone: wanted a(n nn.)?Module, got None|^backbone: wanted")],
    width=whole(),
    n_classes=whole(2),
)
refuses(
    probe.fine_tune,
    {
        "classifier": CLASSIFIER,
        "pictures": TWO,
        "generator": draw(),
        "steps": 1,
        "batch_size": 2,
        "lr": (0.1, 0.1),
    },
    run=False,
    classifier=[(None, "^classifier: wanted a Classifier, got None")],
    pictures=[(None, "^pictures: wanted an ImageSet, got None"), (BYTES, "^pictures: wanted an ImageSet")],
    generator=generator(),
    steps=whole(),
    batch_size=whole(),
    lr=[*pair_of_numbers(), ((0.0, 0.1), "^lr must be a finite number above 0")],
)

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
groups = [*labels(), (CLASSES[:0], "got none|with n = 0")][1:]
refuses(
    probe.copy_groups,
    {"features": ROWS, "threshold": 0.9, "k": 4},
    features=rows(),
    threshold=real((1.5, "cosine similarity, -1 to 1, got 1.5")),
    k=whole(),
)
refuses(probe.keep_first, {"groups": CLASSES}, groups=[groups[0], groups[2], groups[-1]])
refuses(
    probe.group_scores,
    {"groups": CLASSES, "truth": CLASSES},
    groups=[groups[0], groups[2], groups[-1]],
    truth=[groups[0], (CLASSES[:3], "with n = 8 as in groups|n = 8")],
)
refuses(
    probe.retrieve,
    {"pool": ROWS, "queries": ROWS[:2], "k": 2},
    pool=rows(),
    k=[*whole(None), (0, "k must lie in 1 to 8.*got 0"), (9, "k must lie in 1 to 8.*got 9")],
)
refuses(
    probe.retrieve_clusters,
    {"pool": ROWS, "queries": ROWS, "n_clusters": 2, "per_cluster": 2, "least": 1, "generator": draw()},
    pool=rows(),
    n_clusters=[*whole(), (9, "n_clusters must be at most the pool's 8 pictures, got 9")],
    per_cluster=whole(),
    least=whole(),
    generator=generator(),
)
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
FOUND = features.extract_features(MODEL, BYTES, preprocessing=READY, options=QUIET)
refuses(
    features.save_table,
    {"path": "/nowhere/t.npz", "features": FOUND, "names": ("a", "b"), "classes": None},
    run=False,
    path=[(3, "^path: wanted a string or a path, got 3"), ("t.csv", r"ends in \.npz or \.parquet")],
    features=[(None, "^features: wanted a Features, got None")],
    names=[(("a",), "^names: wanted one for each of 2"), (3, "^names: wanted a list of strings, got 3")],
    classes=[(("a",), "^classes: wanted one for each of 2")],
)
refuses(features.table_path, {"path": "t.npz"}, path=[(3, "^path: wanted"), ("t", "ends in")])
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
CODE = eight_bits.fit_eight_bits(ROWS, 2)
refuses(
    eight_bits.EightBits,
    vars(CODE),
    mean=tensor("(d: width,)", 1)[:4],
    basis=[*tensor("(k: prototypes, d: width)", 2)[:4], (torch.zeros(2, 4), "with d = 3 as in mean")],
    scale=[*tensor("(k: prototypes,)", 1)[:4], (torch.zeros(3), "with k = 2 as in basis")],
)
refuses(
    eight_bits.fit_eight_bits,
    {"rows": ROWS, "dimensions": 2},
    rows=[*tensor("(n, d: width)", 2), (ROWS[:0], "rows is empty"), (ROWS * NAN, "not finite")],
    dimensions=[*whole(None), (0, "dimensions must lie in 1 to 3"), (4, "must lie in 1 to 3, .*; got 4")],
)
refuses(
    CODE.encode,
    {"rows": ROWS},
    rows=[*tensor("(n, d: width)", 2), (ROWS[:, :2], "of rows 3 wide, got rows 2 wide")],
)
refuses(
    CODE.decode,
    {"codes": CODE.encode(ROWS)},
    codes=[
        (ROWS, r"^codes: wanted .*int8.*, got a float32 tensor"),
        (None, "^codes: wanted .*, got None"),
        (torch.zeros(1, 3, dtype=torch.int8), "wanted 2 codes a row, got 3"),
    ],
)
somewhere = [(3, "^folder: wanted a string, a path or None, got 3")]
refuses(recordings.read_recording, {"name": "photos-vits14"}, run=False, name=text(), folder=somewhere)
refuses(recordings.read_manifest, {"folder": Path("nowhere")}, folder=[(3, "^folder: wanted a path, got 3")])
refuses(recorded.read_recorded_photos, {"model": "vits14"}, run=False, model=text())

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
    messy.messy_collection,
    {"originals": data.patterns10(10, size=8), "n_copies": 1, "generator": draw()},
    originals=[(None, "^originals: wanted an ImageSet, got None"), (BYTES, "got a uint8 tensor")],
    n_copies=[*whole(), (3, "5 x 3 copies need as many originals, got 10")],
    generator=generator(),
)
MOSAICS = mosaics.pattern_mosaics(4, size=8)
refuses(
    mosaics.pattern_mosaics,
    {"n": 1, "split": "train", "size": 8},
    n=whole(),
    split=[*text(), ("all", "split must be .*got 'all'")],
    size=[*whole(None), (4, "^size must be at least 8, got 4"), (10, "size must be a multiple of 4, got 10")],
)
refuses(MOSAICS.patch_labels, {"rows": 2}, rows=[*whole(None), (3, "rows must be even"), (0, "got 0")])
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
refuses(
    imageset.even_rows,
    {"total": 10, "count": 3},
    total=whole(0),
    count=whole(0),
)
refuses(data.sample_square, {"name": "closer"}, name=[*text(), ("dog", "no square 'dog', only pagoda")])
refuses(data.sample_image, {"name": "china"}, name=[*text(), ("dog", "no sample photo 'dog', only china")])

refuses(
    data.look_over,
    {"folder": "/nowhere"},
    run=False,
    folder=[
        (3, "^folder: wanted a string or a path, got 3"),
        ("/nowhere", "no folder /nowhere: check the name"),
    ],
)
FOLDER = data.OwnFolder(Path("/nowhere"), (Path("/nowhere/a.png"),), (0,), ("a",), ((8, 8),), Counter())
refuses(
    data.read_own,
    {"folder": FOLDER, "side": 8},
    run=False,
    folder=[(None, "^folder: wanted an OwnFolder, got None"), ("/nowhere", "^folder: wanted an OwnFolder")],
    side=whole(),
    on_error=one_of("raise", "skip"),
    progress=flag(),
)

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
    heads=[(3, "^heads: wanted a dictionary from strings to Tensor each or None, got 3")],
)
for call in (weights.to_timm, weights.to_transformers):
    refuses(
        call,
        {"model": MODEL},
        model=[(None, "^model: wanted a VisionTransformer"), (MODEL.state_dict(), "VisionTransformer")],
    )

for call, good in ((weights.save_transformers, "folder"), (weights.save_timm, "path")):
    refuses(
        call,
        {"model": MODEL, good: "/nowhere/m.safetensors"},
        run=False,
        model=[(None, "^model: wanted a VisionTransformer")],
        **{good: [(3, "^NAME: wanted a string or a path, got 3")]},
    )
refuses(weights.save_timm, {"model": MODEL, "path": "m"}, run=False, path=[("m.bin", "ends in .safetensors")])
refuses(
    weights.save_official,
    {"model": MODEL, "path": "/nowhere/m.safetensors"},
    run=False,
    model=[(None, "^model: wanted a VisionTransformer")],
    path=[(3, "^NAME: wanted a string or a path, got 3"), ("m.bin", "m.bin: wanted a name that ends in")],
)
refuses(
    weights.save_onnx,
    {"model": MODEL, "path": "/nowhere/m.onnx", "size": 28},
    run=False,
    model=[(None, "^model: wanted a VisionTransformer")],
    path=[(3, "^NAME: wanted a string or a path, got 3"), ("m.pb", "m.pb: wanted a name that ends in .onnx")],
    size=[
        (30, "size 30 is not a multiple of the patch size 7"),
        (0, "not a multiple"),
        (2.5, "^size: wanted"),
    ],
)
for call in (weights.transformers_config, weights.timm_arguments):
    refuses(call, {"config": CONFIG}, config=config("ViTConfig"))

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

# dense tasks

MAPS = torch.randint(2, (2, 14, 14), generator=draw())
SCENES = data.Scenes(BYTES, MAPS, ("a", "b"), "random")
refuses(
    data.drawn_scenes,
    {"n": 1, "split": "train", "seed": 0},
    n=whole(),
    split=[*text(), ("all", "split must be .*got 'all'")],
    seed=whole(0),
)
TEN = data.ImageSet(
    torch.zeros(10, 3, 4, 4).byte(), torch.arange(10), tuple("abcdefghij"), "ten grey pictures"
)
refuses(
    data.mosaic_scenes,
    {"pictures": TEN, "n": 1, "generator": draw()},
    pictures=[(BYTES, "^pictures: wanted"), (TEN.subset([0, 1]), "needs pictures of 9 classes, got 2")],
    n=whole(),
    generator=generator(),
)
refuses(
    features.patch_tokens,
    {"model": MODEL, "images": IMAGES, "layers": (-1,), "window": 14},
    model=[(3, "^model: wanted"), (None, "^model: wanted")],
    images=images(),
    layers=[((), "layers is empty"), ((7,), "7")],
    window=[*whole(None), (7, "even number of patches of 7"), (0, "even number"), (28, "even number")],
)
refuses(
    features.pixel_patches,
    {"images": IMAGES, "patch": 7, "mean": False},
    images=images(),
    patch=[*whole(), (4, "multiples of the patch size 4")],
    mean=flag(),
)
refuses(
    probe.image_folds,
    {"n_images": 4, "n_folds": 2, "generator": draw()},
    n_images=whole(2),
    n_folds=[*whole(2), (5, "n_folds must be at most n_images = 4, got 5")],
    generator=generator(),
)
refuses(
    probe.class_shares,
    {"labels": MAPS, "patch": 7, "n_classes": 2},
    labels=[
        (MAPS.float(), "^labels: wanted an integer tensor"),
        (MAPS + 1, "must lie in 0 to 1, got 1 to 2"),
    ],
    patch=[*whole(), (4, "patches of 4 pixels do not tile 14 x 14")],
    n_classes=whole(),
)
PATCHES = torch.randn(2, 4, 5, generator=draw())
SHARES = torch.full((2, 4, 2), 0.5)
refuses(
    probe.fit_segmenter,
    {"tokens": PATCHES, "shares": SHARES, "weight_decay": 0.1},
    tokens=[(PATCHES[0], "^tokens: wanted a floating-point tensor"), (PATCHES * NAN, "not finite")],
    shares=[(SHARES / 2, "rows that sum to 1"), (SHARES[0], "^shares: wanted a floating-point tensor")],
    weight_decay=above_zero(),
)
refuses(
    probe.upsample,
    {"logits": PATCHES, "size": 8},
    logits=[(PATCHES[:, :3], "square grid of patches, got 3"), (PATCHES[0], "^logits: wanted")],
    size=whole(),
)
refuses(
    probe.confusion,
    {"predicted": CLASSES, "truth": CLASSES, "n_classes": 2},
    predicted=[(CLASSES.float(), "^predicted: wanted an integer"), (CLASSES + 1, "got 1 to 2")],
    truth=[(CLASSES[:3], "^truth: wanted"), (CLASSES - 1, "got -1 to 0")],
    n_classes=whole(),
)
COUNTS = torch.eye(3, dtype=torch.long)
refuses(
    probe.mean_iou,
    {"counts": COUNTS},
    counts=[(COUNTS[:2], "^counts: wanted"), (COUNTS * 0, "at least one place"), (-COUNTS, "at least one")],
)
refuses(
    probe.best_matches,
    {"queries": ROWS, "others": ROWS},
    queries=[(ROWS[:0], "queries holds no row"), (ROWS * NAN, "queries: 8 of 8 rows")],
    others=[(ROWS[:, :2], "^others: .* with d = 3 as in queries")],
)
PLACES = ROWS[:, :2]
refuses(
    probe.correct_keypoints,
    {"found": PLACES, "truth": PLACES, "distances": (1.0,)},
    found=[(ROWS, "^found: wanted"), (PLACES * NAN, "found: 8 of 8 rows hold numbers that are not finite")],
    truth=[(PLACES[:3], "^truth: wanted"), (PLACES * NAN, "truth: 8 of 8 rows")],
    distances=[((), "distances is empty"), ((0.0,), "distance must be a finite number above 0, got 0")],
)
refuses(
    probe.stereo_truth,
    {"disparity": torch.ones(6, 8), "grid": (2, 2)},
    disparity=[(torch.ones(6), "^disparity: wanted"), (None, "^disparity: wanted")],
    grid=[((0, 2), r"grid must lie in \(1, 1\)"), ((7, 2), r"to \(6, 8\), got \(7, 2\)")],
)
refuses(
    probe.precision_at_k,
    {"features": ROWS, "labels": CLASSES, "k": 2},
    features=[(ROWS * NAN, "features: 8 of 8 rows")],
    labels=[(CLASSES[:3], "^labels: wanted")],
    k=[*whole(None), (8, "k must lie in 1 to 7, got 8"), (0, "got 0")],
)


def by_row(images):
    """Four numbers a patch of 7 pixels."""
    return features.pixel_patches(images, 7)


refuses(
    probe.dense_test,
    {"tokens_of": by_row, "scenes": SCENES, "grid": 2, "input_size": None, "n_folds": 2, "seed": 0},
    tokens_of=[(3, "^tokens_of: wanted"), (lambda images: images, r"wanted tokens of shape \(2, 4, 'd'\)")],
    scenes=[(BYTES, "^scenes: wanted")],
    grid=[*whole(), (3, "grid must divide the scenes' side of 14 pixels, got 3")],
    input_size=whole(),
    n_folds=[*whole(2), (3, "n_folds must be at most n_images = 2")],
    seed=whole(0),
)
refuses(
    features.see_patches,
    {"images": BYTES, "grid": (2, 2), "networks": {"tiny": MODEL}, "window": 2},
    images=images("uint8"),
    grid=[((0, 2), "rows must be at least 1, got 0"), ((2,), "^grid: wanted"), (2, "^grid: wanted")],
    networks=[(MODEL, "^networks: wanted a dictionary"), ({"a": 3}, "^networks: wanted")],
    window=[*whole(None), (3, "even number of patches of 7")],
)
