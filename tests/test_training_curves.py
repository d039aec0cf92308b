"""Curves that grow with a run, in a terminal and in a notebook."""

from dataclasses import replace

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from tiny_training import QUIET, TINY, byte_images

from dinov2_edu.experiments.sparklines import TerminalCurves, sparkline
from dinov2_edu.notebook import live_curves
from dinov2_edu.plots.style import Figure
from dinov2_edu.training import FitOptions, build_state, fit


def test_a_sparkline_rises_and_falls_with_its_curve():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([7] * 48 + [0] * 48) == "█" * 24 + "▁" * 24
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert len(sparkline(range(100))) == 48


def test_terminal_curves_grow_with_the_run(capsys):
    watch = FitOptions(**QUIET, evaluate=lambda _: 0.25, evaluate_every=2)
    watch.on_log = TerminalCurves(every=2)
    fit(build_state(replace(TINY, steps=4)), byte_images(), watch)
    first, second = capsys.readouterr().out.split("after step ")[1:]
    assert first.startswith("2 of 4") and second.startswith("4 of 4")
    loss = [line for line in second.splitlines() if line.strip().startswith("loss")]
    assert len(loss) == 1 and sum(mark in "▁▂▃▄▅▆▇█" for mark in loss[0]) == 4
    assert "k-NN accuracy     0.250 ▁▁   0.250" in second


@pytest.fixture
def shell():
    """An IPython without a terminal, so that rich outputs go where a notebook's go."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_live_curves_are_one_output_that_is_updated(shell, monkeypatch):
    drawn, encoded = [], Figure.encoded
    monkeypatch.setattr(Figure, "encoded", lambda figure: drawn.append(figure) or encoded(figure))
    watch = FitOptions(**QUIET, on_log=live_curves(every=2))
    with capture_output() as captured:
        fit(build_state(replace(TINY, steps=5)), byte_images(), watch)
    first, *later = captured.outputs  # after steps 2, 4 and, the last, 5
    assert [output.update for output in (first, *later)] == [False, True, True]
    assert {output.transient["display_id"] for output in later} == {first.transient["display_id"]}
    assert len({output.data["image/png"] for output in captured.outputs}) == 3
    loss = next(axes for axes in drawn[-1].axes if axes.get_title(loc="left") == "loss")
    assert loss.lines[0].get_xdata()[-1] == 5


@pytest.mark.bad_input
def test_curves_refuse():
    with pytest.raises(ValueError, match="every must be at least 1"):
        live_curves(every=0)
    with pytest.raises(ValueError, match="every must be at least 1"):
        TerminalCurves(every=0)
    with pytest.raises(ValueError, match="at least one value"):
        sparkline([])
