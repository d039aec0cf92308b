"""A folder nobody prepared: what is listed, what is read, what is left out by name, and what is held out."""

import hashlib
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from dinov2_edu.data import ImageSet, look_over, patterns10, read_own
from dinov2_edu.data.own import NO_CLASS, is_held_out, labelled_rows
from dinov2_edu.data.untidy import untidy_folder
from dinov2_edu.features import Preprocessing
from dinov2_edu.features.sources import as_pictures
from dinov2_edu.pictures import PictureError, read_rgb
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture(scope="module")
def untidy(tmp_path_factory):
    """Sixty drawn pictures in ten classes, and everything that lies about in such a folder."""
    return untidy_folder(tmp_path_factory.mktemp("home") / "Bilder 2019", patterns10(60))


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_untidy_folder_is_looked_over_without_decoding(untidy):
    folder = look_over(untidy)
    assert len(folder) == 60 + 4  # a copy, a cut file, an empty one, a photo in no sub-folder
    assert folder.left_out == Counter({".txt": 1}) and len(folder.class_names) == 10
    loose = [path.name for path, label in zip(folder.paths, folder.labels, strict=True) if label == NO_CLASS]
    assert loose == ["フラワー.jpg"]
    deep = [row for row in range(len(folder)) if "Été à la mer" in folder.name_of(row)]
    assert len(deep) >= 6
    assert all(folder.class_names[folder.labels[row]] == folder.name_of(row).split("/")[0] for row in deep)
    assert folder.sizes[folder.paths.index(untidy / "フラワー.jpg")] == (640, 427)
    assert sum(size == (90, 60) for size in folder.sizes) == 6 and folder.shorter_side == 32
    unknown = {path.name for path, size in zip(folder.paths, folder.sizes, strict=True) if size == (0, 0)}
    assert "download.png" in unknown and unknown <= {"download.png", "IMG_cut.jpg"}
    said = str(folder)
    assert "64 pictures" in said and "left out: 1 x .txt" in said and "and 1 more" in said


def test_what_cannot_be_read_is_refused_or_named(untidy):
    folder = look_over(untidy)
    with pytest.raises(PictureError, match=r"(IMG_cut\.jpg|download\.png): .*fetch it again"):
        read_own(folder, 16, progress=False)
    found = read_own(folder, 16, on_error="skip", progress=False)
    assert {name.split("/")[-1]: reason.split(":")[0] for name, reason in found.skipped} == {
        "IMG_cut.jpg": "it is damaged or cut short (OSError",
        "download.png": "the file is empty",
    }
    ((copy, first),) = found.duplicates
    assert {copy.split("/")[-1], first.split("/")[-1]} & {
        "Copy of " + first.split("/")[-1],
        first.split("/")[-1],
    }
    assert len(found) == 61 == len(found.names) == len(found.labels) == len(set(found.names))
    assert found.images.shape == (61, 3, 16, 16) and found.images.dtype == torch.uint8
    assert found.name == "Bilder 2019 (61 pictures)"


def test_every_form_of_a_picture_becomes_the_pixels_it_shows(untidy):
    """Grey, palette, turned: at its own size a lossless picture is what was written; a turned one is turned back."""
    drawn = patterns10(60)
    found = read_own(look_over(untidy), 32, on_error="skip", progress=False)
    at = {name.split("/")[-1]: image for name, image in zip(found.names, found.images, strict=True)}
    gray = Image.fromarray(drawn.images[12].permute(1, 2, 0).numpy()).convert("L")
    assert torch.equal(at["scan 0012.png"], torch.tensor(np.asarray(gray)).expand(3, -1, -1))
    on_white = drawn.images[13].float() * 200 / 255 + 55
    assert (at["0013-edit.PNG"].float() - on_white).abs().max() <= 1.5
    for name, number in (("DSC0015.JPG", 15), ("IMG_0016.jpg", 16)):
        apart = (at[name].float() - drawn.images[number].float()).abs().mean()
        turned = (at[name].float() - drawn.images[number].rot90(1, (1, 2)).float()).abs().mean()
        assert apart < 12 < turned, "JPEG loses a little, a quarter turn would lose nearly all"


def test_sizes_are_those_that_one_sees(tmp_path):
    """A camera on its side writes the picture lying, and a note; half a turn changes no side."""
    for turn, size in ((1, (40, 24)), (3, (40, 24)), (6, (24, 40)), (8, (24, 40))):
        note = Image.Exif()
        note[0x0112] = turn
        save(tmp_path / f"{turn}.jpg", noise(24, 40), exif=note)
        assert look_over(tmp_path).sizes[-1] == size == read_rgb(tmp_path / f"{turn}.jpg").shape[1::-1]


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("turn", [None, 1, 3, 6, 8])
def test_looking_over_decodes_nothing_and_agrees_with_reading(tmp_path, monkeypatch, ending, turn):
    note = Image.Exif()
    if turn is not None:
        note[0x0112] = turn
    save(tmp_path / f"a{ending}", noise(24, 40), **({"exif": note} if turn else {}))
    wanted = read_rgb(tmp_path / f"a{ending}").shape[1::-1]
    loads = []
    for kind in {ImageFile.ImageFile, *(type(Image.open(path)) for path in tmp_path.iterdir())}:
        monkeypatch.setattr(kind, "load", lambda self, *_: loads.append(self))
    assert look_over(tmp_path).sizes == (wanted,) and loads == []


def test_a_cut_file_keeps_the_size_its_header_gives(tmp_path):
    save(tmp_path / "a.png", noise(64, 96))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    assert look_over(tmp_path).sizes == ((96, 64),)


@pytest.mark.parametrize("shape", [(32, 64), (96, 32), (33, 33), (20, 25)])
def test_the_square_is_the_one_that_features_are_made_of(tmp_path, shape):
    """Ours rounds to bytes as PIL does; the batch resizer of the package, another code, is the oracle."""
    smooth = np.kron(noise(5, 5), np.ones((20, 20, 1), np.uint8))[: shape[0], : shape[1]]
    save(tmp_path / "a.png", smooth)
    found = read_own(look_over(tmp_path), 16, progress=False).images
    wanted = Preprocessing(size=16)(torch.tensor(smooth).permute(2, 0, 1)[None])
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert (found.float() - 255 * (wanted * std + mean)).abs().mean() < 1.5


def test_which_pictures_are_held_out_follows_from_their_bytes_alone(tmp_path):
    for number in range(60):
        save(tmp_path / "one" / "ab"[number % 2] / f"{number}.png", noise(16, 16, number))
        save(tmp_path / "two" / "ab"[number % 2] / f"renamed {99 - number}.png", noise(16, 16, number))
    one, two = (look_over(tmp_path / name) for name in ("one", "two"))
    read = [read_own(folder, 16, progress=False) for folder in (one, two)]
    held = [{image.numpy().tobytes() for image in part.images[part.held_out]} for part in read]
    assert held[0] == held[1] and 4 <= len(held[0]) <= 20
    for folder, part in zip((one, two), read, strict=True):
        for rows, wanted in zip(labelled_rows(folder), (~part.held_out, part.held_out), strict=True):
            assert torch.equal(rows, wanted.nonzero()[:, 0]), "the probe and the run agree"
        by_hand = [
            int(hashlib.sha256(path.read_bytes()).hexdigest()[:16], 16) % 5 == 0 for path in folder.paths
        ]
        assert part.held_out.tolist() == by_hand
        assert len(part.learnt_from) == 60 - len(held[0])


@pytest.fixture
def copies(tmp_path):
    """Forty pictures in two classes; every one lies loose as well, before or behind, or in the other class too."""
    for number in range(40):
        own, other = "ab" if number % 2 else "ba"
        places = [f"{own}/{number}.png"]
        places += [f"0 loose {number}.png"] if number % 4 < 2 else [f"z loose {number}.png"]
        places += [f"{other}/{number}.png"] if number % 5 == 0 else []
        for place in places:
            save(tmp_path / place, noise(8, 8, number))
    return tmp_path


def test_a_copy_elsewhere_takes_no_picture_to_the_other_half(copies):
    """By hand: the class of a picture is that of its first copy in a sub-folder, whatever sorts before it."""
    folder = look_over(copies)
    found = read_own(folder, 8, progress=False)
    assert len(found) == 40 and len(found.duplicates) == len(folder) - 40
    by_bytes = {}
    for path in sorted(copies.rglob("*.png")):
        if path.parent != copies:
            by_bytes.setdefault(path.read_bytes(), path.parent.name)
    contents = [(copies / name).read_bytes() for name in found.names]
    assert [found.class_names[label] for label in found.labels] == [by_bytes[one] for one in contents]
    assert {by_bytes[(copies / f"{kind}/0.png").read_bytes()] for kind in "ab"} == {"a"}, "the first in order"
    wanted = [is_held_out(hashlib.sha256(one).digest()) for one in contents]
    assert found.held_out.tolist() == wanted and any(wanted)
    learnt, held = ([folder.paths[row].read_bytes() for row in rows] for rows in labelled_rows(folder))
    assert sorted(held) == sorted(one for one, apart in zip(contents, wanted, strict=True) if apart)
    assert sorted(learnt + held) == sorted(contents)


def test_one_in_five_is_held_out():
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(5000)]
    assert 0.18 < np.mean([is_held_out(digest) for digest in digests]) < 0.22


def test_what_judges_a_run_is_labelled_and_apart_from_what_it_learns(tmp_path):
    for number in range(80):
        save(tmp_path / "ab"[number % 2] / f"{number}.png", noise(8, 8, number))
    for number in range(80, 100):
        save(tmp_path / f"loose {number}.png", noise(8, 8, number))
    found = read_own(look_over(tmp_path), 8, progress=False)
    known, asked = found.judged_by()
    assert isinstance(known, ImageSet) and len(known) + len(asked) == 80
    learnt = {image.numpy().tobytes() for image in found.learnt_from}
    assert not learnt & {image.numpy().tobytes() for image in asked.images}
    assert learnt >= {image.numpy().tobytes() for image in known.images} and len(learnt) == 100 - len(asked)
    assert asked.name.endswith("held out") and known.class_names == ("a", "b")


def test_without_two_classes_there_is_no_judge(tmp_path):
    for number in range(30):
        save(tmp_path / "all" / f"{number}.png", noise(8, 8, number))
    found = read_own(look_over(tmp_path), 8, progress=False)
    assert found.judged_by() is None


def test_the_folder_where_one_stands_has_a_name(tmp_path, monkeypatch):
    place = tmp_path / "holiday" / "deep"
    save(place / "a.png", noise(8, 8))
    monkeypatch.chdir(place)
    assert str(look_over(".")).startswith("deep: 1 pictures")
    assert str(look_over("..")).startswith("holiday: 1 pictures")
    assert read_own(look_over("."), 8, progress=False).name == "deep (1 pictures)"
    assert as_pictures(".").name == "deep"


@pytest.mark.bad_input
def test_folders_that_cannot_be_trained_on_say_why(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere: check the name"):
        look_over(tmp_path / "nowhere")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.docx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds no picture that can be read here \(it holds 1 x .docx\)"):
        look_over(tmp_path / "letters")
    for split in ("train", "val"):
        save(tmp_path / "split" / split / "a" / "0.png", noise(8, 8))
    with pytest.raises(ValueError, match=r"is split into train and val: train on .*split/train"):
        look_over(tmp_path / "split").check_whole()
    assert len(look_over(tmp_path / "split")) == 2, "features of both halves can be had"
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"a\.png: none of 1 pictures can be read: it is no picture"):
        read_own(look_over(tmp_path / "broken"), 8, on_error="skip", progress=False)
    with pytest.raises(ValueError, match="holds something: name another folder"):
        untidy_folder(tmp_path, patterns10(20))
    with pytest.raises(ValueError, match="wants 20 pictures or more, got 3"):
        untidy_folder(tmp_path / "new", patterns10(3))
