"""Files that are there whole or not at all."""

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import pytest

from dinov2_edu import files
from dinov2_edu.files import hold_folder, last_name, local_path, write_together, write_whole


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_bytes_text_and_functions_are_written(tmp_path):
    assert write_whole(tmp_path / "new" / "a", b"\x00\xff").read_bytes() == b"\x00\xff"
    assert write_whole(tmp_path / "b", "Grüße").read_text("utf-8") == "Grüße"
    assert write_whole(tmp_path / "c", lambda file: file.write(b"12")).read_bytes() == b"12"
    assert names(tmp_path) == ["b", "c", "new"]


def test_an_error_while_writing_keeps_the_old_file_and_leaves_nothing(tmp_path):
    write_whole(tmp_path / "a", b"old")

    def breaks(file):
        file.write(b"new")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_whole(tmp_path / "a", breaks)
    assert (tmp_path / "a").read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    write_whole(tmp_path / "a", b"old")
    code = """
import os, signal, sys
from dinov2_edu.files import write_whole
def dies(file):
    file.write(b"new"); file.flush(); os.kill(os.getpid(), signal.SIGKILL)
write_whole(sys.argv[1], dies)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    assert (tmp_path / "a").read_bytes() == b"old"
    (leftover,) = [name for name in names(tmp_path) if name != "a"]
    write_whole(tmp_path / "a", b"newer")
    assert names(tmp_path) == sorted(["a", leftover])  # it may belong to a writer at work
    long_ago = time.time() - 2 * files._LEFTOVER_AGE
    for entry in (tmp_path / leftover, *(tmp_path / leftover).iterdir()):
        os.utime(entry, (long_ago, long_ago))
    write_whole(tmp_path / "a", b"newest")
    assert names(tmp_path) == ["a"]


def contents(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


@pytest.mark.parametrize("had", [(), ("a", "b", "c"), ("a",), ("c",)])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_files_that_belong_together_are_all_new_or_all_old(tmp_path, monkeypatch, had, error):
    folder = tmp_path / "one"
    folder.mkdir()
    for name in (*had, "other"):
        (folder / name).write_text("old")
    before, rename = contents(folder), os.replace
    new = {"a": b"1", "b": "2", "c": "3"}
    for renames in range(len(had) + 3):
        left = iter(range(renames))

        def breaks(source, target, left=left):
            if next(left, None) is None:
                monkeypatch.setattr(os, "replace", rename)
                raise error
            rename(source, target)

        monkeypatch.setattr(os, "replace", breaks)
        with pytest.raises(type(error)):
            write_together(folder, new)
        assert contents(folder) == before
    assert write_together(folder, new) == folder
    assert contents(folder) == {"a": b"1", "b": b"2", "c": b"3", "other": b"old"}


def test_killed_between_two_renames_the_last_file_is_not_there(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text("old")
    code = """
import os, signal, sys
from dinov2_edu.files import write_together
rename, left = os.replace, [None] * int(sys.argv[2])
def dies(source, target):
    if not left: os.kill(os.getpid(), signal.SIGKILL)
    left.pop(); rename(source, target)
os.replace = dies
write_together(sys.argv[1], dict.fromkeys("abc", "new"))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path), "4"], check=False)
    found = {name for name in "abc" if (tmp_path / name).exists()}
    assert found == {"a"} and (tmp_path / "a").read_text() == "new"


@pytest.mark.bad_input
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes by name")
def test_a_device_or_a_pipe_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    for path in (pipe, link, Path("/dev/null"), Path("/dev/stdout")):
        before = os.lstat(path)
        with pytest.raises(OSError, match=f"could not write {path}: it is a device or a pipe"):
            write_whole(path, "text")
        with pytest.raises(OSError, match=f"could not write {path}: it is a device or a pipe"):
            write_together(path.parent, {path.name: "text"})
        assert os.lstat(path).st_ino == before.st_ino


def test_a_folder_in_the_place_of_a_file_stays(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"could not write .*b: .*Nothing was changed"):
        write_together(tmp_path, {"a": "1", "b": "2"})
    assert names(tmp_path) == ["b"] and (tmp_path / "b" / "deep").is_dir()
    with pytest.raises(ValueError, match="contents is empty: name at least one file"):
        write_together(tmp_path, {})


def test_names_that_look_like_patterns_are_names(tmp_path):
    write_whole(tmp_path / "[a]*", b"1")
    write_whole(tmp_path / "[a]*", b"2")
    assert (tmp_path / "[a]*").read_bytes() == b"2" and names(tmp_path) == ["[a]*"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        path = write_whole(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_home_is_the_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert write_whole("~/a", b"1") == tmp_path / "a" == local_path("~/a")


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_and_keeps_its_number(tmp_path, monkeypatch):
    write_whole(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match=r"could not write .*a: the disk is full. Nothing was changed"
    ) as raised:
        write_whole(tmp_path / "a", b"new")
    assert raised.value.errno == errno.ENOSPC
    assert (tmp_path / "a").read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_a_file_in_the_way_of_a_folder_is_said(tmp_path):
    write_whole(tmp_path / "a", b"")
    with pytest.raises(OSError, match=r"could not write .*a/b: .*see who owns"):
        write_whole(tmp_path / "a" / "b", b"")


def test_what_a_path_is_called(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    monkeypatch.chdir(tmp_path / "deep")
    named = {".": "deep", "..": tmp_path.name, "a/b.png": "b.png", "a/..": "deep", "/": os.path.abspath("/")}
    assert {path: last_name(path) for path in named} == named
    assert last_name(tmp_path / "link") == "link"


def free(folder):
    """Whether nobody holds a folder, tried as another process would."""
    try:
        filelock.FileLock(folder / ".lock", timeout=0).acquire().lock.release()
    except filelock.Timeout:
        return False
    return True


def test_a_folder_is_held_until_the_end_or_an_error_and_one_thread_may_nest(tmp_path):
    folder = tmp_path / "new" / "one"
    with hold_folder(folder, "a run") as held, hold_folder(folder, "a run", wait_s=1.0):
        assert held == folder and not free(folder)
        with pytest.raises(KeyError), hold_folder(folder, "a run"):
            raise KeyError
        assert not free(folder)
    assert free(folder) and names(folder) == [".lock"]


def test_another_thread_waits_for_a_folder_as_long_as_it_was_told(tmp_path):
    refused, got = [], []

    def hold(wait_s):
        try:
            with hold_folder(tmp_path, "a run", wait_s=wait_s):
                got.append(wait_s)
        except TimeoutError as error:
            refused.append(str(error))

    with hold_folder(tmp_path, "a run"):
        for wait_s in (0.0, 0.1):
            thread = threading.Thread(target=hold, args=(wait_s,))
            thread.start()
            thread.join()
        patient = threading.Thread(target=hold, args=(30.0,))
        patient.start()
    patient.join()
    assert refused == [
        f"another process keeps a run in {tmp_path}{long}: wait until it ends, end it, or name another folder"
        for long in ("", ", for 0.1 s already")
    ]
    assert got == [30.0]


@pytest.mark.bad_input
def test_a_folder_that_cannot_be_held_is_named_with_what_to_do(tmp_path):
    (tmp_path / "a").write_text("")
    says = r"recordings cannot be kept in .*a/b: Not a directory; ask for less"
    with (
        pytest.raises(NotADirectoryError, match=says),
        hold_folder(tmp_path / "a" / "b", "recordings", elsewhere="ask for less"),
    ):
        pytest.fail("held all the same")
    with (
        pytest.raises(ValueError, match="wait_s must be at least 0, got -1"),
        hold_folder(tmp_path, "a run", wait_s=-1),
    ):
        pytest.fail("held all the same")
