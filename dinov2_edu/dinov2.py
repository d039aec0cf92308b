"""DINOv2 in one file: how a vision transformer is pretrained on pictures without labels. Read it top to bottom.

    python dinov2.py                             # CIFAR-10, fetched into data/ once; any setting: name=value
    python dinov2.py data=my_pictures steps=500  # my_pictures/{train,test}/<class>/*.jpg; ends with backbone.pth

A student sees crops of a picture, some with patches masked. A teacher, the moving average of the student, sees the
large crops whole. The student learns to say what the teacher says: of a picture, by its class token (DINO), and of
each masked patch (iBOT), while KoLeo keeps the pictures of a batch apart. Labels are used at the end alone.

Weights have the official names: the released ViT-S/14, B/14 and L/14 load into `ViT`. Losses and gradients are the
official ones. Left out: several processes, half precision, stochastic depth, registers, SwiGLU. Simpler: pictures are
squares of `img_size` before they are cropped, colours change in one order, a step's pictures are drawn anew.
Shapes: b pictures, n patches, t tokens (class token, patches), d width, h heads, k prototypes, m masked patches of
a batch. Crops stand crop by crop: all first crops of the batch, then all second ones. Masks: True is masked.
Sources: DINOv2 (arXiv 2304.07193), iBOT (2111.07832), DINO (2104.14294); facebookresearch/dinov2 @ b8931f7.
"""

import ast
import copy
import math
import random
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms import v2
from torchvision.transforms.functional import rgb_to_grayscale


@dataclass(frozen=True)
class Config:  # for small pictures on a CPU; last in a comment: what the published ViT-g/14 had (vitg14.yaml)
    data: str = "cifar10"  # or a folder; LVD-142M
    img_size: int = 32  # side of the pictures that positions are learnt for; 224
    patch: int = 8  # 14
    width: int = 96  # 1536
    depth: int = 3  # 40
    heads: int = 3  # 24
    layer_scale: float = 1.0  # gain of each residual branch at the start; 1e-5
    init_std: float = 0.06  # of linear layers; a narrow network needs more; 0.02
    prototypes: int = 32  # a batch of 64 can use no more of them evenly; 131_072
    hidden: int = 256  # 2048
    bottleneck: int = 64  # in iBOT's head 256; 384
    separate_heads: bool = True  # iBOT has a head of its own
    global_size: int = 32  # 224
    local_size: int = 16  # 98
    n_local: int = 4  # 8
    global_scale: tuple = (0.32, 1.0)  # share of the picture's area
    local_scale: tuple = (0.15, 0.4)  # (0.05, 0.32)
    blur: tuple = (0.0, 0.0, 0.0)  # chance in global crop 1, in 2, in local crops; (0.0, 0.9, 0.5)
    mask_ratio: tuple = (0.1, 0.5)  # of a masked crop; half of the global crops are masked
    targets: str = "sinkhorn_knopp"  # or "centering"
    teacher_temp: tuple = (0.02, 0.02)  # rises linearly over `teacher_temp_steps`; (0.04, 0.07)
    teacher_temp_steps: int = 1  # 37_500
    student_temp: float = 0.1
    ibot_weight: float = 0.3  # 1.0
    koleo_weight: float = 0.02  # 0.1
    batch: int = 64  # 3072
    steps: int = 1700  # 625_000
    lr: tuple = (3e-3, 1e-5)  # (first, last), on half a cosine; (3.5e-4, 1e-6)
    warmup: int = 60  # steps in which the learning rate climbs to its first; 100_000
    weight_decay: tuple = (0.04, 0.1)  # likewise; (0.04, 0.2)
    momentum: tuple = (0.9, 1.0)  # of the teacher, likewise; (0.994, 1.0)
    patch_embed_lr_mult: float = 0.2  # times the learning rate
    freeze_last_layer: int = 0  # first steps, in which the prototypes rest; 1250
    clip: float = 3.0  # gradient norm of the backbone, and of each head
    seed: int = 0


# ---- backbone: pictures -> tokens --------------------------------------------------------------------------
class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c.heads
        self.qkv = nn.Linear(c.width, 3 * c.width)
        self.proj = nn.Linear(c.width, c.width)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each b h t d/h
        x = F.scaled_dot_product_attention(q, k, v)  # softmax(q k^T / sqrt(d/h)) v
        return self.proj(x.transpose(1, 2).flatten(2))  # b t d


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1 = nn.LayerNorm(c.width, eps=1e-6)
        self.attn = Attention(c)
        self.ls1 = nn.ParameterDict({"gamma": torch.full((c.width,), c.layer_scale)})
        self.norm2 = nn.LayerNorm(c.width, eps=1e-6)
        fc1, fc2 = nn.Linear(c.width, 4 * c.width), nn.Linear(4 * c.width, c.width)
        self.mlp = nn.ModuleDict({"fc1": fc1, "fc2": fc2})
        self.ls2 = nn.ParameterDict({"gamma": torch.full((c.width,), c.layer_scale)})

    def forward(self, x):
        x = x + self.ls1.gamma * self.attn(self.norm1(x))
        return x + self.ls2.gamma * self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.patch, self.side = c.patch, c.img_size // c.patch
        self.cls_token = nn.Parameter(1e-6 * torch.randn(1, 1, c.width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + self.side**2, c.width))
        self.mask_token = nn.Parameter(torch.zeros(1, c.width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, c.width, c.patch, stride=c.patch)})
        self.blocks = nn.Sequential(*(Block(c) for _ in range(c.depth)))
        self.norm = nn.LayerNorm(c.width, eps=1e-6)

    def positions(self, rows, cols):
        """The position embedding, resized to a crop's grid; the official 0.1 shifts each sample a little."""
        if rows == cols == self.side:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)  # 1 d side side
        scale = ((rows + 0.1) / self.side, (cols + 0.1) / self.side)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")  # 1 d rows cols
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)  # 1 t d

    def forward(self, images, masks=None):
        """Class tokens b d and patch tokens b n d. A masked patch keeps its place and loses its content."""
        x = self.patch_embed.proj(images).flatten(2).transpose(1, 2)  # b d rows cols -> b n d
        if masks is not None:
            x = torch.where(masks[..., None], self.mask_token, x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)  # b t d
        x = x + self.positions(images.shape[2] // self.patch, images.shape[3] // self.patch)
        x = self.norm(self.blocks(x))
        return x[:, 0], x[:, 1:]


# ---- heads: a token -> a logit for each prototype ----------------------------------------------------------
class Head(nn.Module):
    def __init__(self, c):
        super().__init__()
        into, between, out = (c.width, c.hidden), (c.hidden, c.hidden), (c.hidden, c.bottleneck)
        self.mlp = nn.Sequential(nn.Linear(*into), nn.GELU(), nn.Linear(*between), nn.GELU(), nn.Linear(*out))
        lengths, directions = torch.ones(c.prototypes, 1), nn.Linear(c.bottleneck, c.prototypes).weight
        self.last_layer = nn.ParameterDict({"weight_g": lengths, "weight_v": directions})

    def forward(self, x):
        prototypes = self.last_layer.weight_g * F.normalize(self.last_layer.weight_v, dim=-1)  # k bottleneck
        return F.normalize(self.mlp(x), dim=-1) @ prototypes.T  # while the lengths are 1, a logit is a cosine


class Network(nn.Module):  # the student is one, the teacher another
    def __init__(self, c):
        super().__init__()
        assert c.targets in ("sinkhorn_knopp", "centering"), f"targets={c.targets}"
        self.c = c
        self.backbone = ViT(c)
        self.dino_head = Head(c)
        self.ibot_head = Head(c) if c.separate_heads else None
        self.heads = self.dino_head, self.ibot_head or self.dino_head  # for class tokens, for patches
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=c.init_std)
                nn.init.zeros_(module.bias)


# ---- what the networks see: crops and masks ----------------------------------------------------------------
normalize = v2.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))  # ImageNet's


def draw(x, low, high):
    return torch.empty(len(x), 1, 1, 1, device=x.device).uniform_(low, high)  # a number for each picture


def random_resized_crop(x, size, scale):
    """From each picture a box of its own, with a share `scale` of the area, perhaps mirrored: b 3 size size."""
    area, aspect = draw(x, *scale), draw(x, math.log(3 / 4), math.log(4 / 3)).exp()
    width, height = (part.sqrt().clamp(max=1) for part in (area * aspect, area / aspect))  # shares of sides
    right, down = ((1 - side) * draw(x, -1, 1) for side in (width, height))  # box's middle from the picture's
    mirror, zero = 2 * draw(x, 0, 1).round() - 1, torch.zeros_like(area)  # -1 or 1
    boxes = torch.cat([mirror * width, zero, right, zero, height, down], dim=1).view(-1, 2, 3)  # b 2 3
    grid = F.affine_grid(boxes, (len(x), 3, 2 * size, 2 * size), align_corners=False)  # b 2s 2s 2
    x = F.grid_sample(x, grid, mode="bicubic", padding_mode="reflection", align_corners=False)  # b 3 2s 2s
    return F.avg_pool2d(x, 2).clamp(0, 1)  # cut twice as fine and averaged, against aliasing


def change_colors(x, blur, solarize):
    """Colour jitter, greyscale, blur and solarisation, each for some pictures; one hue and one blur a batch."""
    y = draw(x, 0.6, 1.4) * x  # brightness
    y = torch.lerp(rgb_to_grayscale(y).mean((2, 3), keepdim=True), y, draw(x, 0.6, 1.4))  # contrast
    y = torch.lerp(rgb_to_grayscale(y), y, draw(x, 0.8, 1.2)).clamp(0, 1)  # saturation
    x = torch.where(draw(x, 0, 1) < 0.8, v2.ColorJitter(hue=0.1)(y), x)
    x = torch.where(draw(x, 0, 1) < 0.2, rgb_to_grayscale(x), x)
    x = torch.where(draw(x, 0, 1) < blur, v2.GaussianBlur(9, sigma=(0.1, 2.0))(x), x)
    return torch.where((draw(x, 0, 1) < solarize) & (x >= 128 / 255), 1 - x, x)


def make_views(images, c):
    """Bytes b 3 height width -> global crops 2b 3 g g and local crops (n_local b) 3 l l, normalised."""
    boxes = 2 * [(c.global_size, c.global_scale)] + c.n_local * [(c.local_size, c.local_scale)]
    first, second, *local = (random_resized_crop(images / 255, *box) for box in boxes)
    global_ = torch.cat([change_colors(first, c.blur[0], 0.0), change_colors(second, c.blur[1], 0.2)])
    local = change_colors(torch.cat(local or [first[:0]]), c.blur[2], 0.0)
    return normalize(global_), normalize(local)


def block_mask(asked, side):
    """A mask of `asked` patches or a few less, made of rectangles as in BEiT; ten refused in a row end it."""
    mask, refused = torch.zeros(side, side, dtype=torch.bool), 0
    while refused < 10 and mask.sum() < asked:
        limit = min(asked - int(mask.sum()), side**2 // 2)
        area, log_aspect = random.uniform(4, limit), random.uniform(math.log(0.3), -math.log(0.3))
        rows, cols = (round(math.sqrt(area * math.exp(sign * log_aspect))) for sign in (1, -1))
        top, left = (random.randint(0, max(0, side - length)) for length in (rows, cols))
        block = mask[top : top + rows, left : left + cols]  # a view: what it gets, the mask gets
        fits = rows < side and cols < side and 0 < (~block).sum() <= limit
        block |= fits
        refused = 0 if fits else refused + 1
    return mask.flatten()  # n


def make_masks(n_crops, c):
    """Masks (n_crops n): half of the crops, each with a share from its own part of `mask_ratio`; shuffled."""
    side, n_masked = c.global_size // c.patch, n_crops // 2
    edges = torch.linspace(*c.mask_ratio, n_masked + 1).tolist()
    shares = [random.uniform(*edges[i : i + 2]) for i in range(n_masked)] + [0.0] * (n_crops - n_masked)
    random.shuffle(shares)
    return torch.stack([block_mask(int(side**2 * share), side) for share in shares])


# ---- targets and losses ------------------------------------------------------------------------------------
def sinkhorn_knopp(logits, temperature, n_iterations=3):
    """Targets m k that use each prototype about equally; on logarithms, so that nothing overflows."""
    q = logits / temperature
    for _ in range(n_iterations):
        q = q - q.logsumexp(dim=0)  # every prototype has the same total
        q = q - q.logsumexp(dim=1, keepdim=True)  # every row is a distribution
    return q.exp()


def cross_entropy(logits, targets, temperature):
    return -(targets * F.log_softmax(logits / temperature, dim=-1)).sum(dim=-1)  # ... k -> ...


def dino_loss(logits, targets, temperature):
    """Mean over pairs of a student's crop (logits v b k) and a teacher's (targets 2 b k), never the same one."""
    pairs = cross_entropy(logits[:, None], targets, temperature).mean(dim=-1)  # v 2
    return (pairs.sum() - pairs.diagonal().sum()) / (pairs.numel() - 2)  # crops 1 and 2 are the same for both


def ibot_loss(logits, targets, masks, temperature):
    """Mean over the masked patches of a crop, then over all crops, those without a mask included."""
    losses = cross_entropy(logits, targets, temperature)  # m, in the order of tokens[masks]
    patches = masks.sum(dim=1, keepdim=True).expand_as(masks)[masks]  # m: how many its crop has
    return (losses / patches).sum() / len(masks)


def koleo_loss(tokens, eps=1e-8):
    """Push each class token (b d) away from its nearest neighbour in the batch."""
    units = F.normalize(tokens, dim=-1, eps=eps)
    nearest = (units @ units.T).detach().fill_diagonal_(-2).argmax(dim=1)  # b
    return -torch.log(F.pairwise_distance(units, units[nearest], eps=eps) + eps).mean()


@torch.no_grad()
def teacher_targets(teacher, centers, global_crops, masks, temperature):
    """Targets for class tokens (2 b k) and masked patches (m k), and the centres (2 k) of the next step."""
    cls_tokens, patch_tokens = teacher.backbone(global_crops)  # 2b d, 2b n d
    logits = teacher.heads[0](cls_tokens), teacher.heads[1](patch_tokens[masks])  # 2b k, m k
    if teacher.c.targets == "sinkhorn_knopp":
        targets = [sinkhorn_knopp(each, temperature) for each in logits]
    else:  # centering: less what the teacher says of every picture
        targets = [F.softmax((logits[i] - centers[i]) / temperature, dim=-1) for i in (0, 1)]
        centers = centers.lerp(torch.stack([x.sum(0) / max(1, len(x)) for x in logits]), 0.1)
    return targets[0].unflatten(0, (2, -1)), targets[1], centers


def student_losses(student, cls_targets, patch_targets, globals_, locals_, masks):
    """DINO on class tokens, iBOT on masked patches, KoLeo on class tokens before the head."""
    c, (dino_head, ibot_head) = student.c, student.heads
    cls_tokens, patch_tokens = student.backbone(globals_, masks)
    local_tokens, _ = student.backbone(locals_)  # (n_local b) d
    logits = dino_head(torch.cat([cls_tokens, local_tokens]))  # (v b) k
    dino = dino_loss(logits.unflatten(0, (2 + c.n_local, -1)), cls_targets, c.student_temp)
    ibot = ibot_loss(ibot_head(patch_tokens[masks]), patch_targets, masks, c.student_temp)
    koleo = sum(koleo_loss(crop) for crop in cls_tokens.chunk(2))  # crop by crop
    return dino, ibot, koleo


# ---- schedules, optimiser, step ----------------------------------------------------------------------------
def cosine(start, end, step, steps):
    return end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2


def schedules(step, c):
    """Learning rate, weight decay, teacher momentum and teacher temperature of a step."""
    climb, rise = (min(1, step / max(1, steps - 1)) for steps in (c.warmup, c.teacher_temp_steps))
    lr = climb * c.lr[0] if step < c.warmup else cosine(*c.lr, step - c.warmup, c.steps - c.warmup)
    weight_decay, momentum = (cosine(*pair, step, c.steps) for pair in (c.weight_decay, c.momentum))
    return lr, weight_decay, momentum, c.teacher_temp[0] + rise * (c.teacher_temp[1] - c.teacher_temp[0])


def multipliers(name, step, c):
    """Factors of learning rate and weight decay: biases, norms and layer scales do not decay."""
    frozen = "last_layer" in name and step < c.freeze_last_layer
    decays = not (name.endswith("bias") or "norm" in name or "gamma" in name)
    lr_multiplier = c.patch_embed_lr_mult if "patch_embed" in name else 1.0
    return 0.0 if frozen else lr_multiplier, float(decays)


def train_step(student, teacher, centers, optimizer, images, step):
    """One step on bytes b 3 height width; returns losses and the next centres."""
    c = student.c
    global_crops, local_crops = make_views(images, c)
    masks = make_masks(len(global_crops), c).to(images.device)

    lr, weight_decay, momentum, teacher_temp = schedules(step, c)
    for group in optimizer.param_groups:
        lr_multiplier, wd_multiplier = multipliers(group["name"], step, c)
        group["lr"], group["weight_decay"] = lr * lr_multiplier, weight_decay * wd_multiplier

    *targets, centers = teacher_targets(teacher, centers, global_crops, masks, teacher_temp)
    dino, ibot, koleo = student_losses(student, *targets, global_crops, local_crops, masks)
    loss = dino + c.ibot_weight * ibot + c.koleo_weight * koleo

    optimizer.zero_grad()
    loss.backward()
    for module in student.children():  # the backbone and each head on its own
        nn.utils.clip_grad_norm_(module.parameters(), c.clip)
    optimizer.step()
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast.detach(), 1 - momentum)  # EMA
    return {"loss": loss, "dino": dino, "ibot": ibot, "koleo": koleo}, centers


# ---- the loop, and what was learnt -------------------------------------------------------------------------
def train(student, images):
    """Pretrain on bytes N 3 height width without labels; returns the teacher, which is what one keeps."""
    c = student.c
    teacher = copy.deepcopy(student).requires_grad_(False)
    centers = torch.zeros(2, c.prototypes, device=images.device)  # of the logits of class tokens, of patches
    optimizer = torch.optim.AdamW([{"params": [p], "name": name} for name, p in student.named_parameters()])
    for step in range(c.steps):
        batch = images[torch.randperm(len(images), device=images.device)[: c.batch]]
        losses, centers = train_step(student, teacher, centers, optimizer, batch, step)
        if step % 50 == 0 or step == c.steps - 1:
            print(f"step {step}", *(f"{name} {value:.4f}" for name, value in losses.items()), flush=True)
    return teacher


@torch.no_grad()
def knn_accuracy(backbone, labelled, test, k=20, temperature=0.07):
    """Share of test pictures whose k nearest training pictures vote for their label; both (bytes, labels)."""
    chunks = [[backbone(normalize(x / 255))[0] for x in images.split(500)] for images, _ in (labelled, test)]
    bank, tokens = (F.normalize(torch.cat(some), dim=-1) for some in chunks)  # N d
    votes, n_right = F.one_hot(labelled[1]), 0  # N classes
    for rows, labels in zip(tokens.split(500), test[1].split(500), strict=True):
        cosines, nearest = (rows @ bank.T).topk(k)  # 500 k
        shares = ((cosines / temperature).exp()[..., None] * votes[nearest]).sum(dim=1)  # 500 classes
        n_right += (shares.argmax(dim=1) == labels).sum().item()
    return n_right / len(test[1])


def read_pictures(c, split):
    """All pictures as bytes (N 3 img_size img_size), and their labels (N)."""
    to_bytes = v2.Compose([v2.Resize(c.img_size), v2.CenterCrop(c.img_size), v2.PILToTensor()])
    if c.data == "cifar10":
        pictures = CIFAR10("data", train=split == "train", transform=to_bytes, download=True)
    else:
        pictures = ImageFolder(f"{c.data}/{split}", to_bytes)
    return torch.stack([image for image, _ in pictures]), torch.tensor(pictures.targets)


if __name__ == "__main__":
    changes = (argument.split("=", 1) for argument in sys.argv[1:])
    c = Config(**{name: x if name in ("data", "targets") else ast.literal_eval(x) for name, x in changes})
    torch.manual_seed(c.seed)
    random.seed(c.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    labelled, test = ([each.to(device) for each in read_pictures(c, split)] for split in ("train", "test"))
    student = Network(c).to(device)
    print(f"k-NN accuracy before: {knn_accuracy(student.backbone, labelled, test):.1%}", flush=True)
    teacher = train(student, labelled[0])
    print(f"k-NN accuracy after: {knn_accuracy(teacher.backbone, labelled, test):.1%}")
    torch.save(teacher.backbone.state_dict(), "backbone.pth")
