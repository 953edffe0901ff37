"""Every error of the package survives pickling and copying, with its message and its attributes."""

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
import signal

import pytest

import nn_any as nn
from nn_any.core.errors import Portable
from nn_any.training.history import History
from nn_any.training.interrupts import TrainingInterrupted


def exception_classes():
    """All exception classes that the package defines, those of modules aside that need a GPU's library."""
    for module in pkgutil.walk_packages(nn.__path__, "nn_any."):
        if "_cupy" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, waiting = set(), [BaseException]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind not in found:
                found.add(kind)
                waiting.append(kind)
    return sorted((k for k in found if k.__module__.startswith("nn_any")), key=lambda k: (k.__module__, k.__name__))


def examples_of(kind):
    """An error with a word for each argument that its constructor wants, or just a message."""
    own = inspect.isfunction(kind.__init__)
    names = list(inspect.signature(kind.__init__).parameters)[1:] if own else []
    return kind(*[f"a {name}" for name in names or ["message"]])


def assert_same(error, other):
    assert type(other) is type(error)
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))


def test_every_exception_class():
    kinds = exception_classes()
    assert {"DeviceNotAvailableError", "TrainingInterrupted", "OutOfMemoryError", "UsageError"} <= {
        kind.__name__ for kind in kinds
    }
    for kind in kinds:
        error = examples_of(kind)
        error.add_note("a note")
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert_same(error, pickle.loads(pickle.dumps(error, protocol)))
        assert_same(error, copy.copy(error))
        assert_same(error, copy.deepcopy(error))


def test_an_interrupt_keeps_its_history():
    error = TrainingInterrupted("stopped", History("eager", "numpy:cpu"), signal.SIGTERM)
    error.history.append({"epoch": 1, "loss": 0.5})
    back = pickle.loads(pickle.dumps(error))
    assert back.signal is signal.SIGTERM
    assert back.history.records == error.history.records
    assert isinstance(back, KeyboardInterrupt)
    assert not isinstance(back, Exception)


def test_an_error_of_a_users_own():
    error = MineError(1, key=2)
    assert_same(error, pickle.loads(pickle.dumps(error)))


class MineError(nn.NnAnyError):
    def __init__(self, number, *, key):
        super().__init__(f"{number} and {key}")
        self.number, self.key = number, key


def test_portable_stands_for_all_that_the_package_raises():
    for kind in exception_classes():
        if issubclass(kind, nn.NnAnyError | TrainingInterrupted):
            assert issubclass(kind, Portable)


def test_a_worker_process_hands_its_error_back():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        waiting = pool.apply_async(nn.select_device, ("cuda:99",))
        with pytest.raises(nn.DeviceNotAvailableError, match="device 'cuda:99' is not available") as caught:
            waiting.get(timeout=60)
    assert caught.value.device == "cuda:99"
    assert caught.value.remedy
