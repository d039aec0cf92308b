"""What chapters show of recordings: rows named as recorded, where there are any, and nothing else where there are none.

A recording that is refused is named, with the reason, and left out: a page has its own numbers all the same.
"""

import json
from collections.abc import Collection
from typing import NamedTuple

from torch import Tensor

from dinov2_edu.checks import checked
from dinov2_edu.experiments.parsers import RECORDING_NAMES
from dinov2_edu.features.recorded import (
    RecordedCifar10,
    RecordedPhotos,
    read_recorded_cifar10,
    read_recorded_photos,
)
from dinov2_edu.features.recordings import Recording, RecordingRefused, RecordingUnavailable, read_recording

PHOTOS, STUDY = "photos-", "study-vits14"
LABELLED = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Features and labels to learn from, and features and labels to be tested on."""

UNRECORDED_STUDY = """\
What moves the post's 95.01 % only the official weights can say. With them and a GPU the command

`python -m dinov2_edu study --weights vits14 --device cuda`

varies statistics, interpolation, antialiasing, size and C on all pictures, prints one table with the cost of each
cell, and says what each suspect is worth."""


class StudyShown(NamedTuple):
    """What chapter 08 shows of the study: words in Markdown, and a table, empty where nothing is recorded."""

    words: str
    header: tuple[str, ...]
    rows: list[list[str]]


def _row_name(recording: Recording) -> str:
    """What rows and curves of a recorded model are called."""
    return f"{recording.model}{' stand-in' * recording.stand_in}, recorded"


@checked
def recorded_photos(besides: Collection[str] = ()) -> dict[str, RecordedPhotos]:
    """Recorded tokens of the sample squares by row name, such as "vitl14, recorded"; prints where each comes from.

    Args:
        besides: models that the page has itself, which need no recording.
    """
    found = {}
    for model in (name.removeprefix(PHOTOS) for name in RECORDING_NAMES if name.startswith(PHOTOS)):
        if model in besides:
            continue
        try:
            photos = read_recorded_photos(model)
        except RecordingUnavailable as error:
            _say_refusal(error)
            continue
        name = _row_name(photos.recording)
        found[name] = photos
        lowest = min(photos.recording.about["mean_cosine_of_decoded_patches"])
        print(f'"{name}" was {photos.recording.source}.')
        print(f"   Patch tokens were kept in 8 bits; mean cosine with the exact ones {lowest:.4f}.")
    return found


def recorded_cifar10() -> RecordedCifar10 | None:
    """Recorded class tokens of CIFAR-10, or None; prints where they come from and what their coding costs."""
    try:
        found = read_recorded_cifar10()
    except RecordingUnavailable as error:
        _say_refusal(error)
        return None
    recording, about = found.recording, found.recording.about
    knn, (kept, width) = about["accuracy"]["knn"], about["dimensions"]
    print(f'"{_row_name(recording)}" was {recording.source}.')
    print(f"   Pictures: {'; '.join(about['data'])}.")
    print(
        f"   Features were kept as {kept} of {width} components in 8 bits: k-NN {knn['decoded']:.2%}, before "
        f"{knn['features']:.2%}."
    )
    return found


@checked
def accuracy_rows(recorded: RecordedCifar10 | None) -> dict[str, tuple[str, str, str, str]]:
    """The recorded row of chapter 08's table: training labels, k-NN, training and test accuracy in per cent."""
    if recorded is None:
        return {}
    knn, linear = (recorded.recording.about["accuracy"][kind] for kind in ("knn", "linear"))
    percent = (f"{100 * one:.1f}" for one in (knn["features"], linear["training"], linear["features"]))
    knn_text, training, test = percent
    return {_row_name(recorded.recording): (f"{len(recorded.train):,}", knn_text, training, test)}


@checked
def labelled_sets(recorded: RecordedCifar10 | None) -> dict[str, LABELLED]:
    """Recorded features with their labels by row name, as `probe.few_shot_curve` takes them; none for None."""
    if recorded is None:
        return {}
    sets = (recorded.train, recorded.train_labels), (recorded.test, recorded.test_labels)
    return {_row_name(recorded.recording): sets}


def recorded_study() -> StudyShown:
    """The study of official weights as it was recorded, or the sentences that say how to run it."""
    header = ("statistics", "interpolation", "size", "C", "linear", "95 %", "post's call", "k-NN")
    try:
        recording = read_recording(STUDY)
    except RecordingUnavailable as error:
        _say_refusal(error)
        return StudyShown(UNRECORDED_STUDY, header, [])
    table, (learnt, asked) = json.loads(recording.content), recording.about["pictures"]
    findings = "\n".join(f"- {line}" for line in table["summary"].splitlines())
    words = (
        f"What moves the post's 95.01 %, asked of its own model: {recording.source}, learnt from {learnt:,} pictures "
        f"and tested on {asked:,} ({'; '.join(recording.about['data'])}).\n\n{findings}"
    )
    rows = []
    for row in table["rows"]:
        low, high = (f"{100 * end:.1f}" for end in row["interval"])
        scores = (f"{100 * row[name]:.2f}" for name in ("post_test_accuracy", "knn_accuracy"))
        way = row["interpolation"] + ("" if row["antialias"] else ", no antialias")
        size = f"{row['size']}" + ("" if row["resize"] == row["size"] else f" of {row['resize']}")
        reached = f"{100 * row['refit_test_accuracy']:.2f}", f"{low} to {high}"
        rows.append([row["statistics"], way, size, f"{row['c']:g}", *reached, *scores])
    return StudyShown(words, header, rows)


def _say_refusal(error: RecordingUnavailable) -> None:
    """Say why a recording that is there is left out."""
    if isinstance(error, RecordingRefused):
        print(f"Left out: {error}.")
