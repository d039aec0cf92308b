"""The collapse laboratory: the recorded runs that the book shows, and the command that makes them."""

import os
import signal
from dataclasses import replace
from itertools import pairwise

import pytest
from tiny_training import TINY

from dinov2_edu.data import patterns10
from dinov2_edu.experiments import ablations, commands
from dinov2_edu.experiments.ablations import EXPERIMENTS, STAGES, ablation_run, load_runs, record
from dinov2_edu.training import loop as training_loop
from dinov2_edu.training.config import TrainConfig

VERDICTS = {
    "healthy": "learning",
    "no_centering": "one prototype",
    "no_sharpening": "uniform",
    "no_ema": "learning",
    "no_multicrop": "learning",
    "no_koleo": "learning",  # what it learns is worthless: the chapter says so
    "stage_dino": "uniform",
    "stage_ibot": "uniform",
    "stage_koleo": "constant",
    "full": "learning",
}


def test_the_diagnosis_names_every_recorded_run():
    assert {name: run.diagnosis.name for name, run in load_runs(STAGES | EXPERIMENTS).items()} == VERDICTS


@pytest.mark.parametrize("name", STAGES | EXPERIMENTS)
def test_a_recorded_run_is_whole_and_was_made_by_todays_config(name):
    run = load_runs([name])[name]
    assert TrainConfig.from_dict(run.config) == (STAGES | EXPERIMENTS)[name].change(ablation_run())
    steps = run.config["steps"]
    assert run.history["step"][-1] == run.history["knn_step"][-1] == steps
    assert {len(values) for key, values in run.history.items() if not key.startswith("knn")} == {steps // 10}
    assert len(run.features) == len(run.labels) == ablations.N_FEATURES


def test_each_experiment_takes_one_thing_away():
    healthy = vars(ablation_run())
    for name, experiment in EXPERIMENTS.items():
        changed = [
            key for key, value in vars(experiment.change(ablation_run())).items() if value != healthy[key]
        ]
        assert len(changed) == (name != "healthy"), name


def test_stages_add_one_part_each():
    configs = [vars(experiment.change(ablation_run())) for experiment in STAGES.values()]
    added = [[key for key in before if before[key] != after[key]] for before, after in pairwise(configs)]
    assert added == [["ibot_weight"], ["koleo_weight"], ["targets"], ["steps"]]


def test_a_run_is_recorded_and_not_trained_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        ablations, "patterns10", lambda n, split="train": patterns10(120, split=split, size=16)
    )
    monkeypatch.setattr(ablations, "ablation_run", lambda: replace(TINY, steps=8))
    first = record("no_koleo", replace(TINY, steps=8), tmp_path)
    again = load_runs(folder=tmp_path)["no_koleo"]
    assert (again.history, again.features, again.labels) == (first.history, first.features, first.labels)
    assert TrainConfig.from_dict(again.config) == TrainConfig.from_dict(first.config)
    assert first.config["koleo_weight"] == 0.0 and "koleo" not in first.history
    before = (tmp_path / "no_koleo.json").stat().st_mtime_ns
    assert commands.main(["ablations", "--folder", str(tmp_path), "--only", "no_koleo"]) == 0
    assert (tmp_path / "no_koleo.json").stat().st_mtime_ns == before
    assert "k-NN" in capsys.readouterr().out
    # Its own length gives way too.
    commands.main(["ablations", "--folder", str(tmp_path), "--only", "full", "--steps", "4"])
    assert load_runs(["full"], folder=tmp_path)["full"].config["steps"] == 4


def test_an_interrupted_run_is_not_recorded(tmp_path, monkeypatch, capsys):
    """`fit` returns when it is interrupted, with a run that is whole but for its end."""
    monkeypatch.setattr(
        ablations, "patterns10", lambda n, split="train": patterns10(120, split=split, size=16)
    )
    monkeypatch.setattr(ablations, "ablation_run", lambda: replace(TINY, steps=8))
    step = training_loop.train_step

    def interrupted_step(state, batch, generator):
        if state.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(state, batch, generator)

    monkeypatch.setattr(training_loop, "train_step", interrupted_step)
    assert commands.main(["ablations", "--folder", str(tmp_path)]) == commands.INTERRUPTED
    assert not list(tmp_path.iterdir()) and "stopped" in capsys.readouterr().err


@pytest.mark.bad_input
def test_no_recorded_run_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"make them with `python -m dinov2_edu ablations`"):
        load_runs(folder=tmp_path)
