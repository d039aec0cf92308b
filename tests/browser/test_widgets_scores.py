"""The scores control in a browser: a head's formula against the package's, each input against what it shows."""

import re

import numpy as np
import pytest
import torch
from synthetic import point, switch_theme, violations

from dinov2_edu.heads import Prototypes
from dinov2_edu.widgets.scores import ScoresWidget


@pytest.fixture
def shown(mount):
    return mount(ScoresWidget())


def package(angle, length, temperature=1.0, *, normalise=True) -> np.ndarray:
    """The probabilities by the package's own last layer, its prototypes turned to the control's directions."""
    layer = Prototypes(2, 8)
    angles = torch.deg2rad(torch.tensor(ScoresWidget().prototypes))
    layer.weight_v.data = 3 * torch.stack([angles.cos(), angles.sin()], dim=1)
    turned = torch.deg2rad(torch.tensor(float(angle)))
    vector = length * torch.stack([turned.cos(), turned.sin()])
    if normalise:
        vector = torch.nn.functional.normalize(vector, dim=0)
    return (layer(vector[None])[0] / temperature).softmax(-1).detach().numpy()


def probabilities(shown) -> np.ndarray:
    return np.array([float(text.split()[0]) / 100 for text in shown.texts(".dv2-bars b")])


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(
    ("angle", "length", "temperature"), [(65, 1.0, 1.0), (-100, 2.5, 0.1), (48, 0.4, 0.04)]
)
def test_bars_are_the_softmax_of_the_packages_scores(mount, angle, length, temperature, normalise):
    values = {"angle": angle, "length": length, "temperature": temperature, "normalise": normalise}
    shown = mount(ScoresWidget(**values))
    wanted = package(angle, length, temperature, normalise=normalise)
    np.testing.assert_allclose(probabilities(shown), wanted, atol=0.00051)
    best = "ABCDEFGH"[wanted.argmax()]
    assert shown.readout().startswith(f"Nearest is {best} (")
    entropy = -(wanted * np.log(wanted)).sum()
    found = float(re.search(r"entropy (\d+\.\d+) of at most 2\.08", shown.readout())[1])
    assert found == pytest.approx(entropy, abs=0.0051)


def test_temperature_by_keyboard_and_pointer(shown):
    before = probabilities(shown).max()
    shown.key("temperature", "Home")
    assert shown.said("temperature") == "0.02" and probabilities(shown).max() > before
    shown.drag("temperature", 1.0)
    assert shown.value("temperature") == 1 and probabilities(shown).max() == pytest.approx(before)


def test_length_counts_only_where_it_is_left_free(shown):
    before = probabilities(shown)
    shown.key("length", "End")
    np.testing.assert_array_equal(probabilities(shown), before)
    shown.key("normalise", "Space")
    assert "the cosine times a length of 3.0" in shown.readout()
    assert probabilities(shown).max() > before.max()
    shown.drag("length", 0.0)
    assert probabilities(shown).max() < before.max()
    shown.control("normalise").click()
    np.testing.assert_array_equal(probabilities(shown), before)


def test_the_arrow_follows_pointer_keys_and_slider(shown):
    point(shown, 0.95, 0.5)
    shown.page.mouse.down()
    shown.page.mouse.up()
    shown.settle()
    assert abs(shown.value("angle")) < 2 and "Nearest is A" in shown.readout()
    point(shown, 0.2, 0.2)
    assert abs(shown.value("angle")) < 2  # without a press it stays
    picture = shown.picture()
    shown.root.locator("canvas").focus()
    shown.page.keyboard.press("ArrowLeft")
    assert shown.value("angle") in (4, 5, 6) and shown.picture() != picture
    shown.page.keyboard.press("ArrowUp")
    assert shown.value("length") == 1.1 and "Arrow keys turn it." in shown.alt()
    shown.key("angle", "Home")
    assert shown.value("angle") == -180 and "Nearest is E" in shown.readout()
    shown.drag("angle", 0.75)
    assert 85 < shown.value("angle") < 95 and "Nearest is C" in shown.readout()


@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_and_is_accessible(mount, width):
    shown = mount(ScoresWidget(), width=width)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    box = shown.root.bounding_box()
    slider = shown.control("temperature").bounding_box()
    assert (
        slider["y"] + slider["height"] - box["y"] < 844 - 200
    )  # picture, bars and thumb in one screen of a phone
    for _ in range(2):
        assert violations(shown) == []
        switch_theme(shown)
