"""A run on disk: whole or not at all, refused where it cannot be right, and begun from by another."""

import os
from dataclasses import replace

import pytest
import torch
from tiny_training import QUIET, TINY, byte_images, same, weights

from dinov2_edu.numerics import checksum
from dinov2_edu.training import FitOptions, build_state, fit, load_checkpoint, save_checkpoint, start_from
from dinov2_edu.training.checkpoint import fingerprint_of


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    state = build_state(TINY)
    save_checkpoint(state, path)
    before = path.read_bytes()

    def full_disk(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match=r"could not write .*checkpoint\.pt: the disk is full.*make room"):
        save_checkpoint(state, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_checkpoint_has_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        save_checkpoint(build_state(TINY), tmp_path / "checkpoint.pt")
    finally:
        os.umask(before)
    assert (tmp_path / "checkpoint.pt").stat().st_mode & 0o777 == 0o640


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The file of a run of three steps with an evaluation."""
    folder = tmp_path_factory.mktemp("trained")
    options = FitOptions(**QUIET, folder=folder, evaluate=lambda backbone: 0.5, evaluate_every=2)
    fit(build_state(TINY), byte_images(), options, until=3)
    return folder / "checkpoint.pt"


def first_weight(content):
    return content["student"]["backbone.cls_token"]


def without(name):
    return lambda content: content.pop(name)


def put(*path, value):
    def change(content):
        for name in path[:-1]:
            content = content[name]
        content[path[-1]] = value

    return change


KEYS = ("config", "student", "teacher", "optimizer", "centers", "step", "history", "data", "origin")
CHANGED = "another checksum than when it was written.*take a copy of it, or delete it and start again"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("format", value=1), "no checkpoint of this version"),
        (put("checksum", value=torch.zeros(3)), CHANGED),
        *((without(name), CHANGED) for name in (*KEYS, "checksum")),
        *((put(name, value=None), CHANGED) for name in KEYS),
        (put("more", value=1), CHANGED),
        (put("config", "steps", value="many"), CHANGED),
        (put("step", value=2), CHANGED),
        (put("step", value=3.0), CHANGED),
        (put("history", "loss", value=[1.0, 2.0, float("nan")]), CHANGED),
        (put("data", value="other images"), CHANGED),
        (put("centers", "more", value=torch.zeros(3)), CHANGED),
        (lambda content: first_weight(content).fill_(torch.nan), CHANGED),
        (lambda content: first_weight(content).view(torch.uint8)[0, 0, 5].bitwise_xor_(1), CHANGED),
        (put("student", "backbone.cls_token", value=torch.zeros(1, 1, 24).half()), CHANGED),
        (put("student", "backbone.cls_token", value=torch.zeros(1, 1, 24).to_sparse()), CHANGED),
        (put("student", 3, value=torch.zeros(1)), CHANGED),
        (put("optimizer", value={}), CHANGED),
        (lambda content: content["optimizer"]["state"][0]["exp_avg_sq"].neg_(), CHANGED),
        (lambda content: content["optimizer"]["param_groups"].pop(), CHANGED),
    ],
)
def test_a_checkpoint_that_no_run_wrote_is_refused(tmp_path, trained, change, says):
    content = torch.load(trained, weights_only=True)
    change(content)
    path = tmp_path / "changed.pt"
    torch.save(content, path)
    with pytest.raises(ValueError, match=says) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            put("config", "batchsize", value=2),
            "its config makes no run .*no field batchsize.*another version",
        ),
        (put("config", "vit", value=None), "its config makes no run"),
        (lambda content: content["teacher"].popitem(), "its networks are not those of its config"),
        (lambda content: content["optimizer"]["param_groups"].pop(), "its networks are not those"),
    ],
)
def test_a_checkpoint_of_another_version_is_refused(tmp_path, trained, change, says):
    content = torch.load(trained, weights_only=True)
    change(content)
    content["checksum"] = checksum({name: content[name] for name in KEYS})
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=rf"(?s)other\.pt: {says}.*: take a copy"):
        load_checkpoint(tmp_path / "other.pt")


def test_any_flipped_bit_of_the_numbers_is_found(tmp_path, trained):
    """A bit in what is stored, not in its wrapping: zip archives are read without looking at their own checksums."""
    whole = trained.read_bytes()
    load_checkpoint(trained)
    weights = torch.load(trained, weights_only=True)["teacher"]["backbone.blocks.1.mlp.fc1.weight"]
    start = whole.index(weights.numpy().tobytes())
    for byte, bit in ((0, 0), (weights.nbytes // 2, 3), (weights.nbytes - 1, 7)):
        broken = bytearray(whole)
        broken[start + byte] ^= 1 << bit
        (tmp_path / "broken.pt").write_bytes(broken)
        with pytest.raises(ValueError, match="checksum"):
            load_checkpoint(tmp_path / "broken.pt")


def test_a_loaded_run_is_ready_for_its_next_step(trained):
    state = load_checkpoint(trained)
    assert all(module.training for module in state.student.modules())
    assert not any(module.training for module in state.teacher.modules())
    assert all(weight.requires_grad for weight in state.student.parameters())
    assert not any(weight.requires_grad for weight in state.teacher.parameters())
    assert state.step == 3 and state.history["knn_step"] == [2] and state.data.startswith("8 x 3 x 16 x 16")


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


@pytest.mark.parametrize(
    ("before", "after"), [("sinkhorn_knopp", "centering"), ("centering", "sinkhorn_knopp")]
)
def test_a_new_run_may_make_its_targets_in_another_way(before, after):
    first = fit(build_state(replace(TINY, targets=before)), byte_images(), FitOptions(**QUIET), until=2)
    second = start_from(first, replace(TINY, targets=after))
    assert set(second.centers) == ({"cls", "patch"} if after == "centering" else set())
    fit(second, byte_images(), FitOptions(**QUIET), until=2)


@pytest.mark.bad_input
def test_a_new_run_from_broken_weights_is_refused():
    first = build_state(TINY)
    with torch.no_grad():
        first.teacher.backbone.norm.weight[0] = torch.nan
    with pytest.raises(ValueError, match=r"start from: its teacher: 'backbone\.norm\.weight' has a number"):
        start_from(first, TINY)


@pytest.mark.bad_input
def test_a_new_run_of_other_sizes_is_refused():
    with pytest.raises(ValueError, match="n_prototypes must stay"):
        start_from(build_state(TINY), replace(TINY, n_prototypes=TINY.n_prototypes + 1))


def test_a_new_run_may_keep_the_backbones_alone():
    first = fit(build_state(replace(TINY, targets="centering")), byte_images(), FitOptions(**QUIET), until=3)
    config = replace(TINY, n_prototypes=TINY.n_prototypes + 3, targets="centering", seed=5)
    second, drawn = start_from(first, config, fresh_heads=True), build_state(config)
    for who in ("student_network", "teacher"):
        had, has, new = (getattr(state, who) for state in (first, second, drawn))
        assert_equal_weights(has.backbone, had.backbone)
        assert_equal_weights(has.dino_head, new.dino_head)
    with torch.no_grad():
        first.teacher.dino_head.last_layer.weight_v[0] = torch.nan
    assert start_from(first, config, fresh_heads=True).origin == second.origin, (
        "heads that broke are left behind"
    )
    assert not second.centers["cls"].any(), "centres are of prototypes that are gone"
    assert second.origin == fingerprint_of(first, backbones_only=True) != fingerprint_of(first)
    fit(second, byte_images(), FitOptions(**QUIET), until=2)


def assert_equal_weights(one, other):
    """Two modules hold the same numbers."""
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())


@pytest.mark.bad_input
def test_fresh_heads_ask_for_the_same_backbone():
    with pytest.raises(ValueError, match="vit must stay"):
        start_from(build_state(TINY), replace(TINY, vit=replace(TINY.vit, depth=1)), fresh_heads=True)
