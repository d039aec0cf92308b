"""Fine-tuning: what learns is what was switched on, by AdamW's own arithmetic, and labels are learnt."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F

from dinov2_edu.crops import crop_and_resize, normalize, sample_boxes
from dinov2_edu.data import ImageSet
from dinov2_edu.experiments import own_finetune
from dinov2_edu.experiments.own_finetune import METHODS, few_labels
from dinov2_edu.probe import Classifier, fine_tune
from dinov2_edu.probe.finetune import SMALLEST_SHARE
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD
from dinov2_edu.vit import VisionTransformer, ViTConfig, fingerprint
from dinov2_edu.weights import load_backbone

CONFIG = ViTConfig(img_size=16, patch_size=4, width=16, depth=3, heads=2, layer_scale=None, init_std=0.06)


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def pictures(n=40):
    """Dark and light pictures of noise."""
    labels = torch.arange(n) % 2
    noise = torch.randint(0, 90, (n, 3, 16, 16), generator=seeded(1), dtype=torch.uint8)
    return ImageSet(noise + 120 * labels.to(torch.uint8).view(-1, 1, 1, 1), labels, ("dark", "light"), "two")


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return VisionTransformer(CONFIG).eval().requires_grad_(False)


def changed(before, after):
    """Names of the tensors that are not what they were, bit for bit."""
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("method", METHODS)
def test_what_learns_is_what_was_switched_on(backbone, method):
    prepare, rates = METHODS[method]
    names = set(backbone.state_dict())
    prepared = prepare(backbone)
    classifier = Classifier(prepared, CONFIG.width, 2)
    before = copy.deepcopy(classifier.state_dict())
    fine_tune(classifier, pictures(), generator=seeded(), steps=3, lr=rates)
    moved = {name.removeprefix("backbone.") for name in changed(before, classifier.state_dict())}
    assert moved >= {"head.weight", "head.bias"}
    moved -= {"head.weight", "head.bias"}
    if method == "linear head, random crops":
        assert not moved
    elif method == "last two blocks":
        assert moved and all(name.startswith(("blocks.1.", "blocks.2.", "norm.")) for name in moved)
    else:
        assert moved and all("lora_" in name for name in moved) and not moved & names
    assert not classifier.training


def test_lora_starts_as_the_backbone_it_is_put_on(backbone):
    """Its second matrix is zero at first, so nothing has changed before the first step."""
    images = torch.randn(2, 3, 16, 16, generator=seeded())
    plain = backbone(images).cls
    adapted = METHODS["LoRA of rank 8"][0](backbone)
    torch.testing.assert_close(adapted(images).cls, plain)
    learning = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert len(learning) == 2 * 2 * CONFIG.depth and all("lora_" in name for name in learning)


def test_a_first_step_is_adamws(backbone):
    """Each weight with a gradient moves by the learning rate against its sign: the first step in closed form."""
    classifier, data = Classifier(backbone, CONFIG.width, 2), pictures(8)
    other = copy.deepcopy(classifier)
    losses = fine_tune(classifier, data, generator=seeded(5), steps=1, batch_size=8, lr=(1e-2, 1e-4))
    draw = seeded(5)
    rows = torch.randperm(8, generator=draw)
    boxes = sample_boxes(8, (16, 16), (SMALLEST_SHARE, 1.0), generator=draw)
    flips = torch.rand(8, generator=draw) < 0.5
    crops = crop_and_resize(data.images[rows], boxes, 16, flips=flips)
    tokens = backbone(normalize(crops, IMAGENET_MEAN, IMAGENET_STD))
    read = torch.cat([tokens.cls, tokens.patches.mean(dim=1)], dim=1)
    loss = F.cross_entropy(read @ other.head.weight.T + other.head.bias, data.labels[rows])
    assert losses == [pytest.approx(torch.tensor(2.0).log().item(), abs=1e-6)], "zero weights: ln 2"
    loss.backward()
    step = classifier.head.weight.detach() - other.head.weight.detach()
    torch.testing.assert_close(step, -1e-2 * other.head.weight.grad.sign(), atol=1e-5, rtol=1e-3)


def test_labels_are_learnt_and_told_of_pictures_never_seen(backbone):
    classifier = Classifier(backbone, CONFIG.width, 2)
    losses = fine_tune(classifier, pictures(), generator=seeded(), steps=60, lr=(1e-2, 1e-4))
    assert losses[-1] < losses[0] / 3
    new = pictures(80)
    found = classifier.probabilities(new.images)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(80))
    assert (found.argmax(dim=1) == new.labels).double().mean() > 0.95


def test_probabilities_are_those_of_single_pictures(backbone):
    classifier = Classifier(backbone, CONFIG.width, 3)
    torch.nn.init.normal_(classifier.head.weight)
    data = pictures(7)
    together = classifier.probabilities(data.images)
    for row in range(7):
        image = normalize(data.images[row : row + 1].float() / 255, IMAGENET_MEAN, IMAGENET_STD)
        torch.testing.assert_close(together[row], classifier(image)[0].softmax(dim=0).detach())
    assert classifier.training, "it is left as it was"


def test_the_same_generator_gives_the_same_weights(backbone):
    found = []
    for _ in range(2):
        classifier = Classifier(copy.deepcopy(backbone), CONFIG.width, 2)
        fine_tune(classifier, pictures(), generator=seeded(3), steps=4)
        found.append(classifier.head.weight.detach().clone())
    assert torch.equal(*found)


def test_few_labels_are_so_many_of_each_class():
    data = pictures(60)
    few = few_labels(data, seed=0, n=5)
    assert few.labels.bincount().tolist() == [5, 5]
    again, other = few_labels(data, seed=0, n=5), few_labels(data, seed=1, n=5)
    assert torch.equal(few.images, again.images) and not torch.equal(few.images, other.images)


@pytest.mark.bad_input
def test_labels_beyond_the_classes_are_refused(backbone):
    data = ImageSet(pictures(4).images, torch.tensor([0, 1, 2, 0]), ("a", "b", "c"), "three")
    with pytest.raises(ValueError, match="the classifier has 2 classes, the pictures have label 2"):
        fine_tune(Classifier(backbone, CONFIG.width, 2), data, generator=seeded())


def test_recorded_rows_are_of_the_weights_that_ship():
    recorded = json.loads(own_finetune.RECORD.read_text("utf-8"))
    assert recorded["weights"] == fingerprint(load_backbone("book"))
    assert {len(runs) for name, runs in recorded["rows"].items() if not name.startswith("random")} == {3}


def test_rows_of_other_weights_are_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr(own_finetune, "load_cifar10", lambda split: pictures())
    monkeypatch.setattr(own_finetune, "tuned", lambda *given: {"seed": given[-1], "accuracy": 0.5})
    path, old = tmp_path / "rows.json", [{"seed": seed, "accuracy": 0.1} for seed in own_finetune.SEEDS]
    names = ("book: last two blocks", "random: last two blocks", "raw pixels: logistic regression")
    path.write_text(json.dumps({"weights": "others", "rows": dict.fromkeys(names, old)}))
    own_finetune.record(path)
    found = json.loads(path.read_text())
    assert [row["accuracy"] for row in found["rows"][names[0]]] == [0.5] * 3
    assert found["rows"][names[1]] == found["rows"][names[2]] == old
    own_finetune.record(path)
    assert json.loads(path.read_text()) == found, "the same weights: what is there stays"
