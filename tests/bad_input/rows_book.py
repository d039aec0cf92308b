"""Rows for the book's rooms: figures, controls, exercises, and what every notebook uses."""

from types import SimpleNamespace

import numpy as np
import torch
from kinds import (
    NAN,
    above_zero,
    config,
    draw,
    flag,
    function,
    generator,
    pair,
    real,
    refuses,
    text,
    whole,
)

from dinov2_edu import dinov2, exercises, notebook, vit
from dinov2_edu.data import patterns10
from dinov2_edu.data.mosaics import pattern_mosaics
from dinov2_edu.experiments import (
    ablations,
    evaluation,
    own_run,
    page_weights,
    presets,
    recipes,
    recordings_rows,
    released,
    sparklines,
    study_rows,
)
from dinov2_edu.plots import charts, diagrams, panels, pictures, scores, style, views
from dinov2_edu.widgets.agree import AgreeWidget
from dinov2_edu.widgets.attention import AttentionWidget
from dinov2_edu.widgets.cost import CostWidget
from dinov2_edu.widgets.crops import CropsWidget
from dinov2_edu.widgets.doctor import DoctorWidget
from dinov2_edu.widgets.ema import EmaWidget
from dinov2_edu.widgets.guess import GuessWidget
from dinov2_edu.widgets.learns import LearnsWidget
from dinov2_edu.widgets.losses import LossesWidget
from dinov2_edu.widgets.masks import MasksWidget
from dinov2_edu.widgets.match import MatchWidget
from dinov2_edu.widgets.mistakes import MistakesWidget
from dinov2_edu.widgets.prototypes import PrototypesWidget
from dinov2_edu.widgets.runs import RunsWidget
from dinov2_edu.widgets.schedules import SchedulesWidget
from dinov2_edu.widgets.scores import ScoresWidget
from dinov2_edu.widgets.your_picture import YourPictureWidget

PHOTO = np.zeros((16, 16, 3), dtype=np.uint8)
LINE = {"a": [1.0, 2.0]}
words = text()
series = [
    ([1.0], "^NAME: wanted a dictionary from strings to anything, got"),
    ({}, "^NAME is empty|at least one|nothing|none"),
    ({"a": []}, "as many x as y values, and at least one"),
    ({"a": "high"}, "wanted an array of numbers, got 'high'"),
    ({"a": ([1, 2, 3], [1, 2])}, "as many x as y values"),
]
levels = [
    ({"top": NAN}, "^NAME: wanted a dictionary from strings to finite numbers or None"),
    (8.3, "^NAME: wanted a dictionary"),
]

# figures of numbers

refuses(
    charts.plot_curves,
    {
        "series": LINE,
        "x_label": "step",
        "y_label": "loss",
        "levels": {"top": 1.0},
        "log_y": False,
    },
    series=series,
    x_label=words,
    y_label=words,
    levels=levels,
    log_y=flag(),
)
refuses(
    charts.plot_histogram,
    {"groups": LINE, "x_label": "patches", "bins": 5},
    groups=[
        *series[:2],
        ({"a": []}, "wanted finite values"),
        ({"a": [NAN]}, "wanted finite values"),
        ({"a": "high"}, "an array of numbers"),
    ],
    x_label=words,
    bins=whole(),
)
refuses(
    charts.plot_few_shot,
    {"shots": [1, 2], "accuracies": {"a": [0.5, 0.6]}, "chance": 0.1},
    shots=[
        (3, "^shots: wanted a list of whole numbers"),
        ([0, 1], "labels a class from 1"),
        ([], "labels a class from 1"),
    ],
    accuracies=[
        ({"a": [0.5]}, "a: wanted 2 accuracies a repeat, got shape"),
        ({}, "nothing to draw"),
        (LINE["a"], "a dictionary"),
    ],
    chance=real(),
)
refuses(
    charts.plot_bars,
    {"values": {"a": 0.5}, "x_label": "accuracy", "highlight": "a", "percent": True},
    values=[
        ({}, "wanted bars"),
        ({"a": NAN}, "finite numbers"),
        ({"a": "b"}, "finite numbers"),
        ([1.0], "a dictionary"),
    ],
    x_label=words,
    highlight=[("b", "highlight among them: got .*'b'"), (3, "^highlight: wanted a string or None, got 3")],
    percent=flag(),
)
SEEDS_OF = {"k-NN": {"whole": [0.5, 0.6], "no KoLeo": [0.2, 0.3]}}
NO_KOLEO = {"no KoLeo": [0.2]}
refuses(
    charts.plot_seeds,
    {"panels": SEEDS_OF, "reference": "whole", "baseline": "no KoLeo", "percent": True},
    panels=[
        ({}, "nothing to draw"),
        (
            SEEDS_OF | {"patches": {"whole": [0.5]}},
            r"settings \['no KoLeo', 'whole'\] in each panel, patches has",
        ),
        ({"k-NN": {"whole": []} | NO_KOLEO}, "whole: wanted a finite number for each seed"),
        ({"k-NN": {"whole": 0.5} | NO_KOLEO}, "whole: wanted a finite number for each seed"),
        ({"k-NN": {"whole": [NAN]} | NO_KOLEO}, "whole: wanted a finite number for each seed"),
        ([0.5], "a dictionary"),
    ],
    reference=[("b", "reference must be one of the settings"), (3, "^reference: wanted a string")],
    baseline=[("b", "baseline must be one of the settings"), (3, "^baseline: wanted a string")],
    percent=flag(),
)
refuses(
    panels.plot_panels,
    {"panels": {"loss": LINE}, "x_label": "step", "levels": None, "one_scale": True},
    panels=[({}, "at least one panel"), ({"loss": {"a": []}}, "at least one"), ([LINE], "a dictionary")],
    x_label=words,
    levels=levels,
    one_scale=flag(),
)
refuses(
    panels.plot_history,
    {"history": {"step": [1, 2], "loss": [3.0, 2.0]}},
    history=[
        ({}, "at least one panel"),
        ({"step": [1]}, "at least one panel"),
        ({"loss": [1.0]}, "1 values of loss at 0 steps"),
        ({"step": [1, 2], "loss": [1.0]}, "1 values of loss at 2 steps"),
        (None, "^history: wanted a dictionary"),
    ],
)
refuses(
    panels.plot_runs,
    {"runs": LINE, "x_label": "step", "y_label": "loss", "reference": "a", "levels": None},
    runs=[({}, "reference must be one of the runs"), ([1.0], "a dictionary"), ({"a": []}, "at least one")],
    reference=[("b", "reference must be one of the runs"), (3, "^reference: wanted a string or None")],
    levels=levels,
)
COUNTS = np.eye(2, dtype=int)
refuses(
    scores.plot_confusion,
    {"counts": COUNTS, "class_names": ["a", "b"]},
    counts=[
        (COUNTS[:1], r"counts of shape \(2, 2\)"),
        (-COUNTS, "counts holds numbers that count nothing"),
        (COUNTS / 3, "counts holds numbers that count nothing"),
        ("high", "^counts: wanted an array of numbers"),
    ],
    class_names=[
        (3, "^class_names: wanted a list of strings"),
        ([1, 2], "^class_names: wanted a list of strings"),
        (["a"], "shape .1, 1."),
    ],
)
refuses(
    scores.plot_reliability,
    {"accuracy": [0.5, NAN], "counts": [3, 0], "error": 0.1},
    accuracy=[
        ([0.5], "an accuracy and a count for each bin"),
        ([], "an accuracy and a count for each bin"),
        ([50.0, NAN], "accuracy must lie in 0 to 1"),
        ("high", "^accuracy: wanted an array of numbers"),
    ],
    counts=[
        ([0, 0], "an accuracy and a count for each bin"),
        ([-1, 3], "counts holds numbers that count nothing"),
        ([NAN, 3], "counts holds numbers that count nothing"),
        ("no", "^counts: wanted an array of numbers"),
    ],
    error=real(),
)
refuses(
    scores.plot_probabilities,
    {"rows": {"a": [0.5, 0.5]}},
    rows=[
        ({"a": [2.0, 1.0]}, "each row of probabilities sums to 1"),
        ({}, "one or more rows"),
        ({"a": [1.0], "b": [0.5, 0.5]}, "one length"),
        ({"a": [NAN, 1.0]}, "sums to 1"),
    ],
)
POINTS = np.eye(3)
refuses(
    scores.plot_sphere,
    {"clouds": {"before": POINTS}, "groups": [0, 1, 2], "prototypes": POINTS},
    clouds=[
        ({}, "clouds is empty"),
        ({"a": POINTS[:, :2]}, r"points \(m 3\)"),
        ({"a": 0 * POINTS}, "none at the centre"),
        ({"a": NAN * POINTS}, "finite"),
        (POINTS, "a dictionary"),
    ],
    groups=[([0], "^groups: wanted a number for each of 3 points")],
    prototypes=[(POINTS[:, :2], r"points \(m 3\)"), (0 * POINTS, "none at the centre")],
)

# figures of pictures

bad_photo = [
    (PHOTO * 2.0 + 5, "lies in 0 to 1.*denormalise"),
    (np.zeros((4, 4, 7)), "a picture has shape"),
    ("no.jpg", "no such file"),
    (3, "wanted a picture"),
]
refuses(
    pictures.plot_images,
    {"pictures": [PHOTO], "labels": ["cat"], "predictions": ["dog"], "columns": 2},
    pictures=[
        *(([photo], said) for photo, said in bad_photo),
        ([], "^labels: wanted one for each of 0 pictures"),
    ],
    labels=[
        ([], "^labels: wanted one for each of 1 pictures, got 0"),
        (None, "predictions need labels"),
        (3, "^labels: wanted a list"),
    ],
    predictions=[
        ([], "^predictions: wanted one for each of 1 pictures, got 0"),
        (3, "^predictions: wanted a list"),
    ],
    columns=whole(),
)
HEADS = np.full((2, 2, 2), 0.25)
refuses(
    pictures.plot_attention,
    {"photo": PHOTO, "maps": HEADS, "names": ["a", "b"], "columns": 3},
    photo=bad_photo,
    maps=[
        (HEADS[0], r"wanted \(h rows cols\), got \(2, 2\)"),
        (HEADS[:0], "rows cols"),
        ("x", "^maps: wanted an array of numbers"),
    ],
    names=[(["a"], "a name for each of 2 maps, got 1"), ("ab", "^names: wanted a list of strings or None")],
    columns=whole(),
)
COLOURS = np.zeros((2, 2, 3))
refuses(
    pictures.plot_pca,
    {"photos": [PHOTO], "colours": [COLOURS]},
    photos=[*(([photo], said) for photo, said in bad_photo), ([], "for 0 photos")],
    colours=[
        ([], "got 0 for 1 photos"),
        (3, "^colours: wanted a list"),
        ([COLOURS[0]], r"^colours: wanted \(rows cols 3\)"),
    ],
)
BOXES = [[0, 0, 8, 8]]
refuses(
    views.plot_crops,
    {
        "photo": PHOTO,
        "global_boxes": BOXES,
        "local_boxes": BOXES,
        "global_views": [PHOTO],
        "local_views": [PHOTO],
    },
    photo=bad_photo,
    global_boxes=[
        ([], "a view, got 0 and 1"),
        ([[0, 0, 8]], r"^boxes: wanted finite numbers of shape \(v, 4\)"),
        ([[0, 0, NAN, 8]], "^boxes: wanted"),
    ],
    local_boxes=[("x", "^boxes: wanted an array of numbers"), (BOXES * 2, "got 2 and 1")],
    global_views=[([], "got 1 and 0")],
)
MASK = np.eye(2, dtype=bool)
refuses(
    views.plot_masks,
    {"photos": [PHOTO], "masks": MASK, "asked": [2]},
    photos=[([], "got 0 photos|as many photos"), *(([photo], said) for photo, said in bad_photo[:2])],
    masks=[
        (MASK.astype(float), "masks: wanted bool .*True = masked"),
        (MASK[0], "masks: wanted bool"),
        ([[1, 0]], "masks: wanted bool"),
    ],
    asked=[([2, 3], "as many photos and numbers asked"), (3, "^asked: wanted")],
)
refuses(
    style.figure,
    {"height": 3.0, "photo": False, "rows": 1, "columns": 1},
    height=above_zero(),
    photo=flag(),
    rows=whole(),
    columns=whole(),
)

# controls

values = {
    "still": [(3, "^still: wanted a figure"), ("<p>", "^still: wanted a figure")],
    "stil": [(1, "has no .'stil'.")],
}
wrong_source = [(3, "'source'.*expected a unicode string, not the int 3"), (None, "'source'.*not .*None")]
wrong_photo = [
    ("no.jpg", "no such file"),
    (3, "^photo: wanted a picture, got 3"),
    (np.zeros((4, 4)), "uint8|bytes|float"),
]
ATTENTION = {"block 1": np.full((1, 5, 5), 0.2)}
refuses(
    AttentionWidget,
    {
        "photo": PHOTO,
        "attention": ATTENTION,
        "grid": (2, 2),
        "n_registers": 0,
        "limit": 9000,
        "source": "",
        "alt": "x",
    },
    photo=wrong_photo,
    attention=[
        ({}, "no layer given"),
        ({"a": np.zeros((1, 4, 4))}, r"attention of 'a': wanted shape \(heads, 5, 5\)"),
        ({"a": np.full((1, 5, 5), 7.0)}, "lies outside 0 to 1"),
        ({"a": np.full((1, 5, 5), NAN)}, "lies outside 0 to 1"),
        (ATTENTION["block 1"], "^attention: wanted a dictionary"),
    ],
    grid=[*pair("whole numbers"), ((2, 3), "wanted shape")],
    n_registers=[*whole(None), (1, "wanted shape")],
    limit=[*whole(None), (3, "do not fit in 3 bytes")],
    source=wrong_source,
    layer=[(9, "layer: wanted one of")],
    query=[("all", "query: wanted one of")],
    patch=[([5, 5], "patch: wanted")],
    **values,
)
refuses(
    CropsWidget,
    {"photo": PHOTO, "alt": "x"},
    photo=wrong_photo,
    n_local=[(11, "n_local|maximum|11"), ("3", "n_local")],
    **values,
)
refuses(
    EmaWidget,
    {"alt": "x"},
    momentum=[(1.5, "momentum|1.5"), ("1", "momentum")],
    schedule=[("linear", "schedule|linear")],
    **values,
)
refuses(
    diagrams.diagram_here, {"chapter": 4}, chapter=[(8, "chapters 1 to 7, got 8"), ("4", "chapters 1 to 7")]
)
refuses(
    CostWidget,
    {"alt": "x"},
    run=[("ViT-H", "run|ViT-H")],
    batch=[(0, "batch|0"), ("1", "batch")],
    utilisation=[(39.0, "utilisation|39")],
)
refuses(
    DoctorWidget,
    {"samples": {"mine": "step,loss\n1,2\n"}, "alt": "x"},
    samples=[
        (["log"], "^samples: wanted a dictionary"),
        ({"mine": {"loss": [1.0]}}, "of 'mine' wanted the text of a log or a dictionary with its history"),
        ({"mine": " "}, "of 'mine' wanted the text"),
        ({"": "step,loss"}, "one has no name"),
    ],
    sample=[("other", "sample: wanted one of .*'mine'.*'other'")],
    n_prototypes=[(1, "wanted 2 or more, or 0"), (-2, "n_prototypes|minimum|-2"), ("32", "n_prototypes")],
    **values,
)
refuses(
    ScoresWidget,
    {"alt": "x"},
    angle=[(181, "angle|181"), ("1", "angle")],
    temperature=[(0.0, "temperature|0.0"), ("1", "temperature")],
    length=[(4.0, "length|4.0")],
    prototypes=[([], "prototypes|length"), (["A"], "prototypes")],
)
refuses(
    SchedulesWidget,
    {"alt": "x"},
    recipe=[("official", "recipe|official")],
    unit=[("hours", "unit|hours")],
    momentum=[(1.5, "momentum|1.5")],
    **values,
)
refuses(
    LossesWidget,
    {"alt": "x"},
    teacher_logits=[(np.zeros(3), "teacher_logits.*bytes")],
    image=[(6, "image|maximum|6"), (-1, "image|minimum|-1")],
    **values,
)
refuses(
    MasksWidget,
    {"photo": PHOTO, "grid": 4, "alt": "x"},
    photo=wrong_photo,
    grid=whole(2, "grid must be at least 2 patches.*got 1"),
    ratio=[(1.5, "ratio|1.5")],
    **values,
)
CLOUD = {
    name: np.eye(3) for name in ("cls_points", "patch_points", "prototypes", "ibot_points", "ibot_prototypes")
}
for name in CLOUD:
    said = [
        (np.eye(2), rf"{name}: wanted finite numbers of shape \(points, 3\)"),
        (np.eye(3) * NAN, f"{name}: wanted finite"),
        (None, f"^{name}: wanted a numpy array"),
    ]
    refuses(PrototypesWidget, CLOUD, **{name: [*said, (0 * np.eye(3), f"{name}: a point at the origin")]})
refuses(
    PrototypesWidget,
    {**CLOUD, "alt": "x"},
    source=wrong_source,
    cls_points=[(np.eye(3)[:1], "at least 2 class tokens")],
    heads=[("both", "heads|both")],
    **values,
)
SAMPLES = {"one": PHOTO, "two": PHOTO}
sample_rows = {
    "samples": [
        ({}, r"at least two samples, by name, got \[\]"),
        ({"one": PHOTO}, "at least two samples"),
        ({**SAMPLES, "three": "no.jpg"}, "no such file"),
        ([PHOTO, PHOTO], "^samples: wanted a dictionary from strings to pictures"),
    ],
    "weights": [
        (__file__, "holds no sizes of a backbone"),
        (3, "^weights: wanted a string, a path or None, got 3"),
    ],
    "photo": [("three", "photo: wanted one of .*'three'")],
}
refuses(
    YourPictureWidget,
    {"samples": SAMPLES, "source": "", "alt": "x"},
    bank=[
        (__file__, "holds no bank of pictures"),
        (3, "^bank: wanted a string, a path or None, got 3"),
    ],
    source=wrong_source,
    size=[(33, "size: wanted one of")],
    **sample_rows,
    **values,
)
refuses(
    AgreeWidget,
    {"samples": SAMPLES, "source": "", "alt": "x"},
    source=wrong_source,
    seed=[(-1, "seed|smaller|greater|-1")],
    **sample_rows,
    **values,
)
HISTORY = {"name": "a", "history": {"step": [1, 2], "loss": [3.0, 2.0]}}
refuses(
    RunsWidget,
    {"runs": [HISTORY], "n_prototypes": 8, "source": ""},
    runs=[
        ([], "no runs"),
        ([{"name": "a"}], "run 0: wanted a dict with a name and a history"),
        ([HISTORY, HISTORY], "two runs have one name"),
        ([{"name": "a", "history": {"step": [1], "loss": [1.0, 2.0]}}], "2 values of loss at 1 steps"),
        (HISTORY, "^runs: wanted a list"),
    ],
    n_prototypes=whole(0),
    source=wrong_source,
    metric=[("joy", "metric: wanted one of")],
)
SET = patterns10(4, size=8)
SET = SimpleNamespace(images=SET.images.numpy(), labels=np.array([0, 1, 0, 1]), class_names=("a", "b"))
ANSWERS = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
NEAR = np.zeros((4, 2), dtype=int)
refuses(
    MistakesWidget,
    {
        "test": SET,
        "probs": ANSWERS,
        "train": SET,
        "neighbours": NEAR,
        "similarities": NEAR * 0.5,
        "per_cell": 2,
        "limit": 90_000,
    },
    test=[(None, "^test: wanted a LabelledImages, got None")],
    probs=[
        (ANSWERS[:, :1], r"probs: wanted shape \(4, 2\)"),
        (ANSWERS.tolist(), "^probs: wanted a numpy array"),
        (ANSWERS * 9, "probs.*sum to 1"),
        (ANSWERS * NAN, "probs.*sum to 1"),
    ],
    neighbours=[
        (NEAR[:2], "neighbours and similarities: wanted"),
        (NEAR + 99, "neighbours.*0 to 3"),
        (NEAR - 1, "neighbours.*0 to 3"),
    ],
    similarities=[(NEAR[:, :1] * 0.5, "neighbours and similarities: wanted")],
    per_cell=whole(),
    limit=[*whole(None), (3, "more than 3")],
    source=wrong_source,
    actual=[(5, "there are 2 classes|5")],
)
refuses(
    GuessWidget,
    {"test": SET, "probs": ANSWERS},
    test=[(None, "^test: wanted a LabelledImages, got None")],
    probs=[
        (ANSWERS[:, :1], r"probs: wanted shape \(4, 2\)"),
        (ANSWERS.tolist(), "^probs: wanted a numpy array"),
        (ANSWERS * 9, "probs.*sum to 1"),
    ],
    source=wrong_source,
)

# notebooks and exercises

refuses(notebook.setup, {"chapter": "01_crops"}, chapter=text())
refuses(
    notebook.show_source,
    {"thing": refuses},
    thing=[(3, "written in Python"), (torch.add, "written in Python")],
)
refuses(
    notebook.show_table,
    {"header": ["a", "b"], "rows": [[1, 2]]},
    header=[(3, "^header: wanted a list of anything, got 3")],
    rows=[([[1]], "wanted 2 values a row"), (3, "^rows: wanted .*, got 3")],
)
refuses(notebook.live_curves, {"every": 2}, every=whole())
refuses(
    LearnsWidget,
    {"shows": ["knn"], "alt": "x"},
    shows=[
        ("knn", "^shows: wanted a list of strings"),
        (["all"], r"^shows: wanted names out of .*, got \['all'\]"),
    ],
    preset=[("long", "preset")],
    seed=[(10, "seed"), (-1, "seed")],
    breaks=[(["everything"], "breaks")],
    **values,
)
refuses(
    notebook.show_step,
    {"file": dinov2, "chapter": 7},
    file=[(None, "^file: wanted a module, got None"), ("dinov2.py", "^file: wanted a module")],
    chapter=[*whole(None), (0, "from chapter 1 to 7, got 0"), (8, "got 8")],
)
refuses(
    notebook.check,
    {"name": "losses.koleo", "function": len},
    name=[
        *text(),
        ("losses.none", "there is no exercise 'losses.none'"),
        ("none.koleo", "no chapter 'none'"),
    ],
    function=function(),
)
refuses(
    exercises.find_exercise,
    {"name": "losses.koleo"},
    name=[*text(), ("losses", "there is no exercise"), ("../x.y", "no chapter")],
)
refuses(
    exercises.examine,
    {"exercise": exercises.find_exercise("losses.koleo"), "function": len, "generator": draw()},
    exercise=[("losses.koleo", "^exercise: wanted an Exercise, got 'losses.koleo'")],
    function=function(),
    generator=generator(),
)

# commands' functions

RUNS = {
    "experiments": [
        ("healthy", "^NAME: wanted a list of strings, got 'healthy'"),
        (("ill",), "no recorded run in"),
    ],
    "folder": [(3, "^NAME: wanted a string or a path, got 3"), ("nowhere", "no recorded run in nowhere")],
}
refuses(
    ablations.load_runs,
    {"experiments": ("healthy",), "seed": 0, "folder": ablations.RUNS_FOLDER},
    seed=[*whole(None), (7, "no recorded run in")],
    **RUNS,
)
refuses(
    ablations.load_seeds,
    {"experiments": ("healthy",)},
    experiments=RUNS["experiments"],
)
refuses(
    ablations.label_of,
    {"experiment": "healthy"},
    experiment=[(3, "^NAME: wanted a string, got 3"), ("ill", "^NAME: wanted one of .*, got 'ill'")],
)
refuses(
    page_weights.page_random_backbone,
    {"config": vit.BOOK_VIT},
    config=config("ViTConfig"),
)
refuses(
    own_run.own_run,
    {"n_pictures": 1000, "side": 32, "steps": 600},
    n_pictures=whole(64, "63 pictures are too few to train on"),
    side=whole(32, "side must be 32 or 64 or 96 or 128, got 31"),
    steps=whole(50, "49 steps are too few"),
)
refuses(own_run.own_side, {"shorter_side": 100}, shorter_side=whole(16, "less than 16 pixels"))
refuses(own_run.own_momentum, {"steps": 100}, steps=whole())
refuses(
    presets.with_steps,
    {"config": presets.patterns10_run(), "steps": None},
    config=config("TrainConfig"),
    steps=[*whole(None), (1, "--steps must be above the")],
)
refuses(
    study_rows.study_preprocessings,
    {"sizes": (28,), "smallest_side": 32},
    sizes=[
        ((), "sizes is empty"),
        (28, "^NAME: wanted a list of whole numbers, got 28"),
        ((2.5,), "whole numbers"),
    ],
    smallest_side=whole(None),
)
refuses(
    study_rows.run_study,
    {"model": vit.vit_tiny(), "train": patterns10(4), "test": patterns10(4), "preprocessings": []},
    model=config("VisionTransformer"),
    preprocessings=[
        (3, "^NAME: wanted a list of Preprocessing each, got 3"),
        ([224], "^NAME: wanted a list"),
    ],
    c_grid=[(0.1, "^c_grid: wanted a list of finite numbers, got 0.1")],
)
recording = [
    ("cifar10", "^recorded: wanted a RecordedCifar10 or None, got 'cifar10'"),
    ({}, "^recorded: wanted a RecordedCifar10"),
]
refuses(
    recordings_rows.recorded_photos,
    {"besides": ["vits14", "vits14_reg4", "vitl14"]},
    besides=[("vits14", "^besides: wanted .*strings, got 'vits14'"), ([3], "^besides: wanted"), (3, "got 3")],
)
refuses(recordings_rows.accuracy_rows, {"recorded": None}, recorded=recording)
refuses(recordings_rows.labelled_sets, {"recorded": None}, recorded=recording)

refuses(recipes.default_recipe, {"batch_size": 1024}, batch_size=whole())
refuses(recipes.published_recipe, {"batch_size": 3072}, batch_size=whole())
refuses(
    sparklines.sparkline,
    {"values": [1.0, 2.0]},
    values=[([], "at least one value"), (3, "^values: wanted a list")],
)
refuses(
    evaluation.dense_evaluator,
    {"train": pattern_mosaics(4, size=8), "test": pattern_mosaics(2, size=8)},
    train=config("Mosaics"),
    test=config("Mosaics"),
)
refuses(
    released.load_released,
    {"path": released.RECORDED},
    path=[(3, "^path: wanted a string or a path, got 3"), ("nowhere", "no recorded runs in nowhere")],
)
refuses(released.student_run, {"seed": 0, "steps": 100}, seed=whole(0), steps=[*whole(None), (60, "warmup")])
refuses(
    released.last_phase,
    {"config": presets.patterns10_run(), "size": 64, "seed": 0, "steps": 20},
    config=config("TrainConfig"),
    size=[*whole(None), (30, "crops.global_size 30 is not a multiple of the patch size 8")],
    seed=whole(0),
    steps=whole(None),
)
refuses(
    evaluation.knn_evaluator,
    {"train": patterns10(4), "test": patterns10(4), "n_train": 4},
    train=config("ImageSet"),
    test=config("ImageSet"),
    n_train=whole(),
)

MATCHED = {"pixels": np.arange(4)}
TRUE_PLACES = np.zeros((4, 2))
refuses(
    MatchWidget,
    {
        "left": PHOTO,
        "right": PHOTO,
        "found": MATCHED,
        "truth": TRUE_PLACES,
        "grid": (2, 2),
        "source": "",
        "alt": "x",
    },
    left=[(3, "^left: wanted a picture, got 3")],
    right=[(None, "^right: wanted a picture, got None")],
    found=[
        ({}, "found is empty"),
        ({"a": np.arange(3)}, "found by 'a': wanted 4 whole numbers from 0 to 3"),
        ({"a": np.arange(4) + 1}, "found by 'a'"),
        ({"a": np.zeros(4)}, "found by 'a'"),
    ],
    truth=[
        (TRUE_PLACES[:3], r"truth: wanted 4 places of shape \(4, 2\)"),
        (TRUE_PLACES * NAN, "no place is known"),
    ],
    grid=[*pair("whole numbers"), ((2, 3), "wanted 6 whole numbers")],
    source=wrong_source,
    seen_by=[("nobody", "seen_by: wanted one of")],
    patch=[([2, 0], "patch: wanted .*within the 2 x 2 grid")],
)
