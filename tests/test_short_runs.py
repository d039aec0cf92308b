"""The short runs on Patterns10: what is tried, how a setting is chosen, and that nothing is trained twice."""

import json
from dataclasses import replace

import pytest
from tiny_training import TINY

from dinov2_edu.data import patterns10
from dinov2_edu.experiments import short_runs
from dinov2_edu.experiments.ablations import STAGES, ablation_run
from dinov2_edu.experiments.short_runs import SETTINGS, TUNED, Job, best_settings, questions, tuned_rows


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
    assert changed.pop("as it is") == whole
    for name, config in changed.items():
        assert config != whole and config.batch_size * config.steps == whole.batch_size * whole.steps, name
    assert len({json.dumps(config.to_dict()) for config in changed.values()}) == len(changed)
