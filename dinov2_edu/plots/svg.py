"""The drawing kit of the diagrams: boxes, words and arrows in, one accessible SVG out.

Words stay text, so they can be read aloud, searched and translated. They take the colour of the page's own
text (`currentColor`) and areas are tints of the palette, so one drawing serves light and dark pages. A canvas
is 360 units wide, the width of a phone, and no letter is smaller than 12.75 units.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from html import escape
from math import hypot
from pathlib import Path
from typing import Any

from dinov2_edu.palette import PALETTE

WIDTH = 360.0
SMALL, BODY = 12.75, 13.0
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle, with the points at which arrows meet it."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def top(self) -> Point:
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> Point:
        return self.x + self.width / 2, self.y + self.height

    @property
    def left(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> Point:
        return self.x + self.width, self.y + self.height / 2

    def grown(self, by: float) -> "Box":
        """The same box, larger by `by` on every side."""
        return Box(self.x - by, self.y - by, self.width + 2 * by, self.height + 2 * by)


def colour(role: str | None) -> str:
    """The colour of a role; without one, that of the page's text."""
    return PALETTE[role] if role else "currentColor"


def number(value: float | str) -> str:
    """Write a coordinate with at most two decimals, a word as it is."""
    return value if isinstance(value, str) else f"{round(float(value), 2):g}"


@dataclass
class Canvas:
    """A sheet to draw on, from which `finish` makes a `Diagram`."""

    width: float = WIDTH
    parts: list[str] = field(default_factory=list)

    def add(self, tag: str, content: str = "", /, **attributes: Any) -> None:
        """Add one element; an underscore in an attribute's name stands for a hyphen, None leaves it out."""
        pairs = ((name.replace("_", "-"), value) for name, value in attributes.items() if value is not None)
        written = "".join(f' {name}="{escape(number(value))}"' for name, value in pairs)
        self.parts.append(f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>")

    def rect(
        self,
        box: Box,
        role: str | None = None,
        *,
        tint: float = 0.14,
        line: float = 1.5,
        corner: float = 6,
        dash: str = "",
    ) -> Box:
        """Draw a box: an outline in the role's colour, filled with a tint of it."""
        paint = {"fill": colour(role), "fill_opacity": tint, "stroke": colour(role), "stroke_width": line}
        place = {"x": box.x, "y": box.y, "width": box.width, "height": box.height, "rx": corner}
        self.add("rect", **place, **paint, stroke_dasharray=dash or None)
        return box

    def path(
        self,
        data: str,
        role: str | None = None,
        *,
        tint: float = 0.0,
        line: float = 1.5,
        dash: str = "",
        opacity: float = 1,
    ) -> None:
        """Draw a path from SVG path data, filled with a tint of its own colour."""
        fill = {"fill": colour(role), "fill_opacity": tint} if tint else {"fill": "none"}
        stroke = {"stroke": colour(role), "stroke_width": line}
        stroke |= {"stroke_linejoin": "round", "stroke_linecap": "round"}
        extra = {"stroke_dasharray": dash or None, "opacity": opacity if opacity < 1 else None}
        self.add("path", d=data, **fill, **(stroke if line else {}), **extra)

    def circle(
        self, centre: Point, radius: float, role: str | None = None, *, tint: float = 0.14, line: float = 1.5
    ) -> None:
        """Draw a circle: an outline in the role's colour, filled with a tint of it."""
        paint = {"fill": colour(role), "fill_opacity": tint, "stroke": colour(role), "stroke_width": line}
        self.add("circle", cx=centre[0], cy=centre[1], r=radius, **paint)

    def text(
        self,
        at: Point,
        words: str,
        *,
        size: float = BODY,
        anchor: str = "middle",
        bold: bool = False,
        **look: str,
    ) -> None:
        """Write words centred in height on `at`; a line break begins a new line. `look`: more attributes."""
        lines = words.split("\n")
        first = at[1] - (len(lines) - 1) * 0.63 * size + 0.35 * size
        style = {"font_size": size, "text_anchor": anchor, "font_weight": "600" if bold else None}
        style |= {"fill": "currentColor"} | look
        for i, line in enumerate(lines):
            self.add("text", escape(line), x=at[0], y=first + i * 1.26 * size, **style)

    def line(
        self, points: Sequence[Point], role: str | None = None, *, dash: str = "", width: float = 1.5
    ) -> None:
        """Draw straight lines through points."""
        self.path("M" + " L".join(f"{number(x)} {number(y)}" for x, y in points), role, dash=dash, line=width)

    def arrow(
        self, points: Sequence[Point], role: str | None = None, *, dash: str = "", width: float = 1.8
    ) -> None:
        """Draw straight lines through points, with a head at the last; a little room is left before it."""
        (x0, y0), (x1, y1) = points[-2:]
        length, head, gap = hypot(x1 - x0, y1 - y0), 8.0, 2.0
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        tip, neck = (x1 - gap * ux, y1 - gap * uy), (x1 - (gap + head) * ux, y1 - (gap + head) * uy)
        self.line([*points[:-1], neck], role, dash=dash, width=width)
        wings = [(neck[0] - side * 4.2 * uy, neck[1] + side * 4.2 * ux) for side in (1, -1)]
        corners = " L".join(f"{number(x)} {number(y)}" for x, y in (tip, *wings))
        self.path(f"M{corners} Z", role, tint=1, line=0)

    def brace(self, start: Point, end: Point, role: str | None = None, *, depth: float = 6) -> None:
        """Draw a bracket under a horizontal stretch, its arms `depth` high."""
        (x0, y), (x1, _) = start, end
        self.line([(x0, y), (x0, y + depth), (x1, y + depth), (x1, y)], role, width=1.3)

    @contextmanager
    def inside(self, opening: str, closing: str) -> Iterator[None]:
        """Put all that is drawn within the `with` block between two tags."""
        self.parts.append(opening)
        yield
        self.parts.append(closing)

    def link(self, href: str, name: str) -> AbstractContextManager[None]:
        """Make all that is drawn within the `with` block one link, which `name` describes."""
        style = "color:inherit;text-decoration:none"
        return self.inside(f'<a href="{escape(href)}" aria-label="{escape(name)}" style="{style}">', "</a>")

    def window(self, box: Box, view: Box) -> AbstractContextManager[None]:
        """Draw within the `with` block in the coordinates of `view`, scaled into `box` and cut off there."""
        x, y, width, height = map(number, (box.x, box.y, box.width, box.height))
        seen = " ".join(map(number, (view.x, view.y, view.width, view.height)))
        place = f'x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{seen}"'
        return self.inside(f'<svg {place} preserveAspectRatio="none">', "</svg>")

    def finish(self, name: str, height: float, *, title: str, alt: str) -> "Diagram":
        """Make the diagram: `title` names it, `alt` tells all it says to someone who cannot see it."""
        return Diagram(name, title, " ".join(alt.split()), "\n".join(self.parts), self.width, height)


_shown: dict[str, int] = {}
"""How often each diagram was shown, to keep the ids of a page apart."""


@dataclass(frozen=True)
class Diagram:
    """A finished drawing, which a notebook shows as inline SVG that follows the page's colours."""

    name: str
    title: str
    alt: str
    body: str
    width: float
    height: float

    @property
    def svg(self) -> str:
        """The drawing as one `<svg>` element."""
        return self.markup()

    def markup(self, suffix: str = "", style: str = "", extra: str = "") -> str:
        """Write the `<svg>` element; `suffix` keeps ids apart where a page shows the same diagram twice.

        A drawing with links is a group, not an image: screen readers are not shown the inside of an image.
        """
        title, desc = f"dinov2-{self.name}-title{suffix}", f"dinov2-{self.name}-desc{suffix}"
        role = "group" if "<a " in self.body else "img"
        box = f"0 0 {number(self.width)} {number(self.height)}"
        fit = f"display:block;width:100%;max-width:{self.width * 1.28:.0f}px;height:auto;margin:0 auto"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" style="{style or fit}" '
            f'role="{role}" aria-labelledby="{title}" aria-describedby="{desc}" font-family="{FONTS}">\n'
            f'<title id="{title}">{escape(self.title)}</title>\n'
            f'<desc id="{desc}">{escape(self.alt)}</desc>\n'
            f"{extra}{self.body}\n</svg>"
        )

    def _repr_html_(self) -> str:
        _shown[self.name] = count = _shown.get(self.name, 0) + 1
        suffix = "" if count == 1 else f"-{count}"
        return f'<div class="dinov2-diagram">{THEME_FIX}\n{self.markup(suffix)}\n</div>'

    def save(self, path: str | Path) -> None:
        """Write a file of its own, with a light card that turns dark where the reader prefers dark."""
        card = f'<rect class="card" width="{number(self.width)}" height="{number(self.height)}" rx="10"/>\n'
        Path(path).write_text(self.markup(extra=FILE_COLOURS + card, style="max-width:100%") + "\n", "utf-8")


THEME_FIX = (
    "<style>html[data-theme=dark] .bd-content div.cell_output .output.text_html:has(.dinov2-diagram)"
    "{background:none;color:var(--pst-color-text-base);padding:0}"
    ".dinov2-diagram a:focus-visible{outline:2px solid currentColor;outline-offset:2px}</style>"
)
"""In dark mode the theme puts HTML outputs on a light card, for those that know no dark mode; diagrams do."""

FILE_COLOURS = (
    "<style>svg{color:#24292f}.card{fill:#fbfbfa}"
    "@media (prefers-color-scheme:dark){svg{color:#d7dde3}.card{fill:#14181e}}</style>\n"
)
