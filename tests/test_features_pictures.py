"""Extraction from folders and lists of pictures, good and bad ones."""

import hashlib
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_features import SMALL, by_hand, counted_model, noise_pictures, options, save, two_classes
from torchvision import datasets

from dinov2_edu.features import Preprocessing, extract_features, sources
from dinov2_edu.pictures import PictureError, ahead
from dinov2_edu.vit import fingerprint


@pytest.fixture
def model():
    return counted_model()


@pytest.fixture
def pictures():
    return noise_pictures()


@pytest.fixture
def folder(tmp_path):
    return two_classes(tmp_path / "set")


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
    pictures = sources.as_pictures([plain, turned, *indexed, plain.copy()])
    pieces = list(pictures.pieces(0, 5, lambda digest: False))
    found = dict(pair for piece in pieces for pair in zip(piece.rows, piece.digests, strict=True))
    assert len(set(found.values())) == 4 and found[0] == found[4]


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


class Unlucky:
    """A reader that fails once."""

    def __init__(self, real, error):
        self.real, self.errors, self.lock = real, [error], threading.Lock()

    def __call__(self, *args):
        with self.lock:
            error = self.errors.pop() if self.errors else None
        if error is not None:
            raise error
        return self.real(*args)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("read_rgb", MemoryError()),
        ("contents", PictureError("too many files are open")),
        ("read_rgb", PictureError("it is damaged or cut short")),  # so it seemed
    ],
)
def test_a_failure_that_passed_is_not_remembered(model, folder, tmp_path, monkeypatch, name, error):
    def extract():
        return extract_features(
            model, folder, preprocessing=SMALL, cache_dir=tmp_path / "c", on_error="skip", options=options()
        )

    monkeypatch.setattr(ahead, name, Unlucky(getattr(ahead, name), error))
    first = extract()
    assert len(first) == 5 and len(first.skipped) == 1 and "(1 skipped)" in first.provenance
    model.calls.clear()
    again = extract()
    assert len(again) == 6 and again.skipped == () and sum(model.calls) == 1 and not again.from_cache
    assert "skipped" not in again.provenance
    wanted = extract_features(model, folder, preprocessing=SMALL, options=options())
    torch.testing.assert_close(again.linear_eval, wanted.linear_eval, atol=1e-5, rtol=1e-5)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, 32, 32, dtype=torch.bfloat16),
        torch.zeros(3, 32, 32, device="meta"),
        torch.zeros(3, 32, 32).to_sparse(),
    ],
    ids=["bfloat16", "meta", "sparse"],
)
def test_a_tensor_that_numpy_cannot_read_is_skipped_like_any_picture(model, tensor):
    images = [Image.new("RGB", (9, 9)), tensor]
    with pytest.raises(PictureError, match="wanted pixels as uint8"):
        extract_features(model, images, preprocessing=SMALL, options=options())
    found = extract_features(model, images, preprocessing=SMALL, on_error="skip", options=options())
    assert len(found) == 1 and "wanted pixels as uint8" in found.skipped[0][1]


@pytest.mark.bad_input
def test_a_limit_since_lifted_is_not_remembered(model, folder, tmp_path, monkeypatch):
    cut = folder / "x" / "1.jpg"
    save(np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8), cut)
    cut.write_bytes(cut.read_bytes()[:-90])

    def extract(on_error="skip"):
        return extract_features(
            model, folder, preprocessing=SMALL, cache_dir=tmp_path / "c", on_error=on_error, options=options()
        )

    with monkeypatch.context() as limit:
        limit.setattr("PIL.Image.MAX_IMAGE_PIXELS", 500)
        assert "MAX_IMAGE_PIXELS" in extract().skipped[0][1]  # 40 x 40 pixels are too many
    assert "cut short" in extract().skipped[0][1]
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    assert len(extract()) == len(extract("raise")) == 7


def test_each_picture_is_read_and_decoded_once(model, folder, tmp_path, monkeypatch):
    paths = sorted(folder.rglob("*.png"))
    loaded = [Image.open(path).copy() for path in paths]
    calls = []

    def counted(name, real, *args):
        calls.append(name)
        return real(*args)

    for name in ("contents", "read_rgb"):
        monkeypatch.setattr(ahead, name, partial(counted, name, getattr(ahead, name)))

    def extract(images, cache_dir=tmp_path / "c"):
        calls.clear()
        found = extract_features(
            model, images, preprocessing=SMALL, cache_dir=cache_dir, options=options(shard_size=4)
        )
        return found.from_cache, calls.count("contents"), calls.count("read_rgb")

    assert extract(folder) == (False, 6, 6)
    assert extract(folder) == (True, 6, 0)
    assert extract([Image.open(path) for path in paths]) == (True, 6, 0)  # opened, they are their files
    assert extract(loaded) == (False, 6, 6)
    assert extract(loaded) == (True, 6, 6)  # in memory their pixels are what is hashed
    for images in (folder, loaded):
        assert extract(images, None) == (False, 0, 6)


def test_without_a_cache_no_picture_is_hashed(model, folder, pictures, monkeypatch):
    weights = fingerprint(model)
    monkeypatch.setattr("dinov2_edu.features.extract.fingerprint", lambda model: weights)
    monkeypatch.setattr(hashlib, "sha256", lambda *args: pytest.fail("hashed"))
    for images in (folder, pictures, [Image.new("RGB", (9, 9))]):
        assert len(extract_features(model, images, preprocessing=SMALL, options=options())) > 0


def test_a_picture_written_over_during_the_run_keeps_its_own_name(model, folder, tmp_path, monkeypatch):
    target, other = folder / "x" / "1.png", (folder / "y" / "4.png").read_bytes()
    old, real = target.read_bytes(), ahead.contents

    def contents(picture):
        found = real(picture)
        if picture == target:
            target.write_bytes(other)  # right after it was read
        return found

    def extract(cache_dir=tmp_path / "c"):
        return extract_features(model, folder, preprocessing=SMALL, cache_dir=cache_dir, options=options())

    close = partial(torch.testing.assert_close, atol=1e-5, rtol=1e-5)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(ahead, "contents", contents)
        extract()
    now = extract()
    close(now.linear_eval, extract(None).linear_eval)
    target.write_bytes(old)
    before = extract()
    assert before.from_cache
    close(before.linear_eval, extract(None).linear_eval)


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
    for changes, message in [
        ({"precision": "int8"}, "precision must be .auto. or"),
        ({"shard_size": 0}, "shard_size"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            options(**changes)
    for changes, message in [
        ({"size": 0}, "size must be at least 1, got 0"),
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
