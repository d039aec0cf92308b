"""The training loop: config, state, `train_step`, `fit`; one process, or many under `torchrun`."""

from dinov2_edu.training.checkpoint import load_checkpoint, save_checkpoint, start_from
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import Diagnosis, diagnose
from dinov2_edu.training.evaluation import knn_evaluator
from dinov2_edu.training.loop import TrainingStopped, Watch, fit
from dinov2_edu.training.network import Network, Outputs
from dinov2_edu.training.presets import cifar10_highres_run, cifar10_run, patterns10_run
from dinov2_edu.training.step import (
    Batch,
    Losses,
    TrainState,
    build_state,
    compute_losses,
    draw_batch,
    train_step,
)

__all__ = [
    "Batch",
    "Diagnosis",
    "Losses",
    "Network",
    "Outputs",
    "TrainConfig",
    "TrainState",
    "TrainingStopped",
    "Watch",
    "build_state",
    "cifar10_highres_run",
    "cifar10_run",
    "compute_losses",
    "diagnose",
    "draw_batch",
    "fit",
    "knn_evaluator",
    "load_checkpoint",
    "patterns10_run",
    "save_checkpoint",
    "start_from",
    "train_step",
]
