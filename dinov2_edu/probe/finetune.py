"""Fine-tuning: a linear layer on a backbone, and as much of the backbone below it as the caller lets learn."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dinov2_edu.checks import check_above_zero, check_at_least, checked, require
from dinov2_edu.crops import crop_and_resize, normalize, sample_boxes
from dinov2_edu.data import ImageSet
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD, ByteImages, Images, check_images
from dinov2_edu.vit import Tokens

_AT_ONCE = 250
SMALLEST_SHARE = 0.35
"""Of a picture's area, in the random crops that are learnt from."""


class Classifier(nn.Module):
    """A backbone and one linear layer, which reads its class token and its mean patch token side by side.

    The layer starts at zero: every class is equally likely, and the first step does not pull the backbone about.

    Args:
        backbone: anything that turns images into `Tokens`: a `VisionTransformer`, also one that a library has wrapped.
        width: of its tokens.
        n_classes: outputs.

    Raises:
        ValueError: a width below 1, or fewer than two classes.
    """

    @checked
    def __init__(self, backbone: nn.Module, width: int, n_classes: int) -> None:
        super().__init__()
        check_at_least(1, width=width)
        require(n_classes >= 2, f"n_classes must be at least 2, got {n_classes}")
        self.backbone = backbone
        self.head = nn.Linear(2 * width, n_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Images) -> Float[Tensor, "b classes"]:
        """Logits of normalised images."""
        tokens = cast(Tokens, self.backbone(images))
        return self.head(torch.cat([tokens.cls, tokens.patches.mean(dim=1)], dim=1))

    @checked
    @torch_defaults()
    @torch.no_grad()
    def probabilities(self, images: ByteImages) -> Float[Tensor, "b classes"]:
        """Probability of each class for pictures as bytes, seen whole, on the CPU; nothing is drawn.

        Raises:
            ValueError: no bytes, or a side that the patches do not tile.
        """
        check_images(images)
        learning = self.training
        self.eval()
        device = self.head.weight.device
        parts = [
            self(normalize(part.to(device).float() / 255, IMAGENET_MEAN, IMAGENET_STD)).softmax(dim=1).cpu()
            for part in images.split(_AT_ONCE)
        ]
        self.train(learning)
        return torch.cat(parts)


@checked
@torch_defaults()
def fine_tune(
    classifier: Classifier,
    pictures: ImageSet,
    *,
    generator: torch.Generator,
    steps: int = 200,
    batch_size: int = 50,
    lr: tuple[float, float] = (1e-3, 1e-4),
) -> list[float]:
    """Teach a classifier the labels of a few pictures, in random crops, mirrored half the time.

    What learns is what `requires_grad` says: with all of the backbone frozen the linear layer alone, with its last
    blocks switched on these too, with adapters of a library the adapters. AdamW without weight decay; both rates go
    to 0 along a cosine. Everything else stays as it was, bit for bit.

    Args:
        classifier: changed in place, and left in evaluation mode.
        pictures: square, of a size that the backbone takes; their labels are learnt.
        generator: draws batches, crops and mirrors.
        steps: of the optimiser.
        batch_size: pictures a step, at most all of them.
        lr: the highest learning rate of the linear layer, and of what learns in the backbone.

    Returns:
        The cross-entropy of each step.

    Raises:
        ValueError: a rate, a count or a label that cannot be used.
    """
    check_at_least(1, steps=steps, batch_size=batch_size)
    for rate in lr:
        check_above_zero(lr=rate)
    n_classes = classifier.head.out_features
    most = int(pictures.labels.max())
    require(most < n_classes, f"the classifier has {n_classes} classes, the pictures have label {most}")
    side, device = pictures.images.shape[-1], classifier.head.weight.device
    below = [weight for weight in classifier.backbone.parameters() if weight.requires_grad]
    groups = [{"params": list(classifier.head.parameters()), "lr": lr[0]}]
    groups += [{"params": below, "lr": lr[1]}] if below else []
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    classifier.train()
    losses = []
    for _ in range(steps):
        where: dict[str, Any] = {"generator": generator, "device": generator.device}
        rows = torch.randperm(len(pictures), **where)[:batch_size].cpu()
        boxes = sample_boxes(len(rows), (side, side), (SMALLEST_SHARE, 1.0), generator=generator)
        flips = torch.rand(len(rows), **where) < 0.5
        crops = crop_and_resize(pictures.images[rows].to(device), boxes, side, flips=flips)
        logits = classifier(normalize(crops, IMAGENET_MEAN, IMAGENET_STD))
        loss = F.cross_entropy(logits, pictures.labels[rows].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    classifier.eval()
    return losses
