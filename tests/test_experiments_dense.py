"""The command `dense`: its table has every control, and what follows a training follows it."""

import json
from dataclasses import replace

import pytest
import torch
from tiny_training import TINY, interrupt_step, interrupted_call

from dinov2_edu.data import DataUnavailable
from dinov2_edu.experiments import commands, dense
from dinov2_edu.weights import load_backbone

SEEN = ("mean colour", "raw pixels", "random", "book")
MORE = ("windows", "last 4 blocks", "twice the size")


@pytest.fixture
def small(monkeypatch):
    """Few pictures to train on and to test, and scenes in which a fold is soon fitted."""
    drawn, few = dense.patterns10, {10_000: 128, 2_000: 60}
    monkeypatch.setattr(dense, "patterns10", lambda n, **more: drawn(few[n], **more))
    scenes = dense.drawn_scenes
    monkeypatch.setattr(dense, "drawn_scenes", lambda n, **more: scenes(min(n, 6), **more))


def test_the_table_has_each_network_and_its_controls(monkeypatch, capsys, tmp_path, small):
    monkeypatch.setattr(dense, "cifar10_at_hand", lambda: False)
    out = tmp_path / "found.json"
    assert (
        commands.main(["dense", "--weights", "book", "--scenes", "6", "--out", str(out), "--device", "cpu"])
        == 0
    )
    printed = capsys.readouterr().out
    found = json.loads(out.read_text())
    names = {row["seen by"] for row in found["rows"]}
    assert names == {*SEEN, *(f"{name}, {how}" for name in SEEN[2:] for how in MORE)}
    assert all(name in printed for name in names) and found["n"] == 6 and len(found["fingerprint"]) == 64
    for row in found["rows"]:
        assert 0 < row["linear"] < 1 and len(row["linear folds"]) == 3
    assert f"{found['rows'][0]['linear']:.3f}" in printed


def test_networks_see_what_their_names_say():
    book = dense.LoadedBackbone(load_backbone("book"), "book", "")
    found = dense.networks(book, 64)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole, grid, size = found["book"]
    assert (grid, size) == (16, 64)
    assert torch.allclose(whole(images), book.model(images).patches, atol=1e-5)
    assert not torch.allclose(found["book, windows"][0](images), whole(images), atol=0.1)
    four = book.model.intermediate_layers(images, [2, 3, 4, 5])
    beside = torch.cat([one.patches for one in four], dim=-1)
    assert torch.allclose(found["book, last 4 blocks"][0](images), beside, atol=1e-5)
    assert found["book, twice the size"][1:] == (32, 128)
    assert found["raw pixels"][0](images).shape == (2, 256, 48)


def test_without_cifar10_there_are_drawn_scenes_alone(monkeypatch, capsys):
    def broken(split):
        raise DataUnavailable("not whole")

    monkeypatch.setattr(dense, "cifar10_at_hand", lambda: True)
    monkeypatch.setattr(dense, "load_cifar10", broken)
    assert len(dense._scenes(3, 0)) == 1
    assert "without mosaics of CIFAR-10: not whole" in capsys.readouterr().err


def test_a_training_is_followed_from_before_its_first_step(capsys, tmp_path, small):
    out = tmp_path / "run.json"
    assert (
        commands.main(
            ["dense", "--follow", "--steps", "62", "--every", "40", "--seed", "3", "--out", str(out)]
        )
        == 0
    )
    found = json.loads(out.read_text())
    assert [point["step"] for point in found["points"]] == [0, 40, 62]
    assert found["config"]["seed"] == 3 and "test split" in found["scenes"]
    scores = [tuple(point[key] for key in dense._POINT[1:]) for point in found["points"]]
    assert len(set(scores)) == 3  # the teacher moved
    assert "62" in capsys.readouterr().out


@pytest.mark.parametrize("at", [0, 2, 3, "last test"])
def test_a_followed_training_that_was_interrupted_is_not_written(tmp_path, monkeypatch, small, at):
    scores = dense.DenseScores(linear=0.5, linear_folds=(0.5,), knn=0.5, matched=0.5)
    monkeypatch.setattr(dense, "dense_test", lambda *_: scores)
    monkeypatch.setattr(dense, "patterns10_run", lambda: replace(TINY, steps=4))
    out = tmp_path / "run.json"
    call = ["dense", "--follow", "--every", "2", "--device", "cpu", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        if at == "last test":  # the first is before the first step
            patch.setattr(dense, "dense_test", interrupted_call(dense.dense_test, 3))
        else:
            interrupt_step(patch, at)
        assert commands.main(call) == commands.INTERRUPTED
    assert not out.exists()
    assert commands.main(call) == 0
    assert [point["step"] for point in json.loads(out.read_text())["points"]] == [0, 2, 4]


def test_a_training_is_followed_on_the_device_that_was_asked_for(monkeypatch, small):
    made, build = [], dense.build_state
    monkeypatch.setattr(dense, "build_state", lambda config, device: made.append(device) or build(config))
    monkeypatch.setattr(dense, "device_of", lambda name: torch.device("cuda", int(name[-1])))
    monkeypatch.setattr(dense, "fit", lambda state, *_: replace(state, interrupted=True))
    assert commands.main(["dense", "--follow", "--device", "cuda:3"]) == commands.INTERRUPTED
    assert made == [torch.device("cuda", 3)]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--follow", "--device", "nonsense"], "--device nonsense cannot be used here"),
        (["--follow", "--weights", "book"], "--weights cannot be given with --follow"),
        (["--follow", "--weights", "book", "--scenes", "6"], "--weights and --scenes cannot be given with"),
        (["--steps", "62"], "--steps can only be given with --follow: add it, or leave out --steps"),
        (["--every", "62"], "--every can only be given with --follow"),
    ],
)
def test_options_that_would_be_ignored_are_refused(words, sentence, monkeypatch, capsys):
    for name in ("patterns10", "drawn_scenes"):
        monkeypatch.setattr(dense, name, lambda *_, **__: pytest.fail("began all the same"))
    assert commands.main(["dense", *words]) == 2
    assert f"error: {sentence}" in capsys.readouterr().err


def test_the_recorded_trainings_are_whole():
    runs = dense.load_followed()
    assert runs and [run["config"]["seed"] for run in runs] == list(range(len(runs)))
    for run in runs:
        assert run["points"][0]["step"] == 0 and run["points"][-1]["step"] == run["config"]["steps"]


def test_the_recorded_table_is_of_the_books_weights():
    recorded = json.loads((dense.RECORDED / "book.json").read_text())
    assert recorded["fingerprint"] == dense.fingerprint(load_backbone("book"))
