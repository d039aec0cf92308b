"""A run on disk: whole or not at all, refused where it cannot be right, and begun from by another."""

from dataclasses import replace

import pytest
import torch
from tiny_training import QUIET, TINY, byte_images, same, weights

from dinov2_edu.training import FitOptions, build_state, fit, load_checkpoint, save_checkpoint, start_from


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    state = build_state(TINY)
    save_checkpoint(state, path)
    before = path.read_bytes()

    def full_disk(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(state, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.bad_input
def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(FileNotFoundError, match="start the run without resuming"):
        load_checkpoint(path)
    save_checkpoint(build_state(TINY), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut short or is no checkpoint"):
        load_checkpoint(path)
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="no checkpoint of this version"):
        load_checkpoint(path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_missing_gpu_is_not_blamed_on_the_checkpoint(tmp_path):
    save_checkpoint(build_state(TINY), tmp_path / "checkpoint.pt")
    with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):
        load_checkpoint(tmp_path / "checkpoint.pt", "cuda")


def test_a_new_run_starts_where_another_ended():
    images = byte_images(24)
    first = fit(build_state(TINY), images, FitOptions(**QUIET), until=6)
    larger = replace(
        TINY, crops=replace(TINY.crops, global_size=TINY.crops.global_size * 2), steps=3, warmup_steps=1
    )
    second = start_from(first, larger)
    assert same(first, second) and second.step == 0 and not second.history
    assert second.config == larger and not second.optimizer.state
    before = [tensor.clone() for tensor in weights(first)]
    fit(second, images, FitOptions(**QUIET))
    assert second.step == 3 and not same(first, second)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(first), strict=True)), (
        "the first is left alone"
    )


@pytest.mark.bad_input
def test_a_new_run_of_other_sizes_is_refused():
    with pytest.raises(ValueError, match="n_prototypes must stay"):
        start_from(build_state(TINY), replace(TINY, n_prototypes=TINY.n_prototypes + 1))
