"""What each command can be asked for. No torch here, so that `--help` and a mistyped option are answered at once."""

import argparse
from collections.abc import Callable
from pathlib import Path

from dinov2_edu.files import local_path

PROTOCOL_NAMES = ("logreg", "linear", "knn")
EXPORT_NAMES = ("onnx", "transformers", "timm", "official")
SIDES = (32, 64, 96, 128)
PRESET_NAMES = ("cifar10", "cifar10-gpu", "cifar10-last", "cifar10-second", "cifar10-third", "patterns10")
RUN_NAMES = (
    *("healthy", "no_centering", "no_sharpening", "no_ema", "no_multicrop", "no_koleo"),
    *("stage_dino", "stage_ibot", "stage_koleo", "full", "dino_tuned"),
    *("repair_centering", "repair_sharpening", "repair_koleo"),
    *("heads_centering", "heads_sharpening", "heads_koleo"),
)
RECORDING_NAMES = (
    *("photos-vits14", "photos-vits14_reg4", "photos-vitl14"),
    *("study-vits14", "cifar10-vits14"),
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


def per_cent(text: str) -> float:
    """A share for an option, above 0 and at most 100."""
    value = float(text)
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 100, got {text}")
    return value


def book_or_folder(text: str) -> str | Path:
    """A finished run for an option: "book" for the one that ships (`./book` is a folder of that name), or a folder."""
    return text if text == "book" else local_path(text)


def train(parser: argparse.ArgumentParser) -> None:
    """Pretrain without labels; the same folder again goes on where it stopped."""
    add = parser.add_argument
    parser.epilog = (
        "Own pictures: `train folder runs/mine --data DIR`; the settings follow from what DIR holds."
    )
    add(
        "preset",
        choices=("folder", *PRESET_NAMES),
        help="which data, and which settings for it; folder: own pictures, named by --data",
    )
    add("folder", type=local_path, help="where checkpoint.pt and history.json are kept; resumes from there")
    add("--data", type=local_path, metavar="DIR", help="of preset folder: pictures, in sub-folders or not")
    add(
        "--side",
        type=int,
        choices=SIDES,
        help="of preset folder: pixels to shrink pictures to (default: 32 or 64)",
    )
    _skip_unreadable(add)
    add("--steps", type=at_least(1), help="length of the run and of its schedules, of a new run")
    add("--seed", type=at_least(0), help="of a new run")
    add(
        "--start-from",
        type=book_or_folder,
        metavar="FOLDER",
        help="begin a new run with the networks of this finished one; book: with those that the book ships",
    )
    add(
        "--fresh-heads",
        action="store_true",
        help="with --start-from: keep the backbones alone and draw the heads anew",
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


def doctor(parser: argparse.ArgumentParser) -> None:
    """Say what a training log shows: learning, a plateau or a collapse, why, and what to try."""
    add = parser.add_argument
    add("log", type=local_path, help="history.json, training_metrics.json, metrics.csv, or a folder with one")
    add("--prototypes", type=at_least(2), metavar="K", help="of the heads, where the log does not say it")


def record(parser: argparse.ArgumentParser) -> None:
    """Time a preset's training up to fixed k-NN accuracies: a row for the table of records."""
    add = parser.add_argument
    parser.epilog = "Its rules are in the README, under Records."
    add("preset", choices=PRESET_NAMES, help="which data, and which settings for it")
    add("--seed", type=at_least(0), default=0, help="of the training (default: 0)")
    add("--steps", type=at_least(1), help="length of the run and of its schedules (default: the preset's)")
    add(
        "--targets",
        type=per_cent,
        nargs="+",
        metavar="PERCENT",
        help="k-NN accuracies to note, and to stop after (default: 50 75 90; CIFAR-10: 60 65 70 75)",
    )
    add(
        "--threads",
        type=at_least(1),
        default=2,
        help="of the CPU (default: 2, the most that the rules allow)",
    )
    add("--out", type=local_path, metavar="FILE", help="write the run to a JSON file")
    add("--device", help="cpu or cuda (default: cuda where there is one)")


def ablations(parser: argparse.ArgumentParser) -> None:
    """Train the runs with one part missing that chapter 07 shows; a finished one is not trained again."""
    add = parser.add_argument
    add("--folder", type=local_path, help="where the recorded runs are kept (default: the package's own)")
    add("--steps", type=at_least(1), help="length of each run, to try the command out")
    add("--only", choices=RUN_NAMES, help="train just this one")
    add("--seed", type=at_least(0), help="train from this seed alone (default: each run's own ones)")


def released(parser: argparse.ArgumentParser) -> None:
    """Train the teacher and the students that chapter 12 shows; a finished one is not trained again."""
    add = parser.add_argument
    add("folder", type=local_path, help="where the teacher's checkpoint is kept")
    add("--out", type=local_path, metavar="FILE", help="of what was measured (default: the package's own)")


def publish(parser: argparse.ArgumentParser) -> None:
    """Make a trained run the book's own checkpoint, with its model card."""
    add = parser.add_argument
    add("runs", type=local_path, nargs="+", help="folders with checkpoint.pt, in order")
    add(
        "--hours",
        type=at_least(0, float),
        nargs="+",
        metavar="H",
        required=True,
        help="how long each run took, in their order",
    )
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


def dense(parser: argparse.ArgumentParser) -> None:
    """Segment and match scenes with known masks by frozen patch tokens, or follow that over a training."""
    add = parser.add_argument
    add(
        "--weights",
        metavar="NAME",
        help="vits14, book, a file ... (default: best at hand); not with --follow",
    )
    add("--scenes", type=at_least(3), metavar="N", help="of each kind (default: 240); not with --follow")
    add("--seed", type=at_least(0), default=0, help="of scenes and folds; with --follow of the training")
    add("--follow", action="store_true", help="train the patterns10 preset and test it on the way")
    add("--steps", type=at_least(1), help="of --follow: length of the run (default: the preset's)")
    add("--every", type=at_least(1), help="of --follow: steps between two tests (default: 100)")
    add("--out", type=local_path, metavar="FILE", help="write the numbers to a JSON file")
    add("--device", help="cpu, cuda ... (default: cuda where there is one)")


def recordings(parser: argparse.ArgumentParser) -> None:
    """Compute once what official weights give, for pages to show; what is there already is not made again."""
    add = parser.add_argument
    add("--folder", type=local_path, help="where they are kept (default: in the package's cache)")
    add("--only", nargs="+", choices=RECORDING_NAMES, metavar="NAME", help=", ".join(RECORDING_NAMES))
    add("--check", action="store_true", help="make nothing: say of each whether it is there and whole")
    add("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")


def cache(parser: argparse.ArgumentParser) -> None:
    """Say where features and pictures are kept and how much they take; with --clear, remove all but recordings."""
    parser.add_argument(
        "--clear",
        action="store_true",
        help="remove features and pictures, which the next call makes again; recordings of official weights stay",
    )


def _pictures_and_model(parser: argparse.ArgumentParser) -> None:
    """What probe and study share."""
    parser.epilog = (
        "Own pictures: --data, or --train and --test, name folders with a subfolder for each class."
    )
    add = parser.add_argument
    _weights(add)
    add(
        "--data",
        type=local_path,
        metavar="DIR",
        help="pictures to learn from and to be judged by: one in five is held out, as in `train folder`",
    )
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
    _extraction(add)


def features(parser: argparse.ArgumentParser) -> None:
    """Turn a folder of pictures into a table of features, a row each: a file for numpy or a Parquet file."""
    add = parser.add_argument
    add("data", type=local_path, metavar="DIR", help="pictures, in sub-folders or not")
    add("out", type=local_path, metavar="OUT", help="what to write: its name ends in .npz or .parquet")
    _weights(add)
    add(
        "--size", type=at_least(1), metavar="PIXELS", help="input size (default: one that suits the backbone)"
    )
    _extraction(add)


def export(parser: argparse.ArgumentParser) -> None:
    """Write a backbone for other programs: ONNX, or the names of transformers, timm or the official files."""
    add = parser.add_argument
    add("weights", help="a run's folder, a file, or vits14, vits14_reg4, book ...")
    add("out", type=local_path, metavar="OUT", help="a file; with --to transformers a folder")
    add("--to", choices=EXPORT_NAMES, help="whose form (default: by the ending of OUT, .onnx)")
    add(
        "--size",
        type=at_least(1),
        metavar="PIXELS",
        help="of ONNX: side of its pictures (default: the model's)",
    )


def _weights(add: Callable) -> None:
    add(
        "--weights",
        metavar="NAME",
        help="vits14, vits14_reg4, book, random ..., a run's folder or a file (default: best at hand)",
    )


def _skip_unreadable(add: Callable) -> None:
    add(
        "--skip-unreadable",
        action="store_true",
        help="name pictures that cannot be read and go on without them",
    )


def _extraction(add: Callable) -> None:
    """How features are extracted, wherever they are."""
    _skip_unreadable(add)
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
