"""The Python side of attention, prototypes, runs, mistakes and your picture: what they hand over and refuse."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save
from traitlets import TraitError

from dinov2_edu.widgets import your_picture
from dinov2_edu.widgets.attention import AttentionWidget, quantise_rows, recorded_places, recorded_queries
from dinov2_edu.widgets.mistakes import MistakesWidget, confusion_counts, sprite_sheet, surest_of_each_cell
from dinov2_edu.widgets.prototypes import PrototypesWidget
from dinov2_edu.widgets.runs import RunsWidget
from dinov2_edu.widgets.your_picture import BOOK_WEIGHTS, YourPictureWidget


def softmaxed(heads: int, n_tokens: int, seed: int = 0) -> np.ndarray:
    weights = np.exp(3 * np.random.default_rng(seed).normal(size=(heads, n_tokens, n_tokens)))
    return weights / weights.sum(-1, keepdims=True)


def photo(width: int = 56, height: int = 42) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


# ---- attention ----


def test_quantised_rows_are_within_half_a_level():
    weights = softmaxed(2, 30)
    levels, scales = quantise_rows(weights)
    back = levels / 255 * scales[..., None]
    assert levels.dtype == np.uint8
    assert np.all(np.abs(back - weights) <= weights.max(-1, keepdims=True) / 510 * 1.001)
    assert np.all(levels.max(-1) == 255)


def test_every_patch_is_recorded_where_it_fits():
    assert recorded_queries((2, 3), 1, 1) == list(range(8))


def test_one_patch_in_each_block_is_recorded_otherwise():
    assert recorded_places((3, 4), 2) == [(1, 1), (1, 3), (2, 1), (2, 3)]
    assert recorded_queries((3, 4), 2, 2) == [0, 1, 2, 8, 10, 12, 14]


def test_attention_bytes_hold_the_recorded_rows():
    layers = {"a": softmaxed(2, 14, 0), "b": softmaxed(2, 14, 1)}
    widget = AttentionWidget(photo(), layers, grid=(3, 4), n_registers=1, limit=2 * 2 * 6 * 14)
    assert widget.every == 2
    levels = np.frombuffer(widget.attention, np.uint8).reshape(2, 2, 6, 14)
    scales = np.frombuffer(widget.scales, "<f4").reshape(2, 2, 6)
    wanted = layers["b"][1, 2 + 1 * 4 + 3]  # row 1, column 3: recorded after two prefix tokens and (1, 1)
    np.testing.assert_allclose(levels[1, 1, 3] / 255 * scales[1, 1, 3], wanted, atol=wanted.max() / 500)
    assert widget.layer == 1


def test_sixteen_by_sixteen_patches_of_six_heads_fit_a_page():
    layers = {f"block {i}": softmaxed(6, 257, i) for i in range(6)}
    widget = AttentionWidget(photo(448, 448), layers, grid=(16, 16))
    assert widget.every == 2 and len(widget.attention) == 6 * 6 * 65 * 257


@pytest.mark.parametrize(
    ("layers", "more", "message"),
    [
        ({}, {}, "no layer given"),
        ({"a": softmaxed(2, 12)}, {}, r"wanted shape \(heads, 13, 13\)"),
        ({"a": softmaxed(2, 13), "b": softmaxed(3, 13)}, {}, "different numbers of heads"),
        ({"a": softmaxed(2, 13) - 0.1}, {}, "outside 0 to 1"),
        ({"a": softmaxed(2, 13)}, {"limit": 10}, "give fewer layers"),
    ],
)
def test_attention_refuses(layers, more, message):
    with pytest.raises(ValueError, match=message):
        AttentionWidget(photo(), layers, grid=(3, 4), **more)


@pytest.mark.parametrize(
    ("name", "wrong"), [("layer", 1), ("head", 2), ("query", "register 3"), ("patch", [3, 0])]
)
def test_attention_values_stay_in_range(name, wrong):
    widget = AttentionWidget(photo(), {"a": softmaxed(2, 15)}, grid=(3, 4), n_registers=2)
    with pytest.raises(TraitError):
        setattr(widget, name, wrong)


def test_a_patch_set_from_python_becomes_the_recorded_one():
    widget = AttentionWidget(photo(), {"a": softmaxed(2, 13)}, grid=(3, 4), limit=2 * 5 * 13)
    widget.patch = [2, 2]
    assert widget.patch == [2, 3]


# ---- prototypes ----


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cls_points": np.ones((4, 2))}, r"cls_points: wanted finite numbers of shape \(points, 3\)"),
        ({"cls_points": np.ones((1, 3))}, "at least 2 class tokens"),
        ({"patch_points": np.zeros((5, 3))}, "no direction"),
        ({"ibot_points": np.ones((4, 3))}, "two heads"),
        ({"prototypes": np.ones((27, 3))}, "at most 26"),
    ],
)
def test_prototypes_refuse(changed, message):
    good = {"cls_points": np.ones((4, 3)), "patch_points": np.ones((5, 3)), "prototypes": np.ones((3, 3)),
            "ibot_points": np.ones((5, 3)), "ibot_prototypes": np.ones((3, 3))}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        PrototypesWidget(**good | changed)


# ---- runs ----


def history(n: int = 5) -> dict:
    return {
        "step": list(range(n)),
        "loss": [float(i) for i in range(n)],
        "knn_step": [0, 4],
        "knn": [0.1, 0.3],
    }


def test_runs_carry_each_curve_with_its_own_steps():
    widget = RunsWidget([{"name": "a", "history": history()}])
    numbers = np.frombuffer(widget.numbers, "<f4")
    start, length = widget.runs[0]["curves"]["knn"]
    np.testing.assert_allclose(numbers[start : start + 2 * length], [0, 4, 0.1, 0.3], rtol=1e-6)
    assert widget.metrics == [["loss", "loss, all parts"], ["knn", "k-NN accuracy"]]
    assert widget.step == 4 and widget.metric == "loss" and widget.visible == [True]


def test_long_runs_are_thinned_and_keep_their_end():
    widget = RunsWidget([{"name": "a", "history": history(1001)}])
    start, length = widget.runs[0]["curves"]["loss"]
    steps = np.frombuffer(widget.numbers, "<f4")[start : start + length]
    assert length <= 300 and steps[-1] == 1000 and set(np.diff(steps)) == {4.0}


def test_what_was_never_recorded_is_no_quantity():
    widget = RunsWidget([{"name": "a", "history": history() | {"knn": [], "knn_step": [], "ibot": []}}])
    assert widget.metrics == [["loss", "loss, all parts"]] and list(widget.runs[0]["curves"]) == ["loss"]


def test_unknown_quantities_come_last_under_their_own_name():
    runs = [{"name": "a", "history": {"step": [0], "grad_norm": [1.0], "loss": [2.0]}}]
    assert RunsWidget(runs).metrics == [["loss", "loss, all parts"], ["grad_norm", "grad norm"]]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "no runs"),
        ([{"name": "a"}], "history with at least one step"),
        ([{"name": "a", "history": {"step": [0, 1]}}], "and one quantity"),
        ([{"name": "a", "history": {"step": [0, 1], "loss": [1.0]}}], "1 values of loss at 2 steps"),
        ([{"name": "a", "history": history()}] * 2, "two runs have one name"),
    ],
)
def test_runs_refuse(runs, message):
    with pytest.raises(ValueError, match=message):
        RunsWidget(runs)


def test_runs_values_stay_in_range():
    widget = RunsWidget([{"name": "a", "history": history()}])
    for name, wrong in [("metric", "koleo"), ("visible", [True, False])]:
        with pytest.raises(TraitError):
            setattr(widget, name, wrong)


# ---- mistakes ----


def labelled(n: int, side: int = 32, seed: int = 0) -> SimpleNamespace:
    draw = np.random.default_rng(seed)
    levels = draw.integers(0, 256, (n, 3, 1, 1))  # a colour each, so that JPEG keeps it
    images = np.broadcast_to(levels, (n, 3, side, side)).astype(np.uint8)
    return SimpleNamespace(images=images, labels=draw.integers(0, 3, n), class_names=("a", "b", "c"))


def mistakes(n: int = 60, side: int = 32, **more) -> tuple[MistakesWidget, dict]:
    draw = np.random.default_rng(1)
    test, train = labelled(n, side), labelled(20, side, seed=2)
    probs = draw.dirichlet(np.ones(3), n)
    neighbours = draw.integers(0, 20, (n, 2))
    given = {"test": test, "train": train, "probs": probs, "neighbours": neighbours}
    similarities = np.full((n, 2), 0.5)
    return MistakesWidget(
        test, probs, train=train, neighbours=neighbours, similarities=similarities, **more
    ), given


def test_counts_are_those_of_a_loop():
    labels, predictions = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    assert confusion_counts(labels, predictions, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_surest_images_of_each_cell():
    labels = np.array([0, 0, 0, 1])
    probs = np.array([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    assert sorted(surest_of_each_cell(labels, probs, 2).tolist()) == [1, 2, 3]


def test_sprite_sheet_lays_tiles_in_rows():
    tiles = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)
    sheet = np.asarray(sprite_sheet(tiles))
    assert sheet.shape == (32, 48, 3)
    assert sheet[::16, ::16, 0].tolist() == [[0, 1, 2], [3, 4, 0]]


@pytest.mark.parametrize("side", [32, 20])
def test_each_image_lies_where_its_entry_says(side):
    widget, given = mistakes(side=side)
    sheet = np.asarray(Image.open(io.BytesIO(widget.sprite))).astype(int)
    columns = sheet.shape[1] // widget.tile

    def pixel(tile: int) -> np.ndarray:
        row, column = divmod(tile, columns)
        return sheet[row * widget.tile + side // 2, column * widget.tile + side // 2]

    near = np.frombuffer(widget.neighbours, "<i4").reshape(-1, 2, 3)
    for entry, neighbours in zip(np.frombuffer(widget.entries, "<i4").reshape(-1, 4), near, strict=True):
        index, actual, predicted, tile = entry
        assert actual == given["test"].labels[index] and predicted == given["probs"][index].argmax()
        assert np.abs(pixel(tile) - given["test"].images[index, :, 0, 0]).max() <= 6
        for j, (train_index, label, train_tile) in enumerate(neighbours):
            assert (
                train_index == given["neighbours"][index, j] and label == given["train"].labels[train_index]
            )
            assert np.abs(pixel(train_tile) - given["train"].images[train_index, :, 0, 0]).max() <= 6


def test_fewer_images_a_cell_where_they_do_not_fit():
    large, _ = mistakes()
    small, _ = mistakes(limit=len(large.sprite) - 1)
    assert len(small.sprite) < len(large.sprite) and 9 <= len(small.entries) // 16 < len(large.entries) // 16


def test_the_commonest_mistake_is_open_at_first():
    widget, given = mistakes()
    counts = confusion_counts(given["test"].labels, given["probs"].argmax(1), 3)
    np.fill_diagonal(counts, 0)
    assert counts[widget.actual, widget.predicted] == counts.max()


def test_mistakes_refuse():
    with pytest.raises(ValueError, match="give fewer neighbours"):
        mistakes(limit=10)
    with pytest.raises(ValueError, match="per_cell must be at least 1, got 0"):
        mistakes(per_cell=0)
    test, neighbours = labelled(4), np.zeros((4, 1), int)
    with pytest.raises(ValueError, match=r"probs: wanted shape \(4, 3\)"):
        MistakesWidget(test, np.full((4, 2), 0.5), train=test, neighbours=neighbours, similarities=neighbours)
    with pytest.raises(ValueError, match="neighbours and similarities"):
        MistakesWidget(
            test, np.full((4, 3), 1 / 3), train=test, neighbours=neighbours, similarities=np.zeros((4, 2))
        )


def test_mistakes_values_stay_in_range():
    widget, _ = mistakes()
    with pytest.raises(TraitError):
        widget.predicted = 3


# ---- your picture ----


def test_your_picture_carries_its_samples_and_not_its_weights():
    widget = YourPictureWidget({"a": photo(), "b": photo()})
    assert sum(map(len, widget.samples)) < 20_000
    assert widget.config["patch_size"] == 4 and widget.sizes == [32, 64, 96, 128]
    sizes = [len(content) / 1e6 for content in widget._files.values()]
    assert widget.megabytes == pytest.approx(sum(sizes)) and sizes[0] == pytest.approx(2.4, abs=0.1)


@pytest.mark.parametrize("content", [b"no such file", save({"x": np.zeros(1)}, {"backbone": "another"})])
def test_your_picture_takes_no_heads_of_other_weights(tmp_path, monkeypatch, content):
    path = tmp_path / "book.heads.safetensors"
    path.write_bytes(content)
    monkeypatch.setattr(your_picture, "BOOK_HEADS", path)
    with pytest.raises(
        ValueError, match=r"book\.heads\.safetensors holds no heads of book\.safetensors: restore both"
    ):
        YourPictureWidget({"a": photo(), "b": photo()})
    other = YourPictureWidget({"a": photo(), "b": photo()}, weights=BOOK_WEIGHTS)
    assert other.heads == {}, "what is named has no heads"


def test_your_picture_refuses(tmp_path):
    with pytest.raises(ValueError, match="at least two samples"):
        YourPictureWidget({"a": photo()})
    (tmp_path / "words.safetensors").write_bytes(b"just words, and more of them")
    with pytest.raises(ValueError, match="holds no sizes"):
        YourPictureWidget({"a": photo(), "b": photo()}, weights=tmp_path / "words.safetensors")


@pytest.mark.parametrize("wrong", [{"photo": "c"}, {"size": 65}, {"block": 7}, {"view": "heads"}])
def test_your_picture_values_stay_in_range(wrong):
    widget = YourPictureWidget({"a": photo(), "b": photo()}, other="yours 1")
    with pytest.raises(TraitError):
        widget.set_trait(*next(iter(wrong.items())))


def test_weights_go_to_a_page_that_asks_for_them(monkeypatch):
    widget, sent = YourPictureWidget({"a": photo(), "b": photo()}), []
    monkeypatch.setattr(widget, "send", lambda *given: sent.append(given))
    widget._handle_custom_msg({"wanted": "another.safetensors"}, [])
    assert sent == []
    widget._handle_custom_msg({"wanted": "book.safetensors"}, [])
    assert sent == [({"file": "book.safetensors"}, [BOOK_WEIGHTS.read_bytes()])]


def test_no_widget_imports_torch():
    names = ("attention", "prototypes", "runs", "mistakes", "your_picture")
    lines = "; ".join(f"import dinov2_edu.widgets.{name}" for name in names)
    code = f"import sys; {lines}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
