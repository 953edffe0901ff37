"""Training for a command: a signal ends the training, and the command goes on to save what was learnt."""

import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import nn_any as nn
from nn_any.cli.options import UsageError, check_free, usage_errors
from nn_any.files import claim
from nn_any.training.interrupts import EXIT_CODES

claims = ExitStack()
"""Keeps other runs out of the output folder until the command ends."""


def fit(
    model: nn.Network | nn.Ensemble, training: nn.Dataset, folder: Path, overwrite: bool, **arguments: Any
) -> tuple[nn.History, float, int]:
    """Make the folder to save in and call ``model.fit``; if that raises, a folder that is new and empty goes again.

    Returns the history, the seconds, and the exit code: 0, or that of the signal that ended the training.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    start, exit_code = time.perf_counter(), 0
    try:
        _claim(folder, overwrite)
        history = model.fit(training, **arguments)
    except nn.TrainingInterrupted as interruption:
        history, exit_code = interruption.history, EXIT_CODES[interruption.signal]
    except BaseException:
        claims.close()
        with suppress(OSError):  # it is not empty
            for path in made:
                path.rmdir()
        raise
    return history, time.perf_counter() - start, exit_code


def _claim(folder: Path, overwrite: bool) -> None:
    """Make the folder and claim it; an error if it cannot be written, or if another run uses it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(
            f"output: expected a folder that can be written, got {folder} ({error.strerror}); choose another folder"
        ) from error
    claims.close()  # of an earlier command of the same process
    release = claim(folder / "model.safetensors")
    if release is None:
        raise UsageError(f"output: {folder} is in use by another run; wait for its end, or choose another folder")
    claims.callback(release)
    with usage_errors():
        check_free(folder, overwrite)  # another run may have ended since the options were read
