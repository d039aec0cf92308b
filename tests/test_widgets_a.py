"""The Python side of the widgets: what is handed to the page, what is refused, and the still figure."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
import traitlets
from PIL import Image

from dinov2_edu.palette import PALETTE
from dinov2_edu.plots.style import figure
from dinov2_edu.widgets import _base
from dinov2_edu.widgets.agree import AgreeWidget
from dinov2_edu.widgets.cost import CostWidget
from dinov2_edu.widgets.crops import CropsWidget
from dinov2_edu.widgets.doctor import DoctorWidget
from dinov2_edu.widgets.ema import EmaWidget
from dinov2_edu.widgets.learns import LearnsWidget
from dinov2_edu.widgets.losses import LossesWidget
from dinov2_edu.widgets.masks import MasksWidget
from dinov2_edu.widgets.schedules import SchedulesWidget
from dinov2_edu.widgets.scores import ScoresWidget

PHOTO = np.random.default_rng(0).integers(0, 256, (300, 900, 3), dtype=np.uint8)
STILL, _ = figure(1.0)
HISTORY = {"config": {"n_prototypes": 32}, "history": {"step": [1, 2], "loss": [3.5, float("nan")]}}
WIDGETS = {
    "crops": lambda **more: CropsWidget(PHOTO, **more),
    "masks": lambda **more: MasksWidget(PHOTO, **more),
    "losses": lambda **more: LossesWidget(**more),
    "ema": lambda **more: EmaWidget(**more),
    "cost": lambda **more: CostWidget(**more),
    "doctor": lambda **more: DoctorWidget({"short": HISTORY, "bare": "step,loss\n1,2\n"}, **more),
    "scores": lambda **more: ScoresWidget(**more),
    "learns": lambda **more: LearnsWidget(**more),
    "agree": lambda **more: AgreeWidget({"a": PHOTO, "b": PHOTO}, **more),
    "schedules": lambda **more: SchedulesWidget(**more),
}


@pytest.mark.parametrize("name", WIDGETS)
def test_bundle_is_one_module_that_imports_nothing(name):
    source = _base.bundle(f"{name}.js")
    assert not re.search(r"^(import|export \*)", source, re.MULTILINE)
    assert source.count("export default") == 1
    assert source.count("\nexport function shell(") == 1  # what two files import comes along once


def test_bundle_puts_what_is_imported_first(tmp_path, monkeypatch):
    monkeypatch.setattr(_base, "FOLDER", tmp_path)
    (tmp_path / "a.js").write_text('export * from "./b.js";\nexport const a = b + c;\n')
    (tmp_path / "b.js").write_text('import { c } from "./c.js";\nexport const b = c;\n')
    (tmp_path / "c.js").write_text("export const c = 1;\n")
    (tmp_path / "x.js").write_text('import { a } from "./a.js";\nimport {\n  c,\n} from "./c.js";\na + c;\n')
    wanted = ["export const c = 1;", "export const b = c;", "export const a = b + c;", "a + c;"]
    assert _base.bundle("x.js").split("\n\n") == [*wanted[:-1], wanted[-1] + "\n"]


def test_bundle_refuses_any_other_import(tmp_path, monkeypatch):
    monkeypatch.setattr(_base, "FOLDER", tmp_path)
    (tmp_path / "x.js").write_text('import d3 from "https://host/d3.js";\n')
    with pytest.raises(ValueError, match=r"x\.js: wanted `import .*, got `import d3"):
        _base.bundle("x.js")


def test_stylesheet_names_every_role_of_the_palette():
    css = _base.stylesheet()
    for role, colour in PALETTE.items():
        assert f"--dv2-{role.replace('_', '-')}: {colour};" in css


def test_array_bytes_are_little_endian_and_in_row_order():
    values = np.arange(6, dtype=">f8").reshape(2, 3).T
    assert _base.array_bytes(values, "float32") == np.array([0, 3, 1, 4, 2, 5], "<f4").tobytes()


def test_image_bytes_are_a_jpeg_of_the_asked_size():
    picture = Image.open(io.BytesIO(_base.image_bytes(PHOTO, longest=90)))
    assert (picture.format, picture.size) == ("JPEG", (90, 30))


@pytest.mark.parametrize("name", WIDGETS)
def test_state_fits_a_page(name):
    state = WIDGETS[name]().get_state()
    size = sum(len(value) for value in state.values() if isinstance(value, (bytes, str)))
    assert size < 300_000, f"{size} bytes: a page may carry 1.5 MB for all of its widgets"


@pytest.mark.parametrize("name", WIDGETS)
def test_widget_and_still_figure_are_two_outputs(name, monkeypatch):
    shown = []
    monkeypatch.setattr(_base, "display", lambda output, **_: shown.append(output))
    WIDGETS[name](still=STILL, alt='boxes & "crops"')._ipython_display_()
    assert "application/vnd.jupyter.widget-view+json" in shown[0]
    still = shown[1].data
    assert 'alt="boxes &amp; &quot;crops&quot;"' in still
    assert 'class="dv2-still" style="display:none"' in still
    assert "<noscript>" in still and "@media print" in still


def test_without_a_still_figure_only_the_widget_is_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(_base, "display", lambda output, **_: shown.append(output))
    EmaWidget()._ipython_display_()
    assert len(shown) == 1


def test_still_takes_charts_and_photos():
    photo, _ = figure(1.0, photo=True)
    assert "data:image/png;base64," in _base.still_html(STILL, "a chart")
    assert "data:image/jpeg;base64," in _base.still_html(photo, "a photo")


def test_still_needs_words_and_a_known_kind():
    with pytest.raises(ValueError, match="needs `alt`"):
        EmaWidget(still=STILL)
    with pytest.raises(ValueError, match="got int"):
        EmaWidget(still=3, alt="three")


def test_values_outside_their_range_are_refused():
    with pytest.raises(traitlets.TraitError):
        EmaWidget(momentum=1.2)
    with pytest.raises(traitlets.TraitError):
        MasksWidget(PHOTO, ratio=-0.1)
    with pytest.raises(traitlets.TraitError):
        CropsWidget(PHOTO, n_local=11)
    with pytest.raises(ValueError, match="grid must be at least 2"):
        MasksWidget(PHOTO, grid=1)
    with pytest.raises(traitlets.TraitError, match=r"'image'.*5.*6"):
        LossesWidget(image=6)


def test_a_value_that_the_widget_lacks_is_refused():
    with pytest.raises(ValueError, match=r"CropsWidget has no \['n_lokal'\]"):
        CropsWidget(PHOTO, n_lokal=3)


@pytest.mark.parametrize("name", ["crops", "masks"])
def test_a_picture_is_no_array_of_floats(name):
    with pytest.raises(ValueError, match=r"wanted pixels as uint8 .*, got float64 of shape \(300, 900, 3\)"):
        {"crops": CropsWidget, "masks": MasksWidget}[name](PHOTO / 255)


def test_the_readers_photo_stays_as_it_is():
    mine = Image.fromarray(PHOTO)
    CropsWidget(mine)
    assert mine.size == (900, 300) and np.array_equal(np.asarray(mine), PHOTO)


def test_photo_of_the_crops_widget_keeps_its_shape():
    widget = CropsWidget(PHOTO)
    assert widget.photo_size == (213, 640)
    assert Image.open(io.BytesIO(widget.photo)).size == (640, 213)


def test_photo_of_the_masks_widget_is_a_square():
    assert Image.open(io.BytesIO(MasksWidget(PHOTO).photo)).size == (448, 448)


def test_logs_of_the_doctor_arrive_as_text_and_the_first_is_shown():
    widget = DoctorWidget({"mine": HISTORY | {"features": [[0.1]]}, "other": "step,loss\n1,2\n"})
    assert widget.sample == "mine" and widget.samples["other"] == "step,loss\n1,2\n"
    assert "NaN" in widget.samples["mine"] and "features" not in widget.samples["mine"]
    assert widget.words["states"]["unknown"][0] == "I don't know"
    assert DoctorWidget().sample == ""


def test_widgets_do_not_load_torch():
    modules = ", ".join(f"dinov2_edu.widgets.{name}" for name in WIDGETS)
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
