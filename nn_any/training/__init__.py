"""A run: fit, its loop and its epochs, callbacks, checkpoints, the history; and single steps."""

from nn_any.training.checkpoint import Checkpoint
from nn_any.training.early_stopping import EarlyStopping
from nn_any.training.history import History
from nn_any.training.interrupts import TrainingInterrupted
from nn_any.training.lbfgs import LBFGS
from nn_any.training.measured import measure
from nn_any.training.run import Callback, TrainingRun
from nn_any.training.steps import train_step, train_steps

__all__ = [
    "LBFGS",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "TrainingInterrupted",
    "TrainingRun",
    "measure",
    "train_step",
    "train_steps",
]
