"""The script of a GPU's session, tried on the CPU in small: it measures, trains, stops in time, and goes on."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.training import load_checkpoint
from dinov2_edu.weights import load_backbone
from tools import gpu_session


@pytest.fixture
def short(monkeypatch, tmp_path):
    """A session on the CPU whose speeds take no time; returns a function that runs it."""
    ran = {"images a second": 100.0, "start-up seconds": 0.0}
    monkeypatch.setattr(gpu_session, "rate", lambda work, device: (work(), ran)[1])
    monkeypatch.setattr(gpu_session, "start_tests", lambda: pytest.fail("there is no GPU to test"))
    monkeypatch.setattr(gpu_session, "AT_THE_END", 0)
    tiny = replace(patterns10_run(), warmup_steps=8, batch_size=16)
    monkeypatch.setattr(gpu_session, "patterns10_run", lambda: tiny)

    def run(minutes):
        words = [tmp_path, "--device", "cpu", "--small", "--minutes", minutes, "--train-minutes", 0.01]
        return gpu_session.main([str(word) for word in words])

    return run


def test_a_second_session_goes_on_with_the_first(short, tmp_path, capsys, monkeypatch):
    assert short(0) == 0, "its time is up at the first look at the clock"
    first = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert 0 < first.step < first.config.steps == 2 * first.config.warmup_steps
    said = capsys.readouterr().out
    assert f"after {first.step} of {first.config.steps} steps of its schedules" in said
    speeds = json.loads((tmp_path / "speeds.json").read_text())
    assert set(speeds) == {"machine", "torch", "commit", "rates"} and "training, float32" in speeds["rates"]
    assert not [name for name in speeds["rates"] if "ViT-S" in name], "its time was up"
    monkeypatch.setattr(gpu_session, "steps_of", lambda *given: lambda: pytest.fail("it has been measured"))
    monkeypatch.setattr(gpu_session, "other_speeds", lambda *given: None)
    assert short(60) == 0
    last = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert last.step == last.config.steps and last.config == first.config
    assert last.history["loss"][: len(first.history["loss"])] == first.history["loss"]
    assert (tmp_path / "run" / "history.json").exists()
    assert f"after {last.step} of {last.step} steps" in capsys.readouterr().out
    small = load_backbone(tmp_path / "weights")
    for name, weight in last.teacher.backbone.state_dict().items():
        assert torch.equal(small.state_dict()[name], weight.half().float())


def test_what_cannot_be_measured_is_noted_and_stops_nothing(tmp_path):
    def broken():
        raise RuntimeError("no compiler")

    path, cpu = tmp_path / "speeds.json", torch.device("cpu")
    gpu_session.measure("training, bfloat16, compiled", broken, cpu, path)
    assert json.loads(path.read_text())["rates"] == {
        "training, bfloat16, compiled": {"error": "RuntimeError: no compiler"}
    }
    with pytest.raises(ValueError, match=r"no step could be made on this device: see speeds\.json"):
        gpu_session.planned(patterns10_run(), {}, 5)


def test_the_way_that_gets_farthest_is_taken_and_fills_the_time():
    rates = {
        "training, float32": {"images a second": 1000.0, "start-up seconds": 1.0},
        "training, bfloat16": {"images a second": 3000.0, "start-up seconds": 1.0},
        "training, bfloat16, compiled": {"images a second": 4000.0, "start-up seconds": 100.0},
    }
    base = gpu_session.cifar10_gpu_run()
    long, short = (gpu_session.planned(base, rates, minutes) for minutes in (10, 5))
    assert (long.precision, long.compile) == ("bfloat16", True)
    assert long.steps == int(4000 * 500 / base.batch_size)
    assert (short.precision, short.compile) == ("bfloat16", False), "compiling would eat what it brings"
    assert short.steps == int(3000 * 299 / base.batch_size)


def test_a_rate_leaves_out_the_first_two_calls(monkeypatch):
    now = [0.0]
    costs = iter([50.0, 9.0, *[2.0] * 100])
    monkeypatch.setattr(gpu_session.time, "perf_counter", lambda: now[0])

    def work():
        now[0] += next(costs)
        return 10

    found = gpu_session.rate(work, torch.device("cpu"), seconds=20)
    assert found == {"images a second": 5.0, "start-up seconds": 59.0}


def python(words):
    return subprocess.Popen(
        [sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize(
    ("words", "status", "first"),
    [
        ("print('all well')", 0, "exit status 0"),
        ("print('one failed'); raise SystemExit(1)", 1, "exit status 1"),
        ("print('begun', flush=True); import time; time.sleep(60)", 1, "not finished in 1 s"),
    ],
)
def test_what_tests_said_is_kept_and_told_again(tmp_path, monkeypatch, words, status, first):
    monkeypatch.setattr(gpu_session, "TESTS_AT_MOST", 1 if "sleep" in words else 30)
    assert gpu_session.tests_passed(tmp_path, python(words)) == status
    lines = (tmp_path / "tests.txt").read_text().splitlines()
    assert lines[0] == first and lines[1] == words.split("'")[1]
    assert gpu_session.tests_passed(tmp_path, None) == status


def test_all_tests_that_need_a_gpu_are_run():
    files = Path(__file__).parent.rglob("test_*.py")
    marked = {file.name for file in files if re.search(r"pytest\.mark\.gpu\b", file.read_text("utf-8"))}
    assert marked - {Path(__file__).name} == set(gpu_session.TESTS)


@pytest.mark.bad_input
def test_a_whole_run_is_not_begun_without_a_gpu(tmp_path):
    with pytest.raises(ValueError, match="without a GPU, add --small"):
        gpu_session.main([str(tmp_path / "out"), "--device", "cpu"])
    assert not list(tmp_path.iterdir())
