"""The nearest pictures of "Your picture" in a browser: the package's neighbours and vote, presses, address, axe."""

from dataclasses import asdict

import pytest
import torch
from harness import mounting
from safetensors.torch import load as safetensors_load
from synthetic import labelled, photo, switch_theme, violations
from test_widgets_your_picture import file_of, give, load, numbers, pixels, wait

from dinov2_edu.data import ImageSet
from dinov2_edu.data.cifar import CIFAR10_CLASSES
from dinov2_edu.experiments.nearest import make_bank, mosaic
from dinov2_edu.experiments.page_weights import page_random_backbone
from dinov2_edu.features import Preprocessing
from dinov2_edu.probe import knn_predict, nearest
from dinov2_edu.weights import load_backbone
from dinov2_edu.widgets.your_picture import YourPictureWidget

FETCH = "Fetch the pictures"
ASKED = [photo(1, 96), photo(2, 64), photo(7, 40)]


def pictures(n: int, seed: int) -> ImageSet:
    made = labelled(n, seed, CIFAR10_CLASSES)
    return ImageSet(
        torch.from_numpy(made.images), torch.from_numpy(made.labels), CIFAR10_CLASSES, f"{n} made-up pictures"
    )


KNOWN = pictures(130, 3)


@pytest.fixture(scope="module")
def widget(tmp_path_factory) -> YourPictureWidget:
    path = tmp_path_factory.mktemp("bank") / "nearest.safetensors"
    path.write_bytes(make_bank(KNOWN, pictures(50, 4)))
    return YourPictureWidget({f"disc {i}": photo(i) for i in range(3)}, bank=path)


@pytest.fixture(scope="module")
def seen(chromium, widget):
    """The control with the model and the pictures there."""
    with mounting(chromium) as mount:
        see = load(mount(widget))
        see.choose("view", "nearest")
        assert "fetch them first" in see.readout()
        see.root.get_by_role("button", name=FETCH).click()
        see.root.get_by_role("button", name=FETCH).wait_for(state="hidden", timeout=30_000)
        yield see


def wanted(network: str, image, written: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cosines, places and vote that the package finds among the pictures of the mosaic."""
    shown = Preprocessing(size=32)(mosaic(KNOWN.images)[1])
    if network == "pixels":
        mean = shown.flatten(1).mean(0)
        known, asked = shown.flatten(1) - mean, pixels(image, 32, 32).flatten(1) - mean
    else:
        model = load_backbone("book")
        model = page_random_backbone(model.config) if network == "random" else model
        with torch.no_grad():
            known, asked = written, model(pixels(image, 32, 32)).cls
    return *nearest(known, asked, 20), knn_predict(known, KNOWN.labels, asked)[0]


@pytest.mark.parametrize("network", ["trained", "random", "pixels"])
def test_neighbours_and_vote_are_the_packages(seen, widget, network):
    tensors = safetensors_load(widget._files["nearest.safetensors"])
    written = tensors["random" if network == "random" else "features"].float()
    seen.choose("network", network)
    for image in ASKED:
        give(seen, file_of(image))
        said = wait(seen, f"for \u201c{seen.value('photo')}\u201d")
        seen.settle()
        said = seen.readout()
        cosines, places, vote = wanted(network, image, written)
        best = int(vote.argmax())
        assert f"is {CIFAR10_CLASSES[best]} " in said
        (share,) = numbers(said, rf"is {CIFAR10_CLASSES[best]} (\d+) %")
        assert share == pytest.approx(100 * float(vote[best]), abs=1.5)
        assert numbers(said, r"cosine of ([\u2212\d.]+);")[0] == pytest.approx(
            float(cosines[0, 0]), abs=0.011
        )
        assert numbers(said, r"20th has ([\u2212\d.]+\d)")[0] == pytest.approx(
            float(cosines[0, -1]), abs=0.011
        )
        classes = [CIFAR10_CLASSES[KNOWN.labels[i]] for i in places[0]]
        shown = seen.alt().partition("nearest to it: ")[2].rstrip(".").split(", ")
        assert sum(a == b for a, b in zip(shown, classes, strict=True)) >= 18  # near ties may swap
        bars = seen.texts(".dv2-bars li")
        assert len(bars) == int((vote > 0).sum()) and bars[0].startswith(CIFAR10_CLASSES[best])


def test_the_pages_random_weights_are_those_of_the_build(live):
    """Their features come with the pictures; the reader's own picture is seen by weights that the page draws."""
    config = load_backbone("book").config
    image = Preprocessing(size=32)(mosaic(KNOWN.images)[1][:1])
    script = """
        const model = await live.Model.random(config, 0, { mostPixels: 1024 });
        const seen = model.look(image.data, 32, 32);
        return model.tokensOf(seen, null, false);
    """
    found = torch.from_numpy(live.run(script, config=asdict(config), image=image).copy()).reshape(
        -1, config.width
    )
    tokens = page_random_backbone(config)(image)
    torch.testing.assert_close(found[:1], tokens.cls, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[1:], tokens.patches[0], atol=1e-3, rtol=1e-3)


def test_what_is_said_of_the_bank_is_what_was_measured(seen, widget):
    note = seen.texts(".dv2-note.dv2-wide")[0]
    assert "130 made-up pictures" in note and "50 made-up pictures" in note
    shares = numbers(note, r"right for (\d+) %.*weights for (\d+) %, by pixels for (\d+) %")
    right = widget.bank["right"]
    assert shares == pytest.approx([100 * right[n] for n in ("trained", "random", "pixels")], abs=0.51)


def test_nothing_is_fetched_before_a_press_and_a_failure_is_said(mount, widget):
    see = mount(widget)
    see.choose("view", "nearest")
    see.page.evaluate(
        "() => { window.__fetch = fetch; window.fetch = async () => { throw new TypeError('Failed to fetch'); }; }"
    )
    fetch = see.root.get_by_role("button", name=FETCH)
    asked = "performance.getEntriesByType('resource').filter((one) => one.name.includes('weights')).length"
    assert see.page.evaluate(asked) == 0
    fetch.focus()
    see.page.keyboard.press("Enter")
    see.root.locator(".dv2-notice").wait_for(timeout=10_000)
    assert "could not be fetched" in see.texts(".dv2-notice")[0]
    see.page.evaluate("() => { window.fetch = window.__fetch; }")
    fetch.click()
    fetch.wait_for(state="hidden", timeout=20_000)
    wait(see, "By pixels")  # which need no model
    assert violations(see) == []


def test_other_weights_than_the_pages_are_refused(mount, widget, tmp_path, monkeypatch):
    content = widget._files["nearest.safetensors"]
    other = content.replace(widget.bank["weights"].encode(), b"0" * 64)
    path = tmp_path / "other.safetensors"
    path.write_bytes(other)
    with pytest.raises(ValueError, match="other weights than"):
        YourPictureWidget({"a": photo(0), "b": photo(1)}, bank=path)
    see = mount(widget)
    see.choose("view", "nearest")
    monkeypatch.setitem(widget._files, "nearest.safetensors", other)
    see.root.get_by_role("button", name=FETCH).click()
    see.root.locator(".dv2-notice").wait_for(timeout=10_000)
    assert "by other weights" in see.texts(".dv2-notice")[0]


def test_without_a_bank_there_is_no_such_view(mount):
    see = mount(YourPictureWidget({f"disc {i}": photo(i) for i in range(2)}))
    assert see.root.locator('[data-key="view"][data-value="nearest"]').count() == 0
    see.page.evaluate("location.hash = '#view=nearest'")
    see.settle()
    assert see.value("view") == "similarity"


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_axe_finds_nothing_and_nothing_sticks_out(mount, widget, width, dark):
    see = load(mount(widget, width=width, dark=dark, has_touch=width < 500))
    see.page.evaluate("location.hash = '#view=nearest'")
    see.page.wait_for_function("window.__model.get('view') === 'nearest'")
    fetch = see.root.get_by_role("button", name=FETCH)
    fetch.tap() if width < 500 else fetch.click()
    said = wait(see, "By trained weights")
    assert violations(see) == []
    assert see.page.evaluate("document.documentElement.scrollWidth") <= width
    switch_theme(see)
    assert see.readout() == said
