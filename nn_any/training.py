"""The epoch loop: which batches, in which order, who watches, and what is kept of it. No maths and no printing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nn_any.backends import Device, Engine, to_numpy
from nn_any.callbacks import Callback
from nn_any.core.functional import Step
from nn_any.core.typing import Array, Batch, Carry
from nn_any.history import History, Record


class TrainingDivergedError(RuntimeError):
    """The loss stopped being a finite number; the weights are those from before that epoch."""


@dataclass
class TrainingRun:
    """A call of ``fit`` or ``SGD``, as callbacks see it.

    Attributes
    ----------
    network : Network
        Its weights are those after the last finished epoch.
    history : History
        The records so far.
    epochs : int
        How many epochs this call shall run.
    columns : sequence of str
        What the history will hold of each epoch.
    stop : bool
        Set it to end after this epoch.
    """

    network: Any
    history: History
    epochs: int
    columns: Sequence[str] = ()
    stop: bool = field(default=False)

    @property
    def record(self) -> Record:
        """What is known of the last epoch."""
        return self.history.records[-1]


def train(
    run: TrainingRun,
    one_epoch: Callable[[], Record],
    callbacks: Sequence[Callback],
    finished: Callable[[], bool] = lambda: False,
) -> History:
    """Run epoch after epoch and let the callbacks watch; they are told of the end whatever ends it."""
    begun = []
    try:
        for callback in callbacks:
            begun.append(callback)
            callback.on_train_begin(run)
        run.stop = run.stop or finished()
        while len(run.history) < run.epochs and not run.stop:
            run.history.append(one_epoch())
            for callback in callbacks:
                callback.on_epoch_end(run)
            run.stop = run.stop or finished()
    finally:
        for callback in reversed(begun):
            callback.on_train_end(run)
    return run.history


def run_epoch(
    device: Device,
    engine: Engine,
    step: Step,
    carry: Carry,
    columns: Batch,
    order: np.ndarray,
    rates: Array,
    batch_size: int,
) -> tuple[Carry, np.ndarray]:
    """One epoch of steps: the full batches as one segment, the short last one as another.

    Order and rates go to the device once; the losses come back once, at the end.

    Parameters
    ----------
    columns : the data on `device`, (n, ...) each
    order : array, (n,), integer, on the host; (m, n) for an ensemble of m networks
    rates : array, (steps,), on `device`; (steps, m) for an ensemble

    Returns
    -------
    carry : after the last step
    losses : NumPy array, (steps,), or (steps, m)
    """
    *lead, n = order.shape
    full, rest = divmod(n, batch_size)
    cut = full * batch_size
    segments = []
    if full:
        batches = order[..., :cut].reshape(*lead, full, batch_size)
        segments.append((np.moveaxis(batches, -2, 0), rates[:full, ...]))
    if rest:
        segments.append((order[None, ..., cut:], rates[full:, ...]))
    losses = []
    for rows, segment_rates in segments:
        moved = device.asarray(rows, device.integer_dtype)
        carry, values = engine.run(step, carry, columns, moved, segment_rates, 0, len(rows))
        losses.append(values)
    return carry, np.concatenate([to_numpy(values) for values in losses])
