"""Weights arrive whole and right or not at all, load strictly, and say aloud when others stand in."""

import hashlib
import http.server
import itertools
import json
import os
import re
import threading
import warnings
import zipfile
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dinov2_edu.experiments.presets import patterns10_run
from dinov2_edu.training.checkpoint import save_checkpoint
from dinov2_edu.training.state import build_state
from dinov2_edu.vit import BOOK_VIT, VisionTransformer, ViTConfig, fingerprint, vit_small
from dinov2_edu.weights import (
    WEIGHTS,
    WeightsEntry,
    WeightsRefused,
    WeightsUnavailable,
    available_backbone,
    backbones,
    book,
    fetch_official,
    load_backbone,
    load_state,
    read_book_card,
    read_book_heads,
    reading,
    save_book_checkpoint,
    to_timm,
    to_transformers,
)

TINY = ViTConfig(img_size=8, patch_size=4, width=12, depth=1, heads=2)


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """Give every test a hub cache of its own and no book checkpoint, so that no real file is touched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("DINOV2_EDU_OFFLINE", "DINOV2_EDU_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.hub, "_hub_dir", None)


# --- the official models


def test_the_table_has_the_eight_models_at_their_addresses():
    assert set(WEIGHTS) == {f"vit{size}14{suffix}" for size in "sblg" for suffix in ("", "_reg4")}
    server = "https://dl.fbaipublicfiles.com/dinov2"
    assert WEIGHTS["vits14"].file.url == f"{server}/dinov2_vits14/dinov2_vits14_pretrain.pth"
    assert WEIGHTS["vitg14_reg4"].file.url == f"{server}/dinov2_vitg14/dinov2_vitg14_reg4_pretrain.pth"
    assert WEIGHTS["vits14"].file.size == 88_283_115
    assert WEIGHTS["vits14"].file.sha256.startswith("b938bf1bc15cd2ec")
    assert len({entry.file.sha256 for entry in WEIGHTS.values()}) == 8


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_sizes_are_those_of_files_with_these_tensors(name):
    """A file of torch has 4 bytes a number, and up to a kilobyte of names and padding a tensor."""
    with torch.device("meta"):
        state = VisionTransformer(WEIGHTS[name].config).state_dict()
    least = 4 * sum(tensor.numel() for tensor in state.values())
    file = WEIGHTS[name].file
    assert least < (file.size or least + 1) < least + 1000 * len(state) < file.at_most < least + 2**21


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
def server(tmp_path, monkeypatch):
    """A server of official files, from `site` in the test's folder; `asked` holds the paths it was asked for."""
    site = tmp_path / "site"
    (site / "dinov2" / "dinov2_vits14").mkdir(parents=True)
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            return super().do_GET()

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site)))
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    running.asked, running.vits14 = asked, site / "dinov2" / "dinov2_vits14" / "dinov2_vits14_pretrain.pth"
    running.mirror = {"server": f"http://127.0.0.1:{running.server_port}"}
    (tmp_path / "mirror.json").write_text(json.dumps(running.mirror))
    monkeypatch.setenv("DINOV2_EDU_MIRROR", str(tmp_path / "mirror.json"))
    yield running
    running.shutdown()
    running.server_close()


def publish(server, monkeypatch, content):
    """Let this be vits14's file: on the server, and in the table."""
    torch.save(content, server.vits14)
    digest = hashlib.sha256(server.vits14.read_bytes()).hexdigest()
    file = replace(WEIGHTS["vits14"].file, sha256=digest, size=server.vits14.stat().st_size)
    monkeypatch.setitem(WEIGHTS, "vits14", WeightsEntry(file, TINY))


@pytest.fixture
def tiny(server, monkeypatch):
    """Let the server hold weights of a tiny model under vits14's address; returns the model."""
    torch.manual_seed(0)
    model = VisionTransformer(TINY)
    publish(server, monkeypatch, model.state_dict())
    return model


def assert_same_weights(loaded, model):
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def test_official_weights_load_from_server_then_from_the_hub_cache(server, tiny, tmp_path, monkeypatch):
    model = load_backbone("vits14")
    assert_same_weights(model, tiny)
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())
    assert (tmp_path / "torch" / "hub" / "checkpoints" / "dinov2_vits14_pretrain.pth").is_file()
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", "true")
    assert_same_weights(load_backbone("vits14"), tiny)
    assert server.asked == ["/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth"]
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(model(images).cls, tiny.eval()(images).cls)


def test_backbones_come_in_the_precision_asked_for(server, tiny):
    model = load_backbone("vits14", dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}


def test_without_weights_one_sentence_says_three_ways_on(server, tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", "yes")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(WeightsUnavailable) as met:
        load_backbone("vits14")
    url = f"{server.mirror['server']}/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth"
    assert str(met.value) == (
        "vits14 is not on this machine and could not be fetched (DINOV2_EDU_OFFLINE is set); three ways on: put "
        f'{url} into ~/torch/hub/checkpoints, take load_backbone("book"), which comes with this package, or run this '
        "where there is a network"
    )
    assert met.value.__suppress_context__ and server.asked == []  # no chain of errors behind it
    file = tmp_path / "torch" / "hub" / "checkpoints" / "dinov2_vits14_pretrain.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"cut")
    with pytest.raises(
        WeightsUnavailable, match=r"pretrain.pth is another file \(of 3 bytes, not [\d,]+\), and"
    ):
        load_backbone("vits14")
    assert file.read_bytes() == b"cut"


def test_a_stand_in_for_official_weights_says_everywhere_that_it_is_one(
    server, tiny, monkeypatch, tmp_path, capsys
):
    own = {"sha256": WEIGHTS["vits14"].file.sha256, "size": WEIGHTS["vits14"].file.size}
    text = json.dumps(server.mirror | {"files": {"dinov2_vits14_pretrain.pth": own}})
    (tmp_path / "mirror.json").write_text(text)
    published = replace(WEIGHTS["vits14"].file, sha256="0" * 64)
    monkeypatch.setitem(WEIGHTS, "vits14", WeightsEntry(published, TINY))
    found = available_backbone()
    assert found.model.name == "vits14 (a stand-in that DINOV2_EDU_MIRROR names)"
    assert found.notice == f"These numbers come from {found.model.name}, not from the published weights."
    assert found.notice in capsys.readouterr().out
    assert not (tmp_path / "torch" / "hub" / "checkpoints" / "dinov2_vits14_pretrain.pth").exists()
    (tmp_path / "mirror.json").write_text(json.dumps(server.mirror))
    with pytest.raises(WeightsUnavailable, match="another file"):
        load_backbone("vits14")


def test_weights_of_another_model_are_refused_by_the_names_that_differ(tiny):
    state = tiny.state_dict()
    state["neck.weight"] = state.pop("norm.weight")
    state["cls_token"] = torch.zeros(1, 1, 13)
    with pytest.raises(
        WeightsRefused,
        match=r"a file does not fit .*missing: norm.weight; unexpected: neck.weight; "
        r"of another shape: cls_token \(1, 1, 13\) instead of \(1, 1, 12\)",
    ):
        load_state(TINY, state, "a file")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_file_that_would_run_code_is_not_loaded(server, monkeypatch, tmp_path):
    publish(server, monkeypatch, {"cls_token": Evil(str(tmp_path / "ran"))})
    with pytest.raises(
        WeightsRefused, match=r"pretrain.pth .*something else than tensors, and was not loaded"
    ):
        load_backbone("vits14")
    assert not (tmp_path / "ran").exists()


def test_unknown_names_and_types_are_refused():
    with pytest.raises(
        ValueError, match=r"no backbone 'vits16', only vits14, .*, book, random, or the path of a file"
    ):
        load_backbone("vits16")
    with pytest.raises(ValueError, match="no official weights 'book'"):
        fetch_official("book")
    for dtype, said in ((torch.int8, r"torch\.bfloat16"), ("float32", "wanted a torch.dtype")):
        with pytest.raises(ValueError, match=said):
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


def test_heads_come_back_beside_their_backbone_alone(no_assets):
    heads = {"teacher.dino_head.last_layer.weight_v": torch.randn(5, 4), "student.x": torch.tensor([0.1])}
    save_book_checkpoint(VisionTransformer(TINY), {}, no_assets)
    with pytest.raises(
        WeightsUnavailable, match=r"heads .* are not there \(dinov2_edu/assets/book\.heads\.saf"
    ):
        read_book_heads()
    path = save_book_checkpoint(VisionTransformer(TINY), {}, no_assets, heads=heads)
    found = read_book_heads()
    assert found.keys() == heads.keys()
    assert all(torch.equal(found[name], heads[name].half()) for name in heads)
    assert load_backbone(no_assets).config == TINY, "a folder is read by its backbone"
    others = save_book_checkpoint(VisionTransformer(TINY), {}, no_assets / "others")
    path.write_bytes(others.read_bytes())
    with pytest.raises(WeightsRefused, match="no heads of the backbone in book"):
        read_book_heads()
    save_book_checkpoint(VisionTransformer(TINY), {}, no_assets)
    assert not (no_assets / "book.heads.safetensors").exists(), "those of other weights are taken away"
    save_book_checkpoint(VisionTransformer(TINY), {}, no_assets, heads=heads)
    file = path.with_name("book.heads.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(WeightsRefused, match=r"heads\.safetensors is cut short"):
        read_book_heads()
    with pytest.raises(ValueError, match=r"not finite in half precision: student\.x"):
        save_book_checkpoint(VisionTransformer(TINY), {}, no_assets, heads={"student.x": torch.tensor(1e6)})


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
    with pytest.raises(WeightsRefused, match="not the book's checkpoint, it records no sizes"):
        load_backbone("book")


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
        server.vits14.unlink()
    if have == "book":
        save_book_checkpoint(VisionTransformer(TINY), {}, no_assets)
    found = available_backbone()
    printed = capsys.readouterr().out
    if have == "official":
        assert (found.name, found.notice, printed) == ("vits14", "", "")
        return
    name, what = {
        "book": ("book", "the book's own small model"),
        "neither": ("random", "a backbone with random weights, which has learnt nothing"),
    }[have]
    assert (found.name, found.model.name) == (name, name)
    assert found.notice == f"These numbers come from {what}, not from vits14, which could not be loaded here."
    assert printed == found.notice + "\n"


@pytest.mark.parametrize("fault", ["unreadable", "damaged", "cut", "other", "no folder"])
def test_weights_that_cannot_be_read_lead_to_the_stand_in(server, tiny, monkeypatch, tmp_path, fault):
    if fault == "unreadable":
        monkeypatch.setattr(reading.torch, "load", refuse)
    elif fault == "no folder":
        (tmp_path / "torch").touch()
    else:
        state = {"other": {"x": torch.zeros(3)}, "damaged": [1, 2, 3], "cut": Evil("x")}[fault]
        publish(server, monkeypatch, state)
    found = available_backbone()
    assert found.name == "book"
    assert found.notice.endswith("not from vits14, which could not be loaded here.")


def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_a_bug_is_not_taken_for_missing_weights(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(backbones, "fetch_official", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        available_backbone()


# --- load_state


def test_two_backbones_from_one_dict_share_nothing(tiny):
    state = tiny.state_dict()
    start = {name: tensor.clone() for name, tensor in state.items()}
    student, teacher = (load_state(TINY, state, "run.pth") for _ in range(2))
    for model in (student, teacher):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    for name, tensor in start.items():
        assert torch.equal(teacher.state_dict()[name], tensor) and torch.equal(state[name], tensor), name


def test_tensors_of_any_precision_and_layout_become_one_model(tiny):
    kinds = itertools.cycle((torch.float32, torch.float16, torch.bfloat16, torch.float64))
    state = {name: tensor.to(next(kinds)) for name, tensor in tiny.state_dict().items()}
    state["pos_embed"] = tiny.pos_embed.detach().transpose(1, 2).contiguous().transpose(1, 2)
    state["blocks.0.attn.qkv.weight"] = torch.nn.Parameter(tiny.blocks[0].attn.qkv.weight.detach().clone())
    model = load_state(TINY, state, "mixed.pth")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
    assert model(torch.randn(1, 3, 8, 8)).cls.isfinite().all()


BAD_TENSORS = {
    "nan": (lambda t: t.index_fill(0, torch.tensor([3]), torch.nan), "not finite in single precision"),
    "inf": (lambda t: t.index_fill(0, torch.tensor([3]), -torch.inf), "not finite in single precision"),
    "too large": (lambda t: t.double() + 1e300, "not finite in single precision"),
    "int8": (lambda t: t.to(torch.int8), "an int8 tensor"),
    "bool": (lambda t: t > 0, "a bool tensor"),
    "complex": (lambda t: t + 0j, "a complex64 tensor"),
    "float8": (lambda t: t.to(torch.float8_e4m3fn), "a float8_e4m3fn tensor"),
    "meta": (lambda t: t.to("meta"), "without numbers"),
    "sparse": (lambda t: t.to_sparse(), "nested or sparse"),
    "nested": (lambda t: torch.nested.nested_tensor([t, t[:3]]), "nested or sparse"),
    "quantised": (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "a qint8 tensor"),
    "repeated": (lambda t: torch.zeros(1).expand(12), "numbers used more than once"),
    "overlapping": (lambda t: torch.zeros(12).as_strided((6, 7), (1, 1)), "numbers used more than once"),
    "a list": (lambda t: t.tolist(), "no tensor but"),
    "an array": (lambda t: t.numpy(), "no tensor but"),
    "None": (lambda t: None, "no tensor but None"),
    "another shape": (lambda t: t[:-1], r"\(11,\) instead of \(12,\)"),
    "a scalar": (lambda t: t[0], r"\(\) instead of \(12,\)"),
}


@pytest.mark.filterwarnings("ignore")  # torch's, about nested and quantised tensors
@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_what_is_no_weight_is_refused_by_name(tiny, kind):
    spoil, said = BAD_TENSORS[kind]
    state = tiny.state_dict()
    state["blocks.0.norm2.bias"] = spoil(state["blocks.0.norm2.bias"])
    named = r"blocks\.0\.norm2\.bias"
    with pytest.raises(WeightsRefused, match=rf"^a file.*({named}.*{said}|{said}.*{named})"):
        load_state(TINY, state, "a file")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "no tensors by name"),
        ([torch.zeros(2)], "no tensors by name"),
        (torch.zeros(2), "no tensors by name"),
        (None, "no tensors by name"),
        ({1: torch.zeros(2)}, "no tensors by name"),
        ({"conv1.weight": torch.zeros(2), "bn1.num_batches_tracked": torch.tensor(0)},
         "2 tensors named like bn1.num_batches_tracked, conv1.weight: wanted a DINOv2 backbone .*cls_token.*timm's"),
        ({"rope_embed.periods": torch.zeros(2), "cls_token": torch.zeros(2)}, "rope_embed.periods: wanted"),
        ({"model": {"epoch": 3}}, "1 tensors named like epoch"),
        ({"cls_token": torch.zeros(()), "pos_embed": torch.zeros(()), "patch_embed.proj.weight": torch.zeros(())},
         "do not fit together"),
    ],
)  # fmt: skip
def test_what_is_no_backbone_is_refused_with_what_was_seen(state, said):
    with pytest.raises(WeightsRefused, match=f"^a file.*{said}"):
        load_state(TINY, state, "a file")


def test_a_small_file_cannot_hang_or_fill_the_machine(tiny, tmp_path):
    """A dict that holds itself, a block with a number of eight digits, sizes of a hundred million blocks."""
    cycle = {}
    cycle["model"] = cycle
    torch.save(cycle, tmp_path / "cycle.pth")
    with pytest.raises(WeightsRefused, match="'model' in it is the dict that holds it"):
        load_backbone(tmp_path / "cycle.pth")
    state = tiny.state_dict()
    far = state | {"blocks.99999999.norm1.weight": torch.zeros(12)}
    torch.save(far, tmp_path / "far.pth")
    with pytest.raises(WeightsRefused, match="a block is numbered 99999999 among"):
        load_backbone(tmp_path / "far.pth", heads=2)
    with pytest.raises(WeightsRefused, match=r"holds \d+ tensors and is said to have 100,000,000 blocks"):
        load_state(replace(TINY, depth=100_000_000), state, "a file")


# --- own and foreign checkpoints


def wrapped(prefix):
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


def chunked(state):
    """Blocks in chunks of one, counted through, as the official FSDP code names them."""
    return {re.sub(r"blocks\.(\d+)\.", r"blocks.\1.\1.", name): tensor for name, tensor in state.items()}


def both_networks(state):
    """The official training network: student and teacher, each with heads."""
    other = {name: tensor + 1 for name, tensor in state.items()}
    heads = {f"{who}.dino_head.mlp.0.weight": torch.zeros(2) for who in ("student", "teacher")}
    return wrapped("student.backbone.")(other) | wrapped("teacher.backbone.")(state) | heads


WRAPPERS = {
    "bare": lambda state: state,
    "teacher": lambda state: {"teacher": state, "student": {}, "epoch": 3},
    "teacher before student": lambda state: {
        "student": {n: t + 1 for n, t in state.items()},
        "teacher": state,
    },
    "model": lambda state: {"model": state, "optimizer": {"lr": 1}},
    "state_dict": lambda state: {"state_dict": state, "args": None},
    "boxes": lambda state: {"model": {"teacher": {"state_dict": state}}},
    "backbone.": wrapped("backbone."),
    "module.": wrapped("module."),
    "_orig_mod.": wrapped("_orig_mod."),
    "teacher.backbone.": wrapped("teacher.backbone."),
    "student.backbone.": wrapped("student.backbone."),
    "module.backbone._orig_mod.": wrapped("module.backbone._orig_mod."),
    "module.teacher.backbone._fsdp_wrapped_module.": wrapped("module.teacher.backbone._fsdp_wrapped_module."),
    "chunks": chunked,
    "chunks in a box": lambda state: {"teacher": wrapped("backbone.")(chunked(state))},
    "both": both_networks,
    "head": lambda state: {**state, "head.weight": torch.zeros(10, 12), "head.bias": torch.zeros(10)},
    "backbone and heads": lambda state: {
        "teacher": {**wrapped("backbone.")(state), "dino_head.x": torch.zeros(2)}
    },
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_come_off(tmp_path, wrapper):
    torch.manual_seed(2)
    config = replace(TINY, width=128, depth=3, heads=2, n_registers=1, **REGISTERS)
    model = VisionTransformer(config)
    torch.save(WRAPPERS[wrapper](model.state_dict()), tmp_path / "mine.pth")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        loaded = load_backbone(tmp_path / "mine.pth")
    assert_same_weights(loaded, model)
    assert loaded.config == config and loaded.name == "mine.pth"
    said = " ".join(str(one.message) for one in said)
    assert ("heads are left out" in said) == ("head" in wrapper or wrapper == "both")
    assert "heads are taken to be 2, of 64 channels each" in said
    assert_same_weights(load_state(config, WRAPPERS["bare"](model.state_dict()), "a dict"), model)


REGISTERS = {"interpolate_offset": 0.0, "interpolate_antialias": True}
SHAPES = {
    "plain": {},
    "registers": {"n_registers": 4, **REGISTERS},
    "swiglu": {"ffn": "swiglu"},
    "swiglu, registers": {"ffn": "swiglu", "n_registers": 2, **REGISTERS},
    "no LayerScale, wide": {"layer_scale": None, "mlp_ratio": 2.0},
    "swiglu, wide": {"ffn": "swiglu", "mlp_ratio": 6.0},
}


@pytest.fixture(params=SHAPES)
def foreign(request):
    """A random backbone of some shape, and pictures for it."""
    torch.manual_seed(3)
    config = ViTConfig(img_size=28, width=128, depth=2, heads=2, **SHAPES[request.param])
    model = VisionTransformer(config).eval()
    shake(model)
    return model, torch.randn(2, 3, 28, 28)


def shake(model):
    """Give every parameter a value that shows where it ended."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.5, 0.5 if parameter.ndim < 2 else 0.1)


def transformers_model(ours, folder=None):
    import transformers

    kind = "Dinov2WithRegisters" if ours.config.n_registers else "Dinov2"
    sizes = {
        "hidden_size": ours.config.width,
        "num_hidden_layers": ours.config.depth,
        "num_attention_heads": ours.config.heads,
        "mlp_ratio": int(ours.config.mlp_ratio),
        "image_size": ours.config.img_size,
        "patch_size": ours.config.patch_size,
        "use_swiglu_ffn": ours.config.ffn == "swiglu",
        **({"num_register_tokens": ours.config.n_registers} if ours.config.n_registers else {}),
    }
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = getattr(transformers, f"{kind}Model")
    if folder is None:
        return model(config).eval()
    config.save_pretrained(folder)
    state = {name: tensor.contiguous() for name, tensor in to_transformers(ours).items()}
    save_file(state, folder / "model.safetensors")
    found, info = model.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return found.eval()


def assert_same_tokens(ours, theirs, images):
    """`theirs` are all tokens after the last norm, in the order class, registers, patches."""
    found = ours(images)
    torch.testing.assert_close(torch.cat([found.cls[:, None], found.registers, found.patches], dim=1), theirs)


@pytest.mark.filterwarnings("ignore:.*heads are taken")
def test_transformers_and_back(foreign, tmp_path):
    ours, images = foreign
    with torch.no_grad():
        assert_same_tokens(ours, transformers_model(ours, tmp_path)(images).last_hidden_state, images)
        theirs = transformers_model(ours)
        shake(theirs)
        loaded = load_state(
            ours.config if ours.config.layer_scale else replace(ours.config, layer_scale=1.0),
            theirs.state_dict(),
            "theirs",
        )
        assert_same_tokens(loaded, theirs(images).last_hidden_state, images)
    config = replace(ours.config, layer_scale=1e-5)  # theirs always have one
    again = load_backbone(tmp_path)
    assert again.config == config and again.name == tmp_path.name
    assert_same_tokens(again, torch.cat([ours(images).cls[:, None], *ours(images)[1:]], dim=1), images)


@pytest.mark.filterwarnings("ignore:.*heads are taken")
def test_timm_and_back(foreign, tmp_path):
    import timm

    ours, images = foreign
    config = ours.config
    options = {"reg_tokens": config.n_registers, "no_embed_class": True} if config.n_registers else {}
    if config.ffn == "swiglu":
        packed = 2 * ours.blocks[0].mlp.w3.in_features / config.width
        options |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU, "mlp_ratio": packed}
    else:
        options["mlp_ratio"] = config.mlp_ratio
    theirs = timm.models.vision_transformer.VisionTransformer(
        img_size=28, patch_size=14, embed_dim=128, depth=2, num_heads=2, num_classes=0, init_values=config.layer_scale,
        **options,
    ).eval()  # fmt: skip
    theirs.load_state_dict(to_timm(ours))
    with torch.no_grad():
        assert_same_tokens(ours, theirs.forward_features(images), images)
        shake(theirs)
        torch.save(theirs.state_dict(), tmp_path / "timm.pth")
        loaded = load_backbone(tmp_path / "timm.pth")
        assert loaded.config == config and loaded.mask_token.eq(0).all()
        assert_same_tokens(loaded, theirs.forward_features(images), images)


@pytest.mark.parametrize(
    ("name", "kind"), [("vits14", "small_patch14"), ("vits14_reg4", "small_patch14_reg4")]
)
def test_the_names_are_those_of_the_published_models(name, kind):
    import timm
    import transformers

    with torch.device("meta"):
        ours = VisionTransformer(WEIGHTS[name].config)
        theirs = timm.create_model(f"vit_{kind}_dinov2").state_dict()
        shapes = {key: tensor.shape for key, tensor in to_timm(ours).items()}
    assert shapes == {key: tensor.shape for key, tensor in theirs.items()}
    assert "embeddings.position_embeddings" in to_transformers(ours) and transformers.__version__


def test_a_run_opens_by_its_folder_and_is_its_teacher(tmp_path):
    config = replace(
        patterns10_run(), vit=replace(TINY, img_size=16), n_prototypes=8, head_hidden=8, head_bottleneck=4
    )
    state = build_state(config)
    with torch.no_grad():
        for parameter in state.teacher.parameters():
            parameter.add_(0.1)
    (tmp_path / "mine").mkdir()
    save_checkpoint(state, tmp_path / "mine" / "checkpoint.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # its sizes are recorded, and that it has heads is no news
        for path in (tmp_path / "mine", tmp_path / "mine" / "checkpoint.pt", f"{tmp_path}/mine/"):
            loaded = load_backbone(path)
            assert loaded.config == config.vit
            assert_same_weights(loaded, state.teacher.backbone)
    assert load_backbone(tmp_path / "mine").name == "mine"
    found = available_backbone((str(tmp_path / "mine"), "book"))
    assert found.notice == "" and found.model.name == "mine"


def test_a_file_saved_in_the_page_opens_by_its_name(tmp_path, monkeypatch):
    """The page writes single precision, sizes as metadata and the run beside them."""
    model = VisionTransformer(TINY)
    metadata = {"config": json.dumps(asdict(TINY)), "run": json.dumps({"step": 3})}
    save_file(dict(model.state_dict()), tmp_path / "my-run.safetensors", metadata)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("my-run.safetensors", "./my-run.safetensors", "~/my-run.safetensors"):
        assert load_backbone(name).config == TINY
        assert_same_weights(load_backbone(name), model)


def zipped(path):
    """The same file with its members compressed: 163 kilobytes may then hold a gigabyte."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def flip(path):
    """Change one bit of a weight."""
    content = bytearray(path.read_bytes())
    content[content.index(VisionTransformer(TINY).norm.weight.detach().numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)


def in_page(config):
    return lambda path: save_file(dict(VisionTransformer(TINY).state_dict()), path, {"config": config})


OLD = {"_use_new_zipfile_serialization": False}
BAD_FILES = {
    "absent.pth": (lambda path: None, "there is no file .*absent.pth: check its name"),
    "folder": (lambda path: path.mkdir(), "is a folder without checkpoint.pt or .*: name the file"),
    "pipe.pth": (lambda path: os.mkfifo(path), "there is no file"),
    "empty.pth": (lambda path: path.touch(), "cut short"),
    "noise.pth": (lambda path: path.write_bytes(bytes(range(256)) * 9), "cut short, no file of torch"),
    "noise.safetensors": (lambda path: path.write_bytes(bytes(range(256)) * 9), "no safetensors file"),
    "empty.safetensors": (lambda path: path.touch(), "no safetensors file"),
    "evil.pth": (lambda path: torch.save({"cls_token": Evil(str(path) + "ran")}, path), "was not loaded"),
    "module.pt": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        "was not loaded.*Save the state_dict",
    ),
    "script.pt": (lambda path: torch.jit.script(torch.nn.Linear(2, 2)).save(path), "was not loaded"),
    "old.pth": (lambda path: torch.save({"a": torch.zeros(2)}, path, **OLD), "named like a"),
    "bomb.pth": (
        lambda path: (torch.save(VisionTransformer(TINY).state_dict(), path), zipped(path)),
        "compressed",
    ),
    "flipped.pth": (
        lambda path: (torch.save(VisionTransformer(TINY).state_dict(), path), flip(path)),
        "has changed",
    ),
    "list.pth": (lambda path: torch.save([torch.zeros(2)], path), "no tensors by name"),
    "json.safetensors": (in_page("{"), "no safetensors file"),
    "sizes.safetensors": (in_page('{"width": 12, "colour": 3}'), "sizes that no backbone here has"),
    "text.safetensors": (in_page('"vits14"'), "sizes that no backbone here has"),
    "wrong.safetensors": (in_page('{"width": 12, "heads": 5}'), "sizes that no backbone can have"),
    "type.safetensors": (in_page('{"width": "12"}'), "sizes that no backbone can have"),
    "fit.safetensors": (in_page('{"width": 24, "heads": 2}'), "does not fit this backbone"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's, about scripts
@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_loaded_says_how(tmp_path, name):
    make, said = BAD_FILES[name]
    make(tmp_path / name)
    with pytest.raises(WeightsUnavailable, match=said) as met:
        load_backbone(tmp_path / name)
    assert "\n" not in str(met.value) and len(str(met.value)) < 700
    assert met.value.__suppress_context__ or met.value.__context__ is None
    assert not (tmp_path / f"{name}ran").exists()
    assert available_backbone((str(tmp_path / name), "book")).name == "book"


def test_heads_are_asked_for_where_nothing_tells_them(tmp_path):
    torch.manual_seed(4)
    model = VisionTransformer(TINY).eval()
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    with pytest.raises(
        ValueError, match=r"mine\.pth does not say how many heads a width of 12 has: give heads="
    ):
        load_backbone(tmp_path / "mine.pth")
    with pytest.raises(ValueError, match="not a multiple of heads 5"):
        load_backbone(tmp_path / "mine.pth", heads=5)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(load_backbone(tmp_path / "mine.pth", heads=2)(images).cls, model(images).cls)
    with pytest.raises(ValueError, match="book has its own number of heads"):
        load_backbone("book", heads=4)
    recorded = save_book_checkpoint(model, {}, tmp_path)
    with pytest.raises(ValueError, match="records 2 heads, got heads=3"):
        load_backbone(recorded, heads=3)


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


def test_only_a_module_has_a_fingerprint():
    with pytest.raises(ValueError, match=r"wanted a .*Module, got"):
        fingerprint({"a": 1})
