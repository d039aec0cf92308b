"""The official linear evaluation: 52 classifiers side by side, trained by gradient descent on the same pictures."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dinov2_edu.checks import check_at_least, require
from dinov2_edu.shapes import Labels

LEARNING_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
"""The 13 learning rates that the official evaluation tries, for 256 pictures a step."""

INPUTS = tuple((n_blocks, with_mean) for n_blocks in (1, 4) for with_mean in (False, True))
"""What a classifier reads: class tokens of so many last blocks, with the mean patch token of the last or without."""


class LinearGrid(nn.Module):
    """A linear classifier for every input and learning rate.

    Args:
        width: of one token.
        n_classes: classes to tell apart.
        generator: draws the weights, with standard deviation 0.01.

    Source: `setup_linear_classifiers` in official `dinov2/eval/linear.py` @ b8931f7.
    """

    def __init__(self, width: int, n_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        check_at_least(1, width=width, n_classes=n_classes)
        self.width = width
        self.settings = [(*given, rate) for given in INPUTS for rate in LEARNING_RATES]
        self.classifiers = nn.ModuleList()
        for n_blocks, with_mean, _ in self.settings:
            linear = nn.Linear((n_blocks + with_mean) * width, n_classes)
            nn.init.normal_(linear.weight, std=0.01, generator=generator)
            nn.init.zeros_(linear.bias)
            self.classifiers.append(linear)

    def forward(self, rows: Float[Tensor, "n f"]) -> Float[Tensor, "grid n classes"]:
        """Logits of every classifier.

        Args:
            rows: class tokens of the last four blocks, the earliest first, then the mean patch token.
        """
        d = self.width
        columns = [slice((4 - n_blocks) * d, (4 + with_mean) * d) for n_blocks, with_mean, _ in self.settings]
        return torch.stack([one(rows[:, at]) for one, at in zip(self.classifiers, columns, strict=True)])

    def name(self, index: int) -> str:
        """One classifier's setting in words."""
        n_blocks, with_mean, rate = self.settings[index]
        tokens = "class token" if n_blocks == 1 else f"class tokens of {n_blocks} blocks"
        return f"{tokens}{' and mean patch token' if with_mean else ''}, learning rate {rate:g}"


def train_grid(
    grid: LinearGrid, batches: Iterable[tuple[Float[Tensor, "n f"], Labels]], steps: int, batch_size: int
) -> None:
    """Train all classifiers for `steps` batches: SGD with momentum 0.9, no weight decay, a cosine down to 0.

    Args:
        grid: the classifiers, changed in place.
        batches: rows and labels; at least `steps` of them.
        steps: batches, and the length of the cosine.
        batch_size: rows a step; a learning rate is multiplied by it and divided by 256.

    Raises:
        ValueError: fewer batches than steps.

    Source: `eval_linear`, `run_eval_linear`, `scale_lr` in official `dinov2/eval/linear.py` @ b8931f7.
    """
    groups = [
        {"params": one.parameters(), "lr": rate * batch_size / 256}
        for one, (*_, rate) in zip(grid.classifiers, grid.settings, strict=True)
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    done = 0
    for (rows, labels), _ in zip(batches, range(steps), strict=False):
        with torch.enable_grad():
            loss = sum((cross_entropy(logits, labels) for logits in grid(rows)), start=torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        done += 1
    require(done == steps, f"wanted {steps} batches, got {done}")


@torch.no_grad()
def grid_accuracies(grid: LinearGrid, rows: Float[Tensor, "n f"], labels: Labels) -> Float[Tensor, " grid"]:
    """Share of rows that each classifier gets right."""
    right = [
        (grid(part).argmax(dim=-1) == truth).sum(dim=1)
        for part, truth in zip(rows.split(1024), labels.split(1024), strict=True)
    ]
    return torch.stack(right).sum(dim=0).double().div(len(rows)).float()
