"""Ctrl-C and SIGTERM while a network trains: the batch is finished first; a second one stops at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from nn_any.core.errors import Portable

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""What a command that is ended by the signal exits with."""


class TrainingInterrupted(Portable, KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended a training run; the network has what was learned up to the last batch.

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


@contextmanager
def catch_signals() -> Iterator[SimpleNamespace]:
    """Catch the first Ctrl-C or SIGTERM as the `signal` of what is yielded; the second one does what it always does.

    Signals reach the main thread alone, so in others nothing is caught; nor is a signal that has a handler of the
    program's own, or is ignored.
    """
    caught = SimpleNamespace(signal=None)
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def remember(number: int, frame: Any) -> None:
        caught.signal = signal.Signals(number)
        restore()

    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    if threading.current_thread() is threading.main_thread():
        before = {number: old for number, old in defaults.items() if signal.getsignal(number) is old}
        for number in before:
            signal.signal(number, remember)
    try:
        yield caught
    finally:
        if caught.signal is None:
            restore()
