"""What every notebook uses: `setup` at its start, `show_source` for code that is the lesson, `show_table`, `check`;
`live_curves` while something trains."""

import ast
import html
import inspect
import platform
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

import dinov2_edu
from dinov2_edu.checks import check_at_least, checked, require
from dinov2_edu.exercises import examine, find_exercise

SEED = 0


class Setup(NamedTuple):
    """What `setup` hands to a notebook.

    Attributes:
        device: "cuda" where there is a GPU, else "cpu".
        generator: a seeded `torch.Generator` on the CPU, to be passed on as `generator=`.
    """

    device: torch.device
    generator: torch.Generator


@checked
def setup(chapter: str) -> Setup:
    """Begin a notebook: seed, choose the device, set the look of figures, and print what runs where.

    The global seed of torch is set as well, because new modules draw their weights from it. Apple's GPU is
    not chosen: it lacks double precision and some of the operations that the book uses.

    Args:
        chapter: the notebook's name without its ending, such as `"01_crops"`.
    """
    from dinov2_edu.plots import style

    torch.manual_seed(SEED)
    style.use()
    _sharp_figures()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        where = f"the CPU ({threads} {'thread' if threads == 1 else 'threads'})"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}, seed {SEED}"
    print(f"{chapter} runs on {where}: dinov2_edu {dinov2_edu.__version__}, {versions}")
    return Setup(device, torch.Generator().manual_seed(SEED))


def _sharp_figures() -> None:
    """Draw inline figures at twice the resolution; outside a notebook there is nothing to set."""
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina")


def show_source(thing: Any, *, fold: bool = True) -> None:
    """Show the code of a function, method or class as the package has it, folded under its name.

    The docstring is cut to its first line.

    Args:
        thing: what to show.
        fold: False leaves it open: for code that is the lesson.

    Raises:
        ValueError: the object has no Python source, such as a number or a function of torch's C++ core.
    """
    from IPython.display import Markdown, display

    thing = inspect.unwrap(thing) if callable(thing) else thing
    try:
        lines, first = inspect.getsourcelines(thing)
        path = Path(inspect.getsourcefile(thing) or "")
    except (TypeError, OSError) as error:
        raise ValueError(f"show_source wants a function or class written in Python: {error}") from error
    parts = path.parts
    inside = "/".join(parts[parts.index("dinov2_edu") :]) if "dinov2_edu" in parts else path.name
    code = _shorten_docstring(textwrap.dedent("".join(lines)))
    title = f"The package's <code>{html.escape(thing.__qualname__)}</code>: {inside}, line {first}"
    body = f"````python\n{code.rstrip()}\n````"
    state = "" if fold else " open"
    display(Markdown(f"<details{state}><summary>{title}</summary>\n\n{body}\n\n</details>"))


_CHAPTERS = (
    (1, "make_views|c = student.c"),
    (2, "make_masks"),
    (6, r"\.backward|for module"),
    (5, "loss|targets|centers|else:|return dino"),
    (3, r"\.backbone\("),
    (4, "head"),
)
"""Which chapter explains a line of the step: the first whose words stand in it, else 06."""


@checked
def show_step(file: ModuleType, chapter: int) -> None:
    """Show the lines of the training step that the chapters up to this one have explained, this one's marked with +.

    Args:
        file: the one file, `dinov2_edu.dinov2`.
        chapter: 1 to 7; 7 has every line.

    Raises:
        ValueError: there is no such chapter.
    """
    from IPython.display import Markdown, display

    require(chapter in range(1, 8), f"the step grows from chapter 1 to 7, got {chapter}")
    shown = []
    for function in (file.teacher_targets, file.student_losses, file.train_step):
        head, *body = (line for line in _code_of(function).splitlines() if line.strip())
        known = [(next((n for n, words in _CHAPTERS if re.search(words, line)), 6), line) for line in body]
        if min(n for n, _ in known) > chapter:
            continue
        shown.append(f"  {head}")
        for n, line in known:
            if n <= chapter:
                shown.append(f"{'+' if n == chapter else ' '} {line}")
            elif shown[-1] != "      ...":
                shown.append("      ...")
        shown.append("")
    display(Markdown("```diff\n" + "\n".join(shown).rstrip() + "\n```"))


def _code_of(function: Callable) -> str:
    """A function's source without its docstring."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    first = ast.parse("\n".join(lines)).body[0]
    assert isinstance(first, ast.FunctionDef)
    body = first.body[1 if ast.get_docstring(first) is not None else 0]
    return "\n".join([lines[first.lineno - 1], *lines[body.lineno - 1 :]])


def _shorten_docstring(code: str) -> str:
    lines = code.splitlines(keepends=True)
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    nodes.sort(key=lambda node: node.lineno, reverse=True)  # what is cut moves only what follows
    for node in nodes:
        if ast.get_docstring(node) is None:
            continue
        text = node.body[0]
        end = text.end_lineno or text.lineno
        if end > text.lineno:
            first = lines[text.lineno - 1].rstrip()
            lines[text.lineno - 1 : end] = [f'{first}"""\n']
    return "".join(lines)


@checked
def show_table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Show a table whose cells a screen reader can walk, and that a phone can scroll.

    The first column is set to the left, and so is each other in which fewer than half of the values begin as a number
    does.

    Args:
        header: a title for each column.
        rows: one value for each column.

    Raises:
        ValueError: a row has more or fewer values than there are columns.
    """
    from IPython.display import Markdown, display

    lines = []
    for row in (header, *rows):
        require(len(row) == len(header), f"wanted {len(header)} values a row, got {list(row)}")
        lines.append([str(value).replace("|", "\\|") for value in row])
    begin = [
        [bool(re.match(r"[-+]?[\d.]", cell)) for cell in column[1:]] for column in zip(*lines, strict=True)
    ]
    lines.insert(1, [":--", *("--:" if 2 * sum(numbers) >= len(numbers) else ":--" for numbers in begin[1:])])
    display(Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines)))


@checked
def live_curves(every: int = 5) -> Callable[[Any], None]:
    """A callback for `training.FitOptions.on_log`: the curves of a run, in one figure that grows in place.

    Args:
        every: records between two drawings; the last record of the run is always drawn.

    Raises:
        ValueError: `every` is below 1.
    """
    from dinov2_edu.plots.panels import plot_history

    check_at_least(1, every=every)
    place = uuid4().hex
    begun = False

    def draw(state: Any) -> None:
        nonlocal begun
        last = state.step == state.config.steps
        if len(state.history["step"]) % every and not last:
            return
        plot_history(state.history).publish(place, update=begun)
        begun = True

    return draw


_WRONG: Counter[str] = Counter()
"""Wrong answers to each exercise, one after the other."""


@checked
def check(name: str, function: Callable[..., Any]) -> None:
    """Judge a reader's solution of an exercise and print what was found; a wrong answer raises nothing.

    The second wrong answer brings a hint, and so does each after it.

    Args:
        name: chapter and exercise, such as `"losses.koleo"`.
        function: the reader's function.

    Raises:
        ValueError: there is no such exercise, or `function` cannot be called.
    """
    exercise = find_exercise(name)
    generator = torch.Generator()
    generator.seed()  # fresh inputs every time: a solution must not fit one draw
    with torch.random.fork_rng(devices=[]):  # a reference may be a module, whose weights are drawn first
        verdict = examine(exercise, function, generator=generator)
    print(verdict.message)
    wrong = not verdict.passed and verdict.written
    _WRONG[name] = _WRONG[name] + 1 if wrong else 0
    if _WRONG[name] > 1:
        print(f"Hint: {exercise.hint}")
    pair = verdict.theirs, verdict.wanted
    if all(isinstance(one, Tensor) for one in pair) and pair[0].shape == pair[1].shape:
        _show_difference(*(one.detach().cpu().double().numpy() for one in pair))


def _show_difference(theirs: np.ndarray, wanted: np.ndarray) -> None:
    """Draw two curves or matrices that should be equal; fewer numbers say more without a picture."""
    from IPython.display import display

    from dinov2_edu.plots import charts, style

    if theirs.ndim == 1 and theirs.size >= 12:
        display(charts.plot_curves({"yours": theirs, "wanted": wanted}, x_label="entry", y_label="value"))
    if theirs.ndim != 2 or min(theirs.shape) < 4:
        return
    figure, axes = style.figure(2.2, columns=3)
    panels = {"yours": theirs, "wanted": wanted, "difference": abs(theirs - wanted)}
    for axis, (title, values) in zip(axes[0], panels.items(), strict=True):
        limits = {} if title == "difference" else {"vmin": wanted.min(), "vmax": wanted.max()}
        style.bare(axis).imshow(values, aspect="auto", cmap="cividis", **limits)
        axis.set_title(title)
    display(figure)
