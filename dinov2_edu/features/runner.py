"""Run a frozen backbone over batches: half precision where the chip has it, a batch size that fits."""

import copy
from collections import deque
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dinov2_edu.shapes import Images, require
from dinov2_edu.vit import VisionTransformer

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CPU_TOKENS = (
    16 * 257
)  # in a batch: 16 images of 224 pixels, measured best on two cores; larger leave the cache
_CUDA_TOKENS = 512 * 257


def best_precision(device: torch.device) -> str:
    """Half precision where the chip has units for it, else float32.

    bfloat16 on GPUs since Ampere and on CPUs with AVX512-BF16 or AMX; float16, which the official evaluation
    uses, on the GPUs before (Volta, Turing: Colab's T4). Elsewhere half precision would be emulated, more
    slowly than float32 is computed: on a CPU with AVX2 alone bfloat16 takes several times as long. Apple's
    GPUs get float32, as nobody has measured the other.
    """
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        return "bfloat16" if capability >= (8, 0) else "float16" if capability >= (7, 0) else "float32"
    probes = [
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    fast = device.type == "cpu" and any(probe is not None and probe() for probe in probes)
    return "bfloat16" if fast else "float32"


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that a batch did not fit, on a GPU or in the machine's memory."""
    # torch.OutOfMemoryError, the same class, only has its name since torch 2.5.
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


class Runner:
    """A frozen copy of a backbone that turns normalised images into rows of features.

    A row holds the class tokens of the last `n_layers` blocks, the earliest first, then the mean of the last
    block's patch tokens; all after the final LayerNorm.

    Source: `create_linear_input` in official `dinov2/eval/linear.py` @ b8931f7.
    """

    def __init__(
        self, model: VisionTransformer, precision: str, n_layers: int, batch_size: int | None, size: int
    ) -> None:
        depth = len(model.blocks)
        require(
            1 <= n_layers <= depth,
            f"n_layers must lie in 1 to {depth}, the blocks of this backbone; got {n_layers}",
        )
        require(
            batch_size is None or batch_size >= 1, f"batch_size must be at least 1 or None, got {batch_size}"
        )
        self.device, self.precision = model.pos_embed.device, precision
        self.model = copy.deepcopy(model).to(PRECISIONS[precision]).eval().requires_grad_(False)
        self.layers = list(range(depth - n_layers, depth))
        self.n_columns = (n_layers + 1) * model.config.width
        self.tokens = model.n_prefix_tokens + (size // model.config.patch_size) ** 2
        self.batch_size = batch_size or self._fitting(size)

    @torch.no_grad()
    def features(self, images: Images) -> Float[Tensor, "b f"]:
        """Features of one batch, in single precision, on the model's device."""
        outputs = self.model.intermediate_layers(images, self.layers)
        mean = outputs[-1].patches.float().mean(dim=1)
        return torch.cat([tokens.cls.float() for tokens in outputs] + [mean], dim=-1)

    def __call__(self, images: Images) -> Float[Tensor, "b f"]:
        """Features of images; a batch that does not fit is halved, and so are all that follow."""
        done: list[Tensor] = []
        start = 0
        while start < len(images):
            batch = images[start : start + self.batch_size]
            try:
                done.append(self.features(batch))
                start += len(batch)
            except RuntimeError as error:
                if not out_of_memory(error) or len(batch) == 1:
                    raise
                self.batch_size = (len(batch) + 1) // 2
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
        return torch.cat(done)

    def _fitting(self, size: int) -> int:
        """Images in a batch: what suits a CPU's caches, or leaves a fifth of a GPU's free memory."""
        limit = max(1, (_CUDA_TOKENS if self.device.type == "cuda" else _CPU_TOKENS) // self.tokens)
        if self.device.type != "cuda":
            return limit
        image = torch.zeros(1, self.model.config.in_channels, size, size, device=self.device)
        peaks = []
        for count in (4, 4, 8):  # the first also sets up what later calls use again
            torch.cuda.reset_peak_memory_stats(self.device)
            self.features(image.expand(count, -1, -1, -1))
            peaks.append(torch.cuda.max_memory_allocated(self.device))
        an_image = max(1, (peaks[2] - peaks[1]) // 4)
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(min(limit, max(1, 0.8 * free // an_image)))


def to_host(features: Float[Tensor, "n f"]) -> tuple[Float[Tensor, "n f"], Callable[[], None]]:
    """Begin to copy features to the host's memory: where they will be, and what waits until they are there."""
    if not features.is_cuda:
        return features.cpu(), lambda: None
    there = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
    there.copy_(features, non_blocking=True)
    return there, _event(features.device).synchronize


def _event(device: torch.device) -> torch.cuda.Event:
    """A mark behind all that was launched on this device, which need not be the current one."""
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


class Pace:
    """Tells a progress bar about batches once the device has finished them, and launches no more than two ahead.

    A GPU takes work faster than it does it; without this the bar would run ahead, and so would memory.
    """

    def __init__(self, device: torch.device, tell: Callable[[int], object]) -> None:
        self.device, self.tell = device, tell
        self.waiting: deque[tuple[torch.cuda.Event, int]] = deque()

    def __enter__(self) -> "Pace":
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        while self.waiting and kind is None:
            self._settle()

    def launched(self, count: int) -> None:
        """Note that a batch of `count` images is on its way."""
        if self.device.type != "cuda":
            self.tell(count)
            return
        self.waiting.append((_event(self.device), count))
        while len(self.waiting) > 2:
            self._settle()

    def _settle(self) -> None:
        event, count = self.waiting.popleft()
        event.synchronize()
        self.tell(count)
