"""The loop around the step: order of images, log, evaluation, checkpoints, and when to stop."""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn
from tqdm import tqdm

from dinov2_edu.door import require
from dinov2_edu.shapes import ByteImages, check_images
from dinov2_edu.training.checkpoint import save_checkpoint
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import MIN_MUTUAL_INFORMATION, diagnose
from dinov2_edu.training.processes import rank, world_size
from dinov2_edu.training.state import TrainState
from dinov2_edu.training.step import draw_batch, images_per_process, train_step
from dinov2_edu.training.streams import step_generator, stream

_NOT_FINITE = (
    "lower the learning rate, warm up longer, or use float32; duplicate images make KoLeo infinite. "
    "The last checkpoint is untouched."
)


class TrainingStopped(RuntimeError):
    """The run cannot go on; the message says what was seen and what to try."""


@dataclass
class FitOptions:
    """How a run is followed and kept.

    Attributes:
        log_every: steps between two records in the history.
        evaluate: takes the teacher's backbone, gives a number such as k-NN accuracy; recorded as "knn".
        evaluate_every: steps between two evaluations; the last step is always evaluated.
        folder: where `checkpoint.pt` is kept, or None for nowhere.
        checkpoint_every: steps between two checkpoints; the last step is always kept.
        on_log: called with the state after each record and what was evaluated with it, to draw live curves.
        progress: show a bar.
        stop_on_collapse: raise `TrainingStopped` when a run that had begun to learn collapses.
    """

    log_every: int = 10
    evaluate: Callable[[nn.Module], float] | None = None
    evaluate_every: int = 500
    folder: Path | None = None
    checkpoint_every: int = 500
    on_log: Callable[[TrainState], None] | None = None
    progress: bool = True
    stop_on_collapse: bool = True

    def __post_init__(self) -> None:
        for name in ("log_every", "evaluate_every", "checkpoint_every"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        if self.folder is not None:
            self.folder = Path(self.folder)


def fit(
    state: TrainState, images: ByteImages, options: FitOptions | None = None, *, until: int | None = None
) -> TrainState:
    """Train from the state's step to the end of its schedules, or to step `until`.

    Interrupting (the stop button, Ctrl-C) keeps what was learnt: a step that has begun is finished, and the state is
    saved where `options.folder` names a place. Calling `fit` again goes on.

    Args:
        state: from `build_state` or `load_checkpoint`; changed in place and returned.
        images: the whole training set as bytes, without labels.
        options: what to log, evaluate and keep.
        until: stop after this step; the schedules still span `config.steps`.

    Raises:
        ValueError: fewer images than a batch.
        TrainingStopped: the loss is not finite, or a run that had begun to learn collapsed.
    """
    options = options or FitOptions()
    config = state.config
    check_images(images, channels=config.vit.in_channels)
    require(
        len(images) >= config.batch_size,
        f"{len(images)} images are fewer than a batch of {config.batch_size}: add images or lower batch_size",
    )
    images_per_process(config)  # refuses an uneven batch before the first step
    last = config.steps if until is None else min(until, config.steps)
    bar = tqdm(
        total=config.steps,
        initial=state.step,
        disable=not options.progress or rank() > 0,
        unit="step",
        desc="training",
    )
    images = images.to(state.device)
    order = EpochOrder(len(images), config)
    guard = _CollapseGuard(state) if options.stop_on_collapse else None
    try:
        while state.step < last:
            chosen = order.batch(state.step).to(images.device)
            generator = step_generator(config, state.step)
            batch = draw_batch(images[chosen], config, generator)
            with _uninterrupted():
                record = train_step(state, batch, generator)
                bar.update()
                recorded = state.step % options.log_every == 0 or state.step == last
                if recorded:
                    _log(state, record, bar)
            if options.evaluate and (state.step % options.evaluate_every == 0 or state.step == config.steps):
                _append(
                    state.history, {"knn_step": state.step, "knn": options.evaluate(state.teacher.backbone)}
                )
            if recorded and options.on_log:
                options.on_log(state)
            if recorded and guard:
                guard.check(state)
            if state.step % options.checkpoint_every == 0 or state.step == last:
                _keep(state, options)
    except KeyboardInterrupt:
        _keep(state, options)
        bar.write(f"interrupted after step {state.step}: call fit again to go on")
    finally:
        bar.close()
    return state


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold an interrupt back until the block is done: half a step would be repeated, and its record missed."""
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # Python delivers interrupts to that one alone
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


class EpochOrder:
    """Which images make up a step: a new shuffle each epoch, known from the seed and the step alone."""

    def __init__(self, n_images: int, config: TrainConfig) -> None:
        self.n_images, self.config = n_images, config
        self.steps_per_epoch = n_images // config.batch_size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def batch(self, step: int) -> Int[Tensor, " b"]:
        """This process's images at a step; the last, incomplete batch of an epoch is left out."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = stream("order of images", self.config.seed, epoch)
            self._epoch, self._order = epoch, torch.randperm(self.n_images, generator=generator)
        start = position * self.config.batch_size
        return self._order[start : start + self.config.batch_size][rank() :: world_size()]


class _CollapseGuard:
    """Stops a run whose targets told something of their images once and tell nothing now.

    It remembers the most they ever told, so a record costs the same however long the run is.
    """

    def __init__(self, state: TrainState) -> None:
        self.most = max(_mutual_information(state.history), default=0.0)

    def check(self, state: TrainState) -> None:
        """Look at the last records; raise `TrainingStopped` if the run has collapsed."""
        n_prototypes = state.config.n_prototypes
        end = {name: values[-5:] for name, values in state.history.items()}
        recent = max(_mutual_information(end))
        self.most = max(self.most, recent)
        began = self.most > 0.1 * math.log(n_prototypes)
        if not began or recent > MIN_MUTUAL_INFORMATION * math.log(n_prototypes):
            return
        verdict = diagnose(end, n_prototypes)
        if verdict.collapsed:
            raise TrainingStopped(f"collapsed at step {state.step}. {verdict.evidence} {verdict.advice}")


def _mutual_information(history: dict[str, list[float]]) -> list[float]:
    """What a target tells of its image at each record, in nats: entropy of the mean target less mean entropy."""
    means, entropies = (history.get(name, []) for name in ("mean_target_entropy", "target_entropy"))
    return [mean - each for mean, each in zip(means, entropies, strict=True)]


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
        save_checkpoint(state, options.folder / "checkpoint.pt")
