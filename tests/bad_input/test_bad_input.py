"""Every public function and class refuses bad arguments with one sentence: what is wanted, what was given, what to do.

A call that passes, that fails from inside, or that says something else than its row fails the test.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

import pytest
import rows_book  # noqa: F401 (the rows of a few rooms each)
import rows_learn  # noqa: F401
import rows_parts  # noqa: F401
import rows_use  # noqa: F401
import traitlets
from kinds import CASES, GOOD, Case

pytestmark = pytest.mark.bad_input

LEFT_OUT = {
    "what checks": "checks.* shapes.* numerics.checksum",
    "results, which the package alone makes": (
        "crops.Views data.MessyCollection data.Mosaics data.OwnFolder data.OwnPictures data.SampleImage "
        "exercises.Exercise exercises.Verdict experiments.Experiment experiments.OwnRun experiments.RecordedRun "
        "experiments.StudyRow features.Features features.Recorded* features.Recording plots.Diagram plots.Figure "
        "probe.LinearSegmenter probe.LogisticProbe probe.ProbeReport "
        "training.Batch training.Cause training.Diagnosis training.Findings "
        "training.Log training.Losses training.TrainState weights.LoadedBackbone weights.WeightsEntry"
    ),
    "steps of a command, called by it alone": (
        "experiments.*_item experiments.card_before experiments.check_chain experiments.heads_of "
        "experiments.make_card experiments.measure experiments.pixel_rows experiments.post_call "
        "experiments.quiet_features "
        "experiments.record experiments.run experiments.stage_of experiments.study_records experiments.study_summary "
        "experiments.study_table experiments.write_csv"
    ),
    "words about files": "pictures.left_out_text pictures.path_text",
    "strokes of a figure, called by the figures": (
        "plots.as_* plots.aspect_of plots.bare plots.cover_patches plots.draw_* plots.frame plots.has_values "
        "plots.hide_unused plots.history_series plots.label_bottom plots.legend_above "
        "plots.own_legend plots.paired plots.panel_grid plots.picture_grid plots.show_picture "
        "plots.split_series plots.styled plots.unit_rows plots.whole_counts"
    ),
    "what processes say to each other": "training.*_over_all training.all_reduce_sum training.process_group",
    "layers that a backbone builds from its config": "vit.Attention vit.Block vit.LayerScale vit.mimetic_*",
}
"""Names that the table leaves out, by the reason."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_argument_is_explained(case: Case):
    with pytest.raises((ValueError, traitlets.TraitError)) as error:
        case.function(**{**case.arguments, case.name: case.value})
    said = str(error.value)
    assert re.search(case.sentence, said), said
    assert len(said) <= 400 and "\n" not in said, said


@pytest.mark.parametrize(("function", "arguments"), GOOD, ids=lambda one: getattr(one, "__qualname__", ""))
def test_the_calls_that_rows_change_pass(function: Callable, arguments: dict):
    """Or else every row of the function might be refused for something else."""
    function(**arguments)


def test_the_table_is_long_and_covers_every_public_function():
    """Public is what the reference lists; `LEFT_OUT` says what has no arguments worth attacking, and why."""
    assert len(CASES) >= 400
    covered = {name_of(case.function).removesuffix(".forward") for case in CASES}
    public = {name_of(one) for one in documented()}
    assert len(public) > 150
    patterns = " ".join(LEFT_OUT.values()).split()
    left_out = {one for one in public if any(fnmatch(one, pattern) for pattern in patterns)}
    assert sorted(public - covered - left_out) == []
    assert all(any(fnmatch(one, pattern) for one in public - covered) for pattern in patterns), (
        "covered, or gone"
    )


def documented() -> Iterator[Callable]:
    """The functions and classes that the reference lists."""
    rooms = (Path(__file__).parents[2] / "book" / "api").glob("*.md")
    page = "\n".join(room.read_text() for room in sorted(rooms))
    for module in re.findall(r"automodule:: (\S+)\n   :members:", page):
        yield from doors(importlib.import_module(module))
    for module, name in re.findall(r"autoclass:: (\S+)\.(\w+)\(", page):
        yield getattr(importlib.import_module(module), name)


def doors(module: ModuleType) -> Iterator[Callable]:
    """A module's public functions, and its classes that are made by a call; only those that take an argument."""
    own = [name for name, one in vars(module).items() if getattr(one, "__module__", "") == module.__name__]
    for name in getattr(module, "__all__", [name for name in own if not name.startswith("_")]):
        one = getattr(module, name)
        made = inspect.isclass(one) and not issubclass(one, (tuple, Exception))
        if (inspect.isfunction(one) or made) and inspect.signature(one).parameters:
            yield one


def name_of(function: Callable) -> str:
    """`room.function` or `room.Class`, as the reference has it; of a class's other methods `room.Class.method`."""
    function = getattr(function, "func", function)
    room = function.__module__.split(".")[1]
    return f"{room}.{function.__qualname__.removesuffix('.__init__')}"
