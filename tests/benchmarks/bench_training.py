"""The training step and its augmentation beside lightly's parts: `python tests/benchmarks/bench_training.py`.

The same work on both sides: ViT of width 192, depth 6, patch 4; 2 crops of 32 and 6 of 16 pixels; batch 64; 4,096
prototypes; DINO, iBOT and KoLeo; AdamW and a moving average. Needs the extra `bench`.
"""

import argparse
import copy
import time

import torch
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
from lightly.models.modules import DINOv2ProjectionHead, MaskedVisionTransformerTIMM
from lightly.models.utils import random_block_mask, update_momentum
from lightly.transforms import DINOTransform
from pairs import compare, header
from PIL import Image
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch.utils.data import DataLoader, Dataset

from dinov2_edu.crops import CropConfig, multi_crop
from dinov2_edu.training import Batch, TrainConfig, build_state, draw_batch, train_step
from dinov2_edu.vit import ViTConfig

BATCH, N_LOCAL = 64, 6
CONFIG = TrainConfig(
    vit=ViTConfig(img_size=32, patch_size=4, width=192, depth=6, heads=3, layer_scale=None),
    crops=CropConfig(global_size=32, local_size=16, n_local=N_LOCAL, blur=(0.0, 0.1, 0.5), blur_kernel=5),
    head_hidden=1024,
    head_bottleneck=192,
    n_prototypes=4096,
    batch_size=BATCH,
)


class Pictures(Dataset):
    """Random pictures as PIL images, each through lightly's transform."""

    def __init__(self, images: torch.Tensor) -> None:
        self.pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.transform = DINOTransform(
            global_crop_size=32, global_crop_scale=(0.32, 1.0), local_crop_size=16, local_crop_scale=(0.05, 0.32),
            n_local_views=N_LOCAL, gaussian_blur=(0.0, 0.1, 0.5),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> list[torch.Tensor]:
        return self.transform(self.pictures[index])


class PeerStep:
    """A DINOv2 step put together from lightly's modules and losses on a timm backbone."""

    def __init__(self) -> None:
        vit = TimmViT(
            img_size=32,
            patch_size=4,
            embed_dim=192,
            depth=6,
            num_heads=3,
            num_classes=0,
            dynamic_img_size=True,
        )
        self.student = torch.nn.ModuleDict(
            {
                "backbone": MaskedVisionTransformerTIMM(vit=vit),
                "head": DINOv2ProjectionHead(192, 1024, 192, 4096),
            }
        )
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.dino, self.ibot, self.koleo = DINOLoss(4096), IBOTPatchLoss(4096), KoLeoLoss()
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-3)

    def __call__(self, views: list[torch.Tensor]) -> None:
        global_crops, local_crops = torch.cat(views[:2]), torch.cat(views[2:])
        mask = torch.zeros(len(global_crops), 65, dtype=torch.bool)
        mask[:, 1:] = random_block_mask(size=(len(global_crops), 8, 8)).flatten(1)
        patch_mask = mask[:, 1:]
        with torch.no_grad():
            tokens = self.teacher["backbone"].encode(global_crops)
            teacher_cls = self.teacher["head"](tokens[:, 0])
            teacher_patches = self.teacher["head"](tokens[mask])
        tokens = self.student["backbone"].encode(global_crops, mask=mask)
        local_tokens = self.student["backbone"].encode(local_crops)
        student_cls, student_patches = self.student["head"](tokens[:, 0]), self.student["head"](tokens[mask])
        local_cls = self.student["head"](local_tokens[:, 0])
        loss = self.dino(
            list(teacher_cls.chunk(2)), [*student_cls.chunk(2), *local_cls.chunk(N_LOCAL)], teacher_temp=0.04
        )
        loss = loss + self.ibot(
            teacher_patches, student_patches, patch_mask.view(-1, 8, 8), teacher_temp=0.04
        )
        loss = loss + 0.1 * sum(self.koleo(part) for part in tokens[:, 0].chunk(2))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 3.0)
        self.optimizer.step()
        update_momentum(self.student, self.teacher, 0.992)


def bench_augmentation(images: torch.Tensor, rounds: int) -> None:
    """All views of a batch, both sides on two cores: lightly with two workers, ours in one process."""
    loader = DataLoader(Pictures(images), batch_size=BATCH, num_workers=2)
    generator = torch.Generator().manual_seed(0)

    def ours() -> None:
        for batch in images.split(BATCH):
            multi_crop(batch, CONFIG.crops, generator=generator)

    ours()
    compare("augmentation, 8 views (images/s)", len(images), lambda: list(loader), ours, ">= 8", rounds)


def bench_step(images: torch.Tensor, rounds: int) -> None:
    """The whole step, augmentation included, in float32 and in bfloat16; lightly's views come from two workers."""
    peer = PeerStep()
    loader = DataLoader(Pictures(images[: 4 * BATCH]), batch_size=BATCH, num_workers=2)

    def theirs() -> None:
        for views in loader:
            peer(views)

    theirs()
    for precision in ("float32", "bfloat16"):
        state = build_state(TrainConfig(**{**vars(CONFIG), "precision": precision}))

        def ours(state=state) -> None:
            for batch in images[: 4 * BATCH].split(BATCH):
                train_step(state, draw_batch(batch, state.config, state.step))

        ours()
        wanted = ">= 1.9" if precision == "bfloat16" else ""
        compare(f"whole step, ours in {precision} (images/s)", 4 * BATCH, theirs, ours, wanted, rounds)


def share_of_gemm(images: torch.Tensor) -> None:
    """How much of a large matrix product's speed the bfloat16 step reaches (forward + backward + teacher)."""
    state = build_state(TrainConfig(**{**vars(CONFIG), "precision": "bfloat16"}))
    batch = draw_batch(images[:BATCH], state.config, 0)
    assert isinstance(batch, Batch)
    train_step(state, batch)
    began = time.perf_counter()
    for _ in range(3):
        train_step(state, batch)
    took = (time.perf_counter() - began) / 3
    block = sum(p.numel() for p in state.teacher.backbone.blocks.parameters())
    tokens = BATCH * (2 * 65 * 4 + N_LOCAL * 17 * 3)  # student forward and twice backward, teacher forward
    masked = int(batch.masks.sum())
    head = sum(p.numel() for p in state.teacher.dino_head.parameters())
    head_tokens = (2 * BATCH + masked) * 4 + N_LOCAL * BATCH * 3
    work = 2 * (block * tokens + head * head_tokens)
    a, b = (torch.randn(2048, 2048).bfloat16() for _ in range(2))
    a @ b
    began = time.perf_counter()
    for _ in range(10):
        a @ b
    gemm = 10 * 2 * 2048**3 / (time.perf_counter() - began)
    print(f"step {took:.2f} s, {work / took / 1e9:.0f} GFLOP/s of {gemm / 1e9:.0f} in a 2048^3 bfloat16 product: "
          f"{work / took / gemm:.0%}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--only", choices=["augmentation", "step", "gemm"], help="one part")
    options = parser.parse_args()
    images = torch.randint(0, 256, (512, 3, 32, 32), dtype=torch.uint8)
    header("lightly")
    if options.only in (None, "augmentation"):
        bench_augmentation(images, options.rounds)
    if options.only in (None, "step"):
        bench_step(images, options.rounds)
    if options.only in (None, "gemm"):
        share_of_gemm(images)


if __name__ == "__main__":
    main()
