"""Extraction against a plain loop, the cache against everything that can go wrong with it, and the maps."""

import copy
import errno
import json
import os
import threading
import time
import tracemalloc
import weakref
from functools import partial
from typing import ClassVar

import filelock
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA
from torchvision import datasets
from torchvision.transforms import v2

from dinov2_edu.data import ImageSet
from dinov2_edu.features import (
    BLOG_POST,
    OFFICIAL_EVAL,
    CacheError,
    ExtractOptions,
    PictureError,
    Preprocessing,
    attention_over_patches,
    extract_features,
    job,
    pca_colours,
    runner,
    sources,
    top_share_mask,
)
from dinov2_edu.features.cache import FeatureCache
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD
from dinov2_edu.vit import VisionTransformer, ViTConfig

CONFIG = ViTConfig(img_size=16, patch_size=8, width=16, depth=3, heads=2, n_registers=2, layer_scale=None)
SMALL = Preprocessing(size=16)


class Counted(VisionTransformer):
    """A backbone that notes how many images each call got, and can be told to fail."""

    calls: ClassVar[list[int]] = []  # shared with the copy that the extraction makes
    fail_at: int | None = None
    most = 10**9

    def intermediate_layers(self, images, layers, *, norm=True):
        if len(images) > self.most:
            raise torch.cuda.OutOfMemoryError("no room")
        if self.fail_at is not None and len(self.calls) >= self.fail_at:
            raise KeyboardInterrupt
        self.calls.append(len(images))
        return super().intermediate_layers(images, layers, norm=norm)


@pytest.fixture
def model():
    torch.manual_seed(0)
    Counted.calls.clear()
    return Counted(CONFIG)


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (23, 3, 12, 12), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.arange(23) % 4, ("a", "b", "c", "d"), "noise")


def options(**changes):
    return ExtractOptions(
        **{
            "precision": "float32",
            "batch_size": 5,
            "shard_size": 8,
            "progress": False,
            "wait_s": 20,  # a lock that is not let go fails a test, it does not stop the suite
            **changes,
        }
    )


def by_hand(model, images, preprocessing=SMALL):
    """Class token and mean patch token, one image at a time."""
    rows = []
    with torch.no_grad():
        for image in images:
            tokens = copy.deepcopy(model).eval().forward(preprocessing(image[None]))
            rows.append(torch.cat([tokens.cls[0], tokens.patches[0].mean(dim=0)]))
    return torch.stack(rows)


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of three pictures, of two sizes in turn."""
    rng = np.random.default_rng(0)
    for number in range(6):
        size = (12 + number % 2, 14, 3)
        save(
            rng.integers(0, 256, size, dtype=np.uint8), tmp_path / "set" / "xy"[number // 3] / f"{number}.png"
        )
    return tmp_path / "set"


# -- preprocessing


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(
    ("shape", "size", "resize"), [((32, 32), 56, None), ((90, 61), 28, 31), ((20, 31), 42, 47)]
)
def test_preprocessing_equals_torchvision(interpolation, antialias, shape, size, resize):
    images = torch.randint(
        0, 256, (3, 3, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    mode = v2.InterpolationMode(interpolation)
    resized = v2.functional.resize(images / 255, [resize or size], interpolation=mode, antialias=antialias)
    cropped = v2.functional.center_crop(resized.clamp(0, 1), [size, size])
    expected = v2.functional.normalize(cropped, list(IMAGENET_MEAN), list(IMAGENET_STD))
    found = Preprocessing(size, resize, interpolation, antialias)(images)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("preprocessing", [BLOG_POST, OFFICIAL_EVAL])
def test_preprocessing_is_within_rounding_of_pil(preprocessing):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    smooth = Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)
    mode = v2.InterpolationMode(preprocessing.interpolation)
    pil = v2.functional.resize(smooth, [preprocessing.resize or preprocessing.size], interpolation=mode)
    pil = v2.functional.center_crop(pil, [preprocessing.size] * 2)
    expected = v2.functional.normalize(
        v2.functional.pil_to_tensor(pil) / 255, preprocessing.mean, preprocessing.std
    )
    found = preprocessing(torch.from_numpy(np.array(smooth)).permute(2, 0, 1)[None])[0]
    away = 255 * (found - expected).abs() * min(preprocessing.std)  # in steps of a byte
    assert (
        away.mean() < 0.6 and away.quantile(0.99) < 1.5 and away.max() < 8
    )  # PIL clips between its passes too


def test_preprocessing_says_what_it_does():
    assert str(OFFICIAL_EVAL) == "bicubic (antialiased) to 256, centre 224, ImageNet statistics"
    assert str(BLOG_POST) == "bilinear (antialiased) to 224, CIFAR-10 statistics"


# -- extraction


@pytest.mark.parametrize("batch_size", [1, 5, 100, None])
def test_features_equal_a_plain_loop(model, pictures, batch_size):
    found = extract_features(model, pictures, preprocessing=SMALL, options=options(batch_size=batch_size))
    expected = by_hand(model, pictures.images)
    torch.testing.assert_close(torch.cat([found.cls, found.patch_mean], 1), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found.labels, pictures.labels) and torch.equal(found.indices, torch.arange(23))
    assert found.class_names == pictures.class_names and found.skipped == () and not found.from_cache


def test_linear_eval_holds_the_last_layers_in_order(model, pictures):
    found = extract_features(model, pictures.images, preprocessing=SMALL, options=options(n_layers=2))
    with torch.no_grad():
        images = SMALL(pictures.images)
        _, second, last = model.eval().intermediate_layers(images, [0, 1, 2])
    expected = torch.cat([second.cls, last.cls, last.patches.mean(dim=1)], dim=1)
    torch.testing.assert_close(found.linear_eval, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found.cls, found.linear_eval[:, 16:32]) and found.labels is None


def test_model_is_left_as_it_was(model, pictures):
    model.train()
    before = copy.deepcopy(model.state_dict())
    extract_features(model, pictures, preprocessing=SMALL, options=options(precision="bfloat16"))
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    after = model.state_dict()
    assert all(
        torch.equal(before[name], after[name]) and after[name].dtype == torch.float32 for name in before
    )


def test_half_precision_keeps_the_direction(model, pictures):
    full = extract_features(model, pictures, preprocessing=SMALL, options=options())
    half = extract_features(model, pictures, preprocessing=SMALL, options=options(precision="bfloat16"))
    assert half.cls.dtype == torch.float32 and not torch.equal(full.cls, half.cls)
    assert torch.cosine_similarity(full.cls, half.cls).min() > 0.999


@pytest.mark.parametrize(
    ("bf16", "amx", "wanted"),
    [(True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, "float32")],
)
def test_precision_follows_the_chip(monkeypatch, bf16, amx, wanted):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert runner.best_precision(torch.device("cpu")) == wanted


@pytest.mark.parametrize(
    ("capability", "wanted"), [((6, 1), "float32"), ((7, 5), "float16"), ((8, 0), "bfloat16")]
)
def test_precision_follows_the_gpu(monkeypatch, capability, wanted):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert runner.best_precision(torch.device("cuda")) == wanted


def test_features_that_are_not_finite_are_refused_and_not_kept(model, pictures, tmp_path):
    with torch.no_grad():
        model.norm.bias[3] = float("inf")
    with pytest.raises(ValueError, match=r"8 of 8 rows are not finite in float32, first picture 0 of noise"):
        extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    assert not list(tmp_path.rglob("shard-*"))


def test_a_batch_that_does_not_fit_is_halved(model, pictures):
    model.most = 3
    found = extract_features(model, pictures, preprocessing=SMALL, options=options(batch_size=16))
    torch.testing.assert_close(found.cls, by_hand(model, pictures.images)[:, :16], atol=1e-5, rtol=1e-5)
    assert max(model.calls) <= 3
    model.most = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        extract_features(model, pictures, preprocessing=SMALL, options=options())


def test_provenance_names_what_made_the_numbers(model, pictures):
    model.name = "toy {1}"
    text = extract_features(model, pictures, preprocessing=SMALL, options=options()).provenance
    for part in ("toy {1}", "width 16", "noise, 23 pictures", str(SMALL), "float32 on cpu", "images/s"):
        assert part in text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_features_of_the_cpu(model, pictures, tmp_path):
    wanted = extract_features(model, pictures, preprocessing=SMALL, options=options())
    found = extract_features(
        copy.deepcopy(model).cuda(),
        pictures,
        preprocessing=SMALL,
        cache_dir=tmp_path,
        options=options(batch_size=None),
    )
    torch.testing.assert_close(found.linear_eval, wanted.linear_eval, atol=1e-2, rtol=1e-2)  # TF32
    there = extract_features(model, pictures.images.cuda(), preprocessing=SMALL, options=options())
    torch.testing.assert_close(there.linear_eval, wanted.linear_eval)


def test_progress_counts_images(model, pictures, capsys):
    extract_features(model, pictures, preprocessing=SMALL, options=options(progress=True))
    assert "23/23" in capsys.readouterr().err


# -- cache


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
    assert names == ["", ".json", ".json", ".npy"]  # lock, about, set: no shard is left
    about = json.loads(next(tmp_path.rglob("about.json")).read_text())
    assert about["precision"] == "float32 on cpu" and about["preprocessing"] == repr(SMALL)


def test_the_next_shard_is_computed_while_one_is_written(model, pictures, tmp_path, monkeypatch):
    real, computed = FeatureCache.write_shard, []

    def write_shard(self, key, shard):
        for _ in range(200):  # ends at once where the model goes on meanwhile
            if len(model.calls) > len(computed) + 1:
                break
            time.sleep(0.01)
        computed.append(len(model.calls))
        real(self, key, shard)

    monkeypatch.setattr(FeatureCache, "write_shard", write_shard)
    found = extract_features(
        model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options(batch_size=8)
    )
    assert computed[0] == 2  # the second shard was there before the first was written
    torch.testing.assert_close(found.linear_eval, by_hand(model, pictures.images), atol=1e-5, rtol=1e-5)


def test_memory_is_bounded_by_a_shard(model, tmp_path, monkeypatch):
    images = torch.zeros(3000, 3, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = torch.arange(3000) // 250, torch.arange(3000) % 250
    alive, most, real = weakref.WeakSet(), [], FeatureCache.write_shard

    def to_host(features):
        alive.add(features)
        most.append(len(alive))
        return features, lambda: None

    def write_slowly(self, key, shard):
        for _ in range(100 if len(most) < 3 else 0):  # the first one: how far does the model get meanwhile?
            time.sleep(0.01)
        real(self, key, shard)

    monkeypatch.setattr(job, "to_host", to_host)
    monkeypatch.setattr(FeatureCache, "write_shard", write_slowly)
    tracemalloc.start()  # sees what numpy and Python hold; what torch holds is counted above
    found = extract_features(
        model,
        images,
        preprocessing=Preprocessing(size=8),
        cache_dir=tmp_path,
        options=options(n_layers=3, shard_size=100, batch_size=100),
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(most) == 30 and max(most) <= 3  # one computed, one written, one just let go of
    assert found.linear_eval.shape == (3000, 64) and peak < found.linear_eval.nbytes / 2


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
    assert computed(images=pictures.images[:22]) and computed(images=pictures.images.flip(0))
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


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("set-*.npy", lambda data: data[:-4]),
        ("set-*.npy", lambda data: data + b"\0"),
        ("set-*.json", lambda data: data[:9]),
        ("set-*.json", lambda data: b"{}"),
    ],
)
def test_cut_set_is_computed_again(model, pictures, tmp_path, name, damage, caplog):
    first = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    wanted = first.linear_eval.clone()
    (path,) = tmp_path.rglob(name)
    data = path.read_bytes()
    path.unlink()  # not in place: the first result is mapped from this file
    path.write_bytes(damage(data))
    again = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    assert not again.from_cache and "is damaged" in caplog.text
    assert torch.equal(again.linear_eval, wanted)
    assert extract_features(
        model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options()
    ).from_cache


def test_writing_to_features_leaves_the_cache_alone(model, pictures, tmp_path):
    first = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    first.linear_eval.zero_()
    again = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    assert again.linear_eval.abs().min(dim=1).values.max() > 0


@pytest.mark.parametrize(
    "full_at", [0, 2, 3, 4]
)  # the description; a shard; the joined array; its description
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
    assert not list(tmp_path.rglob("*.tmp"))
    model.calls.clear()
    found = extract()
    assert sum(model.calls) == {0: 23, 2: 11, 3: 0, 4: 0}[full_at] and not found.from_cache
    del refused  # held until here, and with it everything that it saw: the lock was let go all the same
    torch.testing.assert_close(found.linear_eval, by_hand(model, pictures.images), atol=1e-5, rtol=1e-5)


def test_cache_that_cannot_be_made_is_named(model, pictures, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match=r"file.*cannot be written"):
        extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path / "file", options=options())


def test_second_run_on_one_cache_waits_or_gives_up(model, pictures, tmp_path, caplog):
    wanted = extract_features(model, pictures, preprocessing=SMALL, cache_dir=tmp_path, options=options())
    (path,) = tmp_path.rglob("lock")
    lock = filelock.FileLock(path, thread_local=False)
    lock.acquire()
    with pytest.raises(CacheError, match="another run is still filling the cache"):
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


# -- pictures of a folder and of a list


def test_folder_equals_its_pictures_one_by_one(model, folder, tmp_path):
    found = extract_features(model, folder, preprocessing=SMALL, cache_dir=tmp_path / "c", options=options())
    paths = sorted(folder.rglob("*.png"))
    images = [torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) for path in paths]
    torch.testing.assert_close(found.linear_eval, by_hand(model, images), atol=1e-5, rtol=1e-5)
    assert found.class_names == ("x", "y") and found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    as_list = extract_features(
        model, [Image.open(path) for path in paths], preprocessing=SMALL, options=options()
    )
    close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)  # other batches round otherwise
    close(as_list.linear_eval, found.linear_eval)
    assert as_list.labels is None
    flat = extract_features(model, folder / "y", preprocessing=SMALL, options=options())
    close(flat.linear_eval, found.linear_eval[3:])
    assert flat.labels is None


def test_labels_are_torchvisions(folder):
    save(np.zeros((9, 9), dtype=np.uint8), folder / "x" / "deeper" / "7.PNG")
    found, peer = sources.as_pictures(folder), datasets.ImageFolder(folder)
    assert list(found.class_names) == peer.classes == ["x", "y"]
    assert sorted(zip(map(str, found.items), found.labels.tolist(), strict=True)) == sorted(peer.samples)


def test_grey_and_transparent_files_of_any_size(model, tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (9, 15, 4), dtype=np.uint8)
    for name, array in {"grey": colours[:, :11, 0], "rgb": colours[..., :3], "rgba": colours}.items():
        save(array, tmp_path / "set" / f"{name}.png")
    found = extract_features(model, tmp_path / "set", preprocessing=SMALL, options=options())
    alpha = colours[..., 3:] / 255
    laid_on_white = (colours[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    wanted = [np.repeat(colours[:, :11, :1], 3, axis=2), colours[..., :3], laid_on_white]
    wanted = [torch.from_numpy(array.copy()).permute(2, 0, 1) for array in wanted]
    torch.testing.assert_close(found.linear_eval, by_hand(model, wanted), atol=1e-2, rtol=1e-2)


def test_pictures_in_memory_are_told_apart_as_they_are_seen():
    plain = Image.new("RGB", (4, 2), (1, 2, 3))
    turned = plain.copy()
    turned.getexif()[0x0112] = 6
    indexed = [Image.new("P", (4, 2)) for _ in range(2)]
    for number, picture in enumerate(indexed):  # the same indices, other colours
        picture.putpalette([10 * number, 0, 0] * 256)
    digests = list(sources.as_pictures([plain, turned, *indexed, plain.copy()]).digests())
    assert len(set(digests)) == 4 and digests[0] == digests[4]


@pytest.mark.bad_input
def test_corrupt_picture_is_refused_or_skipped_by_name(model, folder, tmp_path):
    good = extract_features(model, folder, preprocessing=SMALL, options=options())
    broken = folder / "x" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])

    def extract(on_error):
        return extract_features(
            model, folder, preprocessing=SMALL, cache_dir=tmp_path / "c", on_error=on_error, options=options()
        )

    with pytest.raises(PictureError, match=r"1\.png.*on_error='skip'"):
        extract("raise")
    found = extract("skip")
    kept = [0, 2, 3, 4, 5]
    assert found.indices.tolist() == kept and found.labels.tolist() == [0, 0, 1, 1, 1]
    torch.testing.assert_close(found.linear_eval, good.linear_eval[kept])
    assert found.skipped[0][0] == str(broken) and "5 pictures (1 skipped)" in found.provenance
    again = extract("skip")
    assert again.from_cache and again.skipped == found.skipped and again.indices.tolist() == kept
    with pytest.raises(PictureError, match=r"1\.png"):  # what the cache holds is no excuse
        extract("raise")


@pytest.mark.bad_input
def test_a_repaired_picture_costs_its_shard_only(model, folder, tmp_path):
    last = folder / "y" / "5.png"
    whole = last.read_bytes()
    last.write_bytes(b"no picture")

    def extract():
        return extract_features(
            model, folder, preprocessing=SMALL, cache_dir=tmp_path / "c", options=options(shard_size=2)
        )

    with pytest.raises(PictureError):
        extract()
    last.write_bytes(whole)
    model.calls.clear()
    assert len(extract()) == 6 and sum(model.calls) == 2


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "z").mkdir(), "class folders without a picture.*z"),
        (lambda folder: save(np.zeros((4, 4), np.uint8), folder / "a.png"), "beside class folders.*x, y"),
        (lambda folder: [path.write_bytes(b"") for path in folder.rglob("*.png")], "none of the 6 pictures"),
        (lambda folder: [path.unlink() for path in folder.rglob("*.png")], "class folders without a picture"),
    ],
)
def test_folders_that_cannot_be_used(model, folder, spoil, message):
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        extract_features(model, folder, preprocessing=SMALL, on_error="skip", options=options())


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 8, 8), "wanted uint8.*torch.uint8"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "wanted images b c height width"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), "permute"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "at least one image"),
        (torch.zeros(2, 4, 8, 8, dtype=torch.uint8), "3, height, width"),
        (np.zeros((2, 3, 8, 8), dtype=np.uint8), "torch.from_numpy"),
        ([], "empty list"),
        ([3], "holds a int"),
        ("no/such/folder", "there is no folder"),
        (["no/such/picture.png"], r"picture\.png: there is no such file"),
        ([Image.new("RGB", (200, 2))], "picture 0 of a list: .*at most 50 to 1"),
        ([Image.new("F", (4, 4))], r"scale them to 0\.\.255"),
    ],
)
def test_pictures_that_cannot_be_used(model, images, message):
    with pytest.raises(ValueError, match=message):
        extract_features(model, images, preprocessing=SMALL, options=options())


@pytest.mark.bad_input
def test_settings_that_cannot_be_used(model, pictures):
    def refused(message, model=model, **changes):
        with pytest.raises(ValueError, match=message):
            extract_features(model, pictures, **{"preprocessing": SMALL, "options": options(), **changes})

    refused("not a multiple of the patch size 8: try 16", preprocessing=Preprocessing(size=18))
    refused("on_error", on_error="ignore")
    refused("VisionTransformer, got Linear", model=torch.nn.Linear(2, 2))
    refused("1 to 3.*got 4", options=options(n_layers=4))
    refused("batch_size", options=options(batch_size=0))
    for changes, message in [
        ({"precision": "int8"}, "precision must be one of"),
        ({"shard_size": 0}, "shard_size"),
    ]:
        with pytest.raises(ValueError, match=message):
            options(**changes)
    for changes, message in [
        ({"size": 0}, "at least 1 pixel"),
        ({"size": 32, "resize": 16}, "must be at least size"),
        ({"interpolation": "nearest"}, "bicubic"),
        ({"std": (0.0, 1.0, 1.0)}, "above 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            Preprocessing(**changes)


def test_grey_tensor_counts_three_times(model):
    grey = torch.randint(
        0, 256, (2, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    one = extract_features(model, grey, preprocessing=SMALL, options=options())
    three = extract_features(model, grey.repeat(1, 3, 1, 1), preprocessing=SMALL, options=options())
    assert torch.equal(one.cls, three.cls)


# -- maps


def test_attention_leaves_out_class_token_and_registers(model):
    image = torch.randn(3, 16, 24, generator=torch.Generator().manual_seed(0))
    found = attention_over_patches(model, image, layer=1)
    whole = model.attention_maps(image[None], 1)[0].detach()
    assert found.shape == (2, 2, 3) and found.dtype == np.float32
    for head in range(2):
        for row in range(2):
            for col in range(3):
                assert found[head, row, col] == pytest.approx(
                    whole[head, 0, 3 + 3 * row + col].item(), rel=1e-5
                )
    assert (found.sum(axis=(1, 2)) < 1).all()


def test_top_share_marks_the_fewest_patches():
    attention = np.array([[[0.4, 0.1], [0.2, 0.3]], [[0.0, 0.0], [0.0, 2.0]]])
    marked = top_share_mask(attention, 0.6)
    assert marked.tolist() == [[[True, False], [False, True]], [[False, False], [False, True]]]
    assert top_share_mask(attention, 1.0)[0].all()
    assert top_share_mask(attention, 0.7)[0].sum() == 2 and top_share_mask(attention, 0.71)[0].sum() == 3


def two_kinds(seed=0):
    """Tokens of three images: the first half background, the second foreground with a plane of its own."""
    rng = np.random.default_rng(seed)
    tokens = 0.05 * rng.standard_normal((3, 10, 6))
    tokens[:, 5:, 0] += 9
    tokens[:, 5:, 1:4] += rng.standard_normal((3, 5, 3)) * [3, 2, 1]
    return tokens


def test_pca_colours_split_and_colour_the_foreground():
    tokens = two_kinds()
    found = pca_colours(torch.from_numpy(tokens))
    foreground = np.zeros((3, 10), dtype=bool)
    foreground[:, 5:] = True
    assert (found.foreground == foreground).all() and (found.colours[~foreground] == 0).all()
    scores = PCA(3).fit(tokens[foreground])
    expected = scores.transform(tokens[foreground])
    for component in range(3):
        own = found.colours[foreground][:, component]
        assert own.min() == 0 and own.max() == 1
        assert abs(np.corrcoef(own, expected[:, component])[0, 1]) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found.explained, scores.explained_variance_ratio_, rtol=1e-5)


def test_pca_colours_can_be_turned_inside_out():
    tokens = two_kinds()
    high = pca_colours(tokens).foreground
    low = pca_colours(tokens, foreground_high=False).foreground
    assert (high == ~low).all()
    flipped = pca_colours(-tokens)  # another sign of the tokens, the same rule for the sign of a component
    assert (flipped.foreground == ~high).all()
    assert pca_colours(tokens, threshold=-5.0).foreground.all()
    assert pca_colours(tokens, n_components=2).colours.shape == (3, 10, 2)


@pytest.mark.bad_input
def test_maps_refuse_what_they_cannot_draw(model):
    with pytest.raises(ValueError, match="one image"):
        attention_over_patches(model, torch.zeros(2, 3, 16, 16))
    with pytest.raises(ValueError, match="multiples of the patch size"):
        attention_over_patches(model, torch.zeros(3, 16, 17))
    with pytest.raises(ValueError, match="floating-point"):
        attention_over_patches(model, torch.zeros(3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="layer 3 does not exist"):
        attention_over_patches(model, torch.zeros(3, 16, 16), layer=3)
    with pytest.raises(ValueError, match="heads x rows x columns"):
        top_share_mask(np.ones((2, 2)))
    with pytest.raises(ValueError, match="negative"):
        top_share_mask(-np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="share"):
        top_share_mask(np.ones((1, 2, 2)), 0)
    with pytest.raises(ValueError, match="stack the images"):
        pca_colours(np.ones((4, 6)))
    with pytest.raises(ValueError, match="not finite"):
        pca_colours(np.full((1, 4, 6), np.nan))
    with pytest.raises(ValueError, match=r"too few.*lower"):
        pca_colours(two_kinds(), threshold=99.0)
    with pytest.raises(ValueError, match="n_components"):
        pca_colours(two_kinds(), n_components=7)
