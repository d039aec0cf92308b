"""A backbone and pictures small enough for tests of extraction, and the same features by hand."""

import copy
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dinov2_edu.data import ImageSet
from dinov2_edu.features import ExtractOptions, Preprocessing
from dinov2_edu.vit import Tokens, VisionTransformer, ViTConfig

CONFIG = ViTConfig(img_size=16, patch_size=8, width=16, depth=3, heads=2, n_registers=2, layer_scale=None)
SMALL = Preprocessing(size=16)


class Counted(VisionTransformer):
    """A backbone that notes how many images each call got, and can be told to fail."""

    calls: ClassVar[list[int]] = []  # shared with the copy that the extraction makes
    fail_at: int | None = None
    most = 10**9
    no_room: RuntimeError = torch.cuda.OutOfMemoryError("no room")

    def intermediate_layers(self, images, layers, *, norm=True) -> list[Tokens]:
        if len(images) > self.most:
            raise self.no_room
        if self.fail_at is not None and len(self.calls) >= self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(len(images))
        return super().intermediate_layers(images, layers, norm=norm)


def counted_model() -> Counted:
    torch.manual_seed(0)
    Counted.calls.clear()
    return Counted(CONFIG)


def noise_pictures() -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (23, 3, 12, 12), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(23) % 4, ("a", "b", "c", "d"), "noise")


def options(**changes: Any) -> ExtractOptions:
    return ExtractOptions(
        **{
            "precision": "float32",
            "batch_size": 5,
            "shard_size": 8,
            "progress": False,
            "wait_s": 20,  # a lock that is not let go fails a test, it does not stop the suite
            **changes,
        }
    )


def by_hand(model: VisionTransformer, images: Any, preprocessing: Preprocessing = SMALL) -> Tensor:
    """Class token and mean patch token, one image at a time."""
    rows = []
    with torch.no_grad():
        for image in images:
            tokens = copy.deepcopy(model).eval().forward(preprocessing(image[None]))
            rows.append(torch.cat([tokens.cls[0], tokens.patches[0].mean(dim=0)]))
    return torch.stack(rows)


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def two_classes(root: Path) -> Path:
    """A folder of two classes of three pictures, of two sizes in turn."""
    rng = np.random.default_rng(0)
    for number in range(6):
        size = (12 + number % 2, 14, 3)
        save(rng.integers(0, 256, size, dtype=np.uint8), root / "xy"[number // 3] / f"{number}.png")
    return root
