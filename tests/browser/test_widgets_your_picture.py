"""Your picture in a browser: every view against the package's numbers, every door, keyboard, pointer and address."""

import base64
import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from harness import Mounted, mounting
from made_heads import made_heads
from PIL import Image
from synthetic import photo, point, switch_theme, violations
from torch.nn.functional import cosine_similarity, interpolate, normalize

from dinov2_edu.crops import normalize as normalise_pixels
from dinov2_edu.features import pca_colours
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD
from dinov2_edu.vit import VisionTransformer, ViTConfig
from dinov2_edu.weights import load_backbone
from dinov2_edu.weights.book import save_book_checkpoint
from dinov2_edu.widgets import your_picture
from dinov2_edu.widgets.your_picture import YourPictureWidget

LOAD = re.compile(r"Load the model \(\d\.\d MB\)")
MODEL = load_backbone("book")
FIRST, SECOND = photo(1, 96), photo(2, 160).resize((160, 120))
GRIDS = {0: (16, 16), 1: (12, 16)}
QUERY = (5, 9)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Networks of student and teacher, the file of whose heads the control is given."""
    networks, path = made_heads(tmp_path_factory.mktemp("heads"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(your_picture, "BOOK_HEADS", path)
        yield networks


@pytest.fixture(scope="module")
def widget(heads) -> YourPictureWidget:
    return YourPictureWidget({f"disc {i}": photo(i) for i in range(3)}, source="Made-up pictures.")


def file_of(image: Image.Image, kind: str = "PNG", name: str = "photo.png", **options) -> dict:
    """A picture as the file chooser gets it."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return {"name": name, "mimeType": f"image/{kind.lower()}", "buffer": content.getvalue()}


def give(see: Mounted, *files: dict) -> None:
    """Choose files, and wait until the page has read them."""
    see.page.locator("input[type=file]").set_input_files(list(files))
    see.settle()


def wait(see: Mounted, words: str) -> str:
    """The readout, as soon as it says some words."""
    see.page.wait_for_function(
        "words => document.querySelector('.dv2-readout').textContent.replaceAll('\u00a0', ' ').includes(words)",
        arg=words,
        timeout=20_000,
    )
    return see.readout()


def load(see: Mounted) -> Mounted:
    """Press the button, and wait for the trained weights."""
    see.press(LOAD)
    see.root.get_by_role("button", name="Load").wait_for(state="hidden", timeout=30_000)
    return see


START = {
    "view": "similarity", "network": "trained", "size": 64, "photo": "yours 1", "other": "yours 2",
    "place": [(QUERY[0] + 0.5) / 16, (QUERY[1] + 0.5) / 16], "more": [], "less": [], "threshold": 0.7,
    "tap": "one", "query": "cls", "block": 6, "cut": 0.0, "foreground_high": True, "together": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded(chromium, widget) -> Iterator[Mounted]:
    """The control with two pictures of the reader's own, PNG, so that both sides see the same bytes."""
    with mounting(chromium) as mount:
        see = load(mount(widget))
        give(see, file_of(FIRST), file_of(SECOND))
        yield see


@pytest.fixture
def own(loaded) -> Mounted:
    """The same as every test finds it."""
    loaded.set(**START)
    wait(loaded, "Like row 6, column 10 of \u201cyours 1\u201d, by trained weights")
    return loaded


# ---- the package's numbers ----


def pixels(image: Image.Image, height: int, width: int) -> torch.Tensor:
    bytes_ = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    small = interpolate(bytes_.float() / 255, (height, width), mode="bicubic", antialias=True)
    return normalise_pixels(small.clamp(0, 1), IMAGENET_MEAN, IMAGENET_STD)


def tokens(which: int, size: int = 64, **options):
    rows, cols = (side * size // 64 for side in GRIDS[which])
    with torch.no_grad():
        return MODEL(pixels((FIRST, SECOND)[which], 4 * rows, 4 * cols), **options)


def numbers(text: str, pattern: str) -> list[float]:
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in {text!r}"
    return [float(one.replace("\u2212", "-")) for one in found.groups()]


def shown_values(see: Mounted, board: int, n_boards: int, grid: tuple[int, int]) -> np.ndarray:
    """The colours of a token grid as drawn, looked up at the middle of each patch."""
    image = see.pixels()
    ratio = image.shape[1] / see.root.locator("canvas").first.bounding_box()["width"]
    cell = (image.shape[1] / ratio - 10 * (n_boards - 1)) / n_boards
    height = cell * grid[0] / grid[1]
    x = ratio * (board * (cell + 10) + (np.arange(grid[1]) + 0.5) * cell / grid[1])
    y = ratio * (20 + (np.arange(grid[0]) + 0.5) * height / grid[0])
    return image[np.ix_(y.astype(int), x.astype(int))][..., :3].reshape(-1, 3).astype(int)


@pytest.mark.parametrize("size", [32, 64, 96, 128])
def test_similarity_is_the_cosine_of_the_packages_tokens(own, size):
    own.choose("size", size)
    grid = tuple(side * size // 64 for side in GRIDS[0])
    place = [int((at + 0.5) / 16 * grid[0]) for at in QUERY]
    said = wait(own, f"row {place[0] + 1}, column {place[1] + 1} of")
    here, there = (normalize(tokens(i, size).patches[0], dim=-1) for i in (0, 1))
    row = here[place[0] * grid[1] + place[1]]
    cosines = row @ there.T
    best = int(cosines.argmax())
    cols = GRIDS[1][1] * size // 64
    assert f"at row {best // cols + 1}, column {best % cols + 1} (" in said
    match, threshold, count, n, other = numbers(
        said, r"\(([\u2212\d.]+)\)\. At least ([\d.]+): (\d+) of (\d+) patches here, (\d+) of"
    )
    assert match == pytest.approx(float(cosines.max()), abs=0.006)
    assert n == grid[0] * grid[1]
    assert abs(count - int((row @ here.T >= threshold).sum())) <= 1
    assert abs(other - int((cosines >= threshold).sum())) <= 1


def test_token_grids_have_the_colours_of_their_cosines(own):
    here, there = (normalize(tokens(i).patches[0], dim=-1) for i in (0, 1))
    row = here[QUERY[0] * 16 + QUERY[1]]
    for board, unit, grid in ((1, here, GRIDS[0]), (3, there, GRIDS[1])):
        cosines = (row @ unit.T).numpy()
        wanted = np.array([own.call("scaleColor", float(one)) for one in cosines[::7]])
        far = np.abs(shown_values(own, board, 4, grid)[::7] - wanted).max(axis=1)
        assert np.sort(far)[-4:].min() >= 0 and (far > 3).sum() <= 3  # the frame covers a few


def test_pixels_and_random_weights_give_other_numbers(own):
    trained = own.readout()
    own.choose("network", "pixels")
    said = wait(own, "by pixels alone")
    rows = [
        torch.nn.functional.unfold(pixels(image, 4 * g[0], 4 * g[1]), 4, stride=4)[0].T
        for image, g in ((FIRST, GRIDS[0]), (SECOND, GRIDS[1]))
    ]
    here, there = (normalize(one, dim=-1) for one in rows)
    cosines = here[QUERY[0] * 16 + QUERY[1]] @ there.T
    assert numbers(said, r"\(([\u2212\d.]+)\)\.")[0] == pytest.approx(float(cosines.max()), abs=0.006)
    own.key("network", "ArrowLeft")
    assert wait(own, "by random weights") not in (trained, said)


def test_wanted_and_unwanted_patches_add_and_take_away(own):
    unit = normalize(tokens(0).patches[0], dim=-1)
    own.choose("tap", "more")
    canvas = own.root.locator("canvas").first
    canvas.focus()
    for stroke in ("ArrowDown", "ArrowDown", "Space"):
        own.page.keyboard.press(stroke)
    assert len(own.value("more")) == 2
    own.choose("tap", "less")
    canvas.focus()
    for stroke in (*["ArrowLeft"] * 5, "Enter"):
        own.page.keyboard.press(stroke)
    said = wait(own, "2 patches wanted, 1 not")
    at = [5 * 16 + 9, 7 * 16 + 9], [7 * 16 + 4]
    scores = (unit[at[0]] @ unit.T).mean(0) - (unit[at[1]] @ unit.T).mean(0)
    threshold, count = numbers(said, r"At least ([\d.]+): (\d+) of")
    assert abs(count - int((scores >= threshold).sum())) <= 1
    own.page.keyboard.press("Enter")  # takes it away again
    assert own.value("less") == []
    own.choose("tap", "one")
    point(own, 0.05, 0.2)
    own.page.mouse.down()
    own.page.mouse.up()
    assert own.value("more") == [] and wait(own, "Like row")
    own.drag("threshold", 0.0)
    assert "256 of 256 patches here" in own.readout() or numbers(own.readout(), r": (\d+) of")[0] > 100
    own.key("threshold", "End")
    wait(own, "At least 1.00")


@pytest.mark.parametrize(("query", "token"), [("cls", 0), ("patch", 1 + QUERY[0] * 16 + QUERY[1])])
def test_attention_is_the_packages(own, query, token):
    own.choose("view", "attention")
    own.choose("query", query)
    own.key("block", "ArrowLeft", "ArrowLeft")
    own.drag("block", 0.6)  # block 4
    said = wait(own, f"Block 4, trained weights, the {'class' if query == 'cls' else 'patch'}")
    with torch.no_grad():
        weights = MODEL.attention_maps(pixels(FIRST, 64, 64), 3)[0, :, token]
    shares = 257 * weights[:, 1:]
    for head, row in enumerate(shares):
        best = int(row.argmax())
        (peak,) = numbers(said, rf"head {head + 1} ([\d.]+) at row {best // 16 + 1}, column {best % 16 + 1}")
        assert peak == pytest.approx(float(row.max()), abs=0.06)
    assert numbers(said, r"To the class token ([\d.]+)")[0] == pytest.approx(
        100 * float(weights[:, 0].mean()), abs=0.06
    )
    own.choose("network", "random")
    assert max(numbers(wait(own, "random weights"), r"head 1 ([\d.]+)")) < 5


def test_one_scale_of_attention_for_all_maps(own):
    assert own.call("shareOnScale", 0.25) == 0 and own.call("shareOnScale", 32) == 1
    steps = np.diff([own.call("shareOnScale", 2.0**power) for power in range(-2, 6)])
    np.testing.assert_allclose(steps, 1 / 7)


def test_colours_are_the_packages(own):
    own.choose("view", "colours")
    give(own, file_of(photo(5, 96)))  # both pictures square, so that the package takes them together
    own.set(other="yours 1")
    wait(own, "256 of \u201cyours 1\u201d")
    with torch.no_grad():
        pair = torch.cat([MODEL(pixels(one, 64, 64)).patches for one in (photo(5, 96), FIRST)])
    for cut, high in ((0.0, True), (0.3, True), (0.3, False)):
        own.set(cut=cut, foreground_high=high)
        wanted = pca_colours(pair, threshold=cut, foreground_high=high)
        said = own.readout()
        counts = numbers(said, r"foreground: (\d+) of 256 of \u201c[\w ]+\u201d, (\d+) of 256")
        assert np.abs(np.array(counts) - wanted.foreground.sum(axis=1)).max() <= 1
        shares = numbers(said, r"hold (\d+) %, (\d+) %, (\d+) %")
        np.testing.assert_allclose(shares, 100 * wanted.explained, atol=0.6)
        drawn = shown_values(own, 1, 4, (16, 16))[wanted.foreground[0]]
        far = np.abs(drawn - 255 * wanted.colours[0][wanted.foreground[0]]).max(axis=1)
        assert np.median(far) <= 2
    own.key("together", "Space")
    alone = [pca_colours(one[None], threshold=0.3, foreground_high=False) for one in pair]
    counts = numbers(own.readout(), r"foreground: (\d+) of 256 of \u201c[\w ]+\u201d, (\d+) of 256")
    assert np.abs(np.array(counts) - [one.foreground.sum() for one in alone]).max() <= 1
    own.control("foreground_high").click()
    own.drag("cut", 1.0)
    assert "Too few for components: move the cut." in wait(own, "Too few")


def test_blocks_are_the_packages(own):
    own.choose("view", "blocks")
    said = wait(own, "after blocks 1 to 6")
    with torch.no_grad():
        layers = MODEL.intermediate_layers(pixels(FIRST, 64, 64), range(6))
    for i, layer in enumerate(layers):
        unit = normalize(layer.patches[0], dim=-1)
        share = float((unit[QUERY[0] * 16 + QUERY[1]] @ unit.T >= 0.7).float().mean())
        found = [float(one) for one in re.findall(r"(\d+) %", said)][i + 1]
        assert found == pytest.approx(100 * share, abs=0.9)
    own.root.locator("canvas").first.focus()
    own.page.keyboard.press("ArrowRight")
    wait(own, "row 6, column 11")
    own.choose("network", "random")
    wait(own, "random weights")


def test_masking_is_the_packages(own, heads):
    own.choose("view", "masking")
    own.set(hidden="4x4:0660")
    said = wait(own, "64 of 256 patches hidden")
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:12, 4:12] = True
    mask = mask.flatten()
    whole, masked, stranger = tokens(0), tokens(0, masks=mask[None]), tokens(1)
    before, after = (normalize(one.patches[0], dim=-1) for one in (whole, masked))
    cosines = after @ before.T
    hidden = cosines[mask][:, mask]
    wanted = [
        float(cosine_similarity(whole.cls, masked.cls)),
        float(cosine_similarity(whole.cls, stranger.cls)),
        float(hidden.diagonal().mean()),
        float((hidden.sum() - hidden.diagonal().sum()) / (64 * 63)),
        float(cosines.diagonal()[~mask].mean()),
    ]
    number = r"([\u2212\d.]+\d)"
    pattern = (
        rf"class token {number} \(.*?: {number}\), hidden tokens {number} with what they were, {number} with "
        rf"what other hidden ones were; seen tokens {number}"
    )
    assert numbers(said, pattern) == pytest.approx(wanted, abs=0.006)
    with torch.no_grad():
        right = heads["teacher"].dino_head(whole.patches[0]).argmax(dim=1)[mask]
        named = heads["student"].dino_head(masked.patches[0]).argmax(dim=1)[mask]
    hits, fits = right == named, right[None] == named[:, None]
    pattern = (
        r"At (\d+) of 64 hidden patches \((\d+) %\) .*? one of 1,500; it fits another hidden patch in (\d+) %"
    )
    elsewhere = float((fits.sum() - hits.sum()) / (64 * 63))
    wanted = [float(hits.sum()), 100 * float(hits.float().mean()), 100 * elsewhere]
    assert numbers(said, pattern) == pytest.approx(wanted, abs=1.6)  # one patch may lie between two
    own.choose("network", "random")
    assert "prototype" not in wait(own, "random weights")


def test_prototypes_are_the_heads(own, heads):
    own.choose("view", "prototypes")
    said = wait(own, "scores highest on prototype")
    with torch.no_grad():
        named = [heads["teacher"].dino_head(tokens(i).patches[0]).argmax(dim=1) for i in (0, 1)]
    at = int(numbers(said, r"scores highest on prototype (\d+) of 1,500")[0])
    assert at == int(named[0][QUERY[0] * 16 + QUERY[1]])
    counts = numbers(said, r"so do (\d+) of 256 patches of “yours 1” and (\d+) of 192 patches of “yours 2”")
    assert counts == pytest.approx([float((one == at).sum()) for one in named], abs=1)
    everything = torch.cat(named)
    assert numbers(said, r"named in all: (\d+)") == pytest.approx([len(everything.unique())], abs=2)
    often = everything.bincount().topk(7).values.sum() / len(everything)
    assert numbers(said, r"(\d+) % of the patches") == pytest.approx([100 * float(often)], abs=1)
    assert not own.root.get_by_role("radio", name="random").is_visible()
    own.root.locator("canvas").first.focus()
    own.page.keyboard.press("ArrowRight")
    wait(own, "row 6, column 11")


@pytest.mark.parametrize("fault", ["gone", "of other weights"])
def test_without_its_heads_the_model_is_of_use_all_the_same(mount, widget, fault):
    see = mount(widget)
    if fault == "gone":
        see.page.route("**/_static/weights/*heads*", lambda route: route.abort())
        said = "could not be fetched"
    else:
        see.page.evaluate(
            "window.__model.set('heads', { ...window.__model.get('heads'), backbone: 'another' })"
        )
        said = "The file of heads is of other weights than the model: load the page again."
    load(see)
    assert "by trained weights" in wait(see, "by trained")
    see.choose("view", "prototypes")
    wait(see, said)
    see.choose("view", "masking")
    assert "prototype" not in wait(see, "patches hidden, trained weights")


def test_progress_counts_both_files_and_the_second_can_be_cancelled(mount, widget):
    see, held = mount(widget), []
    see.page.route("**/_static/weights/*heads*", lambda route: held.append(route))
    see.press(LOAD)
    press = see.root.get_by_role("button", name="press to cancel")
    share = 1 - widget.heads["megabytes"] / widget.megabytes
    press.get_by_text(f"Loading {share:.0%}".replace("%", " %")).wait_for(timeout=20_000)
    press.click()
    see.root.get_by_role("button", name=LOAD).wait_for(timeout=5000)
    assert not see.root.locator(".dv2-notice").is_visible()
    for _ in range(50):
        if see.page.workers:
            see.page.wait_for_timeout(100)
    assert not see.page.workers


def test_patches_are_hidden_by_key_press_and_stroke(own):
    own.choose("view", "masking")
    own.press("Show all")
    wait(own, "No patch is hidden")
    own.root.locator("canvas").first.focus()
    own.page.keyboard.press("Space")
    wait(own, "1 of 256 patches hidden")
    own.page.keyboard.press("Space")
    wait(own, "No patch is hidden")
    box = own.root.locator("canvas").first.bounding_box()
    cell = (box["width"] - 20) / 3 / 16  # three boards
    own.page.mouse.move(box["x"] + 2.5 * cell, box["y"] + 20 + 3.5 * cell)
    own.page.mouse.down()
    own.page.mouse.move(box["x"] + 6.5 * cell, box["y"] + 20 + 3.5 * cell, steps=12)
    own.page.mouse.up()
    wait(own, "5 of 256 patches hidden")
    assert own.root.locator("canvas").first.bounding_box() == box, "no board came or went under the stroke"
    own.press("Hide half at random")
    assert 90 < numbers(wait(own, "what other hidden"), r"(\d+) of 256")[0] < 166
    own.press("Hide all")
    wait(own, "256 of 256 patches hidden")


def test_hidden_patches_keep_their_place_on_every_grid(own):
    for grid, bits in (((4, 4), [5, 6, 9, 10]), ((8, 8), None), ((3, 5), None)):
        found = own.call("hiddenBits", "4x4:0660", list(grid))
        assert own.call("hiddenBits", own.call("hiddenText", found, list(grid)), list(grid)) == found
        assert bits is None or [i for i, bit in enumerate(found) if bit] == bits
    assert sum(own.call("hiddenBits", "nonsense", [4, 4])) == 0


def test_strongest_directions_are_numpys(own):
    for rows in (np.random.default_rng(0).normal(size=(60, 40)) * np.linspace(1, 5, 40), np.eye(12, 20)):
        centred = rows - rows.mean(axis=0)
        matrix = centred.T @ centred
        found = own.page.evaluate(
            """async ([esm, matrix, d]) => {
                const { leadingEigen } = await import(URL.createObjectURL(new Blob([esm], {type: "text/javascript"})));
                const { values, vectors } = leadingEigen(Float64Array.from(matrix), d, 3);
                return [values, vectors.map((v) => [...v])];
            }""",
            [own.source, matrix.ravel().tolist(), len(matrix)],
        )
        values, vectors = np.linalg.eigh(matrix)
        np.testing.assert_allclose(found[0], values[::-1][:3], rtol=1e-8)
        if values[-1] > values[-2] * 1.001:  # else any direction of the plane is right
            np.testing.assert_allclose(
                np.abs(np.array(found[1]) @ vectors[:, ::-1][:, :3]), np.eye(3), atol=1e-5
            )


@pytest.mark.parametrize("threshold", [-0.7, 0.0, 0.9])
@pytest.mark.parametrize("high", [True, False])
def test_two_passes_are_the_packages(own, threshold, high):
    rows = np.random.default_rng(1).normal(size=(2, 30, 6)) * np.arange(1, 7)
    wanted = pca_colours(rows, n_components=4, threshold=threshold, foreground_high=high)
    options = {"count": 4, "threshold": threshold, "foregroundHigh": high, "passes": 2}
    found = own.call("pcaColors", rows.reshape(60, 6).tolist(), options)
    np.testing.assert_allclose(found["first"], wanted.first_scores.ravel(), atol=1e-5)
    assert found["foreground"] == wanted.foreground.ravel().tolist()
    np.testing.assert_allclose(found["explained"], wanted.explained, atol=1e-5)
    colours = [[0.0] * 4 if row is None else row for row in found["colors"]]
    np.testing.assert_allclose(colours, wanted.colours.reshape(60, 4), atol=1e-5)


# ---- doors ----


def newest(see: Mounted) -> np.ndarray:
    """The picture looked at, as the first board shows it: height x width x 3."""
    see.settle()
    image = see.pixels()[..., :3]
    width = (image.shape[1] - 30) // 4
    return image[20:, :width]


def quarters() -> Image.Image:
    """A picture of 80 x 60 with four colours, so that turning and mirroring show."""
    image = Image.new("RGB", (80, 60))
    for i, colour in enumerate(["#e02020", "#20c020", "#2020e0", "#e0e020"]):
        image.paste(colour, (40 * (i % 2), 30 * (i // 2), 40 * (i % 2) + 40, 30 * (i // 2) + 30))
    return image


def test_a_photo_is_turned_as_its_exif_says(mount, widget):
    see = mount(widget)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    give(see, file_of(quarters(), "JPEG", exif=exif, quality=95))
    assert see.value("photo") == "yours 1"
    top = newest(see)
    upright = top.shape[1]
    assert (
        np.abs(top[10, 10].astype(int) - [32, 32, 224]).max() < 40
    )  # the lower left one came to the upper left
    assert np.abs(top[10, upright - 12].astype(int) - [224, 32, 32]).max() < 40


def test_transparency_lies_on_white(mount, widget):
    see = mount(widget)
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.paste((0, 0, 0, 255), (32, 0, 64, 64))
    give(see, file_of(image))
    top = newest(see)
    assert np.all(top[30, 20] == 255) and np.all(top[30, top.shape[1] - 20] == 0)


def test_twenty_megapixels_are_made_small(mount, widget):
    see = mount(widget)
    large = Image.fromarray(np.kron(np.asarray(quarters()), np.ones((64, 64, 1), np.uint8)))
    give(see, file_of(large, "JPEG", quality=60))
    see.page.wait_for_function("window.__model.get('photo') === 'yours 1'", timeout=20_000)
    assert "192 patches here" in wait(see, "192 patches here")  # 16 x 12
    assert np.abs(newest(see)[10, 10].astype(int) - [224, 32, 32]).max() < 40


BROKEN = {
    "cut.jpg": (file_of(photo(0), "JPEG")["buffer"][:3000], "begins like a JPEG but cannot be decoded"),
    "noise.jpg": (b"\xff\xd8\xff\xe0" + bytes(range(200)) + b"\xff\xd9", "cannot be decoded"),
    "cut.png": (file_of(photo(0))["buffer"][:2000], "begins like a PNG"),
    "notes.txt": (b"just words", "is no picture that this browser can read"),
    "photo.heic": (b"\x00\x00\x00\x18ftypheic" + bytes(80), "is a HEIC photo"),
    "scan.tif": (b"II*\x00" + bytes(80), "is a TIFF"),
    "nothing.png": (b"", "is empty"),
}


def test_what_cannot_be_read_gets_a_sentence(mount, widget):
    see = mount(widget)
    before = see.readout()
    for name, (content, words) in BROKEN.items():
        give(see, {"name": name, "mimeType": "", "buffer": content})
        said = see.texts(".dv2-notice")[0]
        assert name in said and words in said, f"{name}: {said!r}"
    assert see.value("photo") == "disc 0" and see.readout() == before
    assert violations(see) == []
    give(see, file_of(FIRST))
    assert not see.root.locator(".dv2-notice").is_visible()


def test_a_jpeg_is_whole_where_the_picture_ends_and_not_its_small_copy(own):
    see, whole = own, file_of(photo(0), "JPEG")["buffer"]
    inside = b"\xff\xd8\xff\xd9"  # as a camera's thumbnail would end
    with_copy = whole[:2] + b"\xff\xe1\x00\x06" + inside + whole[2:]
    for content, cut in ((whole, False), (whole[:-2], True), (with_copy, False), (with_copy[:3000], True)):
        assert see.call("cutShort", list(content)) is cut
    assert see.call("cutShort", list(whole + b"a film of the moment before")) is False


SEND = """async ([kind, content]) => {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], "photo.png", { type: "image/png" }));
    const target = kind === "paste" ? document.body : document.querySelector(".dv2 canvas");
    const options = { bubbles: true, cancelable: true };
    if (kind === "paste") target.dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: carried }));
    else for (const name of ["dragover", "drop"]) {
        target.dispatchEvent(new DragEvent(name, { ...options, dataTransfer: carried }));
    }
}"""


@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_comes_by_paste_and_drop(mount, widget, kind):
    see = mount(widget)
    see.page.evaluate(SEND, [kind, base64.b64encode(file_of(FIRST)["buffer"]).decode()])
    see.page.wait_for_function("window.__model.get('photo') === 'yours 1'", timeout=10_000)
    assert not see.root.evaluate("e => e.classList.contains('dv2-over')")


def test_two_pictures_become_first_and_second_and_the_third_is_left(mount, widget):
    see = mount(widget)
    give(see, *(file_of(photo(i, 40)) for i in range(3)))
    assert (see.value("photo"), see.value("other")) == ("yours 1", "yours 2")
    assert "Two pictures at a time" in see.texts(".dv2-notice")[0]
    give(see, file_of(FIRST))
    assert (see.value("photo"), see.value("other")) == ("yours 3", "yours 1")


CAMERA = """Object.defineProperty(navigator, "mediaDevices", { configurable: true, value: { getUserMedia: async () => {
    window.__asked = (window.__asked ?? 0) + 1;
    if (window.__refuse) throw new DOMException("no", "NotAllowedError");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [80, 60];
    const ctx = canvas.getContext("2d");
    const draw = () => { ctx.fillStyle = "#e02020"; ctx.fillRect(0, 0, 80, 60); requestAnimationFrame(draw); };
    draw();
    window.__stream = canvas.captureStream(20);
    return window.__stream;
} } })"""


def test_the_camera_is_asked_on_a_press_and_given_back(mount, widget):
    see = mount(widget, before=CAMERA)
    assert see.page.evaluate("window.__asked") is None
    see.page.evaluate("window.__refuse = true")
    see.press("Use the camera")
    assert "The camera was not given" in see.texts(".dv2-notice")[0]
    see.page.evaluate("window.__refuse = false")
    for last in ("Close the camera", "Take the picture"):
        see.press("Use the camera")
        see.page.wait_for_function("document.querySelector('.dv2 video').videoWidth > 0", timeout=10_000)
        assert violations(see) == []
        see.press(last)
        assert see.page.evaluate("window.__stream.getTracks().every((t) => t.readyState === 'ended')")
    see.page.wait_for_function("window.__model.get('photo') === 'yours 1'", timeout=10_000)
    assert not see.root.locator("video").is_visible()


# ---- the model comes on a press, and goes ----


def test_nothing_is_fetched_or_started_before_a_press(mount, widget):
    see = mount(widget)
    see.choose("view", "attention")
    assert "This view needs the model" in see.readout()
    see.choose("view", "similarity")
    assert "by pixels alone" in wait(see, "by pixels")
    asked = "performance.getEntriesByType('resource').filter((one) => one.name.includes('weights')).length"
    assert see.page.evaluate(asked) == 0 and len(see.page.workers) == 0
    load(see)
    assert "by trained weights" in wait(see, "by trained") and len(see.page.workers) == 1
    see.page.evaluate("dispatchEvent(new Event('pagehide'))")
    wait(see, "by pixels alone")
    assert see.root.get_by_role("button", name=LOAD).is_visible()


def test_loading_can_be_cancelled_and_a_failure_is_said(mount, widget):
    see = mount(widget)
    held = []
    see.page.route("**/_static/weights/*", lambda route: held.append(route))
    see.press(LOAD)
    see.root.get_by_role("button", name="press to cancel").click()
    see.root.get_by_role("button", name=LOAD).wait_for(timeout=5000)
    assert not see.root.locator(".dv2-notice").is_visible()
    see.page.unroute("**/_static/weights/*")
    see.page.route("**/_static/weights/*", lambda route: route.abort())
    see.press(LOAD)
    see.root.locator(".dv2-notice").wait_for(timeout=5000)
    assert "could not be fetched" in see.texts(".dv2-notice")[0]


def test_a_live_kernel_hands_over_whatever_weights_the_control_was_given(mount, monkeypatch, tmp_path):
    config = ViTConfig(img_size=28, patch_size=14, width=64, depth=2, heads=2, n_registers=2, layer_scale=1.0)
    torch.manual_seed(3)
    model = VisionTransformer(config)
    path = save_book_checkpoint(model, {}, tmp_path)
    given = YourPictureWidget({f"disc {i}": photo(i) for i in range(2)}, weights=path)
    assert given.sizes == [112, 224, 336, 448]
    sent = []
    monkeypatch.setattr(given, "send", lambda *parts: sent.append(parts))
    given._handle_custom_msg({"wanted": "book.safetensors"}, [])
    (message, (content,)) = sent[0]
    see = mount(given)
    see.page.evaluate(
        """([message, text]) => {
            const model = window.__model, heard = new Set();
            model.widget_manager = {};
            model.on = (event, listener) => heard.add(listener);
            model.send = (wanted) => {
                window.__wanted = wanted;
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                heard.forEach((listener) => listener(message, [new DataView(bytes.buffer)]));
            };
        }""",
        [message, base64.b64encode(content).decode()],
    )
    see.press(f"Load the model ({len(content) / 1e6:.1f} MB)")
    see.root.get_by_role("button", name="Load").wait_for(state="hidden", timeout=30_000)
    assert see.page.evaluate("window.__wanted") == {"wanted": "book.safetensors"}
    give(see, file_of(FIRST))
    see.choose("size", 112)
    see.choose("view", "attention")
    said = wait(see, "Block 2, trained weights")
    with torch.no_grad():
        halved = load_backbone(path)
        shares = 67 * halved.attention_maps(pixels(FIRST, 112, 112), 1)[0, :, 0, 3:]
    for head, row in enumerate(shares):
        assert numbers(said, rf"head {head + 1} ([\d.]+) at")[0] == pytest.approx(float(row.max()), abs=0.06)


# ---- everywhere ----


def test_state_is_in_the_address_and_comes_back(mount, widget):
    see = mount(widget)
    see.choose("view", "blocks")
    see.choose("size", 32)
    see.page.wait_for_function("location.hash.includes('view=blocks') && location.hash.includes('size=32')")
    see.page.evaluate(
        "location.hash = '#view=masking&size=96&photo=disc+2&place=0.25,0.75&block=2&hidden=4x4:0660&cut=9&network=no'"
    )
    see.page.wait_for_function("window.__model.get('view') === 'masking'")
    got = {key: see.value(key) for key in ("size", "photo", "place", "block", "hidden", "cut", "network")}
    assert got == {
        "size": 96, "photo": "disc 2", "place": [0.25, 0.75], "block": 2, "hidden": "4x4:0660", "cut": 0.0,
        "network": "trained",
    }  # fmt: skip
    see.page.evaluate("location.hash = '#a-heading'")
    see.settle()
    assert see.value("view") == "masking"


def test_a_finger_taps_a_patch_and_a_picture(mount, widget):
    see = load(mount(widget, width=390, has_touch=True))
    box = see.root.locator("canvas").first.bounding_box()
    see.page.touchscreen.tap(box["x"] + 4, box["y"] + 24)
    wait(see, "Like row 1, column 1 of")
    see.root.get_by_role("group", name="Second picture").get_by_role("button").nth(2).tap()
    wait(see, "best match in \u201cdisc 2\u201d")
    see.root.get_by_role("group", name="Picture", exact=True).get_by_role("button").nth(1).press("Enter")
    wait(see, "of \u201cdisc 1\u201d")


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_axe_finds_nothing_in_any_view_and_nothing_sticks_out(mount, widget, width, dark):
    see = mount(widget, width=width, dark=dark)
    assert violations(see) == []
    load(see)
    for view in ("similarity", "colours", "attention", "blocks", "masking", "prototypes"):
        see.choose("view", view)
        see.settle()
        assert violations(see) == [], view
        assert see.page.evaluate("document.documentElement.scrollWidth") <= width
    said = see.readout()
    switch_theme(see)
    assert see.readout() == said
