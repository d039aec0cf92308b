"""The commands: listed at once, without torch, mistakes answered with a sentence, the cache found and emptied."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from dinov2_edu.data import CIFAR10_CLASSES, cache_dir, load_cifar10
from dinov2_edu.experiments import commands, parsers
from dinov2_edu.experiments.ablations import ALL
from dinov2_edu.experiments.presets import PRESETS
from dinov2_edu.features import ExtractOptions, extract_features
from dinov2_edu.probe import PROTOCOLS
from dinov2_edu.weights import load_backbone


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_each_command_answers_before_torch_is_imported(name):
    """Importing torch takes seconds; the help and a mistyped option wait for nothing."""
    code = (
        "import sys\nfrom dinov2_edu.experiments.commands import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    print('torch' in sys.modules)"
    )
    for word, status in (("--help", 0), ("--nonsense", 2)):
        done = subprocess.run(
            [sys.executable, "-c", code, name, word], capture_output=True, text=True, check=False
        )
        assert done.returncode == status and done.stdout.endswith("False\n")
        assert f"usage: python -m dinov2_edu {name}" in done.stdout + done.stderr


def test_the_list_names_every_command_with_what_it_does(capsys):
    assert commands.main([]) == 0
    listed = capsys.readouterr().out.splitlines()
    for name, declare in commands.COMMANDS.items():
        (line,) = [line for line in listed if line.startswith(f"  {name} ")]
        assert line.endswith(declare.__doc__) and "\n" not in declare.__doc__
    assert commands.main(["train!"]) == 2
    assert "there is no command 'train!'" in capsys.readouterr().err


def test_choices_that_stand_without_torch_are_those_with_it():
    assert sorted(PRESETS) == list(parsers.PRESET_NAMES)
    assert set(ALL) == set(parsers.RUN_NAMES)
    assert PROTOCOLS == parsers.PROTOCOL_NAMES


def test_home_is_meant_by_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    options = commands.parse("train", ["cifar10", "~/run", "--start-from", "~/first"])
    assert (options.folder, options.start_from) == (tmp_path / "run", tmp_path / "first")
    options = commands.parse("study", ["--train", "~/a", "--test", "~/b", "--cache", "~/c", "--out", "~/d"])
    found = {options.train, options.test, options.cache, options.out}
    assert found == {tmp_path / name for name in "abcd"}
    assert commands.parse("ablations", ["--folder", "~/runs"]).folder == tmp_path / "runs"
    options = commands.parse("publish", ["~/one", "~/two", "--hours", "1", "--folder", "~/out"])
    assert [*options.runs, options.folder] == [tmp_path / name for name in ("one", "two", "out")]


def test_a_bug_keeps_its_traceback(monkeypatch):
    """Sentences are for those who typed; an error that nobody foresaw is for those who mend."""

    def broken(options):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("dinov2_edu.experiments.cache.run", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        commands.main(["cache"])


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_a_stopped_command_promises_no_more_than_it_keeps(name, monkeypatch, capsys):
    def stopped(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"dinov2_edu.experiments.{name}.run", stopped)
    monkeypatch.setattr(commands, "parse", lambda *_: None)
    assert commands.main([name]) == commands.INTERRUPTED
    said = capsys.readouterr().err
    keeping = {"train", "released", "ablations", "probe", "study", "features", "recordings"}
    assert ("goes on" in said) == (name in keeping) and ("begins anew" in said or "from here" in said)
    assert set(commands.GOES_ON) == keeping | {"record"}  # which begins anew, and leaves what it measured


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent here as POSIX sends them")
@pytest.mark.parametrize(
    "words",
    [
        ["train", "patterns10", "run"],
        ["dense", "--weights", "book"],
        ["ablations", "--folder", "runs"],
        ["recordings", "--folder", "r"],
    ],
    ids=lambda words: words[0],
)
def test_ctrl_c_ends_a_command_at_work_with_a_sentence(words, tmp_path):
    """A real one, while the command draws or computes."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(commands.__file__).parents[2]),
        "DINOV2_EDU_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "dinov2_edu", *words]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        said = process.stderr.readline()
        assert said == "loading torch\n"
        if words[0] != "recordings":  # whose weights are not to be had: it is stopped while torch loads
            said += process.stderr.readline()
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said += process.stderr.read()
        assert process.wait(60) == commands.INTERRUPTED, said
    assert "stopped; " in said and "Traceback" not in said, said


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_terminal_without_a_letter_gets_another(tmp_path, encoding):
    """Curves are drawn with blocks, and a picture may have any name."""
    code = "import sys; from dinov2_edu.experiments import cache, commands; "
    code += "cache.run = lambda options: print('\\u2581'); "
    code += "sys.exit(commands.main(['cache']))"
    environment = os.environ | {
        "PYTHONIOENCODING": encoding,
        "PYTHONPATH": str(Path(commands.__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0 and done.stdout.strip() == b"?", done.stderr


def test_the_cache_is_shown_and_emptied_of_what_is_ours(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path / "cache"))
    assert commands.main(["cache"]) == 0 and "it is empty" in capsys.readouterr().out
    make_pictures(tmp_path / "pictures")
    pictures = load_cifar10("train", root=tmp_path / "pictures")
    options = ExtractOptions(progress=False)
    extract_features(
        load_backbone("book"), pictures.images, cache_dir=cache_dir() / "features", options=options
    )
    others = ("thesis", "holiday-pictures-2019", "my-cifar10-runs", "k-nearest-notes", "features/mine")
    for name in others:
        (cache_dir() / name).mkdir()
    (cache_dir() / ".pictures-0123456789abcdef.safetensors.x1.part").mkdir()  # of a killed run
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "kept").touch()
    (cache_dir() / "features" / (32 * "a")).symlink_to(shelf)  # on a larger disk
    assert commands.main(["cache"]) == 0
    out = capsys.readouterr().out
    assert (
        str(tmp_path / "cache") in out
        and "features: 0." in out
        and "pictures-" in out
        and not any(name in out for name in others)
    )
    assert commands.main(["cache", "--clear"]) == 0
    assert {path.name for path in cache_dir().iterdir()} == {*others[:-1], "features"}
    assert [path.name for path in (cache_dir() / "features").iterdir()] == ["mine"]
    assert (shelf / "kept").exists()
    again = load_cifar10("train", root=tmp_path / "pictures")
    assert torch.equal(again.images, pictures.images)


def test_recordings_outlive_the_clearing_of_the_cache(tmp_path, monkeypatch, capsys):
    """They are made with the official weights, in hours; what else is there comes back by itself."""
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path))
    for name in ("features/0123456789abcdef0123456789abcdef", "recordings"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(bytes(200_000))
    assert commands.main(["cache"]) == 0
    out = capsys.readouterr().out
    assert "recordings: 0.2 MB" in out and "--clear removes them" in out and "recordings excepted" in out
    assert commands.main(["cache", "--clear"]) == 0
    out = capsys.readouterr().out
    assert {path.name for path in tmp_path.rglob("*")} == {"features", "recordings", "file"}
    assert (tmp_path / "recordings" / "file").is_file()
    assert "recordings stay" in out and str(tmp_path / "recordings") in out
    assert commands.main(["cache", "--clear"]) == 0 and "removed" not in capsys.readouterr().out


def make_pictures(folder):
    """CIFAR-10's layout with one picture a class and split."""
    for number, name in enumerate(("airplane", "automobile", *CIFAR10_CLASSES[2:])):
        for split in ("train", "test"):
            place = folder / split / name
            place.mkdir(parents=True)
            Image.new("RGB", (32, 32), (20 * number,) * 3).save(place / "0000.png")
