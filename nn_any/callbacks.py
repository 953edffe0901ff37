"""What watches the loop: a live progress display, and the book's lines."""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

    from nn_any.training import Record, TrainingRun


class Callback:
    """Watches a training run; override what you need.

    Each method takes the `TrainingRun`: its network, its history so far, and ``run.stop = True`` to end it.

    Examples
    --------
    >>> class StopWhenGood(Callback):
    ...     def on_epoch_end(self, run):
    ...         run.stop = run.record["validation_accuracy"] > 0.97
    """

    def on_train_begin(self, run: "TrainingRun") -> None:
        """Before the first epoch."""

    def on_epoch_end(self, run: "TrainingRun") -> None:
        """After each epoch, when its record is in the history."""

    def on_train_end(self, run: "TrainingRun") -> None:
        """After the last epoch, or when something else ended the run."""


class OnEpochEnd(Callback):
    """Calls a function of the run after each epoch."""

    def __init__(self, function: Callable[["TrainingRun"], object]) -> None:
        self._function = function

    def on_epoch_end(self, run: "TrainingRun") -> None:
        """Call the function."""
        self._function(run)


class BookLines(Callback):
    """Prints the book's line after each epoch: ``Epoch 0: 9095 / 10000`` with test data, else ``Epoch 0 complete``.

    Parameters
    ----------
    test_examples : int or None
        How many test examples there are, if there are any.
    file : text stream, optional
        Standard output by default.
    """

    def __init__(self, test_examples: int | None = None, file: TextIO | None = None) -> None:
        self._n, self._file = test_examples, file

    def on_epoch_end(self, run: "TrainingRun") -> None:
        """Print one line."""
        epoch = len(run.history) - 1
        if self._n is None:
            line = f"Epoch {epoch} complete"
        else:
            line = f"Epoch {epoch}: {run.record['test_correct']} / {self._n}"
        print(line, file=self._file or sys.stdout, flush=True)


class Progress(Callback):
    """A line an epoch on standard error, and on a terminal a live bar below them.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to draw instead.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        self._console = console
        self._bar: Any = None

    def on_train_begin(self, run: "TrainingRun") -> None:
        """Start the display."""
        from rich import progress
        from rich.console import Console

        self._console = self._console or Console(stderr=True)
        self._bar = progress.Progress(
            progress.TextColumn("training"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("epochs"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=run.epochs)
        self._bar.start()

    def on_epoch_end(self, run: "TrainingRun") -> None:
        """Print the epoch's line and move the bar."""
        assert self._console is not None
        self._console.print(epoch_line(run.record, run.epochs), highlight=False, soft_wrap=True)
        self._bar.advance(self._task)

    def on_train_end(self, run: "TrainingRun") -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def epoch_line(record: "Record", epochs: int) -> str:
    """One epoch in words and numbers, in columns.

    Examples
    --------
    >>> epoch_line({"epoch": 3, "loss": 0.04211, "test_accuracy": 0.9444, "seconds": 0.0312}, 30)
    'epoch   3   loss 0.04211   test 94.44 %   0.03 s'
    """
    parts = [f"epoch {record['epoch']:{max(3, len(str(epochs)))}d}", f"loss {record['loss']:.5f}"]
    for name in ("validation", "test"):
        if f"{name}_accuracy" in record:
            parts.append(f"{name} {100 * record[f'{name}_accuracy']:5.2f} %")
        elif f"{name}_loss" in record:
            parts.append(f"{name} loss {record[f'{name}_loss']:.5f}")
    parts.append(f"{record['seconds']:.2f} s")
    return "   ".join(parts)


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Callbacks as a list; plain functions of the run are called after each epoch."""
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks: expected a list of them, got {callbacks!r}; put it in brackets")
    made: list[Callback] = []
    for callback in callbacks:
        if isinstance(callback, Callback):
            made.append(callback)
        elif callable(callback):
            made.append(OnEpochEnd(callback))
        else:
            raise TypeError(f"callbacks: expected nn_any.Callback instances or functions of the run, got {callback!r}")
    return made
