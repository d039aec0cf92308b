"""A server with official files made tiny, and a machine that has nothing yet: what tests of recordings run on."""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch

from dinov2_edu.data import cifar, patterns10
from dinov2_edu.experiments import recordings_items
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights import WEIGHTS
from tools import rehearse

SIZES = {
    "vits14": ViTConfig(img_size=28, patch_size=14, width=16, depth=4, heads=2),
    "vits14_reg4": ViTConfig(img_size=28, patch_size=14, width=16, depth=4, heads=2, n_registers=4),
    "vitl14": ViTConfig(img_size=28, patch_size=14, width=24, depth=8, heads=3),
}


def weights_file(config: ViTConfig) -> bytes:
    """A torch file of random weights so large that attention is far from even: else each of its rows would do."""
    draw = torch.Generator().manual_seed(0)
    shapes = VisionTransformer(config).state_dict().items()
    file = io.BytesIO()
    torch.save({name: 0.7 * torch.randn(value.shape, generator=draw) for name, value in shapes}, file)
    return file.getvalue()


@contextmanager
def tiny_server(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Serve tiny weights and drawn patterns as CIFAR-10, as `DINOV2_EDU_MIRROR` names them; gives the files by path."""
    for name in ("DINOV2_EDU_OFFLINE", "DINOV2_EDU_CIFAR10"):
        patch.delenv(name, raising=False)
    patch.setenv("TORCH_HOME", str(folder / "torch"))
    patch.setenv("DINOV2_EDU_CACHE", str(folder / "cache"))
    patch.setattr(torch.hub, "_hub_dir", None)
    patch.setattr(recordings_items, "STUDY_SIZES", (28,))
    for name, config in SIZES.items():
        patch.setitem(WEIGHTS, name, replace(WEIGHTS[name], config=config))
    files = {urlsplit(WEIGHTS[name].file.url).path: weights_file(config) for name, config in SIZES.items()}
    pictures = patterns10(60), patterns10(30, split="test")
    files[urlsplit(cifar.PUBLISHED.url).path] = rehearse.cifar_archive(*pictures)
    facts = {
        Path(path).name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for path, content in files.items()
    }
    with rehearse.serve(files, None) as address:
        (folder / "mirror.json").write_text(json.dumps({"server": address, "files": facts}))
        patch.setenv("DINOV2_EDU_MIRROR", str(folder / "mirror.json"))
        yield files
