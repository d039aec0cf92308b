"""The training loop: config, state, `train_step`, `fit`; one process, or many under `torchrun`."""

from dinov2_edu.training.checkpoint import load_checkpoint, save_checkpoint, start_from
from dinov2_edu.training.config import TrainConfig
from dinov2_edu.training.diagnosis import Diagnosis, diagnose
from dinov2_edu.training.distillation import distill_from
from dinov2_edu.training.loop import FitOptions, TrainingStopped, fit
from dinov2_edu.training.network import Network, Outputs
from dinov2_edu.training.state import TrainState, build_state
from dinov2_edu.training.step import Batch, Losses, compute_losses, draw_batch, train_step
from dinov2_edu.training.streams import step_generator

__all__ = [
    "Batch",
    "Diagnosis",
    "FitOptions",
    "Losses",
    "Network",
    "Outputs",
    "TrainConfig",
    "TrainState",
    "TrainingStopped",
    "build_state",
    "compute_losses",
    "diagnose",
    "distill_from",
    "draw_batch",
    "fit",
    "load_checkpoint",
    "save_checkpoint",
    "start_from",
    "step_generator",
    "train_step",
]
