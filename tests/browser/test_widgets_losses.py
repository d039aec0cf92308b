"""The losses control in a browser: formulas against the package's, each control against what it shows."""

import re

import numpy as np
import pytest
import torch
from synthetic import switch_theme, violations

from dinov2_edu import losses
from dinov2_edu.widgets.losses import LossesWidget

LOGITS = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def shown(mount):
    return mount(LossesWidget())


def table(mounted, which, columns=8):
    """The numbers of a table as shown: 0 the teacher's logits, 1 the targets, 2 the student."""
    mounted.settle()
    rows = mounted.root.locator(".dv2-heat").nth((1, 0, 2)[which]).locator("tbody tr")
    read = "(all) => all.map((tr) => [...tr.querySelectorAll('td')].map((td) => td.textContent))"
    texts = rows.evaluate_all(read)
    return np.array([[float(text.replace("\u2212", "-")) for text in line[:columns]] for line in texts])


def sums(mounted):
    """The sums shown beside and below the targets: (rows, columns)."""
    mounted.settle()
    heat = mounted.root.locator(".dv2-heat").nth(0)
    read = "(all) => all.map((td) => Number(td.textContent))"
    beside, below = heat.locator("tbody .dv2-sum"), heat.locator("tfoot .dv2-sum")
    return beside.evaluate_all(read), below.evaluate_all(read)


def gap(mounted) -> float:
    """The nats that lie between the two entropies, as the line says them."""
    mounted.settle()
    return float(re.search(r": ([\d.]+) of", mounted.texts(".dv2-ends")[0])[1])


def readings(mounted):
    """Entropy of a target, entropy of the mean target, KL, cross-entropy, as shown."""
    mounted.settle()
    texts = mounted.root.locator(".dv2-bars b").all_inner_texts()
    return [float(re.match(r"[\d.]+", text)[0]) for text in texts]


@pytest.mark.parametrize("temperature", [0.04, 0.5])
def test_centred_targets_are_the_packages(shown, temperature):
    center = LOGITS.mean(0)
    wanted = losses.center_targets(LOGITS, center, temperature)
    found = shown.call("centerTargets", LOGITS.tolist(), center.tolist(), temperature)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
    np.testing.assert_allclose(shown.call("columnMeans", LOGITS.tolist()), center.numpy(), atol=1e-5)


@pytest.mark.parametrize("iterations", [1, 3, 6])
def test_sinkhorn_is_the_packages(shown, iterations):
    wanted = losses.sinkhorn_knopp(LOGITS, 0.07, iterations)
    found = shown.call("sinkhornKnopp", LOGITS.tolist(), 0.07, 2 * iterations)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_half_steps_of_sinkhorn_even_out_columns_then_rows(shown):
    after_columns = np.array(shown.call("sinkhornKnopp", LOGITS.tolist(), 0.2, 3))
    np.testing.assert_allclose(after_columns.sum(0), 6 / 8, atol=1e-9)
    after_rows = np.array(shown.call("sinkhornKnopp", LOGITS.tolist(), 0.2, 4))
    np.testing.assert_allclose(after_rows.sum(1), 1, atol=1e-9)


def test_entropy_and_kl_are_the_packages(shown):
    teacher, student = (LOGITS / 0.3).softmax(-1), LOGITS.flip(0).softmax(-1)
    for row in range(6):
        wanted = losses.entropy(teacher[row]).item(), losses.kl_divergence(teacher[row], student[row]).item()
        assert shown.call("entropy", teacher[row].tolist()) == pytest.approx(wanted[0], abs=1e-5)
        found = shown.call("klDivergence", teacher[row].tolist(), student[row].tolist())
        assert found == pytest.approx(wanted[1], abs=1e-5)
    assert shown.call("entropy", [1, 0, 0]) == 0


def test_tables_and_readings_are_what_the_package_computes(mount):
    student = 0.8 * LOGITS.flip(1)
    temperatures = {"teacher_temperature": 0.3, "student_temperature": 0.5}
    rows = {"teacher_logits": LOGITS.numpy().tobytes(), "student_logits": student.numpy().tobytes()}
    shown = mount(LossesWidget(**rows, **temperatures))
    targets = losses.center_targets(LOGITS, LOGITS.mean(0), 0.3)
    np.testing.assert_allclose(table(shown, 0), LOGITS.numpy(), atol=0.00501)
    np.testing.assert_allclose(table(shown, 1), targets.numpy(), atol=0.00501)
    np.testing.assert_allclose(table(shown, 2), (student / 0.5).softmax(-1).numpy(), atol=0.00501)
    cross = losses.cross_entropy(student, targets, 0.5).mean().item()
    kl = losses.kl_divergence(targets, (student / 0.5).softmax(-1)).mean().item()
    wanted = [losses.entropy(targets).mean().item(), losses.entropy(targets.mean(0)).item(), kl, cross]
    np.testing.assert_allclose(readings(shown), wanted, atol=0.00501)
    assert shown.value("kl") == pytest.approx(kl, abs=1e-5)
    assert shown.value("target_entropy") == pytest.approx(wanted[0], abs=1e-5)


def test_teacher_temperature_by_keyboard_and_pointer(shown):
    before = readings(shown)[0]
    shown.key("teacher_temperature", "Home")
    assert shown.said("teacher_temperature") == "0.01"
    assert readings(shown)[0] < before
    assert np.median(table(shown, 1).max(1)) > 0.99  # sharp
    shown.drag("teacher_temperature", 1.0)
    assert "Collapse to uniform" in shown.readout()
    assert abs(table(shown, 1) - 1 / 8).max() < 0.1


def test_student_temperature_moves_the_student_alone(shown):
    targets, student = table(shown, 1), table(shown, 2)
    shown.key("student_temperature", "End")
    np.testing.assert_array_equal(table(shown, 1), targets)
    assert table(shown, 2).max() < 0.3 < student.max()
    shown.drag("student_temperature", 0.0)
    assert table(shown, 2).max(1).min() > 0.9


def test_centre_on_and_off(shown):
    with_centre = sums(shown)[1]
    shown.choose("targets", "softmax")
    without = sums(shown)[1]
    assert max(without) > max(with_centre)  # the prototypes that are ahead for all images take more
    assert any("the centre (not used here)" in text for text in shown.texts("figcaption"))
    shown.page.keyboard.press("ArrowRight")
    assert shown.value("targets") == "centre"
    assert sums(shown)[1] == with_centre


def test_sinkhorn_step_by_step(shown):
    shown.choose("targets", "sinkhorn")
    shown.key("half_steps", "Home")
    assert shown.said("half_steps") == "none"
    shown.press("One step")
    rows, columns = sums(shown)
    assert columns == [0.75] * 8 and rows != [1.0] * 6
    shown.press("One step")
    rows, columns = sums(shown)
    assert rows == [1.0] * 6 and columns != [0.75] * 8
    uneven = shown.root.locator(".dv2-uneven").count()
    shown.drag("half_steps", 1.0)
    assert shown.value("half_steps") == 12
    shown.settle()
    assert shown.root.locator(".dv2-uneven").count() <= uneven
    shown.root.get_by_role("button", name="One step").focus()
    shown.page.keyboard.press("Enter")
    assert shown.value("half_steps") == 0  # after the last one it starts again


def test_sinkhorn_controls_wait_for_sinkhorn(shown):
    assert shown.control("half_steps").is_disabled()
    shown.choose("targets", "sinkhorn")
    assert shown.control("half_steps").is_enabled()


def test_collapse_onto_one_prototype_and_the_way_out(shown):
    shown.choose("targets", "softmax")
    shown.choose("outputs", "one wins")
    assert "Collapse onto one: every image gets prototype 3," in shown.readout()
    assert sums(shown)[1][2] > 5.8
    assert gap(shown) < 0.1
    shown.choose("targets", "centre")
    assert "Healthy" in shown.readout()
    shown.choose("targets", "sinkhorn")
    assert "Collapse" not in shown.readout()
    np.testing.assert_allclose(sums(shown)[1], 0.75, atol=0.1)


@pytest.mark.parametrize(
    ("one", "mean", "wanted"),
    [
        (2.0, 2.07, "Collapse to uniform"),
        (0.0, 0.08, "Collapse onto one"),
        (0.1, 0.5, "Weak"),
        (0.5, 1.7, "Healthy"),
    ],
)
def test_the_verdict_comes_from_the_gap_of_the_entropies(shown, one, mean, wanted):
    now = {"targetEntropy": one, "use": mean, "winner": 2, "target": [[0.125] * 8]}
    assert shown.call("verdict", now).startswith(wanted)


def test_targets_that_are_blurred_and_all_alike_are_a_collapse_where_each_alone_is_not(shown):
    assert gap(shown) > 1
    widths = []
    for temperature in (0.07, 0.3, 1.0):
        shown.set(teacher_temperature=temperature)
        entropies = readings(shown)[:2]
        assert gap(shown) == pytest.approx(entropies[1] - entropies[0], abs=0.011)
        widths.append(shown.root.locator(".dv2-gap i").bounding_box()["width"])
    assert widths[0] > widths[1] > widths[2]


def test_on_a_phone_the_effect_is_in_sight_while_a_thumb_is_on_a_slider(mount):
    shown = mount(LossesWidget(), width=390, unfold=False)
    box, slider = shown.root.bounding_box(), shown.control("teacher_temperature").bounding_box()
    readout = shown.root.locator(".dv2-readout").bounding_box()
    assert slider["y"] - box["y"] < 420 and readout["y"] + readout["height"] - box["y"] < 760
    assert (
        shown.root.locator(".dv2-controls > :is(.dv2-control, .dv2-toggle)").locator("visible=true").count()
        <= 5
    )
    for _ in range(2):
        assert violations(shown) == []
        switch_theme(shown)


def test_collapse_to_uniform_and_the_way_out(shown):
    shown.choose("outputs", "alike")
    assert "Collapse to uniform" in shown.readout()
    assert readings(shown)[0] == pytest.approx(np.log(8), abs=0.1)
    shown.drag("teacher_temperature", 0.0)
    assert "Collapse" not in shown.readout()


def test_outputs_by_keyboard(shown):
    shown.root.locator('[data-key="outputs"][data-value="healthy"]').focus()
    shown.page.keyboard.press("ArrowRight")
    assert "Collapse to uniform" in shown.readout()
    shown.page.keyboard.press("ArrowLeft")
    assert "Healthy" in shown.readout()


def test_image_by_pointer_keyboard_and_table(shown):
    first = shown.picture()
    shown.choose("image", 3)
    assert "For image 4," in shown.readout()
    assert shown.picture() != first and shown.alt().startswith("Image 4:")
    shown.page.keyboard.press("ArrowRight")
    assert "For image 5," in shown.readout()
    shown.root.locator(".dv2-heat").nth(0).locator("tbody tr").nth(1).click()
    assert "For image 2," in shown.readout()
    best = table(shown, 1)[1].argmax() + 1
    assert f"prototype {best} gets" in shown.readout()


def test_cells_are_coloured_by_their_role(shown):
    colours = (
        shown.root.locator(".dv2-heat")
        .nth(2)
        .locator("tbody td")
        .evaluate_all(
            "(all) => all.map((td) => [Number(td.textContent), getComputedStyle(td).backgroundColor])"
        )
    )
    channels = [(p, [int(value) for value in re.findall(r"\d+", colour)]) for p, colour in colours]
    blueness = {p: blue - red for p, (red, _, blue) in channels}
    assert blueness[max(blueness)] > 150 > 20 > blueness[min(blueness)]
