"""What all tests share: shapes checked at run time, and the official numbers."""

import os
import signal
import threading
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

import dinov2_edu.checks  # noqa: F401 (before the hook: what checks is not itself checked at every call)

# The tests' tensors are tiny: a second thread brings nothing, and on a busy machine threads wait for each other.
torch.set_num_threads(1)

# Must come before the first import of the package's other rooms: from here on every call in it is checked against its
# signature, what is returned too. An int is fine where a float is wanted.
jaxtyping.install_import_hook(
    "dinov2_edu", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


@pytest.fixture(autouse=True)
def interrupts_arrive():
    """A shell starts what runs in its background with SIGINT ignored; tests of interrupts need Python's own answer."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def shape_checks(request):
    """Switch the run-time check off in tests marked `bad_input`, which look for the function's own error."""
    before = jaxtyping.config.jaxtyping_disable
    wrong_on_purpose = request.node.get_closest_marker("bad_input") is not None
    jaxtyping.config.update("jaxtyping_disable", before or wrong_on_purpose)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def vit_config():
    """Return a function from an official file's numbers to the `ViTConfig` that its `config/*` describe."""
    from dinov2_edu.vit import ViTConfig

    names = {"width": "embed_dim", "heads": "num_heads", "n_registers": "num_register_tokens"}
    same = ("img_size", "patch_size", "depth", "mlp_ratio", "interpolate_offset", "interpolate_antialias")

    def read(numbers: dict[str, np.ndarray]) -> ViTConfig:
        given = {
            name.removeprefix("config/"): array.item() for name, array in numbers.items() if "config/" in name
        }
        wanted = {**names, **{name: name for name in same}}
        sizes = {ours: given[theirs] for ours, theirs in wanted.items() if theirs in given}
        return ViTConfig(**sizes, ffn="swiglu" if given.get("swiglu") else "mlp")

    return read


@pytest.fixture(scope="session")
def golden():
    """Return a function that reads a file of official numbers: `golden("losses.npz")` -> name -> array.

    The folder is the environment variable DINOV2_EDU_GOLDEN, or `golden` beside this file.
    """
    folder = Path(os.environ.get("DINOV2_EDU_GOLDEN") or Path(__file__).parent / "golden")

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(folder / name) as file:
            return dict(file)

    return read
