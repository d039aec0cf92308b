"""The collapse laboratory: the recorded runs that the book shows, and the command that makes them."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tiny_training import TINY, interrupt_step, interrupted_call

from dinov2_edu.data import patterns10
from dinov2_edu.experiments import ablations, commands
from dinov2_edu.experiments.ablations import (
    ALL,
    EXPERIMENTS,
    REPAIRS,
    STAGES,
    ablation_run,
    label_of,
    load_runs,
    load_seeds,
    record,
)
from dinov2_edu.training import build_state, start_from
from dinov2_edu.training.config import TrainConfig

VERDICTS = {
    "healthy": {"learning"},
    "no_centering": {"one prototype"},
    "no_sharpening": {"plateau"},
    "no_ema": {"learning"},
    "no_multicrop": {"learning"},
    "no_koleo": {"learning"},  # what it learns is worthless: the chapter says so
    "stage_dino": {"uniform", "learning"},
    "stage_ibot": {"uniform", "learning"},
    "stage_koleo": {"uniform", "constant"},
    "repair_centering": {"learning"},
    "repair_sharpening": {"plateau"},
    "repair_koleo": {"learning"},
    "heads_centering": {"learning"},
    "heads_sharpening": {"learning"},
    "heads_koleo": {"learning"},
    "full": {"learning"},
    "dino_tuned": {"learning"},
}
RECORDED = [(name, seed) for name, experiment in ALL.items() for seed in experiment.seeds]


def test_the_diagnosis_names_every_recorded_run():
    found = {name: {run.diagnosis.name for run in runs} for name, runs in load_seeds(ALL).items()}
    assert found == VERDICTS


def test_every_run_has_all_its_seeds():
    assert {name: len(runs) for name, runs in load_seeds(ALL).items()} == {
        name: len(experiment.seeds) for name, experiment in ALL.items()
    }


@pytest.mark.parametrize(("name", "seed"), RECORDED)
def test_a_recorded_run_is_whole_and_was_made_by_todays_config(name, seed):
    run = load_runs([name], seed=seed)[name]
    assert TrainConfig.from_dict(run.config) == replace(ALL[name].change(ablation_run()), seed=seed)
    steps = run.config["steps"]
    assert run.history["step"][-1] == run.history["knn_step"][-1] == steps
    assert {len(values) for key, values in run.history.items() if not key.startswith("knn")} == {steps // 10}
    assert len(run.features) == len(run.labels) == (0 if seed else ablations.N_FEATURES)


def test_what_chapter_07_says_of_the_recorded_runs():
    """Its sentences about them are prose; these are the numbers that they rest on."""
    knn = {name: [run.history["knn"][-1] for run in runs] for name, runs in load_seeds(ALL).items()}
    assert max(knn["stage_dino"] + knn["stage_ibot"] + knn["stage_koleo"]) < 0.29 < min(knn["healthy"])
    assert min(knn["healthy"]) > max(knn["no_multicrop"]) > max(knn["no_sharpening"]) > max(knn["no_koleo"])
    assert 0.4 < knn["dino_tuned"][0] < 0.5 < 0.85 < knn["full"][0]


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
    assert added == [["ibot_weight"], ["koleo_weight"], ["targets"]]


def test_a_repair_goes_on_from_the_broken_networks_with_nothing_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ablations, "patterns10", lambda n, split="train": patterns10(120, split=split, size=16)
    )
    seen = []
    monkeypatch.setattr(
        ablations, "start_from", lambda broken, config: seen.append(broken) or start_from(broken, config)
    )
    run = record("repair_koleo", replace(TINY, steps=8), tmp_path, seed=3)
    broken = seen[0]
    assert (broken.config.koleo_weight, broken.config.seed, broken.step) == (0.0, 3, 8)
    assert TrainConfig.from_dict(run.config) == replace(TINY, steps=8, seed=3)
    assert run.history["step"][-1] == 8 and (tmp_path / "repair_koleo.3.json").is_file()
    assert record("heads_koleo", replace(TINY, steps=8), tmp_path, seed=3).history != run.history
    assert load_runs(["repair_koleo"], seed=3, folder=tmp_path)["repair_koleo"].history == run.history
    assert {experiment.after for experiment in REPAIRS.values()} <= set(EXPERIMENTS)


def test_fresh_heads_are_the_same_in_both_networks_and_the_backbones_stay():
    state = build_state(TINY)
    student, teacher = (
        {k: v.clone() for k, v in n.state_dict().items()} for n in (state.student_network, state.teacher)
    )
    ablations._renew_heads(state)
    for network, before in ((state.student_network, student), (state.teacher, teacher)):
        for name, weight in network.state_dict().items():
            drawn = weight.ndim == 2 and not name.startswith("backbone.") and not name.endswith("weight_g")
            assert torch.equal(weight, before[name]) != drawn, name
    assert all(
        torch.equal(a, b)
        for a, b in zip(state.student_network.parameters(), state.teacher.parameters(), strict=True)
    )


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
    assert commands.main(["ablations", "--folder", str(tmp_path), "--only", "no_koleo", "--seed", "0"]) == 0
    assert (tmp_path / "no_koleo.json").stat().st_mtime_ns == before
    assert "k-NN" in capsys.readouterr().out
    # Its own length gives way too.
    commands.main(["ablations", "--folder", str(tmp_path), "--only", "full", "--steps", "4"])
    assert load_runs(["full"], folder=tmp_path)["full"].config["steps"] == 4


@pytest.mark.parametrize("at", [0, 3, 7, "last measurement"])
def test_an_interrupted_run_is_not_recorded(tmp_path, monkeypatch, capsys, at):
    """Nor is one that had made all its steps; the next call records what an undisturbed one does."""
    monkeypatch.setattr(
        ablations, "patterns10", lambda n, split="train": patterns10(120, split=split, size=16)
    )
    monkeypatch.setattr(ablations, "ablation_run", lambda: replace(TINY, steps=8))
    call = ["ablations", "--only", "no_koleo", "--seed", "0", "--folder"]
    with pytest.MonkeyPatch.context() as patch:
        if at == "last measurement":
            real = ablations.knn_evaluator
            patch.setattr(ablations, "knn_evaluator", lambda *sets: interrupted_call(real(*sets)))
        else:
            interrupt_step(patch, at)
        assert commands.main([*call, str(tmp_path / "one")]) == commands.INTERRUPTED
    assert not (tmp_path / "one").exists() and "stopped" in capsys.readouterr().err
    for name in ("one", "other"):
        assert commands.main([*call, str(tmp_path / name)]) == 0
    one, other = ((tmp_path / name / "no_koleo.json").read_text() for name in ("one", "other"))
    assert one == other


def test_nothing_goes_on_from_a_broken_run_that_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(
        ablations, "patterns10", lambda n, split="train": patterns10(120, split=split, size=16)
    )
    interrupt_step(monkeypatch, 7)
    with pytest.raises(KeyboardInterrupt):
        record("repair_koleo", replace(TINY, steps=8), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.bad_input
def test_no_recorded_run_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"make them with `python -m dinov2_edu ablations`"):
        load_runs(folder=tmp_path)


def test_a_legend_calls_each_run_by_what_it_lacks():
    assert [*map(label_of, EXPERIMENTS)] == [
        "healthy",
        "no centering",
        "no sharpening",
        "no lag",
        "no local crops",
        "no KoLeo",
    ]
