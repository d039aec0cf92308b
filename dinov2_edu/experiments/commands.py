"""The commands of `python -m dinov2_edu`: listed and parsed at once, then imported and run in one place."""

import argparse
import importlib
import os
import sys

from dinov2_edu.experiments import parsers

COMMANDS = {
    name: getattr(parsers, name) for name in ("train", "ablations", "publish", "probe", "study", "cache")
}
"""Name -> what declares its options, whose docstring says in a line what the command does.

The module of that name does the work: its `run(options)` returns None or an exit status.
"""

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
    try:
        if "torch" not in sys.modules:
            say("loading torch")
        return importlib.import_module(f"dinov2_edu.experiments.{name}").run(options) or 0
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if not expected(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def expected(error: Exception) -> bool:
    """Whether an error's sentence is meant for whoever typed the command; any other is a bug, with its traceback."""
    return isinstance(error, (ValueError, OSError)) or type(error).__module__.startswith("dinov2_edu.")
