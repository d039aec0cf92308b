"""The command `record`, what it writes, and the table of the runs that were sent in."""

import json
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import TINY, byte_images

from dinov2_edu.data import ImageSet
from dinov2_edu.experiments import commands, provenance, record
from dinov2_edu.experiments.presets import PRESETS
from dinov2_edu.experiments.record import RULES, TASKS, reached
from dinov2_edu.experiments.record_rows import HEADER, OPEN, RECORDED, load_records, record_rows
from dinov2_edu.training import TrainConfig, build_state, fit
from dinov2_edu.training import loop as training_loop

ROOT = Path(__file__).parents[1]
KNN = (0.2, 0.5, 0.62, 0.58, 0.88)
"""What the teacher of these tests is worth after 4, 8 ... 20 steps."""


@pytest.fixture
def tiny(monkeypatch):
    """The command with a run of twenty steps, evaluated after every fourth; returns the configs it trained."""
    trained, build = [], record.build_state
    monkeypatch.setitem(record.PRESETS, "patterns10", lambda: TINY)
    monkeypatch.setitem(record.TASKS, "patterns10", TASKS["patterns10"]._replace(every=4))
    some = ImageSet(byte_images(16), torch.arange(16) % 2, ("a", "b"), "noise")
    monkeypatch.setattr(record, "load_data", lambda preset: (some, some))
    values = iter(KNN)
    monkeypatch.setattr(record, "knn_evaluator", lambda *sets, n_train: lambda backbone: next(values))
    monkeypatch.setattr(record, "build_state", lambda *given: trained.append(build(*given)) or trained[-1])
    return trained


def call(*words):
    return commands.main(["record", "patterns10", "--threads", "1", "--device", "cpu", *map(str, words)])


def test_targets_are_noted_at_the_first_evaluation_that_reaches_them(tiny, tmp_path, capsys):
    out = tmp_path / "run.json"
    assert call("--targets", "60", "50", "55", "--seed", "3", "--out", out) == 0
    found = json.loads(out.read_text())
    noted = [(one["target"], one["step"], one["pictures"], one["knn"]) for one in found["reached"]]
    assert noted == [(50, 8, 64, 0.5), (55, 12, 96, 0.62), (60, 12, 96, 0.62)]
    assert found["finished"] and tiny[0].step == 12, "nothing is trained beyond the last target"
    assert found["curve"]["step"] == [4, 8, 12] and found["curve"]["knn"] == list(KNN[:3])
    times = found["curve"]["seconds"]
    assert times == sorted(times) and found["reached"][0]["seconds"] == times[1]
    assert "60 % k-NN: " in (said := capsys.readouterr().out) and "12 steps, 96 pictures seen: 62.0%" in said


def test_a_finished_row_is_not_begun_anew(tiny, tmp_path, capsys):
    out = tmp_path / "run.json"
    assert call("--out", out) == 0
    before = out.read_bytes()
    assert call("--out", out) == 2
    assert "holds a finished row: name another file by --out" in capsys.readouterr().err
    assert out.read_bytes() == before
    for other in ("[1, 2]", "no JSON", '{"finished": false}'):
        out.write_text(other)
        record.check_unfinished(out)


def test_a_target_that_is_not_reached_is_said_so(tiny, tmp_path, capsys):
    out = tmp_path / "run.json"
    assert call("--out", out) == 0
    found = json.loads(out.read_text())
    assert [(one["target"], one["step"]) for one in found["reached"]] == [(50, 8), (75, 20), (90, None)]
    assert found["finished"] and found["curve"]["step"][-1] == 20
    assert "90 % k-NN: not reached in 20 steps; 88.0% at best" in capsys.readouterr().out


def test_the_file_says_what_the_run_was_made_of(tiny, tmp_path):
    out = tmp_path / "run.json"
    assert call("--seed", "3", "--steps", "11", "--out", out) == 0
    found = json.loads(out.read_text())
    assert TrainConfig.from_dict(found["config"]) == replace(TINY, seed=3, steps=11)
    assert found["curve"]["step"] == [4, 8, 11], "the last step is evaluated too"
    assert (found["setting"], found["seed"], found["neighbours"]) == ("patterns10 --steps 11", 3, 5_000)
    assert found["data"] == ["noise", "noise"] and found["torch"] == torch.__version__
    assert found["machine"]["threads"] == 1 and found["machine"]["cpu"] and found["machine"]["cores"] >= 1
    assert found["parameters"] == sum(one.numel() for one in tiny[0].teacher.backbone.parameters())


def test_the_run_is_the_one_that_fit_trains_in_one_go(tiny):
    assert call() == 0
    whole = fit(build_state(TINY), byte_images(16), record.FitOptions(progress=False, stop_on_collapse=False))
    ours = tiny[0].teacher.state_dict()
    assert all(torch.equal(ours[name], weight) for name, weight in whole.teacher.state_dict().items())


def test_evaluation_is_timed_apart(monkeypatch):
    """By a clock that goes on only in steps and in evaluations."""
    now, step = [0.0], training_loop.train_step

    def passes(seconds, result):
        now[0] += seconds
        return result

    monkeypatch.setattr(record.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(training_loop, "train_step", lambda *given: passes(2, step(*given)))
    points = []
    record.follow(build_state(TINY), byte_images(16), lambda _: passes(100, 0.5), 8, points.append)
    times = [(one["seconds"], one["evaluation_seconds"]) for one in points]
    assert times == [(16, 100), (32, 200), (40, 300)]


@pytest.mark.parametrize(("step", "measured"), [(2, []), (3, []), (6, [4])])
def test_an_interruption_leaves_a_readable_file(step, measured, tiny, tmp_path, monkeypatch, capsys):
    train_step = training_loop.train_step

    def interrupted(state, *rest):
        if state.step == step:
            signal.raise_signal(signal.SIGINT)
        return train_step(state, *rest)

    monkeypatch.setattr(training_loop, "train_step", interrupted)
    out = tmp_path / "run.json"
    assert call("--out", out) == commands.INTERRUPTED
    found = json.loads(out.read_text())
    assert not found["finished"] and found["curve"]["step"] == measured
    assert [one["step"] for one in found["reached"]] == [None] * 3
    assert list(tmp_path.iterdir()) == [out]
    assert "begins anew; the file of --out has what was measured" in capsys.readouterr().err


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--targets", "0"], "--targets: must be above 0 and at most 100, got 0"),
        (["--targets", "50", "101"], "--targets: must be above 0 and at most 100, got 101"),
        (["--targets", "nan"], "--targets: must be above 0"),
        (["--targets", "half"], "--targets: invalid per_cent value: 'half'"),
        (["--targets"], "--targets: expected at least one argument"),
        (["--steps", "2"], "--steps must be above the 2 steps of this run's warm-up, got 2"),
        (["--seed", "99999999999"], "seed must lie between 0 and"),
        (["--device", "nonsense"], "--device nonsense cannot be used here"),
    ],
)
def test_bad_options_are_explained_before_anything_is_drawn(words, sentence, tiny, monkeypatch, capsys):
    monkeypatch.setattr(record, "load_data", lambda _: pytest.fail("began all the same"))
    try:
        assert call(*words) == 2
    except SystemExit as left:
        assert left.code == 2
    assert sentence in capsys.readouterr().err


def test_a_place_that_takes_no_file_is_found_before_the_run(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "load_data", lambda _: pytest.fail("began all the same"))
    assert call("--out", tmp_path) == 2
    assert f"could not write {tmp_path}" in capsys.readouterr().err


def test_a_target_is_reached_where_rounding_would_miss_it():
    assert 100 * 0.57 < 57
    (one,) = reached([{"step": 1, "pictures": 2, "seconds": 3.0, "knn": 0.57}], [57])
    assert one["step"] == 1


def test_the_commit_is_that_of_a_checkout_alone(tmp_path, monkeypatch):
    def git(*words):
        me = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", "-C", tmp_path, *me, *words], capture_output=True, text=True, check=True
        )

    module = tmp_path / "package" / "experiments" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(module))
    assert provenance.commit() is None
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "v1", "-m", "a release")
    head = git("rev-parse", "HEAD").stdout.strip()
    assert provenance.commit() == head
    module.write_text("2")
    assert provenance.commit() == f"{head}-dirty"


def test_a_processor_is_named_with_its_family(monkeypatch):
    text = "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
    monkeypatch.setattr(Path, "read_text", lambda *_: 2 * text)
    assert provenance.cpu_name() == "AMD EPYC (family 25, model 1)"
    monkeypatch.setattr(Path, "read_text", lambda *_: "processor : 0\n")
    assert provenance.cpu_name()


def a_run(seed, steps, **more):
    """A run as the command writes it, with what a table needs: `steps` at 50 and 75 %, never at 90."""
    notes = [
        {"target": target, "step": step, "pictures": 64 * step, "seconds": 0.6 * step, "knn": target / 100}
        for target, step in zip((50, 75), steps, strict=True)
    ]
    notes.append({"target": 90, "step": None, "pictures": None, "seconds": None, "knn": None})
    machine = {"cpu": "chip", "cores": 2, "threads": 2, "bfloat16": False}
    return {
        "setting": "patterns10",
        "seed": seed,
        "machine": machine,
        "torch": "2",
        "commit": "0" * 40,
        "parameters": 350_000,
        "finished": True,
        "reached": notes,
        "curve": {"knn": [0.5, 0.75 + seed / 100]},
        **more,
    }


def test_rows_have_median_and_spread_and_say_what_is_open(tmp_path):
    runs = [a_run(0, (300, 500)), a_run(1, (100, 600)), a_run(2, (200, 1000))]
    other = a_run(0, (50, 60), machine={"gpu": "card", "bfloat16": True})
    other["reached"] = other["reached"][:1]  # was after 50 % alone
    path = tmp_path / "records.json"
    path.write_text(json.dumps([*runs, other]))
    rows = record_rows(path)
    assert {len(row) for row in rows} == {len(HEADER)}
    first, card, second, third, *cifar = rows
    on = "2 threads of chip, without bfloat16 units"
    end = ["`patterns10`", "0.35 M", on, "`0000000`"]
    assert first == [
        "Patterns10 50 %",
        "2.0 (1.0 to 3.0)",
        "12,800 (6,400 to 19,200)",
        "3 of 3 (0, 1, 2)",
        *end,
    ]
    assert card[0] == "Patterns10 50 %" and card[3] == "1 of 1 (0)" and card[6] == "one card"
    assert second[:3] == ["Patterns10 75 %", "6.0 (5.0 to 10.0)", "38,400 (32,000 to 64,000)"]
    assert third[:4] == ["Patterns10 90 %", "not reached (77.0% at best)", "", "0 of 3 (0, 1, 2)"]
    assert card[1:3] == ["0.5", "3,200"]
    path.write_text(json.dumps([a_run(0, (1, 2), machine={"cpu": "chip", "threads": 1, "bfloat16": True})]))
    assert record_rows(path)[0][4:7:2] == [
        "`patterns10 --threads 1`",
        "1 thread of chip, with bfloat16 units",
    ]
    assert [row[:2] for row in cifar] == [[f"CIFAR-10 {target} %", OPEN] for target in (60, 65, 70, 75)]


def test_of_an_interrupted_run_the_targets_count_that_it_had_reached(tmp_path):
    path = tmp_path / "records.json"
    path.write_text(json.dumps([a_run(0, (300, 500), finished=False)]))
    first, second, third, *_ = record_rows(path)
    assert (first[1], second[1], third[1]) == ("3.0", "5.0", OPEN), (
        "nobody knows whether it would have got there"
    )
    path.write_text(json.dumps([a_run(0, (300, 500), finished=False), a_run(1, (100, 600))]))
    assert record_rows(path)[2][1:4:2] == ["not reached (76.0% at best)", "0 of 1 (1)"]


def test_the_recorded_runs_are_sorted_and_what_the_rules_ask():
    runs = load_records()
    assert [(one["setting"], one["seed"]) for one in runs] == sorted((r["setting"], r["seed"]) for r in runs)
    for one in runs:
        preset, *_ = one["setting"].split()
        task = TASKS[preset.split("-")[0]]
        assert re.fullmatch("[0-9a-f]{40}", one["commit"])
        assert one["neighbours"] == task.neighbours and len(one["data"]) == 2
        assert one["config"]["seed"] == one["seed"] and preset in PRESETS
        noted = {note["target"] for note in one["reached"]}
        if one["finished"] and one["curve"]["step"][-1] == one["config"]["steps"]:
            assert set(task.targets) <= noted, "it ran to its end and says nothing of some targets"
        else:  # it was stopped, or asked for fewer targets and got there
            assert noted <= set(task.targets) and any(note["step"] for note in one["reached"])
        if one["finished"] and one["curve"]["step"][-1] < one["config"]["steps"]:
            assert one["reached"][-1]["step"] == one["curve"]["step"][-1], "it ended before its last target"
        assert "gpu" in one["machine"] or one["machine"]["threads"] <= min(2, one["machine"]["cores"])
        batch, curve = one["config"]["batch_size"], one["curve"]
        assert all(step % task.every == 0 or step == one["config"]["steps"] for step in curve["step"])
        assert curve["seconds"] == sorted(curve["seconds"]) and 0 < one["evaluation_seconds"]
        points = [
            {"step": step, "pictures": step * batch, "seconds": seconds, "knn": knn}
            for step, seconds, knn in zip(curve["step"], curve["seconds"], curve["knn"], strict=True)
        ]
        assert one["reached"] == reached(points, [note["target"] for note in one["reached"]])
        for note in one["reached"]:
            assert note["step"] is None or 100 * note["knn"] >= note["target"]
    assert RECORDED.stat().st_size < 50_000 and len(RECORDED.read_text().splitlines()) == len(runs) + 2


@pytest.mark.parametrize("place", ["README.md", "notebooks/07_training.ipynb"])
def test_readme_and_chapter_have_the_rules_of_the_command(place):
    text = (ROOT / place).read_text("utf-8")
    if place.endswith("ipynb"):
        text = "".join(line for cell in json.loads(text)["cells"] for line in cell["source"])
    words = " ".join(text.split())
    assert all(rule in words for rule in RULES)


def test_the_readme_has_the_rows():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert set(lines) >= {f"| {' | '.join(row)} |" for row in record_rows() if OPEN not in row}
