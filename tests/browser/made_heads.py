"""A file of heads for the book's weights, with random numbers: what the page makes of heads can be tested with any."""

import hashlib
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save

from dinov2_edu.training import TrainConfig, build_state
from dinov2_edu.training.network import Network
from dinov2_edu.vit import BOOK_VIT
from dinov2_edu.weights.book import ASSETS

N_PROTOTYPES = 1500


def made_heads(folder: Path, *, separate: bool = False) -> tuple[dict[str, Network], Path]:
    """Networks of student and teacher, whose heads differ, and the file of these in a folder.

    Args:
        folder: where `book.heads.safetensors` is written.
        separate: patches have a head of their own.
    """
    config = TrainConfig(vit=BOOK_VIT, n_prototypes=N_PROTOTYPES, head_hidden=96, head_bottleneck=32)
    networks, tensors = {}, {}
    for seed, who in enumerate(("student", "teacher")):
        state = build_state(replace(config, separate_heads=separate, seed=seed))
        networks[who] = state.teacher
        for name, weight in state.teacher.state_dict().items():
            if not name.startswith("backbone."):
                tensors[f"{who}.{name}"] = weight.half().contiguous()
                weight.copy_(weight.half())
    digest = hashlib.sha256((ASSETS / "book.safetensors").read_bytes()).hexdigest()
    path = folder / "book.heads.safetensors"
    path.write_bytes(save(tensors, {"backbone": digest}))
    return networks, path
