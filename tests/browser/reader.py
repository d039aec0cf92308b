"""A reader at a control on a page of the built book: moves it by keyboard and by pointer, and sees what changes.

Every move must change what is shown, and is remembered, so that a test can say which control was never moved.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import Mounted
from playwright.sync_api import Locator, Page

SHOWN = """(root) => {
    const words = [...root.children].filter((part) => !part.matches(".dv2-controls")).map((part) => part.innerText);
    const pictures = [...root.querySelectorAll("canvas")].filter((c) => c.checkVisibility()).map((c) => c.toDataURL());
    const marks = [...root.querySelectorAll("[aria-pressed=true], [aria-selected=true]")].map((e) => e.ariaLabel);
    let hash = 7;
    for (const text of [...words, ...pictures, ...marks]) {
        for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0;
    }
    return hash;
}"""
"""One number for the words, pictures and marks outside of the controls themselves."""

CONTROLS = """(root) => [
    ...[...root.querySelectorAll("[data-key]")].map((e) => e.dataset.key),
    ...[...root.querySelectorAll(".dv2-button")].map((e) => e.textContent),
    ...[...root.querySelectorAll(".dv2-gallery")].map((e) => e.ariaLabel),
    ...(root.querySelector("[role=grid]") ? ["matrix"] : []),
    ...(root.querySelector("canvas[role=application]") ? ["picture"] : []),
]"""


class Reader(Mounted):
    """A control of a page, by its place among them. `pointer` is "mouse" or "touch"."""

    def __init__(self, page: Page, pointer: str, place: int = 0):
        super().__init__(page, "")
        self.root = page.locator(".dv2").nth(place)
        self.pointer = pointer
        self.moved: set[tuple[str, str]] = set()
        self.fingers = page.context.new_cdp_session(page) if pointer == "touch" else None
        for fold in self.root.locator(".dv2-more > summary").all():
            self._press(fold)

    def unmoved(self) -> list[tuple[str, str]]:
        """Each control, as (its name, keyboard or pointer), that no move has touched that way."""
        names = self.root.evaluate(CONTROLS)
        return sorted({(name, how) for name in names for how in ("keyboard", "pointer")} - self.moved)

    # ---- moves ----

    def key(self, key: str, *strokes: str) -> None:
        """Focus an input and press keys."""
        with self._move(key, "keyboard"):
            super().key(key, *strokes)

    def drag(self, key: str, share: float) -> None:
        """Pull a slider's thumb to a share of its track."""
        with self._move(key, "pointer"):
            if self.pointer == "mouse":
                super().drag(key, share)
                return
            slider = self.control(key)
            slider.scroll_into_view_if_needed()
            now = slider.evaluate("(e) => (e.value - e.min) / (e.max - e.min)")
            width, height = slider.bounding_box()["width"], slider.bounding_box()["height"]
            self._pull(slider, [(9 + at * (width - 18), height / 2) for at in (now, share)])

    def choose(self, key: str, value: Any) -> None:
        """Press one of several alternatives."""
        with self._move(key, "pointer"):
            self._press(self.root.locator(f'[data-key="{key}"][data-value="{value}"]'))

    def switch(self, key: str) -> None:
        """Press a switch."""
        with self._move(key, "pointer"):
            self._press(self.control(key))

    def select(self, key: str, text: str) -> None:
        """Take an entry of a drop-down; its list is the browser's own, which a test cannot point at."""
        with self._move(key, "pointer"):
            self._press(self.control(key))
            self.page.keyboard.press("Escape")
            self.control(key).select_option(text)

    def type(self, key: str, text: str) -> None:
        """Press a field, write over what it holds, and leave it by Enter."""
        with self._move(key, "pointer"):
            self._press(self.control(key))
            self.page.keyboard.press("Control+a")
            self.page.keyboard.type(text)
            self.page.keyboard.press("Enter")

    def press(self, name: str) -> None:
        """Press a button."""
        with self._move(name, "pointer"):
            self._press(self.root.get_by_role("button", name=name, exact=True))

    def enter(self, name: str) -> None:
        """Press a button by the keyboard."""
        with self._move(name, "keyboard"):
            self.root.get_by_role("button", name=name, exact=True).press("Enter")

    def pick(self, gallery: str, number: int) -> None:
        """Press a small picture; numbers begin at 0."""
        with self._move(gallery, "pointer"):
            self._press(self._thumb(gallery, number))

    def pick_by_key(self, gallery: str, number: int) -> None:
        """Press a small picture by the keyboard."""
        with self._move(gallery, "keyboard"):
            self._thumb(gallery, number).press("Space")

    def tap(self, x: float, y: float) -> None:
        """Press at a place on the first picture, in shares of its width and height."""
        with self._move("picture", "pointer"):
            canvas = self.root.locator("canvas").first
            canvas.scroll_into_view_if_needed()
            box = canvas.bounding_box()
            place = {"x": x * box["width"], "y": y * box["height"]}
            canvas.click(position=place) if self.pointer == "mouse" else canvas.tap(position=place)

    def turn(self, pixels: float) -> None:
        """Drag from the middle of the first picture to the side."""
        with self._move("picture", "pointer"):
            canvas = self.root.locator("canvas").first
            canvas.scroll_into_view_if_needed()
            box = canvas.bounding_box()
            middle = (box["width"] / 2, box["height"] / 2)
            self._pull(canvas, [middle, (middle[0] + pixels, middle[1])])

    def arrow(self, *strokes: str) -> None:
        """Focus the first picture and press keys."""
        with self._move("picture", "keyboard"):
            self.root.locator("canvas").first.focus()
            for stroke in strokes:
                self.page.keyboard.press(stroke)

    def open_cell(self, name: str) -> None:
        """Press a cell of the matrix whose name begins so."""
        with self._move("matrix", "pointer"):
            self._press(self.root.locator(f'[role=gridcell][aria-label^="{name}"]'))

    def walk(self, *strokes: str) -> None:
        """Press keys where the matrix has the focus."""
        with self._move("matrix", "keyboard"):
            self.root.locator("[role=gridcell][tabindex='0']").focus()
            for stroke in strokes:
                self.page.keyboard.press(stroke)

    # ---- how ----

    @contextmanager
    def _move(self, name: str, how: str) -> Iterator[None]:
        """Around a move: what is shown must change; the move is remembered."""
        self.settle()
        before = self.root.evaluate(SHOWN)
        yield
        self.settle()
        assert self.root.evaluate(SHOWN) != before, f"{name} by {how}: what is shown did not change"
        self.moved.add((name, how))

    def _thumb(self, gallery: str, number: int) -> Locator:
        return self.root.get_by_role("group", name=gallery, exact=True).get_by_role("button").nth(number)

    def _press(self, place: Locator) -> None:
        place.click() if self.pointer == "mouse" else place.tap()

    def _pull(self, element: Locator, places: list[tuple[float, float]]) -> None:
        """Press at the first place of an element, move in four steps to the second, and let go."""
        box = element.bounding_box()
        (x0, y0), (x1, y1) = ((box["x"] + x, box["y"] + y) for x, y in places)
        way = [(x0 + (x1 - x0) * i / 4, y0 + (y1 - y0) * i / 4) for i in range(5)]
        if self.pointer == "mouse":
            self.page.mouse.move(*way[0])
            self.page.mouse.down()
            for place in way[1:]:
                self.page.mouse.move(*place)
            self.page.mouse.up()
            return
        for number, (x, y) in enumerate(way):
            kind = "touchMove" if number else "touchStart"
            self.fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        self.fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
