"""Learning rates that change in the course of training: pure functions of the epoch and of what was recorded so far.

Durations are in epochs, fractions allowed: step i of the n steps of an epoch stands at e = epoch + i/n. A schedule of
your own is a frozen dataclass derived from `Schedule`; pass it where a learning rate could stand.
"""

from nn_any.core.schedules.base import Constant, Schedule, as_schedule, positions
from nn_any.core.schedules.curves import Cosine, ExponentialDecay, OneCycle, StepDecay, WarmUp
from nn_any.core.schedules.directions import higher_is_better
from nn_any.core.schedules.monitoring import HalveOnNoImprovement, ReduceOnPlateau

__all__ = [
    "Constant",
    "Cosine",
    "ExponentialDecay",
    "HalveOnNoImprovement",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
    "WarmUp",
    "as_schedule",
    "higher_is_better",
    "positions",
]
