"""What a run has settled before its first epoch, and what runs its epochs."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from nn_any import metrics as measures
from nn_any.backends import Device, Engine
from nn_any.core.errors import InvalidValueError
from nn_any.core.optimizers import Optimizer
from nn_any.core.specification import Specification
from nn_any.core.state import Record, Snapshot
from nn_any.core.typing import Array
from nn_any.datasets.network_input import Examples


class Plan(NamedTuple):
    """What a call of ``fit`` has checked and laid out."""

    specification: Specification
    """The network's, with the schema of the training data."""
    examples: Examples
    batch_size: int
    optimizer: Optimizer
    shuffle: bool
    evaluated: Mapping[str, Examples]
    """The data that are evaluated after each epoch, by the names that the history's columns begin with."""
    metrics: Mapping[str, measures.Function]
    directions: Mapping[str, bool]
    """Whether higher is better, of those metrics that say it themselves."""
    columns: list[str]
    """What the history will hold."""
    segment: int
    """How many steps of a network run between two pauses."""

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return -(-self.examples.size // self.batch_size)


Pauses = Iterator[tuple[Snapshot, Record | None]]
"""The snapshot at each pause of an epoch with None, and the one at its end with the record of the epoch."""


class EpochRunner(NamedTuple):
    """The functions that train a snapshot epoch by epoch."""

    begin: Callable[[Snapshot, Device, Plan], Snapshot]
    """Where the run starts; raises an error if these data and this optimizer do not suit the network."""
    run_epoch: Callable[[Snapshot, Device, list[Engine], Plan], Pauses]
    """One epoch, or the rest of one that was interrupted."""
    is_finished: Callable[[Snapshot], bool]
    """Whether the optimizer has nothing left to do."""


def place_rates(rates: np.ndarray, device: Device, dtype: str) -> Array:
    """Learning rates on the device, once each is a finite number in the network's dtype."""
    with np.errstate(over="ignore"):
        finite = np.isfinite(rates.astype(dtype)).all()
    if not finite:
        raise InvalidValueError(
            f"learning_rate: expected a finite {dtype} number, got {rates.max():g}; use a smaller one"
        )
    return device.asarray(rates, dtype)


def check_schedule(optimizer: Optimizer, plan: Plan) -> None:
    """Raise an error if the schedule monitors what the history will not hold."""
    optimizer.rates(1, plan.steps, [dict.fromkeys(plan.columns, 0.0)])
