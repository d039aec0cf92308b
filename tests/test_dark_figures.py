"""A figure's dark twin: dark ground, light ink, legible; photos, heat maps and colour bars as they were."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from docutils import nodes
from docutils.utils import new_document
from PIL import Image

from dinov2_edu.palette import CARD, CYCLE, DARK_CARD, DARK_INK, INK, PALETTE
from dinov2_edu.plots import charts, style
from tools.dark_figures import add_dark_figures, from_oklab, oklab, turned, write_dark


def rgb(*colours):
    """Hex strings as an array of bytes."""
    return np.array([list(bytes.fromhex(one[1:])) for one in colours], np.uint8)


def luminance(pixels):
    """WCAG's relative luminance of bytes (... 3)."""
    share = pixels / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]


def contrast(pixels, ground):
    """WCAG's contrast of a light text on a darker ground."""
    return (luminance(pixels) + 0.05) / (luminance(ground) + 0.05)


def test_oklab_has_its_published_values_and_returns():
    white, red = oklab(rgb("#ffffff", "#ff0000"))
    assert white == pytest.approx([1, 0, 0], abs=1e-4)
    assert red == pytest.approx([0.62796, 0.22486, 0.12585], abs=1e-4)  # the CSS colour specification's value
    every = np.stack(np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * 3), -1)
    assert (from_oklab(oklab(every)) == every).all()


def test_ink_and_lines_are_legible_on_the_dark_card():
    card, ink, *lines = turned(rgb(CARD, INK, *PALETTE.values(), *CYCLE))
    assert np.abs(card.astype(int) - rgb(DARK_CARD)[0]).max() <= 6
    assert np.abs(ink.astype(int) - rgb(DARK_INK)[0]).max() <= 12
    assert contrast(ink, card) >= 10
    assert min(contrast(line, card) for line in lines) >= 3


def drawing_with_a_photo_a_heat_map_and_a_chart():
    """A figure of three kinds of axes; the photo is red, the chart a curve."""
    drawing, grid = style.figure(2.5, columns=3)
    style.bare(grid[0, 0]).imshow(np.full((8, 8, 3), [255, 0, 0], np.uint8))
    mesh = grid[0, 1].pcolormesh(np.full((4, 4), 0.5), cmap="Reds", vmin=0, vmax=1)
    drawing.colorbar(mesh)
    grid[0, 2].plot([1, 2, 4])
    return drawing


@pytest.mark.parametrize("photo", [True, False])
def test_pictures_stay_and_what_is_around_them_turns(tmp_path, photo):
    drawing = drawing_with_a_photo_a_heat_map_and_a_chart()
    drawing.photo = photo
    mime, data = drawing.encoded()
    light, dark = tmp_path / "light", tmp_path / f"dark.{mime[6:]}"
    light.write_bytes(data)
    assert write_dark(light, dark)
    was, now = (np.asarray(Image.open(file).convert("RGB")).astype(int) for file in (light, dark))
    assert was.shape == now.shape
    assert dark.stat().st_size < 1.2 * light.stat().st_size
    red = (np.abs(was - [255, 0, 0]).max(-1) < 20).nonzero()
    assert len(red[0]) > 5000 and np.abs(now[red] - [255, 0, 0]).mean() < 3  # JPEG rings at edges
    pinks = was[..., 0] - was[..., 2] > 60  # the heat map, its bar, the photo
    assert np.abs(now[pinks] - was[pinks]).mean() < 3
    assert np.abs(now[0, 0] - rgb(DARK_CARD)[0]).max() < 10  # the corner is card
    assert (luminance(was) > 0.9).mean() > 0.3 > 0.02 > (luminance(now) > 0.9).mean()


def test_a_file_that_does_not_say_where_its_pictures_lie_has_no_twin(tmp_path):
    file = tmp_path / "foreign.png"
    Image.new("RGB", (4, 4), "white").save(file)
    assert not write_dark(file, tmp_path / "dark.png") and not (tmp_path / "dark.png").exists()


def page_with_figure(folder):
    """A page whose one cell shows a chart, as myst-nb hands it over, and a foreign picture in the text."""
    (folder / "chart.png").write_bytes(
        charts.plot_curves({"a": [1, 2]}, x_label="x", y_label="y").encoded()[1]
    )
    image = nodes.image(uri="chart.png", alt="A rising line.")
    bundle = nodes.container("", nodes.container("", image), nb_element="mime_bundle")
    document = new_document("page")
    document += nodes.section("", nodes.image(uri="chart.png"), nodes.figure("", bundle))
    return document


def test_a_page_gets_both_with_the_same_words_and_fetches_one(tmp_path):
    asked = []
    env = SimpleNamespace(docname="page", images=SimpleNamespace(add_file=lambda *one: asked.append(one)))
    page = page_with_figure(tmp_path)
    add_dark_figures(SimpleNamespace(srcdir=tmp_path, env=env), page)
    _, light, dark = page.findall(nodes.image)
    assert asked == [("page", "chart-dark.png")] and dark["candidates"] == {"*": "chart-dark.png"}
    assert (tmp_path / "chart-dark.png").is_file()
    assert light["alt"] == dark["alt"] and light["loading"] == dark["loading"] == "lazy"
    assert "figure-light" in light["classes"] and "figure-dark" in dark["classes"]


def test_a_notebook_gets_one_picture():
    bundle = []
    figure = charts.plot_curves({"a": [1, 2]}, x_label="x", y_label="y")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.display.display", lambda data, **_: bundle.append(data))
        figure.publish()
    [shown] = bundle
    assert set(shown) == {"image/png", "text/plain"}
    assert Image.open(io.BytesIO(base64.b64decode(shown["image/png"]))).info["pictures"] == "[]"
