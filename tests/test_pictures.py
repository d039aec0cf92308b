"""One reader for every kind of picture: a photo is the same pixels however it comes, or a sentence says why not."""

import errno
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
from PIL import Image, ImageCms, ImageOps

from dinov2_edu.pictures import PictureError, path_text, pixels, read_rgb, read_tensor, reading

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
    "kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "AVIF", "JPEG", "JPEG2000", "MPO"]
)
def test_a_photo_is_the_same_pixels_however_it_comes(kind, tmp_path):
    content = file_of(photo(), kind)
    wanted = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    for name, picture in ways(content, tmp_path).items():
        found = read_rgb(picture)
        assert found.flags.writeable and found.flags.c_contiguous, name
        np.testing.assert_array_equal(found, wanted, err_msg=name)


def test_arrays_and_tensors_of_every_layout():
    forms = [
        NOISE,
        NOISE.transpose(2, 0, 1),
        torch.from_numpy(NOISE.copy()),
        torch.from_numpy(NOISE).permute(2, 0, 1),
    ]
    for form in forms:
        np.testing.assert_array_equal(read_rgb(form), NOISE)
    for form in (GREY, GREY[..., None], GREY[None], GREY.astype(np.uint16) * 257):
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
    options = {"irreversible": False} if kind == "JPEG2000" else {}
    content = file_of(Image.fromarray(deep), kind, **options)
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


def test_a_clear_colour_of_a_file_is_white_too(tmp_path):
    for name, picture in {
        "grey": Image.fromarray(GREY),
        "deep": Image.fromarray(GREY.astype(np.uint16)),
    }.items():
        content = file_of(picture, transparency=int(GREY[0, 0]))
        clear = read_rgb(content)[GREY == GREY[0, 0]]
        assert (clear == 255).all(), name


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


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "JPEG", "MPO"])
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "AVIF"])
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


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
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


def refused(picture, message: str, *, permanent: bool = True) -> PictureError:
    """The error that reading a picture raises; holds its text and kind to what is wanted."""
    with pytest.raises(PictureError, match=message) as caught:
        read_rgb(picture)
    assert caught.value.permanent is permanent
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "AVIF", "BMP", "JPEG2000"])
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
    kind = ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "AVIF", "BMP", "PPM"][seed % 8]
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
    refused(tmp_path, "this is a folder", permanent=False)
    refused(tmp_path / "absent.png", r"absent\.png: there is no such file", permanent=False)
    (tmp_path / "link.png").symlink_to("/mnt/gone/3.jpg")
    refused(tmp_path / "link.png", "a link to /mnt/gone/3.jpg, which is not there", permanent=False)
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "a pipe or a device", permanent=False)
    refused("/dev/zero", "a pipe or a device", permanent=False)
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
    refused(heic, "no decoder for HEIF.*pillow-heif", permanent=False)


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG file that claims these sides."""
    content = bytearray(file_of(Image.new("L", (1, 1))))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


def test_sizes_that_are_not_read(monkeypatch):
    refused(png_of(20_000, 20_000), "PIL.Image.MAX_IMAGE_PIXELS|megapixels", permanent=False)
    refused(png_of(12_000, 10_000), r"12000 x 10000 pixels are more than 110 megapixels", permanent=False)
    refused(png_of(2_000, 10), "2000 x 10 pixels are a strip.*50 to 1")
    refused(Image.new("RGB", (10, 2_000)), "10 x 2000 pixels are a strip")
    refused(Image.new("RGB", (0, 5)), r"it has no pixels \(0 x 5\)")
    refused(np.zeros((0, 5, 3), np.uint8), "it has no pixels")
    assert read_rgb(Image.new("RGB", (500, 10))).shape == (10, 500, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    refused(png_of(2**31 - 1, 2**31 - 1), "megapixels", permanent=False)
    monkeypatch.setattr(reading, "MAX_BYTES", 100)
    refused(io.BytesIO(file_of(photo())), "MiB: save it smaller", permanent=False)


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
    refused(path, message, permanent=False)


def test_memory_that_runs_out_while_decoding(monkeypatch):
    content = file_of(photo(), "JPEG")

    def fail(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image.core, "new", fail)
    refused(content, "not enough memory", permanent=False)
    monkeypatch.undo()
    monkeypatch.setattr(Image.core, "new", lambda *a: (_ for _ in ()).throw(OSError("out of memory error")))
    refused(content, "cannot be decoded here", permanent=False)


def test_an_error_travels_between_processes_and_names_the_picture():
    error = pickle.loads(pickle.dumps(PictureError("it is torn: mend it", "a.png", permanent=False)))
    assert (
        str(error) == "a.png: it is torn: mend it" and not error.permanent and isinstance(error, ValueError)
    )
    with pytest.raises(PictureError, match=r"^the third one: the file is empty"):
        read_rgb(b"", name="the third one")


def test_names_are_shown_so_that_they_can_be_printed():
    assert path_text(os.fsdecode(b"/a/caf\xe9\n.png")) == r"/a/caf\xe9\n.png"
    assert path_text("/ä/日本.png") == "/ä/日本.png"
    refused(
        os.fsdecode(b"/absent/\xff\x1b[31m.png"),
        r"\\xff\\x1b\[31m\.png: there is no such file",
        permanent=False,
    )


def test_reading_needs_no_torch():
    code = "import sys, dinov2_edu.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_reader_in_another_thread_waits_for_the_callers_picture(monkeypatch):
    picture = Image.open(io.BytesIO(file_of(photo())))
    with reading._OWNED_BY_CALLERS:
        thread = threading.Thread(target=read_rgb, args=[picture])
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()
