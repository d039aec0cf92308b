"""The rehearsal of publishing: stand-ins are like the real files, faults are faults, and a short form passes."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
import yaml

from dinov2_edu.data import cifar, load_cifar10, patterns10
from dinov2_edu.data.download import NotFetched, fetch
from dinov2_edu.data.remote import RemoteFile
from dinov2_edu.experiments.parsers import RECORDING_NAMES
from dinov2_edu.weights import WEIGHTS, load_backbone
from tools import rehearse

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    for name in ("DINOV2_EDU_OFFLINE", "DINOV2_EDU_MIRROR", "DINOV2_EDU_CIFAR10"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(rehearse, "PLACE", tmp_path / "rehearsal")


def mirror(monkeypatch, folder: Path, address: str, files: dict[str, bytes]) -> None:
    facts = {
        Path(path).name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in files.items()
    }
    (folder / "mirror.json").write_text(json.dumps({"server": address, "files": facts}))
    monkeypatch.setenv("DINOV2_EDU_MIRROR", str(folder / "mirror.json"))


def test_the_steps_are_those_of_the_workflow():
    commands = [step["run"] for step in rehearse.steps_of()]
    assert "dinov2_edu recordings" in commands[0] and commands[1] == "make book"
    assert "dinov2_edu study --weights vits14" in commands[2]
    checkout = yaml.safe_load(rehearse.WORKFLOW.read_text("utf-8"))["jobs"]["build"]["steps"][0]
    assert checkout["with"]["fetch-depth"] == 0, (
        "else every page seems to have changed with the newest commit"
    )
    text = rehearse.WORKFLOW.read_text("utf-8")
    assert text.index("dinov2_edu recordings") < text.index("make book") < text.index("dinov2_edu study")


def test_what_the_book_does_not_need_may_fail_and_has_less_time_than_the_job():
    job = yaml.safe_load(rehearse.WORKFLOW.read_text("utf-8"))["jobs"]["build"]
    optional = [step for step in rehearse.steps_of() if step.get("continue-on-error")]
    assert [("recordings" in step["run"], "study" in step["run"]) for step in optional] == [
        (True, False),
        (False, True),
    ]
    assert sum(step["timeout-minutes"] for step in optional) + 30 <= job["timeout-minutes"] <= 360


def test_the_recordings_are_of_models_that_the_server_has_and_of_none_in_the_short_form(monkeypatch):
    served = []

    def stop(files, fault):
        served.append(sorted(Path(path).name for path in files))
        raise KeyboardInterrupt

    monkeypatch.setattr(rehearse, "weights_file", lambda name: b"")
    monkeypatch.setattr(rehearse, "pictures", lambda count: (patterns10(10), patterns10(10, split="test")))
    monkeypatch.setattr(rehearse, "serve", stop)
    for short in (False, True):
        with pytest.raises(KeyboardInterrupt):
            rehearse.rehearse(short=short)
    assert served[1] == ["dinov2_vits14_pretrain.pth"]
    wanted = [f"dinov2_{name}_pretrain.pth" for name in ("vitl14", "vits14", "vits14_reg4")]
    assert served[0] == ["cifar-10-binary.tar.gz", *wanted]


def test_recordings_are_looked_at_and_deleted(tmp_path, monkeypatch):
    folder = rehearse.PLACE / "cache" / "recordings"
    folder.mkdir(parents=True)
    (rehearse.PLACE / "tree").mkdir()
    (folder / "manifest.json").write_text('{"format": 1, "items": {}}')
    environment = {**os.environ, "PYTHONPATH": str(rehearse.ROOT)}
    environment["DINOV2_EDU_CACHE"] = str(rehearse.PLACE / "cache")
    wrong = rehearse.recordings_wrong(environment)
    assert len(wrong) == len(RECORDING_NAMES) and "there is no recording 'photos-vits14'" in wrong[0]
    assert not folder.exists()


def test_the_weights_are_those_that_the_chapters_load_and_load_strictly(tmp_path, monkeypatch):
    assert rehearse.models() == ["vits14"]
    content = rehearse.weights_file("vits14")
    published = WEIGHTS["vits14"].file
    assert abs(len(content) - published.size) < 300_000
    files = {urlsplit(published.url).path: content}
    with rehearse.serve(files, None) as address:
        mirror(monkeypatch, tmp_path, address, files)
        model = load_backbone("vits14")
    assert model.config.width == 384 and float(model.blocks[3].attn.qkv.weight.std()) == pytest.approx(
        0.05, rel=0.02
    )


def test_the_archive_is_read_as_the_published_one_is(tmp_path, monkeypatch):
    train, test = patterns10(60), patterns10(20, split="test")
    files = {urlsplit(cifar.PUBLISHED.url).path: rehearse.cifar_archive(train, test)}
    with rehearse.serve(files, None) as address:
        mirror(monkeypatch, tmp_path, address, files)
        found = {split: load_cifar10(split) for split in ("train", "test")}
    for part, wanted in ((found["train"], train), (found["test"], test)):
        assert sorted(part.labels.tolist()) == sorted(wanted.labels.tolist())
        for label in range(10):
            one, other = (each.images[each.labels == label].flatten(1) for each in (part, wanted))
            assert sorted(map(bytes, one.numpy())) == sorted(map(bytes, other.numpy()))


def test_fewer_pictures_are_an_even_share_and_twice_as_many_others(monkeypatch):
    train, test = patterns10(200), patterns10(300, split="test")
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", "named")
    monkeypatch.setattr(rehearse, "load_cifar10", lambda split: train if split == "train" else test)
    known, new = rehearse.pictures(100)
    assert known.labels.bincount().tolist() == 10 * [10] and new.labels.bincount().tolist() == 10 * [20]
    assert rehearse.pictures(None) == (train, test)


@pytest.mark.parametrize("fault", [name for name in rehearse.FAULTS if name not in ("slow", "full")])
def test_each_fault_of_the_server_is_one(tmp_path, fault):
    with rehearse.serve({"/a/file.bin": CONTENT}, fault) as address:
        file = RemoteFile(f"{address}/a/file.bin", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
        with pytest.raises(NotFetched):
            fetch(file, tmp_path / "files")
    assert not file.place(tmp_path / "files").exists()


def test_stand_ins_are_told_from_the_rehearsals_own_files():
    own = "These numbers come from vits14 (a stand-in that DINOV2_EDU_MIRROR names), not from the published weights."
    other = "These numbers come from the book's own small model: vits14 could not be fetched."
    drawn = "These pictures are drawn: CIFAR-10 is not at hand."
    assert rehearse.stand_ins(f"words\n{own}\n\nmore") == []
    assert rehearse.stand_ins(f"{own} {other} {drawn}") == [other, drawn]


def test_a_full_disk_has_room_for_small_files_alone(tmp_path):
    write = "head -c %d /dev/zero > %s"
    for size, fits in ((1_000_000, True), (80_000_000, False)):
        command = rehearse.in_room(write % (size, tmp_path / "file"), "full")
        assert (
            subprocess.run(["bash", "-c", command], check=False, capture_output=True).returncode == 0
        ) == fits
    assert rehearse.in_room("true", "cut") == "true"
    assert min(len(rehearse.weights_file(name)) for name in rehearse.models()) > 2**26


def test_a_page_is_wrong_that_shows_a_stand_in_or_hides_one():
    shown = {"03_vit.html": ["drawn"], "01_crops.html": []}
    assert rehearse.pages_wrong(shown, None) == ["03_vit.html says: drawn"]
    assert rehearse.pages_wrong(shown, "cut") == []
    assert rehearse.pages_wrong({"03_vit.html": []}, "cut") == [
        "03_vit.html does not say what stands in for the official weights"
    ]


@pytest.mark.parametrize(
    ("wrong", "arguments", "status"),
    [
        ([], [], 0),
        (["study: exit code 1, which the workflow allows"], [], 1),
        (["study: exit code 1, which the workflow allows"], ["--fault", "cut"], 0),
        (["03_vit.html says: drawn"], ["--fault", "cut"], 1),
    ],
)
def test_what_the_workflow_allows_is_allowed_where_the_server_has_a_fault_alone(
    monkeypatch, wrong, arguments, status
):
    monkeypatch.setattr(rehearse, "rehearse", lambda **_: wrong)
    assert rehearse.main(arguments) == status


@pytest.mark.slow
def test_a_chapter_made_on_a_full_disk_says_what_stands_in():
    assert rehearse.rehearse(short=True, fault="full") == []


@pytest.mark.slow
def test_a_chapter_is_made_of_what_the_server_has(capfd):
    """The short form: chapter 03 with ViT-S/14 from the server."""
    assert rehearse.rehearse(short=True) == []
    outputs = (rehearse.PLACE / "tree" / "executed.ipynb").read_text("utf-8")
    assert "vits14: width 384" in outputs.replace(" (a stand-in that DINOV2_EDU_MIRROR names)", "")
    assert "the largest process had" in capfd.readouterr().out
