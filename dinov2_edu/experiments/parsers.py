"""What each command can be asked for. No torch here, so that `--help` and a mistyped option are answered at once."""

import argparse
from collections.abc import Callable

from dinov2_edu.files import local_path

PROTOCOL_NAMES = ("logreg", "linear", "knn")
PRESET_NAMES = ("cifar10", "cifar10-second", "patterns10")
RUN_NAMES = (
    *("healthy", "no_centering", "no_sharpening", "no_ema", "no_multicrop", "no_koleo"),
    *("stage_dino", "stage_ibot", "stage_koleo", "full"),
)


def at_least(lowest: float, kind: type = int) -> Callable[[str], float]:
    """A type for an option: a finite number of `kind` that is not below `lowest`."""

    def number(text: str) -> float:
        value = kind(text)
        if not lowest <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {lowest}, got {text}")
        return value

    number.__name__ = "whole number" if kind is int else "number"  # what argparse calls it
    return number


def train(parser: argparse.ArgumentParser) -> None:
    """Pretrain without labels; the same folder again goes on where it stopped."""
    add = parser.add_argument
    add("preset", choices=PRESET_NAMES, help="which data, and which settings for it")
    add("folder", type=local_path, help="where checkpoint.pt and history.json are kept; resumes from there")
    add("--steps", type=at_least(1), help="length of the run and of its schedules, of a new run")
    add("--seed", type=at_least(0), help="of a new run")
    add(
        "--start-from",
        type=local_path,
        metavar="FOLDER",
        help="begin a new run with the networks of this finished one",
    )
    add(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        help="of a new run; auto: bfloat16 where the chip has units for it (default: the preset's)",
    )
    add("--until", type=at_least(1), help="stop after this step; run again to go on")
    add("--device", help="cpu or cuda (default: cuda where there is one)")
    add("--checkpoint-every", type=at_least(1), default=500, help="steps between two checkpoints")
    add("--evaluate-every", type=at_least(1), default=500, help="steps between two k-NN accuracies")


def ablations(parser: argparse.ArgumentParser) -> None:
    """Train the runs with one part missing that chapter 07 shows; a finished one is not trained again."""
    add = parser.add_argument
    add("--folder", type=local_path, help="where the recorded runs are kept (default: the package's own)")
    add("--steps", type=at_least(1), help="length of each run, to try the command out")
    add("--only", choices=RUN_NAMES, help="train just this one")


def publish(parser: argparse.ArgumentParser) -> None:
    """Make a trained run the book's own checkpoint, with its model card."""
    add = parser.add_argument
    add("runs", type=local_path, nargs="+", help="folders with checkpoint.pt, in order")
    add("--hours", type=at_least(0, float), required=True, help="how long the runs took together")
    add("--device", help="what they ran on, in words (default: the kind of processor)")
    add(
        "--folder",
        type=local_path,
        help="where book.safetensors is written (default: the package's own)",
    )


def probe(parser: argparse.ArgumentParser) -> None:
    """Classify by k-NN and logistic regression on frozen features, which are cached: the same command goes on."""
    _pictures_and_model(parser)
    add = parser.add_argument
    add(
        "--size", type=at_least(1), metavar="PIXELS", help="input size (default: one that suits the backbone)"
    )
    add(
        "--layers",
        type=at_least(1),
        metavar="N",
        help="fit also on the class tokens of the last N blocks and the mean patch token (the paper's linear "
        "evaluation: 1 or 4)",
    )
    add(
        "--protocol",
        choices=PROTOCOL_NAMES,
        help="evaluate as the official script of that name does, instead of as this book does",
    )
    add(
        "--steps",
        type=at_least(1),
        help="of --protocol linear, 128 pictures each (default: the official 12,500)",
    )


def study(parser: argparse.ArgumentParser) -> None:
    """Vary normalisation, interpolation, input size and C, and print what each is worth."""
    _pictures_and_model(parser)
    add = parser.add_argument
    add("--sizes", type=at_least(1), nargs="+", metavar="PIXELS", help="input sizes (default: three)")
    add("--out", type=local_path, metavar="FILE", help="write every cell to a CSV file")


def cache(parser: argparse.ArgumentParser) -> None:
    """Say where features and pictures are kept and how much they take; with --clear, remove them."""
    parser.add_argument("--clear", action="store_true", help="remove them; the next call makes them again")


def _pictures_and_model(parser: argparse.ArgumentParser) -> None:
    """What probe and study share."""
    parser.epilog = "Own pictures: --train and --test name folders with a subfolder for each class."
    add = parser.add_argument
    add("--weights", metavar="NAME", help="vits14, vits14_reg4, book, random ... (default: best at hand)")
    add(
        "--train",
        type=local_path,
        metavar="FOLDER",
        help="training pictures (default: CIFAR-10, or Patterns10 with a notice)",
    )
    add("--test", type=local_path, metavar="FOLDER", help="test pictures; goes with --train")
    add(
        "--limit",
        type=at_least(1),
        metavar="N",
        help="at most N training and N test pictures, spread over the classes",
    )
    add("--c", type=float, nargs="+", metavar="C", help="values of C to choose from (default: six decades)")
    add("--all-c", action="store_true", help="the official evaluation's 45 values of C")
    add(
        "--skip-unreadable",
        action="store_true",
        help="name pictures that cannot be read and go on without them",
    )
    add("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    add(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="of the features (default: auto, half precision where the chip has it)",
    )
    add(
        "--cache", type=local_path, metavar="FOLDER", help="of the features (default: in the package's cache)"
    )
