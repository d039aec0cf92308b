"""What recordings hold, ready to use: tokens, attention and lengths of the sample squares, class tokens of CIFAR-10."""

from dataclasses import dataclass

import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dinov2_edu.checks import checked
from dinov2_edu.features.eight_bits import EightBits
from dinov2_edu.features.recordings import Recording, RecordingRefused, read_recording


@dataclass(frozen=True)
class RecordedPhotos:
    """What one backbone made of the sample squares, after each of some blocks.

    Attributes:
        recording: where the numbers come from; `about` names the squares ("pictures") and what 8 bits cost.
        pictures: names of the squares `b`, as in `data.SAMPLE_SQUARES`.
        blocks: after which blocks, counted from 1.
        cls: class tokens after the final LayerNorm.
        registers: registers after the final LayerNorm, in half precision; none in a model without.
        patches: patch tokens after the final LayerNorm, decoded from 8 bits.
        lengths: of patch tokens, exact; first before, then after the final LayerNorm.
        attention: the class token's, a row a head over all tokens (class token, registers, patches), in half precision.
        evenness: of all tokens' attention, a number a head: mean entropy of a row as a share of an even row's.
    """

    recording: Recording
    pictures: tuple[str, ...]
    blocks: tuple[int, ...]
    cls: Float[Tensor, "blocks b d"]
    registers: Float[Tensor, "blocks b r d"]
    patches: Float[Tensor, "blocks b n d"]
    lengths: Float[Tensor, "before_after=2 blocks b n"]
    attention: Float[Tensor, "blocks b h t"]
    evenness: Float[Tensor, "blocks b h"]

    @property
    def n_prefix_tokens(self) -> int:
        """Tokens before the first patch in `attention`: the class token and the registers."""
        return 1 + self.registers.shape[2]


@dataclass(frozen=True)
class RecordedCifar10:
    """Class tokens of CIFAR-10's pictures, decoded from 8 bits, and their labels.

    Attributes:
        recording: where the numbers come from; `about` has the accuracies before and after the coding.
        train: of the training pictures, sorted by class.
        train_labels: their classes.
        test: of the test pictures.
        test_labels: their classes.
    """

    recording: Recording
    train: Float[Tensor, "n d"]
    train_labels: Int[Tensor, " n"]
    test: Float[Tensor, "m d"]
    test_labels: Int[Tensor, " m"]


@checked
def read_recorded_photos(model: str) -> RecordedPhotos:
    """Read what a backbone made of the sample squares.

    Args:
        model: name of the weights, such as "vitl14".

    Raises:
        RecordingUnavailable: it was not recorded, or is refused; as `read_recording`.
    """
    recording = read_recording(f"photos-{model}")
    kept = _tensors(recording)
    try:
        pictures, blocks = tuple(recording.about["pictures"]), tuple(recording.about["blocks"])
        patches = [
            EightBits(*parts).decode(codes)
            for codes, *parts in zip(kept["codes"], kept["mean"], kept["basis"], kept["scale"], strict=True)
        ]
        return RecordedPhotos(
            recording,
            pictures,
            blocks,
            kept["cls"],
            kept["registers"].float(),
            torch.stack(patches).unflatten(1, (len(pictures), -1)),
            kept["lengths"],
            kept["attention"].float(),
            kept["evenness"],
        )
    except (LookupError, ValueError, RuntimeError) as error:
        raise _of_another_form(recording, error) from None


def read_recorded_cifar10() -> RecordedCifar10:
    """Read the class tokens that ViT-S/14 gave CIFAR-10's pictures.

    Raises:
        RecordingUnavailable: they were not recorded, or are refused; as `read_recording`.
    """
    recording = read_recording("cifar10-vits14")
    kept = _tensors(recording)
    try:
        code = EightBits(kept["mean"], kept["basis"], kept["scale"])
        train, test = (code.decode(kept[f"{split}_codes"]) for split in ("train", "test"))
        labels = [kept[f"{split}_labels"].long() for split in ("train", "test")]
        return RecordedCifar10(recording, train, labels[0], test, labels[1])
    except (LookupError, ValueError, RuntimeError) as error:
        raise _of_another_form(recording, error) from None


def _tensors(recording: Recording) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(recording.content)
    except (safetensors.SafetensorError, ValueError) as error:
        raise _of_another_form(recording, error) from None


def _of_another_form(recording: Recording, error: Exception) -> RecordingRefused:
    return RecordingRefused(
        f"the recording {recording.name} has its checksum but another form than this package reads "
        f"({type(error).__name__}: {error}): `python -m dinov2_edu recordings` makes it anew"
    )
