"""Patterns10 is what it says; CIFAR-10 comes whole and sorted from every source, or not at all."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import itertools
import json
import lzma
import os
import shutil
import tarfile
import threading
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dinov2_edu.data import (
    CIFAR10_CLASSES,
    PATTERN_CLASSES,
    SAMPLE_IMAGES,
    DataUnavailable,
    ImageSet,
    cache_dir,
    cifar,
    cifar10_or_patterns,
    class_folders,
    load_cifar10,
    patterns,
    patterns10,
    sample_image,
    sample_photos,
    store,
)
from dinov2_edu.data.imageset import even_rows

REAL_CIFAR10 = os.environ.get("DINOV2_EDU_CIFAR10")  # read before the fixture below hides it
FOLDERS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Give every test a cache of its own and no data set from outside."""
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DINOV2_EDU_CIFAR10", raising=False)
    monkeypatch.delenv("DINOV2_EDU_OFFLINE", raising=False)
    monkeypatch.delenv("DINOV2_EDU_MIRROR", raising=False)


# --- ImageSet


def a_set(n: int = 4) -> ImageSet:
    images = torch.arange(n * 12, dtype=torch.uint8).reshape(n, 3, 2, 2)
    return ImageSet(images, torch.arange(n) % 2, ("even", "odd"), "numbers")


def test_subset_keeps_order_and_says_how_many():
    chosen = a_set().subset([3, 0])
    assert chosen.images[:, 0, 0, 0].tolist() == [36, 0]
    assert chosen.labels.tolist() == [1, 0]
    assert chosen.name == "numbers, 2 of 4 pictures" and len(chosen) == 2
    for dtype in (torch.uint8, torch.int16):  # torch itself takes bytes for a mask, and refuses int16
        assert a_set().subset(torch.tensor([3, 0], dtype=dtype)).images[:, 0, 0, 0].tolist() == [36, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(4, 3, 2, 2)}, "uint8"),
        ({"images": torch.zeros(4, 2, 2, 3, dtype=torch.uint8)}, "permute"),
        ({"images": torch.zeros(0, 3, 2, 2, dtype=torch.uint8), "labels": torch.arange(0)}, "at least one"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"shape \(4,\)"),
        ({"labels": torch.zeros(4)}, r"wanted an integer tensor of shape \(n,\)"),
        ({"labels": torch.full((4,), 2)}, "0 to 1, got 2 to 2"),
    ],
)
def test_image_set_refuses_what_does_not_fit_together(change, message):
    good = a_set()
    fields = {"images": good.images, "labels": good.labels, "class_names": good.class_names, "name": ""}
    with pytest.raises(ValueError, match=message):
        ImageSet(**{**fields, **change})


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "list of indices"),
        ([4], "0 to 3"),
        ([-1], "0 to 3"),
        ([0.5], "whole"),
        ([True] * 4, "mask.nonzero"),
    ],
)
@pytest.mark.bad_input
def test_subset_refuses_indices(indices, message):
    with pytest.raises(ValueError, match=message):
        a_set().subset(indices)


# --- Patterns10


def test_patterns_are_the_same_every_time_and_a_short_set_begins_a_long_one():
    long = patterns10(530, seed=3)  # more than one chunk
    assert torch.equal(long.images, patterns10(530, seed=3).images)
    assert torch.equal(long.images[:37], patterns10(37, seed=3).images)
    assert torch.equal(long.images[:511], patterns10(511, seed=3).images)


def test_patterns_are_balanced_and_named():
    data = patterns10(30, split="test", size=24)
    assert data.images.shape == (30, 3, 24, 24)
    assert data.labels.bincount().tolist() == [3] * 10
    assert data.class_names == PATTERN_CLASSES and len(set(PATTERN_CLASSES)) == 10
    assert data.name == "Patterns10, test split, 24 px, seed 0" and data.notice == ""


def test_splits_and_seeds_share_no_picture():
    sets = [patterns10(200, split=split, seed=seed) for split in ("train", "test") for seed in (0, 1, 2)]
    pictures = {image.numpy().tobytes() for data in sets for image in data.images}
    assert len(pictures) == 6 * 200


def test_another_size_shows_the_same_picture():
    small, large = (patterns10(20, size=size).images.double() for size in (32, 96))
    averaged = torch.nn.functional.avg_pool2d(large, 3)
    pairs = zip(small.flatten(1), averaged.flatten(1), strict=True)
    assert min(torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs) > 0.8


def spectrum(images: torch.Tensor) -> torch.Tensor:
    """Share of each frequency, and how unevenly it spreads over directions: nothing of colour or place."""
    grey = images.float().mean(1)
    window = torch.hann_window(32)
    grey = (grey - grey.mean((1, 2), keepdim=True)) * window * window[:, None]
    power = torch.fft.fftshift(torch.fft.fft2(grey).abs(), dim=(1, 2))
    power = power / power.norm(dim=(1, 2), keepdim=True)
    down, across = torch.meshgrid(torch.arange(32.0) - 16, torch.arange(32.0) - 16, indexing="ij")
    radius, sector = (
        torch.hypot(down, across).round(),
        (torch.atan2(down, across) % torch.pi) // (torch.pi / 12),
    )
    found = []
    for r in range(1, 16):
        energy = torch.stack([power[:, (radius == r) & (sector == s)].sum(1) for s in range(12)], dim=1)
        found += [energy.sum(1, keepdim=True), torch.fft.rfft(energy, dim=1).abs()[:, 1:]]
    return torch.cat(found, dim=1)


def test_pixels_say_little_and_texture_says_much():
    train, test = patterns10(2000), patterns10(500, split="test")
    pixels = KNeighborsClassifier(5).fit(train.images.flatten(1), train.labels)
    assert 0.08 < pixels.score(test.images.flatten(1), test.labels) < 0.3
    colours = KNeighborsClassifier(5).fit(train.images.float().mean((2, 3)), train.labels)
    assert colours.score(test.images.float().mean((2, 3)), test.labels) < 0.2
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    probe.fit(spectrum(train.images), train.labels)
    assert probe.score(spectrum(test.images), test.labels) > 0.75  # one spectrum for four pieces that differ


def test_a_picture_is_a_quilt_of_four_pieces():
    line = (torch.arange(64) + 0.5) / 64
    draws = torch.rand(3, 30, generator=torch.Generator().manual_seed(0))
    maps = patterns._pieces(draws, line)  # m 7 s s
    for picture, numbers in zip(maps, draws, strict=True):
        pieces = numbers[2:].view(4, 7)
        corners = picture[
            :, [0, 0, -1, -1], [0, -1, 0, -1]
        ].T  # top left, top right, bottom left, bottom right
        assert torch.equal(corners, pieces)
        for edge, cut in ((picture[0, 0, :], numbers[0]), (picture[0, :, 0], numbers[1])):
            assert abs((edge == edge[0]).double().mean() - (0.35 + 0.3 * cut)) <= 1 / 64
        assert torch.unique(picture[0]).numel() == 4


def turned(x, y, degrees):
    angle = torch.tensor(degrees * torch.pi / 180, dtype=torch.float64)
    return x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()


SYMMETRIES = {  # a map of the plane that leaves the texture as it is, and one that does not
    "stripes": (lambda x, y: (x + 1, y + 0.3), lambda x, y: (y, x)),
    "zigzags": (lambda x, y: (x, y + 2), lambda x, y: (x, y + 1)),
    "bricks": (lambda x, y: (x + 0.9, y + 1), lambda x, y: (x, y + 1)),
    "dots": (lambda x, y: turned(x, y, 60), lambda x, y: turned(x, y, 30)),
    "rings": (lambda x, y: turned(x, y, 60), lambda x, y: turned(x, y, 30)),
    "crosses": (lambda x, y: turned(x, y, 90), lambda x, y: (-x, y)),
    "cells": (lambda x, y: (x + 16, y - 16), lambda x, y: (x + 1, y)),
    "grain": (lambda x, y: (x + 32, y - 32), lambda x, y: (x + 1, y)),
}


def depth(name, x, y, knob=0.5):
    table = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return patterns._FIELDS[name](x, y, torch.full((1, 1, 1), knob, dtype=torch.float64), table)


@pytest.fixture
def plane():
    uniform = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (10 * uniform - 5).unbind(0)


@pytest.mark.parametrize("name", SYMMETRIES)
def test_textures_have_the_symmetry_of_their_name(name, plane):
    keeps, changes = SYMMETRIES[name]
    before = depth(name, *plane)
    torch.testing.assert_close(depth(name, *keeps(*plane)), before, atol=1e-9, rtol=0)
    assert (depth(name, *changes(*plane)) - before).abs().max() > 0.1


def test_checks_change_colour_from_field_to_field(plane):
    x, y = plane
    torch.testing.assert_close(depth("checks", x + 1, y), -depth("checks", x, y), atol=1e-9, rtol=0)
    torch.testing.assert_close(depth("checks", x + 1, y + 1), depth("checks", x, y), atol=1e-9, rtol=0)


def test_every_texture_has_ink_and_paper(plane):
    for name in PATTERN_CLASSES:
        share = [(depth(name, *plane, knob=knob) > 0).double().mean().item() for knob in (0.0, 1.0)]
        assert 0.1 < min(share) and max(share) < 0.85 and share[0] != share[1], name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "at least 1"),
        ({"n": 2.5}, "whole number"),
        ({"n": 1, "split": "val"}, "split must be 'train' or 'test', got 'val'"),
        ({"n": 1, "size": 4}, "at least 8"),
        ({"n": 1, "seed": -1}, "from 0"),
    ],
)
def test_patterns_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        patterns10(**arguments)


# --- CIFAR-10 from pictures


def colour_of(split: str, label: int, index: int) -> tuple[int, int, int]:
    return (200 if split == "test" else 100, 20 * label, 10 * index)


def write_pictures(folder, per_class: int = 2, size: int = 8):
    """Write a small stand-in for CIFAR-10 whose plain colours say split, class and number of each picture."""
    for split in ("train", "test"):
        for label, name in enumerate(FOLDERS):
            (folder / split / name).mkdir(parents=True)
            for index in range(per_class):
                picture = Image.new("RGB", (size, size), colour_of(split, label, index))
                picture.save(folder / split / name / f"{index:04d}.png")
    return folder


@pytest.fixture
def source(tmp_path):
    return write_pictures(tmp_path / "pictures")


def pack(folder, archive, packing="xz"):
    with tarfile.open(archive, f"w:{packing}") as tar:
        tar.add(folder, arcname="cifar10")
    return archive


def assert_is_stand_in(data: ImageSet, split: str) -> None:
    expected = [colour_of(split, label, index) for label in range(10) for index in range(2)]
    assert data.images[:, :, 0, 0].tolist() == [list(colour) for colour in expected]
    assert data.labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert data.class_names == CIFAR10_CLASSES == ("plane", "car", *FOLDERS[2:])
    assert data.notice == "" and f"{split} split" in data.name


@pytest.mark.parametrize("kind", ["folder", "parent", "archive", "folder of archive", "environment"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_pictures_load_sorted_by_class_from_every_layout(source, tmp_path, monkeypatch, kind, split):
    root = source
    if kind == "parent":
        (tmp_path / "above").mkdir()
        source.rename(tmp_path / "above" / "cifar10")
        root = tmp_path / "above"
    elif "archive" in kind:
        (tmp_path / "above").mkdir()
        archive = pack(source, tmp_path / "above" / "pictures.tar.xz")
        root = archive.parent if "folder" in kind else archive
    elif kind == "environment":
        monkeypatch.setenv("DINOV2_EDU_CIFAR10", str(source))
        root = None
    assert_is_stand_in(load_cifar10(split, root=root), split)


def test_the_second_load_decodes_nothing(source, tmp_path, monkeypatch):
    archive = pack(source, tmp_path / "a.tar.xz")
    load_cifar10("train", root=archive)
    monkeypatch.setattr(class_folders, "_decode", lambda picture: pytest.fail("decoded again"))
    monkeypatch.setattr(store, "write_whole", lambda *_: pytest.fail("wrote again"))
    assert_is_stand_in(load_cifar10("train", root=archive), "train")
    assert_is_stand_in(load_cifar10("test", root=archive), "test")


@pytest.mark.parametrize("packed", [True, False])
def test_a_changed_source_is_never_read_from_the_old_cache(source, tmp_path, packed):
    root = pack(source, tmp_path / "a.tar.xz") if packed else source
    load_cifar10("train", root=root)
    changed = source / "train" / "airplane" / "0000.png"
    Image.new("RGB", (8, 8), (7, 7, 7)).save(changed)
    os.utime(changed, ns=(1, 1))
    if packed:
        pack(source, root)
    assert load_cifar10("train", root=root).images[0, :, 0, 0].tolist() == [7, 7, 7]


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "pixel", "label", "checksum"])
def test_a_damaged_cache_is_made_anew(source, damage):
    load_cifar10("train", root=source)
    (file,) = cache_dir().glob("pictures-*")
    good = content = file.read_bytes()
    if damage == "other":
        content = b"\x93NUMPY" + content
    elif damage == "checksum":
        content = content.replace(b'"train_images":"', b'"train_images":"0', 1)
    else:
        place = {"empty": 0, "cut": -5, "pixel": content.index(bytes(64 * [100])) + 7}.get(damage, -1)
        if damage == "label":
            place = content.rindex(np.arange(10).repeat(2).tobytes()) + 8
        content = content[:place]
        if damage in ("pixel", "label"):
            content += bytes([good[len(content)] ^ 1]) + good[len(content) + 1 :]
    file.write_bytes(content)
    assert_is_stand_in(load_cifar10("train", root=source), "train")
    images, labels = store.kept_split(file, "train")  # whole again
    assert images.shape == (20, 3, 8, 8) and labels.shape == (20,)


def test_a_cache_that_cannot_be_written_is_read(source, monkeypatch):
    load_cifar10("train", root=source)

    def refuse(*_):
        raise PermissionError(errno.EROFS, "Read-only file system")

    for door in ("write_whole", "save"):
        monkeypatch.setattr(store, door, refuse)
    monkeypatch.setattr(class_folders, "_decode", lambda picture: pytest.fail("decoded again"))
    assert_is_stand_in(load_cifar10("test", root=source), "test")


def test_a_source_that_cannot_be_written_beside_is_fine(source, tmp_path):
    (tmp_path / "locked").mkdir()
    archive = pack(source, tmp_path / "locked" / "a.tar.xz")
    archive.parent.chmod(0o555)
    before = sorted(archive.parent.iterdir())
    assert_is_stand_in(load_cifar10("test", root=archive), "test")
    assert sorted(archive.parent.iterdir()) == before
    archive.parent.chmod(0o755)


@pytest.mark.filterwarnings("error")  # who comes second is told nothing
def test_several_at_once_all_get_the_data_and_leave_one_cache(source):
    results = []
    start = threading.Barrier(6)

    def load():
        start.wait()
        results.append(load_cifar10("train", root=source))

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for data in results:
        assert_is_stand_in(data, "train")
    assert len(list(cache_dir().iterdir())) == 1  # no workplace is left behind


def test_a_full_disk_costs_a_warning_and_leaves_nothing(source, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match="each run decodes them anew: could not write .* the disk is full"):
        data = load_cifar10("train", root=source)
    assert_is_stand_in(data, "train")
    assert list(cache_dir().iterdir()) == []


def test_grey_and_transparent_pictures_become_rgb(source):
    Image.new("L", (8, 8), 50).save(source / "train" / "airplane" / "0000.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 128)).save(source / "train" / "airplane" / "0001.png")
    images = load_cifar10("train", root=source).images
    assert images[:2, :, 0, 0].tolist() == [[50, 50, 50], [128, 128, 129]]  # laid on white


def test_files_that_are_no_pictures_of_the_set_are_passed_over(source):
    (source / "train" / "airplane" / "._0000.png").write_bytes(b"a trace of macOS")
    shutil.copytree(source / "train" / "cat", source / "train" / ".ipynb_checkpoints")
    (source / "train" / "notes.txt").write_text("not a picture")
    with pytest.warns(UserWarning, match=r"pictures: left out 1 x \.txt"):
        assert_is_stand_in(load_cifar10("train", root=source), "train")


def test_links_are_followed_and_what_is_left_out_is_said(source, tmp_path):
    for name in ("cat", "frog"):
        (source / "train" / name).rename(tmp_path / name)
        (source / "train" / name).symlink_to(tmp_path / name)
    (source / "train" / "frog" / "round").symlink_to(source)
    (source / "test" / "dog" / "9.png").symlink_to(tmp_path / "gone")
    with pytest.warns(UserWarning, match="left out 1 x (dead links|links to folders).*, 1 x "):
        assert_is_stand_in(load_cifar10("train", root=source), "train")


def cut_picture(source):
    file = source / "train" / "cat" / "0001.png"
    file.write_bytes(file.read_bytes()[:20])


def no_picture(source):
    (source / "test" / "dog" / "0000.png").write_bytes(b"hello")


def empty_class(source):
    for file in (source / "train" / "frog").iterdir():
        file.unlink()


def strange_class(source):
    (source / "train" / "frog").rename(source / "train" / "toad")
    write_one = Image.new("RGB", (8, 8))
    (source / "train" / "frog").mkdir()
    write_one.save(source / "train" / "frog" / "0.png")


def other_size(source):
    Image.new("RGB", (8, 9)).save(source / "train" / "horse" / "0000.png")


def no_test_split(source):
    (source / "test").rename(source / "validation")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_picture, "^train/cat/0001.png: it is (damaged|no picture)"),
        (no_picture, "^test/dog/0000.png: it is no picture of a kind that is read"),
        (empty_class, "train: has no pictures in frog; wanted airplane"),
        (strange_class, "train: has toad beside the classes; wanted airplane"),
        (other_size, r"train/horse/0000.png \(9, 8\) beside train/airplane/0000.png \(8, 8\)"),
        (no_test_split, "neither the folders train and test"),
    ],
)
def test_a_damaged_source_is_refused_by_name_and_leaves_no_cache(source, damage, message):
    damage(source)
    with pytest.raises(DataUnavailable, match=message):
        load_cifar10("train", root=source)
    assert not cache_dir().exists() or list(cache_dir().iterdir()) == []


@pytest.mark.parametrize("packing", ["xz", "gz", "bz2", ""])
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.95])
def test_a_cut_archive_is_refused(source, tmp_path, packing, keep):
    archive = pack(source, tmp_path / "a.tar", packing)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    with pytest.raises(DataUnavailable, match=r"a\.tar.*(fetch it again|no pictures)"):
        load_cifar10("train", root=archive)


def hostile(archive, packing, *headers):
    """Write an archive of such members, each a `TarInfo` and how many zero bytes really follow it."""
    opened = lzma.open(archive, "wb", preset=0) if packing == "xz" else gzip.open(archive, "wb")
    with opened as stream:
        for header, size in headers:
            stream.write(header.tobuf(tarfile.GNU_FORMAT))
            for _ in range(size >> 20):
                stream.write(bytes(1 << 20))
        stream.write(bytes(1024))
    return archive


def member(name, size, kind=tarfile.REGTYPE, link=""):
    header = tarfile.TarInfo(name)
    header.size, header.type, header.linkname = size, kind, link
    return header


@pytest.mark.parametrize(
    ("packing", "bomb"),
    [
        ("xz", member("cifar10/train/airplane/0000.jpg", 80 << 20)),
        ("gz", member("cifar10/train/airplane/0000.jpg", 80 << 20)),
        ("gz", member("notes.txt", 80 << 20)),
        ("gz", member("x", 80 << 20, tarfile.XHDTYPE)),  # tarfile reads it whole before one sees a member
        ("gz", member("x", 80 << 20, tarfile.GNUTYPE_LONGNAME)),
    ],
)
def test_an_archive_that_unfolds_without_end_is_refused(tmp_path, packing, bomb):
    archive = hostile(tmp_path / f"bomb.tar.{packing}", packing, (bomb, 80 << 20))
    assert archive.stat().st_size < 400_000
    with pytest.raises(DataUnavailable, match=r"bomb\.tar\.\w+ unfolds to over 100 times its size"):
        load_cifar10("train", root=archive)


def test_holes_of_an_archive_are_not_filled(tmp_path):
    """A sparse member says of how many bytes it is; 1.5 kB unfold to them, and what is counted is 1.5 kB."""
    header = member("cifar10/train/airplane/0000.jpg", 0, tarfile.GNUTYPE_SPARSE)
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"%011o\0" % (50 << 30)  # its real size: 50 GB, all of it a hole
    block[148:156] = b"%06o\0 " % sum(bytearray(block[:148] + 8 * b" " + block[156:]))
    archive = tmp_path / "holes.tar"
    archive.write_bytes(bytes(block) + bytes(1024))
    with tarfile.open(archive) as opened:
        assert opened.getmembers()[0].size == 50 << 30
    with pytest.raises(DataUnavailable):
        load_cifar10("train", root=archive)


def test_an_archive_writes_nothing_wherever_its_members_point(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    names = ("../train/cat/9.jpg", "/tmp/train/cat/8.jpg", "train/cat/../../../7.jpg")
    links = [member(f"train/cat/{i}.jpg", 0, kind, "/etc/passwd") for i, kind in enumerate((b"1", b"2"))]
    archive = hostile(
        tmp_path / "a.tar.gz", "gz", *((member(name, 0), 0) for name in names), *((x, 0) for x in links)
    )
    with pytest.raises(DataUnavailable, match="has no pictures in airplane"):
        load_cifar10("train", root=archive)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, archive])


def test_noise_in_an_archive_is_refused_in_words(source, tmp_path):
    archive = pack(source, tmp_path / "a.tar", "gz")
    content, draw = archive.read_bytes(), np.random.default_rng(0)
    plain = gzip.decompress(content)
    for i in range(60):
        damaged = bytearray(content if i % 2 else plain)
        for place in draw.integers(len(damaged), size=20):
            damaged[place] = draw.integers(256)
        archive.write_bytes(damaged)
        with contextlib.suppress(DataUnavailable):
            load_cifar10("train", root=archive)


@pytest.mark.parametrize(
    "named",
    ["nowhere", "empty", "broken.tar", "cifar-10-binary.tar.gz", "pipe", "loop", "\udcff", "x" * 300],
)
def test_a_named_source_that_cannot_be_read_leads_to_the_stand_in_and_says_so(tmp_path, monkeypatch, named):
    (tmp_path / "empty").mkdir()
    for name in ("broken.tar", "cifar-10-binary.tar.gz"):
        (tmp_path / name).write_bytes(b"no archive")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", str(tmp_path / named))
    with pytest.raises(DataUnavailable):
        load_cifar10("train")
    data = cifar10_or_patterns("train", 10)
    assert data.class_names == PATTERN_CLASSES
    assert data.notice == (
        "These pictures are Patterns10, ten drawn textures, not CIFAR-10, which could not be loaded here."
    )


@pytest.mark.parametrize("door", ["is_file", "open", "stat"])
def test_a_source_that_may_not_be_read_leads_to_the_stand_in(source, tmp_path, monkeypatch, door):
    archive = pack(source, tmp_path / "a.tar", "gz")
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", str(archive))
    real = getattr(type(archive), door)

    def refuse(path, *arguments, **options):
        if path == archive:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(type(archive), door, refuse)
    with pytest.raises(DataUnavailable, match=r"a\.tar could not be read: Permission denied"):
        load_cifar10("train")
    assert cifar10_or_patterns("train", 10).class_names == PATTERN_CLASSES


def test_a_source_may_be_named_from_the_home_folder(source, monkeypatch):
    monkeypatch.setenv("HOME", str(source.parent))
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", "~/pictures")
    assert_is_stand_in(load_cifar10("train"), "train")
    assert_is_stand_in(load_cifar10("train", root="~/pictures"), "train")


def test_an_unknown_split_is_refused():
    for load in (load_cifar10, cifar10_or_patterns):
        with pytest.raises(ValueError, match='"train" or "test", got \'valid\''):
            load("valid")


@pytest.mark.slow
@pytest.mark.skipif(not REAL_CIFAR10, reason="DINOV2_EDU_CIFAR10 names no CIFAR-10")
def test_the_real_cifar10_is_whole():
    train, test = (load_cifar10(split, root=REAL_CIFAR10) for split in ("train", "test"))
    assert train.images.shape == (50_000, 3, 32, 32) and test.images.shape == (10_000, 3, 32, 32)
    assert train.labels.bincount().tolist() == [5000] * 10 and test.labels.bincount().tolist() == [1000] * 10
    tenth = train.images[::10].double() / 255
    mean, std = tenth.mean((0, 2, 3)), tenth.std((0, 2, 3))
    published = torch.tensor([[0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]], dtype=torch.float64)
    torch.testing.assert_close(torch.stack([mean, std]), published, atol=0.005, rtol=0)


# --- CIFAR-10 as its authors publish it


def record(number: int) -> bytes:
    """A picture in CIFAR-10's own form: its red is its number, its green its label, its blue its row."""
    label = 9 - number % 10
    planes = np.zeros((3, 32, 32), np.uint8)
    planes[0], planes[1], planes[2] = number, label, np.arange(32)[:, None]
    return bytes([label]) + planes.tobytes()


def publish(folder, batches):
    """Write an archive as the authors do."""
    place = folder / "cifar-10-batches-bin"
    place.mkdir(parents=True)
    for name, numbers in batches.items():
        (place / name).write_bytes(b"".join(map(record, numbers)))
    (place / "batches.meta.txt").write_text("airplane\n")
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(place, arcname=place.name)
    return folder / "cifar-10-binary.tar.gz"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Let a server on this machine have a tiny CIFAR-10 in the authors' form; yields what it was asked for."""
    batches = {
        "test_batch.bin": range(100, 120),
        "data_batch_2.bin": range(20, 40),
        "data_batch_1.bin": range(20),
    }
    site = tmp_path / "site" / "~kriz"
    content = publish(site, batches).read_bytes()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            return super().do_GET()

        def log_message(self, *_):
            pass

    handler = partial(Handler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        (tmp_path / "mirror.json").write_text(
            json.dumps({"server": f"http://127.0.0.1:{server.server_port}"})
        )
        monkeypatch.setenv("DINOV2_EDU_MIRROR", str(tmp_path / "mirror.json"))
        file = replace(cifar.PUBLISHED, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        monkeypatch.setattr(cifar, "PUBLISHED", file)
        yield asked
        server.shutdown()


def test_the_published_archive_is_the_one_that_others_pin():
    file = cifar.PUBLISHED
    assert file.url == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" and file.size == 170_052_171
    assert file.sha256 == "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"


def test_cifar10_is_fetched_once_decoded_once_and_sorted(published, monkeypatch):
    data = load_cifar10("train")
    assert data.images.shape == (40, 3, 32, 32) and data.name == "CIFAR-10, train split"
    assert data.labels.tolist() == sorted(data.labels.tolist())
    assert torch.equal(data.images[:, 1, 5, 5].long(), data.labels)
    assert data.images[:4, 0, 0, 0].tolist() == [9, 19, 29, 39]  # within a class in the published order
    assert torch.equal(data.images[0, 2, :, 7], torch.arange(32, dtype=torch.uint8))  # rows are rows
    monkeypatch.setattr(cifar, "fetch", lambda *_: pytest.fail("fetched again"))
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", "yes")
    assert load_cifar10("test").images[:2, 0, 0, 0].tolist() == [109, 119]
    assert published == ["/~kriz/cifar-10-binary.tar.gz"]


def test_the_published_archive_may_be_put_there_or_named(published, tmp_path, monkeypatch):
    archive = tmp_path / "site" / "~kriz" / "cifar-10-binary.tar.gz"
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", str(archive))
    assert load_cifar10("test").images[:2, 0, 0, 0].tolist() == [109, 119]
    monkeypatch.delenv("DINOV2_EDU_CIFAR10")
    cache_dir().mkdir()
    shutil.copy(archive, cache_dir())
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", "1")
    assert load_cifar10("test").images[:2, 0, 0, 0].tolist() == [109, 119] and published == []


def test_a_stand_in_for_cifar10_says_that_it_is_one(published, tmp_path, monkeypatch):
    own = {"cifar-10-binary.tar.gz": {"sha256": cifar.PUBLISHED.sha256, "size": cifar.PUBLISHED.size}}
    mirror = json.loads((tmp_path / "mirror.json").read_text())
    (tmp_path / "mirror.json").write_text(json.dumps(mirror | {"files": own}))
    monkeypatch.setattr(cifar, "PUBLISHED", replace(cifar.PUBLISHED, sha256="0" * 64, size=5))
    assert load_cifar10("test").name == "CIFAR-10 (a stand-in that DINOV2_EDU_MIRROR names), test split"
    (tmp_path / "mirror.json").write_text(json.dumps(mirror))
    with pytest.raises(DataUnavailable, match="announces"):  # nothing of it is taken for the published file
        load_cifar10("test")


@pytest.mark.parametrize("damage", [b"", b"\x0a" + bytes(3072), bytes(3072), bytes(3074)])
def test_an_archive_with_other_records_is_refused(tmp_path, damage):
    archive = publish(tmp_path / "site", {"data_batch_1.bin": range(20), "test_batch.bin": range(5)})
    place = tmp_path / "site" / "cifar-10-batches-bin"
    (place / "test_batch.bin").write_bytes(damage)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(place, arcname=place.name)
    with pytest.raises(
        DataUnavailable, match=r"does not hold CIFAR-10's records|no pictures of the test split"
    ):
        load_cifar10("train", root=archive)


@pytest.mark.parametrize("why", ["offline", "refused", "other bytes", "no disk"])
def test_without_cifar10_patterns_stand_in_aloud(published, tmp_path, monkeypatch, capsys, why):
    if why == "offline":
        monkeypatch.setenv("DINOV2_EDU_OFFLINE", "TRUE")
    elif why == "refused":
        (tmp_path / "mirror.json").write_text('{"server": "http://127.0.0.1:9"}')
    elif why == "no disk":
        (tmp_path / "file").touch()
        monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path / "file" / "cache"))
    else:
        monkeypatch.setattr(cifar, "PUBLISHED", replace(cifar.PUBLISHED, sha256="0" * 64))
    said = {
        "offline": "DINOV2_EDU_OFFLINE is set",
        "refused": "the server refused the connection",
        "other bytes": "another file",
        "no disk": "could not be read or written: Not a directory",
    }[why]
    with pytest.raises(
        DataUnavailable, match=f"could not be fetched .*{said}.* three ways on: put http.*let DINOV2"
    ) as met:
        load_cifar10("train")
    assert met.value.__suppress_context__  # one sentence, no chain of errors
    data = cifar10_or_patterns("train", 20)
    assert data.notice.startswith("These pictures are Patterns10") and data.notice in capsys.readouterr().out
    assert said not in data.notice
    assert torch.equal(data.images, patterns10(20).images) and data.class_names == PATTERN_CLASSES
    kept = [path for path in cache_dir().rglob("*") if path.suffix != ".lock"] if why != "no disk" else []
    assert kept == []  # nothing half fetched


def test_a_smaller_cifar10_has_an_even_share_of_every_class(source, monkeypatch, capsys):
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", str(source))
    data = cifar10_or_patterns("train", 10)
    assert data.labels.tolist() == list(range(10)) and data.notice == ""
    assert data.name.endswith("10 of 20 pictures") and capsys.readouterr().out == ""


@pytest.mark.parametrize(("n", "message"), [(0, "asked for 0"), (50_001, "50000"), (21, "has 20 pictures")])
def test_more_or_fewer_pictures_than_there_are(source, monkeypatch, n, message):
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", str(source))
    with pytest.raises(ValueError, match=message):
        cifar10_or_patterns("train", n)


# --- sample photos


@pytest.mark.parametrize("name", SAMPLE_IMAGES)
def test_sample_photos_open_and_are_described(name):
    picture = sample_image(name)
    assert picture.mode == "RGB" and min(picture.size) >= 400
    assert np.asarray(picture).std() > 20
    sample = SAMPLE_IMAGES[name]
    assert sample.credit and sample.licence and sample.source.startswith("https://")
    assert 60 < len(sample.alt) < 300 and sample.alt.endswith(".")


def test_an_unknown_or_missing_photo_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="no sample photo 'cat', only china, flower"):
        sample_image("cat")
    for absent in (lambda name: None, lambda name: type("Spec", (), {"submodule_search_locations": ["/no"]})):
        monkeypatch.setattr(sample_photos, "find_spec", absent)
        with pytest.raises(DataUnavailable, match="reinstall sklearn"):
            sample_image("china")


@pytest.mark.parametrize(("total", "count"), [(10, 3), (10, 10), (3, 7), (1000, 999), (5, 0), (0, 4)])
def test_even_rows_rise_by_steps_that_differ_by_one_at_most(total, count):
    rows = even_rows(total, count).tolist()
    assert len(rows) == min(total, count) and all(0 <= row < total for row in rows)
    steps = {after - before for before, after in itertools.pairwise(rows)}
    assert not steps or (min(steps) >= 1 and max(steps) - min(steps) <= 1)
    assert not rows or (rows[0] == 0 and total - rows[-1] <= max(steps, default=total) + 1)
