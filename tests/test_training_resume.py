"""A run that was stopped, killed or interrupted goes on to the same numbers."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import QUIET, TINY, byte_images, interrupt_step, interrupted_call, same

from dinov2_edu.ema import update_teacher
from dinov2_edu.training import FitOptions, build_state, fit, load_checkpoint
from dinov2_edu.training import step as step_module


@pytest.mark.parametrize("drop_path", [0.0, 0.5])
@pytest.mark.parametrize("stop", [1, 7, 19])
def test_stopping_and_resuming_changes_nothing(tmp_path, stop, drop_path):
    images, config = byte_images(24), replace(TINY, vit=replace(TINY.vit, drop_path=drop_path))
    whole = fit(build_state(config), images, FitOptions(**QUIET))
    fit(build_state(config), images, FitOptions(**QUIET, folder=tmp_path), until=stop)
    resumed = load_checkpoint(tmp_path / "checkpoint.pt")
    assert resumed.step == stop
    fit(resumed, images, FitOptions(**QUIET))
    assert same(whole, resumed)
    assert whole.history == resumed.history


RUN = """
import sys
from pathlib import Path
from tiny_training import QUIET, TINY, byte_images
from dinov2_edu.training import FitOptions, build_state, fit, load_checkpoint
folder = Path(sys.argv[1])
path = folder / "checkpoint.pt"
state = load_checkpoint(path) if path.exists() else build_state(TINY)
watch = FitOptions(**QUIET, folder=folder, checkpoint_every=1, on_log=lambda s: print(s.step, flush=True))
fit(state, byte_images(24), watch)
"""


def start_run(folder: Path) -> subprocess.Popen:
    """A process that trains in a folder and writes a line a step."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_numbers(tmp_path):
    """SIGKILL at two points, which may lie inside a checkpoint's writing; the third start runs to the end."""
    for n_steps, delay in ((1, 0.0), (6, 0.02)):
        process = start_run(tmp_path)
        for _ in range(n_steps):
            assert process.stdout.readline(), "the run did not come so far"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start_run(tmp_path).wait(timeout=120) == 0
    resumed = load_checkpoint(tmp_path / "checkpoint.pt")
    assert same(fit(build_state(TINY), byte_images(24), FitOptions(**QUIET)), resumed)
    kept = {path.name for path in tmp_path.iterdir() if path.suffix != ".part"}
    assert "checkpoint.pt" in kept and kept <= {"checkpoint.pt", ".lock"}


@pytest.mark.slow
def test_a_terminated_run_is_kept_and_the_process_ends_by_the_signal(tmp_path):
    process = start_run(tmp_path)
    for _ in range(3):
        assert process.stdout.readline(), "the run did not come so far"
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=120)[0]
    last = int(re.search(r"interrupted after step (\d+)", told)[1])
    assert process.returncode == -signal.SIGTERM and 3 <= last < TINY.steps
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state.step == last
    assert same(fit(build_state(TINY), byte_images(24), FitOptions(**QUIET)), fit(state, byte_images(24)))


def test_a_request_to_end_waits_for_the_step_and_then_ends(tmp_path, monkeypatch):
    """As SIGTERM does in a process of its own; here a handler of the caller's stands in for the end."""
    ended = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    try:
        watch = FitOptions(
            **QUIET,
            folder=tmp_path,
            on_log=lambda state: state.step == 3 and os.kill(os.getpid(), signal.SIGTERM),
        )
        state = fit(build_state(TINY), byte_images(), watch)
        assert ended == [signal.SIGTERM] and state.interrupted
    finally:
        signal.signal(signal.SIGTERM, before)
    assert state.step == 3 == load_checkpoint(tmp_path / "checkpoint.pt").step


@pytest.mark.parametrize("where", ["evaluate", "on_log"])
def test_an_error_beside_the_step_loses_nothing(tmp_path, where):
    """The checkpoint comes first; going on makes the evaluation up, so the histories are equal."""
    images, failing = byte_images(24), [True]

    def fail(_):
        if failing:
            raise RuntimeError("out of memory")
        return 0.5

    def options(**more):
        evaluation = {"evaluate": lambda _: 0.5, "evaluate_every": 4, "checkpoint_every": 4}
        return FitOptions(**QUIET, **(evaluation | more))

    whole = fit(build_state(TINY), images, options())
    with pytest.raises(RuntimeError, match="out of memory"):
        late = (lambda state: state.step >= 4 and fail(state)) if where == "on_log" else fail
        fit(build_state(TINY), images, options(folder=tmp_path, **{where: late}))
    resumed = load_checkpoint(tmp_path / "checkpoint.pt")
    assert resumed.step == 4
    failing.clear()
    fit(resumed, images, options(folder=tmp_path, **{where: fail}))
    assert same(whole, resumed) and whole.history == resumed.history
    kept = load_checkpoint(tmp_path / "checkpoint.pt")
    assert kept.history == whole.history, "the last evaluation is in the file"


def test_interrupting_keeps_what_was_learnt(tmp_path):
    def interrupt(state):
        if state.step == 3:
            raise KeyboardInterrupt

    state = fit(build_state(TINY), byte_images(), FitOptions(**QUIET, folder=tmp_path, on_log=interrupt))
    assert state.step == 3 and load_checkpoint(tmp_path / "checkpoint.pt").step == 3


@pytest.mark.parametrize("at", [0, 2, 5, "last evaluation"])
def test_a_run_says_that_it_was_interrupted_and_goes_on(tmp_path, monkeypatch, at):
    """In its first step, in the middle, in its last, and when all steps are made but the last evaluation is not."""
    images, config, accuracy = byte_images(24), replace(TINY, steps=6), lambda _: 0.5

    def run(state, folder=None, evaluate=accuracy):
        return fit(state, images, FitOptions(**QUIET, folder=folder, evaluate=evaluate, evaluate_every=3))

    with monkeypatch.context() as patch:
        if at != "last evaluation":
            interrupt_step(patch, at)
        evaluate = interrupted_call(accuracy, 2) if at == "last evaluation" else accuracy
        state = run(build_state(config), tmp_path, evaluate)
    kept = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state.interrupted and not kept.interrupted
    assert state.step == kept.step == (6 if at == "last evaluation" else at + 1)
    assert 6 not in state.history.get("knn_step", [])
    whole = run(build_state(config))
    assert whole.history["knn_step"] == [3, 6] and not whole.interrupted
    for resumed in (run(state), run(kept, tmp_path)):
        assert same(whole, resumed) and whole.history == resumed.history and not resumed.interrupted


def test_a_run_that_was_asked_to_pause_was_not_interrupted():
    assert not fit(build_state(TINY), byte_images(), FitOptions(**QUIET), until=1).interrupted


def test_an_interrupt_inside_a_step_waits_for_its_end(tmp_path, monkeypatch):
    """Ctrl-C between the student's update and the teacher's: the step is finished, and going on changes nothing."""
    images = byte_images(24)
    whole = fit(build_state(TINY), images, FitOptions(**QUIET))

    def interrupted_update(teacher, student, momentum):
        if not torch.equal(student.backbone.cls_token, build_state(TINY).student.backbone.cls_token):
            os.kill(os.getpid(), signal.SIGINT)
        update_teacher(teacher, student, momentum)

    monkeypatch.setattr(step_module, "update_teacher", interrupted_update)
    stopped = fit(build_state(TINY), images, FitOptions(**QUIET, folder=tmp_path))
    assert stopped.step == 2  # the warm-up's first step moves nothing
    monkeypatch.undo()
    resumed = fit(load_checkpoint(tmp_path / "checkpoint.pt"), images, FitOptions(**QUIET))
    assert same(whole, resumed) and whole.history == resumed.history
