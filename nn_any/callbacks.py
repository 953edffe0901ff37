"""What watches the loop: a live progress display, and the book's lines."""

import math
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import StringIO
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

from nn_any.core import options
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.schedules.monitoring import grows

if TYPE_CHECKING:
    from rich.console import Console

    from nn_any.history import Record
    from nn_any.training import TrainingRun


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

    def state(self) -> dict[str, Any]:
        """What a checkpoint shall remember of this callback: NumPy arrays, and what JSON can hold, by name."""
        return {}

    def restore(self, run: "TrainingRun", state: dict[str, Any]) -> None:
        """Take up what `state` gave; called after `on_train_begin`, when the network stands where it stood."""


class OnEpochEnd(Callback):
    """Calls a function of the run after each epoch."""

    def __init__(self, function: Callable[["TrainingRun"], object]) -> None:
        self._function = function

    def on_epoch_end(self, run: "TrainingRun") -> None:
        """Call the function."""
        self._function(run)


class EarlyStopping(Callback):
    """Ends a run when a measure has not become better for a while, and goes back to the best weights.

    Parameters
    ----------
    monitor : str
        A column of the history: ``"validation_loss"``, ``"validation_accuracy"``, ``"loss"``.
    patience : int
        After so many epochs without a better value the run ends.
    min_delta : float
        What a value must be better by, to count.
    mode : {"min", "max"}, optional
        Whether smaller or larger is better; by the column's name if not given.
    restore_best : bool
        Whether the network ends with the weights of its best epoch.

    Attributes
    ----------
    best, best_epoch : float, int
        The best value of the last run, and the epoch it came from.

    Examples
    --------
    >>> import nn_any as nn
    >>> training, validation, test = nn.datasets.load_digits("cpu")
    >>> net = nn.Network([64, 30, 10], initializer="scaled_normal", device="cpu", seed=0)
    >>> stopping = EarlyStopping("validation_accuracy", patience=3)
    >>> history = net.fit(training, epochs=100, batch_size=10, optimizer=nn.SGD(3.0), validation_data=validation,
    ...                   callbacks=[stopping])
    >>> len(history) == stopping.best_epoch + 3
    True
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        *,
        patience: int = 10,
        min_delta: float = 0.0,
        mode: str | None = None,
        restore_best: bool = True,
    ) -> None:
        if not isinstance(monitor, str):
            raise InvalidTypeError(f"monitor: expected the name of a column of the history, got {monitor!r}")
        self.monitor = monitor
        self.patience = options.integer("patience", patience)
        self.min_delta = options.number("min_delta", min_delta)
        self.mode = ("max" if grows(monitor) else "min") if mode is None else options.choice("mode", mode, "min", "max")
        self.restore_best = options.flag("restore_best", restore_best)
        self._weights: Any = None

    def on_train_begin(self, run: "TrainingRun") -> None:
        """Look whether the run has the data that are monitored, and forget what an earlier run found."""
        data = self.monitor.partition("_")[0] + "_"
        if data in ("validation_", "test_", "training_") and not any(name.startswith(data) for name in run.columns):
            self._refuse(run.columns)
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch, self._weights, self._waited = run.network.epoch, None, 0

    def on_epoch_end(self, run: "TrainingRun") -> None:
        """Compare, and end the run if it has waited long enough."""
        if self.monitor not in run.record:  # another callback might have put it there
            self._refuse(run.record)
        value = run.record[self.monitor]
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:
            self.best, self.best_epoch, self._waited = value, run.record["epoch"], 0
            self._weights = run.network.copy() if self.restore_best else None
        else:
            self._waited += 1
            run.stop = run.stop or self._waited >= self.patience

    def state(self) -> dict[str, Any]:
        """The best value and epoch, how long it has waited, and the best weights."""
        kept: dict[str, Any] = {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited}
        return kept | (self._weights._tensors() if self._weights is not None else {})

    def restore(self, run: "TrainingRun", state: dict[str, Any]) -> None:
        """Go on waiting from there."""
        self.best, self.best_epoch, self._waited = (state.pop(name) for name in ("best", "best_epoch", "waited"))
        if state:
            self._weights = run.network.copy()
            self._weights._carry = (*self._weights._read("checkpoint", state), *self._weights._carry[2:])

    def _refuse(self, columns: Iterable[str]) -> NoReturn:
        raise InvalidValueError(
            f"monitor: expected one of {', '.join(columns)}, got {self.monitor!r}; "
            "for validation_… give fit validation_data"
        )

    def on_train_end(self, run: "TrainingRun") -> None:
        """Put the best weights back."""
        if self._weights is not None:
            run.network.copy_from(self._weights)
            self._weights = None


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


class _Unfailing:
    """A text stream that drops what can no longer be written: a closed pipe or a full disk is no reason to stop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def unfailing_console(stream: TextIO | None) -> "Console":
    """A console that falls silent where its stream, such as standard error, can no longer be written."""
    from rich.console import Console

    return Console(file=cast(TextIO, _Unfailing(stream or StringIO())))


class Progress(Callback):
    """A line an epoch on standard error, and on a terminal a live bar below them.

    Where standard error can no longer be written, training goes on in silence.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to draw instead.
    """

    def __init__(self, console: "Console | None" = None) -> None:
        self._given = console
        self._bar: Any = None

    def on_train_begin(self, run: "TrainingRun") -> None:
        """Start the display."""
        from rich import progress

        self._console = self._given or unfailing_console(sys.stderr)
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
        raise InvalidTypeError(f"callbacks: expected a list of them, got {callbacks!r}; put it in brackets")
    made: list[Callback] = []
    for callback in callbacks:
        if isinstance(callback, Callback):
            made.append(callback)
        elif callable(callback):
            made.append(OnEpochEnd(callback))
        else:
            raise InvalidTypeError(
                f"callbacks: expected nn_any.Callback instances or functions of the run, got {callback!r}"
            )
    return made
