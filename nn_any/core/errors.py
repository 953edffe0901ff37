"""The family of errors: each is also the built-in error that one would expect for its kind."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Portable(BaseException):
    """An error that survives pickling and copying, whatever its constructor takes: worker processes send theirs so."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    """Return an error as it was, without calling its constructor."""
    error = kind.__new__(kind, *args)
    vars(error).update(attributes)
    return error


class NnAnyError(Portable, Exception):
    """The base class of all errors that this package raises on purpose, except those of missing files.

    Examples
    --------
    >>> import nn_any as nn
    >>> try:
    ...     nn.Network([4, 0])
    ... except nn.NnAnyError as error:
    ...     print(error)
    layers, entry 1: expected a positive number of units, got 0
    """


class InvalidValueError(NnAnyError, ValueError):
    """An argument, or data, of the right type and with a value that makes no sense; the message names it."""


class InvalidTypeError(NnAnyError, TypeError):
    """An argument, or data, of the wrong type; the message names it."""


class ModelFileError(InvalidValueError):
    """A file is not a model file, is damaged, or was written by a newer version; the message names it."""


class DataFileError(InvalidValueError):
    """A data file is damaged, of another kind, or does not hold what is expected; the message names it."""


class TrainingDivergedError(NnAnyError, RuntimeError):
    """The loss stopped being a finite number; the network keeps the last finite weights."""

    REMEDY = "Try a smaller learning rate, inputs scaled to about 0 … 1, or initializer='scaled_normal'"

    def __str__(self) -> str:
        return f"{super().__str__()}. {self.REMEDY}"


class OutOfMemoryError(NnAnyError, RuntimeError, MemoryError):
    """A device ran out of memory for a batch; the message says which batch size would fit."""


class NetworkBusyError(NnAnyError, RuntimeError):
    """A second run was started on a network that is being trained."""


@contextmanager
def prefix_errors(name: str) -> Iterator[None]:
    """Prefix errors raised inside with `name`."""
    try:
        yield
    except (InvalidValueError, InvalidTypeError) as error:
        subclass = type(error) not in (InvalidValueError, InvalidTypeError)  # those name what they are about
        if subclass or str(error).startswith(f"{name}:"):
            raise
        raise type(error)(f"{name}: {error}") from error


def caller_level() -> int:
    """The `stacklevel` by which a warning of the function that asks points at the line that called the package."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "nn_any":
        frame, level = frame.f_back, level + 1
    return level
