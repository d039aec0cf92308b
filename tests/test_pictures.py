"""One reader for every kind of picture: a photo is the same pixels however it comes, or a sentence says why not."""

import errno
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps, features

from dinov2_edu import crops, plots
from dinov2_edu.data import class_folders, load_cifar10
from dinov2_edu.features.sources import as_pictures
from dinov2_edu.pictures import (
    PictureError,
    ahead,
    contents,
    find_pictures,
    left_out_text,
    path_text,
    pixels,
    read_ahead,
    read_folder,
    read_rgb,
    read_tensor,
)
from dinov2_edu.plots.pictures import as_picture
from dinov2_edu.widgets._base import as_image

AVIF = ["AVIF"] if features.check("avif") else []  # PIL reads it since 11.3
NOISE = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
GREY = NOISE[..., 0]


def photo(height: int = 24, width: int = 36, seed: int = 0) -> Image.Image:
    """Random RGB pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def file_of(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    """The bytes of a picture file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def exif_block(orientation: int, *, broken: bool) -> bytes:
    """EXIF data with an orientation; a broken one has a tag that PIL reads and cannot write back."""
    tags = [(0x112, 3, 1, struct.pack("<I", orientation))]
    if broken:
        tags.append((0x213, 2, 2, b"1\0\0\0"))  # YCbCrPositioning, a number, stored as text
    head = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    return head + b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags) + b"\0\0\0\0"


# -------------------------------------------------------------------------------------- what comes, comes the same


def ways(content: bytes, folder: Path) -> dict:
    """Every way in which the picture file with these bytes can be handed over."""
    path = folder / "photo"
    path.write_bytes(content)
    loaded = Image.open(path)
    loaded.load()
    return {
        "path": path,
        "text": str(path),
        "bytes": content,
        "bytearray": bytearray(content),
        "stream": io.BytesIO(content),
        "open file": path.open("rb"),
        "opened": Image.open(path),
        "opened stream": Image.open(io.BytesIO(content)),
        "loaded": loaded,
    }


@pytest.mark.parametrize(
    "kind", [*AVIF, "PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG", "JPEG2000", "MPO"]
)
def test_a_photo_is_the_same_pixels_however_it_comes(kind, tmp_path):
    content = file_of(photo(), kind)
    wanted = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    for name, picture in ways(content, tmp_path).items():
        found = read_rgb(picture)
        assert found.flags.writeable and found.flags.c_contiguous, name
        np.testing.assert_array_equal(found, wanted, err_msg=name)


def test_an_array_that_was_read_is_ones_own_whatever_it_was_read_from():
    for form in (
        NOISE,
        np.dstack([NOISE, GREY]),
        GREY,
        GREY > 9,
        GREY.astype(np.uint16),
        torch.from_numpy(GREY),
    ):
        found = read_rgb(form)
        assert found.flags.writeable and not np.shares_memory(found, np.asarray(form))


def test_arrays_and_tensors_of_every_layout():
    forms = [
        NOISE,
        NOISE.transpose(2, 0, 1),
        torch.from_numpy(NOISE.copy()),
        torch.from_numpy(NOISE).permute(2, 0, 1),
    ]
    for form in forms:
        np.testing.assert_array_equal(read_rgb(form), NOISE)
    for form in (GREY, GREY[..., None], GREY[None], GREY.astype(np.uint16) * 257, GREY.astype(">u2") * 257):
        np.testing.assert_array_equal(read_rgb(form), np.repeat(GREY[..., None], 3, axis=2))
    assert set(np.unique(read_rgb(GREY > 100))) == {0, 255}
    clear = np.dstack([NOISE, np.zeros_like(GREY)])
    assert read_rgb(clear).min() == 255
    assert not np.shares_memory(read_rgb(NOISE), NOISE)


def test_a_tensor_has_its_channels_first():
    found = read_tensor(photo())
    assert found.dtype == torch.uint8 and torch.equal(found, torch.from_numpy(NOISE.copy()).permute(2, 0, 1))


def test_the_home_folder_and_names_that_are_no_text(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    content = file_of(photo())
    (tmp_path / "a.png").write_bytes(content)
    (tmp_path / "~nobody.png").write_bytes(content)
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    Path(os.fsdecode(odd)).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    for path in ("~/a.png", "~nobody.png", os.fsdecode(odd)):
        np.testing.assert_array_equal(read_rgb(path), NOISE)


# --------------------------------------------------------------------------------------------- by mode, not content


def lab(picture: Image.Image) -> Image.Image:
    return ImageCms.profileToProfile(
        picture, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )


@pytest.mark.parametrize("mode", ["RGBX", "RGBA", "RGBa", "CMYK"])
def test_modes_that_lose_nothing(mode):
    source = photo().convert("RGBA").convert("RGBa") if mode == "RGBa" else photo().convert(mode)
    np.testing.assert_array_equal(read_rgb(source), NOISE)


@pytest.mark.parametrize("mode", ["L", "LA", "La", "PA", "P"])
def test_grey_and_palette(mode):
    grey = Image.fromarray(GREY)
    source = grey.convert("LA").convert("La") if mode == "La" else grey.convert(mode)
    np.testing.assert_array_equal(read_rgb(source), np.repeat(GREY[..., None], 3, axis=2))


@pytest.mark.parametrize(("mode", "far"), [("YCbCr", 3), ("HSV", 5), ("LAB", 12)])
def test_other_colour_spaces_come_back_within_rounding(mode, far):
    smooth = photo(4, 6).resize((60, 40), Image.Resampling.BICUBIC)
    source = lab(smooth) if mode == "LAB" else smooth.convert(mode)
    difference = np.abs(read_rgb(source).astype(int) - np.asarray(smooth))
    assert difference.mean() < far / 2 and np.median(difference) <= far / 2


def test_one_bit():
    assert set(np.unique(read_rgb(Image.fromarray(GREY > 128)))) == {0, 255}


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_sixteen_bits_are_scaled_by_their_range_whatever_they_show(mode):
    for highest in (255, 256, 4080, 65535):
        picture = Image.new(mode, (3, 1))
        for at, value in enumerate((0, highest // 2, highest)):
            picture.putpixel((at, 0), value)
        wanted = [round(value / 257) for value in (0, highest // 2, highest)]
        assert read_rgb(picture)[0, :, 1].tolist() == wanted


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_sixteen_bit_files(kind):
    deep = GREY.astype(np.uint16) * 257
    if kind == "PPM":  # not every PIL writes it
        content = b"P5 36 24 65535\n" + deep.astype(">u2").tobytes()
    else:
        content = file_of(
            Image.fromarray(deep), kind, **({"irreversible": False} if kind == "JPEG2000" else {})
        )
    np.testing.assert_array_equal(read_rgb(content)[..., 2], GREY)


def test_integers_of_a_sixteen_bit_file_count_as_such_and_others_are_refused():
    picture = Image.fromarray(GREY.astype(np.int32) * 257)  # as PIL 10 opens a 16-bit PNG
    picture.format = "PNG"
    np.testing.assert_array_equal(read_rgb(picture)[..., 0], GREY)
    picture.format = None
    with pytest.raises(
        PictureError, match=r"mode I, 36 x 24: its pixels are 32-bit integers.*scale them to 0\.\.255"
    ):
        read_rgb(picture)
    with pytest.raises(PictureError, match="floating-point numbers"):
        read_rgb(picture.convert("F"))


# ---------------------------------------------------------------------------------------- transparent parts on white


def half_clear(mode: str) -> Image.Image:
    """Two pixels, (0, 100, 0) or its grey seen, and a clear one."""
    if mode == "P bytes":
        picture = Image.new("P", (2, 1))
        picture.putpalette([0, 100, 0, 200, 0, 0])
        picture.putpixel((1, 0), 1)
        picture.info["transparency"] = bytes([255, 0])
    elif mode == "P colour":
        picture = half_clear("P bytes")
        picture.info["transparency"] = 1
    elif mode == "P palette":
        picture = Image.new("P", (2, 1))
        picture.putpalette([0, 100, 0, 255, 200, 0, 0, 0], "RGBA")
        picture.putpixel((1, 0), 1)
    elif mode == "RGB":
        picture = Image.fromarray(np.array([[[0, 100, 0], [200, 0, 0]]], np.uint8))
        picture.info["transparency"] = (200, 0, 0)
    elif mode in ("L", "1", "I;16"):
        picture = Image.new(mode, (2, 1))
        picture.putpixel((1, 0), {"L": 9, "1": 255, "I;16": 9}[mode])
        picture.info["transparency"] = {"L": 9, "1": 255, "I;16": 9}[mode]
    else:
        picture = Image.fromarray(np.array([[[0, 100, 0, 255], [200, 0, 0, 0]]], np.uint8))
        picture = picture.convert("LA") if mode in ("LA", "La") else picture
        picture = picture.convert(mode)
    return picture


@pytest.mark.parametrize(
    "mode", ["P bytes", "P colour", "P palette", "RGB", "L", "1", "I;16", "RGBA", "RGBa", "LA", "La"]
)
def test_what_is_clear_is_white(mode):
    left, right = read_rgb(half_clear(mode))[0].tolist()
    assert right == [255, 255, 255] and left != right and max(left) <= 100


def test_a_clear_colour_of_a_grey_file_is_white_too():
    content = file_of(Image.fromarray(GREY), transparency=int(GREY[0, 0]))
    assert (read_rgb(content)[GREY == GREY[0, 0]] == 255).all()


def test_strips_are_seamless(monkeypatch):
    sources = [
        photo(),
        photo().convert("RGBA"),
        photo().quantize(16),
        Image.fromarray(GREY.astype(np.uint16) * 9),
    ]
    sources[1].putalpha(Image.fromarray(GREY))
    sources[2].info["transparency"] = 3
    sources.append(lab(photo()))
    for source in sources:
        for orientation in (1, 3, 6):
            source.getexif()[0x112] = orientation
            whole = read_rgb(source)
            monkeypatch.setattr(pixels, "_STRIP", 36 * 5)
            np.testing.assert_array_equal(read_rgb(source), whole)
            monkeypatch.undo()


# ------------------------------------------------------------------------------------------------- the right way up


@pytest.mark.parametrize("broken", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_its_camera_says(orientation, broken, tmp_path):
    upright = photo(8, 16).resize((32, 16), Image.Resampling.NEAREST)
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: np.rot90,
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](np.asarray(upright))
    exif = exif_block(orientation, broken=broken)
    content = file_of(
        Image.fromarray(np.ascontiguousarray(stored)), "JPEG", quality=100, subsampling=0, exif=exif
    )
    plain = np.asarray(Image.open(io.BytesIO(content)))
    assert plain.shape == stored.shape
    for name, picture in ways(content, tmp_path).items():
        found = read_rgb(picture)
        assert found.shape == (16, 32, 3), name
        assert np.abs(found.astype(int) - np.asarray(upright)).mean() < 6, name
        if not broken:
            turned = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
            np.testing.assert_array_equal(found, np.asarray(turned), err_msg=name)


@pytest.mark.parametrize("kind", [*AVIF, "PNG", "WEBP", "TIFF", "JPEG", "MPO"])
def test_every_format_is_turned_once(kind, tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    content = file_of(photo(), kind, exif=exif)
    for name, picture in ways(content, tmp_path).items():
        assert read_rgb(picture).shape == (36, 24, 3), name


@pytest.mark.parametrize("data", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0junk" * 9])
def test_damaged_exif_data_cost_nothing(data):
    content = file_of(photo(), "JPEG", quality=95)
    head = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
    found = read_rgb(content[:2] + head + content[2:])
    np.testing.assert_array_equal(found, read_rgb(content))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(value):
    exif = exif_block(value, broken=False)
    assert read_rgb(file_of(photo(), "JPEG", exif=exif)).shape == (24, 36, 3)


# ------------------------------------------------------------------------------------------------ the caller's object


@pytest.mark.parametrize("kind", [*AVIF, "JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_an_opened_picture_may_stand_twice_and_stays_as_it_was(kind, tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(file_of(photo(300, 400), kind))
    wanted = read_rgb(path)
    for _ in range(5):
        picture = Image.open(path)
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(read_rgb, [picture] * 8):
                np.testing.assert_array_equal(found, wanted)
        assert (
            vars(picture).get("_im", vars(picture).get("im")) is None
        )  # not decoded: memory stays the caller's
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), wanted)


def test_pictures_that_share_one_stream(tmp_path):
    content = file_of(photo(300, 400), "JPEG")
    stream = io.BytesIO(content)
    pictures = [Image.open(stream) for _ in range(4)] + [stream] * 4
    stream.seek(7)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(read_rgb, pictures):
            np.testing.assert_array_equal(found, read_rgb(content))
    assert stream.tell() == 7


def test_an_opened_picture_counts_as_its_owner_left_it(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(file_of(photo(64, 96), "JPEG"))
    drafted = Image.open(path)
    drafted.draft("RGB", (24, 16))
    assert read_rgb(drafted).shape == (*drafted.size[::-1], 3) and drafted.width < 96
    turned = Image.open(path)
    turned.getexif()[0x112] = 6
    assert read_rgb(turned).shape == (96, 64, 3)
    edited = Image.open(path)
    edited.paste((1, 2, 3), (0, 0, 96, 64))
    assert np.unique(read_rgb(edited)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("kind", [*AVIF, "GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame_and_an_opened_one_the_frame_it_is_at(kind, tmp_path):
    first, second = Image.new("RGB", (16, 8), "red"), Image.new("RGB", (16, 8), "blue")
    content = file_of(first, kind, save_all=True, append_images=[second])
    opened = Image.open(io.BytesIO(content))
    assert opened.n_frames == 2
    reds = [read_rgb(picture)[4, 4] for picture in ways(content, tmp_path).values()]
    assert all(colour[0] > 240 > 20 > colour[2] for colour in reds)
    opened.seek(1)
    assert read_rgb(opened)[4, 4, 2] > 240 and opened.tell() == 1


# ---------------------------------------------------------------------------------------------- a sentence where not


def refused(picture, message: str) -> PictureError:
    """The error that reading a picture raises; holds its text to what is wanted."""
    with pytest.raises(PictureError, match=message) as caught:
        read_rgb(picture)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return caught.value


@pytest.mark.parametrize("kind", [*AVIF, "PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "JPEG2000"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_cut_file_is_named(kind, share, tmp_path):
    content = file_of(photo(200, 300), kind)
    path = tmp_path / "cut.img"
    path.write_bytes(content[: max(4, int(len(content) * share))])
    error = refused(path, r"cut\.img: it is .*remove it")
    assert error.name == str(path)
    with Image.open(io.BytesIO(content)) as whole:
        whole.verify()


@pytest.mark.parametrize("seed", range(40))
def test_noise_in_a_file_gives_pixels_or_a_sentence(seed):
    rng = np.random.default_rng(seed)
    kinds = ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM", *AVIF]
    kind = kinds[seed % len(kinds)]
    content = np.frombuffer(file_of(photo(), kind), np.uint8).copy()
    where = rng.integers(0, len(content), 8)
    content[where] = rng.integers(0, 256, 8)
    try:
        assert read_rgb(content.tobytes()).ndim == 3
    except PictureError as error:
        assert error.reason


def test_files_that_are_no_pictures(tmp_path):
    refused(b"", "the file is empty")
    refused(b"hello, world" * 20, r"no picture of a kind that is read \(JPEG, PNG")
    refused(tmp_path, "this is a folder")
    refused(tmp_path / "absent.png", r"absent\.png: there is no such file")
    (tmp_path / "link.png").symlink_to("/mnt/gone/3.jpg")
    refused(tmp_path / "link.png", "a link to /mnt/gone/3.jpg, which is not there")
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "a pipe or a device")
    refused("/dev/zero", "a pipe or a device")
    refused("a\0b.png", "this is no path")
    (tmp_path / "text.png").write_text("x" * 99)
    with (tmp_path / "text.png").open() as text:
        refused(text, "open it with mode 'rb'")
    closed = io.BytesIO(file_of(photo()))
    closed.close()
    refused(closed, "closed before it was read")
    (tmp_path / "a.png").write_bytes(file_of(photo()))
    with Image.open(tmp_path / "a.png") as shut:
        pass
    refused(shut, r"a\.png: its file was closed before it was read")


@pytest.mark.bad_input
@pytest.mark.parametrize("thing", [3, None, ["a.png"], object()])
def test_things_that_are_no_pictures(thing):
    refused(thing, r"wanted a picture \(a path, .*got ")


def test_postscript_never_reaches_ghostscript(tmp_path, monkeypatch):
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n%%EOF\n"
    (tmp_path / "photo.png").write_bytes(script)
    monkeypatch.setattr(subprocess, "check_call", lambda *a, **k: pytest.fail("a program was started"))
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("a program was started"))
    refused(tmp_path / "photo.png", "no picture of a kind that is read")
    refused(script, "no picture of a kind that is read")
    refused(Image.open(tmp_path / "photo.png"), "of the kind EPS are not read")


def test_a_picture_without_a_decoder_says_what_to_install():
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64
    refused(heic, "no decoder for HEIF.*pillow-heif")


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG file that claims these sides."""
    content = bytearray(file_of(Image.new("L", (1, 1))))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


def test_sizes_that_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "huge.png").touch()
    os.truncate(tmp_path / "huge.png", 2**29 + 1)  # takes no room on the disk
    monkeypatch.setattr(contents, "_bounded", lambda *a: pytest.fail("it was read"))
    refused(tmp_path / "huge.png", r"more than 512 MiB: save it smaller")
    monkeypatch.undo()
    refused(png_of(20_000, 20_000), "PIL.Image.MAX_IMAGE_PIXELS|megapixels")
    refused(png_of(12_000, 10_000), r"12000 x 10000 pixels are more than 110 megapixels")
    refused(png_of(2_000, 10), "2000 x 10 pixels are a strip.*50 to 1")
    refused(Image.new("RGB", (10, 2_000)), "10 x 2000 pixels are a strip")
    refused(Image.new("RGB", (0, 5)), r"it has no pixels \(0 x 5\)")
    refused(np.zeros((0, 5, 3), np.uint8), "it has no pixels")
    assert read_rgb(Image.new("RGB", (500, 10))).shape == (10, 500, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    refused(png_of(2**31 - 1, 2**31 - 1), "megapixels")
    monkeypatch.setattr(contents, "MAX_BYTES", 100)
    refused(io.BytesIO(file_of(photo())), "MiB: save it smaller")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3)), "float64 of shape .*scale them to 0..255"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"with 1 or 3, got uint8 of shape \(2, 4, 4, 3\)"),
        (np.zeros((5, 4, 2), np.uint8), "1, 3 or 4 channels"),
        (torch.zeros(3, 4, 4), "float32"),
        (np.array("x"), "channels"),
    ],
)
def test_arrays_that_are_no_pictures(array, message):
    refused(array, message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error.*try again"),
        (PermissionError(errno.EACCES, "Permission denied"), "change its permissions"),
    ],
)
def test_what_may_pass_is_no_fault_of_the_picture(error, message, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(file_of(photo()))

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(Path, "open", fail)
    refused(path, message)


def test_memory_that_runs_out_while_decoding(monkeypatch):
    content = file_of(photo(), "JPEG")

    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image.core, "new", fail)
    refused(content, "not enough memory")
    monkeypatch.undo()
    monkeypatch.setattr(Image.core, "new", lambda *a: (_ for _ in ()).throw(OSError("out of memory error")))
    refused(content, "cannot be decoded here")


def test_an_error_travels_between_processes_and_names_the_picture():
    error = pickle.loads(pickle.dumps(PictureError("it is torn: mend it", "a.png")))
    assert str(error) == "a.png: it is torn: mend it" and isinstance(error, ValueError)
    with pytest.raises(PictureError, match=r"^the third one: the file is empty"):
        read_rgb(b"", name="the third one")


def test_names_are_shown_so_that_they_can_be_printed():
    assert path_text(os.fsdecode(b"/a/caf\xe9\n.png")) == r"/a/caf\xe9\n.png"
    assert path_text("/ä/日本.png") == "/ä/日本.png"
    refused(
        os.fsdecode(b"/absent/\xff\x1b[31m.png"),
        r"\\xff\\x1b\[31m\.png: there is no such file",
    )


def test_reading_needs_no_torch():
    code = "import sys, dinov2_edu.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_reader_in_another_thread_waits_for_the_callers_picture(monkeypatch):
    picture = Image.open(io.BytesIO(file_of(photo())))
    with contents.OWNED_BY_CALLERS:
        thread = threading.Thread(target=read_rgb, args=[picture])
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


# ------------------------------------------------------------------------------------------------ the doors agree


def of_crops(path: Path) -> np.ndarray:
    """What the crops are cut from: the whole picture at its own size, not flipped."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            crops.multicrop, "crop_views", lambda images, *rest: seen.append(images) or real(images, *rest)
        )
        crops.multi_crop([path], crops.small_image_crops(), generator=torch.Generator().manual_seed(0))
    return seen[0][0].permute(1, 2, 0).numpy()


real = crops.multicrop.crop_views


def of_features(path: Path) -> np.ndarray:
    (piece,) = as_pictures([path]).pieces(0, 1)
    return piece.images[0].permute(1, 2, 0).numpy()


def of_opened_features(path: Path) -> np.ndarray:
    (piece,) = as_pictures([Image.open(path)]).pieces(0, 1)
    return piece.images[0].permute(1, 2, 0).numpy()


def of_folder(path: Path) -> np.ndarray:
    (piece,) = as_pictures(path.parent).pieces(0, 1)
    return piece.images[0].permute(1, 2, 0).numpy()


def of_class_folders(path: Path) -> np.ndarray:
    """The reader of CIFAR-10's layout, from a folder of its own."""
    root = path.parent.parent / "layout"
    for split in class_folders.SPLITS:
        for name in class_folders_names():
            place = root / split / name
            place.mkdir(parents=True)
            (place / "0.png").write_bytes(path.read_bytes())
    return load_cifar10("test", root=root).images[0].permute(1, 2, 0).numpy()


def class_folders_names() -> tuple[str, ...]:
    return (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
    )  # fmt: skip


DOORS = {
    "crops": of_crops,
    "features of a list": of_features,
    "features of an opened picture": of_opened_features,
    "features of a folder": of_folder,
    "class folders": of_class_folders,
    "figures": lambda path: (as_picture(path) * 255).round().astype(np.uint8),
    "figures of an opened picture": lambda path: (
        (as_picture(Image.open(path)) * 255).round().astype(np.uint8)
    ),
    "controls": lambda path: np.asarray(as_image(path)),
    "controls of an opened picture": lambda path: np.asarray(as_image(Image.open(path))),
}


def turned_file() -> bytes:
    exif = Image.Exif()
    exif[0x112] = 8
    return file_of(photo(), "PNG", exif=exif)


KINDS = {
    "plain": file_of(photo()),
    "turned": turned_file(),
    "turned, broken EXIF": file_of(photo(), "JPEG", exif=exif_block(5, broken=True)),
    "grey": file_of(Image.fromarray(GREY)),
    "16-bit grey, dark": file_of(Image.fromarray(GREY.astype(np.uint16))),
    "16-bit grey, one bright pixel": file_of(Image.fromarray(GREY + np.uint16(256) * (GREY == GREY[0, 0]))),
    "clear": file_of(half_clear("RGBA")),
    "clear grey": file_of(half_clear("LA")),
    "clear colour of a palette": file_of(half_clear("P colour"), transparency=1),
    "clear colour": file_of(half_clear("RGB"), transparency=(200, 0, 0)),
    "palette": file_of(photo().quantize(9)),
    "one bit": file_of(Image.fromarray(GREY > 99)),
    "CMYK": file_of(photo().convert("CMYK"), "JPEG"),
    "YCbCr": file_of(photo().convert("YCbCr"), "JPEG"),
    "LAB": file_of(lab(photo()), "TIFF"),
    "animation": file_of(photo(), "GIF", save_all=True, append_images=[photo(seed=1)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_door_sees_the_same_pixels(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "one" / "photo.png"
    path.parent.mkdir()
    path.write_bytes(KINDS[kind])
    wanted = read_rgb(path)
    for name, door in DOORS.items():
        np.testing.assert_array_equal(door(path), wanted, err_msg=name)


def test_pictures_are_opened_and_converted_in_one_place_only():
    package = Path(plots.__file__).parents[1]
    reader = package / "pictures"
    offers = (r"Image.open(", '.convert("RGB")', ".convert('RGB')", "exif_transpose", "PIL.ImageFile")
    for path in package.rglob("*.py"):
        if reader not in path.parents:
            found = [offer for offer in offers if offer in path.read_text(encoding="utf-8")]
            assert not found, f"{path.relative_to(package)}: {found}; read through dinov2_edu.pictures"
    for path in reader.glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert "Image.open(" not in line or "formats=" in line, f"{path.name}: {line}"


# --------------------------------------------------------------------------------------------------------- folders


def fill(folder: Path, *names: str) -> Path:
    """Write a small picture under each name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_of(photo(4, 4)))
    return folder


def test_a_folder_says_what_it_leaves_out(tmp_path):
    root = fill(
        tmp_path / "set", "cat/1.jpg", "cat/2.PNG", "cat/deep/3.jfif", "cat/4.webp", "cat/5.JPE", "dog/1.bmp"
    )
    fill(root, "cat/.hidden.png", ".checkpoints/1.png", "dog/.ipynb_checkpoints/1.png", "dog/.deep/er/1.png")
    fill(root, "dog/1.HEIC", "dog/2.heic", "dog/notes.txt", "dog/README", "labels.csv")
    (root / "cat" / "gone.jpg").symlink_to("/mnt/gone/3.jpg")
    (root / "bird").symlink_to("/mnt/gone/birds")
    os.mkfifo(root / "cat" / "pipe.png")
    found = read_folder(root)
    assert [path.relative_to(root).as_posix() for path in found.paths] == [
        "cat/1.jpg", "cat/2.PNG", "cat/4.webp", "cat/5.JPE", "cat/deep/3.jfif", "dog/1.bmp",
    ]  # fmt: skip
    assert found.labels == [0] * 5 + [1] and found.class_names == ("cat", "dog")
    assert found.left_out == {
        ".heic": 2, ".txt": 1, ".csv": 1, "files without a suffix": 1, "dead links": 2,
        "pipes, devices and what cannot be looked at": 1,
    }  # fmt: skip
    assert "2 x .heic" in left_out_text(found.left_out)
    with pytest.warns(UserWarning, match=r"6 pictures in set; left out: 2 x (\.heic|dead links), "):
        assert len(as_pictures(root)) == 6


def test_links_to_folders_are_followed_once(tmp_path):
    root = fill(tmp_path / "set", "cat/1.png", "dog/1.png")
    fill(tmp_path / "elsewhere", "5.png", "below/6.png")
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "again").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "loop").symlink_to(root / "cat")
    (root / "dog" / "up").symlink_to(root)
    (root / "bird").symlink_to(tmp_path / "elsewhere")
    found = read_folder(root)
    assert found.class_names == ("bird", "cat", "dog") and found.labels == [0, 0, 1, 1, 1, 2]
    assert found.left_out == {"links to folders that were read already": 3}


def test_folders_that_all_link_to_each_other_are_walked_in_a_moment(tmp_path):
    places = [fill(tmp_path / f"{number}", "1.png") for number in range(12)]
    for one in places:
        for other in places:
            (one / f"to{other.name}").symlink_to(other)
    paths, left_out = find_pictures(places[0])
    assert len(paths) == 12 and sum(left_out.values()) == 12 * 12 - 11


def test_a_folder_that_cannot_be_opened_is_counted(tmp_path, monkeypatch):
    root, real = fill(tmp_path / "set", "a.png", "shut/1.png"), os.scandir

    def scandir(place):
        if str(place).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(place)

    def listdir(place):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(ValueError, match=r"set cannot be opened \(Permission denied\)"):
        read_folder(root)
    monkeypatch.setattr(os, "scandir", scandir)
    paths, left_out = find_pictures(root)
    assert [path.name for path in paths] == ["a.png"] and left_out == {"folders that cannot be opened": 1}


def test_a_folder_in_the_home_folder_and_of_a_name_that_is_no_text(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    odd = os.fsdecode(b"caf\xe9")
    fill(tmp_path / "set" / odd, os.fsdecode(b"\xff.png"))
    pictures = as_pictures("~/set")
    assert pictures.class_names == (odd,) and pictures.name_of(0).endswith(r"set/caf\xe9/\xff.png")
    (tmp_path / "set" / odd / os.fsdecode(b"\xff.png")).write_bytes(b"")
    (failure,) = as_pictures("~/set").pieces(0, 1)
    assert failure.reason.isprintable()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.txt"], r"holds no picture and no class folder; wanted .*\.jpeg.*1 x \.txt are no pictures"),
        (
            ["cat/1.heic", "cat/2.heic"],
            r"class folders without a picture.*: cat; fill or remove them \(2 x \.heic",
        ),
        (["a.png", "cat/1.png"], "holds pictures beside class folders .cat.: sort them"),
    ],
)
def test_folders_without_an_order_are_refused(names, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_folder(fill(tmp_path / "set", *names))
    with pytest.raises(ValueError, match=r"there is no folder .*absent"):
        read_folder(tmp_path / "absent")


# ------------------------------------------------------------------------------------- many, within a bound of bytes


def test_pictures_come_in_order_with_their_errors(tmp_path):
    fill(tmp_path, "1.png", "3.png")
    items = [tmp_path / "1.png", tmp_path / "2.png", tmp_path / "3.png", photo(seed=4), b"junk", NOISE]
    first, missing, third, fourth, junk, sixth = read_ahead(items)
    np.testing.assert_array_equal(first, read_rgb(tmp_path / "1.png"))
    assert third.shape == (4, 4, 3)
    np.testing.assert_array_equal(fourth, read_rgb(photo(seed=4)))
    np.testing.assert_array_equal(sixth, NOISE)
    assert "no such file" in missing.reason and "no picture of a kind" in junk.reason
    assert list(read_ahead([])) == []


@pytest.mark.parametrize("cores", [1, 3, 16])
@pytest.mark.parametrize("most", [1, 30_000, 10**9])
def test_bytes_in_work_stay_within_the_bound(cores, most, tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "threads_here", lambda: cores)
    rng, held, highest = np.random.default_rng(0), {}, []
    sizes = [(int(rng.integers(8, 90)), int(rng.integers(8, 90))) for _ in range(60)]
    items = []
    for number, size in enumerate(sizes):
        items.append(tmp_path / f"{number}.png")
        items[-1].write_bytes(file_of(photo(*size)) if number % 7 else b"junk")
    real, lock = ahead.read_rgb, threading.Lock()

    def watched(content):
        with lock:
            found = real(content)
            held[id(found)] = found.nbytes
            highest.append(sum(held.values()))
        return found

    monkeypatch.setattr(ahead, "read_rgb", watched)
    got = []
    for found in read_ahead(items, most=most):
        got.append(found.shape[:2] if isinstance(found, np.ndarray) else None)
        with lock:
            held.pop(id(found), None)
            highest.append(sum(held.values()) + getattr(found, "nbytes", 0))
    assert got == [size if number % 7 else None for number, size in enumerate(sizes)]
    alone = max(height * width for height, width in sizes) * 3
    assert max(highest) <= max(most, alone)
    if most == 10**9 and cores > 1:
        assert max(highest) > alone  # nothing was held back for no reason


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path):
    fill(tmp_path, *(f"{number}.png" for number in range(40)))
    before = threading.active_count()
    reading = read_ahead(sorted(tmp_path.glob("*.png")), most=1)
    next(reading)
    reading.close()
    assert threading.active_count() == before


@pytest.mark.slow
def test_photos_of_a_camera_take_little_memory(tmp_path):
    """The peak of a process of its own, with 30 photos of 12 megapixels and then one of 100."""
    content = file_of(Image.new("RGB", (4000, 3000)), "JPEG")
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_bytes(content)
    Image.new("RGB", (11600, 8700)).save(tmp_path / "99.jpg")
    code = (
        "import resource, sys; from pathlib import Path; from dinov2_edu.pictures import read_ahead, read_rgb\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10\n"
        "before, paths = peak(), sorted(Path(sys.argv[1]).iterdir())\n"
        "print(sum(1 for _ in read_ahead(paths)), peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    count, mebibytes = done.stdout.split()
    assert count == "31" and float(mebibytes) < 900


def digests_of(*pictures) -> list[bytes]:
    return [found.digest for found in read_ahead(pictures, lambda digest: True)]


def test_a_digest_is_that_of_the_bytes_that_are_decoded(tmp_path):
    path = tmp_path / "a.png"
    content = file_of(photo())
    path.write_bytes(content)
    wanted = hashlib.sha256(content).digest()
    opened = Image.open(path)
    assert set(digests_of(path, content, opened, io.BytesIO(content))) == {wanted}
    assert vars(opened).get("_im", vars(opened).get("im")) is None  # hashing decodes nothing
    first, turned, array = digests_of(photo(), photo(36, 24), NOISE)
    assert first != turned and first == array


def test_what_is_known_is_not_decoded(tmp_path, monkeypatch):
    root = fill(tmp_path / "set", "1.png", "2.png", "3.png")
    (root / "2.png").write_bytes(file_of(photo(4, 4, seed=9)))
    known = hashlib.sha256((root / "2.png").read_bytes()).digest()
    real, decoded = ahead.read_rgb, []
    monkeypatch.setattr(ahead, "read_rgb", lambda content: decoded.append(content) or real(content))
    pieces = list(as_pictures(root).pieces(0, 3, lambda digest: digest == known))
    assert [(one.rows, one.digests) for one in pieces if one.images is None] == [([1], [known])]
    assert len(decoded) == 2
    (piece,) = [one for one in pieces if one.images is not None]
    assert piece.rows == [0, 2]
    assert piece.digests == [
        hashlib.sha256((root / name).read_bytes()).digest() for name in ("1.png", "3.png")
    ]


def test_a_picture_is_read_once_and_its_digest_is_of_what_was_read(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    old, new = (file_of(photo(4, 4, seed)) for seed in (1, 2))
    path.write_bytes(old)

    def known(digest):  # asked between reading and decoding: now somebody writes over the file
        path.write_bytes(new)
        return False

    (found,) = read_ahead([path], known)
    assert found.digest == hashlib.sha256(old).digest()
    np.testing.assert_array_equal(found.pixels, read_rgb(old))


def test_without_digests_nothing_is_hashed(tmp_path, monkeypatch):
    root = fill(tmp_path / "set", "1.png", "2.png")
    monkeypatch.setattr(ahead.hashlib, "sha256", lambda *a: pytest.fail("hashed"))
    assert sum(len(piece.rows) for piece in as_pictures(root).pieces(0, 2)) == 2


def test_pieces_hold_pictures_of_one_size_and_few_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("dinov2_edu.features.sources._BYTES_TOGETHER", 10_000)
    items = [photo(40, 50, seed) if seed % 3 else photo(20, 20, seed) for seed in range(30)]
    rows = []
    for piece in as_pictures(items).pieces(3, 30):
        assert piece.images.dtype == torch.uint8
        assert piece.images.numel() < 10_000 + 6_000
        for row, image in zip(piece.rows, piece.images, strict=True):
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), np.asarray(items[row]))
        rows += piece.rows
    assert sorted(rows) == list(range(3, 30))


def test_one_opened_picture_twice_in_a_list(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(file_of(photo(300, 400)))
    opened = Image.open(path)
    pictures = as_pictures([opened] * 12)
    seen = set()
    for piece in pictures.pieces(0, 12, lambda digest: False):
        seen.update(piece.digests)
        for image in piece.images:
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), read_rgb(path))
    np.testing.assert_array_equal(np.asarray(opened), read_rgb(path))
    assert len(seen) == 1
