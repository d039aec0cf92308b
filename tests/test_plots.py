"""Figures hold what they were given; diagrams are legible, accessible and of one palette, light and dark."""
# ruff: noqa: RUF001 -- the multiplication sign belongs in shapes.

import base64
import io
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image, ImageFont

from dinov2_edu.palette import CARD, CYCLE, INK, PALETTE, role_colour
from dinov2_edu.plots import charts, panels, pictures, scores, style, views
from dinov2_edu.plots.diagrams import DIAGRAMS, Diagram, diagram_here, diagram_step, hero
from dinov2_edu.plots.svg import Box, Canvas
from dinov2_edu.probe.report import calibrate

ROOT = Path(__file__).parent.parent
LIGHT, DARK = ("#ffffff", "#222832"), ("#14181e", "#ced6dd")
"""Background and text of the book's pages."""

ALL = {
    **{name: draw() for name, draw in DIAGRAMS.items()},
    "here": diagram_here(4),
    "hero": hero(),
}


# ---- colours


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def linear(colour: np.ndarray) -> np.ndarray:
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Contrast ratio as WCAG 2 defines it."""
    low, high = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] + 0.05 for c in (one, other))
    return high / low


def lab(linear_rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear_rgb / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado, Oliveira and Fernandes 2009, severity 1.
EYES = {
    "usual": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("role", PALETTE)
def test_every_role_is_seen_on_light_and_dark_pages(role):
    for page in ("#ffffff", CARD, "#121212", "#14181e"):
        assert contrast(rgb(PALETTE[role]), rgb(page)) >= 3


def test_ink_and_free_colours_are_seen_on_the_card():
    assert contrast(rgb(INK), rgb(CARD)) >= 7
    assert all(contrast(rgb(colour), rgb(CARD)) >= 3 for colour in CYCLE)
    assert not set(CYCLE) & set(PALETTE.values())


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize(
    "group",
    [
        ("student", "teacher", "cls", "patch", "mask", "register"),
        ("global_crop", "local_crop", "student", "teacher"),
        ("good", "bad"),
    ],
)
def test_roles_that_meet_differ_for_every_eye(group, eye):
    seen = {role: lab(np.clip(np.array(EYES[eye]) @ linear(rgb(PALETTE[role])), 0, 1)) for role in group}
    for one, other in combinations(group, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 12, (one, other)


def test_a_name_finds_its_role():
    assert role_colour("teacher temperature") == PALETTE["teacher"]
    assert role_colour("Student") == PALETTE["student"]
    assert role_colour("class token (cls)") == PALETTE["cls"]
    assert role_colour("local crops") == PALETTE["local_crop"]
    assert role_colour("crops") is None and role_colour("local minimum") is None
    assert role_colour("students") is None


# ---- figures


@pytest.fixture
def draws():
    return np.random.default_rng(0)


@pytest.fixture
def photo(draws):
    return draws.integers(0, 256, (60, 90, 3), dtype=np.uint8)


def titles(drawing) -> list[str]:
    return [axes.get_title(loc) for axes in drawing.axes for loc in ("left", "center") if axes.get_title(loc)]


def patches_of(axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def test_pictures_come_in_many_forms(photo):
    wanted = photo / 255
    tensor = torch.from_numpy(photo).permute(2, 0, 1)
    for form in (photo, wanted, wanted.transpose(2, 0, 1), Image.fromarray(photo), tensor):
        np.testing.assert_allclose(pictures.as_picture(form), wanted, atol=1e-6)
    grey = pictures.as_picture(photo[..., 0])
    np.testing.assert_allclose(grey, np.repeat(wanted[..., :1], 3, axis=2))


def test_pictures_that_are_none_are_refused(photo):
    with pytest.raises(ValueError, match="denormalise"):
        pictures.as_picture(photo / 255 - 0.5)
    with pytest.raises(ValueError, match=r"\(h w\)"):
        pictures.as_picture(np.zeros((2, 3, 4, 5)))


def test_crops_are_outlined_where_they_were_cut(photo):
    boxes = np.array([[0, 0, 60, 60], [10, 20, 40, 50]]), np.array([[5, 6, 20, 25]] * 5)
    views_of = [[photo[:20, :20]] * len(kind) for kind in boxes]
    drawing = views.plot_crops(photo, *boxes, *views_of)
    stage, *crops = drawing.axes
    outlined = {(p.get_y(), p.get_x(), p.get_height(), p.get_width()) for p in patches_of(stage)}
    assert outlined == {tuple(box) for box in np.concatenate(boxes)}
    assert [axes.get_title() for axes in crops] == ["G1", "G2", "L1", "L2", "L3", "L4", "L5"]
    assert drawing.photo


def test_crops_without_a_box_are_refused(photo):
    with pytest.raises(ValueError, match="one box"):
        views.plot_crops(photo, np.zeros((2, 4)), np.zeros((0, 4)), [photo], [])


def test_masked_patches_are_covered_and_counted(photo, draws):
    masks = draws.random((3, 4, 6)) < 0.4
    drawing = views.plot_masks(photo, masks, asked=[10, 9, 8])
    for axes, mask, asked in zip(drawing.axes, masks, (10, 9, 8), strict=True):
        assert axes.get_title() == f"asked {asked}\nmasked {mask.sum()} of 24"
        corners = {(round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in patches_of(axes)}
        assert corners == {(15 * row, 15 * column) for row, column in np.argwhere(mask)}


def test_masks_of_numbers_are_refused(photo):
    with pytest.raises(ValueError, match="True = masked"):
        views.plot_masks(photo, np.zeros((1, 4, 4)))
    with pytest.raises(ValueError, match="as many photos"):
        views.plot_masks([photo, photo], np.zeros((3, 4, 4), dtype=bool))


def test_images_say_whether_they_were_recognised(photo):
    drawing = pictures.plot_images(
        [photo] * 3, ["cat", "dog", "ship"], predictions=["cat", "cat", "ship"], columns=2
    )
    assert titles(drawing) == ["✓ cat", "✗ cat\nis dog", "✓ ship"]
    edges = [mpl.colors.to_hex(axes.spines["left"].get_edgecolor()) for axes in drawing.axes[:3]]
    assert edges == [PALETTE["good"], PALETTE["bad"], PALETTE["good"]]
    assert not drawing.axes[3].get_visible()


def test_images_with_too_few_labels_are_refused(photo):
    with pytest.raises(ValueError, match="labels: wanted one for each of 2"):
        pictures.plot_images([photo] * 2, ["cat"])
    with pytest.raises(ValueError, match="need labels"):
        pictures.plot_images([photo], predictions=["cat"])
    with pytest.raises(ValueError, match="at least one picture"):
        pictures.plot_images([])


def test_maps_of_attention_lie_beside_the_photo_on_one_scale_of_even_shares(photo, draws):
    maps = draws.random((4, 4, 6)) + 0.3
    maps[1] *= 100  # what a map sums to is of no account
    maps[2] = 1.0
    maps[3, 0, 0] = -5.0
    drawing = pictures.plot_attention(photo, maps)
    shares = maps / np.abs(maps).mean(axis=(1, 2), keepdims=True)
    peaks = [f"head {i + 1}\nup to {one.max():.1f}" for i, one in enumerate(shares)]
    assert titles(drawing) == ["the photo", *peaks] and peaks[2] == "head 3\nup to 1.0"
    (ground,) = drawing.axes[0].images
    for axes, values in zip(drawing.axes[1:5], shares, strict=True):
        (drawn,) = axes.images
        assert list(drawn.get_extent()) == list(ground.get_extent())
        np.testing.assert_allclose(2.0 ** drawn.get_array(), values.clip(0.25))
        assert (drawn.norm.vmin, drawn.norm.vmax) == (-2, 5)


def test_the_scale_of_token_grids_is_that_of_the_pages():
    script = (ROOT / "dinov2_edu" / "widgets" / "_tokens.js").read_text("utf-8")
    stops = re.findall(r'"(#\w{6})"', script.partition("STOPS = [")[2].partition("]")[0])
    drawn = pictures.ATTENTION_COLOURS(np.linspace(0, 1, len(stops)))[:, :3]
    np.testing.assert_allclose(drawn, [to_rgb(colour) for colour in stops], atol=0.01)  # of 256 steps
    assert f"DOUBLINGS = [{', '.join(map(str, pictures.DOUBLINGS))}]" in script


def test_attention_that_is_no_grid_is_refused(photo):
    with pytest.raises(ValueError, match="prefix"):
        pictures.plot_attention(photo, np.zeros((6, 257)))
    with pytest.raises(ValueError, match="name"):
        pictures.plot_attention(photo, np.zeros((6, 4, 4)), names=["one"])


def test_background_patches_stay_blank_in_pca_colours(photo):
    colours = np.full((4, 6, 3), 0.25)
    colours[0, 0] = np.nan
    drawing = pictures.plot_pca([photo, photo], [colours, colours])
    shown = np.ma.filled(drawing.axes[2].images[0].get_array(), -1)
    np.testing.assert_allclose(shown[0, 0], mpl.colors.to_rgb(CARD))
    np.testing.assert_allclose(shown[1:], 0.25)


def test_pca_colours_without_photos_are_refused(photo):
    with pytest.raises(ValueError, match="got 0 for 1"):
        pictures.plot_pca([photo], [])


@pytest.mark.parametrize("length", [4, 12, 17, 24, 40])
def test_a_legend_lies_inside_the_figure(length):
    names = {letter * length: [0.0, 1.0] for letter in "ance"}
    drawing = charts.plot_curves(names, x_label="x", y_label="y")
    drawing.canvas.draw()
    box = drawing.axes[0].get_legend().get_window_extent()
    assert box.x0 >= 0 and box.x1 <= drawing.bbox.x1 + 1
    assert drawing.axes[0].get_window_extent().width > 0.75 * drawing.bbox.width  # the chart kept its size


def test_curves_keep_their_numbers_and_take_their_role():
    drawing = charts.plot_curves(
        {"student": [1, 2, 3], "k-NN": ([0, 10], [5, 6])}, x_label="step", y_label="loss", levels={"ln K": 4}
    )
    student, knn, level = drawing.axes[0].get_lines()
    np.testing.assert_array_equal(student.get_xydata(), [[0, 1], [1, 2], [2, 3]])
    np.testing.assert_array_equal(knn.get_xydata(), [[0, 5], [10, 6]])
    assert student.get_color() == PALETTE["student"] and knn.get_color() in CYCLE
    assert student.get_linestyle() != knn.get_linestyle()
    assert set(level.get_ydata()) == {4}
    assert "ln K" in [text.get_text() for text in drawing.findobj(Text)]


def test_curves_of_unequal_length_are_refused():
    for values in (([0, 1], [1, 2, 3]), []):
        with pytest.raises(ValueError, match="as many x as y"):
            charts.plot_curves({"a": values}, x_label="x", y_label="y")


def test_histograms_count_everything():
    drawing = charts.plot_histogram({"asked": [3, 3, 5], "masked": [1, 2, 2]}, x_label="patches")
    asked, masked = drawing.axes[0].patches
    assert asked.get_xy()[:, 1].max() == 2 and masked.get_xy()[:, 1].max() == 2
    lefts = set(asked.get_xy()[:, 0])
    assert lefts == {0.5, 1.5, 2.5, 3.5, 4.5, 5.5}, "one bin a whole number"
    wide = charts.plot_histogram({"a": np.arange(100)}, x_label="x", bins=10).axes[0].patches[0]
    assert set(wide.get_xy()[:, 1]) == {0, 10}, "bins hold as many whole numbers each"


def test_few_shot_means_and_bands():
    table = np.array([[0.2, 0.5], [0.4, 0.7]])
    axes = charts.plot_few_shot([1, 10], {"ours": table, "once": [0.1, 0.2]}, chance=0.1).axes[0]
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [0.3, 0.6])
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.2, 0.7)


def test_bars_write_their_numbers():
    drawing = charts.plot_bars(
        {"random": 0.31, "ours": 0.95}, x_label="accuracy", highlight="ours", percent=True
    )
    words = [text.get_text() for text in drawing.findobj(Text)]
    assert "31.0 %" in words and "95.0 %" in words
    assert [bar.get_width() for bar in drawing.axes[0].patches] == [0.31, 0.95]


def test_seeds_stand_beside_the_range_of_the_reference():
    knn = {"whole": [0.5, 0.6, 0.7], "no KoLeo": [0.2, 0.3, 0.25]}
    patches = {"no KoLeo": [0.1], "whole": [0.3]}
    both = {"k-NN, %": knn, "patches, %": patches}
    drawing = charts.plot_seeds(both, reference="whole", baseline="no KoLeo", percent=True)
    left, right = drawing.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["whole", "no KoLeo"]
    dots, mean, line, below, _ = left.get_lines()
    np.testing.assert_allclose(dots.get_xdata(), [50, 60, 70])
    np.testing.assert_allclose(mean.get_xdata(), 60)
    np.testing.assert_allclose(line.get_xdata(), 25)
    assert set(dots.get_ydata()) == {0} and set(below.get_ydata()) == {1} and left.get_ylim()[0] > 1
    band = left.patches[0].get_extents().transformed(left.transData.inverted())
    np.testing.assert_allclose([band.x0, band.x1], [50, 70])
    np.testing.assert_allclose(right.get_lines()[0].get_xdata(), 30)
    assert (left.get_xlabel(), right.get_xlabel()) == ("k-NN, %", "patches, %")


def test_charts_without_matching_data_are_refused():
    with pytest.raises(ValueError, match="wanted finite values"):
        charts.plot_histogram({}, x_label="x")
    with pytest.raises(ValueError, match="wanted 2 accuracies"):
        charts.plot_few_shot([1, 2], {"ours": [0.5]})
    with pytest.raises(ValueError, match="highlight"):
        charts.plot_bars({"a": 1.0}, x_label="x", highlight="b")


def test_history_draws_what_was_recorded():
    history = {
        "step": [0, 10, 20, 30],
        "loss": [4.0, 2.0, 6.0, 1.0],
        "lr": [1, 2, 3, 4],
        "target_entropy": [],
    }
    history |= {"feature_spread": [1, 2, 3, 4], "knn": [0.1, 0.5], "knn_step": [0, 30]}
    drawing = panels.plot_history(history)
    assert titles(drawing) == ["loss", "spread of the features", "k-NN accuracy"]
    loss, spread, knn = (axes.get_lines()[0] for axes in drawing.axes[:3])
    np.testing.assert_array_equal(loss.get_xydata(), [[20, 4], [30, 3]])
    np.testing.assert_array_equal(knn.get_xydata(), [[0, 0.1], [30, 0.5]])
    np.testing.assert_array_equal(spread.get_ydata(), [1, 2, 3, 4])


def test_runs_share_their_scale_and_the_reference():
    runs = {"healthy": [3, 1], "collapsed": [3, 9]}
    drawing = panels.plot_runs(runs, x_label="step", y_label="entropy", reference="healthy")
    healthy, collapsed = drawing.axes
    assert healthy.get_ylim() == collapsed.get_ylim()
    assert [list(line.get_ydata()) for line in collapsed.get_lines()] == [[3, 1], [3, 9]]
    assert healthy.get_lines()[0].get_color() == PALETTE["good"]


def test_panels_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one panel"):
        panels.plot_history({"step": [1, 2]})
    with pytest.raises(ValueError, match="one of the runs"):
        panels.plot_runs({"a": [1]}, x_label="x", y_label="y", reference="b")


def test_confusion_writes_counts_row_by_row():
    counts = np.array([[8, 2], [0, 5]])
    axes = scores.plot_confusion(counts, ["cat", "dog"]).axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "8", (1, 0): "2", (1, 1): "5"}
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2], [0, 1]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "what it is")


def test_reliability_gap_is_the_naive_one(draws):
    confidence = draws.random(300)
    correct = draws.random(300) < confidence**2
    gap = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        gap += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    found = calibrate(confidence, correct)
    drawing = scores.plot_reliability(found.accuracy, found.counts, found.error)
    assert titles(drawing) == [f"mean gap to the diagonal {gap:.3f}"]
    first = (confidence > 1 / 15) & (confidence < 2 / 15)
    bar = drawing.axes[0].patches[1]
    assert (bar.get_x(), bar.get_height()) == pytest.approx((1 / 15, correct[first].mean()))
    assert sum(bar.get_height() for bar in drawing.axes[1].patches) == 300


def test_probabilities_stand_beside_each_other():
    rows = {"teacher": [0.1, 0.7, 0.2], "student": [0.4, 0.3, 0.3]}
    axes = scores.plot_probabilities(rows).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0.1, 0.7, 0.2, 0.4, 0.3, 0.3]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2"]
    assert mpl.colors.to_hex(axes.patches[0].get_facecolor()) == PALETTE["teacher"]


def test_the_sphere_is_seen_from_a_straight_angle(draws):
    np.testing.assert_allclose(scores.VIEW @ scores.VIEW.T, np.eye(3), atol=2e-3)
    points = draws.normal(size=(40, 3)) * 7
    drawing = scores.plot_sphere({"before": points, "after": points}, prototypes=np.eye(3))
    for axes in drawing.axes:
        tokens, prototypes = (group.get_offsets() for group in axes.collections)
        assert len(tokens) == 40 and len(prototypes) == 3
        assert np.linalg.norm(tokens, axis=1).max() <= 1.002
        np.testing.assert_allclose(prototypes, scores.VIEW.T[:, :2], atol=1e-9)


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        scores.plot_confusion(np.zeros((2, 3)), ["a", "b"])
    with pytest.raises(ValueError, match="for each bin"):
        scores.plot_reliability([0.5], [3, 4], 0.1)
    with pytest.raises(ValueError, match="for each bin"):
        scores.plot_reliability([], [], 0.1)
    with pytest.raises(ValueError, match="sums to 1"):
        scores.plot_probabilities({"teacher": [0.5, 0.1]})
    with pytest.raises(ValueError, match="centre"):
        scores.plot_sphere({"a": np.zeros((1, 3))})


def test_charts_with_the_same_names_share_one_legend_and_one_scale():
    both = {"one": [1, 2], "two": [2, 1]}
    drawing = panels.plot_panels({"a": both, "b": {"one": [5, 6], "two": [7, 8]}}, x_label="step")
    assert drawing.axes[0].get_ylim() == drawing.axes[1].get_ylim()
    assert [text.get_text() for text in drawing.legends[0].get_texts()] == ["one", "two"]
    assert all(axes.get_legend() is None for axes in drawing.axes)
    apart = panels.plot_panels(
        {"a": both, "b": {"one": [500, 600], "two": [7, 8]}}, x_label="step", one_scale=False
    )
    low, high = (axes.get_ylim() for axes in apart.axes[:2])
    assert len(apart.legends) == 1 and low[1] < 100 < high[1]
    mixed = panels.plot_panels({"a": both, "b": {"one": [1, 2], "three": [1, 2]}}, x_label="step")
    assert not mixed.legends and all(axes.get_legend() for axes in mixed.axes)
    assert not panels.plot_panels({"a": {"one": [1, 2]}}, x_label="step", levels={"ln K": 1}).legends


def every_figure(photo) -> dict[str, style.Figure]:
    square = np.sort(photo, axis=0)[:, :60]
    cycle = np.linspace(0, 1, 50)
    return {
        "crops": views.plot_crops(
            np.sort(photo, axis=0), [[0, 0, 60, 60]] * 2, [[0, 0, 20, 20]] * 8, [square] * 2, [square] * 8
        ),
        "masks": views.plot_masks(square, np.eye(8, dtype=bool)[None].repeat(3, 0), asked=[8, 8, 8]),
        "images": pictures.plot_images([square] * 10, ["truck"] * 10, predictions=["horse"] * 10),
        "attention": pictures.plot_attention(square, np.ones((6, 4, 4))),
        "pca": pictures.plot_pca([square] * 4, [np.ones((4, 4, 3))] * 4),
        "curves": charts.plot_curves(
            {"student": cycle, "teacher": cycle}, x_label="x", y_label="y", levels={"ln K": 1}
        ),
        "histogram": charts.plot_histogram({"a": cycle, "b": cycle}, x_label="x"),
        "few shot": charts.plot_few_shot([1, 10], {"a": [0.1, 0.2]}),
        "bars": charts.plot_bars({"a": 1.0, "b": 2.0}, x_label="seconds"),
        "seeds": charts.plot_seeds(
            {
                "k-NN, %": {"batch 128, 64 prototypes": [1, 2]},
                "patches, %": {"batch 128, 64 prototypes": [3]},
            },
            reference="batch 128, 64 prototypes",
            baseline="batch 128, 64 prototypes",
        ),
        "panels": panels.plot_panels({"a": {"x": cycle, "y": cycle}, "b": {"x": cycle}}, x_label="step"),
        "runs": panels.plot_runs({"a": cycle, "b": cycle}, x_label="x", y_label="y", levels={"ln K": 1}),
        "confusion": scores.plot_confusion(np.full((10, 10), 1000), ["truck"] * 10),
        "reliability": scores.plot_reliability(cycle, np.arange(50), 0.1),
        "probabilities": scores.plot_probabilities({"teacher": [0.5, 0.5]}),
        "sphere": scores.plot_sphere({"a": np.eye(3), "b": np.eye(3)}),
    }


def test_letters_are_large_inside_the_figure_and_the_file_is_light(photo):
    for name, drawing in every_figure(photo).items():
        mime, data = drawing.encoded()
        assert drawing.get_figwidth() == style.WIDTH
        assert len(data) < 450_000, name
        assert Image.open(io.BytesIO(data)).width >= 1.4 * style.SHOWN_WIDTH
        assert mime == ("image/jpeg" if drawing.photo else "image/png"), name
        drawing.draw_without_rendering()
        canvas = drawing.bbox
        for text in drawing.findobj(Text):
            if text.get_text().strip() and text.get_visible() and text.axes and text.axes.get_visible():
                assert text.get_fontsize() >= 10, (name, text.get_text())
                box = text.get_window_extent()
                inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= canvas.x1 + 1 and box.y1 <= canvas.y1 + 1
                clipped = text.get_text() in {label.get_text() for label in hidden_ticks(text.axes)}
                assert inside or clipped, (name, text.get_text())


def hidden_ticks(axes) -> list[Text]:
    """Tick labels outside the axes' limits, which are never drawn."""
    (x0, x1), (y0, y1) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    labels = [label for label in axes.get_xticklabels() if not x0 <= label.get_position()[0] <= x1]
    return labels + [label for label in axes.get_yticklabels() if not y0 <= label.get_position()[1] <= y1]


def test_a_notebook_shows_a_figure_once(monkeypatch, photo):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: shown.append((args, kwargs)))
    charts.plot_curves({"a": [1, 2]}, x_label="x", y_label="y")._ipython_display_()
    [((bundle,), options)] = shown
    assert options["raw"] and options["metadata"] == {"image/png": {"width": style.SHOWN_WIDTH}}
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).format == "PNG"


def test_drawing_leaves_global_settings_alone():
    with mpl.rc_context():
        mpl.rcdefaults()
        before = dict(mpl.rcParams)
        charts.plot_curves({"a": [1, 2]}, x_label="x", y_label="y").encoded()
        assert dict(mpl.rcParams) == before
        style.use()
        assert mpl.rcParams["figure.facecolor"] == CARD


def test_plots_need_no_torch():
    names = "charts, diagrams, panels, pictures, scores, views"
    code = f"from dinov2_edu.plots import {names}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# ---- diagrams

SVG = "{http://www.w3.org/2000/svg}"
PHONE = 312
"""Pixels that a figure gets on a page 360 pixels wide."""


def parse(diagram: Diagram) -> ElementTree.Element:
    return ElementTree.fromstring(diagram.svg)


def width_of(words: str, size: float, bold: bool) -> float:
    """Width of a text in DejaVu Sans, one of the widest fonts a reader may have."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts/ttf" / name), 100)
    return font.getlength(words) * size / 100


def texts_of(root: ElementTree.Element) -> list[tuple[str, Box]]:
    """Every upright text with the box that it fills."""
    turned = {
        text for group in root.iter(f"{SVG}g") if "rotate" in group.get("transform", "") for text in group
    }
    found = []
    for text in set(root.iter(f"{SVG}text")) - turned:
        size = float(text.get("font-size"))
        wide = width_of(text.text, size, text.get("font-weight") == "600")
        x = float(text.get("x")) - {"middle": wide / 2, "start": 0, "end": wide}[text.get("text-anchor")]
        found.append((text.text, Box(x, float(text.get("y")) - 0.76 * size, wide, 0.98 * size)))
    return found


@pytest.mark.parametrize("name", ALL)
def test_diagrams_say_what_they_show(name):
    root = parse(ALL[name])
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert 10 < len(title.text) < 80
    assert len(desc.text) > 200 and "  " not in desc.text.strip()
    assert root.get("aria-labelledby") == title.get("id") and root.get("aria-describedby") == desc.get("id")
    assert root.get("role") == ("group" if root.find(f".//{SVG}a") is not None else "img")


@pytest.mark.parametrize("name", ALL)
def test_texts_are_inside_and_apart(name):
    diagram = ALL[name]
    texts = texts_of(parse(diagram))
    for words, box in texts:
        assert box.x >= 0 and box.x + box.width <= diagram.width, words
        assert box.y >= 0 and box.y + box.height <= diagram.height, words
    for (one, a), (other, b) in combinations(texts, 2):
        across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
        down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
        assert across <= 0 or down <= 1, (one, other)


@pytest.mark.parametrize("name", ALL)
def test_letters_are_legible_on_a_phone(name):
    diagram = ALL[name]
    for text in parse(diagram).iter(f"{SVG}text"):
        assert float(text.get("font-size")) * PHONE / diagram.width >= 11, text.text


@pytest.mark.parametrize("name", ALL)
def test_colours_come_from_the_palette(name):
    allowed = {*PALETTE.values(), "currentColor", "none", "#ffffff"}
    for element in parse(ALL[name]).iter():
        assert {element.get("fill", "none"), element.get("stroke", "none")} <= allowed


def painted(colour: str, page: tuple[str, str]) -> np.ndarray:
    return rgb(page[1] if colour == "currentColor" else colour)


def ground_of(
    at: tuple[float, float], shapes: list[ElementTree.Element], page: tuple[str, str]
) -> np.ndarray:
    """Colour of the page at a point, under all boxes and circles painted over it so far."""
    ground = rgb(page[0])
    for shape in shapes:
        if shape.tag == f"{SVG}rect":
            x, y, wide, high = (float(shape.get(key)) for key in ("x", "y", "width", "height"))
            covers = x <= at[0] <= x + wide and y <= at[1] <= y + high
        else:
            x, y, radius = (float(shape.get(key)) for key in ("cx", "cy", "r"))
            covers = np.hypot(at[0] - x, at[1] - y) <= radius
        if covers and shape.get("fill") != "none":
            share = float(shape.get("fill-opacity", 1))
            ground = (1 - share) * ground + share * painted(shape.get("fill"), page)
    return ground


def test_text_stands_out_from_its_ground_in_both_themes():
    for name, diagram in ALL.items():
        flat = [
            e
            for parent in parse(diagram).iter()
            if parent.tag != f"{SVG}svg" or not parent.get("x")
            for e in parent
        ]
        for page in (LIGHT, DARK):
            for i, element in enumerate(flat):
                if element.tag == f"{SVG}text":
                    below = [e for e in flat[:i] if e.tag in (f"{SVG}rect", f"{SVG}circle")]
                    at = float(element.get("x")), float(element.get("y")) - 4
                    ratio = contrast(painted(element.get("fill"), page), ground_of(at, below, page))
                    assert ratio >= 4.5, (name, element.text, ratio)


def test_ids_stay_apart_when_diagrams_share_a_page():
    page = "".join(diagram._repr_html_() for diagram in [*ALL.values(), *ALL.values()])
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) == 4 * len(ALL)
    for used in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', page):
        assert used in ids


def test_the_step_links_each_part_to_its_chapter():
    links = {link.get("href"): link for link in parse(diagram_step()).iter(f"{SVG}a")}
    pages = ["01_crops", "02_masking", "03_vit", "04_heads", "05_losses", "06_ema"]
    assert list(links) == [f"{page}.html" for page in pages]
    for link in links.values():
        visible = link.find(f"{SVG}text").text
        assert link.get("aria-label").startswith(visible), "spoken name begins with the written one"


@pytest.mark.parametrize("chapter", range(1, 8))
def test_you_are_here_lights_the_part_of_the_chapter_and_links_to_all(chapter):
    links = list(parse(diagram_here(chapter)).iter(f"{SVG}a"))
    assert [link.get("href") for link in links] == [
        link.get("href") for link in parse(diagram_step()).iter(f"{SVG}a")
    ]
    lit = [i + 1 for i, link in enumerate(links) if link.get("aria-label").endswith(", here")]
    assert lit == ([chapter] if chapter < 7 else [1, 2, 3, 4, 5, 6])
    strong = [i + 1 for i, link in enumerate(links) if link.find(f"{SVG}text").get("font-weight") == "600"]
    assert strong == lit
    with pytest.raises(ValueError, match="chapters 1 to 7, got 8"):
        diagram_here(8)


def test_the_numbers_in_diagrams_are_those_of_vit_s_and_of_eight_local_crops():
    n, width, heads = (224 // 14) ** 2, 384, 6
    patches, block = ALL["patches"].svg, ALL["block"].svg
    assert f"t × d = {1 + n} × {width}" in patches
    assert f"{n} patches of 3 × 14 × 14 = {3 * 14 * 14} numbers" in patches
    assert f"3 × {heads} × {1 + n} × {width // heads}" in block and f"{1 + n} × {4 * width}" in block
    assert f"= {2 + 2 * 8} terms; a view is never compared with itself" in ALL["views"].svg
    assert f"divided by their number, {2 + 2 * 8}" in ALL["dino-loss"].svg
    assert (
        "each step moves the teacher" in ALL["update"].svg
        and f"{1000 - 994} thousandths" in ALL["update"].svg
    )
    assert all(ALL["crops"].svg.count(f">L{i}<") == 2 for i in range(1, 9))


def test_words_are_escaped_and_arrows_end_at_their_goal():
    canvas = Canvas()
    canvas.text((10, 10), 'a < b & "c"\nd')
    canvas.arrow([(0, 50), (30, 50), (30, 90)], "student")
    root = parse(canvas.finish("probe", 100, title="t", alt="a"))
    assert [text.text for text in root.iter(f"{SVG}text")] == ['a < b & "c"', "d"]
    shaft, head = (path.get("d") for path in root.iter(f"{SVG}path"))
    assert shaft.startswith("M0 50 L30 50 L30") and head.startswith("M30 88")


def test_the_first_picture_is_the_one_the_code_draws(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "dinov2_edu.plots.diagrams", tmp_path / "hero.svg"], cwd=ROOT, check=True
    )
    drawn, kept = tmp_path / "hero.svg", ROOT / "book/_static/images/hero.svg"
    message = "run `python -m dinov2_edu.plots.diagrams` and commit the picture"
    assert drawn.read_text("utf-8") == kept.read_text("utf-8"), message
    ElementTree.parse(kept)
