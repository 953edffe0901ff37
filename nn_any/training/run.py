"""A run, as those who follow it see it, and what they may do at each moment."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nn_any.backends import Device, Engine
from nn_any.core.errors import InvalidTypeError
from nn_any.core.state import Record, Snapshot
from nn_any.training.history import History


class Trainable(Protocol):
    """What a run asks of a network or an ensemble."""

    snapshot: Snapshot

    @property
    def device(self) -> Device:
        """Where it lives."""

    def training_engines(self, mode: str) -> list[Engine]:
        """What runs the steps of each block."""


@dataclass
class TrainingRun:
    """A call of ``fit`` or ``SGD``, as callbacks see it.

    Attributes
    ----------
    network : Network or Ensemble
        It has what was learned up to the last pause.
    history : History
        The records so far.
    epochs : int
        How many epochs this call is to run.
    columns : sequence of str
        What the history will hold of each epoch.
    callbacks : sequence of Callback
        Those who follow the run, in the order in which they are called.
    directions : mapping from str to bool
        Whether higher is better, by name, of those metrics of the user's own that say it.
    stop : bool
        Set it to end the run after this epoch.
    begun : bool
        Whether all callbacks have agreed to the run.
    """

    network: Any
    history: History
    epochs: int
    columns: Sequence[str] = ()
    callbacks: Sequence["Callback"] = ()
    directions: Mapping[str, bool] = field(default_factory=dict)
    stop: bool = field(default=False)
    begun: bool = field(default=False, repr=False)

    @property
    def record(self) -> Record:
        """The record of the last epoch."""
        return self.history.records[-1]


class Callback:
    """Follows a training run; override what you need.

    Each method takes the `TrainingRun`: its network, its history so far, and ``run.stop = True`` to end it.

    Examples
    --------
    >>> class StopWhenGood(Callback):
    ...     def on_epoch_end(self, run):
    ...         run.stop = run.record["validation_accuracy"] > 0.97
    """

    def on_train_begin(self, run: TrainingRun) -> None:
        """Before the first epoch."""

    def on_pause(self, run: TrainingRun) -> None:
        """Before each epoch, after each, and between two segments of steps: the network has what was learned so far."""

    def on_epoch_end(self, run: TrainingRun) -> None:
        """After each epoch, when its record is in the history."""

    def on_train_error(self, run: TrainingRun) -> None:
        """When an exception or a signal ends the run, before `on_train_end`."""

    def on_train_end(self, run: TrainingRun) -> None:
        """After the last epoch, or when something else ended the run."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint is to remember of this callback, by name: NumPy arrays, and what JSON can hold."""
        return {}

    def restore(self, run: TrainingRun, state: dict[str, Any]) -> None:
        """Take over what `state` returned; called after `on_train_begin`, when the network stands where it stood."""


def as_callbacks(callbacks: Any) -> list[Callback]:
    """Callbacks as a list; plain functions of the run are called after each epoch."""
    if not isinstance(callbacks, Iterable):
        raise InvalidTypeError(f"callbacks: expected a list of them, got {callbacks!r}; put it in brackets")
    made: list[Callback] = []
    for callback in callbacks:
        if isinstance(callback, Callback):
            made.append(callback)
        elif isinstance(callback, type):
            raise InvalidTypeError(
                f"callbacks: expected instances, got the class {callback.__name__}; make one: {callback.__name__}()"
            )
        elif callable(callback):
            _check_takes_run(callback)
            following = Callback()
            following.on_epoch_end = callback  # type: ignore[method-assign]
            made.append(following)
        else:
            raise InvalidTypeError(
                f"callbacks: expected nn_any.Callback instances or functions of the run, got {callback!r}; derive its "
                "class from nn_any.Callback"
            )
    return made


def _check_takes_run(function: Any) -> None:
    """Raise an error if a function cannot be called with the run alone."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions have none
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise InvalidTypeError(
            f"callbacks: expected functions of one argument, the run, got {function!r}, which takes {signature}; "
            "wrap it: lambda run: ..."
        ) from error
