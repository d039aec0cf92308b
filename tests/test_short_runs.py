"""The short runs on Patterns10: what is tried, how a setting is chosen, and that nothing is trained twice."""

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_training import TINY

from dinov2_edu.data import patterns10
from dinov2_edu.experiments import short_runs
from dinov2_edu.experiments.ablations import SEEDS, STAGES, ablation_run
from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.experiments.short_runs import (
    AGAIN_SEEDS,
    AS_IT_IS,
    BEST,
    QUESTIONS,
    RANDOM,
    SETTINGS,
    TUNED,
    TUNING_SEED,
    Job,
    again,
    best_settings,
    load_questions,
    questions,
    tuned_rows,
)


@pytest.fixture
def small(monkeypatch):
    """Few pictures, and a run of four steps for whatever is asked."""
    drawn = patterns10(60), patterns10(20, seed=1), patterns10(30, split="test")
    monkeypatch.setattr(short_runs, "pictures", lambda: drawn)
    monkeypatch.setattr(short_runs, "ablation_run", lambda: replace(TINY, steps=4))
    monkeypatch.setattr(short_runs, "STAGES", {name: STAGES[name] for name in ("stage_dino", "healthy")})
    settings = {name: SETTINGS[name] for name in ("as the whole", "momentum 0.97")}
    monkeypatch.setattr(short_runs, "SETTINGS", settings)
    return drawn


def test_each_stage_has_the_same_budget_and_its_best_setting_is_trained_again(small, tmp_path, monkeypatch):
    trained, really = [], short_runs.train
    monkeypatch.setattr(short_runs, "train", lambda job, dense: trained.append(job) or really(job, dense))
    path = tmp_path / "tuned.json"
    short_runs.record_tuned(path)
    runs = json.loads(path.read_text())["runs"]
    tried = [run for run in runs.values() if run["seed"] == 3]
    assert sorted((run["row"], run["setting"]) for run in tried) == sorted(
        (stage, setting)
        for stage in ("stage_dino", "healthy")
        for setting in ("as the whole", "momentum 0.97")
    )
    assert {(run["row"], run["setting"], run["seed"]) for run in runs.values() if run["seed"] != 3} == {
        (stage, setting, seed) for stage, setting in best_settings(runs).items() for seed in (0, 1, 2)
    }
    assert len(trained) == len(runs) == 10 and all(job.tunes == (job.config.seed == 3) for job in trained)
    assert all(0 <= run["knn"] <= 1 and "dense" not in run for run in runs.values())

    del runs["healthy: as the whole: seed 3"]
    path.write_text(json.dumps({"runs": runs}))
    trained.clear()
    short_runs.record_tuned(path)
    assert "healthy: as the whole: seed 3" == trained[0].key and len(trained) <= 4, "the rest is recorded"


def test_a_setting_is_chosen_by_pictures_that_are_not_the_test_set(small, monkeypatch):
    judged = []
    evaluator = short_runs.knn_evaluator
    monkeypatch.setattr(
        short_runs,
        "knn_evaluator",
        lambda known, asked: judged.append((known, asked)) or evaluator(known, asked),
    )
    known, chosen_by, test = small
    for tunes in (True, False):
        short_runs.train(Job("row", "setting", replace(TINY, steps=4), tunes))
    assert judged[0] == (known, chosen_by) and judged[1] == (known, test)


def test_the_pictures_that_choose_are_none_that_are_trained_on():
    drawn = patterns10(40)
    assert (patterns10(30).images == drawn.images[:30]).all(), (
        "a shorter set is the beginning of a longer one"
    )


def test_the_best_setting_is_that_of_the_choosing_seed():
    def run(row, setting, seed, knn):
        return f"{row}{setting}{seed}", {"row": row, "setting": setting, "seed": seed, "knn": knn}

    runs = dict([run("a", "x", 3, 0.2), run("a", "y", 3, 0.3), run("a", "x", 0, 0.9), run("b", "x", 3, 0.1)])
    assert best_settings(runs) == {"a": "y", "b": "x"}


def test_the_table_holds_what_was_recorded_from_the_three_seeds(tmp_path):
    rows = tuned_rows()
    assert [row[0] for row in rows] == [experiment.title for experiment in STAGES.values()]
    runs = json.loads(TUNED.read_text())["runs"]
    assert len(runs) == len(STAGES) * (len(SETTINGS) + 3), "the same budget for each stage"
    for stage, (_, setting, accuracies, verdicts) in zip(STAGES, rows, strict=True):
        final = [runs[f"{stage}: {setting}: seed {seed}"] for seed in (0, 1, 2)]
        assert accuracies == ", ".join(f"{run['knn']:.1%}" for run in final)
        assert set(verdicts.split(", ")) == {run["verdict"] for run in final}

    del runs[f"healthy: {rows[-1][1]}: seed 1"]
    part = tmp_path / "part.json"
    part.write_text(json.dumps({"runs": runs}))
    with pytest.raises(ValueError, match=r"lacks \[\('healthy', 1\)\]: make them with"):
        tuned_rows(part)


def test_each_question_changes_something_of_the_whole():
    whole = ablation_run()
    changed = questions()
    assert changed.pop(AS_IT_IS) == changed.pop(RANDOM) == whole
    for name, config in changed.items():
        assert config != whole and config.batch_size * config.steps == whole.batch_size * whole.steps, name
    assert len({json.dumps(config.to_dict()) for config in changed.values()}) == len(changed)


def test_what_did_best_is_trained_again_alone_and_together():
    ranked = load_questions()
    assert sorted(list(ranked)[: len(BEST)]) == sorted(BEST), "the best stand first"
    for measure in ("knn", "dense"):
        best = sorted(ranked, key=lambda name: -sum(ranked[name][measure]))[: len(BEST)]
        assert sorted(best) == sorted(BEST), measure
    whole, tried = ablation_run(), again()
    alone = [config for name, config in tried.items() if name in BEST]
    assert tried[AS_IT_IS] == whole and alone == [questions()[name] for name in BEST]
    together = tried["all three"]
    changed = {
        field: value
        for config in alone
        for field, value in vars(config).items()
        if value != vars(whole)[field]
    }
    assert len(changed) == len(BEST) and together == replace(whole, **changed)
    for name in (AS_IT_IS, "all three"):
        assert tried[f"{name}, 1,700 steps"] == replace(tried[name], steps=patterns10_run().steps)
    assert not set(AGAIN_SEEDS) & {*SEEDS, TUNING_SEED}


def test_questions_are_asked_from_each_seed_and_what_did_best_from_others(small, tmp_path, monkeypatch):
    whole = replace(TINY, steps=4)
    asked = {AS_IT_IS: whole, "x": replace(whole, lr=(1e-4, 1e-5)), RANDOM: whole}
    monkeypatch.setattr(short_runs, "questions", lambda: asked)
    monkeypatch.setattr(short_runs, "again", lambda: {AS_IT_IS: whole})
    monkeypatch.setattr(short_runs, "_patches", lambda: lambda backbone: 0.25)
    path = tmp_path / "questions.json"
    short_runs.record_questions(path)
    found = load_questions(path=path)
    assert sorted(found) == sorted(asked) and all(one["dense"] == [0.25] * 3 for one in found.values())
    runs = json.loads(path.read_text())["runs"]
    assert found["x"]["knn"] == [runs[f"questions: x: seed {seed}"]["knn"] for seed in SEEDS]
    assert [sum(one["knn"]) for one in found.values()] == sorted(
        (sum(o["knn"]) for o in found.values()), reverse=True
    )
    assert load_questions("again", path) == {
        AS_IT_IS: {
            "knn": [runs[f"again: {AS_IT_IS}: seed {seed}"]["knn"] for seed in AGAIN_SEEDS],
            "dense": [0.25] * 3,
        }
    }
    assert len(runs) == 12
    verdicts = {run["verdict"] for run in runs.values() if run["setting"] != RANDOM}
    assert "untrained" not in verdicts and runs[f"questions: {RANDOM}: seed 0"]["verdict"] == "untrained"

    del runs["again: as it is: seed 11"]
    path.write_text(json.dumps({"runs": runs}))
    with pytest.raises(ValueError, match=r"lacks \['again: as it is: seed 11'\]: make them with"):
        load_questions("again", path)
    with pytest.raises(ValueError, match=r"row must be one of .*got 'neither'"):
        load_questions("neither", path)


def test_the_log_holds_what_was_recorded():
    """Its tables of one thing changed at a time, number for number."""
    log = (Path(__file__).parents[1] / "book" / "log.md").read_text("utf-8")
    for row in ("questions", "again"):
        for name, seeds in load_questions(row).items():
            knn, patches = (", ".join(f"{100 * one:.1f}" for one in seeds[key]) for key in ("knn", "dense"))
            assert f"| {name} | {knn} | {patches} |" in log
    assert len(json.loads(QUESTIONS.read_text())["runs"]) == 3 * (len(questions()) + len(again()))


def test_chapter_07_says_what_was_recorded():
    cells = json.loads((Path(__file__).parents[1] / "notebooks" / "07_training.ipynb").read_text("utf-8"))[
        "cells"
    ]
    text = " ".join(" ".join("".join(cell["source"]).split()) for cell in cells if "one-thing" in cell["id"])
    first, other = load_questions(), load_questions("again")

    def mean(rows, name, measure="knn"):
        return 100 * statistics.mean(rows[name][measure])

    def gain(rows, name, measure="knn", to=AS_IT_IS):
        return mean(rows, name, measure) - mean(rows, to, measure)

    trained = [one["knn"] for name, one in first.items() if name != RANDOM]
    scatter = 100 * math.sqrt(statistics.mean(statistics.variance(one) for one in trained))
    long = f"{AS_IT_IS}, 1,700 steps"
    for words in (
        f"in {len(first) - 2} ways",
        f"patches have {mean(first, 'no iBOT', 'dense'):.1f} instead of {mean(first, AS_IT_IS, 'dense'):.1f} %",
        f"{mean(first, AS_IT_IS):.1f} % on the mean of the first three seeds, {mean(other, AS_IT_IS):.1f} on these",
        f"{gain(other, 'KoLeo weight 0.1'):.1f} for KoLeo, {gain(other, '8 local crops'):.1f} for local crops",
        f"differ by {scatter * math.sqrt(2 / 3):.1f} points for no reason",
        f"class tokens {-gain(other, 'all three, 1,700 steps', to=long):.1f} points *behind*",
        f"patches are at {mean(other, long, 'dense'):.0f} %",
    ):
        assert words in text, words
    assert gain(other, "half the rate") < 0
    for name in BEST:
        assert 4.5 < gain(first, name) < 6.5 and 3.5 < gain(first, name, "dense") < 5.5
    for measure in ("knn", "dense"):
        for rows in (first, other):
            ahead = zip(rows["KoLeo weight 0.1"][measure], rows[AS_IT_IS][measure], strict=True)
            assert all(one > whole for one, whole in ahead)
    assert all(
        4.5 < 100 * (one - whole) < 6.5
        for one, whole in zip(other["all three"]["dense"], other[AS_IT_IS]["dense"], strict=True)
    )
