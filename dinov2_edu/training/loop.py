"""The loop around the step: what is recorded, kept and evaluated, in which order, and when to stop."""

import hashlib
import math
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from dinov2_edu.checks import check_at_least, checked, require
from dinov2_edu.files import local_path
from dinov2_edu.numerics import torch_defaults
from dinov2_edu.shapes import ByteImages, check_images
from dinov2_edu.training.checkpoint import save_checkpoint
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import CollapseGuard
from dinov2_edu.training.folder import CHECKPOINT, hold_run, try_folder
from dinov2_edu.training.interrupts import Terminated, terminable, uninterrupted
from dinov2_edu.training.processes import rank, world_size
from dinov2_edu.training.state import TrainState
from dinov2_edu.training.step import LossFunction, compute_losses, draw_batch, train_step
from dinov2_edu.training.streams import EpochOrder, step_generator
from dinov2_edu.vit import VisionTransformer

_NOT_FINITE = (
    "lower the learning rate, warm up longer, or use float32; duplicate images make KoLeo infinite. "
    "The last checkpoint is untouched."
)


class TrainingStopped(RuntimeError):
    """The run cannot go on; the message says what was seen and what to try."""


@checked
@dataclass
class FitOptions:
    """How a run is followed and kept.

    Attributes:
        log_every: steps between two records in the history.
        evaluate: takes the teacher's backbone, gives a number such as k-NN accuracy; recorded as "knn".
        evaluate_every: steps between two evaluations; the last step is always evaluated.
        folder: where `checkpoint.pt` is kept (`~` is the home folder), or None for nowhere.
        checkpoint_every: steps between two checkpoints; the last step is always kept.
        on_log: called with the state after each record and what was evaluated with it, to draw live curves.
        progress: show a bar.
        stop_on_collapse: raise `TrainingStopped` when a run that had begun to learn collapses.
    """

    log_every: int = 10
    evaluate: Callable[[VisionTransformer], float] | None = None
    evaluate_every: int = 500
    folder: str | Path | None = None
    checkpoint_every: int = 500
    on_log: Callable[[TrainState], None] | None = None
    progress: bool = True
    stop_on_collapse: bool = True

    def __post_init__(self) -> None:
        check_at_least(1, log_every=self.log_every, evaluate_every=self.evaluate_every)
        check_at_least(1, checkpoint_every=self.checkpoint_every)
        if self.folder is not None:
            self.folder = local_path(self.folder)


@checked
@torch_defaults()
def fit(
    state: TrainState,
    images: ByteImages,
    options: FitOptions | None = None,
    *,
    until: int | None = None,
    losses_of: LossFunction = compute_losses,
) -> TrainState:
    """Train from the state's step to the end of its schedules, or to step `until`.

    Interrupting (the stop button, Ctrl-C, SIGTERM) keeps what was learnt: a step that has begun is finished, and the
    state is saved where `options.folder` names a place. Calling `fit` again goes on; after SIGTERM the process ends.
    `interrupted` of what is returned says whether it was so, and no other sign does: the last step may have been made
    and its evaluation not. A checkpoint is written before the evaluation and `on_log` of its step, so an error there
    loses nothing: the next call makes the evaluation up.

    Args:
        state: from `build_state` or `load_checkpoint`; changed in place and returned.
        images: the whole training set as bytes, without labels.
        options: what to log, evaluate and keep.
        until: stop after this step; the schedules still span `config.steps`.
        losses_of: as in `train_step`; give the same when a run goes on.

    Raises:
        ValueError: fewer images than a batch, other images than the run began with, or a folder with another run.
        OSError: the folder takes no checkpoint, or another process trains in it; found before the first step.
        TrainingStopped: the loss is not finite, or a run that had begun to learn collapsed.
    """
    options, config = options or FitOptions(), state.config
    check_at_least(0, until=until)
    _check_data(state, images)
    last = config.steps if until is None else min(until, config.steps)
    quiet = not options.progress or rank() > 0
    state.interrupted, terminated = False, False
    with ExitStack() as stack:
        if options.folder is not None:
            folder = stack.enter_context(hold_run(options.folder))
            try_folder(state, folder)
        bar = tqdm(total=config.steps, initial=state.step, disable=quiet, unit="step", desc="training")
        stack.enter_context(bar)
        stack.enter_context(terminable())
        try:
            _run(state, images.to(state.device), options, last, bar, losses_of)
        except KeyboardInterrupt as interrupt:
            state.interrupted, terminated = True, isinstance(interrupt, Terminated)
            _keep(state, options)
            bar.write(f"interrupted after step {state.step}: call fit again to go on")
    if terminated:
        sys.stdout.flush()  # which a signal's end would not do
        signal.raise_signal(signal.SIGTERM)
    return state


def _check_data(state: TrainState, images: ByteImages) -> None:
    """Refuse images that a run cannot begin or go on with, and remember which they are."""
    config = state.config
    check_images(images, channels=config.vit.in_channels)
    require(
        len(images) >= config.batch_size,
        f"{len(images)} images are fewer than a batch of {config.batch_size}: add images or lower batch_size",
    )
    images_per_process(config)  # refuses an uneven batch before the first step
    digest = hashlib.sha256(images.detach().cpu().contiguous().numpy().data).hexdigest()
    given = f"{' x '.join(map(str, images.shape))} bytes, SHA-256 {digest[:16]}"
    require(
        state.data in ("", given),
        f"this run has learnt from other images ({state.data}) than it is now given ({given}): give it the same, or "
        "begin another with start_from",
    )
    state.data = given


def images_per_process(config: TrainConfig) -> int:
    """This process's share of a batch.

    Raises:
        ValueError: the batch does not divide evenly, or leaves KoLeo one image a process.
    """
    n = world_size()
    require(config.batch_size % n == 0, f"batch_size {config.batch_size} does not divide over {n} processes")
    share = config.batch_size // n
    require(
        share >= 2 or not config.koleo_weight,
        f"KoLeo needs at least 2 images a process, got {share}: raise batch_size, or koleo_weight=0",
    )
    return share


def _run(
    state: TrainState,
    images: ByteImages,
    options: FitOptions,
    last: int,
    bar: tqdm,
    losses_of: LossFunction,
) -> None:
    """The steps, and after each what is due."""
    order = EpochOrder(len(images), state.config)
    guard = CollapseGuard(state.history, state.config.n_prototypes) if options.stop_on_collapse else None
    if _evaluate(state, options):  # which an error or a kill had left out
        _keep(state, options)
    while state.step < last:
        chosen = order.batch(state.step).to(images.device)
        generator = step_generator(state.config, state.step)
        batch = draw_batch(images[chosen], state.config, generator)
        with uninterrupted():
            record = train_step(state, batch, generator, losses_of)
            bar.update()
            recorded = state.step % options.log_every == 0 or state.step == last
            if recorded:
                _log(state, record, bar)
        collapse = guard.seen(state.history) if guard and recorded else None
        keep = collapse is None and (state.step % options.checkpoint_every == 0 or state.step == last)
        if keep:
            _keep(state, options)
        if _evaluate(state, options) and keep:
            _keep(state, options)
        if recorded and options.on_log:
            options.on_log(state)
        if collapse is not None:
            raise TrainingStopped(f"collapsed at step {state.step}. {collapse.evidence} {collapse.advice}")


def _evaluate(state: TrainState, options: FitOptions) -> bool:
    """Evaluate where this step wants it and nobody has; says whether it did."""
    due = state.step > 0 and (state.step % options.evaluate_every == 0 or state.step == state.config.steps)
    if options.evaluate is None or not due or [0, *state.history.get("knn_step", [])][-1] == state.step:
        return False
    found = float(options.evaluate(state.teacher.backbone))
    with uninterrupted():
        _append(state.history, {"knn_step": state.step, "knn": found})
    return True


def _log(state: TrainState, record: dict[str, Tensor | float], bar: tqdm) -> None:
    numbers = {name: float(value) for name, value in record.items()}
    if not math.isfinite(numbers["loss"]):
        parts = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        raise TrainingStopped(
            f"the loss is not a finite number at step {state.step} ({parts}): {_NOT_FINITE}"
        )
    _append(state.history, {"step": state.step, **numbers})
    bar.set_postfix({name: f"{numbers[name]:.3f}" for name in ("loss", "target_entropy", "feature_spread")})


def _append(history: dict[str, list[float]], numbers: dict[str, float]) -> None:
    for name, value in numbers.items():
        history.setdefault(name, []).append(value)


def _keep(state: TrainState, options: FitOptions) -> None:
    if options.folder is None:
        return
    if not all(bool(weights.isfinite().all()) for weights in state.student.parameters()):
        raise TrainingStopped(f"a weight is not a finite number after step {state.step}: {_NOT_FINITE}")
    if rank() == 0:
        save_checkpoint(state, local_path(options.folder) / CHECKPOINT)
