"""What a notebook finds of weights and data, and that its stored run is judged by it."""

import hashlib
import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from urllib.parse import urlsplit

import nbformat
import pytest
import torch
from jupyter_cache import get_cache

from dinov2_edu.data import cifar
from dinov2_edu.features.recordings import MANIFEST, recordings_folder
from dinov2_edu.weights import WEIGHTS
from tools import at_hand as room
from tools import book_extension
from tools.at_hand import at_hand, official_names
from tools.notebooks import METADATA, python_of

WEIGHTS_OF_TEST = b"weights"
LOADS = "backbone = available_backbone(device=here.device)"
PROBES = "train = cifar10_or_patterns('train', 100)"


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (LOADS, {"vits14"}),
        ("weights.load_backbone('vitb14_reg4')", {"vitb14_reg4"}),
        ("available_backbone(('vits14_reg4', 'vits14', 'book'))", {"vits14_reg4", "vits14"}),
        ("available_backbone(names=['vitl14', 'book'])", {"vitl14"}),
        ("load_backbone(name='vitg14', device='cuda')", {"vitg14"}),
        ("for n in ('vits14', 'vitb14', 'small'):\n    load_backbone(n)", {"vits14", "vitb14"}),
        ("available_backbone(('book',))\nload_backbone('random')\nprint('vits14')", set()),
        ("show_table(['vits14'], rows)", set()),
        ("x = 1", set()),
    ],
)
def test_the_models_that_a_notebook_loads_are_read_from_its_code(code, wanted):
    assert official_names(code) == wanted


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server of weights and CIFAR-10 that can be turned on and off, and a machine that has neither."""
    state = SimpleNamespace(on=False, asked=[])

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            state.asked.append(self.path)
            self.send_response(200 if state.on else 503)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=running.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{running.server_port}"
    (tmp_path / "mirror.json").write_text(json.dumps({"server": address}))
    monkeypatch.setenv("DINOV2_EDU_MIRROR", str(tmp_path / "mirror.json"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path / "cache"))
    for name in ("DINOV2_EDU_CIFAR10", "DINOV2_EDU_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    file = replace(WEIGHTS["vits14"].file, sha256=hashlib.sha256(WEIGHTS_OF_TEST).hexdigest())
    monkeypatch.setitem(WEIGHTS, "vits14", replace(WEIGHTS["vits14"], file=file))
    state.weights = tmp_path / "hub" / "checkpoints" / file.name
    state.cifar = cifar.decoded(cifar.PUBLISHED)
    room._answers.cache_clear()
    yield state
    room._answers.cache_clear()
    running.shutdown()


def turn(server, on):
    """Turn the server on or off, as between two builds."""
    server.on = on
    room._answers.cache_clear()


def put_weights(server, content=WEIGHTS_OF_TEST):
    server.weights.parent.mkdir(parents=True, exist_ok=True)
    server.weights.write_bytes(content)


def test_weights_are_there_when_their_file_is_the_right_one(server):
    assert at_hand(LOADS, network=False) == {}
    put_weights(server, b"other!!")
    assert at_hand(LOADS, network=False) == {}
    put_weights(server)
    assert at_hand(LOADS, network=False) == {"vits14": "official"}
    assert server.asked == []


def test_what_can_be_fetched_counts_before_a_run_alone(server):
    assert at_hand(f"{LOADS}\n{PROBES}", network=True) == {}
    turn(server, on=True)
    wanted = {"vits14": "official", "CIFAR-10": "published"}
    assert at_hand(f"{LOADS}\n{PROBES}", network=True) == wanted
    assert at_hand(f"{LOADS}\n{PROBES}", network=False) == {}
    put_weights(server)
    server.cifar.parent.mkdir(parents=True)
    server.cifar.touch()
    assert at_hand(f"{LOADS}\n{PROBES}", network=False) == wanted


@pytest.mark.parametrize("word", ["1", "true", "Yes", "on"])
def test_no_server_is_asked_where_the_network_is_left_alone(server, monkeypatch, word):
    turn(server, on=True)
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", word)
    assert at_hand(f"{LOADS}\n{PROBES}", network=True) == {} and server.asked == []


def test_a_server_is_asked_once_a_build_and_only_for_what_a_notebook_wants(server):
    for code in (LOADS, LOADS, "x = 1"):
        at_hand(code, network=True)
    assert server.asked == [urlsplit(WEIGHTS["vits14"].file.url).path]


def test_a_copy_of_cifar10_that_was_named_is_told_from_others_and_from_its_changed_self(
    server, monkeypatch, tmp_path
):
    archive = tmp_path / "pictures.tar"
    archive.write_bytes(b"some")
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", str(archive))
    before = at_hand(PROBES, network=True)
    archive.write_bytes(b"some more")
    assert at_hand(PROBES, network=True) != before and "CIFAR-10" in before
    assert before["CIFAR-10"] != "published" and server.asked == []


def test_a_folder_of_cifar10_is_told_from_itself_with_another_picture(server, monkeypatch, tmp_path):
    picture = tmp_path / "pictures" / "train" / "airplane" / "0000.png"
    for split in ("train", "test"):
        (tmp_path / "pictures" / split / "airplane").mkdir(parents=True)
    picture.write_bytes(b"some")
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", str(tmp_path / "pictures"))
    before = at_hand(PROBES, network=True)
    assert before == at_hand(PROBES, network=True)
    picture.write_bytes(b"some more")
    assert at_hand(PROBES, network=True) != before
    monkeypatch.setenv("DINOV2_EDU_CIFAR10", str(tmp_path / "nowhere"))
    assert "nowhere" in at_hand(PROBES, network=True)["CIFAR-10"]


@pytest.fixture
def build(server, tmp_path):
    """Build a book of one notebook that wants the weights; return whether it ran, and run it if so."""
    cells = [nbformat.v4.new_code_cell(LOADS)]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=METADATA)
    path = tmp_path / "01_a.ipynb"
    nbformat.write(notebook, path)
    cache = get_cache(tmp_path / "_build" / ".jupyter_cache")
    env = SimpleNamespace(
        found_docs={"01_a"},
        doc2path=lambda page: path,
        mystnb_config=SimpleNamespace(execution_cache_path=""),
    )
    app = SimpleNamespace(outdir=str(tmp_path / "_build" / "html"), env=env)

    def run(*, fetches=True):
        stale = book_extension.forget_stale_runs(app, env, set(), set(), set())
        assert bool(stale) == (not cache.list_cache_records())
        if stale:
            if server.on and fetches:
                put_weights(server)
            cache.cache_notebook_file(path, check_validity=False, overwrite=True)
        book_extension.remember_runs(app)
        return bool(stale)

    return run


def test_a_page_with_stand_ins_is_made_again_when_the_weights_can_be_had_and_only_then(server, build):
    turn(server, on=False)
    assert [build(), build()] == [True, False]
    turn(server, on=True)
    assert [build(), build()] == [True, False]
    turn(server, on=False)  # the file stays
    assert build() is False


def test_a_page_whose_download_failed_is_made_again(server, build):
    turn(server, on=True)
    assert [build(fetches=False), build(fetches=False), build(), build()] == [True, True, True, False]


def test_a_page_is_made_again_when_its_weights_are_gone(server, build):
    turn(server, on=True)
    build()
    turn(server, on=False)
    server.weights.unlink()
    assert [build(), build()] == [True, False]


def test_the_chapters_ask_for_what_they_load():
    root = Path(__file__).parents[1] / "notebooks"
    codes = {path.stem: python_of(json.loads(path.read_text("utf-8"))) for path in root.glob("*.ipynb")}
    asking = {name for name, code in codes.items() if official_names(code)}
    assert asking >= {"03_vit", "08_cifar10_probe", "09_features"} and "01_crops" not in asking


@pytest.mark.parametrize("call", ["recorded_photos(networks)", "recorded_study()", "rows.recorded_cifar10()"])
def test_recordings_count_where_a_notebook_shows_them_by_their_content(server, call):
    assert at_hand(call, network=True) == {}
    path = recordings_folder() / MANIFEST
    path.parent.mkdir(parents=True)
    path.write_text("one")
    before = at_hand(call, network=False)
    path.write_text("two")
    assert list(before) == ["recordings"] and at_hand(call, network=False) != before
    assert at_hand("x = 1", network=True) == {} and server.asked == []


def test_the_chapters_that_show_recordings_are_made_anew_with_them(server):
    root = Path(__file__).parents[1] / "notebooks"
    path = recordings_folder() / MANIFEST
    codes = {path.stem: python_of(json.loads(path.read_text("utf-8"))) for path in root.glob("*.ipynb")}
    showing = {name for name, code in codes.items() if "experiments.recordings_rows import" in code}
    assert showing >= {"03_vit", "08_cifar10_probe", "09_features"}
    path.parent.mkdir(parents=True)
    path.write_text("one")
    assert {name for name, code in codes.items() if "recordings" in at_hand(code, network=False)} == showing
