"""The prototypes control in a browser: KoLeo against the package's, each control against what it shows."""

import re
import time

import numpy as np
import pytest
import torch
from synthetic import point, prototypes_widget, switch_theme, violations
from torch.nn import functional as F

from dinov2_edu.losses import koleo_loss


@pytest.fixture(scope="module")
def widget():
    return prototypes_widget()


@pytest.fixture
def shown(mount, widget):
    return mount(widget)


def array(widget, name: str) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(getattr(widget, name), "<f4").reshape(-1, 3).copy())


def probs_of(features: torch.Tensor, prototypes: torch.Tensor, temperature: float) -> torch.Tensor:
    """What a head does with a bottleneck feature: cosines with the prototypes, then a softmax."""
    return (features.double() @ F.normalize(prototypes.double(), dim=-1).T / temperature).softmax(-1)


def bars(shown) -> np.ndarray:
    """The probabilities that the bars show, in percent."""
    return np.array([float(text.removesuffix(" %")) for text in shown.texts(".dv2-bars b")])


# ---- formulas ----


@pytest.mark.parametrize("n", [2, 7, 24])
def test_koleo_and_its_gradient_are_the_packages(shown, n):
    points = torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) * 1.3
    points.requires_grad_()
    loss = koleo_loss(points)
    loss.backward()
    given = points.detach().double().tolist()
    found = shown.call("koleo", given)
    assert found["loss"] == pytest.approx(loss.item(), abs=1e-5)
    np.testing.assert_allclose(found["gradients"], points.grad.numpy(), atol=1e-5)


def test_a_step_is_gradient_descent_on_the_sum(shown):
    points = torch.randn(
        9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()
    (9 * koleo_loss(points)).backward()
    wanted = points.detach() - 0.004 * points.grad
    np.testing.assert_allclose(
        shown.call("koleoStep", points.detach().tolist(), 0.004), wanted.numpy(), atol=1e-5
    )


@pytest.mark.parametrize("normalise", [True, False])
def test_logits_are_the_heads(shown, normalise):
    draw = torch.Generator().manual_seed(3)
    feature, prototypes = torch.randn(3, generator=draw) * 2, torch.randn(6, 3, generator=draw)
    unit = F.normalize(feature, dim=-1) if normalise else feature
    wanted = unit @ F.normalize(prototypes, dim=-1).T
    found = shown.call("logits", feature.tolist(), prototypes.tolist(), normalise)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_turning_keeps_lengths_and_angles(shown):
    turned = np.array([shown.call("turn", row, 35, -50) for row in np.eye(3).tolist()])
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turned) == pytest.approx(1)


# ---- what is shown ----


def test_bars_are_the_heads_probabilities(shown, widget):
    feature = F.normalize(array(widget, "cls_points")[0], dim=-1)
    wanted = probs_of(feature, array(widget, "prototypes"), 0.1)
    np.testing.assert_allclose(bars(shown), 100 * wanted.numpy(), atol=0.051)
    entropy = -(wanted * wanted.log()).sum()
    assert f"Entropy {entropy:.2f} of at most 2.48" in shown.readout()


def test_without_normalisation_length_sharpens(shown, widget):
    longest = int(array(widget, "cls_points").norm(dim=-1).argmax())
    shown.set(token=longest)
    before = bars(shown)
    shown.key("normalise", "Space")
    assert shown.value("normalise") is False
    feature = array(widget, "cls_points")[longest]
    assert f"(length {feature.norm():.2f})" in shown.readout()
    np.testing.assert_allclose(
        bars(shown), 100 * probs_of(feature, array(widget, "prototypes"), 0.1).numpy(), atol=0.051
    )
    assert bars(shown).max() > before.max()
    shown.control("normalise").click()
    np.testing.assert_allclose(bars(shown), before)


def test_normalisation_moves_points_to_the_sphere(mount, widget):
    shown = mount(widget, reduced_motion="reduce")
    before = shown.picture()
    shown.control("normalise").click()
    assert shown.picture() != before  # at once: no way in between
    shown.control("normalise").click()
    assert shown.picture() == before


def test_normalisation_is_animated_where_motion_is_welcome(shown):
    shown.page.clock.install()
    shown.page.clock.pause_at(time.time() + 60)
    shown.control("normalise").click()
    seen = []
    for _ in range(12):
        shown.page.clock.run_for(50)
        seen.append(shown.root.locator("canvas").first.evaluate("(c) => c.toDataURL()"))
    assert len(set(seen[:6])) == 6  # on its way for a third of a second
    assert len(set(seen[8:])) == 1  # and then at rest


def test_temperature_by_keyboard_and_by_pointer(shown, widget):
    feature = F.normalize(array(widget, "cls_points")[0], dim=-1)
    shown.key("temperature", "ArrowRight")
    assert shown.value("temperature") == 0.2
    np.testing.assert_allclose(
        bars(shown), 100 * probs_of(feature, array(widget, "prototypes"), 0.2).numpy(), atol=0.051
    )
    shown.drag("temperature", 1.0)
    assert shown.value("temperature") == 1
    assert bars(shown).max() < 30


def test_token_by_keyboard_pointer_and_press(shown, widget):
    n_cls = len(array(widget, "cls_points"))
    shown.key("token", "End")
    assert shown.readout().startswith("Patch token 32 ")
    shown.drag("token", 0.0)
    assert shown.readout().startswith("Class token 1 ")
    alpha, beta = np.radians([20, 20])
    x, y, z = F.normalize(array(widget, "patch_points"), dim=-1).numpy().T
    x, z = np.cos(alpha) * x + np.sin(alpha) * z, np.cos(alpha) * z - np.sin(alpha) * x
    y, z = np.cos(beta) * y - np.sin(beta) * z, np.sin(beta) * y + np.cos(beta) * z
    near = int(np.argmax(z))  # the patch token nearest to the reader
    box = shown.root.locator("canvas").first.bounding_box()
    radius = (min(box["width"], box["height"] - 20) / 2 - 12) / 1.08
    place = (box["width"] / 2 + radius * x[near], box["height"] / 2 + 10 - radius * y[near])
    shown.root.locator("canvas").first.click(position={"x": place[0], "y": place[1]})
    assert shown.readout().startswith(f"Patch token {near + 1} ")
    assert shown.value("token") == n_cls + near


def test_arrow_keys_and_a_drag_turn_the_sphere(shown):
    before = shown.picture()
    shown.root.locator("canvas").first.focus()
    shown.page.keyboard.press("ArrowRight")
    shown.page.keyboard.press("ArrowUp")
    assert (shown.value("yaw"), shown.value("pitch")) == (25, 15)
    assert "turned by 25 and 15 degrees" in shown.alt()
    turned = shown.picture()
    assert turned != before
    point(shown, 0.5, 0.5)
    shown.page.mouse.down()
    point(shown, 0.7, 0.6)
    shown.page.mouse.up()
    assert shown.value("yaw") > 40 and shown.value("pitch") > 25
    assert shown.picture() != turned
    assert shown.value("token") == 0  # a drag chooses nothing


def test_separate_heads_show_a_sphere_each(shown, widget):
    assert shown.root.locator("canvas").nth(1).is_hidden()
    shown.choose("heads", "separate")
    shown.settle()
    assert shown.root.locator("canvas").nth(1).is_visible()
    assert "DINO head: 24 tokens" in shown.alt(0) and "iBOT head: 32 tokens" in shown.alt(1)
    shown.key("token", "End")
    assert "of the iBOT head" in shown.readout()
    feature = F.normalize(array(widget, "ibot_points")[-1], dim=-1)
    np.testing.assert_allclose(
        bars(shown), 100 * probs_of(feature, array(widget, "ibot_prototypes"), 0.1).numpy(), atol=0.051
    )
    shown.choose("heads", "shared")
    assert "of the shared head" in shown.readout()


def test_lines_lead_to_prototypes_or_to_neighbours(shown):
    before = shown.picture()
    shown.choose("lines", "neighbour")
    assert shown.picture() != before
    shown.page.keyboard.press("ArrowLeft")
    assert shown.picture() == before


# ---- KoLeo's push ----


def losses(text: str) -> list[float]:
    found = re.findall(r"(?:steps?: |was |loss: )(\u2212?\d+\.\d+)", text)
    return [float(number.replace("\u2212", "-")) for number in found]


def test_one_step_is_the_packages(shown, widget):
    points = array(widget, "cls_points").double().requires_grad_()
    start = koleo_loss(points)
    (len(points) * start).backward()
    after = koleo_loss(points.detach() - 0.004 * points.grad)
    assert losses(shown.readout()) == [pytest.approx(start.item(), abs=6e-4)]
    shown.press("One step")
    assert losses(shown.readout()) == [
        pytest.approx(after.item(), abs=6e-4),
        pytest.approx(start.item(), abs=6e-4),
    ]


def test_playing_spreads_the_class_tokens_and_pauses(shown):
    start = losses(shown.readout())[0]
    shown.page.clock.install()
    shown.page.clock.pause_at(time.time() + 60)
    shown.root.get_by_role("button", name="Play KoLeo's push").click()
    shown.page.clock.run_for(1000)
    assert shown.value("koleo_steps") == pytest.approx(60, abs=2)
    assert shown.root.locator(".dv2-readout").get_attribute("aria-busy") == "true"
    shown.root.get_by_role("button", name="Pause").click()
    steps = shown.value("koleo_steps")
    shown.page.clock.run_for(1000)
    assert shown.value("koleo_steps") == steps
    assert shown.root.locator(".dv2-readout").get_attribute("aria-busy") == "false"
    shown.page.clock.resume()
    assert losses(shown.readout())[0] < start - 0.05
    shown.press("Start again")
    assert losses(shown.readout()) == [start]


def test_with_reduced_motion_play_jumps_to_the_end(mount, widget):
    shown = mount(widget, reduced_motion="reduce")
    shown.press("Play KoLeo's push")
    assert shown.value("koleo_steps") == 200
    shown.press("Start again")
    shown.press("One step")
    assert shown.value("koleo_steps") == 1


def test_steps_by_keyboard_and_by_pointer(shown):
    start = losses(shown.readout())[0]
    picture = shown.picture()
    shown.key("koleo_steps", "PageUp")
    assert shown.value("koleo_steps") == 20
    first = losses(shown.readout())[0]
    assert first < start and shown.picture() != picture
    shown.drag("koleo_steps", 1.0)
    assert shown.value("koleo_steps") == 200 and losses(shown.readout())[0] < first


# ---- everywhere ----


def test_state_survives_a_theme_switch(shown):
    shown.key("koleo_steps", "PageUp")
    shown.key("token", "ArrowRight")
    before, light = shown.readout(), shown.picture()
    switch_theme(shown)
    assert shown.readout() == before and shown.picture() != light
    switch_theme(shown)
    assert shown.picture() == light


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)])
def test_axe_finds_nothing_and_nothing_sticks_out(mount, widget, width, dark):
    shown = mount(widget, width=width, dark=dark)
    shown.choose("heads", "separate")
    assert violations(shown) == []
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
