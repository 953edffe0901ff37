"""Ctrl-C and SIGTERM while a network trains: the batch is finished first; a second one stops at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""What a command that is ended by the signal exits with."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended a training run; the network has what was learnt, to the last batch.

    Attributes
    ----------
    history : History
        The epochs that were finished.
    signal : signal.Signals
        ``SIGINT`` or ``SIGTERM``.
    """

    def __init__(self, message: str, history: Any, received: signal.Signals) -> None:
        super().__init__(message)
        self.history, self.signal = history, received


class Interruption:
    """Whether a signal has come.

    Attributes
    ----------
    signal : signal.Signals or None
        The first one that came.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None


@contextmanager
def graceful() -> Iterator[Interruption]:
    """Catch the first Ctrl-C or SIGTERM, and let the second one do what it always does.

    Signals reach the main thread alone, so in others nothing is caught; nor is a signal that has a handler of the
    program's own, or is ignored.
    """
    caught = Interruption()
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        caught.signal = signal.Signals(number)
        restore()

    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    if threading.current_thread() is threading.main_thread():
        before = {number: old for number, old in defaults.items() if signal.getsignal(number) is old}
        for number in before:
            signal.signal(number, note)
    try:
        yield caught
    finally:
        if caught.signal is None:
            restore()
