"""Training for a command: a signal ends the training, and the command goes on to save what was learnt."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import nn_any as nn
from nn_any.training.interrupts import EXIT_CODES


def fit(
    model: nn.Network | nn.Ensemble, training: nn.Dataset, folder: Path, **arguments: Any
) -> tuple[nn.History, float, int]:
    """Make the folder to save in and call ``model.fit``; if that raises, a folder that is new and empty goes again.

    Returns the history, the seconds, and the exit code: 0, or that of the signal that ended the training.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    start, exit_code = time.perf_counter(), 0
    try:
        history = model.fit(training, **arguments)
    except nn.TrainingInterrupted as interruption:
        history, exit_code = interruption.history, EXIT_CODES[interruption.signal]
    except BaseException:
        with suppress(OSError):  # it is not empty
            for path in made:
                path.rmdir()
        raise
    return history, time.perf_counter() - start, exit_code
