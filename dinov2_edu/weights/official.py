"""The eight released backbones: where each lies, its checksum, its sizes."""

from dataclasses import dataclass
from pathlib import Path

import torch

from dinov2_edu.checks import checked, require
from dinov2_edu.data.download import NotFetched, fetch
from dinov2_edu.data.remote import RemoteFile, mirrored, shown
from dinov2_edu.vit import ViTConfig
from dinov2_edu.vit.presets import RELEASED, with_changes
from dinov2_edu.weights.errors import WeightsUnavailable

_SERVER = "https://dl.fbaipublicfiles.com/dinov2"


@dataclass(frozen=True)
class WeightsEntry:
    """One released backbone.

    Attributes:
        file: the published file.
        config: the backbone that the weights fit.
    """

    file: RemoteFile
    config: ViTConfig


# bytes of the file without registers; its checksum, and that of the file with registers
_FILES = {
    "vits14": (
        88_283_115,
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
        "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb",
    ),
    "vitb14": (
        346_378_731,
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
        "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71",
    ),
    "vitl14": (
        1_217_586_395,
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
        "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51",
    ),
    "vitg14": (
        4_546_108_579,
        "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3",
        "746ecb8c6301c645c5c855be91687d274587d6e48fdaec4a729753160b34a283",
    ),
}
_ROOM = 1 << 20  # the files with registers are some kilobytes larger, and how many is not known to us


def _entry(model: str, registers: bool) -> WeightsEntry:
    size, plain_sha256, registers_sha256 = _FILES[model]
    suffix = "_reg4" if registers else ""
    config = with_changes(RELEASED[model], n_registers=4 if registers else 0)
    url = f"{_SERVER}/dinov2_{model}/dinov2_{model}{suffix}_pretrain.pth"
    sha256 = registers_sha256 if registers else plain_sha256
    return WeightsEntry(RemoteFile(url, sha256, None if registers else size, size + _ROOM), config)


WEIGHTS: dict[str, WeightsEntry] = {
    model + suffix: _entry(model, bool(suffix)) for suffix in ("", "_reg4") for model in _FILES
}
"""The official backbones by name: "vits14" to "vitg14"; with four registers "vits14_reg4" to "vitg14_reg4".

Source: official `hubconf.py` and `MODEL_CARD.md` @ b8931f7; sizes and checksums as several public projects pin
them.
"""


def hub_folder() -> Path:
    """Where torch hub keeps weights, and the official ones are looked for: in `TORCH_HOME`, else `~/.cache/torch`."""
    return Path(torch.hub.get_dir(), "checkpoints")


@checked
def fetch_official(name: str) -> Path:
    """Return the path of an official file in torch hub's cache, fetching it first where it is not there.

    `DINOV2_EDU_OFFLINE` leaves the network alone, and `DINOV2_EDU_MIRROR` names another server
    (see `dinov2_edu.data.remote.mirrored`).

    Args:
        name: a key of `WEIGHTS`.

    Raises:
        ValueError: no such model.
        WeightsUnavailable: it is neither here nor to be had.
    """
    require(name in WEIGHTS, f"there are no official weights {name!r}, only {', '.join(WEIGHTS)}")
    file = mirrored(WEIGHTS[name].file)
    try:
        return fetch(file, hub_folder())
    except NotFetched as error:
        raise WeightsUnavailable(
            f"{name} is not on this machine and could not be fetched ({error}); three ways on: put {file.url} "
            f'into {shown(hub_folder())}, take load_backbone("book"), which comes with this package, or run this where '
            "there is a network"
        ) from None
