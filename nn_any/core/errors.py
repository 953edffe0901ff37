"""The family of errors: each is also the built-in error that its kind is caught by."""

from collections.abc import Iterator
from contextlib import contextmanager


class NnAnyError(Exception):
    """What every error that this package raises on purpose has in common; missing files apart, which the system names.

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
    """An argument, or data, of the right kind and with a value that makes no sense; the message names it."""


class InvalidTypeError(NnAnyError, TypeError):
    """An argument, or data, of the wrong kind; the message names it."""


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Say of what is wrong with an argument in here that `name` is meant."""
    try:
        yield
    except (InvalidValueError, InvalidTypeError) as error:
        others = type(error) not in (InvalidValueError, InvalidTypeError)  # which name what they are about
        if others or str(error).startswith(f"{name}:"):
            raise
        raise type(error)(f"{name}: {error}") from error


class ModelFileError(InvalidValueError):
    """A file that is no model file, is damaged, or was written by a newer version; the message names it."""


class DataFileError(InvalidValueError):
    """A file of data that is damaged, of another kind, or does not hold what is expected; the message names it."""
