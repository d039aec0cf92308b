"""The training step and its augmentation beside lightly's parts: `python tests/benchmarks/bench_training.py`.

The same work on both sides: ViT of width 192, depth 6, patch 4; 2 crops of 32 and 6 of 16 pixels; batch 64; 4,096
prototypes, one head for class tokens and patches; centred targets; DINO, iBOT and KoLeo; AdamW and a moving average.
lightly's parts are put together as in its own DINOv2 example. A second row has the paper's stochastic depth on both
sides: timm computes a branch and multiplies it by 0, ours does not compute it. Needs the extra `bench`.
"""

import argparse
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial

import torch
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
from lightly.models.modules import DINOv2ProjectionHead, MaskedVisionTransformerTIMM
from lightly.models.utils import random_block_mask, update_drop_path_rate, update_momentum
from lightly.transforms import DINOTransform
from pairs import WIDTH, chip, compare, header, seconds
from PIL import Image
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from dinov2_edu.crops import CropConfig, multi_crop
from dinov2_edu.numerics import best_precision
from dinov2_edu.training import TrainConfig, build_state, draw_batch, train_step
from dinov2_edu.vit import ViTConfig

BATCH, N_LOCAL, N_BATCHES = 64, 6, 4

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


def peer_network() -> torch.nn.ModuleDict:
    """A timm backbone behind lightly's masking, and lightly's head."""
    sizes = {"img_size": 32, "patch_size": 4, "embed_dim": 192, "depth": 6, "num_heads": 3}
    vit = TimmViT(**sizes, num_classes=0, dynamic_img_size=True)
    parts = {
        "backbone": MaskedVisionTransformerTIMM(vit=vit),
        "head": DINOv2ProjectionHead(192, 1024, 192, 4096),
    }
    return torch.nn.ModuleDict(parts)


class PeerStep:
    """A DINOv2 step put together from lightly's modules and losses on a timm backbone."""

    def __init__(self, precision: str, drop_path: float = 0.0) -> None:
        self.student, self.teacher = peer_network(), peer_network()  # its weight norm cannot be deep-copied
        self.teacher.load_state_dict(self.student.state_dict())
        update_drop_path_rate(self.student["backbone"].vit, drop_path, mode="uniform")
        self.teacher.requires_grad_(False).eval()
        self.dino, self.ibot, self.koleo = DINOLoss(4096), IBOTPatchLoss(4096), KoLeoLoss()
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-3)
        self.autocast = partial(torch.autocast, "cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def __call__(self, views: list[torch.Tensor]) -> None:
        loss = self.loss(torch.cat(views[:2]), torch.cat(views[2:]))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 3.0)
        self.optimizer.step()
        update_momentum(self.student, self.teacher, 0.992)

    def loss(self, global_crops: torch.Tensor, local_crops: torch.Tensor) -> torch.Tensor:
        """Forward of both networks and the sum of the losses."""
        mask = torch.zeros(len(global_crops), 65, dtype=torch.bool)
        mask[:, 1:] = random_block_mask(size=(len(global_crops), 8, 8)).flatten(1)
        with self.autocast():
            with torch.no_grad():
                tokens = self.teacher["backbone"].encode(global_crops)
                teacher_cls = self.teacher["head"](tokens[:, 0])
                teacher_patches = self.teacher["head"](tokens[mask])
            tokens = self.student["backbone"].encode(global_crops, mask=mask)
            student_cls = self.student["head"](tokens[:, 0])
            student_patches = self.student["head"](tokens[mask])
            local_cls = self.student["head"](self.student["backbone"].encode(local_crops)[:, 0])
        views = [*student_cls.float().chunk(2), *local_cls.float().chunk(N_LOCAL)]
        dino = self.dino(list(teacher_cls.float().chunk(2)), views, teacher_temp=0.04)
        patches = teacher_patches.float(), student_patches.float()
        ibot = self.ibot(*patches, mask[:, 1:].view(-1, 8, 8), teacher_temp=0.04)
        return dino + ibot + 0.1 * sum(self.koleo(part) for part in tokens[:, 0].float().chunk(2))


def lightly_views(images: torch.Tensor) -> DataLoader:
    """lightly's views from two worker processes, which stay from turn to turn."""
    return DataLoader(Pictures(images), batch_size=BATCH, num_workers=2, persistent_workers=True)


def bench_augmentation(images: torch.Tensor, rounds: int) -> None:
    """All views of a batch, both sides on two cores: lightly with two workers, ours in one process."""
    loader = lightly_views(images)
    generator = torch.Generator().manual_seed(0)

    def theirs() -> None:
        for _ in loader:
            pass

    def ours() -> None:
        for batch in images.split(BATCH):
            multi_crop(batch, CONFIG.crops, generator=generator)

    compare("augmentation, 8 views (images/s)", len(images), theirs, ours, ">= 8", rounds)


@dataclass(frozen=True)
class Pair:
    """What each side of a comparison of steps runs with; `drop_path` is the student's, on both."""

    theirs: str
    ours: str
    wanted: str = ""
    drop_path: float = 0.0


def bench_step(images: torch.Tensor, pair: Pair, rounds: int) -> None:
    """The whole step from bytes to new weights, lightly's parts in one precision and ours in another."""
    images = images[: N_BATCHES * BATCH]
    peer, loader = PeerStep(pair.theirs, pair.drop_path), lightly_views(images)
    state = build_state(
        replace(CONFIG, precision=pair.ours, vit=replace(CONFIG.vit, drop_path=pair.drop_path))
    )
    generator = torch.Generator().manual_seed(0)

    def their_epoch() -> None:
        for views in loader:
            peer(views)

    def our_epoch() -> None:
        for batch in images.split(BATCH):
            train_step(state, draw_batch(batch, state.config, generator), generator)

    name = f"whole step, lightly {pair.theirs}, ours {pair.ours} (images/s)"
    if pair.drop_path:
        name = f"  both with the paper's drop path of {pair.drop_path} (images/s)"
    compare(name, len(images), their_epoch, our_epoch, pair.wanted, rounds)


def bench_networks(images: torch.Tensor, precision: str, rounds: int) -> None:
    """The step without its augmentation: views and masks of one batch made beforehand."""
    peer, state = PeerStep(precision), build_state(replace(CONFIG, precision=precision))
    views = next(iter(DataLoader(Pictures(images[:BATCH]), batch_size=BATCH)))
    generator = torch.Generator().manual_seed(0)
    batch = draw_batch(images[:BATCH], state.config, generator)
    name = f"  views made beforehand, both {precision} (images/s)"
    compare(name, BATCH, partial(peer, views), partial(train_step, state, batch, generator), "", rounds)


KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::_addmm_activation", "mkldnn"),
    "attention (fused)": ("aten::_scaled_dot_product",),
    "GELU": ("aten::gelu",),
    "layer norm": ("aten::native_layer_norm",),
    "softmax, exp, log": ("aten::_softmax", "aten::_log_softmax", "aten::exp", "aten::logsumexp", "aten::special_entr"),
    "AdamW, moving average, clipping": ("aten::_fused_adamw", "aten::_foreach", "aten::linalg_vector_norm"),
}  # fmt: skip
"""Operators of a step by what they are for; the rest is arithmetic, copies and augmentation."""


def where_time_goes(images: torch.Tensor, precision: str) -> None:
    """Print the share of a large matrix product's speed that the step reaches, and what it spends its time on."""
    state, generator = build_state(replace(CONFIG, precision=precision)), torch.Generator().manual_seed(0)

    def step() -> None:
        train_step(state, draw_batch(images[:BATCH], state.config, generator), generator)

    with FlopCounterMode(display=False) as counter:
        step()
    took = min(seconds(step) for _ in range(5))
    a, b = (torch.randn(2048, 2048).to(getattr(torch, precision)) for _ in range(2))
    product = 2 * 2048**3 / min(seconds(lambda: a @ b) for _ in range(10)) / 1e9
    work = counter.get_total_flops() / 1e9
    speed, least = work / took, work / product
    share = f"{speed:.0f} GFLOP/s, {speed / product:.0%} of the {product:.0f} in a 2048^3 product"
    print(f"{precision}: {took:.2f} s a step, {BATCH / took:.1f} images/s, {share}")
    print(f"  its matrix products alone, at that speed: {least:.2f} s, {BATCH / least:.1f} images/s at most")
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    spent = Counter()
    for event in recorded.key_averages():
        kind = next((kind for kind, names in KINDS.items() if event.key.startswith(names)), "everything else")
        spent[kind] += event.self_cpu_time_total
    for kind, microseconds in spent.most_common():
        print(f"  {kind:{WIDTH - 2}s} {microseconds / sum(spent.values()):10.0%} of the time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--only", choices=["augmentation", "step", "time"], help="one part")
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (512, 3, 32, 32), dtype=torch.uint8, generator=generator)
    units = best_precision(torch.device("cpu")) == "bfloat16"
    print(f"{chip('cpu')}; this chip has {'' if units else 'no '}bfloat16 units")
    header("lightly")
    if options.only in (None, "augmentation"):
        bench_augmentation(images, options.rounds)
    if options.only in (None, "step"):
        pairs = [Pair("float32", "float32", "" if units else ">= 1.9 where there are bfloat16 units")]
        if units:
            pairs += [Pair("bfloat16", "bfloat16"), Pair("float32", "bfloat16", ">= 1.9")]
        for pair in [*pairs, replace(pairs[-1], wanted="", drop_path=0.3)]:
            bench_step(images, pair, options.rounds)
        bench_networks(images, "float32", options.rounds)
    if options.only in (None, "time"):
        where_time_goes(images, "bfloat16" if units else "float32")


if __name__ == "__main__":
    main()
