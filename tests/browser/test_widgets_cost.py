"""The cost calculator in a browser: its formulas against the package's, each input against what it shows."""

import re

import pytest
from synthetic import switch_theme, violations

from dinov2_edu.training.cost import Run, flops_of_run, gigabytes, gpu_hours
from dinov2_edu.widgets.cost import CostWidget

GIANT = (1536, 40)


@pytest.fixture
def shown(mount):
    return mount(CostWidget())


def run_of(shown) -> Run:
    values = {key: shown.value(key) for key in Run._fields}
    return Run(**values | {"teacher": GIANT if values["teacher"] else None})


def hours(shown) -> float:
    return float(re.search(r"operations: ([\d,.]+) GPU hours", shown.readout())[1].replace(",", ""))


def assert_priced(shown) -> None:
    """What is shown is what the package says of the same run."""
    shown.settle()
    run, gpus = run_of(shown), shown.value("gpus")
    speed = {"peak": float(shown.value("peak")), "utilisation": float(shown.value("utilisation"))}
    wanted = gpu_hours(run, **speed)
    assert shown.value("hours") == pytest.approx(wanted) and hours(shown) == pytest.approx(wanted, rel=0.05)
    assert shown.value("kilowatt_hours") == pytest.approx(wanted * 400 * 1.1 / 1000)
    parts = flops_of_run(run)
    shares = [float(text.split()[0]) for text in shown.texts(".dv2-bars b")]
    assert shares == pytest.approx([100 * value / sum(parts.values()) for value in parts.values()], abs=0.051)
    memory = gigabytes(run, gpus)
    cells = [float(text.replace(",", "")) for text in shown.texts(".dv2-table td")[-2:]]
    assert cells == pytest.approx([memory["weights"], memory["activations"]], rel=0.06)


PUBLISHED = {"ViT-g": 22_016, "ViT-L": 8_000, "ViT-B": 5_300, "ViT-S": 4_500}


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_presets_come_within_fifteen_per_cent_of_the_published_hours(shown, name, published):
    shown.choose("run", name if name != "ViT-g" else "ViT-L")
    shown.choose("run", name)
    assert_priced(shown)
    assert hours(shown) == pytest.approx(published, rel=0.15)
    assert f"Published for the {name}: {published:,} hours" in shown.readout()
    if name == "ViT-g":
        assert shown.value("kilowatt_hours") == pytest.approx(
            9_700, rel=0.01
        )  # 9.7 MWh: the paper, section 9


def test_every_input_by_keyboard_and_pointer(shown):
    for key in ("batch", "steps", "gpus", "global_size", "n_local", "peak", "utilisation"):
        before = shown.readout()
        shown.key(key, "Home")
        assert shown.readout() != before and "Published" not in shown.readout()
        assert_priced(shown)
        shown.drag(key, 0.7)
        assert_priced(shown)
    shown.control("width").select_option("ViT-S")
    assert shown.value("depth") == 12
    assert_priced(shown)
    shown.key("teacher", "Space")
    assert_priced(shown)
    shown.choose("run", "ViT-B")
    shown.page.keyboard.press("ArrowLeft")
    assert shown.value("run") == "ViT-L" and "Published for the ViT-L" in shown.readout()


@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_and_is_accessible(mount, width):
    shown = mount(CostWidget(), width=width)
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    for _ in range(2):
        assert violations(shown) == []
        switch_theme(shown)
