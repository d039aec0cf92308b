"""What notebooks use: the set-up, the source of a function, and exercises that check themselves."""

import importlib.machinery
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from dinov2_edu import dinov2
from dinov2_edu.checks import describe
from dinov2_edu.exercises import Exercise, examine, find_exercise
from dinov2_edu.exercises.compare import difference
from dinov2_edu.notebook import check, setup, show_source, show_step, show_table
from dinov2_edu.shapes import check_images


def softmax(logits, temperature):
    return torch.softmax(logits / temperature, -1)


EXERCISE = Exercise(
    task="the softmax of `logits` (b, k) at a temperature",
    reference=softmax,
    make_inputs=lambda generator: {"logits": torch.randn(5, 6, generator=generator), "temperature": 0.5},
    hint="Divide first.",
    mistakes={"the temperature was multiplied instead of divided by": lambda x, t: torch.softmax(x * t, -1)},
)


CURVE = Exercise(
    task="the squares of the numbers below n",
    reference=lambda n: torch.arange(n).float() ** 2,
    make_inputs=lambda generator: {"n": 20},
    hint="Square.",
)


def judge(function, exercise=EXERCISE):
    return examine(exercise, function, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def known(monkeypatch):
    """Register the exercise above as `losses.softmax`."""
    name = "dinov2_edu.exercises.losses"
    module = types.ModuleType(name)
    module.EXERCISES = {"softmax": EXERCISE}
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, module)


def test_setup_seeds_and_says_where_it_runs(capsys):
    first = setup("05_losses")
    drawn = torch.rand(3, generator=first.generator), torch.rand(3)
    second = setup("05_losses")
    assert torch.equal(drawn[0], torch.rand(3, generator=second.generator))
    assert torch.equal(drawn[1], torch.rand(3))
    said = capsys.readouterr().out
    assert said.startswith("05_losses runs on ") and torch.__version__ in said and "seed 0" in said
    assert first.device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def shown(monkeypatch, thing, **options):
    """The Markdown that show_source displays."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda markdown: found.append(markdown.data))
    show_source(thing, **options)
    return found[0]


def test_show_source_gives_file_line_and_code(monkeypatch):
    text = shown(monkeypatch, check_images)
    assert text.startswith(
        "<details><summary>The package's <code>check_images</code>: dinov2_edu/shapes.py, line "
    )
    assert 'wanted = f"wanted a batch of images' in text
    assert "Refuse anything that is not a non-empty batch" in text
    assert "ValueError: wrong type, rank" not in text  # the rest of the docstring is left out
    compile(text.split("````python\n")[1].split("````")[0], "shown", "exec")


def test_show_source_leaves_the_lesson_open(monkeypatch):
    assert shown(monkeypatch, check_images, fold=False).startswith("<details open><summary>")


def test_show_source_cuts_the_docstrings_of_methods_too(monkeypatch):
    text = shown(monkeypatch, Exercise)
    assert "One function that a reader writes." in text and "Attributes:" not in text


class Nested:
    """A class whose first method holds a function.

    More is said of it here.
    """

    def first(self):
        """The first."""

        def inner():
            """The inner function.

            More is said of it here.
            """
            return 1

        return inner()

    def second(self):
        """The second method.

        More is said of it here.
        """
        return 2


def test_a_docstring_that_is_cut_leaves_the_others_in_place(monkeypatch):
    code = shown(monkeypatch, Nested).split("````python\n")[1].split("````")[0]
    assert "More is said" not in code
    assert "return inner()" in code and "def second(self):" in code and "return 2" in code
    compile(code, "shown", "exec")


NO_FILE = {}
exec("def typed_in():\n    return 1", NO_FILE)


@pytest.mark.parametrize("thing", [3, torch.add, "koleo_loss", NO_FILE["typed_in"]])
def test_show_source_refuses_what_has_no_source(thing):
    with pytest.raises(ValueError, match="written in Python"):
        show_source(thing)


def step_at(monkeypatch, chapter):
    """The lines that show_step displays for a chapter: (marker, line)."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda markdown: found.append(markdown.data))
    show_step(dinov2, chapter)
    lines = found[0].removeprefix("```diff\n").removesuffix("\n```").splitlines()
    return [(line[:1], line[2:]) for line in lines if line and line.strip() != "..."]


def test_the_step_grows_by_a_chapters_lines_until_it_is_whole(monkeypatch):
    source = Path(dinov2.__file__).read_text("utf-8").splitlines()
    before = set()
    for chapter in range(1, 7):
        lines = step_at(monkeypatch, chapter)
        new = {line for mark, line in lines if mark == "+"}
        assert new and {line for mark, line in lines if mark == " " and not line.startswith("def ")} == before
        assert all(line in source for _, line in lines)
        assert [line for _, line in lines if len(line) > 93] == [], "a page shows no more of a line"
        before |= new
    whole = step_at(monkeypatch, 7)
    assert {line for _, line in whole if not line.startswith("def ")} == before
    assert sum(line.startswith("def ") for _, line in whole) == 3
    wanted = {"01": "make_views", "03": "teacher.backbone", "05": "koleo =", "06": "optimizer.step()"}
    for chapter, words in wanted.items():
        marked = [line for mark, line in step_at(monkeypatch, int(chapter)) if mark == "+"]
        assert any(words in line for line in marked), (chapter, marked)


def test_the_step_has_no_eighth_chapter():
    with pytest.raises(ValueError, match="1 to 7, got 8"):
        show_step(dinov2, 8)


def test_a_table_is_markdown_with_a_cell_for_each_value(monkeypatch):
    found = []
    monkeypatch.setattr("IPython.display.display", lambda markdown: found.append(markdown.data))
    show_table(["|x|", 5], [["raw pixels", 24.1], ["a|b", "-"]])
    assert found == ["| \\|x\\| | 5 |\n| :-- | --: |\n| raw pixels | 24.1 |\n| a\\|b | - |"]


def test_a_column_of_words_is_set_to_the_left(monkeypatch):
    found = []
    monkeypatch.setattr("IPython.display.display", lambda markdown: found.append(markdown.data))
    show_table(
        ["way", "change", "n", "why"],
        [["a", -1.5, "-", "2 rows"], ["b", "+2", "7 %", "words"], ["c", "", 1, "x"]],
    )
    assert found[0].splitlines()[1] == "| :-- | --: | --: | :-- |"


def test_a_table_wants_full_rows():
    with pytest.raises(ValueError, match="wanted 2 values a row"):
        show_table(["features", "k-NN"], [["raw pixels"]])


def test_a_right_answer_passes():
    verdict = judge(
        lambda logits, temperature: (logits / temperature).exp() / (logits / temperature).exp().sum(-1, True)
    )
    assert verdict.passed and verdict.message.startswith("Solved: ") and "softmax" in verdict.message


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, t: print(end=""), "the result is None (is there a `return`?)"),
        (lambda x, t: softmax(x, t)[0], "has shape (6,), wanted (5, 6)"),
        (lambda x, t: softmax(x, t) > 0.1, "has dtype bool, wanted float32"),
        (
            lambda x, t: softmax(x, t).index_fill(0, torch.tensor(2), 0.0),
            "6 of 30 entries of the result differ",
        ),
        (lambda x, t: softmax(x, t) * float("nan"), "30 of 30 entries"),
        (lambda x, t: softmax(x * t, 1.0), "the temperature was multiplied instead of divided by"),
        (lambda x, t: x.no_such_thing(), "your function raised AttributeError"),
        (lambda x: x, "your function raised TypeError"),
        (lambda x, t: softmax(x.mul_(1 / t), 1.0), "your function changed its input logits"),
        (lambda x, t: "softmax", "the result is 'softmax' (str)"),
    ],
)
def test_a_wrong_answer_is_told_what_differs(function, words):
    verdict = judge(function)
    assert not verdict.passed and verdict.message.startswith("Not yet: ") and words in verdict.message
    assert "Wanted: the softmax of" in verdict.message
    assert "logits = a float32 tensor of shape (5, 6)" in verdict.message


def test_a_stub_is_told_that_it_is_the_readers_turn(known, capsys):
    def stub(logits, temperature):
        """Logits -> probabilities."""
        ...  # your code

    verdict = judge(stub)
    assert verdict.message.startswith("Your turn. Wanted: the softmax of") and not verdict.passed
    for _ in range(3):
        check("losses.softmax", stub)
    assert "Hint" not in capsys.readouterr().out


def test_a_hint_comes_with_the_second_wrong_answer(known, capsys):
    said = []
    for answer in (
        softmax,
        softmax,
        lambda x, t: x,
        lambda x, t: 2 * x,
        lambda x, t: 3 * x,
        softmax,
        lambda x, t: x,
    ):
        check("losses.softmax", answer)
        said.append("Hint: Divide first." in capsys.readouterr().out)
    assert said == [False, False, False, True, True, False, False]


def test_an_answer_that_fits_one_draw_only_fails():
    remembered = []

    def first_answer_for_ever(logits, temperature):
        remembered.append(softmax(logits, temperature))
        return remembered[0]

    assert not judge(first_answer_for_ever).passed


def test_the_worst_entry_is_named():
    wanted = torch.zeros(3, 4)
    theirs = wanted.clone()
    theirs[1, 2], theirs[2, 0] = 0.5, -2.0
    assert (
        difference(theirs, wanted, tolerance=1e-4)
        == "2 of 12 entries of the result differ, most at [2, 0]: -2, wanted 0"
    )


@pytest.mark.parametrize(
    ("theirs", "wanted", "words"),
    [
        (2.5, 2.0, "the result is 2.5, wanted 2"),
        ((1, 2), (1, 3), "the result[1] is 2, wanted 3"),
        ((1,), (1, 3), "the result is 1 values, wanted 2 values"),
        ({"a": 1}, {"b": 1}, "the keys ['a'], wanted a dictionary with the keys ['b']"),
        ({"a": 1}, {"a": 2}, "the result['a'] is 1, wanted 2"),
        ("x", "y", "the result is 'x' (str), wanted 'y' (str)"),
        (torch.ones(1), torch.ones(1), ""),
        (torch.tensor(float("nan")), torch.tensor(float("nan")), ""),
        (torch.ones(2, dtype=torch.float64), torch.ones(2), ""),
        (1, True, "has dtype int64, wanted bool"),
        (12_345_678_901.0, 12_345_678_901, ""),
        (2**70, 5, "the result is 1180591620717411303424 (int), wanted 5 (int)"),
        (np.arange(3.0)[::-1], torch.tensor([2.0, 1.0, 0.0]), ""),
        (np.array(["x"]), torch.ones(1), "wanted a float32 tensor of shape (1,)"),
    ],
)
def test_differences_in_words(theirs, wanted, words):
    said = difference(theirs, wanted, tolerance=1e-9)
    assert (words in said) if words else said == ""


def test_check_prints_the_verdict_and_raises_nothing(known, capsys):
    check("losses.softmax", softmax)
    assert capsys.readouterr().out.startswith("Solved: ")
    check("losses.softmax", lambda logits, temperature: logits)
    assert capsys.readouterr().out.startswith("Not yet: ")


def test_check_leaves_the_global_seed_alone(capsys):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    check("heads.logits", lambda bottleneck, directions, gains: torch.rand(2))
    assert torch.equal(torch.rand(3), wanted)


def test_a_changed_list_of_tensors_is_seen():
    def in_place(parts, limit):
        for gradients in parts:
            norm = torch.cat([one.flatten() for one in gradients]).norm()
            for one in gradients:
                one.mul_((limit / norm).clamp(max=1))
        return parts

    assert "your function changed its input parts" in judge(in_place, find_exercise("ema.clip")).message


def test_check_draws_the_difference_of_two_matrices(known, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("IPython.display.display", drawn.append)
    check("losses.softmax", lambda logits, temperature: softmax(logits, 3.0))
    titles = [axes.get_title("left") or axes.get_title("center") for axes in drawn[0].axes]
    assert titles == ["yours", "wanted", "difference"]


def test_check_draws_two_curves_where_the_result_is_one(known, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr("IPython.display.display", drawn.append)
    monkeypatch.setattr(sys.modules["dinov2_edu.exercises.losses"], "EXERCISES", {"softmax": CURVE})
    check("losses.softmax", lambda n: torch.arange(n).float())
    check("losses.softmax", lambda n: torch.arange(n - 1).float())  # another shape: nothing to compare
    assert [[line.get_label() for line in one.axes[0].lines] for one in drawn] == [["yours", "wanted"]]


def test_an_input_is_described_in_few_words():
    exercise = Exercise(
        task="the first of `pair`",
        reference=lambda pair, share: pair[0],
        make_inputs=lambda generator: {"pair": [torch.ones(3, 2), torch.ones(4)], "share": 2 / 3},
        hint="Take it.",
    )
    said = judge(lambda pair, share: None, exercise).message
    assert "pair = a list of tensors of shapes (3, 2), (4,), share = 0.6667." in said
    assert describe([[torch.ones(2)], [torch.ones(3)]]) == "a list of tensors of shapes [(2,)], [(3,)]"
    assert describe([torch.ones(2), "x"]).endswith("'x'] (list)") and describe([]) == "[] (list)"


def test_check_draws_fresh_inputs_every_time(known, capsys):
    seen = []
    for _ in range(2):
        check("losses.softmax", lambda logits, temperature: seen.append(logits))
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("name", ["losses.koleoo", "losses"])
def test_an_unknown_exercise_lists_what_there_is(known, name):
    with pytest.raises(ValueError, match=r"this chapter has losses\.softmax"):
        find_exercise(name)


@pytest.mark.parametrize("name", ["nowhere.koleo", "", "../losses.koleo"])
def test_an_unknown_chapter_is_refused(name):
    with pytest.raises(ValueError, match="no chapter"):
        find_exercise(name)


def test_a_called_function_is_refused():
    with pytest.raises(
        ValueError, match=r"function: wanted a function, got a float32 .* itself, without brackets"
    ):
        judge(torch.ones(2))
