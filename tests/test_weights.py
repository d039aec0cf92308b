"""Weights arrive whole and right or not at all, load strictly, and say aloud when others stand in."""

import contextlib
import hashlib
import http.server
import json
import threading
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dinov2_edu.vit import BOOK_VIT, VisionTransformer, ViTConfig, fingerprint, vit_small
from dinov2_edu.weights import (
    BASE_URL,
    WEIGHTS,
    WeightsEntry,
    WeightsRefused,
    WeightsUnavailable,
    available_backbone,
    backbones,
    book,
    download,
    fetch,
    fetch_official,
    load_backbone,
    load_state,
    read_book_card,
    read_book_checkpoint,
    save_book_checkpoint,
)

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TINY = ViTConfig(img_size=8, patch_size=4, width=12, depth=1, heads=2)


class Behaviour:
    """What the server on this machine does with the next requests, and what it was asked."""

    def __init__(self):
        self.content = CONTENT
        self.ranges = True  # honour Range
        self.sends = []  # how many bytes to send of each answer before breaking off; then all
        self.announces = None  # lie about the whole length
        self.chunked = False  # say no length at all
        self.status = None  # answer with this error
        self.stalls = False  # send half and fall silent
        self.asked = []  # the Range header of each request
        self.let_go = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        behaviour = self.server.behaviour
        asked = self.headers.get("Range")
        behaviour.asked.append(asked)
        if behaviour.status:
            return self.send_error(behaviour.status)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and behaviour.ranges else 0
        if start and start >= len(behaviour.content):
            return self.send_error(416)
        total = behaviour.announces or len(behaviour.content)
        self.send_response(206 if start else 200)
        if not behaviour.chunked:
            self.send_header("Content-Length", str(total - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        body = behaviour.content[start:]
        if behaviour.stalls:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            behaviour.let_go.wait(10)
            return None
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[: behaviour.sends.pop(0)] if behaviour.sends else body)
        return None


@pytest.fixture
def server():
    """A web server on this machine that can misbehave: `url` is a file's address, `base` the root's."""
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.behaviour = Behaviour()
    running.base = f"http://127.0.0.1:{running.server_port}"
    running.url = running.base + "/file.pth"
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield running
    running.behaviour.let_go.set()
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """Give every test a hub cache of its own and no book checkpoint, so that no real file is touched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("DINOV2_EDU_OFFLINE", raising=False)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "file.pth"


def get(server, path, *, sha256=SHA256, size=None):
    return download(server.url, path, sha256=sha256, size=size, progress=False)


def left(path):
    """Names of the files beside `path`, the empty lock aside."""
    return sorted(file.name for file in path.parent.iterdir() if file.suffix != ".lock")


# --- download


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_is_fetched_once(server, path, size, chunked):
    server.behaviour.chunked = chunked
    assert get(server, path, size=size).read_bytes() == CONTENT
    assert get(server, path, size=size) == path
    assert server.behaviour.asked == [None] and left(path) == ["file.pth"]


def test_progress_is_shown(server, path, capsys):
    download(server.url, path, sha256=SHA256)
    assert "file.pth" in capsys.readouterr().err


def test_a_connection_that_breaks_off_is_taken_up_again(server, path):
    server.behaviour.sends = [100_000, 50_000]
    assert get(server, path).read_bytes() == CONTENT
    assert server.behaviour.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_what_came_is_kept_for_the_next_call(server, path):
    server.behaviour.sends = [100_000, 0]
    with pytest.raises(
        WeightsUnavailable, match=r"closed after 100,000 of 512,000 bytes.*100,000 bytes are kept"
    ):
        get(server, path)
    assert left(path) == ["file.pth.part"]
    assert get(server, path).read_bytes() == CONTENT
    assert server.behaviour.asked[-1] == "bytes=100000-" and left(path) == ["file.pth"]


def test_a_server_that_always_breaks_off_is_given_up(server, path):
    server.behaviour.sends = [1000] * 50
    with pytest.raises(WeightsUnavailable, match="4,000 bytes are kept"):
        get(server, path)
    assert len(server.behaviour.asked) == 4


def test_a_server_that_cannot_resume_sends_everything_again(server, path):
    server.behaviour.ranges = False
    server.behaviour.sends = [100_000]
    assert get(server, path).read_bytes() == CONTENT
    assert server.behaviour.asked == [None, "bytes=100000-"]


def test_a_part_that_is_whole_needs_no_server(server, path):
    path.parent.mkdir()
    path.with_name("file.pth.part").write_bytes(CONTENT)
    assert get(server, path, size=len(CONTENT)).read_bytes() == CONTENT
    assert server.behaviour.asked == [] and left(path) == ["file.pth"]


@pytest.mark.parametrize("extra", [b"", b"too much"])
def test_a_part_beyond_the_end_is_judged_by_its_checksum(server, path, extra):
    path.parent.mkdir()
    path.with_name("file.pth.part").write_bytes(CONTENT + extra)
    if not extra:
        assert get(server, path).read_bytes() == CONTENT
        return
    with pytest.raises(WeightsRefused, match="try again"):
        get(server, path)
    assert left(path) == []
    assert get(server, path).read_bytes() == CONTENT


@pytest.mark.bad_input
def test_a_part_of_another_file_is_removed(server, path):
    path.parent.mkdir()
    path.with_name("file.pth.part").write_bytes(b"x" * 1000)
    with pytest.raises(WeightsRefused, match="SHA-256"):
        get(server, path)
    assert left(path) == []


@pytest.mark.bad_input
def test_wrong_bytes_are_refused_and_removed(server, path):
    server.behaviour.content = b"<html>Please log in</html>"
    with pytest.raises(
        WeightsRefused, match=r"SHA-256 is .* it was removed: try again.*proxy or a login page"
    ):
        get(server, path)
    assert left(path) == []


@pytest.mark.bad_input
def test_another_size_than_known_is_refused_before_a_byte_is_written(server, path):
    server.behaviour.content = CONTENT[:-1]
    with pytest.raises(WeightsRefused, match=r"announces 511,999 bytes and should have 512,000"):
        get(server, path, size=len(CONTENT))
    assert left(path) == []


@pytest.mark.bad_input
@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_too_short_or_too_long_is_refused(server, path, chunked):
    server.behaviour.chunked = chunked
    server.behaviour.content = CONTENT + b"more"
    with pytest.raises(WeightsRefused):
        get(server, path, size=len(CONTENT))
    assert "file.pth" not in left(path)


@pytest.mark.bad_input
def test_a_length_announced_too_short_is_caught_by_the_checksum(server, path):
    server.behaviour.announces = 400_000
    with pytest.raises(WeightsRefused, match="SHA-256"):
        get(server, path)
    assert left(path) == []


def test_a_length_announced_too_long_does_no_harm(server, path):
    server.behaviour.announces = len(CONTENT) + 5
    assert get(server, path).read_bytes() == CONTENT  # asks for the rest, hears there is none, and checks


@pytest.mark.bad_input
@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_server_that_says_no(server, path, status):
    server.behaviour.status = status
    with pytest.raises(WeightsUnavailable, match=f"file.pth could not be fetched: the server says {status}"):
        get(server, path)
    assert left(path) == []


@pytest.mark.bad_input
def test_a_server_that_falls_silent(server, path, monkeypatch):
    monkeypatch.setattr(fetch, "_TIMEOUT", 0.3)
    monkeypatch.setattr(fetch, "_ATTEMPTS", 1)
    server.behaviour.stalls = True
    with pytest.raises(WeightsUnavailable, match=r"timed out.*256,000 bytes are kept"):
        get(server, path)
    server.behaviour.stalls = False
    assert get(server, path).read_bytes() == CONTENT


@pytest.mark.bad_input
def test_no_server_at_all(path):
    with pytest.raises(WeightsUnavailable, match=r"refused.*nothing came"):
        download("http://127.0.0.1:9/file.pth", path, sha256=SHA256)
    assert left(path) == []


@pytest.mark.bad_input
def test_a_wrong_file_in_the_cache_is_replaced(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    assert get(server, path).read_bytes() == CONTENT


@pytest.mark.bad_input
def test_a_full_disk_is_not_taken_for_a_dead_network(server, path, monkeypatch):
    class Full:
        def __init__(self, *_, **__):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch.Path, "open", Full)
    with pytest.raises(WeightsUnavailable, match=r"could not be written .*No space left.*TORCH_HOME"):
        get(server, path)
    assert len(server.behaviour.asked) == 1


def test_two_at_once_fetch_once(server, path):
    results = []
    threads = [threading.Thread(target=lambda: results.append(get(server, path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.read_bytes() == CONTENT for file in results] == [True] * 4
    assert server.behaviour.asked == [None]


@pytest.mark.bad_input
@pytest.mark.parametrize("sha256", ["", "abc", "Z" * 64])
def test_a_checksum_that_is_none(server, path, sha256):
    with pytest.raises(ValueError, match="64 digits"):
        get(server, path, sha256=sha256)


# --- the official models


def test_the_table_has_the_eight_models_at_their_addresses():
    assert set(WEIGHTS) == {f"vit{size}14{suffix}" for size in "sblg" for suffix in ("", "_reg4")}
    assert BASE_URL == "https://dl.fbaipublicfiles.com/dinov2"
    assert WEIGHTS["vits14"].path == "dinov2_vits14/dinov2_vits14_pretrain.pth"
    assert WEIGHTS["vitg14_reg4"].path == "dinov2_vitg14/dinov2_vitg14_reg4_pretrain.pth"
    assert WEIGHTS["vits14"].size == 88_283_115
    assert len({entry.sha256 for entry in WEIGHTS.values()}) == 8
    assert all(len(bytes.fromhex(entry.sha256)) == 32 for entry in WEIGHTS.values())


def test_the_small_models_are_the_presets():
    with torch.device("meta"):  # shapes only
        assert WEIGHTS["vits14"].config == vit_small().config
        assert WEIGHTS["vits14_reg4"].config == vit_small(n_registers=4).config


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_models_are_as_large_as_in_transformers(name):
    from transformers import (
        Dinov2Config,
        Dinov2Model,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    config = WEIGHTS[name].config
    registers = config.n_registers > 0
    sizes = {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "image_size": 518,
        "patch_size": 14,
        "use_swiglu_ffn": name.startswith("vitg"),
        **({"num_register_tokens": 4} if registers else {}),
    }
    with torch.device("meta"):
        theirs = (
            Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes))
            if registers
            else Dinov2Model(Dinov2Config(**sizes))
        )
        ours = VisionTransformer(config)
    count = [sum(parameter.numel() for parameter in model.parameters()) for model in (ours, theirs)]
    assert count[0] == count[1]
    known = {"vits14": 22_056_576}
    assert count[0] == known.get(name, count[0])


@pytest.fixture
def tiny(server, monkeypatch, tmp_path):
    """Let the server hold weights of a tiny model under vits14's address; returns the model."""
    torch.manual_seed(0)
    model = VisionTransformer(TINY)
    torch.save(model.state_dict(), tmp_path / "tiny.pth")
    server.behaviour.content = (tmp_path / "tiny.pth").read_bytes()
    digest = hashlib.sha256(server.behaviour.content).hexdigest()
    entry = WeightsEntry("a/tiny.pth", digest, len(server.behaviour.content), TINY)
    monkeypatch.setitem(WEIGHTS, "vits14", entry)
    return model


def assert_same_weights(loaded, model):
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def test_official_weights_load_from_server_then_from_the_hub_cache(server, tiny, tmp_path, monkeypatch):
    model = load_backbone("vits14", base_url=server.base + "/")
    assert_same_weights(model, tiny)
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    assert (tmp_path / "torch" / "hub" / "checkpoints" / "tiny.pth").is_file()
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", "1")
    assert_same_weights(load_backbone("vits14"), tiny)
    assert len(server.behaviour.asked) == 1
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(images).cls, tiny.eval()(images).cls)


def test_backbones_come_in_the_precision_asked_for(server, tiny):
    model = load_backbone("vits14", dtype=torch.bfloat16, base_url=server.base)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}


@pytest.mark.bad_input
def test_offline_asks_no_server(server, tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", "1")
    with pytest.raises(WeightsUnavailable, match=r"tiny.pth is not there and DINOV2_EDU_OFFLINE"):
        load_backbone("vits14", base_url=server.base)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeightsUnavailable, match=r"^~/torch/hub/checkpoints/tiny.pth is not there"):
        load_backbone("vits14", base_url=server.base)  # a page may show it: no path of a machine
    file = tmp_path / "torch" / "hub" / "checkpoints" / "tiny.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"cut")
    with pytest.raises(WeightsRefused, match=r"tiny.pth .*it has 3 bytes.*removed"):
        load_backbone("vits14", base_url=server.base)
    assert server.behaviour.asked == [] and not file.exists()


@pytest.mark.bad_input
def test_weights_of_another_model_are_refused_by_the_names_that_differ(tiny):
    state = tiny.state_dict()
    state["head.weight"] = state.pop("norm.weight")
    state["cls_token"] = torch.zeros(1, 1, 13)
    with pytest.raises(
        WeightsRefused,
        match=r"a file does not fit .*missing: norm.weight; unexpected: head.weight; "
        r"of another shape: cls_token \(1, 1, 13\) instead of \(1, 1, 12\)",
    ):
        load_state(TINY, state, "a file")


@pytest.mark.bad_input
def test_a_file_that_would_run_code_is_not_loaded(server, monkeypatch, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"cls_token": Evil()}, tmp_path / "evil.pth")
    server.behaviour.content = (tmp_path / "evil.pth").read_bytes()
    digest = hashlib.sha256(server.behaviour.content).hexdigest()
    monkeypatch.setitem(WEIGHTS, "vits14", WeightsEntry("evil.pth", digest, None, TINY))
    with pytest.raises(WeightsRefused, match=r"evil.pth .*tensors"):
        load_backbone("vits14", base_url=server.base)
    assert not (tmp_path / "ran").exists()


@pytest.mark.bad_input
def test_unknown_names_and_types_are_refused():
    with pytest.raises(ValueError, match=r"no backbone 'vits16', only vits14, .*, book, random"):
        load_backbone("vits16")
    with pytest.raises(ValueError, match="no official weights 'book'"):
        fetch_official("book")
    for dtype in (torch.int8, "float32"):
        with pytest.raises(ValueError, match=r"torch\.bfloat16"):
            load_backbone("random", dtype=dtype)
    for names in ([], ["vits14", "resnet"]):
        with pytest.raises(ValueError, match="names must be some of"):
            available_backbone(names)


# --- the book's checkpoint, the random backbone, and who stands in for whom


@pytest.fixture
def no_assets(tmp_path, monkeypatch):
    """Look for the book's checkpoint in an empty folder; returns the folder."""
    monkeypatch.setattr(book, "ASSETS", tmp_path / "assets")
    return tmp_path / "assets"


def test_the_book_checkpoint_comes_back_in_half_precision(no_assets):
    torch.manual_seed(1)
    model = VisionTransformer(TINY)
    path = save_book_checkpoint(model, {"data": "CIFAR-10", "knn": 0.5}, no_assets)
    loaded = load_backbone("book")
    assert loaded.config == TINY and next(loaded.parameters()).dtype == torch.float32
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())
    with safe_open(path, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in model.state_dict()} == {torch.float16}
    card = json.loads((no_assets / "book.json").read_text())
    assert card["knn"] == 0.5 and card["config"]["width"] == 12 and read_book_card() == card
    assert sorted(file.name for file in no_assets.iterdir()) == ["book.json", "book.safetensors"]


@pytest.mark.bad_input
def test_a_checkpoint_that_makes_no_sense_is_not_written(no_assets):
    model = VisionTransformer(TINY)
    with pytest.raises(ValueError, match="card must hold"):
        save_book_checkpoint(model, {"curve": torch.zeros(2)}, no_assets)
    with pytest.raises(ValueError, match="card must hold"):
        save_book_checkpoint(model, {"loss": float("nan")}, no_assets)
    with torch.no_grad():
        model.norm.weight[0] = 1e6
    with pytest.raises(ValueError, match=r"not finite in half precision: norm\.weight"):
        save_book_checkpoint(model, {}, no_assets)
    assert not no_assets.exists()


@pytest.mark.bad_input
def test_a_book_checkpoint_that_is_absent_cut_or_foreign(no_assets):
    with pytest.raises(
        WeightsUnavailable, match=r"not there \(dinov2_edu/assets/book.safetensors\).*chapter 07"
    ):
        load_backbone("book")
    with pytest.raises(WeightsUnavailable, match=r"not there \(dinov2_edu/assets/book.json\).*chapter 07"):
        read_book_card()
    path = save_book_checkpoint(VisionTransformer(TINY), {}, no_assets)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsRefused, match=r"book\.safetensors is cut short"):
        load_backbone("book")
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsRefused, match="was not written by this book"):
        read_book_checkpoint(no_assets)


def test_the_random_backbone_is_the_same_every_time_and_disturbs_no_one(monkeypatch):
    torch.manual_seed(5)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded the GPUs"))
    first = load_backbone("random")
    drawn = torch.rand(1)
    torch.default_generator.manual_seed(5)
    assert torch.equal(drawn, torch.rand(1))
    assert_same_weights(load_backbone("random"), first)
    assert first.config == replace(BOOK_VIT, init="official")


def test_the_random_backbone_tells_images_apart():
    cls = load_backbone("random")(torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))).cls
    assert torch.pdist(torch.nn.functional.normalize(cls, dim=1)).min() > 1e-2


@pytest.mark.parametrize("have", ["official", "book", "neither"])
def test_what_stands_in_is_said_aloud(server, tiny, no_assets, capsys, have):
    if have != "official":
        server.behaviour.status = 404
    if have == "book":
        save_book_checkpoint(VisionTransformer(TINY), {}, no_assets)
    found = available_backbone(base_url=server.base)
    printed = capsys.readouterr().out
    if have == "official":
        assert (found.name, found.notice, printed) == ("vits14", "", "")
        return
    stand_in = {
        "book": "the book's own small checkpoint",
        "neither": "random weights, which has learnt nothing",
    }
    assert found.name == {"book": "book", "neither": "random"}[have]
    assert f"These numbers come from {'a backbone with ' if have == 'neither' else ''}" in found.notice
    assert stand_in[have] in found.notice and "not from vits14" in found.notice and "404" in found.notice
    assert found.notice in printed


def test_a_bug_is_not_taken_for_missing_weights(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(backbones, "fetch_official", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        available_backbone()


# --- fingerprint


def test_equal_models_have_equal_fingerprints_and_others_do_not(tiny):
    copy = VisionTransformer(TINY)
    copy.load_state_dict(tiny.state_dict())
    assert fingerprint(copy) == fingerprint(tiny) and len(fingerprint(tiny)) == 64
    different = [fingerprint(tiny)]
    with torch.no_grad():
        copy.norm.bias[3] += 1e-7
    different.append(fingerprint(copy))
    different.append(fingerprint(tiny.to(torch.bfloat16)))
    changed = VisionTransformer(ViTConfig(**{**vars(TINY), "interpolate_antialias": True}))
    changed.load_state_dict(copy.state_dict())
    different.append(fingerprint(changed))
    assert len(set(different)) == 4


@pytest.mark.bad_input
def test_only_a_module_has_a_fingerprint():
    with pytest.raises(ValueError, match=r"torch\.nn\.Module"):
        fingerprint({"a": 1})


def test_backbone_from_a_file_of_its_own(tmp_path):
    path = save_book_checkpoint(VisionTransformer(TINY), {}, tmp_path)
    mine = path.rename(tmp_path / "mine.safetensors")
    assert load_backbone(str(mine)).config == TINY
    with pytest.raises(WeightsUnavailable, match="there is no file"):
        load_backbone(str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match=r"and files that end in \.safetensors"):
        load_backbone(str(tmp_path / "mine.pth"))
