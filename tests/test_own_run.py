"""Own pictures on the command line: settings that follow from the data, a run that goes on, a probe, a table."""

import argparse
import hashlib
import json
import re
import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_training import TINY, interrupt_step

from dinov2_edu.data import ImageSet, patterns10
from dinov2_edu.data.own import is_held_out, look_over, read_own
from dinov2_edu.data.untidy import untidy_folder
from dinov2_edu.experiments import commands, inputs, own, own_study, parsers
from dinov2_edu.experiments.inputs import default_sizes
from dinov2_edu.experiments.own_run import LONG, SIDES, OwnRun, own_momentum, own_run, own_side
from dinov2_edu.experiments.presets import cifar10_run, patterns10_run
from dinov2_edu.experiments.recipes import default_recipe, published_recipe
from dinov2_edu.features import ExtractOptions, Preprocessing, extract_features
from dinov2_edu.features.table import table_path
from dinov2_edu.pictures import PictureError
from dinov2_edu.training import load_checkpoint
from dinov2_edu.training.doctor import read_log
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights import LoadedBackbone, load_backbone


@pytest.mark.parametrize("n_pictures", [64, 100, 128, 500, 6399, 6400, 20_000, 1_000_000])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("steps", [None, 50, LONG - 1, LONG, 100_000])
def test_every_run_that_is_chosen_can_be_trained(n_pictures, side, steps):
    """`TrainConfig` refuses what makes no sense; here, that each rule holds for any folder."""
    found = own_run(n_pictures, side, steps)
    config = found.config
    assert 2 * config.batch_size <= n_pictures and config.steps == (steps or config.steps)
    assert 500 <= config.steps <= 6000 or steps
    assert config.vit.img_size == side == 8 * config.vit.patch_size == 2 * config.crops.global_size
    assert config.n_prototypes == 2 * config.batch_size and config.warmup_steps < config.steps
    assert len(found.choices) == len({choice.setting for choice in found.choices}) == 9
    assert all(choice.value and len(choice.why) > 20 for choice in found.choices)


@pytest.mark.parametrize(
    ("n_pictures", "steps", "rounds"),
    [
        (64, 500, 250),
        (2000, 937, 30),
        (6399, 2999, 30),
        (6400, 3000, 60),
        (12_800, 3000, 30),
        (25_600, 6000, 30),
        (100_000, 6000, 8),
    ],
)
def test_a_run_has_as_many_rounds_as_its_words_say(n_pictures, steps, rounds):
    config = own_run(n_pictures).config
    assert config.steps == steps and round(steps * config.batch_size / n_pictures) == rounds
    said = " ".join((own_run.__doc__ or "").split())
    assert "(of 64 pictures 250)" in said and "(of 6,400 pictures 60 rounds)" in said
    assert "(of 100,000 pictures 8)" in said


def test_the_teacher_remembers_as_long_as_in_runs_whose_end_is_known():
    """Within a factor of two of four published or recorded runs, which other people or other code chose."""
    known = [patterns10_run(), cifar10_run(), default_recipe(), published_recipe()]
    for config in known:
        ratio = (1 - own_momentum(config.steps)) / (1 - config.momentum[0])
        assert 0.5 < ratio < 2, (config.steps, ratio)
    assert own_momentum(1700) == 0.9 and own_momentum(10) == 0.9 and own_momentum(10**9) == 0.996
    assert own_momentum(6800) == 0.95


def test_a_long_run_is_the_books_own():
    """On 32 pixels the settings of a long run are those that made the book's checkpoint, but for the momentum."""
    ours, book = own_run(50_000, 32, 6000).config, cifar10_run()
    assert set(ours.differences(book)) == {"momentum", "warmup_steps"}
    assert abs(ours.momentum[0] - book.momentum[0]) < 0.005


def test_the_side_follows_the_middle_picture():
    assert [own_side(pixels) for pixels in (16, 32, 63, 64, 4000)] == [32, 32, 32, 64, 64]
    assert parsers.SIDES == SIDES


@pytest.mark.bad_input
def test_what_cannot_work_is_refused_with_a_way_on():
    with pytest.raises(ValueError, match=r'63 pictures are too few .*load_backbone\("vits14"\)'):
        own_run(63)
    with pytest.raises(ValueError, match="49 steps are too few"):
        own_run(1000, 32, 49)
    with pytest.raises(ValueError, match="side must be 32 or 64 or 96 or 128, got 48"):
        own_run(1000, 48)
    with pytest.raises(ValueError, match="less than 16 pixels"):
        own_side(15)


@pytest.fixture
def pictures(tmp_path):
    """An untidy folder of 120 dark and light pictures."""
    drawn = patterns10(120)
    labels = torch.arange(120) % 2
    bright = (drawn.images // 2 + 120 * labels.to(torch.uint8).view(-1, 1, 1, 1)).contiguous()
    return untidy_folder(tmp_path / "holiday", ImageSet(bright, labels, ("dark", "light"), "two"))


@pytest.fixture
def quick(monkeypatch):
    """The rules as they are, then everything made small, so that a step takes no time."""

    def small(n_pictures, side=32, steps=None):
        found = own_run(n_pictures, side)
        small_run = replace(TINY, steps=steps or 6, vit=replace(TINY.vit, img_size=side))
        return OwnRun(small_run, found.choices)

    monkeypatch.setattr(own, "own_run", small)


def call(*words):
    return commands.main([str(word) for word in words])


def test_from_a_folder_to_a_trained_and_judged_model(tmp_path, pictures, quick, capsys):
    run = tmp_path / "mine"
    words = ["train", "folder", run, "--data", pictures, "--skip-unreadable", "--device", "cpu"]
    assert call(*words, "--until", 3) == 0
    said = capsys.readouterr()
    assert "124 pictures; in sub-folders: dark 63, light 60" in said.err and "left out: 1 x .txt" in said.err
    assert "not read (2): " in said.err and "IMG_cut.jpg" in said.err and "counted once (1)" in said.err
    assert "momentum: 0.9 to 1 (the teacher remembers about 10" in said.err
    assert "pictures with a class are held out" in said.err
    assert load_checkpoint(run / "checkpoint.pt").step == 3

    assert call(*words) == 0  # the same command goes on
    said = capsys.readouterr()
    assert "training from step 3 to 6" in said.err and "momentum: " not in said.err
    assert "k-NN without training: raw pixels " in said.out and "random weights " in said.out
    state = load_checkpoint(run / "checkpoint.pt")
    assert state.step == 6 and len(state.history["knn"]) == 1
    assert read_log(run).curves["loss"].values and json.loads((run / "history.json").read_text())["config"]

    model = load_backbone(run)
    assert all(
        torch.equal(tensor, state.teacher.backbone.state_dict()[name])
        for name, tensor in model.state_dict().items()
    )

    probe = [
        "probe",
        "--weights",
        run,
        "--data",
        pictures,
        "--skip-unreadable",
        "--cache",
        tmp_path / "cache",
    ]
    assert call(*probe, "--device", "cpu", "--c", 0.1) == 0
    said = capsys.readouterr().out
    assert "mine (width 24, 2 blocks" in said and "logistic regression, C = 0.1" in said
    held = int(own.labelled_halves(pictures)[1].labels.numel())
    assert f"% of {held}, 95 % interval" in said


@pytest.mark.bad_input
def test_a_folder_command_says_what_is_wrong(tmp_path, pictures, quick, capsys):
    run = tmp_path / "mine"
    for words, sentence in (
        (["folder", run], "train folder needs --data DIR"),
        (["folder", run, "--data", tmp_path / "no"], "there is no folder"),
        (["folder", run, "--data", pictures], "fetch it again, or remove it; or go on without it"),
        (["cifar10", run, "--data", pictures], "--data and --side go with the preset folder"),
        (["cifar10", run, "--skip-unreadable"], "--skip-unreadable goes with the preset folder"),
    ):
        assert call("train", *words, "--device", "cpu") == 2
        assert sentence in capsys.readouterr().err
    for words, sentence in (
        (["--data", pictures, "--train", pictures, "--test", pictures], "leave out --train and --test"),
        (["--data", pictures / "dark"], "a probe needs two classes"),
    ):
        assert call("probe", "--weights", "book", *words) == 2
        assert sentence in capsys.readouterr().err


def shades(folder, counts, loose=False):
    """Noise files in classes, as many on each half as `counts` says: class -> (learnt from, held out)."""
    seed = 0
    for name, wanted in counts.items():
        (folder / name).mkdir(parents=True)
        made = [0, 0]
        while made != list(wanted):
            seed += 1
            path = folder / name / f"{seed}.png"
            Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
            half = is_held_out(hashlib.sha256(path.read_bytes()).digest())
            made[half] += 1
            if made[half] > wanted[half]:
                made[half] -= 1
                path.unlink()
            elif loose:
                (folder / f"0 loose {seed}.png").write_bytes(path.read_bytes())
    return folder


def test_run_and_probe_hold_out_the_same_pictures(tmp_path):
    """Also where a copy in no sub-folder comes first, which the run then reads."""
    folder = shades(tmp_path / "mine", {"a": (6, 3), "b": (5, 4)}, loose=True)
    pictures = own.read_own(own.look_over(folder), 32, progress=False)
    for run_half, probe_half in zip(pictures.judged_by(), own.labelled_halves(folder), strict=True):
        assert torch.equal(run_half.labels.sort().values, probe_half.labels.sort().values)
    held = {Path(item).read_bytes() for item in own.labelled_halves(folder)[1].items}
    learnt = [pictures.names[row] for row in (~pictures.held_out).nonzero()[:, 0]]
    assert not held & {(folder / name).read_bytes() for name in learnt}


def test_a_class_without_a_picture_to_learn_from_is_named_and_left_out(tmp_path, capsys):
    folder = shades(tmp_path / "mine", {"a": (6, 3), "b": (6, 3), "list": (0, 2)})
    probe = ["probe", "--weights", "book", "--data", folder, "--cache", tmp_path / "cache", "--device", "cpu"]
    assert call(*probe, "--c", 0.1) == 0
    said = capsys.readouterr()
    assert "left out, because no picture of their class is there to learn from (2): " in said.err
    assert said.err.count("(list)") == 2 and "% of 6, 95 % interval" in said.out


def test_a_limit_that_takes_a_class_from_what_is_learnt_says_so(tmp_path, capsys):
    folder = shades(tmp_path / "mine", {"a": (9, 2), "b": (1, 2), "c": (9, 2)})
    options = Namespace(data=folder, train=None, test=None, limit=5)
    learn, held = inputs.pictures_of(options)
    assert set(learn.labels.tolist()) == {0, 2} == set(held.labels.tolist())
    assert "(2)" in capsys.readouterr().err
    options.limit = 1  # of one class both
    with pytest.raises(ValueError, match=r"1 of its classes have a picture to learn from.* raise --limit"):
        inputs.pictures_of(options)


@pytest.mark.bad_input
def test_a_folder_of_which_nothing_can_be_read_gets_the_right_reason(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for number in range(80):
        (tmp_path / "empty" / f"{number}.jpg").touch()
    words = ["train", "folder", tmp_path / "run", "--data", tmp_path / "empty", "--device", "cpu"]
    for more in ([], ["--skip-unreadable"], ["--side", 32]):
        assert call(*words, *more) == 2
        said = capsys.readouterr().err
        assert "empty: of none of the 80 pictures the header can be read, 0.jpg among them" in said
        assert "16 pixels" not in said and "--skip-unreadable" not in said
    (tmp_path / "cut").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "cut" / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    words[4] = tmp_path / "cut"
    for more, hint in ([], True), (["--skip-unreadable"], False):
        assert call(*words, *more) == 2
        said = capsys.readouterr().err
        assert "it is damaged or cut short" in said and ("by --skip-unreadable" in said) == hint


def test_other_pictures_are_another_run(tmp_path, pictures, quick, capsys):
    run = tmp_path / "mine"
    words = ["train", "folder", run, "--data", pictures, "--skip-unreadable", "--device", "cpu"]
    assert call(*words, "--until", 2) == 0
    next(pictures.glob("light/IMG_*.jpg")).unlink()
    assert call(*words) == 2
    assert "learnt from other images" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_one_command_from_a_folder_to_a_table(tmp_path, pictures, capsys, ending):
    out = tmp_path / "out" / f"table{ending}"
    words = ["features", pictures, out, "--weights", "book", "--skip-unreadable", "--precision", "float32"]
    assert call(*words, "--cache", tmp_path / "cache", "--device", "cpu") == 0
    said = capsys.readouterr()
    assert "IMG_cut.jpg" in said.out and "rows of 128 numbers" in said.out
    if ending == ".npz":
        with np.load(out) as file:  # no pickle in it
            table = {name: file[name] for name in file.files}
        made_by = str(table["made_by"])
    else:
        import pyarrow.parquet as pq

        found = pq.read_table(out)
        made_by = found.schema.metadata[b"made_by"].decode()
        table = {name: np.array(found[name].to_pylist()) for name in found.column_names}
    assert "book" in made_by and len(table["path"]) == 122 == len(table["cls"]) == len(table["patch_mean"])
    model = load_backbone("book")
    for row in (0, 50, 121):
        path, same = pictures / table["path"][row], ExtractOptions(precision="float32")
        one = extract_features(model, [path], preprocessing=Preprocessing(size=32), options=same)
        np.testing.assert_allclose(table["cls"][row], one.cls[0].numpy(), atol=2e-5)
        np.testing.assert_allclose(table["patch_mean"][row], one.patch_mean[0].numpy(), atol=2e-5)
        top = table["path"][row].split("/")[0]
        assert table["class"][row] == (top if "/" in table["path"][row] else "")


@pytest.mark.bad_input
def test_every_command_names_its_own_way_past_a_picture(tmp_path, quick, capsys):
    folder = tmp_path / "holiday"
    for number in range(80):
        path = folder / ("dark", "light")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number, 100 * (number % 2), number)).save(path)
    for name in ("dark", "light"):
        (folder / name / "broken.png").write_bytes(b"broken")
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole, ignore=shutil.ignore_patterns("broken.png"))
    split = ["--train", folder, "--test", whole, "--weights", "book", "--cache", tmp_path / "cache"]
    for words in (
        ["train", "folder", tmp_path / "run", "--data", folder, "--device", "cpu"],
        ["features", folder, tmp_path / "table.npz", "--weights", "book", "--cache", tmp_path / "cache"],
        ["probe", *split],
        ["probe", *split, "--protocol", "linear", "--steps", "1"],
        ["study", *split, "--sizes", "32"],
    ):
        assert call(*words) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert "broken.png: " in said and said.endswith("go on without it and its like, by --skip-unreadable")
        assert "on_error" not in said
    with pytest.raises(PictureError, match=r"broken\.png: .*, or skip it with on_error='skip'$"):
        read_own(look_over(folder), 32, progress=False)


def test_advice_in_python_becomes_a_commands_own_option():
    advice = "3 of 9 rows are not finite in float16: look at the weights, or take precision='float32'"
    options = commands.parse("features", ["holiday", "table.npz"])
    assert commands.in_commands(advice, options).endswith("or take --precision float32")
    assert commands.in_commands(advice, commands.parse("cache", [])) == advice


@pytest.mark.parametrize(("python", "typed", "option"), commands.IN_COMMANDS)
def test_what_becomes_a_commands_own_option_is_said_somewhere(python, typed, option):
    """And the command that says it has the option."""
    package = Path(commands.__file__).parents[1]
    said = "".join(path.read_text("utf-8") for path in package.rglob("*.py") if path.name != "commands.py")
    assert python in said
    asked = re.search(r"--[a-z-]+", typed)
    for name, declare in commands.COMMANDS.items():
        parser = argparse.ArgumentParser()
        declare(parser)
        has = {one.dest: one.option_strings for one in parser._actions}
        if option in has and asked:
            assert asked[0] in has[option], name


def test_a_mistake_in_a_command_is_told_in_the_commands_own_words(tmp_path, capsys, monkeypatch):
    """Not in Python's: whoever typed it may know none."""
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (40, 40)).save(photos / "one.png")
    assert call("features", str(photos), str(tmp_path / "out.npz"), "--weights", "vits14") == 2
    said = capsys.readouterr().err
    assert 'take the weights "book", which comes with this package' in said and "load_backbone" not in said
    assert call("train", "folder", str(tmp_path / "run"), "--data", str(photos)) == 2
    said = capsys.readouterr().err
    assert "python -m dinov2_edu features" in said and "load_backbone" not in said


@pytest.mark.parametrize("steps", [100, LONG])
@pytest.mark.parametrize("side", SIDES)
def test_an_own_run_sees_pictures_at_the_size_it_was_trained_for(side, steps):
    with torch.device("meta"):
        model = VisionTransformer(own_run(10_000, side, steps).config.vit)
    patch = side // 8
    sizes = default_sizes(LoadedBackbone(model, "mine", ""))
    assert sizes == (side, side * 3 // 2, side * 2) and all(size % patch == 0 for size in sizes)


@pytest.mark.parametrize(("img_size", "patch"), [(518, 14), (224, 14), (224, 16)])
def test_official_weights_see_what_two_cores_can_pay_for(img_size, patch):
    with torch.device("meta"):
        model = VisionTransformer(ViTConfig(img_size=img_size, patch_size=patch, width=64, depth=1, heads=1))
    expected = (224, 168, 112) if patch == 14 else (224, 160, 112)
    assert default_sizes(LoadedBackbone(model, "theirs", "")) == expected


def test_the_commands_of_the_readme_need_nothing_but_the_plain_install(monkeypatch):
    monkeypatch.setattr("dinov2_edu.features.table.importlib.util.find_spec", lambda name: None)
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    outs = re.findall(r"^python -m dinov2_edu features \S+ (\S+)", readme, re.MULTILINE)
    assert outs and [table_path(out).name for out in outs] == outs


@pytest.mark.bad_input
def test_a_table_is_refused_before_anything_is_computed(tmp_path, pictures, capsys, monkeypatch):
    assert call("features", pictures, tmp_path / "table.csv", "--weights", "book") == 2
    assert "table.csv: wanted a name that ends in .npz or .parquet" in capsys.readouterr().err
    monkeypatch.setattr("dinov2_edu.features.table.importlib.util.find_spec", lambda name: None)
    assert call("features", pictures, tmp_path / "table.parquet", "--weights", "book") == 2
    assert "pip install pyarrow, or ask for .npz" in capsys.readouterr().err
    assert not (tmp_path / "table.parquet").exists()


@pytest.mark.parametrize("at", [0, 3])
def test_a_run_of_the_study_that_was_interrupted_is_no_row(tmp_path, monkeypatch, at):
    train, test = (patterns10(40, split=split, size=16) for split in ("train", "test"))
    monkeypatch.setattr(own_study, "pictures", lambda: (train, test))
    monkeypatch.setattr(own_study, "variants", lambda: {"as chosen": replace(TINY, steps=4)})
    path = tmp_path / "study.json"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_step(patch, at)
        own_study.record(path)
    assert not path.exists()
    own_study.record(path)
    runs = json.loads(path.read_text())["runs"]["as chosen"]
    assert [run["seed"] for run in runs] == [0, 1] and runs[0]["history"]["step"][-1] == 4
