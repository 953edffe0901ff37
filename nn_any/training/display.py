"""What a terminal shows of a run: a live bar, and a line for each epoch."""

import sys
from contextlib import suppress
from io import StringIO
from typing import TYPE_CHECKING, Any, TextIO, cast

from nn_any.core.state import Record
from nn_any.training.run import Callback, TrainingRun

if TYPE_CHECKING:
    from rich.console import Console


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


class ProgressDisplay(Callback):
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

    def on_train_begin(self, run: TrainingRun) -> None:
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

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Print the epoch's line and move the bar."""
        self._console.print(epoch_line(run.record, run.epochs), highlight=False, soft_wrap=True)
        self._bar.update(self._task, completed=len(run.history))  # a resumed run has some already

    def on_train_end(self, run: TrainingRun) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def loss_text(loss: float) -> str:
    """A loss in five decimals, or, from 10 on, in six digits, so that a line fits on a terminal.

    Examples
    --------
    >>> loss_text(0.04211), loss_text(5127.58642), loss_text(1e9)
    ('0.04211', '5127.59', '1.00000e+09')
    """
    return f"{loss:.5f}" if abs(loss) < 10 else f"{loss:#.6g}"


def epoch_line(record: Record, epochs: int) -> str:
    """One epoch in words and numbers, in columns.

    Examples
    --------
    >>> epoch_line({"epoch": 3, "loss": 0.04211, "test_accuracy": 0.9444, "seconds": 0.0312}, 30)
    'epoch   3   loss 0.04211   test 94.44 %   0.03 s'
    """
    parts = [f"epoch {record['epoch']:{max(3, len(str(epochs)))}d}", f"loss {loss_text(record['loss'])}"]
    for name in ("validation", "test"):
        if f"{name}_accuracy" in record:
            parts.append(f"{name} {100 * record[f'{name}_accuracy']:5.2f} %")
        elif f"{name}_loss" in record:
            parts.append(f"{name} loss {loss_text(record[f'{name}_loss'])}")
    parts.append(f"{record['seconds']:.2f} s")
    return "   ".join(parts)
