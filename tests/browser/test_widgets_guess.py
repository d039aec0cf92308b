"""The game in a browser: every answer, mark and score against the data given, by mouse and by keyboard."""

import numpy as np
import pytest
from synthetic import CLASSES, labelled, switch_theme, violations

from dinov2_edu.widgets.guess import GuessWidget

DRAW = np.random.default_rng(3)
TEST = labelled(10, 1, CLASSES)
SCORES = DRAW.normal(0, 1, (10, 10)) + 2 * np.eye(10)[TEST.labels]
PROBS = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
SAID = PROBS.argmax(1)


def game(**more) -> GuessWidget:
    return GuessWidget(TEST, PROBS, source="Made-up pictures.", **more)


@pytest.fixture
def shown(mount):
    return mount(game())


def answer(shown, label: int) -> None:
    shown.root.locator(".dv2-answers button").nth(label).click()
    shown.settle()


def test_nothing_is_given_away_before_the_reader_has_answered(shown):
    assert shown.readout() == "Picture 1 of 10: what is it?"
    assert set(shown.texts(".dv2-answers small")) == {""} and shown.root.locator(".dv2-true").count() == 0
    assert CLASSES[TEST.labels[0]] not in shown.alt()
    assert shown.root.get_by_role("button", name="Next picture").is_disabled()


def test_an_answer_shows_truth_and_probe_and_cannot_be_changed(shown):
    truth, said = int(TEST.labels[0]), int(SAID[0])
    wrong = next(k for k in range(10) if k not in (truth, said))
    answer(shown, wrong)
    sure = f"{100 * PROBS[0, said]:.0f} %"
    assert f"No: it is {CLASSES[truth]}. The probe says {CLASSES[said]}, {sure} sure." in shown.readout()
    assert f"So far: you 0 of 1, the probe {int(truth == said)} of 1." in shown.readout()
    marks = shown.texts(".dv2-answers small")
    assert "it is" in marks[truth] and marks[wrong] == "you" and f"probe {sure}" in marks[said]
    shown.root.locator(".dv2-answers button").nth(truth).dispatch_event("click")
    assert shown.value("guesses") == [wrong]


def test_a_whole_game_by_keyboard_counts_as_it_should_and_begins_again(shown):
    guesses = [int(label) if i % 3 else (int(label) + 1) % 10 for i, label in enumerate(TEST.labels)]
    pictures = set()
    for guess in guesses:
        pictures.add(shown.picture())
        shown.root.locator(".dv2-answers button").nth(guess).press("Enter")
        shown.settle()
        shown.root.get_by_role("button", name="Next picture").press("Enter")
    you, probe = (sum(np.array(said) == TEST.labels) for said in (guesses, SAID))
    who = "A draw." if you == probe else "You win." if you > probe else "The probe wins."
    assert shown.readout() == f"{who} You {you} of 10, the probe {probe} of 10."
    assert len(pictures) == 10
    results = shown.texts(".dv2-results li")
    assert sum("you ✓" in text for text in results) == you
    assert sum("probe ✓" in text for text in results) == probe
    assert violations(shown) == []
    shown.press("Play again")
    assert shown.readout() == "Picture 1 of 10: what is it?" and shown.value("guesses") == []


@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_and_is_accessible_before_and_after_an_answer(mount, width):
    shown = mount(game(), width=width)
    for answered in (False, True):
        if answered:
            answer(shown, 3)
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        for _ in range(2):
            assert violations(shown) == []
            switch_theme(shown)
    box, readout = shown.root.bounding_box(), shown.root.locator(".dv2-readout").bounding_box()
    assert readout["y"] + readout["height"] - box["y"] < 520


def test_what_python_refuses():
    with pytest.raises(ValueError, match="1 to 24 pictures, got 25"):
        GuessWidget(labelled(25, 1, CLASSES), np.full((25, 10), 0.1))
    with pytest.raises(ValueError, match="pass the softmax"):
        GuessWidget(TEST, SCORES)
