"""Every control, used on its own page of the built book: by keyboard, mouse and touch, with the network cut.

A tour moves each control of one chapter and asserts on the readout; `Reader` asserts that each move changes what
is shown. What the numbers must be is tested beside this file, on data with known answers.
"""

import json
import re

import pytest
from built_book import fetch_figures, open_formulas, undrawn_formulas, violations
from playwright.sync_api import Page
from reader import Reader

from dinov2_edu.experiments.ablations import load_runs
from tools.notebooks import FOLDER


def number_in(text: str, pattern: str) -> float:
    """The number that a text has at a place."""
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in {text!r}"
    return float(found[1].replace("\u2212", "-"))


def number(see: Reader, pattern: str) -> float:
    """The number that the readout has at a place."""
    return number_in(see.readout(), pattern)


def crops(see: Reader) -> None:
    area = r"takes (\d+) % of the photo"
    see.pick("Global crops", 0)
    see.key("global_scale.1", "Home")
    assert number(see, area) == 2
    see.drag("global_scale.1", 0.5)
    see.key("global_scale.0", "End")
    assert number(see, area) > 80  # an allowed shape of the whole photo
    see.drag("global_scale.0", 0.1)
    see.pick("Local crops", 2)
    assert see.readout().startswith("Crop local 3 takes")
    see.pick_by_key("Local crops", 0)
    see.key("local_scale.0", "End")
    assert number(see, area) > 80
    see.drag("local_scale.0", 0.3)
    see.key("local_scale.1", "Home")
    assert number(see, area) == 2
    see.drag("local_scale.1", 0.3)
    see.key("ratio.1", "Home")
    width, height = number(see, r"(\d+) \u00d7 \d+ pixels"), number(see, r"\d+ \u00d7 (\d+) pixels")
    assert height > 3 * width
    see.drag("ratio.1", 1.0)
    see.key("ratio.0", "End")
    assert number(see, r"(\d+) \u00d7 \d+ pixels") > 3 * number(see, r"\d+ \u00d7 (\d+) pixels")
    see.drag("ratio.0", 0.2)
    for name, word in {
        "flip": "flipped",
        "colour": "brightness",
        "blur": "blurred",
        "solarise": "inverted",
    }.items():
        see.key(name, "Space")
        assert word in see.readout()
        see.switch(name)
        assert word not in see.readout()
    see.press("Augment as in training")
    see.enter("No augmentation")
    see.enter("Augment as in training")
    see.press("No augmentation")
    see.pick("Global crops", 1)
    see.pick_by_key("Global crops", 0)
    assert see.readout().startswith("Crop global 1 takes")
    see.press("Draw again")
    see.enter("Draw again")
    see.key("n_local", "Home")
    assert "with 2 boxes on it" in see.alt()
    see.drag("n_local", 1.0)
    assert "with 12 boxes on it" in see.alt()
    see.turn(40)
    see.arrow("ArrowLeft", "ArrowUp")


def masks(see: Reader) -> None:
    see.key("ratio", "End")
    assert "asked for 192 of 256 patches" in see.readout()
    see.drag("ratio", 0.5)
    assert 90 < number(see, r"asked for (\d+)") < 115
    see.key("smallest", "End")
    assert see.said("smallest") == "32 patches"
    see.drag("smallest", 0.1)
    see.key("aspect", "Home")
    see.drag("aspect", 1.0)
    assert see.said("aspect") == "squares"
    see.press("Draw again")
    see.enter("Draw again")
    assert see.readout().startswith("Draw 3:")
    see.press("Draw 100")
    see.enter("Draw 100")
    assert "Of 203 draws" in see.readout() and see.alt(1).startswith("Histogram of 203 draws")
    see.choose("view", "batch")
    assert see.readout().startswith("8 of 16 crops are masked.")
    see.pick("Crops of the batch", 6)
    assert "Crop 7:" in see.readout()
    see.pick_by_key("Crops of the batch", 15)
    assert "Crop 16:" in see.readout()
    see.key("view", "ArrowLeft")
    assert see.readout().startswith("Draw 203:")


def attention(see: Reader) -> None:
    see.tap(0.3, 0.5)
    row = number(see, r"the patch at row (\d+), column")
    see.arrow("ArrowUp")
    assert number(see, r"the patch at row (\d+), column") < row
    see.choose("query", "cls")
    assert "the class token looks most at" in see.readout()
    see.key("query", "ArrowRight")
    assert "the class token looks" not in see.readout()
    see.key("layer", "Home")
    first = see.said("layer")
    assert see.readout().startswith(f"In {first},")
    see.drag("layer", 1.0)
    assert see.said("layer") != first and see.readout().startswith(f"In {see.said('layer')},")
    see.pick("Heads of this layer", 1)
    assert "head 1," in see.readout()
    see.pick_by_key("Heads of this layer", 2)
    assert "head 2," in see.readout()
    see.key("keep", "Home")
    assert "Top 5 % of what goes to patches" in see.readout()
    few = number(see, r"patches: (\d+) of 256")
    see.drag("keep", 0.5)
    assert number(see, r"patches: (\d+) of 256") > few


def prototypes(see: Reader) -> None:
    loss = r"KoLeo loss(?: after \d+ steps?)?: (\u2212?\d+\.\d+)"
    start = number(see, loss)
    for name in ("One step", "Play KoLeo's push"):
        see.press(name)
        assert number(see, loss) < start
        see.enter("Start again")
        see.enter(name)
        see.press("Start again")
        assert number(see, loss) == start
    see.key("koleo_steps", "End")
    assert "after 200 steps" in see.readout()
    see.drag("koleo_steps", 0.2)
    see.choose("heads", "separate")
    assert "of the DINO head" in see.readout()
    see.key("token", "End")
    assert see.readout().startswith("Patch token") and "of the iBOT head" in see.readout()
    see.drag("token", 0.0)
    assert see.readout().startswith("Class token 1 ")
    see.key("heads", "ArrowLeft")
    see.choose("lines", "neighbour")
    see.key("lines", "ArrowLeft")
    see.key("temperature", "End")
    entropy = number(see, r"Entropy (\d+\.\d+) of")
    see.drag("temperature", 0.0)
    assert number(see, r"Entropy (\d+\.\d+) of") < entropy
    see.key("normalise", "Space")
    assert "(length " in see.readout()
    see.switch("normalise")
    assert "(brought to length 1)" in see.readout()
    see.key("yaw", "End")
    see.drag("yaw", 0.5)
    see.key("pitch", "Home")
    see.drag("pitch", 0.6)
    before = number_in(see.alt(), r"turned by (\u2212?-?\d+)")
    see.turn(60)
    assert number_in(see.alt(), r"turned by (\u2212?-?\d+)") != before
    see.arrow("ArrowLeft", "ArrowUp")


def scores(see: Reader) -> None:
    """The arrow among eight prototypes."""
    see.key("temperature", "Home")
    sharp = number(see, r"it gets (\d+\.\d) %")
    see.drag("temperature", 1.0)
    assert number(see, r"it gets (\d+\.\d) %") < sharp
    see.turn(40)
    see.arrow("ArrowLeft", "ArrowUp")
    see.key("angle", "Home")
    assert see.readout().startswith("Nearest is E")
    see.drag("angle", 0.75)
    assert see.readout().startswith("Nearest is C")
    see.key("normalise", "Space")
    see.key("length", "End")
    assert "times a length of 3.0" in see.readout()
    see.drag("length", 0.2)
    see.switch("normalise")
    assert "cosine" in see.readout()


def losses(see: Reader) -> None:
    see.choose("outputs", "alike")
    assert see.readout().startswith("Collapse to uniform")
    see.key("outputs", "ArrowRight")
    assert see.root.locator('[data-value="one wins"]').is_checked()
    see.choose("targets", "softmax")
    assert see.readout().startswith("Collapse onto one")
    see.choose("outputs", "healthy")
    see.key("targets", "ArrowRight", "ArrowRight")
    see.key("half_steps", "Home")
    assert see.said("half_steps") == "none"
    see.press("One step")
    assert see.texts("tfoot tr")[0].split()[1:] == [".75"] * 8  # every column has its share
    see.enter("One step")
    assert see.texts("tbody")[0].split("\n")[0].split()[-1] == "1.00"  # every row is a distribution
    see.drag("half_steps", 0.5)
    see.key("teacher_temperature", "End")
    blurred = see.texts(".dv2-bars b")[0]
    see.drag("teacher_temperature", 0.2)
    assert float(see.texts(".dv2-bars b")[0].split()[0]) < float(blurred.split()[0])
    see.key("student_temperature", "Home")
    see.drag("student_temperature", 0.9)
    see.choose("image", 3)
    assert "For image 4," in see.readout()
    see.key("image", "ArrowRight")
    assert "For image 5," in see.readout()


def ema(see: Reader) -> None:
    see.key("momentum", "Home")
    assert "0 steps behind" in see.readout()
    see.drag("momentum", 1.0)
    assert "The teacher never moves." in see.readout()
    see.drag("momentum", 0.5)
    see.choose("schedule", "cosine")
    assert "At step 600 the momentum is 1." in see.readout()
    see.key("schedule", "ArrowLeft")
    see.key("step", "Home")
    assert "The student stands still" in see.readout()
    see.drag("step", 0.8)
    see.key("noise", "Home")
    assert "nothing jitters" in see.readout()
    see.drag("noise", 0.5)
    see.key("at", "Home")
    assert see.readout().startswith("At step 0 ")
    see.press("Play")  # with reduced motion it jumps
    assert see.readout().startswith("At step 600 ")
    see.drag("at", 0.5)
    see.enter("Play")
    see.press("Other noise")
    see.enter("Other noise")


def schedules(see: Reader) -> None:
    see.choose("recipe", "yours")
    assert "Your run, step 500 of 1,000" in see.readout()
    see.key("momentum", "Home")
    see.drag("momentum", 0.8)
    see.key("steps", "ArrowRight")
    assert "of 2,000" in see.readout()
    see.drag("steps", 0.6)
    see.key("batch", "ArrowRight")
    assert "128 pictures a step" in see.readout()
    see.drag("batch", 0.9)
    see.switch("beside")
    see.key("beside", "Space")
    see.key("recipe", "ArrowLeft")
    assert see.readout().startswith("Default, ")
    see.choose("unit", "share")
    see.key("unit", "ArrowLeft")
    see.key("place", "Home")
    assert "step 0 of" in see.readout()
    see.drag("place", 0.5)


def runs(see: Reader) -> None:
    see.key("metric", "ArrowDown")
    see.select("metric", "k-NN accuracy")
    assert ", k-NN accuracy: " in see.readout()
    see.key("step", "Home")
    first = number(see, r"^Step (\d+),")
    see.drag("step", 0.5)
    assert number(see, r"^Step (\d+),") > first
    see.choose("charts", "side by side")
    see.key("charts", "ArrowLeft")
    for run in range(see.root.locator('[data-key^="visible."]').count()):
        name = see.root.locator(f'label:has([data-key="visible.{run}"])').inner_text()
        see.key(f"visible.{run}", "Space")
        assert name not in see.readout()
        see.switch(f"visible.{run}")
        assert name in see.readout()


def mistakes(see: Reader) -> None:
    see.pick("Images of this cell", 1)
    assert "Image 2:" in see.readout()
    see.pick_by_key("Images of this cell", 0)
    assert "Image 1:" in see.readout()
    name = see.root.locator("[role=gridcell]").first.get_attribute("aria-label").split(",")[0]
    see.open_cell(f"{name}, recognised")
    assert f"images of class {name} are recognised as {name}" in see.readout()
    see.walk("ArrowRight")
    assert f"images of class {name} are taken for" in see.readout()
    see.walk("ArrowDown")
    assert f"images of class {name} are" not in see.readout()


def guess(see: Reader) -> None:
    """The game of chapter 08: one answer by pointer, one by keyboard."""
    answers = see.root.locator(".dv2-answers button")
    see._press(answers.first)
    assert "The probe says" in see.readout() and "you" in see.texts(".dv2-answers small")[0]
    see.press("Next picture")
    assert see.readout().startswith("Picture 2 of 10")
    answers.nth(3).press("Enter")
    see.enter("Next picture")
    assert see.readout().startswith("Picture 3 of 10") and "of 2." in see.readout()
    see.press("Play again")
    see._press(answers.first)
    see.enter("Play again")
    assert see.readout().startswith("Picture 1 of 10")


def cost(see: Reader) -> None:
    """The calculator of chapter 10."""
    see.choose("run", "ViT-S")
    assert "Published for the ViT-S: 4,500 hours" in see.readout()
    see.key("run", "ArrowLeft")
    hours = r"operations: ([\d,]+) GPU hours"
    before = see.readout()
    for key in ("batch", "steps", "gpus", "global_size", "n_local", "peak", "utilisation"):
        see.key(key, "Home")
        see.drag(key, 0.6)
    assert re.search(hours, before) and see.readout() != before
    see.key("width", "ArrowUp")
    see.select("width", "ViT-L")
    see.key("teacher", "Space")
    see.switch("teacher")


LOAD, FETCH = "Load the model", "Fetch the pictures"


def load_model(page: Page) -> None:
    """Fetch the weights while there is a network, and where the build had CIFAR-10 its pictures."""
    page.get_by_role("button", name=LOAD).click()
    page.locator(".dv2").get_by_role("button", name="Load").wait_for(state="hidden", timeout=60_000)
    views = page.locator('[data-key="view"]')
    if page.locator('[data-key="view"][data-value="nearest"]').count():
        views.last.click()
        page.get_by_role("button", name=FETCH).click()
        page.get_by_text("By trained weights, the vote for").wait_for(timeout=60_000)
        views.first.click()


def your_picture(see: Reader) -> None:
    assert "by trained weights" in see.readout()
    see.tap(0.1, 0.3)
    see.arrow("ArrowRight", "ArrowDown")
    see.choose("network", "random")
    assert "by random weights" in see.readout()
    see.key("network", "ArrowRight")
    assert "by pixels alone" in see.readout()
    see.choose("network", "trained")
    see.choose("tap", "less")
    see.arrow("ArrowDown", "ArrowDown", "Space")
    assert "1 patches wanted, 1 not" in see.readout()
    see.key("tap", "ArrowLeft")
    see.key("threshold", "Home")
    many = number(see, r"At least 0.00: (\d+) of")
    see.drag("threshold", 0.8)
    assert number(see, r": (\d+) of \d+ patches here") < many
    see.pick("Second picture", 2)
    see.pick_by_key("Second picture", 3)
    see.pick_by_key("Picture", 2)
    see.pick("Picture", 0)
    assert see.alt().startswith("pagoda and ")
    see.choose("size", 32)
    assert " of 64 patches here" in see.readout()
    see.key("size", "ArrowRight")
    assert " of 256 patches here" in see.readout()
    see.choose("view", "colours")
    assert "of the foreground's variance" in see.readout()
    see.key("cut", "ArrowRight", "ArrowRight")
    see.drag("cut", 0.3)
    for name in ("foreground_high", "together"):
        see.key(name, "Space")
        see.switch(name)
    see.key("view", "ArrowRight")
    assert see.readout().startswith("Block 6, trained weights, the class token.")
    see.choose("query", "patch")
    see.key("query", "ArrowLeft")
    see.key("block", "Home")
    assert see.readout().startswith("Block 1,")
    see.drag("block", 0.6)
    see.choose("view", "masking")
    see.press("Show all")
    assert see.readout().startswith("No patch is hidden")
    see.enter("Hide all")
    assert see.readout().startswith("256 of 256 patches hidden")
    see.enter("Show all")
    see.press("Hide all")
    see.press("Hide half at random")
    see.enter("Hide half at random")


def learns(see: Reader) -> None:
    """The control that trains in the page, whichever of its parts are shown."""
    see.choose("preset", "minute")
    assert "for 1000 steps" in see.readout()
    see.key("preset", "ArrowRight")
    assert "for 700 steps" in see.readout()
    see.key("seed", "End")
    see.drag("seed", 0.1)
    see.key("delay", "ArrowRight")
    see.drag("delay", 0.0)
    for name in ("centering", "sharpening", "ema", "multicrop", "koleo", "shortcut"):
        words = see.root.locator(f'label:has([data-key="breaks.{name}"])').inner_text()
        before = words in see.readout()
        see.key(f"breaks.{name}", "Space")
        assert (words in see.readout()) is not before
        see.switch(f"breaks.{name}")
        assert (words in see.readout()) is before
    for move in (see.press, see.enter):
        move("Train")
        wait_for_steps(see, 2)
        move("Pause")
        move("Save the teacher")
        assert "load_backbone" in see.texts(".dv2-log")[0]
        with see.page.expect_file_chooser():
            own = see.root.get_by_role("button", name="Add pictures of yours")
            own.click() if move == see.press else own.press("Enter")
        if see.control("picture").count():
            see.key("picture", "End") if move == see.press else see.drag("picture", 0.2)
        move("Start over")
        assert "Thin lines: the run before" in see.readout()
        move("One step")
        wait_for_steps(see, 1)
        see.press("Start over")
    see.moved |= {("Add pictures of yours", how) for how in ("keyboard", "pointer")}


def wait_for_steps(see: Reader, steps: int) -> None:
    """Wait until the readout says that so many steps were made."""
    pattern = re.compile(f"Step ({steps}|[1-9][0-9]+|[{steps}-9]) of")
    see.root.locator(".dv2-readout").filter(has_text=pattern).wait_for(timeout=120_000)


def doctor(see: Reader) -> None:
    """The doctor for logs of chapter 07: recorded runs, then the text of one that does not say K."""
    see.choose("sample", "no centering")
    assert see.readout() == "no centering: A collapse onto one prototype. Suspect: No centering."
    see.key("sample", "ArrowRight")
    assert see.readout().startswith("no sharpening: A plateau at ln K")
    see.choose("sample", "DINO alone")
    assert see.readout().startswith("DINO alone: A collapse to uniform targets. Suspect")
    paste_logs(see)
    see.key("n_prototypes", *"4096", "Enter")
    assert "ln 4,096 = 8.318" in see.texts(".dv2-evidence")[0]
    see.type("n_prototypes", "32")
    assert "ln 32 = 3.466" in see.texts(".dv2-evidence")[0]


def paste_logs(see: Reader) -> None:
    """Paste the texts of two logs that do not say K, and have each examined."""
    field = see.root.get_by_role("textbox", name="Text of a log")
    for run, move in (("no_ema", see.press), ("stage_dino", see.enter)):
        history = load_runs([run])[run].history
        field.fill(json.dumps({"history": {name: history[name] for name in ("step", "loss", "dino_global")}}))
        move("Examine the text")
        assert see.readout().startswith("Pasted text: ")


def match(see: Reader) -> None:
    see.tap(0.2, 0.3)
    column = number(see, r"The patch at row \d+, column (\d+) of the left")
    see.arrow("ArrowRight")
    assert number(see, r"The patch at row \d+, column (\d+) of the left") == column + 1
    pixels = number(see, r"raw pixels finds (\d+)")
    see.choose("seen_by", "random weights")
    assert "by random weights it is found at" in see.readout()
    see.key("seen_by", *["ArrowRight"] * 3)
    assert number(see, r"finds (\d+)") > pixels
    see.switch("marked")
    see.key("marked", "Space")


def own_logs(see: Reader) -> None:
    """The doctor of chapter 13: two runs on the same pictures, then the text of a log."""
    see.choose("sample", "default")
    assert see.readout().startswith("default: A plateau at ln K")
    see.key("sample", "ArrowLeft")
    assert see.readout().startswith("chosen: It is learning")
    see.choose("sample", "default")
    paste_logs(see)
    see.key("n_prototypes", *"4096", "Enter")
    see.type("n_prototypes", "32")
    assert "ln 32 = 3.466" in see.texts(".dv2-evidence")[0]


TOURS = {
    "01_crops": [crops],
    "02_masking": [masks],
    "03_vit": [attention],
    "04_heads": [scores, prototypes],
    "05_losses": [losses, learns],
    "06_ema": [schedules, ema],
    "07_training": [learns, runs, doctor],
    "08_cifar10_probe": [guess, mistakes],
    "09_features": [your_picture],
    "10_scaling": [cost],
    "11_dense": [match],
    "12_released": [runs],
    "13_own_pictures": [own_logs],
}
"""The controls of a chapter, in the order of its page."""
BEFORE = {"09_features": load_model}
"""What a page needs before the network is cut."""
DOORS = {
    LOAD,
    FETCH,
    "Choose a log",
    "Choose a picture",
    "Use the camera",
    "Take the picture",
    "Close the camera",
}
"""Buttons that ask for a file, a camera or the network: tested in test_widgets_your_picture.py and
test_widgets_doctor.py."""
SCREENS = {
    "desktop": {"width": 1280, "height": 900, "dark": False},
    "phone": {"width": 390, "height": 844, "dark": True, "touch": True},
}


def test_every_notebook_with_a_control_has_a_tour():
    with_control = {
        path.stem for path in FOLDER.glob("*.ipynb") if "dinov2_edu.widgets" in path.read_text("utf-8")
    }
    assert with_control == set(TOURS)


OPENS_WITH_ITS_CONTROL = (
    "01_crops",
    "02_masking",
    "03_vit",
    "04_heads",
    "05_losses",
    "06_ema",
    "07_training",
    "08_cifar10_probe",
    "09_features",
    "10_scaling",
    "11_dense",
    "12_released",
    "13_own_pictures",
)


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("chapter", OPENS_WITH_ITS_CONTROL)
def test_the_first_screen_of_a_chapter_has_its_question_and_its_control(visit, chapter, width, height):
    with visit(f"notebooks/{chapter}.html", width=width, height=height) as page:
        page.locator(".widget-host[data-ready] .dv2-readout:not(:empty)").first.wait_for(timeout=30_000)
        question = page.locator("blockquote.box-try").first.bounding_box()
        picture = page.locator(".dv2").first.locator(".dv2-stage > *:visible").first
        assert question["y"] + question["height"] <= height
        assert picture.bounding_box()["y"] < height - 80  # its picture is seen, and not only its upper edge


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("chapter", TOURS)
def test_every_control_and_formula_works_with_the_network_cut(visit, chapter, screen):
    with visit(f"notebooks/{chapter}.html", **SCREENS[screen]) as page:
        tours = TOURS[chapter]
        shown = page.locator(".widget-host[data-ready] .dv2-readout:not(:empty)")
        shown.nth(len(tours) - 1).wait_for(timeout=30_000)
        open_formulas(page)
        widths = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert widths[0] <= widths[1]
        BEFORE.get(chapter, lambda page: None)(page)
        fetch_figures(page)
        page.context.set_offline(True)
        assert page.locator(".widget-host").count() == len(tours)
        assert page.locator(":not(.tag_needs-python *).widget-note").count() == 0

        pointer = "touch" if screen == "phone" else "mouse"
        controls = [Reader(page, pointer, place) for place in range(len(tours))]
        for see, tour in zip(controls, tours, strict=True):
            tour(see)
            assert [(name, how) for name, how in see.unmoved() if not name.startswith(tuple(DOORS))] == []

        page.context.set_offline(
            False
        )  # a figure's twin for paper and the other theme is fetched when it is shown
        page.emulate_media(media="print")
        fetch_figures(page)
        page.context.set_offline(True)
        assert page.locator(".dv2-still img:visible").count() == len(tours)
        assert not any(see.root.is_visible() for see in controls)
        page.emulate_media(media="screen")
        said = [see.readout() for see in controls]
        for theme in ("light", "dark"):
            page.context.set_offline(False)
            page.evaluate("(theme) => { document.documentElement.dataset.theme = theme; }", theme)
            fetch_figures(page)
            page.context.set_offline(True)
            assert [see.readout() for see in controls] == said  # what a reader chose survives the switch
            assert violations(page, ".dv2") == []
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        open_formulas(page)
        assert undrawn_formulas(page) == 0
        assert page.evaluate("[...document.fonts].filter((f) => f.status === 'error').length") == 0
