"""The commands of `python -m dinov2_edu`, each in a module of its own that is imported when it is called."""

import importlib
import sys

COMMANDS = {
    "train": "pretrain without labels; the same folder again goes on where it stopped",
    "ablations": "train the runs with one part missing that chapter 07 shows",
    "publish": "make a trained run the book's own checkpoint, with its model card",
    "probe": "k-NN and logistic regression on frozen features",
    "study": "vary preprocessing and C, and print what each is worth",
}
"""What each command does, in a line."""


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<10} {what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: python -m dinov2_edu COMMAND [--help]", "", *lines])


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the first argument names.

    Returns:
        0 if all went well, 2 after a sentence on what was wrong.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"error: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    if name == "study":
        name, rest = "probe", ["--study", *rest]
    return importlib.import_module(f"dinov2_edu.experiments.{name}").main(rest) or 0
