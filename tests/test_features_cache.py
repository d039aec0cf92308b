"""The cache against everything that can go wrong with it."""

import contextlib
import copy
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path

import filelock
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_features import SMALL, by_hand, counted_model, noise_pictures, options

from dinov2_edu.features import CacheError, Preprocessing, extract_features
from dinov2_edu.features.cache import FeatureCache


@pytest.fixture
def model():
    return counted_model()


@pytest.fixture
def pictures():
    return noise_pictures()


def test_second_call_reads_the_cache(model, pictures, tmp_path):
    first = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    calls = list(model.calls)
    again = extract_features(
        model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options(batch_size=2)
    )
    assert again.from_cache and model.calls == calls and "read from the cache" in again.provenance
    assert torch.equal(first.linear_eval, again.linear_eval) and torch.equal(first.labels, again.labels)
    assert again.seconds == first.seconds
    names = sorted(path.suffix for path in next(tmp_path.iterdir()).iterdir())
    assert names == ["", ".safetensors", ".safetensors", ".safetensors"]  # a lock, and a file a shard
    with safe_open(next(tmp_path.rglob("shard-*")), "pt") as file:  # which says what it is
        about = json.loads(file.metadata()["about"])["made_by"]
    assert about["precision"] == "float32 on cpu" and about["preprocessing"] == repr(SMALL)


def test_memory_is_bounded_by_a_shard(model, tmp_path, monkeypatch):
    images = torch.zeros(3000, 3, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = torch.arange(3000) // 250, torch.arange(3000) % 250
    alive, most, real = weakref.WeakSet(), [], FeatureCache.add

    def add(self, digests, features, seconds):
        alive.add(features)
        most.append((len(features), len(alive)))
        real(self, digests, features, seconds)

    monkeypatch.setattr(FeatureCache, "add", add)
    found = extract_features(
        model,
        images,
        preprocessing=Preprocessing(size=8),
        cache_dir=tmp_path,
        options=options(n_layers=3, shard_size=100, batch_size=100),
    )
    assert len(most) == 30 and max(most) <= (100, 2)  # one computed, one just let go of
    assert found.linear_eval.shape == (3000, 64)


def test_nothing_stale_is_read(model, pictures, tmp_path):
    def computed(model=model, images=pictures.images, preprocessing=SMALL, **changes):
        found = extract_features(
            model, images, preprocessing=preprocessing, cache_dir=tmp_path, options=options(**changes)
        )
        return not found.from_cache

    assert computed() and not computed()
    other = pictures.images.clone()
    other[22, 2, 11, 11] ^= 1
    assert computed(images=other)
    assert computed(preprocessing=Preprocessing(size=16, interpolation="bilinear"))
    assert computed(precision="bfloat16") and computed(n_layers=2)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.norm.bias[0] += 1e-3
    assert computed(model=changed)
    assert not computed()  # and the first is still there


def test_same_bytes_of_another_shape_are_other_pictures(model, tmp_path):
    image = torch.arange(3 * 8 * 18, dtype=torch.uint8).reshape(1, 3, 8, 18)
    first = extract_features(model, image, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    second = extract_features(
        model, image.reshape(1, 3, 18, 8), preprocessing=SMALL, cache_dir=tmp_path, options=options()
    )
    assert not second.from_cache and not torch.allclose(first.cls, second.cls)


def test_interrupted_run_goes_on_where_it_stopped(model, pictures, tmp_path):
    def extract():
        return extract_features(
            model,
            pictures,
            preprocessing=SMALL,
            cache_dir=tmp_path,
            options=options(batch_size=4, shard_size=8),
        )

    model.fail_at = 5  # two shards of two batches are done, the third has begun
    with pytest.raises(KeyboardInterrupt):
        extract()
    model.fail_at = None
    model.calls.clear()
    found = extract()
    assert sum(model.calls) == 23 - 16
    torch.testing.assert_close(found.linear_eval, by_hand(model, pictures.images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"", lambda data: b"x" * len(data)])
def test_damaged_shard_is_computed_again(model, pictures, tmp_path, damage, caplog):
    def extract():
        return extract_features(
            model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options(batch_size=8)
        )

    model.fail_at = 2
    with pytest.raises(KeyboardInterrupt):
        extract()
    first, _ = tmp_path.rglob("shard-*")
    first.write_bytes(damage(first.read_bytes()))
    model.fail_at = None
    model.calls.clear()
    found = extract()
    assert sum(model.calls) == 8 + 7
    assert "is damaged" in caplog.text and first.name in caplog.text
    torch.testing.assert_close(found.linear_eval, by_hand(model, pictures.images), atol=1e-5, rtol=1e-5)


def test_no_flipped_bit_passes(model, pictures, tmp_path, caplog):
    def extract():
        return extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())

    wanted = extract().linear_eval
    path = min(tmp_path.rglob("shard-*"))
    data = path.read_bytes()
    for at in [*range(0, 900, 37), *range(900, len(data), 151), len(data) - 1]:  # head, digests, rows
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        caplog.clear()
        found = extract()
        assert torch.equal(found.linear_eval, wanted), at
        assert found.from_cache == (caplog.text == "") and ("is damaged" in caplog.text or at < 900), at
    assert extract().from_cache


@pytest.mark.parametrize(
    "spoil",
    [
        lambda features, digests: {"features": features[:-1], "digests": digests},
        lambda features, digests: {"features": features[:-1], "digests": digests[:-1]},
        lambda features, digests: {"features": features[:, 1:].contiguous(), "digests": digests},
        lambda features, digests: {"features": features.double(), "digests": digests},
        lambda features, digests: {"features": features.view(torch.int32), "digests": digests},
        lambda features, digests: {"features": features, "digests": digests[:, :16].contiguous()},
        lambda features, digests: {"features": features, "digests": digests.flip(0)},
        lambda features, digests: {"features": features.flatten(), "digests": digests},
        lambda features, digests: {"features": features},
        lambda features, digests: {},
    ],
)
def test_a_valid_file_of_other_numbers_is_not_read(model, pictures, tmp_path, spoil, caplog):
    wanted = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    path = min(tmp_path.rglob("shard-*"))
    with safe_open(path, "pt") as file:
        content, meta = [file.get_tensor(name).clone() for name in ("features", "digests")], file.metadata()
    save_file(spoil(*content), path, meta)
    model.calls.clear()
    found = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    assert "is damaged" in caplog.text and path.name in caplog.text and sum(model.calls) in (7, 8)
    torch.testing.assert_close(found.linear_eval, wanted.linear_eval)


def test_a_file_of_another_folder_is_not_read(model, pictures, tmp_path, caplog):
    how = {"cache_dir": tmp_path, "options": options(shard_size=100)}
    other = extract_features(model, pictures, preprocessing=Preprocessing(16, antialias=False), **how)
    (stranger,) = tmp_path.rglob("shard-*")
    wanted = extract_features(model, pictures, preprocessing=SMALL, **how)
    (own,) = set(tmp_path.rglob("shard-*")) - {stranger}
    own.write_bytes(stranger.read_bytes())
    found = extract_features(model, pictures, preprocessing=SMALL, **how)
    assert "is damaged" in caplog.text and not torch.equal(other.linear_eval, wanted.linear_eval)
    assert torch.equal(found.linear_eval, wanted.linear_eval)


def test_sets_that_share_pictures_share_rows(model, pictures, tmp_path):
    def extract(images):
        model.calls.clear()
        found = extract_features(model, images, preprocessing=SMALL, cache_dir=tmp_path, options=options())
        return found, sum(model.calls)

    whole, _ = extract(pictures)
    order = torch.tensor([22, 3, 3, 17, 0])
    some, computed = extract(pictures.subset(order))
    assert computed == 0 and some.from_cache and torch.equal(some.linear_eval, whole.linear_eval[order])
    assert torch.equal(some.labels, pictures.labels[order])
    more, computed = extract(torch.cat([pictures.images[:9], pictures.images[:1] ^ 1, pictures.images[9:]]))
    assert computed == 1 and not more.from_cache
    assert torch.equal(more.linear_eval[[*range(9), *range(10, 24)]], whole.linear_eval)


KILLED = """
import os, signal, sys
import torch
from dinov2_edu.features import ExtractOptions, Preprocessing, extract_features
from dinov2_edu.vit import VisionTransformer, ViTConfig

torch.set_num_threads(1)
torch.manual_seed(0)
model = VisionTransformer(ViTConfig(img_size=16, patch_size=8, width=16, depth=2, heads=2))
images = torch.randint(0, 256, (40, 3, 12, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
how = ExtractOptions(precision="float32", batch_size=3, shard_size=8, progress=False)
place, die, written, real = sys.argv[1], sys.argv[2] == "die", [], os.replace

def replace(*names):
    real(*names)
    written.append(names)

def fsync(handle):
    if die and len(written) == 2:  # while the third shard is written
        os.kill(os.getpid(), signal.SIGKILL)

os.replace, os.fsync = replace, fsync
found = extract_features(model, images, preprocessing=Preprocessing(size=16), cache_dir=place, options=how)
sys.stdout.buffer.write(found.linear_eval.numpy().tobytes())
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    def run(folder, die=""):
        arguments = [sys.executable, "-c", KILLED, tmp_path / folder, die]
        return subprocess.run(arguments, capture_output=True, check=False)

    wanted = run("whole")
    assert wanted.returncode == 0, wanted.stderr
    assert run("killed", "die").returncode == -signal.SIGKILL
    assert len(list((tmp_path / "killed").glob("*/shard-*"))) == 2
    assert list((tmp_path / "killed").rglob(".*.part"))
    again = run("killed")
    assert again.stdout == wanted.stdout and len(wanted.stdout) == 4 * 40 * 32
    assert not list((tmp_path / "killed").rglob(".*.part"))  # what was half written is gone


@contextlib.contextmanager
def read_only(folder):
    """Nobody may write here; the super-user, whom permissions do not stop, becomes somebody else meanwhile."""
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        if os.geteuid() == 0:
            os.seteuid(65534)
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for path in paths:
            path.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
@pytest.mark.parametrize("with_lock", [True, False])
def test_a_finished_cache_on_a_read_only_disk_is_read(model, pictures, with_lock):
    with tempfile.TemporaryDirectory() as place:  # not tmp_path: others may not look into that
        folder = Path(place, "features")
        Path(place).chmod(0o755)

        def extract(images):
            return extract_features(model, images, preprocessing=SMALL, cache_dir=folder, options=options())

        wanted = extract(pictures)
        model.calls.clear()
        if not with_lock:
            next(folder.rglob(".lock")).unlink()
        with read_only(folder):
            found, some = extract(pictures), extract(pictures.images[3:5])
            with pytest.raises(
                CacheError, match=r"lacks some of these pictures, and features cannot be kept in .*another"
            ):
                extract(pictures.images ^ 1)
        assert found.from_cache and torch.equal(found.linear_eval, wanted.linear_eval)
        assert torch.equal(some.linear_eval, wanted.linear_eval[3:5]) and model.calls == []


def test_writing_to_features_leaves_the_cache_alone(model, pictures, tmp_path):
    first = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    first.linear_eval.zero_()
    again = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    assert again.linear_eval.abs().min(dim=1).values.max() > 0


@pytest.mark.parametrize("full_at", [0, 1])
def test_full_disk_keeps_what_was_finished(model, pictures, tmp_path, monkeypatch, full_at):
    written, real = [], os.fsync

    def fsync(handle):
        written.append(handle)
        if len(written) > full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    def extract():
        return extract_features(
            model,
            pictures,
            preprocessing=SMALL,
            cache_dir=tmp_path,
            options=options(shard_size=12, batch_size=12),
        )

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        message = r"disk is full.*kept.*make room and run the same call again"
        with pytest.raises(CacheError, match=message) as refused:
            extract()
    assert not list(tmp_path.rglob(".*.part"))
    model.calls.clear()
    found = extract()
    assert sum(model.calls) == {0: 23, 1: 11}[full_at] and not found.from_cache
    del refused  # held until here, and with it everything that it saw: the lock was let go all the same
    torch.testing.assert_close(found.linear_eval, by_hand(model, pictures.images), atol=1e-5, rtol=1e-5)


def test_cache_that_cannot_be_made_is_named(model, pictures, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        CacheError, match=r"features cannot be kept in .*file.*: .*; choose another cache_dir"
    ):
        extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path / "file", options=options())


def test_second_run_on_one_cache_waits_or_gives_up(model, pictures, tmp_path, caplog):
    wanted = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    (path,) = tmp_path.rglob(".lock")
    lock = filelock.FileLock(path, thread_local=False)
    lock.acquire()
    with pytest.raises(
        CacheError,
        match=r"another process keeps features in .*, for 0.1 s already: .*or choose another cache_dir",
    ):
        extract_features(
            model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options(wait_s=0.1)
        )
    timer = threading.Timer(0.3, lock.release)
    timer.start()
    found = extract_features(
        model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options(wait_s=30)
    )
    timer.join()
    assert found.from_cache and torch.equal(found.linear_eval, wanted.linear_eval)
    assert "waiting" in caplog.text


def test_two_runs_at_once_compute_once(model, pictures, tmp_path):
    found = []

    def extract():
        found.append(
            extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
        )

    threads = [threading.Thread(target=extract) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(found[0].linear_eval, found[1].linear_eval)
    assert sorted(one.from_cache for one in found) == [False, True] and sum(model.calls) == 23
