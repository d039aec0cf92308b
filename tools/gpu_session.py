"""One short session on a GPU: its tests, its speeds, and training until the time is up.

    python -m tools.gpu_session OUT --minutes 9

Writes to OUT: `tests.txt`, `speeds.json`, the run's folder `run` with a checkpoint every minute and its history, and
at the end `weights`, the teacher in half precision with its heads and a card. By default the schedules fit into this
session; for several, say at the first how long they are together (`--train-minutes`), and give the same OUT again.

Needs torch, pytest, pytest-timeout, beartype, what the package itself needs, and CIFAR-10 (`DINOV2_EDU_CIFAR10`). The
pictures lie in the GPU's memory as bytes, and crops are made there. `--device cpu --small` tries all of it without a
GPU, with a few pictures and a tiny network.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from dinov2_edu.checks import require
from dinov2_edu.data import ImageSet, load_cifar10, patterns10
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.inputs import device_of
from dinov2_edu.experiments.presets import cifar10_gpu_run, patterns10_run
from dinov2_edu.experiments.provenance import commit, machine_of
from dinov2_edu.experiments.publish import heads_of, stage_of
from dinov2_edu.experiments.train import report
from dinov2_edu.features import BLOG_POST, ExtractOptions, extract_features
from dinov2_edu.files import write_whole
from dinov2_edu.training.checkpoint import load_checkpoint
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.folder import CHECKPOINT
from dinov2_edu.training.loop import FitOptions, TrainingStopped, fit
from dinov2_edu.training.state import TrainState, build_state, training_precision
from dinov2_edu.training.step import draw_batch, train_step
from dinov2_edu.training.streams import step_generator
from dinov2_edu.vit import vit_small
from dinov2_edu.weights import save_book_checkpoint

TESTS = ("test_training_gpu.py", "test_crops.py", "test_masking.py", "test_features.py")
"""The files with tests marked `gpu`; a test holds the list to them."""
TESTS_AT_MOST, ONE_TEST_AT_MOST = 120, 40
"""Seconds for the tests that need a GPU, all and one."""
AT_THE_END = 40
"""Seconds kept for the last checkpoint and the last evaluation."""


def main(words: list[str] | None = None) -> int:
    """Do what is left to do.

    Returns:
        0; 1 where a test failed, in this session or before, which stops nothing; 2 where the run collapsed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_session", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("out", type=Path, help="folder of results; the same again goes on")
    add("--minutes", type=float, default=9.0, help="of this session, all in all (default: 9)")
    add("--train-minutes", type=float, help="of training in all sessions (default: what this one has left)")
    add("--device", default="cuda")
    add("--small", action="store_true", help="few pictures and a tiny network, to try it out")
    options = parser.parse_args(words)
    end = time.monotonic() + 60 * options.minutes - AT_THE_END
    device, out = device_of(options.device), options.out
    require(
        device.type == "cuda" or options.small, "without a GPU, add --small: the whole run takes days here"
    )
    out.mkdir(parents=True, exist_ok=True)
    tests = None if device.type == "cpu" or (out / "tests.txt").exists() else start_tests()
    train, test = sets(options.small)  # meanwhile
    status = tests_passed(out, tests)
    images, checkpoint = train.images.to(device), out / "run" / CHECKPOINT
    base = patterns10_run() if options.small else cifar10_gpu_run()
    speeds = training_speeds(base, images, device, out / "speeds.json")
    if checkpoint.exists():
        state = load_checkpoint(checkpoint, device)
    else:
        minutes = options.train_minutes or (end - time.monotonic()) / 60
        state = build_state(planned(base, speeds, minutes), device)
    try:
        follow(state, images, (train, test), out / "run", speeds, end)
    except TrainingStopped as error:
        print(f"stopped: {error}", flush=True)
        status = 2
    keep_small(state, (train, test), out / "weights")
    if end - time.monotonic() > 0:
        other_speeds(test, device, out / "speeds.json")
    print((out / "speeds.json").read_text(), flush=True)
    return status


# ---- tests ----


def start_tests() -> subprocess.Popen:
    """Begin the tests marked `gpu`, which run while pictures are read."""
    folder = Path(__file__).parents[1] / "tests"
    command = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider"]
    command += ["-o", f"timeout={ONE_TEST_AT_MOST}", *(str(folder / name) for name in TESTS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def tests_passed(out: Path, tests: subprocess.Popen | None) -> int:
    """Wait for them and keep their words in `tests.txt`, the exit status first; 0 where all passed, then and now."""
    if tests is not None:
        try:
            said, _ = tests.communicate(timeout=TESTS_AT_MOST)
            first = f"exit status {tests.returncode}"
        except subprocess.TimeoutExpired:
            tests.kill()
            said, _ = tests.communicate()
            first = f"not finished in {TESTS_AT_MOST} s"
        write_whole(out / "tests.txt", f"{first}\n{said}")
        print(f"{first}\n{said[-3000:]}", flush=True)
    file = out / "tests.txt"
    return int(file.exists() and not file.read_text().startswith("exit status 0\n"))


# ---- pictures and speeds ----


def sets(small: bool) -> tuple[ImageSet, ImageSet]:
    """Training and test pictures; labels serve evaluation alone."""
    if small:
        return patterns10(600), patterns10(200, split="test")
    return load_cifar10("train"), load_cifar10("test")


def rate(work: Callable[[], int], device: torch.device, seconds: float = 4.0) -> dict[str, float]:
    """Pictures a second of something that says how many it has worked through, and the seconds before it could run.

    Its first two calls do not count: they compile, and libraries start up.
    """
    begun = time.perf_counter()
    for _ in range(2):
        work()
    wait(device)
    start, n = time.perf_counter(), 0
    while n == 0 or time.perf_counter() - start < seconds:
        n += work()
        wait(device)
    return {
        "images a second": round(n / (time.perf_counter() - start), 1),
        "start-up seconds": round(start - begun, 1),
    }


def wait(device: torch.device) -> None:
    """Until all that was started there has ended."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(name: str, work: Callable[[], int], device: torch.device, path: Path) -> None:
    """Add a rate to the file, or what kept it from being measured, unless it is there."""
    content = json.loads(path.read_text()) if path.exists() else {}
    content.setdefault("rates", {})
    if name in content["rates"]:
        return
    try:
        content["rates"][name] = rate(work, device)
    except Exception as error:  # no compiler, no room: the training can go on without this number
        content["rates"][name] = {"error": f"{type(error).__name__}: {error}"[:500]}
    content |= {"machine": machine_of(device), "torch": torch.__version__, "commit": commit()}
    write_whole(path, json.dumps(content, indent=1) + "\n")


def training_speeds(
    config: TrainConfig, images: torch.Tensor, device: torch.device, path: Path
) -> dict[str, dict]:
    """Rates of the step in each way that it can be made, by name, where they were not measured before."""
    best = training_precision(device)
    ways = [("float32", False), (best, False)]
    if device.type != "cpu":  # there it is minutes of a compiler for one per cent
        ways.append((best, True))
    for precision, compiled in ways:  # what was measured once, under the same name, is not measured again
        name = f"training, {precision}" + ", compiled" * compiled
        made = replace(config, precision=precision, compile=compiled)
        measure(name, steps_of(made, images, device), device, path)
    rates = json.loads(path.read_text())["rates"]
    return {name: one for name, one in rates.items() if name.startswith("training") and "error" not in one}


def steps_of(config: TrainConfig, images: torch.Tensor, device: torch.device) -> Callable[[], int]:
    """A call that makes a step on the first pictures, crops included, and says how many they are."""
    made: list[TrainState] = []

    def step() -> int:
        state = made[0] if made else build_state(config, device)
        made[:] = [state]
        generator = step_generator(state.config, state.step)
        train_step(state, draw_batch(images[: config.batch_size], config, generator), generator)
        return config.batch_size

    return step


@torch.inference_mode()
def other_speeds(test: ImageSet, device: torch.device, path: Path) -> None:
    """Rates of ViT-S/14 on pictures of 224: alone, and with reading, resizing and hashing around it."""
    kind = getattr(torch, training_precision(device))
    model = vit_small(layer_scale=1.0).eval().to(device, kind)
    some = test.subset(range(min(len(test), 16 if device.type == "cpu" else 5_000)))
    batch = BLOG_POST(some.images[:256].to(device)).to(kind)
    measure(f"ViT-S/14 at 224, {kind}".replace("torch.", ""), lambda: len(model(batch).cls), device, path)
    whole, quiet = vit_small(layer_scale=1.0).eval().to(device), ExtractOptions(progress=False)

    def extract() -> int:
        return len(extract_features(whole, some, preprocessing=BLOG_POST, options=quiet).cls)

    measure("extract_features of it, from bytes", extract, device, path)


# ---- training ----


def planned(config: TrainConfig, speeds: dict[str, dict], minutes: float) -> TrainConfig:
    """The config made in the way that gets through most pictures in so many minutes, and as many steps as fit.

    Raises:
        ValueError: no way of a step could be measured.
    """
    require(bool(speeds), "no step could be made on this device: see speeds.json")
    pictures = {
        name: one["images a second"] * max(60 * minutes - one["start-up seconds"], 0)
        for name, one in speeds.items()
    }
    best = max(pictures, key=pictures.__getitem__)
    steps = max(int(pictures[best] / config.batch_size), 2 * config.warmup_steps)
    return replace(config, precision=best.split(", ")[1], compile="compiled" in best, steps=steps)


def follow(
    state: TrainState,
    images: torch.Tensor,
    labelled: tuple[ImageSet, ImageSet],
    folder: Path,
    speeds: dict[str, dict],
    end: float,
) -> None:
    """Train until the schedules or the time end, and say where it stands."""
    best = max(one["images a second"] for one in speeds.values())
    a_minute = max(1, int(60 * best / state.config.batch_size))

    def look_at_the_clock(state: TrainState) -> None:
        if time.monotonic() > end:
            raise KeyboardInterrupt  # fit keeps what was learnt

    watch = FitOptions(
        evaluate=knn_evaluator(*labelled),
        evaluate_every=2 * a_minute,
        checkpoint_every=a_minute,
        folder=folder,
        on_log=look_at_the_clock,
        progress=False,
    )
    fit(state, images, watch)
    report(state, folder)


def keep_small(state: TrainState, labelled: tuple[ImageSet, ImageSet], folder: Path) -> None:
    """Write the teacher and the heads in half precision with what they reach, small enough to be sent."""
    knn = knn_evaluator(*labelled, n_train=len(labelled[0]))(state.teacher.backbone)
    share = f"{state.step:,} of {state.config.steps:,} steps of its schedules"
    print(f"k-NN {knn:.1%} with all {len(labelled[0]):,} neighbours, after {share}", flush=True)
    card = {"accuracy": {"book": {"knn": knn}}, "stages": [stage_of(state)], "state": share}
    save_book_checkpoint(state.teacher.backbone, card, folder, heads=heads_of(state))


if __name__ == "__main__":
    raise SystemExit(main())
