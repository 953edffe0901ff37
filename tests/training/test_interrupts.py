"""Signals that come while a network trains."""

import os
import signal
import threading

import pytest

from nn_any.training.interrupts import catch_signals

SIGNALS = [signal.SIGINT] if os.name == "nt" else [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_and_the_second_acts(number):
    before = signal.getsignal(number)
    with catch_signals() as caught:
        assert caught.signal is None
        signal.raise_signal(number)
        assert caught.signal == number
        assert signal.getsignal(number) is before
        if number == signal.SIGINT:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_run_without_a_signal_leaves_the_handlers():
    before = [signal.getsignal(number) for number in SIGNALS]
    with catch_signals(), catch_signals():  # a run within a callback of another
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_handler_of_the_programs_own_stays():
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with catch_signals() as caught:
            signal.raise_signal(signal.SIGINT)
        assert seen == [signal.SIGINT]
        assert caught.signal is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_catch_nothing():
    before = signal.getsignal(signal.SIGINT)
    inside = []

    def run():
        with catch_signals():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert inside == [before]
