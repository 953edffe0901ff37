"""Training for a command: a signal ends the training, and the command goes on to save what was learnt."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import nn_any as nn
from nn_any.cli.options import UsageError, check_free, usage_errors
from nn_any.files import claim
from nn_any.training.interrupts import EXIT_CODES


def fit(model: nn.Network | nn.Ensemble, training: nn.Dataset, **arguments: Any) -> tuple[nn.History, float, int]:
    """Call ``model.fit``; the history, the seconds, and the exit code: 0, or that of the signal that ended it."""
    start, exit_code = time.perf_counter(), 0
    try:
        history = model.fit(training, **arguments)
    except nn.TrainingInterrupted as interruption:
        history, exit_code = interruption.history, EXIT_CODES[interruption.signal]
    return history, time.perf_counter() - start, exit_code


@contextmanager
def claimed(folder: Path, overwrite: bool) -> Iterator[None]:
    """Make the output folder and keep other runs out of it; after an error, a folder that is new and empty goes again.

    Raises
    ------
    UsageError
        If it cannot be written, if another run uses it, or if it holds results that may not be replaced.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    with ExitStack() as failed:
        failed.callback(_remove_empty, made)
        with ExitStack() as claims:
            claims.callback(_claim(folder))
            with usage_errors():
                check_free(folder, overwrite)  # another run may have ended since the options were read
            yield
        failed.pop_all()


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):  # it is not empty
        for folder in folders:
            folder.rmdir()


def _claim(folder: Path) -> Callable[[], None]:
    """Make the folder and claim it; what releases it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(
            f"output: expected a folder that can be written, got {folder} ({error.strerror}); choose another folder"
        ) from error
    release = claim(folder / "model.safetensors")
    if release is None:
        raise UsageError(f"output: {folder} is in use by another run; wait for its end, or choose another folder")
    return release
