"""The bank of pictures behind "nearest pictures": what is in it, when there is one, and that it is made once."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load

from dinov2_edu.data import DataUnavailable, patterns10
from dinov2_edu.experiments import nearest as module
from dinov2_edu.experiments.nearest import COLUMNS, make_bank, mosaic, nearest_bank
from dinov2_edu.features import Preprocessing
from dinov2_edu.probe import knn_accuracy
from dinov2_edu.weights import load_backbone
from dinov2_edu.widgets.your_picture import YourPictureWidget

KNOWN, ASKED = patterns10(60, split="train"), patterns10(40, split="test")


def test_the_mosaic_has_each_picture_in_its_place():
    content, shown = mosaic(KNOWN.images)
    assert content[:2] == b"\xff\xd8" and shown.shape == KNOWN.images.shape and len(KNOWN) > COLUMNS
    apart = (shown.float() - KNOWN.images.float()).abs().mean(dim=(1, 2, 3))
    other = (shown.float() - KNOWN.images.roll(1, 0).float()).abs().mean(dim=(1, 2, 3))
    assert (apart < other / 2).all()


def test_features_labels_and_accuracies_are_those_of_the_pictures(tmp_path):
    path = tmp_path / "bank.safetensors"
    path.write_bytes(make_bank(KNOWN, ASKED))
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["bank"])
    tensors = load(path.read_bytes())
    model, how = load_backbone("book"), Preprocessing(size=32)
    with torch.no_grad():
        rows, asked = (model(how(one)).cls for one in (mosaic(KNOWN.images)[1], ASKED.images))
    whole = tensors["features"].float()
    assert float(torch.cosine_similarity(whole, rows).min()) > 0.999
    assert tensors["labels"].tolist() == KNOWN.labels.tolist()
    assert about["right"]["trained"] == knn_accuracy(whole, KNOWN.labels, asked, ASKED.labels)
    assert set(about["right"]) == {"trained", "random", "pixels"} and about["data"] == KNOWN.name
    control = YourPictureWidget({"a": KNOWN.images[0].numpy(), "b": KNOWN.images[1].numpy()}, bank=path)
    control.view = "nearest"
    assert control.bank["side"] == 32 and sum(map(len, control.samples)) < 20_000


def test_without_cifar10_there_is_none_and_nothing_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path))
    monkeypatch.delenv("DINOV2_EDU_CIFAR10", raising=False)
    monkeypatch.setattr(module, "load_cifar10", lambda split: pytest.fail("it was asked for"))
    assert nearest_bank() is None


def test_it_is_made_once_and_anew_for_other_pictures(monkeypatch, tmp_path):
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path))
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", "named")
    made = []
    monkeypatch.setattr(module, "make_bank", lambda known, asked: made.append(len(known)) or b"bank")
    pictures = patterns10(3000)
    monkeypatch.setattr(module, "load_cifar10", lambda split: pictures)
    first = nearest_bank()
    assert first.read_bytes() == b"bank" and nearest_bank() == first and made == [3000]
    pictures.images[5] += 1
    assert nearest_bank() != first and len(made) == 2


def test_what_cannot_be_read_is_no_bank(monkeypatch):
    def refuse(split: str):
        raise DataUnavailable("broken")

    monkeypatch.setenv("DINOV2_EDU_CIFAR10", "named")
    monkeypatch.setattr(module, "load_cifar10", refuse)
    assert nearest_bank() is None
