"""Exercises of chapter 01: a crop as a matrix, the order of a batch's crops, and a folded normalisation."""

import torch
from torch import Tensor

from dinov2_edu.crops import resize_matrix
from dinov2_edu.exercises import Exercise


def _side(generator: torch.Generator) -> dict[str, int]:
    old = int(torch.randint(12, 20, (), generator=generator))
    length = int(torch.randint(4, 9, (), generator=generator))
    start = int(torch.randint(0, (old - length) // 2, (), generator=generator))  # never in the middle
    return {"start": start, "length": length, "old": old}


def _mirrored_cut(start: int, length: int, old: int) -> Tensor:
    starts, lengths = torch.tensor([[float(start)], [float(length)]])
    return resize_matrix(starts, lengths, (old, length), flips=torch.tensor([True]))[0]


def _cut(start: int, length: int, old: int) -> Tensor:
    return torch.eye(old)[start : start + length]


def _batch_of_crops(generator: torch.Generator) -> dict[str, Tensor]:
    b, v = (int(n) for n in torch.randint(2, 6, (2,), generator=generator))
    return {"crops": torch.rand(b, v, 3, 4, 4, generator=generator)}


def _crop_major(crops: Tensor) -> Tensor:
    return crops.transpose(0, 1).flatten(0, 1)


def _first_layer(generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "weight": torch.randn(5, 3, 4, 4, generator=generator),
        "bias": torch.randn(5, generator=generator),
        "mean": 0.3 + 0.3 * torch.rand(3, generator=generator),
        "std": 0.2 + 0.1 * torch.rand(3, generator=generator),
    }


def _fold(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    folded = weight / std[:, None, None]
    return folded, bias - (folded * mean[:, None, None]).sum(dim=(1, 2, 3))


def _fold_unscaled_mean(weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    return weight / std[:, None, None], bias - (weight * mean[:, None, None]).sum(dim=(1, 2, 3))


EXERCISES = {
    "mirrored_cut": Exercise(
        task="the matrix (length, old) that cuts the pixels start to start + length - 1 out of a row of "
        "`old` pixels and mirrors what it cut out",
        reference=_mirrored_cut,
        make_inputs=_side,
        hint="Each row has a single 1: row 0 picks the last pixel of the crop.",
        mistakes={
            "the crop was not mirrored": _cut,
            "the whole row was mirrored before the crop was cut out of it": lambda start, length, old: (
                torch.eye(old).flip(0)[start : start + length]
            ),
        },
    ),
    "crop_major": Exercise(
        task="`crops` (b, v, c, side, side) as one batch (v * b, c, side, side): the first crops of all "
        "images, then the second ones, and so on",
        reference=_crop_major,
        make_inputs=_batch_of_crops,
        hint="reshape counts the rows anew and moves none; which function changes the order of two axes?",
        mistakes={"the views were reversed as well": lambda crops: _crop_major(crops.flip(1))},
    ),
    "fold": Exercise(
        task="a weight and a bias for which the convolution of plain pixels equals that of normalised pixels "
        "with `weight` (d, c, p, p) and `bias` (d,)",
        reference=_fold,
        make_inputs=_first_layer,
        hint="Write (x - mean) / std into the sum and collect what multiplies x and what does not.",
        mistakes={
            "the weight was multiplied by std instead of divided": lambda weight, bias, mean, std: _fold(
                weight, bias, mean, 1 / std
            ),
            "the mean in the bias was not divided by std": _fold_unscaled_mean,
        },
        tolerance=1e-3,
    ),
}
