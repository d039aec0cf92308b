"""The worker as a widget uses it: started from a Blob, asked by messages, nothing fetched from anywhere."""

import hashlib
import json

import numpy as np
import pytest
import torch
from made_heads import made_heads

from dinov2_edu.features import Preprocessing
from dinov2_edu.training import TrainConfig
from dinov2_edu.weights import load_backbone
from dinov2_edu.weights.book import ASSETS

BOOK = (ASSETS / "book.safetensors").read_bytes()
START = "const session = startLive(); const { ask } = session;"


def test_photo_is_seen_as_the_package_sees_it(live):
    photo = torch.randint(
        0, 256, (1, 3, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    rgba = torch.cat([photo[0], torch.full((1, 90, 120), 255, dtype=torch.uint8)]).permute(1, 2, 0)
    script = (
        START
        + """
    await ask("loadModel", { name: "book", bytes: file.data.buffer });
    const about = await ask("look", { model: "book", key: "a", rgba: rgba.data, from: { height: 90, width: 120 },
      height: 48, width: 64 });
    const answer = { about, final: await ask("tokens", { key: "a" }),
      third: await ask("tokens", { key: "a", layer: 2 }),
      attention: await ask("attention", { key: "a", layer: 1, query: 5 }) };
    session.stop();
    return answer;
    """
    )
    found = live.run(script, file=BOOK, rgba=rgba)
    model = load_backbone("book")
    pixels = Preprocessing(size=48)(photo)  # the centre square; the page keeps the whole width
    whole = _resized(photo, 48, 64)
    assert torch.allclose(whole[..., 8:56], pixels, atol=1e-5)
    with torch.no_grad():
        tokens = model(whole)
        third = model.intermediate_layers(whole, [2], norm=False)[0]
        attention = model.attention_maps(whole, 1)[0, :, 5]
    final = torch.cat([tokens.cls[:, None], tokens.patches], 1)
    np.testing.assert_allclose(found["final"], final.flatten(), atol=5e-5)
    np.testing.assert_allclose(
        found["third"], torch.cat([third.cls[:, None], third.patches], 1).flatten(), atol=5e-5
    )
    np.testing.assert_allclose(found["attention"], attention.flatten(), atol=1e-5)
    about = found["about"]
    assert [about[name] for name in ("rows", "cols", "prefix", "depth", "heads", "width")] == [
        12,
        16,
        1,
        6,
        4,
        128,
    ]


@pytest.mark.parametrize("separate", [False, True])
def test_heads_name_the_prototypes_that_the_package_names(live, tmp_path, separate):
    pixels = torch.randn(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    hidden = torch.arange(48).remainder(3) == 0
    script = (
        START
        + """
    const failing = (asked) => asked.then(() => "it went well", (error) => error.message);
    await ask("loadModel", { name: "book", bytes: file.data.buffer });
    const copy = heads.data.slice().buffer;
    const foreign = await failing(ask("loadHeads", { name: "its", bytes: copy, backbone: "other" }));
    const none = await failing(ask("loadHeads", { name: "its", bytes: again.data.buffer }));
    await ask("loadHeads", { name: "its", backbone, bytes: heads.data.buffer });
    const size = { height: 24, width: 32 };
    await ask("look", { model: "book", key: "whole", pixels: pixels.data, ...size });
    await ask("look", { model: "book", key: "hidden", pixels: pixels.data, ...size, mask: mask.data });
    const answer = { teacher: await ask("prototypes", { name: "its", who: "teacher", key: "whole" }),
      student: await ask("prototypes", { name: "its", who: "student", key: "hidden" }), foreign, none,
      refused: await failing(ask("prototypes", { name: "no", who: "student", key: "hidden" })) };
    await ask("forget", { heads: "its" });
    answer.forgotten = await failing(ask("prototypes", { name: "its", who: "student", key: "hidden" }));
    session.stop();
    return answer;
    """
    )
    networks, path = made_heads(tmp_path, separate=separate)
    given = {"file": BOOK, "again": BOOK, "heads": path.read_bytes(), "pixels": pixels}
    given |= {"mask": hidden.byte(), "backbone": hashlib.sha256(BOOK).hexdigest()}
    found, backbone = live.run(script, **given), load_backbone("book")
    with torch.no_grad():
        seen = {"teacher": backbone(pixels), "student": backbone(pixels, masks=hidden[None])}
        for who, network in networks.items():
            logits = (network.ibot_head or network.dino_head)(seen[who].patches[0])
            best = logits.topk(2, dim=1).values
            clear = (
                best[:, 0] - best[:, 1] > 1e-5
            ).numpy()  # where two are equally high, either may be named
            assert clear.sum() > 40
            np.testing.assert_array_equal(found[who][clear], logits.argmax(dim=1).numpy()[clear])
    assert not np.array_equal(found["teacher"], found["student"])
    assert found["refused"] == 'There is no file of heads "no".'
    assert found["forgotten"] == 'There is no file of heads "its".'
    assert found["foreign"].startswith("The file of heads is of other weights than the model")
    assert found["none"] == "The file of heads has none of the student's."


def _resized(photo, height, width):
    """The whole picture as `Preprocessing` would make it ready, without its centre crop."""
    from dinov2_edu.crops import normalize
    from dinov2_edu.shapes import IMAGENET_MEAN, IMAGENET_STD

    small = torch.nn.functional.interpolate(
        photo.float() / 255, (height, width), mode="bicubic", antialias=True
    )
    return normalize(small.clamp(0, 1), IMAGENET_MEAN, IMAGENET_STD)


def test_run_can_be_paused_changed_and_saved(live, tmp_path):
    script = (
        START
        + """
    const steps = [], other = [];
    session.on("step", (event) => steps.push(event));
    for (const name of ["knn", "ended", "failed"]) session.on(name, (event) => other.push(event));
    const settled = (count) => new Promise((ok) => session.on("step", ({ step }) => { if (step === count) ok(); }));
    const ended = new Promise((ok) => { session.on("ended", ok); session.on("failed", ok); });
    const three = settled(3);
    const settings = { batch_size: 8 };
    const data = { pictures: 60, first: 30, each: 2, neighbours: 40, tests: 20 };
    const begun = await ask("startRun", { run: "mine", settings, data, evaluateEvery: 4, until: 8 });
    await three;
    await ask("pause", { run: "mine" });
    const paused = steps.length;
    await new Promise((ok) => setTimeout(ok, 300));
    const still = steps.length;
    await ask("change", { run: "mine",
      settings: { targets: "none", koleo_weight: 0, crops: { n_local: 0 }, shortcut: 1 } });
    await ask("resume", { run: "mine" });
    await ended;
    const answer = { begun, steps, other, paused, still };
    answer.more = await ask("stepOnce", { run: "mine" });
    answer.strip = await ask("strip", { run: "mine", picture: 2 });
    answer.neighbours = await ask("neighbours", { run: "mine", count: 2, k: 3 });
    const own = Uint8Array.from({ length: 3 * 32 * 32 }, (_, i) => (i * i) % 251);
    answer.label = await ask("addPictures", { run: "mine", bytes: own });
    answer.own = await ask("neighbours", { run: "mine", count: 2, k: 42 });
    answer.pictures = await ask("testPictures", { run: "mine" });
    answer.stripAfter = await ask("strip", { run: "mine", picture: 2 });
    answer.history = await ask("history", { run: "mine" });
    answer.verdict = await ask("diagnosis", { run: "mine" });
    answer.file = await ask("save", { run: "mine" });
    answer.pixels = await ask("pixelKnn", { run: "mine" });
    session.stop();
    return answer;
    """
    )
    found = live.run(script)
    assert [event["step"] for event in found["steps"]] == list(range(1, 9))
    assert found["still"] <= found["paused"] + 1  # the step that had begun
    assert {"dino_local", "koleo"} <= set(found["steps"][0]["metrics"])
    assert not {"dino_local", "koleo"} & set(found["steps"][-1]["metrics"])
    assert [event["event"] for event in found["other"]] == ["knn", "knn", "ended"]
    assert len(found["history"]["loss"]) == 9 and found["label"] == 10
    assert found["verdict"]["name"] and 0 <= found["pixels"] <= 1
    assert [len(one["nearest"]) for one in found["neighbours"]] == [3, 3]
    own = found["own"][2]
    assert (own["asked"], own["label"]) == (20, 10) and len(found["own"]) == 3
    assert sorted(one["index"] for one in own["nearest"] if one["label"] == 10) == [40, 41]
    plane = 32 * 32
    mine = (np.arange(3 * plane) ** 2 % 251).astype(np.uint8)
    assert np.array_equal(found["pictures"]["known"][40 * plane :], mine[plane:])
    assert np.array_equal(found["pictures"]["tests"][20 * plane :], mine[:plane])
    strip = found["strip"]
    for crop, later in zip(strip["globals"], found["stripAfter"]["globals"], strict=True):
        np.testing.assert_array_equal(crop["guess"], later["guess"])  # an evaluation leaves it alone
    assert len(strip["globals"]) == 2 and strip["locals"] == [] and len(strip["picture"]) == 32 * 32
    for crop in strip["globals"]:
        assert crop["target"].sum() == pytest.approx(1, abs=1e-5) and crop["guess"].sum() == pytest.approx(
            1, abs=1e-5
        )
        assert len(crop["patches"]) == crop["mask"].sum()

    path = tmp_path / "my-run.safetensors"
    path.write_bytes(found["file"].tobytes())
    model = load_backbone(str(path))
    assert (model.config.in_channels, model.config.width, model.config.depth) == (3, 64, 2)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        run = json.loads(file.metadata()["run"])
    assert run["step"] == 9 and TrainConfig.from_dict(run["config"]).batch_size == 8


def test_saved_teacher_sees_in_python_what_it_saw_in_the_page(live, tmp_path):
    script = """
    const engine = await live.Engine.create({ megabytes: 96 });
    const run = new live.Run(engine, live.PRESETS.minute, 3, { pictures: 64, first: 64, neighbours: 40, tests: 20 });
    run.next();
    const { asked } = run.features();
    return { features: asked, bytes: run.evaluation().bytes, file: live.saveRun(run) };
    """
    found = live.run(script)
    (tmp_path / "my-run.safetensors").write_bytes(found["file"].tobytes())
    model = load_backbone(str(tmp_path / "my-run.safetensors"))
    gray = torch.from_numpy(found["bytes"].copy()).view(20, 1, 32, 32).expand(-1, 3, -1, -1)
    with torch.no_grad():
        tokens = model(Preprocessing(size=32)(gray.contiguous())).cls
    np.testing.assert_allclose(found["features"], tokens.flatten(), atol=2e-5)


@pytest.mark.parametrize(
    ("task", "given", "sentence"),
    [
        ("look", {"model": "none", "key": "a"}, 'There is no model "none".'),
        ("tokens", {"key": "none"}, 'There is no look "none".'),
        ("dance", {}, 'There is no task "dance".'),
        ("loadModel", {"name": "a", "bytes": b"no such file at all"}, "This is no .safetensors file"),
        ("loadModel", {"name": "a", "bytes": BOOK[:-9]}, "The file is cut short"),
        (
            "startRun",
            {"run": "a", "settings": {"vit": {"width": 66}}},
            "The width 66 must be a multiple of 4",
        ),
        ("startRun", {"run": "a", "megabytes": 10}, "This needs more than the 10 MB of memory"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(live, task, given, sentence):
    script = (
        START
        + """
    if (given.bytes) given.bytes = given.bytes.data.buffer;
    const failed = new Promise((ok) => session.on("failed", ({ error }) => ok(error)));
    const said = await ask(task, given).then(() => failed, (error) => error.message);
    session.stop();
    return said;
    """
    )
    assert sentence in live.run(script, task=task, given=given)


def test_no_simd_is_said_in_a_sentence(live):
    script = """
    const before = WebAssembly.validate;
    WebAssembly.validate = () => false;
    try { await live.Engine.create(); return "it ran"; } catch (error) { return error.message; }
    finally { WebAssembly.validate = before; }
    """
    assert "lacks WebAssembly SIMD" in live.run(script)
