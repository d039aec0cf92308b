"""The checkpoint that ships: what its card says is what it is."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from dinov2_edu.data import load_cifar10
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.presets import cifar10_run, cifar10_second_run
from dinov2_edu.training import TrainConfig
from dinov2_edu.vit import BOOK_VIT
from dinov2_edu.weights import ASSETS, load_backbone, read_book_card

ROOT = Path(__file__).parents[1]


def test_the_shipped_checkpoint_is_what_its_card_says():
    model, card = load_backbone("book"), read_book_card()
    assert model.config == BOOK_VIT and card["config"] == asdict(BOOK_VIT)
    assert (ASSETS / "book.safetensors").stat().st_size <= 12e6
    stages = [TrainConfig.from_dict(stage["config"]) for stage in card["stages"]]
    assert stages == [cifar10_run(), cifar10_second_run()], "the presets are those that made it"
    assert [stage["steps"] for stage in card["stages"]] == [stage.steps for stage in stages]
    assert card["images_seen"] == sum(stage.steps * stage.batch_size for stage in stages)
    assert card["hours"] > 0 and card["device"] and "without labels" in card["data"]


def test_the_shipped_checkpoint_beats_its_baselines():
    card = read_book_card()["accuracy"]
    for probe in ("knn", "linear"):
        best = max(reached[probe] for name, reached in card.items() if name != "book")
        assert card["book"][probe] > best + 0.05


@pytest.mark.skipif(not os.environ.get("DINOV2_EDU_CIFAR10"), reason="DINOV2_EDU_CIFAR10 names no CIFAR-10")
def test_the_shipped_weights_reach_what_their_card_says():
    reached = read_book_card()["accuracy"]["book"]["knn"]
    generator = torch.Generator().manual_seed(0)
    some = [
        load_cifar10("train").subset(torch.randperm(50_000, generator=generator)[:5_000]),
        load_cifar10("test").subset(torch.randperm(10_000, generator=generator)[:1_000]),
    ]
    found = {name: knn_evaluator(*some)(load_backbone(name)) for name in ("book", "random")}
    assert found["book"] > found["random"] + 0.05
    assert reached > found["book"] > reached - 0.12, "a tenth of the labels costs some"


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
            ),
        ),
        (
            "book/index.md",
            (
                "in {hours} hours on two CPU cores",
                "reaches {knn} by k-NN on the test pictures, where raw pixels have {pixels_bare} and **random",
                "on crops of {crops[0]} and {crops[1]} pixels",
            ),
        ),
        ("book/faq.md", ("reaches {knn} there by k-NN and {linear} by a linear probe",)),
        (
            "book/log.md",
            ("50,000 neighbours {knn}, linear {linear} (class token) and {linear_all} (class token with mean patch)",),
        ),
        (
            "notebooks/07_training.ipynb",
            ("The checkpoint above ({knn} in {hours} hours of two cores)", "{ends[0]} % became {ends[1]}"),
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
