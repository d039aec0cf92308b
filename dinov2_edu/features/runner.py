"""Run a frozen backbone over batches: half precision where the chip has it, a batch that fits."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dinov2_edu.checks import require
from dinov2_edu.shapes import Images
from dinov2_edu.vit import VisionTransformer

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TOKENS = {"cpu": 16 * 257, "cuda": 512 * 257}
"""Tokens in a batch, by device: on two cores 16 images of 224 pixels were measured best, more leave the cache."""


def said_precision(precision: str, device: torch.device) -> str:
    """What decides an extraction's numbers besides weights and input: "float32 on cpu", and how torch multiplies
    float32 matrices where the caller allows it fewer digits (`torch.set_float32_matmul_precision`)."""
    try:
        products = torch.get_float32_matmul_precision()
    except RuntimeError:  # set for each backend apart
        products = "backend"
    fewer = precision == "float32" and products != "highest"
    return f"{precision} on {device.type}" + (f", matrix products at {products} precision" if fewer else "")


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that a batch did not fit, on a GPU or in the machine's memory."""
    words = (
        "can't allocate memory",
        "not enough memory",
        "out of memory",
    )  # Linux and macOS, Windows, Apple's GPUs
    return isinstance(error, torch.OutOfMemoryError) or any(one in str(error) for one in words)


class Runner:
    """A frozen view of a backbone that turns normalised images into rows of features; weights that already have the
    precision asked for are shared, not copied.

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
        self.device, self.precision = model.pos_embed.device, precision
        dtype = PRECISIONS[precision]
        frozen = {
            id(one): nn.Parameter(one.detach().to(dtype), requires_grad=False) for one in model.parameters()
        }
        self.model = copy.deepcopy(model, frozen).eval()
        self.layers = list(range(depth - n_layers, depth))
        self.n_columns = (n_layers + 1) * model.config.width
        tokens = model.n_prefix_tokens + (size // model.config.patch_size) ** 2
        self.batch_size = batch_size or max(1, _TOKENS.get(self.device.type, _TOKENS["cpu"]) // tokens)

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
                if self.device.type in ("cuda", "mps"):
                    getattr(torch, self.device.type).empty_cache()
        return torch.cat(done)
