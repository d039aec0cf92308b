"""The command `python -m dinov2_edu dense`: what frozen patch tokens are worth, beside random weights and pixels.

The test itself is `dinov2_edu.probe.dense_test`. With `--follow` a small network is trained on Patterns10 and tested on
the way, beside the k-NN accuracy of its class token.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dinov2_edu.checks import require
from dinov2_edu.data import DataUnavailable, Scenes, drawn_scenes, load_cifar10, mosaic_scenes, patterns10
from dinov2_edu.data.cifar import cifar10_at_hand
from dinov2_edu.experiments.commands import say
from dinov2_edu.experiments.evaluation import knn_evaluator
from dinov2_edu.experiments.inputs import backbone_of, device_of
from dinov2_edu.experiments.presets import patterns10_run, with_steps
from dinov2_edu.features import patch_tokens, pixel_patches
from dinov2_edu.files import write_whole
from dinov2_edu.numerics import stream
from dinov2_edu.probe import DenseScores, dense_test
from dinov2_edu.training.loop import FitOptions, fit
from dinov2_edu.training.state import build_state
from dinov2_edu.vit import VisionTransformer, fingerprint
from dinov2_edu.weights import LoadedBackbone, load_backbone

RECORDED = Path(__file__).parents[1] / "assets" / "dense"
GRID = 16
"""Patches a side of a scene."""
N_SCENES = 240
"""Of each kind, where nothing else is asked for."""
EVERY = 100
"""Steps between two tests of a training, where nothing else is asked for."""
_WINDOW = 4  # patches a side of a window


def run(options: argparse.Namespace) -> None:
    """Test the networks, or follow one over its training; print the numbers and write them where asked.

    Raises:
        ValueError: options that cannot be used, or not together.
    """
    _check_together(options)
    device = device_of(options.device)
    if options.follow:
        found = follow(options.seed, steps=options.steps, every=options.every or EVERY, device=device)
        rows = [[point[key] for key in _POINT] for point in found["points"]]
        print(_table(_POINT, rows))
    else:
        backbone = backbone_of(options, device)
        if backbone.notice:
            say(backbone.notice)
        found = table(backbone, options.scenes or N_SCENES, options.seed)
        keys = ("scenes", "seen by", "linear", "knn", "matched")
        print(_table(keys, [[row[key] for key in keys] for row in found["rows"]]))
    if options.out:
        write_whole(options.out, json.dumps(found, indent=1) + "\n")


def _check_together(options: argparse.Namespace) -> None:
    """Refuse options of the table with `--follow`, and those of `--follow` without it."""
    names = ("weights", "scenes") if options.follow else ("steps", "every")
    given = " and ".join(f"--{name}" for name in names if getattr(options, name) is not None)
    if options.follow:
        advice = f"leave out {given}, which the training has no use for, or --follow"
        require(not given, f"{given} cannot be given with --follow: {advice}")
    require(not given, f"{given} can only be given with --follow: add it, or leave out {given}")


def table(backbone: LoadedBackbone, n: int, seed: int) -> dict:
    """The dense test of every network on every kind of scene, with what it was made from."""
    rows = []
    for scenes in _scenes(n, seed):
        for name, (tokens_of, grid, size) in networks(backbone, scenes.images.shape[-1]).items():
            say(f"{scenes.name}: {name}")
            scores = dense_test(tokens_of, scenes, grid, input_size=size, seed=seed)
            rows.append({"scenes": scenes.name, "seen by": name, **_rounded(scores)})
    return {
        "weights": backbone.name,
        "fingerprint": fingerprint(backbone.model),
        "n": n,
        "seed": seed,
        "rows": rows,
    }


def _scenes(n: int, seed: int) -> list[Scenes]:
    """Drawn scenes, and mosaics of CIFAR-10 where it is at hand."""
    found = [drawn_scenes(n, split="test", seed=seed)]
    if cifar10_at_hand():
        try:
            pictures = load_cifar10("test")
        except DataUnavailable as error:
            say(f"without mosaics of CIFAR-10: {error}")
            return found
        found.append(mosaic_scenes(pictures, n, generator=stream("mosaics", seed)))
    return found


def networks(backbone: LoadedBackbone, side: int) -> dict[str, tuple[Callable[[Tensor], Tensor], int, int]]:
    """Whatever is tested: name to tokens of images, patches a side, and input size in pixels.

    Args:
        backbone: the weights at hand; random weights and pixels come before it as controls.
        side: of the scenes, in pixels.
    """
    found: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {}
    patch = side // GRID
    found["mean colour"] = partial(pixel_patches, patch=patch, mean=True), GRID, side
    found["raw pixels"] = partial(pixel_patches, patch=patch), GRID, side
    for name, model in (("random", load_backbone("random")), (backbone.name, backbone.model)):
        patch, depth = model.config.patch_size, model.config.depth
        size = GRID * patch
        found[name] = partial(patch_tokens, model), GRID, size
        found[f"{name}, windows"] = partial(patch_tokens, model, window=_WINDOW * patch), GRID, size
        last = tuple(range(max(0, depth - 4), depth))
        found[f"{name}, last 4 blocks"] = partial(patch_tokens, model, layers=last), GRID, size
        found[f"{name}, twice the size"] = partial(patch_tokens, model), 2 * GRID, 2 * size
    return found


_POINT = ("step", "class k-NN", "linear", "knn", "matched")


def follow(
    seed: int, *, steps: int | None = None, every: int = EVERY, device: torch.device | str = "cpu"
) -> dict:
    """Train the `patterns10` preset and test its teacher on the way, before the first step too.

    The class token's k-NN accuracy is on 2,000 test pictures with 5,000 labelled ones. The dense test has 240 drawn
    scenes of 64 pixels whose things come from pictures that the training did not see.

    Args:
        seed: of the training.
        steps: length of the run and of its schedules; None for the preset's.
        every: steps between two tests.
        device: to train on.

    Raises:
        ValueError: no more steps than the warm-up has.
        KeyboardInterrupt: it was interrupted.
    """
    config = replace(with_steps(patterns10_run(), steps), seed=seed)
    say("drawing 12,000 pictures of Patterns10, which takes up to two minutes")
    train, test = patterns10(10_000), patterns10(2_000, split="test")
    class_knn = knn_evaluator(train, test)
    scenes = drawn_scenes(N_SCENES, split="test")
    grid = scenes.images.shape[-1] // config.vit.patch_size
    points: list[dict] = []

    def evaluate(backbone: VisionTransformer) -> float:
        accuracy = class_knn(backbone)
        scores = dense_test(partial(patch_tokens, backbone), scenes, grid)
        step = min(every * len(points), config.steps)
        points.append({"step": step, "class k-NN": round(accuracy, 4), **_rounded(scores)})
        say(", ".join(f"{key} {points[-1][key]}" for key in _POINT))
        return accuracy

    state = build_state(config, device)
    evaluate(state.teacher.backbone)
    watch = FitOptions(evaluate=evaluate, evaluate_every=every, progress=False, stop_on_collapse=False)
    if fit(state, train.images, watch).interrupted:
        raise KeyboardInterrupt
    return {"config": config.to_dict(), "scenes": scenes.name, "pictures": test.name, "points": points}


def load_followed() -> list[dict]:
    """The followed trainings that the package ships, one a seed."""
    return [json.loads(path.read_text()) for path in sorted(RECORDED.glob("follow*.json"))]


def _rounded(scores: DenseScores) -> dict:
    folds = [round(one, 4) for one in scores.linear_folds]
    numbers = {key: round(getattr(scores, key), 4) for key in ("linear", "knn", "matched")}
    return {**numbers, "linear folds": folds}


def _table(header: tuple[str, ...], rows: list[list]) -> str:
    """Columns as wide as their widest entry."""
    lines = [[f"{one:.3f}" if isinstance(one, float) else str(one) for one in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    return "\n".join(
        "  ".join(one.ljust(width) for one, width in zip(line, widths, strict=True)).rstrip()
        for line in (header, *lines)
    )
