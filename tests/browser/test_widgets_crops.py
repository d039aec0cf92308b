"""The crops control in a browser: formulas against the package's, each control against what it shows."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from dinov2_edu import crops
from dinov2_edu.widgets.crops import CropsWidget

RAMP = np.linspace(0, 255, 600).astype(np.uint8)
PHOTO = Image.fromarray(np.stack(np.broadcast_arrays(RAMP[None, :], RAMP[:400, None], np.uint8(90)), axis=-1))
"""Red rises to the right and green downwards, so that a pixel tells where it was cut from."""


@pytest.fixture
def cropped(mount):
    return mount(CropsWidget(PHOTO, photo_alt="a colour ramp"))


def test_few_settings_are_in_sight_until_a_fold_is_opened(mount):
    cropped = mount(CropsWidget(PHOTO), unfold=False)
    assert cropped.control("global_scale.0").is_visible() and not cropped.control("ratio.0").is_visible()
    cropped.root.locator("summary").focus()
    cropped.page.keyboard.press("Enter")
    assert cropped.control("ratio.0").is_visible() and cropped.control("solarise").is_visible()


def areas(mounted):
    """The share of the photo that each crop covers."""
    mounted.settle()
    height, width = mounted.value("photo_size")
    return [box[2] * box[3] / (height * width) for box in mounted.value("boxes")]


def picture_of_crop(mounted, crop):
    """The small picture of a crop as shown, as floats height x width x 3."""
    return mounted.pixels(2 + crop)[..., :3].astype(float)


@pytest.mark.parametrize(
    ("size", "scale", "ratio"),
    [
        ((427, 640), (0.32, 1.0), (3 / 4, 4 / 3)),
        ((427, 640), (0.05, 0.32), (3 / 4, 4 / 3)),
        ((32, 32), (0.05, 1.0), (0.25, 4.0)),
        ((100, 900), (0.9, 1.0), (3 / 4, 4 / 3)),  # never fits: the centre fallback, too wide
        ((900, 100), (0.9, 1.0), (3 / 4, 4 / 3)),  # too high
        ((90, 100), (1.0, 1.0), (1.0, 1.0)),
    ],
)
def test_boxes_are_the_packages(cropped, size, scale, ratio):
    uniforms = torch.rand(200, 22, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    wanted = crops.boxes_from_uniform(uniforms, size, scale, ratio)
    found = cropped.page.evaluate(
        """async ([esm, rows, ...rest]) => {
            const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
            const { boxFromUniform } = await import(url);
            return rows.map((row) => boxFromUniform(row, ...rest));
        }""",
        [CropsWidget._esm, uniforms.tolist(), size, scale, ratio],
    )
    np.testing.assert_array_equal(found, wanted.numpy())


@pytest.mark.parametrize(
    ("here", "there", "value"),
    [
        ("adjustBrightness", crops.adjust_brightness, 1.3),
        ("adjustContrast", crops.adjust_contrast, 0.6),
        ("adjustSaturation", crops.adjust_saturation, 1.2),
        ("adjustHue", crops.adjust_hue, 0.1),
        ("adjustHue", crops.adjust_hue, -0.1),
    ],
)
def test_colour_operations_are_the_packages(cropped, here, there, value):
    image = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    image[0, :, 0, :3] = 0.5  # grey, where the hue is undefined
    wanted = there(image, torch.tensor([value]))[0].permute(1, 2, 0).flatten()
    found = cropped.call(here, image[0].permute(1, 2, 0).flatten().tolist(), value)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_solarise_and_blur_are_the_packages(cropped):
    image = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    flat = image[0].permute(1, 2, 0).flatten()
    solarised = crops.solarize(image)[0].permute(1, 2, 0).flatten()
    np.testing.assert_allclose(cropped.call("solarise", flat.tolist()), solarised.numpy(), atol=1e-5)
    blurred = crops.gaussian_blur(image, torch.tensor([1.3]))[0].permute(1, 2, 0).flatten()
    np.testing.assert_allclose(cropped.call("blur", flat.tolist(), 12, 1.3), blurred.numpy(), atol=1e-5)


def test_crops_show_what_their_boxes_hold(cropped):
    for crop, (top, left, height, width) in enumerate(cropped.value("boxes")):
        mean = picture_of_crop(cropped, crop).mean((0, 1))
        where = np.array(PHOTO)[top : top + height, left : left + width].reshape(-1, 3).mean(0)
        np.testing.assert_allclose(mean, where, atol=4)


def test_global_scale_by_keyboard_and_pointer(cropped):
    cropped.key("global_scale.0", "End")
    assert cropped.value("global_scale") == [1, 1]  # the lower thumb pushes the upper one
    assert min(areas(cropped)[:2]) > 0.85  # the whole photo is not of an allowed ratio: the centre
    picture = cropped.picture(0)
    cropped.drag("global_scale.0", 0.0)
    assert cropped.value("global_scale")[0] == pytest.approx(0.02, abs=0.011)
    cropped.key("global_scale.1", "Home")
    assert max(areas(cropped)[:2]) < 0.03
    assert cropped.picture(0) != picture
    assert "takes 2 % of the photo" in cropped.readout()


def test_local_scale_by_keyboard_and_pointer(cropped):
    globals_before = areas(cropped)[:2]
    cropped.drag("local_scale.1", 1.0)
    cropped.key("local_scale.0", *["PageUp"] * 12)
    low, high = cropped.value("local_scale")
    assert high == 1 and low > 0.3
    found = areas(cropped)
    assert min(found[2:]) > 0.3 and found[:2] == globals_before
    assert cropped.said("local_scale.1") == "100 %"


def test_ratio_by_keyboard_and_pointer(cropped):
    cropped.drag("ratio.1", 1.0)
    cropped.drag("ratio.0", 1.0)
    low, high = cropped.value("ratio")
    assert high == 4 and low > 3.8
    cropped.settle()
    assert all(box[3] > 2.5 * box[2] for box in cropped.value("boxes")[2:] if box[3] < 600)
    cropped.key("ratio.1", "Home")
    cropped.settle()
    assert cropped.value("ratio") == [0.25, 0.25]
    assert all(box[2] > 2.5 * box[3] for box in cropped.value("boxes")[2:] if box[2] < 400)


def test_number_of_local_crops(cropped):
    names = cropped.root.get_by_role("button", name=re.compile("^Crop local"))
    cropped.key("n_local", "Home")
    cropped.settle()
    assert names.count() == 0 and len(cropped.value("boxes")) == 2
    cropped.drag("n_local", 1.0)
    cropped.settle()
    assert names.count() == 10 and len(cropped.value("boxes")) == 12
    assert "with 12 boxes on it" in cropped.alt(0)


def test_more_local_crops_leave_the_others_where_they_are(cropped):
    before = cropped.value("boxes")
    cropped.key("n_local", "ArrowRight")
    cropped.settle()
    assert cropped.value("boxes")[:10] == before


def test_draw_again_by_pointer_and_keyboard(cropped):
    seen = [cropped.picture(0)]
    cropped.press("Draw again")
    seen.append(cropped.picture(0))
    cropped.root.get_by_role("button", name="Draw again").focus()
    cropped.page.keyboard.press("Enter")
    seen.append(cropped.picture(0))
    assert len(set(seen)) == 3


def test_crop_is_chosen_by_button_keyboard_and_on_the_photo(cropped):
    buttons = cropped.root.get_by_role("button", name=re.compile("^Crop "))
    buttons.nth(4).click()
    assert cropped.readout().startswith("Crop local 3 takes") and "become 98" in cropped.readout()
    buttons.nth(1).focus()
    cropped.page.keyboard.press("Space")
    assert cropped.readout().startswith("Crop global 2 takes")
    assert "chosen is global 2" in cropped.alt(0)
    photo = cropped.root.locator("canvas").first
    shown, (_, width) = photo.bounding_box(), cropped.value("photo_size")
    boxes = cropped.value("boxes")
    smallest = min(range(len(boxes)), key=lambda crop: boxes[crop][2] * boxes[crop][3])
    top, left, box_height, box_width = boxes[smallest]
    scale = shown["width"] / width
    photo.click(position={"x": (left + box_width / 2) * scale, "y": (top + box_height / 2) * scale})
    cropped.settle()
    assert cropped.value("crop") == smallest
    assert buttons.nth(smallest).get_attribute("aria-pressed") == "true"


def on_the_photo(mounted, y, x):
    """Where a place of the photo, in its own pixels, lies on the page."""
    shown, (height, width) = mounted.root.locator("canvas").first.bounding_box(), mounted.value("photo_size")
    return shown["x"] + x / width * shown["width"], shown["y"] + y / height * shown["height"]


def test_a_box_is_dragged_and_stops_at_the_photos_edge(cropped):
    boxes = cropped.value("boxes")
    smallest = min(range(len(boxes)), key=lambda crop: boxes[crop][2] * boxes[crop][3])
    top, left, height, width = boxes[smallest]
    for y, x in ((200, 300), (-90, 990)):
        cropped.page.mouse.move(*on_the_photo(cropped, top + height / 2, left + width / 2))
        cropped.page.mouse.down()
        cropped.page.mouse.move(*on_the_photo(cropped, y, x), steps=3)
        cropped.page.mouse.up()
        cropped.settle()
        now = cropped.value("boxes")
        top, left = max(0, round(y - height / 2)), min(600 - width, round(x - width / 2))
        np.testing.assert_allclose(now[smallest], [top, left, height, width], atol=2)
        assert [box for i, box in enumerate(now) if i != smallest] == [
            box for i, box in enumerate(boxes) if i != smallest
        ]
        top, left = now[smallest][:2]
    cropped.press("Draw again")
    assert cropped.value("moved") == []


def test_arrow_keys_move_the_chosen_box(cropped):
    cropped.set(crop=3)
    cropped.root.locator("canvas").first.focus()
    top, left = cropped.value("boxes")[3][:2]
    for stroke in ["ArrowLeft"] * 50 + ["ArrowUp"] * 50:
        cropped.page.keyboard.press(stroke)
    cropped.settle()
    assert cropped.value("boxes")[3][:2] == [0, 0] != [top, left]
    cropped.page.keyboard.press("ArrowDown")
    cropped.settle()
    assert cropped.value("boxes")[3][:2] == [15, 0]


def test_a_finger_moves_the_chosen_box_only(mount):
    cropped = mount(CropsWidget(PHOTO, crop=2, moved=[[], [], [0, 0]]), width=390, has_touch=True)
    prevented = """([y, x]) => {
        const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect();
        const clientX = box.left + x / 600 * box.width, clientY = box.top + y / 400 * box.height;
        const touch = new Touch({ identifier: 1, target: canvas, clientX, clientY });
        const options = { touches: [touch], cancelable: true, bubbles: true };
        return !canvas.dispatchEvent(new TouchEvent("touchstart", options));
    }"""
    cropped.settle()
    assert cropped.page.evaluate(prevented, [5, 5])  # on the chosen box: the page does not scroll
    assert not cropped.page.evaluate(prevented, [395, 595])


def test_what_the_teacher_has_seen_is_counted_in_pixels(cropped):
    boxes = torch.tensor(cropped.value("boxes"))
    covered = torch.zeros(len(boxes), 400, 600, dtype=torch.bool)
    for row, (top, left, height, width) in enumerate(boxes.tolist()):
        covered[row, top : top + height, left : left + width] = True
    buttons = cropped.root.get_by_role("button", name=re.compile("^Crop "))
    for crop in range(len(boxes)):
        buttons.nth(crop).click()
        wanted = [
            f"{(covered[crop] & covered[other]).sum() / covered[crop].sum() * 100:.0f}"
            for other in (0, 1)
            if other != crop
        ]
        told = cropped.readout().partition("The teacher has seen ")[2]
        for found, share in zip(re.findall(r"([\d.<]+) %", told), wanted, strict=True):
            assert abs(float(found.strip("<")) - float(share)) <= 1, (crop, told, wanted)
        assert len(cropped.texts(".dv2-bars li")) == len(wanted)


def test_flip_mirrors_the_chosen_crop_only(cropped):
    first, second = picture_of_crop(cropped, 0), picture_of_crop(cropped, 1)
    cropped.control("flip").click()
    np.testing.assert_allclose(picture_of_crop(cropped, 0), first[:, ::-1], atol=6)
    np.testing.assert_array_equal(picture_of_crop(cropped, 1), second)
    assert "flipped" in cropped.readout()
    assert cropped.value("augmented")[0] == ["flip"]


def test_solarise_inverts_bright_values(cropped):
    before = picture_of_crop(cropped, 0)
    cropped.key("solarise", "Space")
    after = picture_of_crop(cropped, 0)
    bright, dark = before > 140, before < 115
    np.testing.assert_allclose(after[bright], 255 - before[bright], atol=8)
    np.testing.assert_allclose(after[dark], before[dark], atol=8)
    cropped.key("solarise", "Space")
    np.testing.assert_array_equal(picture_of_crop(cropped, 0), before)


def test_colour_says_its_numbers_and_changes_the_crop(cropped):
    before = picture_of_crop(cropped, 0)
    cropped.control("colour").click()
    assert np.abs(picture_of_crop(cropped, 0) - before).mean() > 3
    factors = [float(found) for found in re.findall(r"\u00d7\s([\d.]+)", cropped.readout())[2:]]
    assert len(factors) == 3 and all(0.6 <= factor <= 1.4 for factor in factors)


def test_blur_smooths(mount):
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)
    cropped = mount(CropsWidget(noise))
    before = picture_of_crop(cropped, 0)
    cropped.control("blur").click()
    assert "blurred with sigma" in cropped.readout()
    assert (
        np.abs(np.diff(picture_of_crop(cropped, 0), axis=1)).mean() < np.abs(np.diff(before, axis=1)).mean()
    )


def test_augment_as_in_training_and_back(cropped):
    plain = cropped.picture(1)
    counts = dict.fromkeys(("flip", "colour", "blur", "solarise"), 0)
    for _ in range(5):
        cropped.press("Draw again")
        cropped.press("Augment as in training")
        drawn = cropped.value("augmented")
        assert (
            "blur" in drawn[0] and "solarise" not in drawn[0]
        )  # global crop 1: blurred always, never solarised
        assert all("solarise" not in names for names in drawn[2:])
        for name in counts:
            counts[name] += sum(name in names for names in drawn)
    assert 10 < counts["flip"] < 40 and counts["colour"] > 28  # of 50: expected 25 and 40
    cropped.press("No augmentation")
    cropped.set(seed=14)
    assert cropped.value("augmented") == []
    assert cropped.picture(1) == plain
