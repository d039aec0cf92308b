"""The checkpoint that ships: what its card says is what it is."""

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


def test_the_readme_quotes_the_card():
    words = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
    card = read_book_card()
    knn = {name: f"{100 * card['accuracy'][name]['knn']:.1f} %" for name in card["accuracy"]}
    assert f"for {card['hours']} hours on two CPU cores" in words and "two CPU cores" in card["device"]
    assert f"names {knn['book']} of the test pictures" in words
    assert f"random weights reach {knn['random weights']}, raw pixels {knn['raw pixels']}" in words
    assert "50,000 labelled" in words and "50,000 labelled" in card["measured_on"]
