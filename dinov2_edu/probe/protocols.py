"""The three official evaluations by name: each with its own transform, features, and way to choose its setting."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from dinov2_edu.checks import check_at_least, check_one_of, checked, require
from dinov2_edu.crops import crop_and_resize, normalize, sample_boxes
from dinov2_edu.features import ExtractOptions, Features, Preprocessing, extract_features
from dinov2_edu.features.runner import Runner
from dinov2_edu.features.sources import Failure, Pictures, as_pictures
from dinov2_edu.numerics import best_precision, stream, torch_defaults
from dinov2_edu.pictures import OR_SKIP, PictureError
from dinov2_edu.probe.checks import check_pair
from dinov2_edu.probe.knn import knn_predict
from dinov2_edu.probe.linear import LinearGrid, grid_accuracies, train_grid
from dinov2_edu.probe.logistic import C_GRID, LogisticProbe, fit
from dinov2_edu.probe.report import ProbeReport, make_report
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD, Labels
from dinov2_edu.vit import VisionTransformer

PROTOCOLS = ("logreg", "linear", "knn")
NEIGHBOURS = (10, 20, 100, 200)
"""Numbers of neighbours that the official k-NN evaluation reports, at temperature 0.07."""

BATCH_SIZE = 128


class Choice(NamedTuple):
    """One setting that a protocol tried: its accuracy on the held-out tenth, and on the test pictures."""

    setting: str
    held_out: float
    test: float


class ProtocolResult(NamedTuple):
    """The report of the setting that did best on the held-out tenth, all that were tried, and what made them."""

    report: ProbeReport
    choices: tuple[Choice, ...]
    provenance: str


@checked
@torch_defaults()
def official_probe(
    model: VisionTransformer,
    train: Any,
    test: Any,
    protocol: str = "logreg",
    *,
    size: int = 224,
    steps: int = 12_500,
    **extraction: Any,
) -> ProtocolResult:
    """Evaluate a frozen backbone as one of the three official scripts does.

    | protocol | a picture becomes | features | tried |
    |---|---|---|---|
    | `logreg` | `size`, whole | class token | 45 values of C, float64, to convergence; then refitted on all |
    | `linear` | 8/7 `size`, centre; random crops in training | 1 or 4 class tokens, mean patch | 13 learning rates |
    | `knn` | 8/7 `size`, centre | class token | 10, 20, 100 or 200 neighbours |

    Every setting is chosen on a tenth of the training pictures. The official `logreg` does so too; `linear` there
    chooses on the pictures that it reports, and `knn` reports all four. Both numbers are in the choices.

    Args:
        model: the backbone; it is left as it is.
        train: labelled pictures, as `extract_features` takes them.
        test: labelled pictures to report on.
        protocol: "logreg", "linear" or "knn".
        size: side of the square that the model sees; 224 is official.
        steps: of the linear protocol, 128 pictures each; 12,500 is official.
        **extraction: `cache_dir`, `on_error` and `options` of `extract_features`.

    Raises:
        ValueError: another protocol, pictures without labels or that cannot be probed, a backbone of fewer than four
            blocks for "linear".

    Source: `log_regression.py`, `linear.py`, `knn.py` in official `dinov2/eval` @ b8931f7. `linear.py` runs on 8 GPUs
        with 128 pictures each by default; here one process takes 128.
    """
    check_one_of(PROTOCOLS, protocol=protocol)
    check_at_least(1, steps=steps)
    train, test = as_pictures(train), as_pictures(test)
    for name, pictures in {"training": train, "test": test}.items():
        require(
            pictures.labels is not None, f"the {name} pictures have no labels: use a folder for each class"
        )
    options = extraction.pop("options", None) or ExtractOptions()
    if protocol == "linear":
        depth = model.config.depth
        require(depth >= 4, f"the linear protocol reads the last 4 blocks, this backbone has {depth}")
        options = replace(options, n_layers=4)
    resize = size if protocol == "logreg" else round(size * 256 / 224)
    extraction |= {"preprocessing": Preprocessing(size=size, resize=resize), "options": options}
    if protocol == "linear":
        return _linear(model, train, test, steps, extraction)
    learn, asked = (extract_features(model, pictures, **extraction) for pictures in (train, test))
    check_pair(learn.cls, learn.known_labels, asked.cls, asked.known_labels)
    choices, report = (_logreg if protocol == "logreg" else _knn)(learn, asked)
    return ProtocolResult(report, choices, asked.provenance)


def held_out_tenth(n: int) -> tuple[Int[Tensor, " kept"], Int[Tensor, " held"]]:
    """Rows to learn from and rows to choose on, drawn as the official `log_regression.py` draws them."""
    require(n >= 10, f"a tenth of the training pictures is held out: wanted at least 10, got {n}")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return order[n // 10 :], order[: n // 10]


def _share(predictions: Any, labels: Any) -> float:
    return float((torch.as_tensor(predictions) == torch.as_tensor(labels)).double().mean())


def _best(choices: list[Choice]) -> int:
    """The first of the best on the held-out tenth."""
    return max(range(len(choices)), key=lambda index: (choices[index].held_out, -index))


def _logreg(learn: Features, asked: Features) -> tuple[tuple[Choice, ...], ProbeReport]:
    kept, held = held_out_tenth(len(learn))
    rows, queries = learn.cls.double().numpy(), asked.cls.double().numpy()
    classes, truth = learn.known_labels.numpy(), asked.known_labels.numpy()
    choices = []
    for c in C_GRID:
        classifier, _ = fit(rows[kept], classes[kept], c, tolerance=1e-12)
        scores = classifier.score(rows[held], classes[held]), classifier.score(queries, truth)
        choices.append(Choice(f"C = {c:.3g}", *(float(score) for score in scores)))
    c = C_GRID[_best(choices)]
    classifier, converged = fit(rows, classes, c, tolerance=1e-12)
    notes = () if converged else ("The final fit ended after 1,000 iterations, as the official one would.",)
    as_they_are = np.zeros(learn.width, np.float32), np.ones(learn.width, np.float32)
    accuracy = float(classifier.score(rows, classes))
    probe = LogisticProbe(classifier, *as_they_are, c, (), accuracy, 0.0, notes)
    return tuple(choices), probe.report(asked.cls, asked.known_labels, asked.class_names)


def _knn(learn: Features, asked: Features) -> tuple[tuple[Choice, ...], ProbeReport]:
    kept, held = held_out_tenth(len(learn))
    labels, truth = learn.known_labels, asked.known_labels
    choices, votes = [], []
    for k in NEIGHBOURS:
        chosen = knn_predict(learn.cls[kept], labels[kept], learn.cls[held], k).argmax(dim=1)
        votes.append(knn_predict(learn.cls, labels, asked.cls, k))
        scores = _share(chosen, labels[held]), _share(votes[-1].argmax(dim=1), truth)
        choices.append(Choice(f"k = {k}", *scores))
    best = _best(choices)
    method = f"weighted k-NN, {choices[best].setting}, temperature 0.07"
    return tuple(choices), make_report(votes[best], truth, asked.class_names, method)


def _linear(
    model: VisionTransformer, train: Pictures, test: Pictures, steps: int, extraction: dict[str, Any]
) -> ProtocolResult:
    kept, held = held_out_tenth(len(train))
    chosen_on, asked = (extract_features(model, one, **extraction) for one in (train.subset(held), test))
    learn = train.subset(kept)
    check_pair(torch.zeros(len(learn), 1), learn.known_labels, asked.linear_eval, asked.known_labels)
    generator = stream("linear evaluation")
    grid = LinearGrid(model.config.width, int(train.known_labels.max()) + 1, generator)
    options, size = extraction["options"], extraction["preprocessing"].size
    device = model.pos_embed.device
    precision = best_precision(device) if options.precision == "auto" else options.precision
    runner = Runner(model, precision, 4, None, size)
    batch_size = min(BATCH_SIZE, len(learn))
    grid.to(device)
    skip = extraction.get("on_error") == "skip"
    train_grid(grid, _training_rows(runner, learn, size, batch_size, generator, skip), steps, batch_size)
    grid.cpu()
    scores = [grid_accuracies(grid, one.linear_eval, one.known_labels).tolist() for one in (chosen_on, asked)]
    names = [grid.name(index) for index in range(len(grid.settings))]
    choices = [Choice(*one) for one in zip(names, *scores, strict=True)]
    best = _best(choices)
    with torch.no_grad():
        probabilities = grid(asked.linear_eval)[best].softmax(dim=-1)
    method = f"linear classifier, {names[best]}, {steps:,} steps of {batch_size}"
    top = max(choices, key=lambda one: one.test)
    notes = (
        f"Chosen on the test pictures themselves, as the official script does by default: {100 * top.test:.2f} % "
        f"({top.setting}).",
    )
    report = make_report(probabilities, asked.known_labels, asked.class_names, method, notes)
    return ProtocolResult(report, tuple(choices), asked.provenance)


def _training_rows(
    runner: Runner, pictures: Pictures, size: int, batch_size: int, generator: torch.Generator, skip: bool
) -> Iterator[tuple[Tensor, Labels]]:
    """Features of random crops, mirrored half the time, batch after batch without end; incomplete ones are left out.

    Source: `make_classification_train_transform` in official `dinov2/data/transforms.py` @ b8931f7.
    """
    while True:
        order = torch.randperm(len(pictures), generator=generator)
        for rows in order[: len(order) // batch_size * batch_size].split(batch_size):
            part = pictures.subset(rows)
            found, labels = [], []
            for piece in part.pieces(0, len(part)):
                if isinstance(piece, Failure):
                    if not skip:
                        raise PictureError(piece.reason + OR_SKIP, part.name_of(piece.row))
                    continue
                assert piece.images is not None  # nothing is cached here
                b, (height, width) = len(piece.rows), piece.images.shape[-2:]
                boxes = sample_boxes(b, (height, width), (0.08, 1.0), generator=generator)
                flips = torch.rand(b, generator=generator) < 0.5
                images = piece.images.contiguous().to(runner.device)
                crops = crop_and_resize(images, boxes, size, flips=flips)
                found.append(runner(normalize(crops, IMAGENET_MEAN, IMAGENET_STD)))
                labels.append(part.known_labels[torch.tensor(piece.rows)])
            if found:
                yield torch.cat(found), torch.cat(labels).to(runner.device)
