"""Training for a command: a signal ends the training, and the command goes on to save what was learnt."""

import time
from typing import Any

import nn_any as nn
from nn_any.training.interrupts import EXIT_CODES


def fit(model: nn.Network | nn.Ensemble, training: nn.Dataset, **arguments: Any) -> tuple[nn.History, float, int]:
    """Call ``model.fit``; the history, the seconds, and the exit code: 0, or that of the signal that ended it."""
    start, exit_code = time.perf_counter(), 0
    try:
        history = model.fit(training, **arguments)
    except nn.TrainingInterrupted as interruption:
        history, exit_code = interruption.history, EXIT_CODES[interruption.signal]
    return history, time.perf_counter() - start, exit_code
