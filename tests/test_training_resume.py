"""A run that was stopped, killed or interrupted goes on to the same numbers."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import QUIET, TINY, byte_images, same

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


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_numbers(tmp_path):
    """SIGKILL at two points, which may lie inside a checkpoint's writing; the third start runs to the end."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}

    def start():
        command = [sys.executable, "-c", RUN, str(tmp_path)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    for n_steps, delay in ((1, 0.0), (6, 0.02)):
        process = start()
        for _ in range(n_steps):
            assert process.stdout.readline(), "the run did not come so far"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start().wait(timeout=120) == 0
    resumed = load_checkpoint(tmp_path / "checkpoint.pt")
    assert same(fit(build_state(TINY), byte_images(24), FitOptions(**QUIET)), resumed)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".part"] == ["checkpoint.pt"]


def test_interrupting_keeps_what_was_learnt(tmp_path):
    def interrupt(state):
        if state.step == 3:
            raise KeyboardInterrupt

    state = fit(build_state(TINY), byte_images(), FitOptions(**QUIET, folder=tmp_path, on_log=interrupt))
    assert state.step == 3 and load_checkpoint(tmp_path / "checkpoint.pt").step == 3


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
