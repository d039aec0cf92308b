"""A cell that needs Python: sliders and menus of ipywidgets drive a function of the reader's own kernel.

The book's other controls answer in the browser. Here the package answers, on any photo, weights or settings. A page
without a kernel cannot do that, so where a notebook is executed with nobody watching, as for the book, the cell leaves
what the function shows at first: a still figure, with the caption and words of its cell, and no slider that would move
and change nothing.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import traitlets
from IPython import get_ipython
from IPython.display import display
from PIL import Image

from dinov2_edu.checks import checked, require
from dinov2_edu.widgets._base import as_image


@checked
def live(show: Callable[..., Any], control: traitlets.HasTraits | None = None, /, **choices: Any) -> Any:
    """Let sliders, menus and a photo of the reader's own choose the arguments of a function, and show its answer.

    Args:
        show: what answers; its defaults are where the controls start. It returns a figure, or displays or prints.
        control: a control of the page; each argument that has the name of one of its values shares it, both ways.
        choices: for each argument what there is to choose from, as in `ipywidgets.interact`: `(low, high)` or `(low,
            high, step)`, a list, True or False, a text. A pair as the default makes a slider with two thumbs; a PIL
            image makes a button to take another picture; None leaves the choice to the page's control.

    Returns:
        The controls above their answer; where nobody watches, what `show` makes of its defaults.

    Raises:
        ValueError: `show` has no such argument, or none of it gives a starting value or a control.
    """
    starts = _starts(show, choices)
    if not _someone_watches():
        return show(**starts)
    controls = {name: _control(name, choice, starts.get(name)) for name, choice in choices.items()}
    for name, mine in controls.items():
        if control is not None and control.has_trait(name) and not isinstance(choices[name], Image.Image):
            traitlets.link((control, name), (mine, "value"))

    def answer(**values: Any) -> None:
        try:
            for name, choice in choices.items():
                if isinstance(choice, Image.Image):
                    values[name] = _picture(values[name], choice)
            shown = show(**values)
        except (
            Exception
        ) as error:  # whatever it is, it belongs beside the control that caused it, in one line
            print(f"No answer for these values. {type(error).__name__}: {error}")
            return
        if shown is not None:
            display(shown)

    answers = ipywidgets.interactive_output(answer, controls)
    return ipywidgets.VBox(
        [*(one for one in controls.values() if isinstance(one, ipywidgets.Widget)), answers]
    )


def _someone_watches() -> bool:
    """Whether there may be a reader to move a slider: tools that execute a notebook unattended take no input.

    An output widget would also stop nbclient for good now and then: it answers the kernel from within its own wait.
    """
    return getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", True)


def _starts(show: Callable[..., Any], choices: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each argument at first: its default, or the picture to choose instead of."""
    known = inspect.signature(show).parameters
    takes_more = any(one.kind is one.VAR_KEYWORD for one in known.values())
    starts = {}
    for name, choice in choices.items():
        if takes_more and name not in known and choice is None:
            continue  # it starts where the page's control is
        require(name in known, f"{show.__name__} has no argument {name!r}, only {', '.join(known)}")
        starts[name] = choice if isinstance(choice, Image.Image) else known[name].default
        require(starts[name] is not inspect.Parameter.empty, f"{name}: give it a default, where it starts")
    return starts


def _control(name: str, choice: Any, start: Any) -> Any:
    """One labelled control, or a value without one; it reports once it rests, as an answer may take a second."""
    label = name.replace("_", " ")
    if choice is None:
        return ipywidgets.fixed(start)
    if isinstance(choice, Image.Image):
        return ipywidgets.FileUpload(accept="image/*", multiple=False, description=f"{label} of yours")
    if isinstance(choice, tuple) and isinstance(start, tuple):
        low, high, *step = choice
        made = ipywidgets.FloatRangeSlider(value=start, min=low, max=high, step=step[0] if step else 0.1)
    else:
        made = ipywidgets.interactive.widget_from_abbrev(choice, start)
    require(
        made is not None,
        f"{name}: wanted a range, a list, True or False, a text or a picture, got {choice!r}",
    )
    made.description, made.style.description_width = label, "initial"
    if made.has_trait("continuous_update"):
        made.continuous_update = False
    return made


def _picture(value: Any, instead: Image.Image) -> Image.Image:
    """The picture of an upload button, else the one instead.

    ipywidgets 7 has a dict of files by name, 8 a tuple of files.
    """
    files = list(value.values() if isinstance(value, Mapping) else value)
    return as_image(bytes(files[-1]["content"])) if files else instead
