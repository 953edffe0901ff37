"""What a schedule is, and the one that stays the same."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.options import positive, validate_fields

Records = Sequence[dict[str, Any]]


class Schedule:
    """A learning rate as a function of time. Instances must be hashable and compare by value."""

    def __call__(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """The learning rates of one epoch.

        Parameters
        ----------
        epoch : int
            Its number, from 0, counted since the optimiser began.
        steps : int
            How many steps it has.
        records : sequence of dict
            What was recorded of each finished epoch since then: ``"loss"``, ``"validation_accuracy"`` and the like.

        Returns
        -------
        NumPy array, (steps,), float64
        """
        raise NotImplementedError(f"{type(self).__name__} must define __call__(epoch, steps, records)")

    def with_rate(self, rate: float) -> "Schedule":
        """This schedule at another rate: of the same course, with `rate` in place of its first or largest one."""
        try:
            return replace(self, rate=rate)  # type: ignore[type-var]
        except TypeError as error:
            message = f"{type(self).__name__} must define with_rate(rate), or be a dataclass with a field rate: float"
            raise InvalidTypeError(message) from error

    def begin(self, columns: Sequence[str], own: Mapping[str, bool]) -> "Schedule":
        """This schedule in a run whose history will hold these columns; ValueError if it needs another one.

        `own` is what metric functions say of themselves: their names, and whether higher is better.
        """
        return self

    def finished(self, records: Records) -> bool:
        """Whether training should end after these epochs."""
        return False


def as_schedule(rate: Any, name: str = "learning_rate") -> Schedule:
    """`rate` itself if it is a `Schedule`, else `Constant` of that number, once it is found to be a positive one.

    Examples
    --------
    >>> as_schedule(0.1)
    Constant(rate=0.1)
    """
    if isinstance(rate, Schedule):
        return rate
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise InvalidTypeError(f"{name}: expected a positive number, got {rate!r}; pass one such as 0.1, or a Schedule")
    if not 0 < rate < math.inf:
        raise InvalidValueError(f"{name}: expected a positive, finite number, got {rate!r}; pass one such as 0.1")
    return Constant(positive(name, rate))


def positions(epoch: int, steps: int) -> np.ndarray:
    """Where the steps of an epoch stand, in epochs: (steps,), float64."""
    return epoch + np.arange(steps) / steps


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout.

    Examples
    --------
    >>> Constant(0.5)(epoch=3, steps=2)
    array([0.5, 0.5])
    """

    rate: float

    def __post_init__(self) -> None:
        validate_fields(self, rate=positive)

    def __call__(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """The rate, for every step."""
        return np.full(steps, self.rate, dtype=np.float64)
