"""Ten labels a class: what a frozen backbone, its last blocks and LoRA make of them, recorded for chapter 13.

`python -m dinov2_edu.experiments.own_finetune` measures each for three draws of the pictures, for the book's
backbone and for random weights, and writes `assets/own_finetune.json`; what is there is not measured again, unless it
was measured of other weights than the book's present ones.
"""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from dinov2_edu.data import ImageSet, load_cifar10
from dinov2_edu.data.imageset import even_rows
from dinov2_edu.experiments.evaluation import quiet_features
from dinov2_edu.files import write_whole
from dinov2_edu.numerics import stream
from dinov2_edu.probe import Classifier, fine_tune, logistic_probe
from dinov2_edu.vit import VisionTransformer, fingerprint
from dinov2_edu.weights import load_backbone

RECORD = Path(__file__).parents[1] / "assets" / "own_finetune.json"
LABELS, N_TEST, STEPS, BATCH, SEEDS, RANK = 10, 2000, 120, 25, (0, 1, 2), 8
METHODS_OF = {
    "book": ("linear head, random crops", "last two blocks", "LoRA of rank 8"),
    "random": ("last two blocks",),
}
"""What is measured of which weights, besides logistic regression."""


def head_alone(backbone: VisionTransformer) -> nn.Module:
    """Nothing of the backbone learns."""
    return backbone


def last_blocks(backbone: VisionTransformer, n: int = 2) -> nn.Module:
    """The last blocks and the norm after them learn."""
    for part in (*backbone.blocks[-n:], backbone.norm):
        part.requires_grad_(True)
    return backbone


def lora(backbone: VisionTransformer) -> nn.Module:
    """Beside each attention's two linear layers a product of two thin matrices learns (peft's LoRA)."""
    from peft import LoraConfig, inject_adapter_in_model

    wanted = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=["attn.qkv", "attn.proj"])
    return inject_adapter_in_model(wanted, backbone)


METHODS: dict[str, tuple[Callable[[VisionTransformer], nn.Module], tuple[float, float]]] = {
    "linear head, random crops": (head_alone, (3e-3, 3e-4)),
    "last two blocks": (last_blocks, (3e-3, 3e-4)),
    "LoRA of rank 8": (lora, (3e-3, 3e-3)),
}
"""Name -> what learns, and the learning rates of the head and of the backbone."""


def few_labels(train: ImageSet, seed: int, n: int = LABELS) -> ImageSet:
    """`n` pictures of each class, drawn by the seed."""
    generator = stream("few labels", seed)
    members = [(train.labels == label).nonzero()[:, 0] for label in range(len(train.class_names))]
    rows = [one[torch.randperm(len(one), generator=generator)[:n]] for one in members]
    return train.subset(torch.cat(rows))


def frozen(backbone: VisionTransformer | None, few: ImageSet, test: ImageSet) -> float:
    """Logistic regression (C = 1) on frozen features, or on raw pixels without a backbone."""
    if backbone is None:
        rows: list[Tensor] = [part.images.flatten(1).float() / 255 for part in (few, test)]
    else:
        rows = [part.linear_eval for part in quiet_features(backbone, few, test)]
    found = logistic_probe(rows[0], few.labels, c=1.0).probabilities(rows[1])
    return accuracy(found, test)


def accuracy(probabilities: Tensor, test: ImageSet) -> float:
    """Share correct, 0 to 1, rounded to what can be told apart."""
    return round(float((probabilities.argmax(dim=1) == test.labels).double().mean()), 4)


def tuned(weights: str, method: str, few: ImageSet, test: ImageSet, seed: int) -> dict[str, float]:
    """One fine-tuning: accuracy on test pictures, last loss, and how many weights learnt."""
    prepare, rates = METHODS[method]
    plain = load_backbone(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # peft draws with torch's own
        backbone = prepare(plain)
    classifier = Classifier(backbone, plain.config.width, len(few.class_names))
    n_learning = sum(weight.numel() for weight in classifier.parameters() if weight.requires_grad)
    losses = fine_tune(
        classifier, few, generator=stream("fine-tuning", seed), steps=STEPS, batch_size=BATCH, lr=rates
    )
    return {
        "seed": seed,
        "accuracy": accuracy(classifier.probabilities(test.images), test),
        "loss": round(losses[-1], 4),
        "learning": n_learning,
    }


def record(path: Path = RECORD) -> None:
    """Measure what is not recorded yet."""
    train, test = load_cifar10("train"), load_cifar10("test")
    test = test.subset(even_rows(len(test), N_TEST))
    content = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    now = fingerprint(load_backbone("book"))
    if content.get("weights") != now:
        kept = {name: runs for name, runs in content.get("rows", {}).items() if not name.startswith("book:")}
        content["rows"] = kept
    content |= {
        "weights": now,
        "data": f"{LABELS} pictures a class of {train.name}, drawn by the seed",
        "judged_on": test.name,
        "steps": STEPS,
        "batch": BATCH,
        "device": platform.machine(),
        "torch": torch.__version__,
    }
    rows = content.setdefault("rows", {})
    for seed in SEEDS:
        few = few_labels(train, seed)
        for weights in (None, *METHODS_OF):
            backbone = weights and load_backbone(weights)
            for method in ("logistic regression", *METHODS_OF.get(weights or "", ())):
                found = rows.setdefault(f"{weights or 'raw pixels'}: {method}", [])
                if seed in [one["seed"] for one in found]:
                    continue
                if method in METHODS:
                    assert weights is not None
                    found.append(tuned(weights, method, few, test, seed))
                else:
                    found.append({"seed": seed, "accuracy": frozen(backbone or None, few, test)})
                write_whole(path, json.dumps(content) + "\n")
                print(f"{weights}, {method}: {found[-1]}", flush=True)


if __name__ == "__main__":
    record()
