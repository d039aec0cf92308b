"""Recordings: codes of 8 bits against a plain projection, items against the model, the command, and each refusal."""

import contextlib
import hashlib
import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import filelock
import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.decomposition import PCA
from tiny_recordings import SIZES, tiny_server

import dinov2_edu
from dinov2_edu.data import SAMPLE_SQUARES, load_cifar10, sample_square
from dinov2_edu.experiments import commands, parsers, recordings, recordings_items
from dinov2_edu.experiments.recordings_rows import (
    UNRECORDED_STUDY,
    accuracy_rows,
    labelled_sets,
    recorded_cifar10,
    recorded_photos,
    recorded_study,
)
from dinov2_edu.features import ExtractOptions, Preprocessing, extract_features
from dinov2_edu.features.eight_bits import fit_eight_bits
from dinov2_edu.features.recorded import read_recorded_cifar10, read_recorded_photos
from dinov2_edu.features.recordings import (
    RecordingRefused,
    RecordingUnavailable,
    read_manifest,
    read_recording,
    recordings_folder,
)
from dinov2_edu.pictures import read_tensor
from dinov2_edu.probe import few_shot_curve, knn_accuracy, logistic_probe
from dinov2_edu.weights import WEIGHTS, load_backbone


def rows_of(n, d, rank, seed=0):
    """Rows that lie in `rank` directions, around a mean far from 0."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, rank, generator=draw) @ torch.randn(rank, d, generator=draw) + 5


# 8 bits


def test_codes_are_the_scores_of_a_principal_component_analysis_in_steps():
    rows = rows_of(300, 12, 12)
    code = fit_eight_bits(rows, 4)
    codes = code.encode(rows)
    scores = PCA(4).fit_transform(rows.double().numpy())
    for component in range(4):
        ours = codes[:, component].numpy() * code.scale[component].item()
        sign = np.sign(ours @ scores[:, component])
        step = code.scale[component].item()
        # half a step by rounding, and what a basis in half precision turns
        np.testing.assert_allclose(
            sign * ours, scores[:, component], atol=0.51 * step + 2e-3 * abs(scores).max()
        )
    assert codes.dtype == torch.int8 and codes.abs().amax(dim=0).tolist() == [127] * 4


def test_rows_come_back_within_half_a_step_of_each_direction():
    rows = rows_of(200, 10, 3)
    code = fit_eight_bits(rows, 3)
    error = (code.decode(code.encode(rows)) - rows).norm(dim=1)
    most = 0.5 * code.scale.norm() + 2e-3 * (rows - rows.mean(dim=0)).norm(dim=1)
    assert (error <= most).all() and error.max() > 0


def test_rows_beyond_those_of_the_fit_are_cut_to_the_ends():
    rows = rows_of(50, 4, 4)
    code = fit_eight_bits(rows, 4)
    far = code.encode(rows.mean(dim=0) + 100 * (rows - rows.mean(dim=0)))
    assert far.min() == -127 and far.max() == 127


def test_rows_that_are_all_alike_are_the_mean():
    rows = torch.full((5, 3), 2.5)
    code = fit_eight_bits(rows, 3)
    torch.testing.assert_close(code.decode(code.encode(rows)), rows)


def test_more_components_lose_less():
    rows = rows_of(400, 30, 30)
    errors = []
    for dimensions in (5, 15, 30):
        code = fit_eight_bits(rows, dimensions)
        errors.append(float((code.decode(code.encode(rows)) - rows).norm()))
    assert errors[0] > errors[1] > errors[2]


# What the command makes


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A machine on which the command has made everything of stand-ins; the server is up."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("machine")
        with tiny_server(folder, patch):
            assert commands.main(["recordings", "--device", "cpu"]) == 0
            yield recordings_folder()


@pytest.fixture
def copy(recorded, tmp_path, monkeypatch):
    """The recordings in a cache of the test's own, which it may break."""
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path / "own"))
    for path in recorded.iterdir():
        target = recordings_folder() / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return recordings_folder()


def test_the_manifest_says_of_each_file_what_it_is(recorded):
    items = read_manifest(recorded)
    assert tuple(items) == parsers.RECORDING_NAMES
    assert {path.name for path in recorded.iterdir()} - {".lock"} == {"manifest.json"} | {
        item["file"] for item in items.values()
    }
    for item in items.values():
        content = (recorded / item["file"]).read_bytes()
        assert item["bytes"] == len(content) and item["sha256"] == hashlib.sha256(content).hexdigest()
        assert item["version"] == dinov2_edu.__version__ and len(item["date"]) == 10


def test_a_second_run_makes_nothing_again_and_a_check_names_each(recorded, monkeypatch, capsys):
    monkeypatch.setattr(recordings, "make", lambda *_: pytest.fail("made again"))
    before = {path.name: path.stat().st_mtime_ns for path in recorded.iterdir()}
    assert commands.main(["recordings"]) == 0
    assert capsys.readouterr().out.count("there already, of this version") == len(parsers.RECORDING_NAMES)
    assert {path.name: path.stat().st_mtime_ns for path in recorded.iterdir()} == before
    assert commands.main(["recordings", "--check"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name}: " in out for name in parsers.RECORDING_NAMES) and "a stand-in that" in out


@pytest.mark.parametrize("name", SIZES)
def test_recorded_tokens_are_those_of_the_model(recorded, name):
    found, model = read_recorded_photos(name), load_backbone(name)
    quarters = [len(model.blocks) * quarter // 4 for quarter in (1, 2, 3, 4)]
    assert found.blocks == tuple(quarters) and found.pictures == tuple(SAMPLE_SQUARES)
    image = Preprocessing(size=224)(read_tensor(sample_square("flower"))[None])
    column = found.pictures.index("flower")
    for row, block in enumerate(quarters):
        tokens, raw = (model.intermediate_layers(image, [block - 1], norm=norm)[0] for norm in (True, False))
        torch.testing.assert_close(found.cls[row, column], tokens.cls[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.registers[row, column], tokens.registers[0], atol=1e-3, rtol=1e-3)
        assert torch.cosine_similarity(found.patches[row, column], tokens.patches[0]).min() > 0.999
        for place, wanted in enumerate((raw.patches, tokens.patches)):
            torch.testing.assert_close(found.lengths[place, row, column], wanted[0].norm(dim=-1))
        table = model.attention_maps(image, block - 1)[0]
        torch.testing.assert_close(found.attention[row, column], table[:, 0], atol=1e-6, rtol=1e-3)
        assert table[:, 0].amax() > 3 / table.shape[-1]  # far from even, or any row would pass
        entropies = [
            [-sum(p * math.log(max(p, 1e-12)) for p in line) for line in head] for head in table.tolist()
        ]
        even = [sum(head) / len(head) / math.log(table.shape[-1]) for head in entropies]
        np.testing.assert_allclose(found.evenness[row, column], even, rtol=1e-4)
        assert max(even) < 0.98
    assert found.n_prefix_tokens == model.n_prefix_tokens
    cosines = found.recording.about["mean_cosine_of_decoded_patches"]
    assert len(cosines) == 4 and min(cosines) > 0.999


def test_recorded_class_tokens_are_those_of_the_model_and_their_loss_is_noted(recorded):
    found = read_recorded_cifar10()
    sets = []
    for split in ("train", "test"):
        pictures = load_cifar10(split)
        options = ExtractOptions(progress=False)
        made = extract_features(
            load_backbone("vits14"), pictures, preprocessing=Preprocessing(size=28), options=options
        )
        decoded, labels = getattr(found, split), getattr(found, f"{split}_labels")
        assert labels.tolist() == pictures.labels.tolist()
        assert torch.cosine_similarity(decoded, made.cls).min() > 0.99
        sets.append((made.cls, decoded, labels))
    (whole, kept, labels), (asked, asked_kept, truth) = sets
    about = found.recording.about
    assert about["accuracy"]["knn"] == {
        "features": knn_accuracy(whole, labels, asked, truth),
        "decoded": knn_accuracy(kept, labels, asked_kept, truth),
    }
    assert about["pictures"] == [60, 30] and about["dimensions"] == [16, 16]
    assert 0 <= about["accuracy"]["linear"]["decoded"] <= 1 and about["accuracy"]["linear"]["training"] > 0.1
    assert "a stand-in that DINOV2_EDU_MIRROR names" in about["data"][0]


def test_components_are_the_fewest_that_lose_no_tenth_of_a_point(recorded, monkeypatch):
    model, train, test = load_backbone("vits14"), load_cifar10("train"), load_cifar10("test")
    kept = {}
    for name, dimensions, lost in (("any", (2, 9), 1.0), ("none", (2, 9), -1.0), ("plenty", (40, 50), -1.0)):
        monkeypatch.setattr(recordings_items, "CIFAR_DIMENSIONS", dimensions)
        monkeypatch.setattr(recordings_items, "MOST_LOST", lost)
        kept[name] = recordings_items.cifar10_item(model, train, test, None)[1]["dimensions"][0]
    assert kept == {"any": 2, "none": 9, "plenty": 16}


def test_full_size_recordings_stay_below_twelve_megabytes():
    """Counted from the shapes: official widths, all pictures, the most components that are ever kept."""
    total = 0
    for width, heads, registers in ((384, 6, 0), (384, 6, 4), (1024, 16, 0)):
        places, kept = 4 * 4, recordings_items.PATCH_DIMENSIONS
        total += (
            places * 256 * kept + 4 * kept * width * 2 + 4 * (width + kept) * 4
        )  # codes, basis, mean, scale
        total += places * (width * 4 + registers * width * 2)  # class tokens, registers
        total += places * (
            2 * 256 * 4 + heads * (257 + registers) * 2 + heads * 4
        )  # lengths, attention, evenness
    kept = max(recordings_items.CIFAR_DIMENSIONS)
    total += 60_000 * (kept + 1) + kept * (384 * 2 + 4) + 384 * 4
    room_for_study_and_headers = 50_000
    assert 9_000_000 < total + room_for_study_and_headers < recordings.MOST_BYTES == 12_000_000


def test_the_sizes_counted_from_shapes_are_those_of_the_files(recorded):
    path = recorded / read_manifest(recorded)["photos-vits14"]["file"]
    kept = safetensors.torch.load(path.read_bytes())
    width, heads = 16, 2
    assert kept["codes"].numel() == 4 * 4 * 256 * width and kept["basis"].dtype == torch.float16
    counted = 16 * 256 * width + 4 * width * width * 2 + 4 * (width + width) * 4
    counted += 16 * width * 4 + 16 * (2 * 256 * 4 + heads * 257 * 2 + heads * 4)
    assert 0 <= path.stat().st_size - counted < 2_000


def test_recordings_that_take_too_much_are_not_kept(copy, monkeypatch):
    monkeypatch.setattr(recordings, "MOST_BYTES", 10_000)
    before = {path.name for path in copy.iterdir()}
    with pytest.raises(ValueError, match=r"with photos-vits14 the recordings take .* more than 10,000"):
        recordings.keep(copy, "photos-vits14", b"x" * 5_000, {})
    assert {path.name for path in copy.iterdir()} == before


def test_two_that_keep_at_once_lose_no_entry(tmp_path, monkeypatch):
    """Each reads the manifest before either has written, unless one waits for the other."""
    read, both = recordings.read_manifest, threading.Barrier(2)

    def slow(folder):
        items = read(folder)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)
        return items

    monkeypatch.setattr(recordings, "read_manifest", slow)
    names = ("photos-vits14", "cifar10-vits14")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: recordings.keep(tmp_path, name, name.encode(), {}), names))
    assert set(read_manifest(tmp_path)) == set(names)
    for name in names:
        assert read_recording(name, tmp_path).content == name.encode()


def test_who_waits_too_long_for_another_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "PATIENCE", 0.1)
    with filelock.FileLock(tmp_path / ".lock"):
        with pytest.raises(OSError, match=r"another process keeps recordings in .*, for 0.1 s already: "):
            recordings.keep(tmp_path, "photos-vits14", b"x", {})
    assert not (tmp_path / "manifest.json").exists()
    (tmp_path / "file").touch()
    with pytest.raises(
        OSError, match=r"recordings cannot be kept in .*file: .*; name another folder by --folder"
    ):
        recordings.keep(tmp_path / "file", "photos-vits14", b"x", {})


def test_a_run_that_is_stopped_leaves_what_it_had_finished_and_goes_on(copy, monkeypatch, capsys):
    (copy / "manifest.json").unlink()
    real, made = recordings.make, []

    def stop_at_third(name, device):
        made.append(name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(name, device)

    monkeypatch.setattr(recordings, "make", stop_at_third)
    photos = [name for name in parsers.RECORDING_NAMES if name.startswith("photos-")]
    assert commands.main(["recordings", "--only", *photos]) == 130
    assert list(read_manifest(copy)) == photos[:2] and read_recorded_photos("vits14_reg4").blocks
    assert commands.main(["recordings", "--only", *photos]) == 0
    assert made == [*photos, photos[2]] and list(read_manifest(copy)) == photos
    assert "together" in capsys.readouterr().out


def test_what_is_older_is_made_anew_and_the_old_file_goes(copy, monkeypatch):
    old = rewrite(copy, "photos-vits14", version="0.0.9")
    stale = copy / "photos-vits14-00000000.safetensors"
    stale.write_bytes(b"of an earlier run")
    assert read_recorded_photos("vits14").recording.version == "0.0.9"  # it can be read all the same
    assert commands.main(["recordings", "--only", "photos-vits14"]) == 0
    new = read_manifest(copy)["photos-vits14"]
    assert new["version"] == dinov2_edu.__version__ and new["sha256"] == old["sha256"]
    assert not stale.exists() and (copy / new["file"]).is_file()


def test_without_weights_the_command_says_so_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DINOV2_EDU_OFFLINE", "1")
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    assert commands.main(["recordings"]) == 2
    said = capsys.readouterr().err
    assert "error: 1 of 5, photos-vits14: vits14 is not on this machine" in said
    assert "error: 3 of 5, photos-vitl14: vitl14 is not on this machine" in said
    assert not recordings_folder().exists()
    assert commands.main(["recordings", "--check"]) == 1
    assert "there is no recording 'photos-vits14'" in capsys.readouterr().out
    assert commands.main(["recordings", "--check", "--device", "cpu"]) == 2
    assert "--check computes nothing: leave out --device" in capsys.readouterr().err


# Each refusal


def rewrite(folder, name, **changes):
    """Change what a manifest says of one recording; return what it said."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    before = dict(manifest["items"][name])
    manifest["items"][name] |= changes
    path.write_text(json.dumps(manifest))
    return before


def test_what_is_not_there_is_unavailable_and_not_refused(copy):
    with pytest.raises(
        RecordingUnavailable, match=r"there is no recording 'photos-vitg14'.*makes it"
    ) as error:
        read_recorded_photos("vitg14")
    assert not isinstance(error.value, RecordingRefused)


def test_a_file_that_is_cut_short_is_refused(copy):
    path = copy / read_manifest(copy)["photos-vits14"]["file"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RecordingRefused, match=r"has [\d,]+ bytes, not [\d,]+ .* cut short"):
        read_recorded_photos("vits14")


def test_a_file_with_one_bit_changed_is_refused(copy):
    path = copy / read_manifest(copy)["cifar10-vits14"]["file"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RecordingRefused, match=r"is not what was recorded .*SHA-256"):
        read_recorded_cifar10()


def test_a_file_that_is_gone_is_refused(copy):
    (copy / read_manifest(copy)["study-vits14"]["file"]).unlink()
    with pytest.raises(RecordingRefused, match=r"could not be read from .*No such file"):
        read_recording("study-vits14")


@pytest.mark.parametrize("version", ["99.0.0", "0.10.0", "0.1.1"])
def test_a_newer_version_is_refused_and_numbers_are_compared_as_numbers(copy, version):
    rewrite(copy, "photos-vits14", version=version)
    with pytest.raises(RecordingRefused, match=f"made by dinov2_edu {version}, newer than this .*update"):
        read_recording("photos-vits14")


def test_a_newer_format_is_refused(copy):
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(RecordingRefused, match="has format 2, this package reads up to 1"):
        read_recording("photos-vits14")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 1, "items": {"photos-vits14": {}}}', "\0"])
def test_a_damaged_manifest_is_refused_and_the_command_makes_all_anew(copy, content, capsys):
    (copy / "manifest.json").write_text(content)
    with pytest.raises(RecordingRefused, match=r"is no manifest of recordings .*: remove it"):
        read_recording("photos-vits14")
    if content == "{":
        assert commands.main(["recordings", "--only", "photos-vits14"]) == 0
        assert list(read_manifest(copy)) == ["photos-vits14"]


def test_stand_ins_do_not_pass_for_official_weights(copy, monkeypatch):
    assert read_recording("photos-vits14").weights == "vits14 (a stand-in that DINOV2_EDU_MIRROR names)"
    monkeypatch.delenv("DINOV2_EDU_MIRROR")
    with pytest.raises(RecordingRefused, match="was made with other weights than the published vits14"):
        read_recording("photos-vits14")
    rewrite(copy, "photos-vits14", weights_sha256=WEIGHTS["vits14"].file.sha256)
    assert read_recording("photos-vits14").weights == "vits14 (official weights)"
    rewrite(copy, "photos-vits14", model="vits15")
    with pytest.raises(RecordingRefused, match="is of 'vits15', which no published file has"):
        read_recording("photos-vits14")


@pytest.mark.parametrize(
    ("name", "read"),
    [("photos-vits14", lambda: read_recorded_photos("vits14")), ("cifar10-vits14", read_recorded_cifar10)],
)
@pytest.mark.parametrize("content", [b"no safetensors", safetensors.torch.save({"codes": torch.zeros(2)})])
def test_a_file_of_another_form_is_refused_though_its_checksum_is_right(copy, name, read, content):
    path = copy / read_manifest(copy)[name]["file"]
    path.write_bytes(content)
    rewrite(copy, name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(RecordingRefused, match="has its checksum but another form"):
        read()


def test_no_path_leads_out_of_the_folder(copy, tmp_path):
    content = (copy / read_manifest(copy)["photos-vits14"]["file"]).read_bytes()
    (tmp_path / "elsewhere.safetensors").write_bytes(content)
    rewrite(copy, "photos-vits14", file=str(tmp_path / "elsewhere.safetensors"))
    with pytest.raises(RecordingRefused, match="could not be read"):
        read_recorded_photos("vits14")


# What chapters show


def test_rows_are_named_as_recorded_with_day_weights_and_version(copy, capsys):
    found = recorded_photos(["vits14"])
    assert list(found) == ["vits14_reg4 stand-in, recorded", "vitl14 stand-in, recorded"]
    date = read_manifest(copy)["photos-vitl14"]["date"]
    assert (
        f'"vitl14 stand-in, recorded" was recorded on {date} with vitl14 (a stand-in that DINOV2_EDU_MIRROR names), '
        f"dinov2_edu {dinov2_edu.__version__}.\n   Patch tokens were kept in 8 bits; mean cosine with the exact ones "
        "1.0000.\n" in capsys.readouterr().out
    )
    cifar = recorded_cifar10()
    said = capsys.readouterr().out
    assert "k-NN" in said and "16 of 16 components in 8 bits" in said
    knn = cifar.recording.about["accuracy"]["knn"]["features"]
    (name, cells), *rest = accuracy_rows(cifar).items()
    assert name == "vits14 stand-in, recorded" and cells[:2] == ("60", f"{100 * knn:.1f}") and not rest
    (sets,) = labelled_sets(cifar).values()
    curve = few_shot_curve(
        *sets, generator=torch.Generator().manual_seed(0), labels_per_class=(1,), n_draws=2
    )
    assert 0 <= curve[0].mean <= 1


def test_official_weights_are_named_without_a_word_on_stand_ins(copy, monkeypatch, capsys):
    monkeypatch.delenv("DINOV2_EDU_MIRROR")
    rewrite(copy, "photos-vitl14", weights_sha256=WEIGHTS["vitl14"].file.sha256)
    assert list(recorded_photos()) == ["vitl14, recorded"]
    out = capsys.readouterr().out
    assert "with vitl14 (official weights), dinov2_edu " in out and out.count("Left out: ") == 2


def test_the_recorded_study_is_the_table_of_the_command(copy):
    shown = recorded_study()
    assert "asked of its own model: recorded on " in shown.words
    assert "\n- CIFAR-10 statistics instead of ImageNet's: " in shown.words
    records = json.loads(read_recording("study-vits14").content)["rows"]
    assert len(shown.rows) == len(records) == 4 + 4
    assert all(len(row) == len(shown.header) for row in shown.rows)
    ways = [(record["statistics"], record["interpolation"], record["antialias"]) for record in records]
    row = shown.rows[ways.index(("ImageNet", "bicubic", True))]
    sets, how = [], Preprocessing(size=28)
    for split in ("train", "test"):
        pictures, options = load_cifar10(split), ExtractOptions(progress=False)
        found = extract_features(load_backbone("vits14"), pictures, preprocessing=how, options=options)
        sets.append((found.cls, pictures.labels))
    probe = logistic_probe(*sets[0], c=float(row[3]))
    assert row[4] == f"{100 * probe.report(*sets[1]).accuracy:.2f}"
    assert row[7] == f"{100 * knn_accuracy(*sets[0], *sets[1]):.2f}"


def test_where_nothing_is_recorded_chapters_show_what_they_did(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DINOV2_EDU_CACHE", str(tmp_path))
    assert recorded_photos() == {} and recorded_cifar10() is None
    assert accuracy_rows(None) == {} and labelled_sets(None) == {}
    assert recorded_study().words == UNRECORDED_STUDY and recorded_study().rows == []
    assert capsys.readouterr().out == ""


def test_what_is_refused_is_named_and_left_out(copy, capsys):
    rewrite(copy, "photos-vitl14", version="9.0.0")
    rewrite(copy, "cifar10-vits14", bytes=3)
    rewrite(copy, "study-vits14", sha256="0" * 64)
    assert [name.partition(" ")[0] for name in recorded_photos()] == ["vits14", "vits14_reg4"]
    assert recorded_cifar10() is None and recorded_study().words == UNRECORDED_STUDY
    out = capsys.readouterr().out
    assert out.count("Left out: ") == 3 and "newer than this" in out and "cut short" in out


def test_sample_squares_are_cut_as_they_say():
    square = sample_square("closer")
    whole = sample_square("pagoda")
    assert square.size == whole.size == (448, 448)
    photo, left, top, side = SAMPLE_SQUARES["closer"]
    _, outer_left, outer_top, outer = SAMPLE_SQUARES["pagoda"]
    inside = (left - outer_left, top - outer_top, left - outer_left + side, top - outer_top + side)
    again = whole.resize((outer, outer)).crop(inside).resize((448, 448))
    difference = np.abs(np.asarray(again, float) - np.asarray(square, float)).mean()
    assert photo == "china" and difference < 8


def test_the_fixture_is_of_official_names():
    assert {name.partition("-")[2] for name in parsers.RECORDING_NAMES} == set(SIZES)
    assert replace(WEIGHTS["vits14"]).file.url.endswith("dinov2_vits14_pretrain.pth")
