"""Schedules that follow what training achieves; they replay the records at each call, so that nothing need be kept."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.options import below_one, choice, closest, integer, number, positive, validate_fields
from nn_any.core.schedules.base import Records, Schedule
from nn_any.core.schedules.directions import higher_is_better, monitored_value


def _name(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidTypeError(f"{name}: expected the name of a recorded value, got {value!r}; pass a string")
    return value


def _mode(name: str, value: Any) -> str | None:
    return None if value is None else choice(name, value, "min", "max")


def _check_recorded(monitor: str, columns: Iterable[str]) -> None:
    if monitor not in (recorded := list(columns)):
        raise InvalidValueError(
            f"monitor: expected one of the recorded {', '.join(recorded)}, got {monitor!r}; "
            f"choose one of these, or pass the data that it is taken from to fit{closest(monitor, recorded)}"
        )


def _improvements(records: Records, monitor: str, mode: str | None, threshold: float = 0.0) -> Iterator[bool]:
    """Whether each epoch's value is better than the best before it, by that part of the best's size; NaN never is."""
    best: float | None = None
    for record in records:
        _check_recorded(monitor, record)
        up = higher_is_better(monitor) if mode is None else mode == "max"
        best = (-math.inf if up else math.inf) if best is None else best
        value = monitored_value(record, monitor)
        improved = value > best if up else value < best
        if improved and math.isfinite(best):
            improved = abs(value - best) > threshold * abs(best)
        best = value if improved else best
        yield improved


class _Monitoring(Schedule):
    """A schedule with a `monitor`, which may take its `mode` from what metrics of the user's own say of themselves."""

    monitor: str
    mode: str | None

    def begin(self, columns: Sequence[str], own: Mapping[str, bool]) -> Schedule:
        """This schedule in a run, with the mode of a metric that says it itself."""
        _check_recorded(self.monitor, columns)
        if self.mode is not None:
            return self
        up = higher_is_better(self.monitor, own)
        try:
            higher_is_better(self.monitor)
        except InvalidValueError:
            return replace(self, mode="max" if up else "min")  # type: ignore[type-var]
        return self


@dataclass(frozen=True)
class ReduceOnPlateau(_Monitoring):
    """The rate is multiplied by `factor` when a recorded value has not improved for more than `patience` epochs.

    `mode` says whether ``"min"`` or ``"max"`` is better; None leaves that to `higher_is_better`, which knows the
    library's own measures, and to an attribute `higher_is_better` of a metric function. An improvement must be larger
    than the fraction `threshold` of the size of the best value so far. The `cooldown` epochs after a reduction do not
    count, and the rate does not fall below `minimum`.

    Examples
    --------
    >>> ReduceOnPlateau(1.0, patience=0)(epoch=2, steps=1, records=[{"validation_loss": 2.0}, {"validation_loss": 3.0}])
    array([0.1])
    """

    rate: float
    monitor: str = "validation_loss"
    mode: str | None = None
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    minimum: float = 0.0

    def __post_init__(self) -> None:
        count, share = partial(integer, minimum=0), partial(below_one, above=True)
        validate_fields(self, rate=positive, monitor=_name, mode=_mode, factor=share, patience=count)
        validate_fields(self, threshold=number, cooldown=count, minimum=number)

    def __call__(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """The rate that the records lead to, for every step."""
        rate, bad, cooling = self.rate, 0, 0
        for improved in _improvements(records, self.monitor, self.mode, self.threshold):
            bad = 0 if improved or cooling else bad + 1
            cooling = max(cooling - 1, 0)
            if bad > self.patience:
                rate, bad, cooling = max(rate * self.factor, min(rate, self.minimum)), 0, self.cooldown
        return np.full(steps, rate, dtype=np.float64)


@dataclass(frozen=True)
class HalveOnNoImprovement(_Monitoring):
    """The rate is halved whenever the best value is `patience` epochs old, until it would come to rate · `until`.

    Training then ends: `finished` says so (Nielsen, chapter 3, the exercise on a learning schedule). `mode` is that of
    `ReduceOnPlateau`.

    Examples
    --------
    >>> schedule, records = HalveOnNoImprovement(0.5, patience=2, until=1/4), [{"validation_accuracy": 0.9}] * 5
    >>> schedule(epoch=3, steps=1, records=records[:3]), schedule.finished(records[:3]), schedule.finished(records)
    (array([0.25]), False, True)
    """

    rate: float
    monitor: str = "validation_accuracy"
    patience: int = 10
    until: float = 1 / 128
    mode: str | None = None

    def __post_init__(self) -> None:
        share = partial(below_one, above=True)
        validate_fields(self, rate=positive, monitor=_name, patience=integer, until=share, mode=_mode)

    def __call__(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """The rate that the records lead to, for every step."""
        return np.full(steps, self.rate * 0.5 ** self._halvings(records), dtype=np.float64)

    def finished(self, records: Records) -> bool:
        """Whether the rate has come down to rate · `until`."""
        return 0.5 ** self._halvings(records) <= self.until

    def _halvings(self, records: Records) -> int:
        halvings, age = 0, 0
        for improved in _improvements(records, self.monitor, self.mode):
            age = 0 if improved else age + 1
            if age == self.patience:
                halvings, age = halvings + 1, 0
        return halvings
