"""Every choice of a training run in one frozen place, refused before the first step if it makes no sense."""

from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from dinov2_edu.checks import (
    check_above_zero,
    check_at_least,
    check_one_of,
    check_probability,
    checked,
    require,
)
from dinov2_edu.crops import CropConfig, small_image_crops
from dinov2_edu.vit import ViTConfig

TARGETS = ("centering", "sinkhorn_knopp", "none")
PRECISIONS = ("float32", "bfloat16", "auto")


@checked
@dataclass(frozen=True)
class TrainConfig:
    """A training run: the model, the views, the losses and the optimisation.

    Pairs are (value at the start, value at the end). Durations are in optimiser steps.

    Attributes:
        vit: the backbone's sizes.
        crops: how views are cut and disturbed.
        n_prototypes: outputs `k` of each head.
        head_hidden: hidden width of the heads' MLP.
        head_bottleneck: width before the prototypes.
        ibot_bottleneck: the same of an iBOT head of its own; None for `head_bottleneck`.
        separate_heads: give iBOT a head of its own; otherwise both losses share one.
        targets: how teacher logits become targets: "centering", "sinkhorn_knopp", or "none" (a bare softmax, to
            show what happens).
        dino_weight: weight of the class-token loss.
        ibot_weight: weight of the masked-patch loss; 0 masks nothing.
        koleo_weight: weight of KoLeo, once for each global crop.
        mask_ratio: lowest and highest share of patches that a masked crop hides.
        mask_probability: share of the student's global crops that are masked.
        student_temperature: of the student's softmax.
        teacher_temperature: of the teacher's, rising linearly over `teacher_temperature_steps`.
        teacher_temperature_steps: how long the teacher's temperature rises; a shorter run cuts the rise off.
        momentum: of the teacher, rising on a cosine. (0, 0) makes the teacher a copy of the student.
        center_momentum: of the running centre.
        lr: the highest learning rate, for the batch size given (not scaled again), and the last one.
        warmup_steps: linear warm-up of the learning rate from 0.
        weight_decay: on a cosine; norms and biases are exempt.
        layer_decay: learning-rate factor from each block to the one below.
        patch_embed_multiplier: learning-rate factor of the patch embedding.
        clip: gradient norm allowed to each of backbone and heads.
        freeze_last_layer_steps: steps in which the prototypes do not move.
        batch_size: images a step, over all processes.
        steps: optimiser steps of the whole run.
        precision: "float32", "bfloat16" for autocast, or "auto": bfloat16 where the chip has units for it. A run's own
            config says which it became.
        compile: compile the blocks with `torch.compile`.
        seed: of the weights, the order of images, crops and masks.

    Source: paper appendix B; `dinov2/configs/ssl_default_config.yaml` and `vitl14.yaml` @ b8931f7.
    """

    vit: ViTConfig = ViTConfig(img_size=32, patch_size=4, width=192, depth=12, heads=3)
    crops: CropConfig = small_image_crops()
    n_prototypes: int = 4096
    head_hidden: int = 1024
    head_bottleneck: int = 192
    ibot_bottleneck: int | None = None
    separate_heads: bool = False
    targets: str = "centering"
    dino_weight: float = 1.0
    ibot_weight: float = 1.0
    koleo_weight: float = 0.1
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    mask_probability: float = 0.5
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    teacher_temperature_steps: int = 1000
    momentum: tuple[float, float] = (0.992, 1.0)
    center_momentum: float = 0.9
    lr: tuple[float, float] = (1e-3, 1e-6)
    warmup_steps: int = 500
    weight_decay: tuple[float, float] = (0.04, 0.4)
    layer_decay: float = 1.0
    patch_embed_multiplier: float = 0.2
    clip: float = 3.0
    freeze_last_layer_steps: int = 0
    batch_size: int = 256
    steps: int = 10_000
    precision: str = "float32"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_counts()
        check_one_of(TARGETS, targets=self.targets)
        check_one_of(PRECISIONS, precision=self.precision)
        check_above_zero(clip=self.clip)
        check_at_least(0, patch_embed_multiplier=self.patch_embed_multiplier)
        good = 0 < self.layer_decay <= 1
        require(good, f"layer_decay must be above 0 and at most 1, got {self.layer_decay}")
        self._check_weights()
        self._check_ranges()
        channels = self.vit.in_channels
        require(channels == 3, f"crops have three channels, so vit.in_channels must be 3, got {channels}")
        patch = self.vit.patch_size
        for name in ("global_size", "local_size"):
            side = getattr(self.crops, name)
            require(side % patch == 0, f"crops.{name} {side} is not a multiple of the patch size {patch}")

    def _check_counts(self) -> None:
        lowest = dict.fromkeys(
            ("head_hidden", "head_bottleneck", "ibot_bottleneck", "batch_size", "steps"), 1
        )
        lowest |= dict.fromkeys(("warmup_steps", "teacher_temperature_steps", "freeze_last_layer_steps"), 0)
        for name, least in (lowest | {"seed": 0}).items():
            check_at_least(least, **{name: getattr(self, name)})
        why = "one leaves nothing to choose from"
        require(self.n_prototypes >= 2, f"n_prototypes must be at least 2 ({why}), got {self.n_prototypes}")
        require(self.seed < 2**32, f"seed must lie between 0 and 2**32 - 1, got {self.seed}")

    def _check_weights(self) -> None:
        weights = {name: getattr(self, name) for name in ("dino_weight", "ibot_weight", "koleo_weight")}
        check_at_least(0, **weights)
        require(any(weights.values()), "all three loss weights are 0: there is nothing to learn from")
        if self.koleo_weight:
            require(
                self.batch_size >= 2,
                "KoLeo needs at least 2 images a batch: raise batch_size, or koleo_weight=0",
            )

    def _check_ranges(self) -> None:
        check_above_zero(student_temperature=self.student_temperature)
        for value in self.teacher_temperature:
            check_above_zero(teacher_temperature=value)
        for name in ("momentum", "mask_ratio"):
            for value in getattr(self, name):
                check_probability(value, name)
        check_probability(self.mask_probability, "mask_probability")
        check_probability(self.center_momentum, "center_momentum")
        low, high = self.mask_ratio
        require(low <= high, f"mask_ratio must be (lowest, highest), got {self.mask_ratio}")
        require(self.lr[0] > 0, f"the highest learning rate must be above 0, got {self.lr[0]}")
        require(self.lr[1] >= 0, f"the last learning rate must be at least 0, got {self.lr[1]}")
        require(min(self.weight_decay) >= 0, f"weight_decay must be at least 0, got {self.weight_decay}")
        require(
            self.warmup_steps < self.steps,
            f"warmup_steps {self.warmup_steps} leave nothing of {self.steps} steps: shorten the warm-up",
        )

    @property
    def crop_grid(self) -> tuple[int, int]:
        """Rows and columns of patches in a global crop."""
        side = self.crops.global_size // self.vit.patch_size
        return side, side

    def to_dict(self) -> dict[str, Any]:
        """The choices as plain numbers, strings, lists and dicts, fit for JSON."""
        return asdict(self)

    def differences(self, other: "TrainConfig") -> dict[str, tuple[Any, Any]]:
        """The choices in which another config differs: name, such as "crops.n_local" -> (here, there)."""
        here, there = _flat(self.to_dict()), _flat(other.to_dict())
        return {name: (value, there[name]) for name, value in here.items() if value != there[name]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Rebuild a config from `to_dict`, or from the same after a trip through JSON.

        Raises:
            ValueError: a field that this version does not have.
        """
        return _rebuild(cls, values)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        value = tuple(value) if isinstance(value, list) else value  # a pair may be given as a list
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _rebuild(cls: type, values: dict[str, Any]) -> Any:
    known = {field.name: field for field in fields(cls)}
    unknown = sorted(set(values) - set(known))
    require(
        not unknown, f"{cls.__name__} has no field {', '.join(unknown)}: it was written by another version"
    )
    arguments = {}
    for name, value in values.items():
        default = known[name].default
        if is_dataclass(default):
            value = _rebuild(type(default), value)
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return cls(**arguments)
