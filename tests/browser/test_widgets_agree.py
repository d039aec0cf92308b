"""One step on a photo, in a browser: its crops and masks, what the network says of them, and every way to move it."""

import re

import pytest
import torch
from harness import Mounted
from PIL import Image
from synthetic import switch_theme, violations
from torch.nn.functional import normalize
from torchvision.transforms.v2.functional import pil_to_tensor

from dinov2_edu.crops import normalize as normalise_pixels
from dinov2_edu.data import sample_image
from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD
from dinov2_edu.weights import load_backbone
from dinov2_edu.widgets.agree import AgreeWidget

PHOTOS = {name: sample_image(name) for name in ("china", "flower", "hopper")}
LOAD = "Let them answer (loads 2.4 MB)"


@pytest.fixture(scope="module")
def widget() -> AgreeWidget:
    return AgreeWidget(PHOTOS, source="The book's weights.")


@pytest.fixture
def see(mount, widget) -> Mounted:
    return mount(widget)


def answered(see: Mounted) -> list[float]:
    """Agreement with the same photo and with the other one, by trained and by random weights, as the readout says."""
    see.page.wait_for_function(
        "document.querySelector('.dv2-readout').textContent.includes('cosine')", timeout=60_000
    )
    return numbers(see.readout().partition("go that far.")[0])


def numbers(text: str) -> list[float]:
    found = re.findall("\u2212?[0-9][.][0-9]{2}", text)
    return [float(one.replace("\u2212", "-")) for one in found]


def cls_of(model, photo: Image.Image, crop: dict, size: int, mask=None) -> torch.Tensor:
    """A crop's class token as the package makes it: cut and resized by Pillow, not by the browser."""
    top, left, height, width = crop["box"]
    cut = photo.crop((left, top, left + width, top + height)).resize((size, size), Image.Resampling.BICUBIC)
    cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if crop["flip"] else cut
    pixels = normalise_pixels(pil_to_tensor(cut)[None] / 255, IMAGENET_MEAN, IMAGENET_STD)
    with torch.no_grad():
        return normalize(model(pixels, mask).cls, dim=-1)[0]


@pytest.mark.parametrize("seed", [0, 7])
def test_what_the_page_says_is_what_the_package_finds(see, seed):
    """The browser resizes crops in its own way, so the two agree to a few hundredths."""
    see.set(seed=seed)
    see.press(LOAD)
    said = answered(see)
    model = load_backbone("book")
    small = {name: photo.copy() for name, photo in PHOTOS.items()}
    for photo in small.values():
        photo.thumbnail((320, 320), Image.Resampling.LANCZOS)
    steps = {
        name: see.call("drawStep", seed, {"width": photo.width, "height": photo.height}, 16)
        for name, photo in small.items()
    }
    whole = {
        name: [cls_of(model, small[name], crop, 64) for crop in step["crops"][:2]]
        for name, step in steps.items()
    }
    same, other = [], []
    for i, crop in enumerate(steps["china"]["crops"]):
        mask = torch.tensor(steps["china"]["masks"][i], dtype=torch.bool)[None] if i < 2 else None
        token = cls_of(model, small["china"], crop, 64 if i < 2 else 32, mask)
        mine = [whole["china"][1 - i]] if i < 2 else whole["china"]
        same.append(sum(token @ one for one in mine) / len(mine))
        foreign = whole["flower"] + whole["hopper"]
        other.append(sum(token @ one for one in foreign) / 4)
    wanted = [float(sum(values) / len(values)) for values in (same, other)]
    assert len(said) == 4 and said[:2] == pytest.approx(wanted, abs=0.06)
    assert said[0] > said[1] + 0.2
    tiles = see.texts(".dv2-tile figcaption")
    assert [float(text.replace("\u2212", "-")) for text in tiles[:8]] == pytest.approx(
        [float(one) for one in same], abs=0.15
    )
    assert tiles[8:] == ["G1", "G2"]


def test_half_of_the_global_crops_have_gaps_and_local_ones_lie_in_their_range(see):
    for seed in range(20):
        step = see.call("drawStep", seed, {"width": 320, "height": 213}, 16)
        shares = sorted(sum(mask) / 256 for mask in step["masks"])
        assert shares[0] == 0 and 0.05 < shares[1] <= 0.5
        for crop in step["crops"]:
            top, left, height, width = crop["box"]
            assert 0 <= top <= 213 - height and 0 <= left <= 320 - width
            low, high = (0.32, 1) if crop["kind"] == "global" else (0.05, 0.32)
            assert low - 0.02 < height * width / (320 * 213) < high + 0.02


def test_before_the_press_nothing_is_fetched_and_a_press_draws_anew(see):
    assert "Does the network find out?" in see.readout()
    assert not [
        url
        for url in see.page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
        if "weights" in url
    ]
    see.press(LOAD)
    first = answered(see)
    before = see.picture(0)
    see.root.get_by_role("button", name="Next step").focus()
    see.page.keyboard.press("Enter")
    see.settle()
    assert see.value("seed") == 1 and see.picture(0) != before
    assert answered(see) != first
    see.press("Other photo")
    assert see.value("photo") == "flower" and "photo flower" in see.alt(0)
    assert answered(see)[0] > answered(see)[1]


def test_a_mean_of_the_steps_seen_is_kept_each_counted_once(see):
    see.press(LOAD)
    steps = [answered(see)]
    assert "One step says little" in see.readout()
    for _ in range(2):
        see.press("Next step")
        steps.append(answered(see))
    see.set(seed=1)
    assert answered(see) == steps[1]
    words = see.readout().partition("Mean of your 3 steps: ")[2]
    wanted = [sum(column) / 3 for column in zip(*steps, strict=True)]
    assert numbers(words) == pytest.approx(wanted, abs=0.011)


def test_it_is_accessible_in_both_themes_and_fits_a_phone(see):
    assert not violations(see)
    see.press(LOAD)
    answered(see)
    assert not violations(see)
    switch_theme(see)
    assert not violations(see)
    see.page.set_viewport_size({"width": 390, "height": 844})
    see.settle()
    assert see.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.bad_input
def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="wanted at least two samples"):
        AgreeWidget({"china": PHOTOS["china"]})
    with pytest.raises(Exception, match="photo: wanted one of"):
        AgreeWidget(PHOTOS, photo="cat")
