"""The folder of a run: one run, one process, and tried before the first step."""

import errno
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tiny_training import QUIET, TINY, byte_images

from dinov2_edu.training import FitOptions, build_state, fit, load_checkpoint
from dinov2_edu.training import loop as loop_module
from dinov2_edu.training.folder import hold_run


@pytest.fixture
def no_step(monkeypatch):
    """Whatever is refused is refused before the first step."""
    monkeypatch.setattr(loop_module, "train_step", lambda *_: pytest.fail("a step was made first"))


def options(folder):
    return FitOptions(**QUIET, folder=folder)


@pytest.fixture
def used(tmp_path):
    """A folder with a run at step 3."""
    fit(build_state(TINY), byte_images(), options(tmp_path), until=3)
    return tmp_path


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 4}, "seed is 0 there, and 4 is asked for"),
        ({"steps": 30, "n_prototypes": 16}, "n_prototypes is 32 there, and 16 .*; steps is 20 there, and 30"),
        ({"vit": replace(TINY.vit, drop_path=0.1)}, r"vit\.drop_path is 0\.0 there, and 0\.1"),
    ],
)
def test_another_run_is_refused_by_the_fields_that_differ(used, no_step, changes, says):
    with pytest.raises(ValueError, match=f"holds another run: {says}.*Name another folder"):
        fit(build_state(replace(TINY, **changes)), byte_images(), options(used))


@pytest.mark.bad_input
def test_the_same_run_from_its_beginning_does_not_overwrite_what_is_kept(used, no_step):
    with pytest.raises(
        ValueError, match=r"this run at step 3, and this state is at step 0: go on from load_check"
    ):
        fit(build_state(TINY), byte_images(), options(used))


@pytest.mark.bad_input
def test_other_images_are_refused(used, no_step):
    state = load_checkpoint(used / "checkpoint.pt")
    others = byte_images().flip(0)
    says = (
        r"other images \(8 x 3 x 16 x 16 bytes, SHA-256 \w{16}\) than it is now given \(8 x 3 x 16 x 16 bytes"
    )
    with pytest.raises(ValueError, match=says):
        fit(state, others, options(used))
    with pytest.raises(ValueError, match=r"data is '8 x 3.*SHA-256 .* there, and '8 x 3"):
        fit(build_state(TINY), others, options(used))


HOLD = """
import sys
from dinov2_edu.training.folder import hold_run
with hold_run(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_two_processes_do_not_train_in_one_folder(tmp_path, no_step):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(OSError, match=f"another process keeps a run in {tmp_path}: wait"):
            fit(build_state(TINY), byte_images(), options(tmp_path))
        process.kill()
    with hold_run(tmp_path), hold_run(tmp_path):  # the killed one left nothing; one process may nest
        pass


@pytest.mark.bad_input
def test_a_folder_that_takes_no_file_is_told_before_the_first_step(tmp_path, no_step, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"a run cannot be kept in .*file.run.*name another folder"):
        fit(build_state(TINY), byte_images(), options(tmp_path / "file" / "run"))

    def full_disk(content, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match=r"could not write .*: the disk is full"):
        fit(build_state(TINY), byte_images(), options(tmp_path / "run"))
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {".lock"}


def test_home_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    fit(build_state(TINY), byte_images(), options("~/run"), until=1)
    assert load_checkpoint("~/run/checkpoint.pt").step == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {"checkpoint.pt", ".lock"}


@pytest.mark.bad_input
def test_a_run_whose_pairs_were_given_as_lists_goes_on_in_its_own_folder(tmp_path):
    """JSON and most people write lists; a checkpoint holds tuples."""
    config = replace(TINY, lr=[1e-3, 1e-6], crops=replace(TINY.crops, global_scale=[0.4, 1.0]))
    state = build_state(config)
    fit(state, byte_images(), options(tmp_path), until=2)
    assert fit(state, byte_images(), options(tmp_path), until=4).step == 4
    assert not load_checkpoint(tmp_path / "checkpoint.pt").config.differences(config)
