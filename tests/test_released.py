"""What chapter 12 shows: the command that trains it, and the recorded numbers that its sentences rest on."""

import json
import signal
from dataclasses import replace

import pytest
from tiny_training import TINY, interrupt_step

from dinov2_edu.data import patterns10
from dinov2_edu.data.mosaics import pattern_mosaics
from dinov2_edu.experiments import commands, released
from dinov2_edu.experiments.evaluation import dense_evaluator
from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.experiments.released import SEEDS, SIZES, last_phase, load_released, student_run
from dinov2_edu.training import Network, TrainConfig, build_state
from dinov2_edu.training.config import _flat

STUDENTS = [f"{way}.{seed}" for way in ("alone", "distilled") for seed in SEEDS]
LAST = [f"last{size}.{seed}" for size in SIZES for seed in SEEDS]


@pytest.fixture
def tiny(monkeypatch):
    """The command on pictures of 16 and 32 pixels, with a teacher of four steps."""
    config = replace(TINY, crops=replace(TINY.crops, n_local=1), steps=4, warmup_steps=1)
    monkeypatch.setattr(released, "patterns10_run", lambda: config)
    monkeypatch.setattr(released, "SIZES", (16, 32))
    small, last = student_run, last_phase
    monkeypatch.setattr(released, "student_run", lambda seed: replace(small(seed, 8), warmup_steps=1))
    monkeypatch.setattr(released, "last_phase", lambda run, size, seed: last(run, size, seed, 3))
    monkeypatch.setattr(released, "FitOptions", quick(released.FitOptions))
    monkeypatch.setattr(
        released,
        "pictures",
        lambda size=16: tuple(patterns10(40, split=split, size=size) for split in ("train", "test")),
    )

    def measures(size=16):
        return {"knn": lambda _: 0.5 + size / 1000, "dense": lambda backbone: float(backbone.config.width)}

    monkeypatch.setattr(released, "measures", measures)
    return config


def quick(options):
    """The same options, evaluated after every second step."""

    def made(**given):
        every = {"evaluate_every": 2, "log_every": 2, "checkpoint_every": 2}
        return options(**(given | {name: value for name, value in every.items() if name in given}))

    return made


def test_the_command_trains_what_is_missing_and_says_what_came_out(tiny, tmp_path, capsys):
    out = tmp_path / "found.json"
    call = ["released", str(tmp_path / "work"), "--out", str(out)]
    assert commands.main(call) == 0
    found = load_released(out)
    assert list(found) == ["teacher", "before", *sorted(STUDENTS, key=lambda one: one[-1])] + [
        f"last{size}.{seed}" for seed in SEEDS for size in (16, 32)
    ] + ["untrained"]
    assert found["teacher"]["config"] == json.loads(json.dumps(tiny.to_dict()))
    assert found["distilled.1"]["config"] == found["alone.1"]["config"]
    assert found["distilled.1"]["config"]["seed"] == 1 and "crops.n_local" not in found["alone.1"]["config"]
    for name in STUDENTS:
        history = found[name]["history"]
        assert history["knn_step"] == history["dense_step"] == [2, 4, 6, 8]
        assert history["knn"] == [0.516] * 4 and history["dense"] == [48.0] * 4
        assert found[name]["student"] == {"knn": 0.516, "dense": 48.0}
    assert found["distilled.0"]["history"]["loss"] != found["alone.0"]["history"]["loss"]
    assert found["last32.2"]["measured"] == {
        "16": {"knn": 0.516, "dense": 24.0},
        "32": {"knn": 0.532, "dense": 24.0},
    }
    said = capsys.readouterr().out
    assert "distilled.2" in said and "'dense': 48.0" in said

    del found["alone.2"]
    out.write_text(json.dumps(found))
    stamp = (tmp_path / "work" / "checkpoint.pt").stat().st_mtime_ns
    assert commands.main(call) == 0
    assert set(load_released(out)) == {*found, "alone.2"}
    assert (tmp_path / "work" / "checkpoint.pt").stat().st_mtime_ns == stamp


@pytest.fixture
def teacher_alone(tiny, monkeypatch):
    """The command with nothing but the teacher to train, measured by what a step changes."""
    runs = released.all_runs
    monkeypatch.setattr(released, "all_runs", lambda folder: {"teacher": runs(folder)["teacher"]})

    def measures():
        return {name: lambda backbone: 1e4 * float(backbone.pos_embed.std()) for name in ("knn", "dense")}

    monkeypatch.setattr(released, "measures", measures)
    return tiny


def stop_at(step, monkeypatch):
    """Ctrl-C after a step; every step is logged."""
    real = released.fit

    def fit(state, images, options, **more):
        options.on_log = lambda now: now.step == step and signal.raise_signal(signal.SIGINT)
        options.log_every = 1
        return real(state, images, options, **more)

    monkeypatch.setattr(released, "fit", fit)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_teacher_that_was_stopped_goes_on_to_the_same_curves(step, teacher_alone, tmp_path, capsys):
    def call(folder, out):
        return commands.main(["released", str(tmp_path / folder), "--out", str(tmp_path / out)])

    with pytest.MonkeyPatch.context() as patch:
        stop_at(9, patch)  # never: it logs each step as the other does
        assert call("whole", "whole.json") == 0
    with pytest.MonkeyPatch.context() as patch:
        stop_at(step, patch)
        assert call("halves", "halves.json") == commands.INTERRUPTED
        assert "goes on: the teacher from here" in capsys.readouterr().err
        kept = released.load_checkpoint(tmp_path / "halves" / "checkpoint.pt")
        assert kept.step == step
    with pytest.MonkeyPatch.context() as patch:
        stop_at(9, patch)
        assert call("halves", "halves.json") == 0
    whole, halves = (load_released(tmp_path / f"{name}.json")["teacher"] for name in ("whole", "halves"))
    assert (
        halves["history"] == whole["history"]
        and halves["seconds"] >= round(sum(kept.history["seconds"]), 1) > 0
    )
    assert whole["history"]["dense_step"] == whole["history"]["knn_step"] == [2, 4]
    assert len(set(whole["history"]["dense"])) == 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dinov2_edu.training.loop.train_step", lambda *_: pytest.fail("trained again"))
        assert call("halves", "another.json") == 0
    assert load_released(tmp_path / "another.json")["teacher"] == halves


def test_a_teacher_that_was_stopped_in_its_last_measure_goes_on_with_that(
    teacher_alone, tmp_path, monkeypatch
):
    usual, asked = released.measures(), []

    def knn(backbone):
        asked.append(backbone)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return usual["knn"](backbone)

    monkeypatch.setattr(released, "measures", lambda: usual | {"knn": knn})
    with pytest.raises(KeyboardInterrupt):
        released.record_teacher(tmp_path)
    assert released.load_checkpoint(tmp_path / "checkpoint.pt").step == 4
    history = released.record_teacher(tmp_path)["history"]
    assert history["knn_step"] == history["dense_step"] == [2, 4] and len(asked) == 3


@pytest.mark.parametrize(("name", "step"), [("alone.0", 7), ("last16.0", 2)])
def test_a_student_or_last_phase_interrupted_in_its_last_step_is_not_recorded(tiny, tmp_path, name, step):
    released.record_teacher(tmp_path)
    make = released.all_runs(tmp_path)[name]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_step(patch, step)
        make()
    assert make()["config"]["steps"] == step + 1


def test_a_teacher_whom_another_command_trained_is_measured_at_its_end(teacher_alone, tmp_path, capsys):
    whole = released.record_teacher(tmp_path)
    state = released.load_checkpoint(tmp_path / "checkpoint.pt")
    for name in ("dense", "dense_step", "seconds"):
        del state.history[name]
    released.save_checkpoint(state, tmp_path / "checkpoint.pt")
    again = released.record_teacher(tmp_path)["history"]
    assert "no dense measure: that and the seconds count from step 4" in capsys.readouterr().err
    assert (again["dense_step"], again["dense"]) == ([4], whole["history"]["dense"][-1:])


def test_a_folder_with_another_run_gets_no_teacher(teacher_alone, tmp_path, monkeypatch):
    released.record_teacher(tmp_path)
    monkeypatch.setattr(released, "patterns10_run", lambda: replace(teacher_alone, seed=5))
    with pytest.raises(ValueError, match="holds another run: seed is 0 there, and 5 is asked for"):
        released.record_teacher(tmp_path)


def test_students_need_a_teacher_that_has_ended(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        released.record_student(0, tmp_path, distilled=True)
    released.record_teacher(tmp_path)
    longer = released.load_checkpoint(tmp_path / "checkpoint.pt")
    released.fit(
        released.build_state(replace(longer.config, steps=9)),
        released.pictures()[0].images,
        released.FitOptions(folder=tmp_path / "half", progress=False),
        until=2,
    )
    with pytest.raises(ValueError, match="the teacher is at step 2"):
        released.teacher(tmp_path / "half")


def test_a_student_differs_from_its_teacher_in_width_seed_and_length_alone():
    assert set(patterns10_run().differences(student_run(1))) == {"vit.width", "steps", "seed"}
    counts = [
        sum(weight.numel() for weight in Network(run).backbone.parameters())
        for run in (student_run(), patterns10_run())
    ]
    assert 0.24 < counts[0] / counts[1] < 0.3


def test_a_last_phase_has_larger_crops_and_the_networks_of_the_teacher():
    run, phase = patterns10_run(), last_phase(patterns10_run(), 64, 2)
    assert phase.vit == run.vit and phase.crops.global_size == 64 and phase.crops.local_size == 32
    assert phase.lr[0] == pytest.approx(run.lr[0] / 3) and phase.steps < run.steps and phase.seed == 2


def test_every_run_is_recorded_and_was_made_by_todays_configs():
    found = load_released()
    assert set(found) == {"teacher", "before", "untrained", *STUDENTS, *LAST}
    assert TrainConfig.from_dict(found["teacher"]["config"]) == patterns10_run()
    whole = _flat(patterns10_run().to_dict())
    for name in STUDENTS:
        changes = _flat(student_run(int(name[-1])).to_dict())
        assert changes == json_form(whole | found[name]["config"])
    for name in LAST:
        size, seed = (int(one) for one in name.removeprefix("last").split("."))
        assert _flat(last_phase(patterns10_run(), size, seed).to_dict()) == json_form(
            whole | found[name]["config"]
        )


def json_form(values):
    """Lists as the tuples that they were."""
    return {name: tuple(one) if isinstance(one, list) else one for name, one in values.items()}


def test_the_recorded_curves_are_whole():
    for name, steps in {"teacher": 1700, **dict.fromkeys(STUDENTS, 500)}.items():
        history = load_released()[name]["history"]
        assert history["step"][-1] == history["knn_step"][-1] == history["dense_step"][-1] == steps
        assert len(history["dense"]) == len(history["knn"]) >= 10


def test_the_dense_measure_of_untrained_weights_can_be_made_again():
    """One recorded number, from nothing but the code: the others take minutes each."""
    sets = [
        pattern_mosaics(n, split=split)
        for n, split in zip(released.N_MOSAICS, ("train", "test"), strict=True)
    ]
    again = dense_evaluator(*sets)(build_state(patterns10_run()).teacher.backbone)
    assert again == pytest.approx(load_released()["untrained"]["measured"]["32"]["dense"], abs=0.01)


def test_what_chapter_12_says_of_the_recorded_runs():
    """Its sentences about them are prose; these are the numbers that they rest on."""
    found = load_released()
    ends = {
        name: {one: found[name]["history"][one][-1] for one in ("knn", "dense")}
        for name in (*STUDENTS, "teacher")
    }
    untrained = found["untrained"]["measured"]["32"]
    for seed in SEEDS:
        alone, distilled = (ends[f"{way}.{seed}"] for way in ("alone", "distilled"))
        assert 0.2 < distilled["knn"] - alone["knn"] < 0.24
        assert 0.02 < distilled["dense"] - alone["dense"] < 0.06 and alone["dense"] > untrained["dense"]
        assert 0.03 < ends["teacher"]["knn"] - distilled["knn"] < 0.08
        student = found[f"distilled.{seed}"]["student"]
        assert 0.009 < student["knn"] - distilled["knn"] < 0.02  # the average is behind the student itself
    history = found["teacher"]["history"]
    passed = next(
        step
        for step, one in zip(history["knn_step"], history["knn"], strict=True)
        if one > ends["distilled.0"]["knn"]
    )
    assert passed == 1000 and history["dense"][1] < 0.22 < 0.26 < untrained["dense"]
    assert history["dense"][-1] == max(history["dense"])

    before = found["before"]["measured"]
    last = {size: [found[f"last{size}.{seed}"]["measured"] for seed in SEEDS] for size in SIZES}
    at_64 = {size: [one["64"] for one in runs] for size, runs in last.items()}
    assert min(one["knn"] for one in at_64[64]) > 0.01 + max(one["knn"] for one in at_64[32])
    assert max(abs(one["dense"] - before["64"]["dense"]) for runs in at_64.values() for one in runs) < 0.008
    patches = {size: [one["32"]["dense"] for one in runs] for size, runs in last.items()}
    assert max(patches[64]) < before["32"]["dense"] < min(patches[32])
