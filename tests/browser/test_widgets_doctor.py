"""The doctor on the page: held to Python's `examine` on every recorded and broken log, in every form; then used."""

import json
import math
import random
from collections.abc import Iterator

import pytest
from harness import Mounted, mounting
from synthetic import switch_theme, violations
from training_logs import BROKEN, RECORDED, lightning_text, official_rows, official_text

from dinov2_edu.training.doctor import examine, read_log
from dinov2_edu.training.doctor.words import WORDS, number
from dinov2_edu.widgets.doctor import DoctorWidget

LOGS = RECORDED | BROKEN
SAMPLES = {name.replace("_", " "): RECORDED[name] for name in ("healthy", "no_centering", "no_sharpening")}
FORMS = {
    "ours": json.dumps,
    "bare": lambda log: json.dumps({"history": log["history"]}),
    "official": official_text,
    "lightning": lightning_text,
    "the sum alone": lambda log: lightning_text(log, parts=False),
}
"""How a log may be written."""


@pytest.fixture(scope="module")
def twin(chromium) -> Iterator[Mounted]:
    """A control whose functions are called, and which no test changes."""
    with mounting(chromium) as mount:
        yield mount(DoctorWidget())


def said_by_python(text: str, k: int | None = None) -> dict:
    """What `examine` says, in the form of the page; or why the log was refused."""
    try:
        log = read_log(text)
    except ValueError as error:
        return {"refused": str(error)}
    findings = examine(log, k)
    said = {name: getattr(findings, name) for name in ("state", "title", "advice")}
    return {
        **said,
        "kind": log.kind,
        "evidence": list(findings.evidence),
        "causes": [vars(cause) for cause in findings.causes],
        "unseen": list(findings.unseen),
        "notes": list(log.notes),
        "nPrototypes": findings.n_prototypes,
    }


def said_by_the_page(twin: Mounted, text: str, k: int | None = None) -> dict:
    found = twin.call("examineText", text, k, WORDS)
    return {name: value for name, value in found.items() if name not in ("curves", "kFrom")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LOGS)
def test_the_page_says_what_python_says(twin, name, form):
    text, k = FORMS[form](LOGS[name]), LOGS[name]["config"]["n_prototypes"]
    for given in (None, k, 4096):
        assert "state" in said_by_python(text, given)
        assert said_by_the_page(twin, text, given) == said_by_python(text, given), given


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["full", "no_multicrop", "masks"])
def test_curves_are_read_as_python_reads_them(twin, name, form):
    text = FORMS[form](LOGS[name])
    found, wanted = twin.call("examineText", text, None, WORDS)["curves"], read_log(text).curves
    assert found.keys() == wanted.keys()
    for curve, (steps, values) in wanted.items():
        assert found[curve]["steps"] == steps
        assert found[curve]["values"] == pytest.approx(values, rel=1e-14)


def lines(rows: list[dict]) -> str:
    return "\n".join(map(json.dumps, rows))


def with_a_spike() -> dict:
    """A run whose loss, KoLeo and target entropy are not numbers for one record, and whose DINO loss ends so."""
    log = json.loads(json.dumps(RECORDED["healthy"]))
    for name in ("loss", "koleo", "target_entropy"):
        log["history"][name][3] = math.inf if name == "koleo" else math.nan
    return log


def diverged() -> dict:
    log = with_a_spike()
    log["history"]["dino_global"][-1], log["history"]["loss"][-1] = -math.inf, math.nan
    return log


def one_feature() -> dict:
    log = json.loads(json.dumps(RECORDED["healthy"]))
    log["history"]["feature_spread"] = [0.01] * len(log["history"]["step"])
    return log


def slow_teacher() -> list[dict]:
    rows = [json.loads(line) for line in official_rows([1.0] * 50).splitlines()]
    return [
        {**row, "iteration": 10 * i, "mom": 1 - 0.002 * (math.cos(math.pi * i / 100) + 1) / 2}
        for i, row in enumerate(rows)
    ]


CSV = "epoch,step,train_loss\n"
ODD = {
    "plateau": official_rows([1.0] * 40),
    "above ln K": official_rows([1.02] * 40),
    "fell back": official_rows([1.0] * 10 + [0.6] * 10 + [1.0] * 60),
    "one prototype": official_rows([0.9 * 0.7**i for i in range(60)]),
    "drifts apart": official_rows([1.0 + 0.01 * i for i in range(40)]),
    "falls": official_rows([1.02 - 0.01 * i for i in range(40)]),
    "few": official_rows([1.0] * 4),
    "one token": official_rows([1.0] * 40, koleo=17.6, current_batch_size=64.0),
    "a guess at K": official_rows([1.017 - 0.01 * (i > 30) for i in range(200)]),
    "cut off": official_rows([1.0] * 10)[:-60],
    "slow teacher": lines(slow_teacher()),
    "hardly a rate": official_rows([1.0] * 40, lr=1e-7, current_batch_size=64.0),
    "features": json.dumps(one_feature()),
    "warming up": lines(
        [{**json.loads(x), "lr": i * 1e-7} for i, x in enumerate(official_rows([1.01] * 12).splitlines())]
    ),
    "spike": json.dumps(with_a_spike()),
    "diverged": json.dumps(diverged()),
    "went back": lines([{"iteration": i, "total_loss": float(i)} for i in (0, 10, 20, 30, 20, 30, 40, 50)]),
    "lines of Lightning": lines(
        [{"step": i, "train_loss": 5.0, "train_loss/dino_global_loss": 2 + i / 7} for i in range(9)]
    ),
    "by epoch": lines([{"train_loss": 9 - i, "train_lr": 1e-3, "epoch": i, "mom": 0.9} for i in range(9)]),
    "at ln K": CSV + "".join(f"0,{i},{9 - 0.1 * i if i < 7 else math.log(4096)}\n" for i in range(60)),
    "flat": CSV + "".join(f"0,{i},7.5\r\n" for i in range(60)),
    "falls to 0": CSV + "".join(f"0,{i},{5 * 0.5**i}\n" for i in range(60)),
    "huge": CSV + "".join(f"0,{1000 * i},{10.0**i}\n" for i in range(30)),
    "blanks and words": 'step,"loss",who\n' + "".join(f' {i} ,"{8 - i / 9}",me\n\n' for i in range(20)),
    "nan in CSV": CSV + "".join(f"0,{i},{'NaN' if i > 30 else 8 - i / 50}\n" for i in range(40)),
    "minus infinity": CSV + "".join(f"0,{i},-inf\n" for i in range(40)),
    "marked": "\ufeff" + json.dumps(BROKEN["batch"]),
    "leaves a step out": json.dumps({"history": {"step": [1, 2, None, 4, 5, 6, 7], "loss": [3.5] * 7}}),
    "no history in it": json.dumps({"step": list(range(9)), "loss": [1.5] * 9, "koleo": [0.1] * 4}),
}
"""Logs of all kinds."""
REFUSED = {
    "empty": "",
    "spaces": " \n\n",
    "broken at once": '{"iteration": 0, "total_loss": 1',
    "broken in the middle": '{"iteration": 0, "total_loss": 1.0}\n{"it\'er\t"at\\\n{"iteration": 2}\n',
    "no end": '{"config": {}, "history": {"step": [1, 2], "loss": [',
    "too many": '{"config": {}, "history": {"step": [1], "loss": [1.0, 2.0]}}',
    "another table": "name,price\nbread,3\nmilk,2\n",
    "a wide table": ",".join(f"c{i}" for i in range(30)) + "\n" + ",".join("1" * 30) + "\n",
    "prose": "a line of prose\nand another\n",
    "a list": "[1, 2]\n",
    "no rows": '{"a": "b"}',
    "deep": "[" * 100_000 + "\n",
    "deeper": "{" + "[" * 100_000 + "\n",
}
"""Texts that are no log."""
ODD |= REFUSED


@pytest.mark.parametrize("name", ODD)
def test_odd_logs_are_read_or_refused_alike(twin, name):
    for k in (None, 65_536, 4096):
        # Python takes a text of one line for a path, unless it begins as JSON does.
        text = ODD[name] if ODD[name].lstrip().startswith("{") else ODD[name] + "\n"
        assert said_by_the_page(twin, text, k) == said_by_python(text, k)
        assert ("refused" in said_by_python(text)) is (name in REFUSED)


def test_odd_logs_cover_every_state_and_every_cause():
    texts = [*ODD.values(), *(form(log) for form in FORMS.values() for log in LOGS.values())]
    found = [said_by_python(text + "\n", k) for text in texts for k in (None, 65_536)]
    seen = {one["state"] for one in found if "state" in one}
    assert set(WORDS["states"]) == seen
    causes = {cause["name"] for one in found for cause in one.get("causes", ())}
    assert set(WORDS["causes"]) == causes


def made_up(draw: random.Random) -> dict:
    """A history with a config, out of random numbers that lie on both sides of what the rules ask."""
    n, k = draw.choice([6, 11, 24, 60, 125]), 2 ** draw.randint(5, 17)
    start, end = (
        draw.choice([1.0, 1.02, 0.9, 1.8]),
        draw.choice([1.0, 0.995, 0.97, 0.7, 0.3, 0.02, 1.06, 1.3]),
    )
    noise, swing = draw.choice([0, 0.001, 0.02]), draw.choice([0, 0, 0.3, 0.7])
    way = [i / (n - 1) for i in range(n)]
    share = [
        start + (end - start) * min(1, 3 * x) + draw.gauss(0, noise) + swing * math.sin(20 * x) for x in way
    ]
    if draw.random() < 0.3:
        share = [end + draw.gauss(0, noise)] * n
    rate, momentum = 10 ** draw.uniform(-7, 0.5), draw.choice([0.0, 0.4, 0.6, 0.9, 0.94, 0.992, 0.9996])
    apart, first = draw.choice([0, 0, 0.02, 0.1, 0.5]), draw.choice([0.05, 0.1, 0.2, 0.5, 0.85, 0.95])
    top = math.log(k)
    curves = {
        "dino_global": [0.2 * top * one for one in share],
        "dino_local": [0.8 * top * one for one in share],
        "ibot": [0.3 * top * draw.choice([0.1, 0.2, 0.5, 0.8]) * one for one in share],
        "koleo": [0.04 * draw.choice([1.0, 3.0, 12.0])] * n,
        "lr": [rate * x for x in way] if draw.random() < 0.2 else [rate] * n,
        "momentum": [1 - (1 - momentum) * (1 + math.cos(2 * x)) / 2 for x in way],
        "teacher_temperature": [draw.choice([0.02, 0.05, 0.07, 0.09, 0.3])] * n,
        "target_entropy": [top * draw.choice([1.0, 0.99, 0.9, 0.5, 0.05])] * n,
        "feature_spread": [draw.choice([0.02, 0.2, 0.28, 0.5]) + 0.1 * x for x in way],
        "knn": [first + draw.choice([-0.05, 0.01, 0.03, 0.2]) * x for x in way],
    }
    curves["mean_target_entropy"] = [one + apart * top for one in curves["target_entropy"]]
    curves["loss"] = [sum(parts) for parts in zip(curves["dino_global"], curves["dino_local"], strict=True)]
    kept = {name: curve for name, curve in curves.items() if name == "loss" or draw.random() < 0.75}
    kept = {name: curve[draw.choice([0, 0, 0, 2]) :] for name, curve in kept.items()}
    config = {
        "n_prototypes": k,
        "batch_size": draw.choice([8, 32, 33, 64, 1024]),
        "steps": draw.choice([10 * n, 50 * n, 200 * n]),
        "targets": draw.choice(["none", "centering", "sinkhorn_knopp"]),
        "student_temperature": 0.1,
        "koleo_weight": draw.choice([0.0, 0.02]),
        "ibot_weight": 0.3,
        "mask_probability": draw.choice([0.0, 0.2, 0.5, 0.8]),
        "crops": {"n_local": draw.choice([0, 8])},
    }
    config = {name: value for name, value in config.items() if draw.random() < 0.7}
    return {"config": config, "history": {"step": [10 * (i + 1) for i in range(n)], **kept}}


def test_made_up_logs_are_examined_alike(twin):
    """Six hundred: what one rule asks lies on both sides of its bound in some of them."""
    draw = random.Random(0)
    texts = []
    for _ in range(600):
        log = made_up(draw)
        texts.append(json.dumps(log if draw.random() < 0.7 else {"history": log["history"]}))
    script = """async ([esm, texts, words]) => {
        const m = await import(URL.createObjectURL(new Blob([esm], {type: "text/javascript"})));
        return texts.map((text) => ({ ...m.examineText(text, null, words), curves: 0, kFrom: 0 }));
    }"""
    found = twin.page.evaluate(script, [twin.source, texts, WORDS])
    for text, said in zip(texts, found, strict=True):
        assert said == said_by_python(text) | {"curves": 0, "kFrom": 0}, text[:500]
    states = {said["state"] for said in found}
    causes = {cause["name"] for said in found for cause in said["causes"]}
    assert len(states) >= 9 and set(WORDS["causes"]) - causes <= {"koleo", "rate at the end"}


NUMBERS = [
    *(
        0.0,
        -0.0,
        1,
        -1,
        7.0,
        0.5,
        2.5,
        12.5,
        -3.5,
        999.5,
        1000.5,
        1001.5,
        -1234.5,
        123_456_789,
        1e15 + 0.5,
        1e21,
        1e300,
    ),
    *(
        0.125,
        0.0625,
        0.00390625,
        0.001,
        0.0009999,
        1.5e-7,
        9.9995,
        99.995,
        0.99995,
        2.00005,
        1 / 3,
        -2 / 3,
        1e-300,
    ),
    *(math.nan, math.inf, -math.inf, math.pi, math.e * 100, 31.0078125, 1024.5),
]


def test_numbers_are_written_as_python_writes_them(twin):
    script = """async ([esm, numbers, pieces]) => {
        const m = await import(URL.createObjectURL(new Blob([esm], {type: "text/javascript"})));
        return numbers.map((one) => m.inWords(one, pieces));
    }"""
    found = twin.page.evaluate(script, [twin.source, NUMBERS, WORDS["pieces"]])
    assert found == [number(value) for value in NUMBERS]
    cases = [(value, digits) for value in NUMBERS[2:-6] if abs(value) < 1e15 for digits in (0, 1, 2, 3)]
    assert [twin.call("decimals", *case) for case in cases] == [
        f"{value:.{digits}f}" for value, digits in cases
    ]


# ---- the control ----


@pytest.fixture(scope="module")
def widget() -> DoctorWidget:
    return DoctorWidget(SAMPLES)


@pytest.fixture
def shown(mount, widget):
    return mount(widget)


def as_shown(text: str) -> str:
    """A sentence as the page shows it: code without its marks."""
    return text.replace("`", "")


def assert_says(shown: Mounted, name: str, text: str, k: int | None = None) -> dict:
    """All that Python says of a log is on the page, in its order, and nothing more."""
    said = said_by_python(text, k)
    titles = [cause["title"] for cause in said["causes"]]
    suspects = f" Suspect{'s' * (len(titles) > 1)}: {'; '.join(titles)}."
    if not titles:
        suspects = " No number points to a cause." if said["advice"] else ""
    assert shown.readout() == f"{name}: {said['title']}.{suspects}"
    assert shown.texts(".dv2-state") == [said["title"]]
    assert shown.texts(".dv2-evidence li") == [as_shown(one) for one in said["evidence"]]
    wanted = [[one["title"], one["evidence"], f"Try: {one['advice']}"] for one in said["causes"]]
    found = [text.split("\n") for text in shown.texts(".dv2-suspects > li")]
    assert [[line for line in lines if line] for lines in found] == [[*map(as_shown, one)] for one in wanted]
    assert shown.texts(".dv2-unseen li") == [as_shown(one) for one in said["unseen"]]
    box = shown.root.locator(".dv2-findings").inner_text()
    assert all(as_shown(note) in box for note in said["notes"])
    if not titles and said["advice"]:
        assert "No number here points to a cause." in box and as_shown(said["advice"]) in box
    return said


def give(shown: Mounted, name: str, content: str | bytes) -> None:
    """Choose a file, and wait until the page has read it."""
    content = content if isinstance(content, bytes) else content.encode()
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    with shown.page.expect_file_chooser() as chooser:
        shown.root.get_by_role("button", name="Choose a log").click()
    chooser.value.set_files([file])
    shown.settle()


def notice(shown: Mounted) -> str:
    """What is said about a file that is no log; empty where nothing is."""
    shown.settle()
    box = shown.root.locator(".dv2-notice")
    return box.inner_text() if box.is_visible() else ""


def test_samples_by_pointer_and_by_keyboard(shown):
    assert_says(shown, "healthy", json.dumps(SAMPLES["healthy"]))
    before = shown.picture()
    shown.choose("sample", "no centering")
    assert assert_says(shown, "no centering", json.dumps(SAMPLES["no centering"]))["state"] == "one prototype"
    assert shown.picture() != before
    shown.key("sample", "ArrowRight")
    assert_says(shown, "no sharpening", json.dumps(SAMPLES["no sharpening"]))
    assert "K = 32." in shown.texts(".dv2-findings .dv2-note")[0]
    assert not shown.control("n_prototypes").is_visible()  # the log says K


def test_curves_are_told_in_words(shown):
    losses, entropies, accuracy = (shown.alt(i) for i in range(3))
    history = SAMPLES["healthy"]["history"]
    assert losses.startswith("Chart over steps: losses. DINO ") and "ln 32 = 3.47: uniform" in losses
    assert f"one target {history['target_entropy'][0]:.3g} at first" in entropies
    assert f"k-NN {100 * history['knn'][0]:.0f} % at first" in accuracy
    assert shown.texts(".dv2-legend")[0].split() == "DINO iBOT KoLeo sum, as logged".split()


@pytest.mark.parametrize(
    ("name", "form"),
    [("training_metrics.json", "official"), ("metrics.csv", "lightning"), ("history.json", "bare")],
)
def test_a_file_that_does_not_say_k(shown, name, form):
    text = FORMS[form](RECORDED["stage_ibot"])
    give(shown, name, text)
    assert shown.value("sample") == ""
    assert_says(shown, name, text)
    assert shown.control("n_prototypes").is_visible()
    shown.control("n_prototypes").fill("32")
    shown.key("n_prototypes", "Enter")
    assert_says(shown, name, text, 32)
    assert "K = 32." in shown.texts(".dv2-findings .dv2-note")[0]
    shown.key("n_prototypes", "ArrowUp")
    assert shown.value("n_prototypes") == 33
    assert_says(shown, name, text, 33)
    shown.control("n_prototypes").fill("1")
    shown.key("n_prototypes", "Enter")
    assert notice(shown).startswith("K is a whole number") and shown.value("n_prototypes") == 0
    assert_says(shown, name, text)


def test_charts_show_what_a_log_has(shown):
    give(shown, "metrics.csv", FORMS["the sum alone"](RECORDED["healthy"]))
    assert [one.is_visible() for one in shown.root.locator("figure").all()] == [True, False, False]
    assert shown.alt().startswith("Chart over steps: losses. sum, as logged")
    assert "I don't know" in shown.readout()
    give(shown, "log.json", json.dumps(diverged()))
    assert "not finite at the end" in shown.alt() and "no longer a number" in shown.readout()


def test_the_browser_keeps_the_log(shown):
    asked = []
    shown.page.on("request", lambda request: asked.append(request.url))
    shown.page.evaluate(
        """() => {
            const { set } = window.__model;
            window.__written = [];
            window.__model.set = (...given) => { window.__written.push(given); set.apply(window.__model, given); };
        }"""
    )
    give(shown, "mine.json", json.dumps(BROKEN["batch"]))
    assert shown.readout().startswith("mine.json: ") and asked == []
    assert shown.page.evaluate("window.__written") == [["sample", ""]]  # all that a kernel would hear
    assert "nothing of it is sent anywhere" in shown.root.inner_text()


TRANSFER = """([kind, name, text, selector]) => {
    const transfer = new DataTransfer();
    if (name) transfer.items.add(new File([text], name)); else transfer.setData("text", text);
    const options = {bubbles: true, cancelable: true};
    const event = kind === "paste" ? new ClipboardEvent(kind, {...options, clipboardData: transfer})
        : new DragEvent(kind, {...options, dataTransfer: transfer});
    document.querySelector(selector).dispatchEvent(event);
    return document.querySelector(".dv2").classList.contains("dv2-over");
}"""


def test_a_log_is_dropped_or_pasted(shown):
    text = official_text(BROKEN["lr"])
    assert shown.page.evaluate(TRANSFER, ["dragover", "a.json", text, ".dv2-stage"]) is True
    assert shown.page.evaluate(TRANSFER, ["drop", "a.json", text, ".dv2-stage"]) is False
    assert_says(shown, "a.json", text)
    other = lightning_text(RECORDED["no_koleo"])
    shown.page.evaluate(TRANSFER, ["paste", "b.csv", other, "body"])
    assert_says(shown, "b.csv", other)
    shown.page.evaluate(TRANSFER, ["paste", "", text, ".dv2-findings"])
    assert_says(shown, "Pasted text", text)
    shown.page.evaluate(
        TRANSFER, ["paste", "", other, "body"]
    )  # of words elsewhere nobody knows whom they are for
    assert_says(shown, "Pasted text", text)


def test_text_in_the_field_by_keyboard_and_by_pointer(shown):
    field, text = shown.root.get_by_role("textbox", name="Text of a log"), json.dumps(BROKEN["masks"])
    field.fill(text)
    field.press("Tab")
    shown.page.keyboard.press("Enter")
    assert_says(shown, "Pasted text", text)
    field.fill("")
    shown.press("Examine the text")
    assert notice(shown).startswith("The log is empty: wanted history.json of python -m dinov2_edu train")
    assert_says(shown, "Pasted text", text)  # what was there stays
    shown.choose("sample", "healthy")
    assert shown.readout().startswith("healthy: It is learning")


BAD = {
    "empty.json": ("", "The log is empty: wanted history.json"),
    "photo.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff", "photo.png is not text: wanted history.json"),
    "checkpoint.pt": (b"PK\x03\x04\0\0", "checkpoint.pt is not text: the curves of a checkpoint.pt are in"),
    "cut.json": (
        '{"config": {}, "history": {"step": [1, 2], "loss": [',
        "Line 1 of the log is cut off or no JSON",
    ),
    "prices.csv": (
        "name,price\nbread,3\nmilk,2\n",
        "No loss in this log, only price: wanted history.json of python -m",
    ),
    "excel.csv": ("step,loss\n1,2\n".encode("utf-16"), "excel.csv is not text"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_log_is_explained_in_a_sentence(shown, tmp_path, name):
    content, words = BAD[name]
    give(shown, name, content)
    said = notice(shown)
    assert said.startswith(words) and said.endswith(".") and len(said) < 250
    assert shown.readout().startswith("healthy: It is learning")
    give(shown, "good.json", json.dumps(BROKEN["batch"]))
    assert notice(shown) == "" and shown.readout().startswith("good.json: ")
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"\w") as python:
        read_log(tmp_path / name)
    assert as_shown(str(python.value)).lower() == said.lower().removesuffix(".")


def test_fifty_megabytes_are_not_read(shown):
    shown.page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(50 * 2 ** 20)], "metrics.csv"));
            const drop = new DragEvent("drop", {bubbles: true, dataTransfer: transfer});
            document.querySelector(".dv2-stage").dispatchEvent(drop);
        }"""
    )
    wanted = "The log has 50 MB, wanted at most 32: keep every tenth line (awk 'NR % 10 == 1')."
    assert notice(shown) == wanted


def test_a_log_of_a_long_run_is_read(shown):
    text = official_rows([1.02 - 1e-6 * i for i in range(62_500)])
    give(shown, "training_metrics.json", text)
    assert "62,500 records up to step 6,249,900" in shown.texts(".dv2-findings .dv2-note")[0]
    assert shown.texts(".dv2-evidence li") == said_by_python(text)["evidence"]


def test_of_several_files_the_log_is_taken(shown):
    files = [
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"nothing"},
        {"name": "history.json", "mimeType": "text/plain", "buffer": json.dumps(BROKEN["leak"]).encode()},
    ]
    assert shown.call("likeliest", files)["name"] == "history.json"
    assert shown.call("likeliest", files[:1])["name"] == "notes.txt"


def test_the_address_says_which_run_and_k(shown):
    shown.page.evaluate("location.hash = '#sample=no+sharpening&n_prototypes=64'")
    shown.settle()
    assert shown.readout().startswith("no sharpening: ") and shown.value("n_prototypes") == 64
    shown.page.evaluate("location.hash = '#sample=another&n_prototypes=1'")
    shown.settle()
    assert shown.readout().startswith("no sharpening: ")
    shown.choose("sample", "no centering")
    shown.page.wait_for_function("location.hash.includes('sample=no+centering&n_prototypes=64')")


def test_without_samples_and_with_a_broken_one(mount):
    shown = mount(DoctorWidget())
    assert shown.readout() == "No log yet: choose one, drop it here, or paste its text."
    assert not shown.root.locator(".dv2-findings").is_visible()
    assert not shown.root.locator("canvas").first.is_visible()
    shown = mount(DoctorWidget({"torn": '{"loss": '}))
    assert notice(shown).startswith("Line 1 of the log is cut off")
    assert shown.readout().startswith("No log yet")


# ---- everywhere ----


def test_state_survives_a_theme_switch(shown):
    text = official_text(BROKEN["lr"])
    give(shown, "mine.json", text)
    before = shown.readout()
    switch_theme(shown)
    assert shown.readout() == before
    assert_says(shown, "mine.json", text)


@pytest.mark.parametrize(("width", "dark"), [(1200, True), (1200, False), (360, True), (360, False)])
def test_axe_finds_nothing_and_nothing_sticks_out(mount, widget, width, dark):
    shown = mount(widget, width=width, dark=dark)
    for name, text in [
        ("healthy", ""),
        ("training_metrics.json", official_text(BROKEN["lr"])),
        ("a-name-of-a-file-that-is-far-too-long-to-stand-in-one-line-of-a-phone.csv", ODD["flat"]),
        ("no-words-of-a-table-that-is-none.csv", "a_column_whose_name_is_long_" * 4 + "\n1\n"),
    ]:
        if text:
            give(shown, name, text)
        assert violations(shown) == []
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    small = shown.page.evaluate(
        """() => [...document.querySelectorAll(".dv2 :is(button, input, summary, textarea)")]
            .filter((one) => one.checkVisibility()).map((one) => one.closest("label") ?? one)
            .filter((one) => Math.min(...["width", "height"].map((side) => one.getBoundingClientRect()[side])) < 24)
            .map((one) => one.outerHTML)"""
    )
    assert small == []


def test_few_inputs_are_in_sight(mount, widget):
    shown = mount(widget, unfold=False)
    give(shown, "training_metrics.json", official_text(BROKEN["lr"]))
    visible = shown.root.locator(".dv2-control:visible, .dv2-row:visible, summary:visible")
    assert visible.count() <= 5


def test_a_finger_chooses(mount, widget):
    shown = mount(widget, width=360, has_touch=True)
    shown.root.locator('[data-value="no sharpening"]').tap()
    assert_says(shown, "no sharpening", json.dumps(SAMPLES["no sharpening"]))
