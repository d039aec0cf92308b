"""What every widget must do in a browser: themes, narrow and dense screens, print, no JavaScript, axe."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from harness import plain
from PIL import Image

from dinov2_edu.plots.style import figure
from dinov2_edu.widgets.crops import CropsWidget
from dinov2_edu.widgets.ema import EmaWidget
from dinov2_edu.widgets.losses import LossesWidget
from dinov2_edu.widgets.masks import MasksWidget

SPOTS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PHOTO = Image.fromarray(SPOTS).resize((600, 400))
STILL, _ = figure(1.0)
MAKERS = {
    "crops": lambda **more: CropsWidget(PHOTO, **more),
    "masks": lambda **more: MasksWidget(PHOTO, **more),
    "masks of a batch": lambda **more: MasksWidget(PHOTO, view="batch", **more),
    "losses": lambda **more: LossesWidget(**more),
    "losses by Sinkhorn": lambda **more: LossesWidget(targets="sinkhorn", half_steps=1, **more),
    "ema": lambda **more: EmaWidget(**more),
}
"""One or more states of each widget."""

pytestmark = pytest.mark.parametrize("name", MAKERS)


def switch_theme(mounted, theme):
    mounted.page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
    mounted.settle()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(mount, name, dark):
    mounted = mount(MAKERS[name](), dark=dark)
    found = Axe().run(mounted.page).response["violations"]
    assert not found, [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found]


def test_phone_has_no_sideways_scrolling_and_room_for_a_finger(mount, name):
    mounted = mount(MAKERS[name](), width=360)
    assert mounted.page.evaluate("document.documentElement.scrollWidth") == 360
    outside = (
        "(all) => all.filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.outerHTML)"
    )
    assert mounted.root.locator("*").evaluate_all(outside) == []
    heights = mounted.root.locator("label, button, select").evaluate_all(
        "(all) => all.filter((e) => e.offsetParent).map((e) => e.getBoundingClientRect().height)"
    )
    assert heights and min(heights) >= 24


def test_theme_switch_keeps_the_state_and_changes_the_colours(mount, name):
    mounted = mount(MAKERS[name]())
    slider = mounted.root.locator('input[type="range"]:enabled').first
    slider.focus()
    mounted.page.keyboard.press("ArrowRight")
    readout, value = mounted.readout(), slider.input_value()
    ink = "(e) => getComputedStyle(e).getPropertyValue('--dv2-ink')"
    light = mounted.root.evaluate(ink)
    switch_theme(mounted, "dark")
    assert mounted.root.get_attribute("data-dv2-theme") == "dark"
    assert mounted.root.evaluate(ink) != light
    assert (mounted.readout(), slider.input_value()) == (readout, value)
    switch_theme(mounted, "light")
    assert mounted.root.evaluate(ink) == light


def test_canvases_are_as_dense_as_the_screen_and_have_words(mount, name):
    mounted = mount(MAKERS[name](), device_scale_factor=2)
    seen = mounted.root.locator("canvas:visible").evaluate_all("""(all) => all.map((c) => ({
        pixels: c.width, wanted: Math.round(2 * c.getBoundingClientRect().width),
        words: c.getAttribute("aria-label") ?? c.closest("button")?.getAttribute("aria-label") ?? "",
    }))""")
    assert seen
    for canvas in seen:
        assert canvas["pixels"] == canvas["wanted"] and len(canvas["words"]) > 5, canvas


def test_focus_is_visible_on_every_control(mount, name):
    mounted = mount(MAKERS[name]())
    mounted.root.locator("input, select, button").first.focus()
    mounted.page.keyboard.press("Tab")
    mounted.page.keyboard.press("Shift+Tab")
    seen = 0
    while mounted.page.evaluate("document.activeElement.closest('.dv2') !== null"):
        outlined = mounted.page.evaluate("""() => {
            const e = document.activeElement;
            if (e.closest('.dv2-pair')) return e.matches(':focus-visible'); // the thumb has the outline
            const shown = e.type === 'radio' ? e.nextElementSibling : e;
            return getComputedStyle(shown).outlineStyle === 'solid';
        }""")
        assert outlined, mounted.page.evaluate("document.activeElement.outerHTML")
        seen += 1
        mounted.page.keyboard.press("Tab")
    assert seen >= 4


def test_print_shows_the_still_figure_instead(mount, name):
    mounted = mount(MAKERS[name](still=STILL, alt="a chart"))
    still = mounted.page.get_by_alt_text("a chart")
    assert mounted.root.is_visible() and not still.is_visible()
    mounted.page.emulate_media(media="print")
    assert still.is_visible() and not mounted.root.is_visible()


def test_print_without_a_still_figure_shows_the_pictures_and_no_controls(mount, name):
    mounted = mount(MAKERS[name]())
    mounted.page.emulate_media(media="print")
    assert mounted.root.locator("canvas").first.is_visible()
    assert not any(one.is_visible() for one in mounted.root.locator(".dv2-controls").all())


def test_without_javascript_the_still_figure_stands_in(mount, name):
    mounted = mount(MAKERS[name](still=STILL, alt="a chart"), java_script_enabled=False)
    assert mounted.page.get_by_alt_text("a chart").is_visible()


@pytest.mark.parametrize("late", ["element", "style"])
def test_widget_waits_for_its_place_and_its_style(mount, name, late):
    """As in JupyterLab, which renders into an element that is not yet on the page."""
    mounted = mount(MAKERS[name]())
    wanted = mounted.readout()
    mounted.page.evaluate(
        """async ([esm, late]) => {
            const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
            const { default: widget } = await import(url);
            const style = document.querySelector("head > style:last-of-type"); // added by the host
            const el = document.createElement("div");
            const place = () => document.querySelector("main").append(el);
            if (late === "style") { style.remove(); place(); }
            await widget.render({ model: window.__model, el });
            await new Promise((ok) => setTimeout(ok, 100));
            if (late === "style") document.head.append(style); else place();
        }""",
        [mounted.source, late],
    )
    second = mounted.page.locator(".dv2").nth(1)
    second.locator(".dv2-readout:not(:empty)").wait_for()
    assert plain(second.locator(".dv2-readout").inner_text()) == wanted
