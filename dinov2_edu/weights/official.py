"""The eight released backbones: where each lies, its checksum, its sizes."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from dinov2_edu.shapes import require
from dinov2_edu.vit import ViTConfig
from dinov2_edu.weights.fetch import WeightsRefused, WeightsUnavailable, check_file, download

BASE_URL = "https://dl.fbaipublicfiles.com/dinov2"
"""The server of the official weights."""


@dataclass(frozen=True)
class WeightsEntry:
    """One released backbone.

    Attributes:
        path: where the file lies under `BASE_URL`.
        sha256: checksum of the file.
        size: its size in bytes, where known.
        config: the backbone that the weights fit.
    """

    path: str
    sha256: str
    size: int | None
    config: ViTConfig


# width, depth, heads, kind of feed-forward, checksum without registers, checksum with
_MODELS = {
    "vits14": (
        (384, 12, 6, "mlp"),
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
        "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb",
    ),
    "vitb14": (
        (768, 12, 12, "mlp"),
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
        "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71",
    ),
    "vitl14": (
        (1024, 24, 16, "mlp"),
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51",
    ),
    "vitg14": (
        (1536, 40, 24, "swiglu"),
        "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3",
        "746ecb8c6301c645c5c855be91687d274587d6e48fdaec4a729753160b34a283",
    ),
}
_SIZES = {"vits14": 88_283_115}  # the others' are not known to us; the checksum suffices


def _entry(model: str, registers: bool) -> WeightsEntry:
    (width, depth, heads, ffn), plain_sha256, registers_sha256 = _MODELS[model]
    suffix = "_reg4" if registers else ""
    return WeightsEntry(
        path=f"dinov2_{model}/dinov2_{model}{suffix}_pretrain.pth",
        sha256=registers_sha256 if registers else plain_sha256,
        size=_SIZES.get(model + suffix),
        config=ViTConfig(
            img_size=518,
            patch_size=14,
            width=width,
            depth=depth,
            heads=heads,
            ffn=ffn,
            n_registers=4 if registers else 0,
            interpolate_offset=0.0 if registers else 0.1,
            interpolate_antialias=registers,
        ),
    )


WEIGHTS: dict[str, WeightsEntry] = {
    model + suffix: _entry(model, bool(suffix)) for suffix in ("", "_reg4") for model in _MODELS
}
"""The official backbones by name: "vits14" to "vitg14"; with four registers "vits14_reg4" to "vitg14_reg4".

Source: official `hubconf.py` and `MODEL_CARD.md` @ b8931f7; the checksums as several public projects pin
them.
"""


def fetch_official(name: str, *, base_url: str = BASE_URL) -> Path:
    """Return the path of an official file in torch hub's cache, fetching it first where it is not there.

    With `DINOV2_EDU_OFFLINE=1` the network is left alone.

    Args:
        name: a key of `WEIGHTS`.
        base_url: another server with the same files.

    Raises:
        ValueError: no such model.
        WeightsUnavailable: it is neither here nor to be had.
        WeightsRefused: what was here or came is another file; it is removed.
    """
    require(name in WEIGHTS, f"there are no official weights {name!r}, only {', '.join(WEIGHTS)}")
    entry = WEIGHTS[name]
    path = Path(torch.hub.get_dir(), "checkpoints", Path(entry.path).name)
    url = f"{base_url.rstrip('/')}/{entry.path}"
    if os.environ.get("DINOV2_EDU_OFFLINE") != "1":
        return download(url, path, sha256=entry.sha256, size=entry.size)
    advice = f"DINOV2_EDU_OFFLINE is set: unset it, or put {url} there"
    if not path.is_file():
        shown = Path("~", path.relative_to(Path.home())) if path.is_relative_to(Path.home()) else path
        raise WeightsUnavailable(f"{shown} is not there and {advice}")  # a page may show this
    wrong = check_file(path, sha256=entry.sha256, size=entry.size)
    if wrong:
        path.unlink()
        raise WeightsRefused(f"{path} was the wrong file, {wrong}, and has been removed; {advice}")
    return path
