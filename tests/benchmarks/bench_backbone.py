"""ViT-S/14 at 224 beside transformers and timm, random weights: `python tests/benchmarks/bench_backbone.py`.

Needs the extra `bench`. A line shows images a second of both sides and the median ratio over paired turns.
`--compile` adds our own blocks through `torch.compile` (a minute before the first batch).
"""

import argparse
from functools import partial

import timm
import torch
from pairs import WIDTH, chip, compare, header
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from dinov2_edu.numerics import best_precision
from dinov2_edu.vit import VisionTransformer, vit_small

BATCH = 16


def build_peers(device: str) -> dict[str, nn.Module]:
    """The same architecture by the two libraries that most people use."""
    sizes = {
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": 518,
        "patch_size": 14,
    }
    models = {
        "transformers Dinov2Model": Dinov2Model(Dinov2Config(**sizes)),
        "timm vit_small_patch14_dinov2": timm.create_model(
            "vit_small_patch14_dinov2.lvd142m", pretrained=False, img_size=224, num_classes=0
        ),
    }
    return {name: model.eval().to(device) for name, model in models.items()}


def build_ours(device: str, dtype: torch.dtype = torch.float32) -> VisionTransformer:
    """Our backbone, the same weights in every precision."""
    torch.manual_seed(0)
    return vit_small(layer_scale=1.0).eval().to(device, dtype)


def least_cosines(exact: VisionTransformer, rounded: VisionTransformer, images: torch.Tensor) -> None:
    """Print how far bfloat16 turns the worst token of a batch."""
    ours, half = exact(images), rounded(images.bfloat16())
    for kind in ("cls", "patches"):
        cosine = torch.cosine_similarity(getattr(ours, kind), getattr(half, kind).float(), dim=-1).min()
        print(f"{f'least cosine of {kind} tokens, bfloat16 to float32':{WIDTH}s} {cosine:30.5f}   >= 0.999")


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--compile", action="store_true", help="also measure our blocks compiled")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.randn(BATCH, 3, 224, 224, device=device)
    peers, ours, half = build_peers(device), build_ours(device), build_ours(device, torch.bfloat16)
    units = best_precision(torch.device(device)) == "bfloat16"
    print(f"ViT-S/14 at 224, batch {BATCH}; {chip(device)}")
    print(
        f"This chip has {'' if units else 'no '}bfloat16 units{'' if units else ': the type is emulated here'}."
    )
    header()
    line = partial(compare, n=BATCH, rounds=options.rounds)
    for name, peer in peers.items():
        sides = {"peer": partial(peer, images), "ours": partial(ours, images)}
        line(f"float32, {name}", **sides, wanted=">= 1.0 of the better peer")
    coarse = images.bfloat16()
    for name, peer in peers.items():
        sides = {"peer": partial(peer, images), "ours": partial(half, coarse)}
        line(f"bfloat16, {name} in float32", **sides, wanted=">= 1.7" if units else "")
    if options.compile:
        compiled = build_ours(device)
        for block in compiled.blocks:
            block.compile()
        line(
            "float32, ours eager and compiled",
            peer=partial(ours, images),
            ours=partial(compiled, images),
            wanted="",
        )
    least_cosines(ours, half, images)


if __name__ == "__main__":
    main()
