"""Exercises that check themselves: a reader's function beside the package's, on fresh random input.

Each chapter has a module here with a dictionary `EXERCISES`. A notebook asks for one by chapter and name,
`check("losses.koleo", my_koleo)`; `dinov2_edu.notebook.check` prints what `examine` below finds.
"""

import copy
import dis
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from dinov2_edu.checks import checked, describe, require
from dinov2_edu.exercises.compare import difference

N_DRAWS = 4
"""Fresh random inputs that a reader's function has to answer."""


@dataclass(frozen=True)
class Exercise:
    """One function that a reader writes.

    Attributes:
        task: what the function computes, from what, in words; it completes "wanted: ...".
        reference: the package's function. It gets the same inputs, and its result is the right one.
        make_inputs: draws the inputs, name to value, from a `torch.Generator`. They are passed by position,
            in the dictionary's order. Shapes should differ between draws where the function allows it.
        hint: one sentence for a reader who is stuck; it comes with the second wrong answer.
        mistakes: what went wrong, in words that complete "It looks as if ...", to a function that does it
            wrong in that way. These words are shown for a result that equals its result.
        tolerance: largest absolute or relative difference that passes.
    """

    task: str
    reference: Callable[..., Any]
    make_inputs: Callable[[torch.Generator], Mapping[str, Any]]
    hint: str
    mistakes: Mapping[str, Callable[..., Any]] = field(default_factory=lambda: MappingProxyType({}))
    tolerance: float = 1e-4


@dataclass(frozen=True)
class Verdict:
    """What `examine` found: whether all draws passed, in words, the two results that differ, if any, and whether there
    was anything to judge."""

    passed: bool
    message: str
    theirs: Any = None
    wanted: Any = None
    written: bool = True


@checked
def find_exercise(name: str) -> Exercise:
    """Look an exercise up by `chapter.name`, such as `"losses.koleo"`.

    Raises:
        ValueError: no such chapter or exercise; the message lists what there is.
    """
    chapter, _, exercise = name.partition(".")
    module = f"{__name__}.{chapter}"
    known = chapter.isidentifier() and importlib.util.find_spec(module) is not None
    require(known, f"no chapter {chapter!r}: exercises are named chapter.name, such as 'losses.koleo'")
    exercises = importlib.import_module(module).EXERCISES
    choices = ", ".join(f"{chapter}.{one}" for one in sorted(exercises))
    require(exercise in exercises, f"there is no exercise {name!r}; this chapter has {choices}")
    return exercises[exercise]


@checked
def examine(exercise: Exercise, function: Callable[..., Any], *, generator: torch.Generator) -> Verdict:
    """Run a reader's function on fresh inputs and hold each result to the reference's.

    A wrong answer is no error here: an exception in the reader's function becomes part of the verdict.

    Raises:
        ValueError: `function` cannot be called.
    """
    require(callable(function), f"wanted your function itself, without brackets, got {describe(function)}")
    if _unwritten(function):
        message = f"Your turn. Wanted: {exercise.task}.\nGiven: {_given(exercise.make_inputs(generator))}."
        return Verdict(False, message, written=False)
    for _ in range(N_DRAWS):
        inputs = dict(exercise.make_inputs(generator))
        wanted = exercise.reference(*copy.deepcopy(list(inputs.values())))
        given = copy.deepcopy(list(inputs.values()))
        try:
            theirs = function(*given)
        except Exception as error:
            return _failed(exercise, inputs, f"your function raised {type(error).__name__}: {error}")
        problem = difference(theirs, wanted, tolerance=exercise.tolerance)
        if problem:
            problem += _known_mistake(exercise, inputs, theirs)
            return _failed(exercise, inputs, problem, theirs, wanted)
        changed = _changed_input(inputs, given)
        if changed:
            return _failed(
                exercise, inputs, f"the result is right, but your function changed its input {changed}"
            )
    return Verdict(True, f"Solved: your function gives {exercise.task}, on {N_DRAWS} fresh random inputs.")


def _failed(exercise: Exercise, inputs: Mapping[str, Any], problem: str, *results: Any) -> Verdict:
    lines = [f"Not yet: {problem}.", f"Wanted: {exercise.task}.", f"Given: {_given(inputs)}."]
    return Verdict(False, "\n".join(lines), *results)


_NOTHING = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
"""What a function does whose body is a docstring and `...`."""


def _unwritten(function: Callable[..., Any]) -> bool:
    """Whether a function is the stub that the exercise gives."""
    steps = list(dis.get_instructions(function)) if inspect.isfunction(function) else []
    returned = {step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")}
    return returned == {None} and {step.opname for step in steps} <= _NOTHING


def _given(inputs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_short(value)}" for name, value in inputs.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else describe(value)


def _changed_input(inputs: Mapping[str, Any], given: list) -> str:
    """Name the first tensor, or list of tensors, that the reader's function changed, or "" if there is none."""
    for (name, before), now in zip(inputs.items(), given, strict=True):
        if isinstance(before, (torch.Tensor, list)) and difference(now, before, tolerance=0):
            return name
    return ""


def _known_mistake(exercise: Exercise, inputs: Mapping[str, Any], theirs: Any) -> str:
    for words, wrong in exercise.mistakes.items():
        if not difference(theirs, wrong(*copy.deepcopy(list(inputs.values()))), tolerance=exercise.tolerance):
            return f". It looks as if {words}"
    return ""
