"""What is recorded of a backbone, item by item: the sample squares, CIFAR-10's class tokens, the study's table.

Each function returns a file's bytes and, for the manifest, what the file holds and what its coding costs, measured.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from dinov2_edu.checks import checked
from dinov2_edu.data import SAMPLE_SQUARES, ImageSet, sample_square
from dinov2_edu.data.imageset import even_rows
from dinov2_edu.experiments.study_rows import run_study, study_preprocessings
from dinov2_edu.experiments.study_text import study_records, study_summary
from dinov2_edu.features import ExtractOptions, Preprocessing, extract_features
from dinov2_edu.features.eight_bits import EightBits, fit_eight_bits
from dinov2_edu.pictures import read_tensor
from dinov2_edu.probe import knn_accuracy, logistic_probe
from dinov2_edu.probe.logistic import SHORT_C_GRID
from dinov2_edu.shapes import AttentionMaps, Images
from dinov2_edu.vit import VisionTransformer

Item = tuple[bytes, dict[str, Any]]
"""A file's bytes, and what the manifest says of it beyond where it comes from."""

GRID = 16
"""Patches a side of a sample square: 224 pixels for patches of 14."""
DEPTHS = 4
PATCH_DIMENSIONS = 96
"""Components kept of the patch tokens of one block; what they lose is measured and noted."""
CIFAR_DIMENSIONS = (128, 140)
"""Components kept of class tokens: the fewest whose k-NN accuracy is less than `MOST_LOST` below that of the features
as they are, else the last, which is what 12 MB leave room for. What is lost is noted in either case."""
MOST_LOST = 0.001
STUDY_SIZES, STUDY_PICTURES = (224, 112), 2_000


@checked
@torch.no_grad()
def photos_item(model: VisionTransformer) -> Item:
    """Tokens, attention and lengths of the sample squares, after the last block of each quarter of the network."""
    squares = [read_tensor(sample_square(name))[None] for name in SAMPLE_SQUARES]
    depth = len(model.blocks)
    layers = sorted({max(1, round(depth * quarter / DEPTHS)) - 1 for quarter in range(1, DEPTHS + 1)})
    ready = Preprocessing(size=GRID * model.config.patch_size)
    seen = [_of_square(model, ready(one).to(model.pos_embed.device), layers) for one in squares]
    kept = {name: torch.stack([one[name] for one in seen], dim=1) for name in seen[0]}
    patches = kept.pop("patches")  # blocks b n d
    costs = []
    codes: dict[str, list[Tensor]] = {"codes": [], "mean": [], "basis": [], "scale": []}
    for rows in patches.flatten(1, 2):
        code = fit_eight_bits(rows, min(PATCH_DIMENSIONS, rows.shape[1]))
        coded = code.encode(rows)
        for name, part in zip(codes, (coded, code.mean, code.basis, code.scale), strict=True):
            codes[name].append(part)
        costs.append(float(torch.cosine_similarity(code.decode(coded), rows).mean()))
    tensors = kept | {name: torch.stack(parts) for name, parts in codes.items()}
    lengths = torch.stack([tensors.pop("before"), tensors.pop("after")])
    about = {
        "pictures": list(SAMPLE_SQUARES),
        "blocks": [layer + 1 for layer in layers],
        "pixels": ready.size,
        "precision": "float32",
        "mean_cosine_of_decoded_patches": costs,
    }
    return save({name: part.contiguous() for name, part in (tensors | {"lengths": lengths}).items()}), about


def _of_square(model: VisionTransformer, image: Images, layers: Sequence[int]) -> dict[str, Tensor]:
    """What is recorded of one square, the blocks along the first axis, on the CPU."""
    raw = model.intermediate_layers(image, layers, norm=False)
    kinds = [[model.norm(kind[0]) for kind in tokens] for tokens in raw]
    maps = [model.attention_maps(image, layer)[0] for layer in layers]
    found = {
        "cls": [kind[0] for kind in kinds],
        "registers": [kind[1].half() for kind in kinds],
        "patches": [kind[2] for kind in kinds],
        "before": [tokens.patches[0].norm(dim=-1) for tokens in raw],
        "after": [kind[2].norm(dim=-1) for kind in kinds],
        "attention": [table[:, 0].half() for table in maps],
        "evenness": [_evenness(table[None])[0] for table in maps],
    }
    return {name: torch.stack(parts).cpu() for name, parts in found.items()}


def _evenness(attention: AttentionMaps) -> Float[Tensor, "b h"]:
    """Mean entropy of the rows of each head, as a share of an even row's: 1 where all tokens look at all alike.

    Args:
        attention: rows that sum to 1.
    """
    entropy = -(attention * attention.clamp_min(1e-12).log()).sum(dim=-1)
    return entropy.mean(dim=-1) / math.log(attention.shape[-1])


@checked
def cifar10_item(model: VisionTransformer, train: ImageSet, test: ImageSet, cache: Path | None) -> Item:
    """Class tokens of all pictures in 8 bits, and what k-NN and a linear probe reach before and after the coding.

    Args:
        model: the backbone.
        train: pictures that the coding is fitted to, and that probes learn from.
        test: pictures to be tested on.
        cache: folder of features, so that an interrupted recording goes on where it stopped.
    """
    how = Preprocessing(size=_whole(min(224, model.config.img_size), model))
    found = [extract_features(model, part, preprocessing=how, cache_dir=cache) for part in (train, test)]
    whole = found[0].cls.contiguous(), found[1].cls.contiguous()
    labels = train.labels, test.labels
    knn = knn_accuracy(whole[0], labels[0], whole[1], labels[1])
    code, coded, kept = _fewest_dimensions(whole, labels, knn)
    linear = logistic_probe(whole[0], labels[0], c_grid=SHORT_C_GRID)
    again = logistic_probe(kept[0], labels[0], c=linear.c)
    tensors = {
        "train_codes": coded[0],
        "test_codes": coded[1],
        "train_labels": labels[0].to(torch.uint8),
        "test_labels": labels[1].to(torch.uint8),
        "mean": code.mean,
        "basis": code.basis,
        "scale": code.scale,
    }
    accuracy = {
        "knn": {"features": knn, "decoded": knn_accuracy(kept[0], labels[0], kept[1], labels[1])},
        "linear": {
            "features": linear.report(whole[1], labels[1]).accuracy,
            "decoded": again.report(kept[1], labels[1]).accuracy,
            "training": linear.train_accuracy,
            "c": linear.c,
        },
    }
    return save(tensors), {
        "data": [train.name, test.name],
        "pictures": [len(train), len(test)],
        "classes": list(train.class_names),
        "preprocessing": str(how),
        "precision": _precision(found[1].provenance),
        "dimensions": [len(code.basis), whole[0].shape[1]],
        "accuracy": accuracy,
    }


def _precision(provenance: str) -> str:
    """The precision that made features, as their provenance has it behind model, pictures and preprocessing."""
    return provenance.split("; ")[3]


def _fewest_dimensions(
    whole: tuple[Tensor, Tensor], labels: tuple[Tensor, Tensor], knn: float
) -> tuple[EightBits, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The coding, the codes and what they decode to, with as few components as `CIFAR_DIMENSIONS` says."""
    width = whole[0].shape[1]
    tried = sorted({min(dimensions, width) for dimensions in CIFAR_DIMENSIONS})
    for dimensions in tried:
        code = fit_eight_bits(whole[0], dimensions)
        coded = code.encode(whole[0]), code.encode(whole[1])
        kept = code.decode(coded[0]), code.decode(coded[1])
        lost = knn - knn_accuracy(kept[0], labels[0], kept[1], labels[1])
        if lost < MOST_LOST or dimensions == tried[-1]:
            return code, coded, kept
    raise AssertionError("there is a last number of dimensions")


@checked
def study_item(model: VisionTransformer, train: ImageSet, test: ImageSet, cache: Path | None) -> Item:
    """The table of `python -m dinov2_edu study` on an even share of the pictures: what preprocessing and C are worth.

    Args:
        model: the backbone.
        train: pictures, of which `STUDY_PICTURES` are learnt from.
        test: pictures, of which as many are tested on.
        cache: folder of features.
    """
    learn, held = (part.subset(even_rows(len(part), STUDY_PICTURES)) for part in (train, test))
    sizes = tuple(_whole(size, model) for size in STUDY_SIZES)
    rows = run_study(
        model,
        learn,
        held,
        study_preprocessings(sizes, train.images.shape[-1]),
        cache_dir=cache,
        options=ExtractOptions(),
    )
    table = {"rows": study_records(rows), "summary": study_summary(rows)}
    about = {
        "data": [learn.name, held.name],
        "pictures": [len(learn), len(held)],
        "precision": _precision(rows[0].provenance),
    }
    return (json.dumps(table, indent=1, allow_nan=False) + "\n").encode(), about


def _whole(size: int, model: VisionTransformer) -> int:
    """The largest multiple of the patch size that is not above `size`."""
    return size // model.config.patch_size * model.config.patch_size
