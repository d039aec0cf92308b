"""One short session on a GPU: its tests, its speeds, and training until the time is up.

    python -m tools.gpu_session OUT --minutes 9          a second run with the same OUT goes on with the training

Writes to OUT: `tests.txt`, `speeds.json`, and the folder `run` with a checkpoint every minute and the run's history.
The pictures lie in the GPU's memory as bytes, and crops are made there. `--device cpu --small` tries all of it without
a GPU, with a few pictures and a tiny network.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from dinov2_edu.data import ImageSet, load_cifar10, patterns10
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.inputs import device_of
from dinov2_edu.experiments.presets import cifar10_gpu_run, patterns10_run
from dinov2_edu.experiments.provenance import commit, machine_of
from dinov2_edu.experiments.train import report
from dinov2_edu.features import ExtractOptions, extract_features
from dinov2_edu.features.preprocessing import BLOG_POST
from dinov2_edu.files import write_whole
from dinov2_edu.training.checkpoint import load_checkpoint
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.folder import CHECKPOINT
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.state import TrainState, build_state, training_precision
from dinov2_edu.training.step import draw_batch, train_step
from dinov2_edu.training.streams import step_generator
from dinov2_edu.vit import vit_small

TESTS_AT_MOST = 150
"""Seconds for the tests that need a GPU."""
AT_THE_END = 40
"""Seconds kept for the last checkpoint and the last evaluation."""


def main(words: list[str] | None = None) -> int:
    """Do what is left to do; the exit status is 1 where a test failed, which stops nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.gpu_session", description=__doc__.partition("\n")[0]
    )
    add = parser.add_argument
    add("out", type=Path, help="folder of results; the same again goes on")
    add("--minutes", type=float, default=9.0, help="of this session, all in all (default: 9)")
    add("--train-minutes", type=float, default=11.0, help="of training in all sessions (default: 11)")
    add("--device", default="cuda")
    add("--small", action="store_true", help="few pictures and a tiny network, to try it out")
    options = parser.parse_args(words)
    end = time.monotonic() + 60 * options.minutes
    device = device_of(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    status = 0 if options.device == "cpu" else run_tests(options.out)
    train, test = sets(options.small)
    images = train.images.to(device)
    checkpoint = options.out / "run" / CHECKPOINT
    if checkpoint.exists():
        state = load_checkpoint(checkpoint, device)
        speeds = json.loads((options.out / "speeds.json").read_text())
    else:
        config = patterns10_run() if options.small else cifar10_gpu_run()
        speeds = measured(config, images, test, device)
        write_whole(options.out / "speeds.json", json.dumps(speeds, indent=1) + "\n")
        state = build_state(planned(config, speeds, options.train_minutes), device)
    print(json.dumps(speeds, indent=1), flush=True)
    follow(state, images, (train, test), options.out / "run", speeds, end)
    return status


def run_tests(out: Path) -> int:
    """Run the tests marked `gpu` once; their words are kept in `tests.txt`."""
    if (out / "tests.txt").exists():
        return 0
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TESTS_AT_MOST, check=False)
        words, status = done.stdout + done.stderr, int(done.returncode != 0)
    except subprocess.TimeoutExpired:
        words, status = f"not finished in {TESTS_AT_MOST} s\n", 1
    write_whole(out / "tests.txt", words)
    print(words[-3000:], flush=True)
    return status


def sets(small: bool) -> tuple[ImageSet, ImageSet]:
    """Training and test pictures; labels serve evaluation alone."""
    if small:
        return patterns10(600), patterns10(200, split="test")
    return load_cifar10("train"), load_cifar10("test")


def rate(work: Callable[[], int], device: torch.device, seconds: float = 4.0) -> float:
    """Pictures a second of something that says how many it has worked through; its first two calls do not count."""
    n, start = 0, 0.0
    for turn in range(10_000):
        if turn == 2:
            wait(device)
            n, start = 0, time.perf_counter()
        n += work()
        if turn > 2 and time.perf_counter() - start > seconds:
            break
    wait(device)
    return round(n / (time.perf_counter() - start), 1)


def wait(device: torch.device) -> None:
    """Until all that was started there has ended."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured(config: TrainConfig, images: torch.Tensor, test: ImageSet, device: torch.device) -> dict:
    """Pictures a second of training, feature extraction and the backbone alone, on this machine."""
    precision = training_precision(device)
    rates = {}
    for name, kind, compiled in (
        ("training, float32", "float32", False),
        (f"training, {precision}", precision, False),
        (f"training, {precision}, compiled", precision, True),
    ):
        if compiled and device.type == "cpu":
            continue  # minutes of a compiler for one per cent
        state = build_state(replace(config, precision=kind, compile=compiled), device)
        rates[name] = rate(partial(one_step, state, images), device)
    small = vit_small(layer_scale=1.0).eval().to(device)
    half = vit_small(layer_scale=1.0).eval().to(device, getattr(torch, precision))
    some = test.subset(range(min(len(test), 16 if device.type == "cpu" else 5_000)))
    quiet = ExtractOptions(progress=False)
    rates["extraction, ViT-S/14 at 224"] = rate(
        lambda: len(extract_features(small, some, preprocessing=BLOG_POST, options=quiet).cls), device
    )
    batch = BLOG_POST(some.images[:256].to(device)).to(getattr(torch, precision))
    with torch.inference_mode():
        rates[f"backbone, ViT-S/14 at 224, {precision}"] = rate(lambda: len(half(batch).cls), device)
    return {
        "machine": machine_of(device),
        "torch": torch.__version__,
        "commit": commit(),
        "images a second": rates,
    }


def one_step(state: TrainState, images: torch.Tensor) -> int:
    """A step on the first pictures, crops included."""
    generator = step_generator(state.config, state.step % state.config.steps)
    train_step(state, draw_batch(images[: state.config.batch_size], state.config, generator), generator)
    return state.config.batch_size


def planned(config: TrainConfig, speeds: dict, minutes: float) -> TrainConfig:
    """The config with the faster way of a step, and as many steps as fit into the time for training."""
    rates = {name: one for name, one in speeds["images a second"].items() if name.startswith("training")}
    best = max(rates, key=rates.__getitem__)
    steps = max(int(rates[best] * 60 * minutes / config.batch_size), 2 * config.warmup_steps)
    precision = best.split(", ")[1]
    return replace(config, precision=precision, compile="compiled" in best, steps=steps)


def follow(
    state: TrainState,
    images: torch.Tensor,
    labelled: tuple[ImageSet, ImageSet],
    folder: Path,
    speeds: dict,
    end: float,
) -> None:
    """Train until the schedules or the time end, and say where it stands."""
    best = max(one for name, one in speeds["images a second"].items() if name.startswith("training"))
    a_minute = max(1, int(60 * best / state.config.batch_size))

    def look_at_the_clock(state: TrainState) -> None:
        if time.monotonic() > end - AT_THE_END:
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
    accuracy = knn_evaluator(*labelled, n_train=len(labelled[0]))(state.teacher.backbone)
    print(
        f"step {state.step:,} of {state.config.steps:,}: k-NN {accuracy:.1%} with all {len(labelled[0]):,} neighbours"
    )
    report(state, folder)


if __name__ == "__main__":
    raise SystemExit(main())
