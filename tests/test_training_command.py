"""The commands: train, go on from a finished run, and make its backbone the book's own checkpoint."""

import json
import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from tiny_training import TINY, interrupted_call

from dinov2_edu.data import ImageSet
from dinov2_edu.experiments import commands, publish
from dinov2_edu.experiments import train as train_command
from dinov2_edu.experiments.book_run import book_run
from dinov2_edu.training import FitOptions, build_state, load_checkpoint, start_from
from dinov2_edu.vit import BOOK_VIT, VisionTransformer
from dinov2_edu.weights import book as weights_book
from dinov2_edu.weights import load_backbone

CLASSES = ("dark", "light")


@pytest.fixture
def tiny_world(monkeypatch):
    """Pictures that are dark or light, as if they were CIFAR-10, and two presets of a few steps."""

    def load(split):
        generator = torch.Generator().manual_seed(len(split))
        labels = torch.arange(40 if split == "train" else 20) % 2
        noise = torch.randint(0, 60, (len(labels), 3, 16, 16), generator=generator, dtype=torch.uint8)
        return ImageSet(noise + (labels * 150).to(torch.uint8)[:, None, None, None], labels, CLASSES, split)

    short = replace(TINY, steps=4)
    wide = replace(short, crops=replace(short.crops, global_size=32))
    for module in (train_command, publish):
        monkeypatch.setattr(module, "load_cifar10", load)
    presets = {"cifar10": lambda: short, "cifar10-second": lambda: wide}
    monkeypatch.setattr(train_command, "PRESETS", presets)
    # The baseline has the book's own sizes, and is made for larger pictures than these.
    monkeypatch.setattr(publish, "load_backbone", lambda name: VisionTransformer(TINY.vit).eval())


def call(*words):
    """A command's exit status."""
    return commands.main([str(word) for word in words])


def train(*words):
    return call("train", *words, "--device", "cpu")


def test_a_second_run_goes_on_with_other_crops_and_is_published(tmp_path, tiny_world, capsys, monkeypatch):
    first, second, assets = (tmp_path / name for name in ("first", "second", "assets"))
    train("cifar10", first)
    train("cifar10-second", second, "--start-from", first, "--steps", 5)
    states = [load_checkpoint(folder / "checkpoint.pt") for folder in (first, second)]
    assert [state.step for state in states] == [4, 5]
    assert [state.config.crops.global_size for state in states] == [16, 32]
    capsys.readouterr()
    measured, measure = [], publish.measure
    monkeypatch.setattr(publish, "measure", lambda *given: measured.append(given[2]) or measure(*given))

    call("publish", first, second, "--hours", "0.25", "0.25", "--device", "a test", "--folder", assets)
    printed = capsys.readouterr().out
    card = json.loads((assets / "book.json").read_text())
    assert set(card["accuracy"]) == {"book", "random weights", "raw pixels"}
    for name, accuracies in card["accuracy"].items():
        assert set(accuracies) >= {"knn", "linear"} and f"{name}: knn {accuracies['knn']:.1%}" in printed
    assert card["accuracy"]["raw pixels"]["linear"] == 1.0  # dark or light: a flat cut does it
    assert (card["hours"], card["device"], card["seeds"]) == (0.5, "a test", [0, 0])
    assert card["images_seen"] == (4 + 5) * 8 and card["epochs"] == 1.8
    assert [stage["steps"] for stage in card["stages"]] == [4, 5]
    assert card["config"]["width"] == 24

    model = load_backbone(assets / "book.safetensors")
    train_set, test_set = publish.load_cifar10("train"), publish.load_cifar10("test")
    again, chosen = publish.measure(train_set, test_set, model)
    assert chosen == card["c"]["book"] and set(chosen) == {"linear", "linear_all", "linear_4"}
    assert set(again) == {"knn", "linear", "linear_all", "linear_4"} and again == card["accuracy"]["book"]
    wanted = states[1].teacher.backbone.half().float().state_dict()
    for weights in (model.state_dict(), measured[0].state_dict()):  # what is written, and what was measured
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights.items())


def test_the_published_run_is_gone_on_with(tmp_path, tiny_world, capsys, monkeypatch):
    """From what the book ships, with its heads or with new ones; and the card keeps the runs before."""
    assets = tmp_path / "assets"
    for module in (weights_book, publish):
        monkeypatch.setattr(module, "ASSETS", assets)
    words = ("--hours", "0.5", "--device", "a test")
    assert train("cifar10", tmp_path / "first") == 0 and call("publish", tmp_path / "first", *words) == 0
    finished, shipped = load_checkpoint(tmp_path / "first" / "checkpoint.pt"), book_run()
    assert (shipped.step, shipped.config) == (4, finished.config)
    for name, weight in finished.teacher.state_dict().items():
        assert torch.equal(shipped.teacher.state_dict()[name], weight.half().float())
        student = finished.teacher if name.startswith("backbone.") else finished.student_network
        assert torch.equal(
            shipped.student_network.state_dict()[name], student.state_dict()[name].half().float()
        )
    more = replace(finished.config, n_prototypes=finished.config.n_prototypes + 2, seed=3)
    monkeypatch.setitem(train_command.PRESETS, "cifar10-third", lambda: more)
    capsys.readouterr()
    assert train("cifar10-third", tmp_path / "third", "--start-from", "book") == 2
    assert "n_prototypes must stay" in capsys.readouterr().err
    assert train("cifar10-third", tmp_path / "third", "--fresh-heads") == 2
    assert "--fresh-heads goes with --start-from" in capsys.readouterr().err
    third = ("cifar10-third", tmp_path / "third", "--start-from", "book", "--fresh-heads")
    assert train(*third, "--until", 2) == 0 and train(*third) == 0, "the same command goes on"
    assert train("cifar10", tmp_path / "fourth", "--start-from", "book", "--seed", 4) == 0
    assert call("publish", tmp_path / "third", *words) == 0
    card = json.loads((assets / "book.json").read_text())
    assert (card["seeds"], card["hours"], card["images_seen"]) == ([0, 3], 1.0, 2 * 4 * 8)
    assert [stage["config"]["seed"] for stage in card["stages"]] == [0, 3]
    assert call("publish", tmp_path / "third", "--hours", "0.75", "--device", "a test") == 0
    card = json.loads((assets / "book.json").read_text())
    assert (card["seeds"], card["hours"]) == ([0, 3], 1.25), "the same run again, its hours corrected"
    assert call("publish", tmp_path / "fourth", "--folder", tmp_path / "else", *words) == 0
    other = json.loads((tmp_path / "else" / "book.json").read_text())
    assert (other["seeds"], other["hours"]) == ([0, 4], 1.0), "it began with what shipped before the third"
    train("cifar10", tmp_path / "stranger", "--seed", 8)
    train("cifar10", tmp_path / "fifth", "--start-from", tmp_path / "stranger", "--seed", 9)
    assert call("publish", tmp_path / "fifth", *words) == 2
    assert "began with networks that neither they nor the card" in capsys.readouterr().err
    for runs, said in (
        (("third", "fourth"), "fourth did not begin with the networks in which"),
        (("first", "third", "fourth"), "--hours wants a number for each run, 3, got 2"),
    ):
        assert call("publish", *(tmp_path / one for one in runs), "--hours", "1", "1") == 2
        assert said in capsys.readouterr().err
    assert json.loads((assets / "book.json").read_text()) == card


@pytest.mark.bad_input
def test_a_card_that_names_no_run_knows_no_beginning(monkeypatch):
    monkeypatch.setattr(publish, "read_book_card", dict)
    with pytest.raises(ValueError, match="began with networks that neither they nor the card"):
        publish.card_before(SimpleNamespace(origin="0123456789abcdef"))


def test_curves_of_the_card_are_thinned_and_end_where_the_run_ended():
    state = build_state(TINY)
    state.step, state.history = 20, {"loss": [i / 3 for i in range(1000)], "knn": [0.5]}
    stage = publish.stage_of(state)
    assert len(stage["curves"]["loss"]) <= publish.CURVE_POINTS
    assert stage["curves"]["loss"][-1] == 333.0 and stage["curves"]["knn"] == [0.5]
    assert stage["images"] == 160


@pytest.mark.bad_input
def test_runs_that_are_not_there_are_named(tmp_path, tiny_world, capsys):
    nowhere = tmp_path / "nowhere"
    assert train("cifar10-second", tmp_path / "second", "--start-from", nowhere) == 2
    assert f"no checkpoint at {nowhere}" in capsys.readouterr().err
    assert call("publish", nowhere, "--hours", "1", "--folder", tmp_path / "assets") == 2
    assert f"no checkpoint at {nowhere}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_used_folder_goes_on_with_its_own_run_alone(tmp_path, tiny_world, capsys, monkeypatch):
    """Another preset, length, seed, start or data is refused, with the field and both values."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert train("cifar10", first, "--steps", 6, "--seed", 7, "--until", 3) == 0
    assert train("cifar10-second", second, "--start-from", first) == 0
    capsys.readouterr()
    kept = (first / "checkpoint.pt").read_bytes()
    for words, says in (
        (["cifar10-second", first], "crops.global_size is 16 there, and 32 is asked for"),
        (["cifar10", first, "--steps", 8], "steps is 6 there, and 8 is asked for"),
        (["cifar10", first, "--seed", 8], "seed is 7 there, and 8 is asked for"),
        (["cifar10", first, "--precision", "bfloat16"], "precision is 'float32' there, and 'bfloat16'"),
        (["cifar10", first, "--start-from", second], "--start-from is None there, and '"),
    ):
        assert train(*words) == 2
        error = capsys.readouterr().err
        assert says in error and f"{first} holds another run" in error and "Name another folder" in error
    load = train_command.load_cifar10
    monkeypatch.setattr(train_command, "load_cifar10", lambda split: load(split + "?"))
    assert train("cifar10", first) == 2
    error = capsys.readouterr().err
    assert "learnt from other images (40 x 3 x 16 x 16 bytes, SHA-256" in error and "start_from" in error
    assert (first / "checkpoint.pt").read_bytes() == kept
    monkeypatch.setattr(train_command, "load_cifar10", load)
    assert train("cifar10", first) == 0  # what is not asked for stays as it was begun
    state = load_checkpoint(first / "checkpoint.pt")
    assert (state.step, state.config.steps, state.config.seed) == (6, 6, 7)
    assert train("cifar10-second", second, "--start-from", first) == 2, "the first run has gone on since"
    assert re.search(r"--start-from is '\w{16}' there, and '\w{16}' is asked for", capsys.readouterr().err)


@pytest.mark.bad_input
def test_advice_names_options_that_are_there(tmp_path, tiny_world, capsys):
    assert train("cifar10", tmp_path / "run", "--steps", TINY.warmup_steps) == 2
    assert "error: --steps must be above the 2 steps of this run's warm-up, got 2" in capsys.readouterr().err
    assert call("ablations", "--folder", tmp_path, "--only", "healthy", "--steps", 50) == 2
    assert "--steps must be above the 60 steps" in capsys.readouterr().err
    assert call("train", "cifar10", tmp_path / "run", "--device", "warp") == 2
    assert "--device warp cannot be used here" in capsys.readouterr().err
    for words in (["--steps", "0"], ["--seed", "-1"], ["--until", "x"], ["--checkpoint-every", "0"]):
        with pytest.raises(SystemExit, match="2"):
            train("cifar10", tmp_path / "run", *words)
        assert f"error: argument {words[0]}: " in capsys.readouterr().err


def test_an_interrupted_command_is_told_and_keeps_its_run(tmp_path, tiny_world, capsys, monkeypatch):
    def interrupt(state):
        if state.step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "TerminalCurves", lambda: interrupt)
    monkeypatch.setattr(train_command, "FitOptions", partial(FitOptions, log_every=1))
    assert train("cifar10", tmp_path) == commands.INTERRUPTED
    assert load_checkpoint(tmp_path / "checkpoint.pt").step == 2
    assert "the same command goes on from here" in capsys.readouterr().err
    monkeypatch.setattr(train_command, "load_cifar10", lambda split: interrupt(SimpleNamespace(step=2)))
    assert train("cifar10", tmp_path) == commands.INTERRUPTED
    assert "the same command goes on from here" in capsys.readouterr().err


def test_a_command_interrupted_in_its_last_measurement_makes_it_up(tmp_path, tiny_world, monkeypatch):
    real = train_command.knn_evaluator
    with monkeypatch.context() as patch:
        patch.setattr(train_command, "knn_evaluator", lambda *sets: interrupted_call(real(*sets)))
        assert train("cifar10", tmp_path) == commands.INTERRUPTED
    kept = load_checkpoint(tmp_path / "checkpoint.pt")
    assert kept.step == 4 and "knn" not in kept.history
    assert train("cifar10", tmp_path) == 0
    assert load_checkpoint(tmp_path / "checkpoint.pt").history["knn_step"] == [4]
    assert json.loads((tmp_path / "history.json").read_text())["history"]["knn_step"] == [4]


def test_the_presets_of_the_book_fit_together():
    first, second, third, last = (
        train_command.PRESETS[f"cifar10{name}"]() for name in ("", "-second", "-third", "-last")
    )
    assert first.vit == second.vit == third.vit == last.vit == BOOK_VIT
    assert len({first.seed, second.seed, third.seed, last.seed}) == 4, (
        "one seed would repeat the order, crops and masks of the first run"
    )
    rounds = start_from(start_from(build_state(first), second), third, fresh_heads=True)
    start_from(rounds, last)  # each refuses sizes that differ
    assert sum(p.numel() for p in VisionTransformer(BOOK_VIT).parameters()) < 6e6
