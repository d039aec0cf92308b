"""The training loop: config, state, `train_step`, `fit`; one process, or many under `torchrun`."""

from dinov2_edu.training.checkpoint import load_checkpoint, save_checkpoint, start_from
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import Diagnosis, diagnose
from dinov2_edu.training.evaluation import knn_evaluator
from dinov2_edu.training.loop import TrainingStopped, Watch, fit
from dinov2_edu.training.network import Network, Outputs
from dinov2_edu.training.presets import cifar10_run, cifar10_second_run, patterns10_run
from dinov2_edu.training.state import TrainState, build_state
from dinov2_edu.training.step import Batch, Losses, compute_losses, draw_batch, train_step

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
    "cifar10_run",
    "cifar10_second_run",
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
