"""The commands of `python -m dinov2_edu`: listed and parsed at once, then imported and run in one place."""

import argparse
import importlib
import io
import os
import sys

from dinov2_edu.experiments import parsers

COMMANDS = {
    name: getattr(parsers, name)
    for name in (
        "train",
        "doctor",
        "record",
        "ablations",
        "released",
        "publish",
        "probe",
        "study",
        "dense",
        "features",
        "export",
        "recordings",
        "cache",
    )
}
"""Name -> what declares its options, whose docstring says in a line what the command does.

The module of that name does the work: its `run(options)` returns None or an exit status.
"""

_FROM_HERE = "the same command goes on from here"
_FINISHED_STAY = "the same command goes on: what it had finished is kept, what it was at begins anew"
_ANEW = "nothing is kept on the way: the same command begins anew"
GOES_ON = {
    **dict.fromkeys(("train", "probe", "study", "features"), _FROM_HERE),
    **dict.fromkeys(("ablations", "recordings"), _FINISHED_STAY),
    "record": "the same command begins anew; the file of --out has what was measured until here",
    "released": "the same command goes on: the teacher from here, a student or a last phase from its own beginning",
}
"""Name -> what is true when it is run again after Ctrl-C; a command that is not here begins anew."""

IN_COMMANDS = (
    (
        ", or skip it with on_error='skip'",
        "; or go on without it and its like, by --skip-unreadable",
        "skip_unreadable",
    ),
    ("precision='float32'", "--precision float32", "precision"),
    ('load_backbone("book")', 'the weights "book"', "weights"),
    ("choose another cache_dir", "name another by --cache", "cache"),
    ('load_backbone("vits14")', "by python -m dinov2_edu features", ""),
    ("give heads=", "load it in Python, by load_backbone(..., heads=...)", ""),
    ("raise batch_size, or koleo_weight=0", "start fewer processes", ""),
)
"""What an error advises in Python, the same to whoever typed a command, and the option that the command must have."""

INTERRUPTED = 130  # what a shell makes of Ctrl-C


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<10} {declare.__doc__}" for name, declare in COMMANDS.items()]
    return "\n".join(["usage: python -m dinov2_edu COMMAND [--help]", "", *lines])


def parse(name: str, arguments: list[str]) -> argparse.Namespace:
    """Read a command's arguments; a mistake ends the program with a sentence and status 2."""
    declare = COMMANDS[name]
    parser = argparse.ArgumentParser(prog=f"python -m dinov2_edu {name}", description=declare.__doc__)
    declare(parser)
    return parser.parse_args(arguments)


def say(text: str) -> None:
    """Tell whoever waits what is being done, beside the output; of several processes the first speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the first argument names.

    Returns:
        0 if all went well, 2 after a sentence on what was wrong, 130 after an interruption.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        print(f"error: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    options = parse(name, rest)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file or terminal that cannot write a letter gets another
            stream.reconfigure(errors="replace")
    try:
        if "torch" not in sys.modules:
            say("loading torch")
        status = importlib.import_module(f"dinov2_edu.experiments.{name}").run(options) or 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Exception as error:
        if not expected(error):
            raise
        print(f"error: {in_commands(str(error), options)}", file=sys.stderr)
        return 2
    if status == INTERRUPTED:
        say(f"stopped; {GOES_ON.get(name, _ANEW)}")
    return status


def in_commands(sentence: str, options: argparse.Namespace) -> str:
    """An error's sentence with its advice in the options that this command has."""
    for python, typed, option in IN_COMMANDS:
        if not option or hasattr(options, option):
            sentence = sentence.replace(python, typed)
    return sentence


def expected(error: Exception) -> bool:
    """Whether an error's sentence is meant for whoever typed the command; any other is a bug, with its traceback."""
    return isinstance(error, (ValueError, OSError)) or type(error).__module__.startswith("dinov2_edu.")
