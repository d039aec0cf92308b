"""The script of a GPU's session, tried on the CPU in small: it measures, trains, stops in time, and goes on."""

import json
from dataclasses import replace

import pytest
import torch

from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.training import load_checkpoint
from tools import gpu_session


@pytest.fixture
def short(monkeypatch, tmp_path):
    """A session on the CPU whose speeds take no time; returns a function that runs it."""
    monkeypatch.setattr(gpu_session, "rate", lambda work, device: (work(), 100.0)[1])
    monkeypatch.setattr(gpu_session, "run_tests", lambda out: pytest.fail("there is no GPU to test"))
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
    speeds = json.loads((tmp_path / "speeds.json").read_text())
    assert set(speeds) == {"machine", "torch", "commit", "images a second"}
    assert "training, float32" in speeds["images a second"] and len(speeds["images a second"]) >= 3
    monkeypatch.setattr(gpu_session, "measured", lambda *given: pytest.fail("it has been measured"))
    capsys.readouterr()
    assert short(60) == 0
    last = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert last.step == last.config.steps and last.config == first.config
    assert last.history["loss"][: len(first.history["loss"])] == first.history["loss"]
    assert (tmp_path / "run" / "history.json").exists()
    assert f"step {last.step} of {last.step}: k-NN " in capsys.readouterr().out


def test_the_faster_way_of_a_step_is_taken_and_fills_the_time():
    rates = {
        "training, float32": 1000.0,
        "training, bfloat16": 3000.0,
        "training, bfloat16, compiled": 5000.0,
    }
    base = gpu_session.cifar10_gpu_run()
    config = gpu_session.planned(base, {"images a second": rates}, minutes=10)
    assert (config.precision, config.compile) == ("bfloat16", True)
    assert config.steps == int(5000 * 600 / base.batch_size)


def test_a_rate_leaves_out_the_first_two_calls():
    calls = []
    found = gpu_session.rate(lambda: calls.append(1) or 5, torch.device("cpu"), seconds=0.0)
    assert len(calls) >= 4 and found > 0


def test_tests_are_run_once_and_a_failure_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_session.sys, "executable", "false")
    assert gpu_session.run_tests(tmp_path) == 1
    assert (tmp_path / "tests.txt").exists() and gpu_session.run_tests(tmp_path) == 0
