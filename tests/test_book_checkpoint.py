"""The checkpoint that ships: what its card says is what it is."""

import itertools
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from dinov2_edu.data import load_cifar10, patterns10
from dinov2_edu.experiments.evaluation import quiet_features
from dinov2_edu.experiments.presets import (
    cifar10_last_run,
    cifar10_run,
    cifar10_second_run,
    cifar10_third_run,
)
from dinov2_edu.experiments.publish import measure
from dinov2_edu.features import ExtractOptions, Preprocessing, extract, extract_features
from dinov2_edu.training import TrainConfig
from dinov2_edu.vit import BOOK_VIT
from dinov2_edu.weights import ASSETS, load_backbone, read_book_card

ROOT = Path(__file__).parents[1]


def test_the_shipped_checkpoint_is_what_its_card_says():
    model, card = load_backbone("book"), read_book_card()
    assert model.config == BOOK_VIT and card["config"] == asdict(BOOK_VIT)
    assert (ASSETS / "book.safetensors").stat().st_size <= 12e6
    stages = [TrainConfig.from_dict(stage["config"]) for stage in card["stages"]]
    presets = [cifar10_run(), cifar10_second_run(), cifar10_third_run(), cifar10_last_run()]
    assert stages == presets, "the presets are those that made it"
    assert all(after["origin"] in before["ends"] for before, after in itertools.pairwise(card["stages"][1:]))
    assert [stage["steps"] for stage in card["stages"]] == [stage.steps for stage in stages]
    assert card["images_seen"] == sum(stage.steps * stage.batch_size for stage in stages)
    assert card["hours"] > 0 and card["device"] and "without labels" in card["data"]


def test_the_shipped_checkpoint_beats_its_baselines():
    card = read_book_card()["accuracy"]
    for probe in ("knn", "linear"):
        best = max(reached[probe] for name, reached in card.items() if name != "book")
        assert card["book"][probe] > best + 0.05


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("DINOV2_EDU_CIFAR10"), reason="DINOV2_EDU_CIFAR10 names no CIFAR-10")
@pytest.mark.parametrize(
    ("name", "probes"),
    [("book", ("linear", "linear_all", "linear_4")), ("random weights", ("linear",)), ("raw pixels", ())],
)
def test_the_weights_reach_what_their_card_says(name, probes):
    """All 50,000 neighbours and 10,000 test pictures, as `publish` measures; probes with the C that it chose.

    Of the baselines not each probe, because a fit on 3,072 pixels takes minutes.
    """
    card = read_book_card()
    train, test = load_cifar10("train"), load_cifar10("test")
    assert card["measured_on"] == f"{len(train):,} labelled training pictures, {test.name}"
    backbone = {"book": "book", "random weights": "random"}.get(name)
    c = {probe: card["c"][name][probe] for probe in probes}
    found, _ = measure(train, test, backbone and load_backbone(backbone), c)
    reached = {probe: card["accuracy"][name][probe] for probe in ("knn", *probes)}
    assert found == pytest.approx(reached, abs=2e-3), (
        "a fit that begins elsewhere ends elsewhere, by its tolerance"
    )
    assert found["knn"] == pytest.approx(reached["knn"], abs=2e-4)


def words_of(name):
    """A page's or a chapter's text in one line."""
    text = (ROOT / name).read_text("utf-8")
    if name.endswith(".ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("page", "sentences"),
    [
        (
            "README.md",
            (
                "for {hours} hours on two CPU cores",
                "names {knn} of the test pictures",
                "random weights reach {random}, raw pixels {pixels}",
                "of the 50,000 labelled ones",
                "The checkpoint above, {knn} in {hours} hours",
                "as in the paper, names {linear_4}",
            ),
        ),
        (
            "book/index.md",
            (
                "in {hours} hours on two CPU cores",
                "reaches {knn} by k-NN on the test pictures, where raw pixels have {pixels_bare} and **random",
                "at the last of {crops[0]} and {crops[1]} pixels",
            ),
        ),
        ("book/faq.md", ("reaches {knn} there by k-NN and {linear} by a linear probe",)),
        (
            "book/log.md",
            (
                "50,000 neighbours {knn}",
                "linear {linear} (class token), {linear_all} (with the mean patch) and {linear_4} (class tokens",
            ),
        ),
        (
            "notebooks/07_training.ipynb",
            ("The checkpoint above ({knn} in {hours} hours of two cores)",
                "at {ends[0]}, {ends[1]} and {ends[2]} %",
                "{ends[2]} % became 63.6 in 250 steps, and {ends[3]} at the end",),
        ),
        (
            "notebooks/13_own_pictures.ipynb",
            ("{millions} million: 50,000 pictures, {epochs} times | {knn} | {pixels}: well above",),
        ),
    ],
)  # fmt: skip
def test_pages_quote_the_card(page, sentences):
    card = read_book_card()
    reached = {
        name: {probe: f"{100 * one:.1f} %" for probe, one in row.items()}
        for name, row in card["accuracy"].items()
    }
    crops = card["stages"][-1]["config"]["crops"]
    facts = {
        **reached["book"],
        "random": reached["random weights"]["knn"],
        "pixels": reached["raw pixels"]["knn"],
        "pixels_bare": reached["raw pixels"]["knn"].removesuffix(" %"),
        "hours": card["hours"],
        "crops": (crops["global_size"], crops["local_size"]),
        "ends": [f"{100 * stage['curves']['knn'][-1]:.1f}" for stage in card["stages"]],
        "millions": f"{card['images_seen'] / 1e6:.1f}",
        "epochs": f"{card['epochs']:.0f}",
    }  # fmt: skip
    words = words_of(page)
    for sentence in sentences:
        assert sentence.format(**facts) in words, sentence
    assert "two CPU cores" in card["device"] and "50,000 labelled" in card["measured_on"]


def test_recorded_accuracies_do_not_hang_on_the_chip(monkeypatch):
    """Where a chip has bfloat16 units, features are float32 all the same, for k-NN moves by more than a digit."""
    pictures = patterns10(8)
    backbone = load_backbone("book")
    monkeypatch.setattr(extract, "best_precision", lambda device: "bfloat16")
    (found,) = quiet_features(backbone, pictures)
    options = ExtractOptions(progress=False, precision="float32")
    wanted = extract_features(backbone, pictures, preprocessing=Preprocessing(size=32), options=options)
    torch.testing.assert_close(found.cls, wanted.cls, rtol=0, atol=0)
    half = extract_features(
        backbone, pictures, preprocessing=Preprocessing(size=32), options=ExtractOptions(progress=False)
    )
    assert not torch.equal(half.cls, wanted.cls), "the chip's choice is another"
