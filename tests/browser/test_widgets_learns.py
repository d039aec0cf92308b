"""The control that trains in the page: started, stepped, broken, repaired, saved and compared, as a reader does it."""

import io
import json
import math
import re

import numpy as np
import pytest
from harness import ORIGIN, plain
from PIL import Image
from safetensors import safe_open
from synthetic import switch_theme, violations

from dinov2_edu.training import TrainConfig, diagnose
from dinov2_edu.weights import load_backbone
from dinov2_edu.widgets.learns import BREAKS, SHOWS, LearnsWidget

PATIENCE = 240_000  # milliseconds; a busy machine is slow, and no test is about that


@pytest.fixture
def shown(mount):
    return mount(LearnsWidget(preset="quick"))


def until(shown, condition: str) -> None:
    """Wait until an expression of `get`, the model's values, is true."""
    script = f"() => {{ const get = (key) => window.__model.get(key); return {condition}; }}"
    shown.page.wait_for_function(script, timeout=PATIENCE)


def stop_at(shown, step: int) -> int:
    """Let it train to a step at least, pause it, and return where it stands."""
    until(shown, f"get('step') >= {step}")
    shown.press("Pause")
    shown.root.get_by_role("button", name="Go on").wait_for()
    before = -1
    while before != (now := shown.value("step")):  # the step that had begun ends yet
        before = now
        shown.page.wait_for_timeout(500)
    return now


def log(shown) -> list[str]:
    return shown.texts(".dv2-log li")


# ---- before and at the first press ----


def test_names_are_those_of_the_engine(shown):
    names = shown.root.locator('[data-key^="breaks."]').evaluate_all("(all) => all.map((e) => e.dataset.key)")
    assert sorted(names) == sorted(f"breaks.{name}" for name in BREAKS)
    assert (
        shown.root.locator('.dv2-more [data-key^="breaks."]').count() == 2
    )  # at most five inputs are seen at once
    for name in BREAKS:
        broken, whole = (shown.call("settingsFor", name, on, "quick") for on in (True, False))
        assert broken.keys() == whole.keys() and broken != whole


def test_nothing_starts_before_a_press(shown):
    assert shown.page.workers == []
    assert shown.readout().startswith("Nothing runs yet.")
    shown.press("One step")
    until(shown, "get('step') === 1")
    assert len(shown.page.workers) == 1


def test_unknown_part_is_refused():
    with pytest.raises(ValueError, match=r"shows: wanted names out of .*, got \['sounds'\]"):
        LearnsWidget(shows=["knn", "sounds"])


@pytest.mark.parametrize(
    ("hurry", "steps", "runs"),
    [(0, 1000, "the run of a minute"), (50, 700, "a quick look at a smaller network")],
)
def test_measured_speed_chooses_the_length(mount, hurry, steps, runs):
    """A clock that runs `hurry` times too fast makes the device seem slow; one that stands, fast."""
    shown = mount(LearnsWidget())
    shown.page.evaluate(
        "(hurry) => { const now = performance.now.bind(performance); performance.now = () => hurry * now(); }",
        hurry,
    )
    shown.press("One step")
    until(shown, "get('step') === 1")
    shown.page.wait_for_function(
        f"() => document.querySelector('.dv2-readout').textContent.includes(' of {steps}')", timeout=PATIENCE
    )
    assert re.match(rf"Step 0: This device makes \S+ steps a second: {runs}\.", log(shown)[0])


# ---- a run ----


def test_run_is_watched_saved_and_compared(shown, tmp_path):
    shown.control("seed").press("ArrowRight")
    shown.root.get_by_role("button", name="Train").press("Enter")
    step = stop_at(shown, 32)
    shown.press("One step")
    until(shown, f"get('step') === {step + 1}")
    said = shown.readout()
    found = re.match(
        r"Step (\d+) of 700, paused: k-NN (\d+) % at step (\d+) \(pixels (\d+) %, untrained (\d+) %\)\.", said
    )
    assert int(found[1]) == step + 1 and int(found[3]) == (step + 1) // 25 * 25 > 0
    assert int(found[2]) == pytest.approx(100 * shown.value("knn"), abs=0.5)

    with shown.page.expect_download() as waiting:
        shown.press("Save the teacher")
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert path.name == "my-run.safetensors" and load_backbone(str(path)).config.width == 48
    with safe_open(path, "pt") as file:
        run = json.loads(file.metadata()["run"])
    assert run["step"] == step + 1 and run["config"]["seed"] == 1
    history = {name: values[:-1][-100:] for name, values in run["history"].items()}
    assert len(history["loss"]) == step
    judged = [  # asked for at every tenth step, answered when the worker comes to it
        diagnose({name: values[:n] for name, values in run["history"].items()}, run["config"]["n_prototypes"])
        for n in range(step // 10 * 10 - 10, step + 2)
    ]
    assert shown.value("verdict") in {verdict.name for verdict in judged}
    assert any(verdict.evidence in said for verdict in judged)
    loss = run["history"]["loss"]
    assert f"sum {loss[0]:.3g} at first, now {loss[-1]:.3g}" in shown.alt(4)
    assert f"ln 32 = {math.log(32):.2f}" in shown.alt(1)

    assert_strip(shown)
    drawn = shown.picture(0)
    shown.press("Start over")
    assert (
        shown.value("step") == 0
        and f"Thin lines: the run before, k-NN {found[2]} % at step" in shown.readout()
    )
    assert shown.picture(0) != drawn
    shown.press("One step")
    until(shown, "get('step') === 1")
    assert "Thin lines" in shown.readout()


def assert_strip(shown) -> None:
    """The strip follows its slider, and says the numbers of what it draws."""
    before, words = shown.picture(2), shown.alt(2)
    shown.drag("picture", 0.5)
    shown.page.wait_for_function(
        "(old) => document.querySelectorAll('canvas')[2].ariaLabel !== old", arg=words
    )
    assert shown.picture(2) != before and shown.value("picture") > 5
    assert re.search(r"two global crops with \d+ and \d+ patches hidden, 4 local crops", shown.alt(2))
    assert re.search(r"Nearest neighbours of 5 test pictures: \d+ of 25", shown.alt(3))


def test_collapse_is_named_and_a_repair_is_judged(mount):
    shown = mount(LearnsWidget(preset="quick", shows=["entropy", "loss"], breaks=["centering"]), width=390)
    assert "with no centering" in shown.readout()
    assert violations(shown) == []
    shown.key("breaks.koleo", "Space")
    shown.press("Train")
    until(shown, "get('verdict') === 'one prototype'")
    step = stop_at(shown, 30)
    assert "Every image is sent to one prototype" in shown.readout()
    assert "Centre the teacher's logits" in shown.readout()
    assert violations(shown) == [] and shown.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert log(shown)[:2] == ["Step 0: From here on: no centering.", "Step 0: From here on: no KoLeo."]
    assert "“one prototype”: Every image is sent to one prototype." in log(shown)[2]

    shown.control("breaks.koleo").click()
    shown.key("breaks.centering", "Space")
    assert f"Step {step}: Given back: no longer no centering." in log(shown)
    shown.press("Go on")
    until(shown, f"get('step') >= {step + 45}")
    assert re.search(r"All was given back \d+ steps ago", shown.readout())
    assert shown.root.locator("canvas").count() == 2  # what is not shown is not drawn


def test_every_break_goes_into_the_run(shown, tmp_path):
    """What the file says after a step with everything broken, and after all was given back."""
    for name in BREAKS:
        shown.control(f"breaks.{name}").click()
    shown.press("One step")
    until(shown, "get('step') === 1")
    config = saved(shown, tmp_path / "broken.safetensors")
    assert (config["targets"], config["koleo_weight"], config["crops"]["n_local"]) == ("none", 0, 0)
    assert config["momentum"] == [0, 0] and config["teacher_temperature"] == [1, 1]
    assert "0 local crops" in shown.alt(2)
    for name in BREAKS:
        shown.control(f"breaks.{name}").click()
    shown.press("One step")
    until(shown, "get('step') === 2")
    config = saved(shown, tmp_path / "whole.safetensors")
    assert TrainConfig.from_dict(config).n_prototypes == 32
    assert (config["targets"], config["koleo_weight"], config["crops"]["n_local"]) == (
        "sinkhorn_knopp",
        0.02,
        4,
    )
    assert config["momentum"] == [0.9, 1] and config["teacher_temperature"] == [0.02, 0.02]


def test_what_the_rules_cannot_see_is_said_all_the_same(shown):
    """A made-up run: with a watermark k-NN falls while targets part; what the page says, step by step."""
    script = """async (esm) => {
        const { LearningRun } = await import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
        const run = Object.assign(new LearningRun(() => {}), { state: "running", last: 700, pixels: 0.14 });
        const said = [];
        const take = (step, accuracy, name) => {
            Object.assign(run, { step, verdict: { name, evidence: "Evidence: 1.", advice: "", step } });
            run.take({ step, accuracy, neighbours: [] });
            said.push(run.sentence());
        };
        take(0, 0.2, "learning");
        take(150, 0.39, "learning");
        run.breaks = ["shortcut"];
        take(200, 0.3, "learning");
        take(250, 0.27, "learning");
        run.breaks = [];
        run.marks = [{ step: 250, name: "shortcut", broken: false }];
        take(300, 0.28, "learning");
        take(400, 0.38, "learning");
        take(425, 0.4, "one prototype");
        return { said, log: run.log.map(({ step, text }) => `${step} ${text}`) };
    }"""
    found = shown.page.evaluate(script, shown.source)
    said = [plain(text) for text in found["said"]]
    assert [plain(text) for text in found["log"]] == [
        "250 k-NN has fallen from 39 % to 27 %.",
        "400 k-NN is back at 38 %.",
    ]
    assert said[2].endswith("Learning: Evidence: 1.") and "with a watermark on each picture" in said[2]
    assert "find nothing wrong (evidence: 1), and yet k-NN has fallen from 39 % to 27 %" in said[3]
    assert said[4].endswith(
        "All was given back 50 steps ago; targets differ, but k-NN is still below its best of 39 %."
    )
    assert said[5].endswith("Learning: Evidence: 1. All was given back 150 steps ago, and it learns.")
    assert "KoLeo, which looks at no target, goes on." in said[6]
    assert said[6].endswith("All was given back 175 steps ago, and it has not recovered so far.")


def saved(shown, path) -> dict:
    with shown.page.expect_download() as waiting:
        shown.press("Save the teacher")
    waiting.value.save_as(path)
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["run"])["config"]


def png(seed: int, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_own_pictures_are_one_more_texture(shown):
    shown.press("One step")
    until(shown, "get('step') === 1")
    own = [
        {"name": f"mine{i}.png", "mimeType": "image/png", "buffer": png(i, (40 + 9 * i, 64))}
        for i in range(4)
    ]
    give = shown.root.locator("input[type=file]")
    give.set_input_files(own[:1])
    shown.root.get_by_text("Take two pictures at least").wait_for()
    give.set_input_files([*own[:2], {"name": "words.png", "mimeType": "image/png", "buffer": b"no picture"}])
    shown.root.get_by_text("words.png could not be read as a picture").wait_for()
    with shown.page.expect_file_chooser() as waiting:
        shown.press("Add pictures of yours")
    waiting.value.set_files(own)
    shown.root.get_by_text("4 pictures of yours are a texture like the others").wait_for()
    assert re.search(r"Nearest neighbours of 6 test pictures: \d+ of 30 .*; yours: ", shown.alt(3))
    shown.press("One step")
    until(shown, "get('step') === 2")


# ---- everywhere ----


def test_state_is_in_the_address(shown):
    shown.page.goto(f"{ORIGIN}/#preset=minute&seed=3&breaks=centering,koleo")
    until(shown, "get('seed') === 3")
    assert shown.value("preset") == "minute" and shown.value("breaks") == ["centering", "koleo"]
    shown.page.goto(f"{ORIGIN}/#seed=77&breaks=gravity&preset=forever")
    shown.settle()
    assert shown.value("seed") == 3 and shown.value("breaks") == ["centering", "koleo"]
    shown.choose("preset", "quick")
    shown.page.wait_for_function("() => location.hash === '#preset=quick&seed=3&breaks=centering,koleo'")


def test_the_address_keeps_what_another_control_wrote_and_changes_while_a_run_trains(shown):
    shown.page.goto(f"{ORIGIN}/#sample=leak&seed=3")
    until(shown, "get('seed') === 3")
    shown.drag("delay", 0.4)
    shown.press("Train")
    until(shown, "get('step') >= 1")
    shown.page.evaluate("window.__model.set('breaks', ['koleo']); window.__model.save_changes()")
    shown.page.wait_for_function("() => location.hash.includes('breaks=koleo')", timeout=5_000)
    assert shown.page.evaluate("location.hash").startswith("#sample=leak&")
    step = shown.value("step")
    until(shown, f"get('step') > {step}")


def test_hidden_tab_rests_and_goes_on(shown):
    shown.drag("delay", 0.4)
    shown.press("Train")
    until(shown, "get('step') >= 3")
    hide = """(on) => {
        Object.defineProperty(document, "hidden", { value: on, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    shown.page.evaluate(hide, True)
    shown.page.wait_for_timeout(1000)
    step = shown.value("step")
    shown.page.wait_for_timeout(1000)
    assert shown.value("step") == step
    shown.page.evaluate(hide, False)
    until(shown, f"get('step') > {step}")
    assert shown.root.get_by_role("button", name="Pause").is_visible()


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_axe_finds_nothing_and_nothing_sticks_out(mount, width, dark):
    shown = mount(LearnsWidget(preset="quick"), width=width, dark=dark, reduced_motion="reduce")
    assert violations(shown) == []
    shown.press("Train")
    until(shown, "get('step') >= 1")
    assert violations(shown) == []
    stop_at(shown, 21)
    assert shown.root.locator("canvas").count() == len(SHOWS)
    assert violations(shown) == [] and shown.page.evaluate("document.documentElement.scrollWidth") <= width
    before = shown.readout()
    switch_theme(shown)
    assert shown.readout() == before and violations(shown) == []


def test_missing_simd_is_said(shown):
    shown.page.evaluate(
        "() => { const real = Worker; window.Worker = class { constructor() { throw new Error(); } }; }"
    )
    shown.press("Train")
    assert shown.readout().startswith("This page may not start a worker")
    shown.page.evaluate("() => 0")
    assert shown.root.get_by_role("button", name="Train").is_enabled()
