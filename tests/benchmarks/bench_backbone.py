"""ViT-S/14 at 224 beside transformers and timm, random weights: `python tests/benchmarks/bench_backbone.py`.

Needs the extra `bench`. A line shows images a second of both sides and the median ratio over paired turns.
"""

import argparse

import timm
import torch
from pairs import compare, header
from transformers import Dinov2Config, Dinov2Model

from dinov2_edu.vit import vit_small

BATCH = 16


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    rounds = parser.parse_args().rounds
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    images = torch.randn(BATCH, 3, 224, 224, device=device)
    ours = vit_small(layer_scale=1.0).eval().to(device)
    half = vit_small(layer_scale=1.0).eval().to(device)
    half.load_state_dict(ours.state_dict())
    half.to(torch.bfloat16)
    sizes = {
        "hidden_size": 384,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": 518,
        "patch_size": 14,
    }
    peers = {
        "transformers Dinov2Model": Dinov2Model(Dinov2Config(**sizes)).eval().to(device),
        "timm vit_small_patch14_dinov2": timm.create_model(
            "vit_small_patch14_dinov2.lvd142m", pretrained=False, img_size=224, num_classes=0
        )
        .eval()
        .to(device),
    }
    print(
        f"ViT-S/14 at 224, batch {BATCH}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    header()
    for model in (ours, half, *peers.values()):
        model(images.to(next(model.parameters()).dtype))
    wanted = ">= 1.0 of the better peer"
    for name, peer in peers.items():
        compare(
            f"float32, {name}", BATCH, lambda peer=peer: peer(images), lambda: ours(images), wanted, rounds
        )
    coarse = images.bfloat16()
    for name, peer in peers.items():
        compare(
            f"bfloat16, {name} in float32",
            BATCH,
            lambda peer=peer: peer(images),
            lambda: half(coarse),
            ">= 1.7",
            rounds,
        )
    exact, rounded = ours(images), half(coarse)
    for kind in ("cls", "patches"):
        cosine = torch.cosine_similarity(getattr(exact, kind), getattr(rounded, kind).float(), dim=-1).min()
        print(f"least cosine of {kind} tokens, bfloat16 to float32: {cosine:.5f}   >= 0.999")


if __name__ == "__main__":
    main()
