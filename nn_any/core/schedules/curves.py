"""Schedules that are a formula of the time alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from nn_any.core.options import below_one, number, positive, validate_fields
from nn_any.core.schedules.base import Records, Schedule, as_schedule, positions


@dataclass(frozen=True)
class StepDecay(Schedule):
    """η = rate · factor^⌊e / every⌋: multiplied by `factor` every `every` epochs.

    Examples
    --------
    >>> StepDecay(1.0, every=0.5, factor=0.1)(epoch=0, steps=4)
    array([1. , 1. , 0.1, 0.1])
    """

    rate: float
    every: float
    factor: float = 0.1

    def __post_init__(self) -> None:
        validate_fields(self, rate=positive, every=positive, factor=positive)

    def __call__(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """rate · factor^⌊e / every⌋."""
        # 0.3 / 0.1 is 2.9999999999999996: the fall shall not come a step late for that
        falls = np.floor(positions(epoch, steps) / self.every + 1e-9)
        return np.asarray(self.rate * np.power(self.factor, falls, dtype=np.float64))


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """η = rate · factor^e: multiplied by `factor` in the course of each epoch.

    Examples
    --------
    >>> ExponentialDecay(1.0, factor=0.25)(epoch=1, steps=2)
    array([0.25 , 0.125])
    """

    rate: float
    factor: float

    def __post_init__(self) -> None:
        validate_fields(self, rate=positive, factor=positive)

    def __call__(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """rate · factor^e."""
        return np.asarray(self.rate * np.power(self.factor, positions(epoch, steps), dtype=np.float64))


def _cosine(start: float, end: float, progress: np.ndarray) -> np.ndarray:
    """From `start` to `end` along half a cosine while `progress` goes from 0 to 1."""
    return np.asarray(end + (start - end) / 2 * (1 + np.cos(np.pi * np.clip(progress, 0.0, 1.0))))


@dataclass(frozen=True)
class Cosine(Schedule):
    """η = final + ½ (rate - final) (1 + cos(π e / epochs)), and `final` afterwards.

    Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, arXiv:1608.03983, equation 5, without
    the restarts.

    Examples
    --------
    >>> Cosine(1.0, epochs=1)(epoch=0, steps=2), Cosine(1.0, epochs=1)(epoch=1, steps=2)
    (array([1. , 0.5]), array([0., 0.]))
    """

    rate: float
    epochs: float
    final: float = 0.0

    def __post_init__(self) -> None:
        validate_fields(self, rate=positive, epochs=positive, final=number)

    def __call__(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """final + ½ (rate - final) (1 + cos(π e / epochs)), and `final` afterwards."""
        return _cosine(self.rate, self.final, positions(epoch, steps) / self.epochs)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up along half a cosine, down along another to next to nothing, and no further.

    From peak / start_factor to `peak` in the part `warmup` of so many `epochs`, then to peak / (start_factor ·
    final_factor), which its last step has. Smith and Topin, Super-convergence: very fast training of neural networks
    using large learning rates, arXiv:1708.07120.

    Examples
    --------
    >>> OneCycle(1.0, epochs=1)(epoch=0, steps=10).round(2)
    array([0.04, 0.52, 1.  , 0.95, 0.81, 0.61, 0.39, 0.19, 0.05, 0.  ])
    """

    peak: float
    epochs: float
    warmup: float = 0.3
    start_factor: float = 25.0
    final_factor: float = 1e4

    def __post_init__(self) -> None:
        validate_fields(self, peak=positive, epochs=positive, warmup=below_one)
        validate_fields(self, start_factor=positive, final_factor=positive)

    def with_rate(self, rate: float) -> Schedule:
        """The cycle with another peak."""
        return replace(self, peak=rate)

    def __call__(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """The cycle, counted in steps."""
        step = epoch * steps + np.arange(steps)
        top, end = self.warmup * (self.epochs * steps) - 1, self.epochs * steps - 1
        first = self.peak / self.start_factor
        down = _cosine(self.peak, first / self.final_factor, (step - top) / (end - top))
        # a way up that takes no time is left out
        return np.where(step <= top, _cosine(first, self.peak, step / top), down) if top > 0 else down


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A linear rise to the first rate of another schedule, which then begins at its own beginning.

    η = r (start + (1 - start) e / epochs) while e < epochs, r being the first rate of `schedule` (or of a number). The
    other schedule counts its epochs from the first step after the rise, and sees the records of those that begin after
    it. Goyal et al., Accurate, large minibatch SGD: training ImageNet in 1 hour, arXiv:1706.02677, section 2.2.

    Examples
    --------
    >>> WarmUp(Cosine(1.0, epochs=1), epochs=0.5)(epoch=0, steps=4)
    array([0.        , 0.5       , 1.        , 0.85355339])
    """

    schedule: Any
    epochs: float
    start: float = 0.0

    def __post_init__(self) -> None:
        validate_fields(self, epochs=positive, start=partial(number, maximum=1.0))
        object.__setattr__(self, "schedule", as_schedule(self.schedule, "schedule"))

    def with_rate(self, rate: float) -> Schedule:
        """The rise to the other schedule at another rate."""
        return replace(self, schedule=self.schedule.with_rate(rate))

    def begin(self, columns: Sequence[str], own: Mapping[str, bool]) -> Schedule:
        """The rise to the other schedule as that begins."""
        return replace(self, schedule=self.schedule.begin(columns, own))

    def __call__(self, epoch: int, steps: int, records: Records = ()) -> np.ndarray:
        """The rise, then the other schedule."""
        reached = self.start + (1 - self.start) * positions(epoch, steps) / self.epochs
        rise = np.asarray(self.schedule(0, steps, ())[0] * reached)
        gone = epoch * steps - math.ceil(self.epochs * steps - 1e-9)  # steps since the rise, below 0 during it
        left = min(max(-gone, 0), steps)
        if left == steps:
            return rise
        # this epoch may begin in the middle of one of the other schedule's, and then lies in two of them
        own, offset = divmod(gone + left, steps)
        after = [self.schedule(e, steps, self._seen(records)) for e in range(own, own + 1 + (offset > 0))]
        return np.concatenate([rise[:left], np.concatenate(after)[offset:]])[:steps]

    def finished(self, records: Records) -> bool:
        """Whether the other schedule has ended."""
        return bool(self.schedule.finished(self._seen(records)))

    def _seen(self, records: Records) -> Records:
        return records[math.ceil(self.epochs - 1e-9) :]
