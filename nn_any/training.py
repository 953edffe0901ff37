"""The epoch loop: which batches, in which order, who watches, and what is kept of it. No maths and no printing."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import numpy as np

from nn_any.backends import Device, Engine, to_numpy
from nn_any.callbacks import Callback
from nn_any.core.errors import NnAnyError
from nn_any.core.functional import Step
from nn_any.core.typing import Array, Batch, Carry
from nn_any.history import History, Record
from nn_any.interrupts import TrainingInterrupted, graceful

if TYPE_CHECKING:
    from nn_any.checkpoints import Checkpoint


class TrainingDivergedError(NnAnyError, RuntimeError):
    """The loss stopped being a finite number; the weights are the last finite ones."""


F = TypeVar("F", bound=Callable[..., Any])


class OutOfMemoryError(NnAnyError, RuntimeError, MemoryError):
    """A device's memory did not suffice for a batch; the message says which batch size would fit."""


class NetworkBusyError(NnAnyError, RuntimeError):
    """A network that is being trained was told to train."""


_busy, _busy_lock = WeakSet[Any](), Lock()


def exclusively(method: F) -> F:
    """Let no other call train the network, from another thread or from a callback: NetworkBusyError if one does."""

    @functools.wraps(method)
    def call(network: Any, *args: Any, **kwargs: Any) -> Any:
        with _busy_lock:
            if network in _busy:
                raise NetworkBusyError(
                    "network: expected one that is not being trained, got one that another call of fit is training; "
                    "wait for it to end, or train a copy: net.copy()"
                )
            _busy.add(network)
        try:
            return method(network, *args, **kwargs)
        finally:
            with _busy_lock:
                _busy.discard(network)

    return call  # type: ignore[return-value]


@dataclass
class TrainingRun:
    """A call of ``fit`` or ``SGD``, as callbacks see it.

    Attributes
    ----------
    network : Network
        Its weights are those after the last batch that ended well.
    history : History
        The records so far.
    epochs : int
        How many epochs this call shall run.
    columns : sequence of str
        What the history will hold of each epoch.
    stop : bool
        Set it to end after this epoch.
    begun : bool
        Whether all callbacks have agreed to the run.
    """

    network: Any
    history: History
    epochs: int
    columns: Sequence[str] = ()
    stop: bool = field(default=False)
    begun: bool = field(default=False, repr=False)

    @property
    def record(self) -> Record:
        """What is known of the last epoch."""
        return self.history.records[-1]


def train(
    run: TrainingRun,
    one_epoch: Callable[[Callable[[], None]], None],
    callbacks: Sequence[Callback],
    finished: Callable[[], bool] = lambda: False,
    checkpoint: "Checkpoint | None" = None,
) -> History:
    """Run epoch after epoch and let the callbacks watch; they are told of the end whatever ends it.

    Ctrl-C and SIGTERM end the run after the segment of steps at hand, and whatever ends it early, the checkpoint is
    written first. `one_epoch` adds to the history, and takes what it shall call between its segments.
    """
    with graceful() as caught:

        def heed() -> None:
            if caught.signal is not None:
                name, epoch = caught.signal.name, run.network.epoch
                raise TrainingInterrupted(f"{name} ended the training in epoch {epoch + 1}", run.history, caught.signal)

        def pulse() -> None:
            heed()
            if checkpoint is not None:
                checkpoint.between(run, callbacks)

        with ExitStack() as ends:
            try:
                for callback in callbacks:
                    ends.callback(callback.on_train_end, run)
                    callback.on_train_begin(run)
                if checkpoint is not None:
                    checkpoint.begin(run, callbacks)
                run.begun, run.stop = True, run.stop or finished()
                while len(run.history) < run.epochs and not run.stop:
                    pulse()
                    one_epoch(pulse)
                    for callback in callbacks:
                        callback.on_epoch_end(run)
                    run.stop = run.stop or finished()
                    if checkpoint is not None:
                        checkpoint.after_epoch(run, callbacks)
            except (Exception, TrainingInterrupted):
                if checkpoint is not None and checkpoint.ready:
                    checkpoint.save(run, callbacks)
                raise
        heed()  # a signal that came in the last epoch is still one
    return run.history


def run_segments(
    device: Device,
    engine: Engine,
    step: Step,
    carry: Carry,
    columns: Batch,
    order: np.ndarray,
    rates: Array,
    batch_size: int,
    *,
    begin: int = 0,
    length: int | None = None,
) -> Iterator[tuple[Carry, np.ndarray]]:
    """An epoch of steps, some at a time; the short last one is by itself.

    Order and rates go to the device once; the losses come back once a segment.

    Parameters
    ----------
    columns : the data on `device`, (n, ...) each
    order : array, (n,), integer, on the host; (m, n) for an ensemble of m networks
    rates : array, (steps,), on `device`; (steps, m) for an ensemble
    begin : int
        The first step to run, where an epoch goes on.
    length : int, optional
        How many steps a segment has at most; all of them by default.

    Yields
    ------
    carry : after the segment
    losses : NumPy array, (steps of the segment,), or (steps of the segment, m)
    """
    *lead, n = order.shape
    full = n // batch_size
    cut = full * batch_size
    parts = [np.moveaxis(order[..., :cut].reshape(*lead, full, batch_size), -2, 0), order[None, ..., cut:]]
    for rows, first in zip(parts, (0, full), strict=True):
        if rows.size == 0 or begin >= first + len(rows):
            continue
        moved, own = device.asarray(rows, device.integer_dtype), rates[first : first + len(rows), ...]
        size = length or len(rows)
        start = max(begin - first, 0)
        while start < len(rows):
            stop = min((start // size + 1) * size, len(rows))  # where an epoch goes on, it meets the same segments
            carry, losses = engine.run(step, carry, columns, moved, own, start, stop)
            yield carry, to_numpy(losses)
            start = stop


def segment_length(steps: int, work: int, device: Device) -> int:
    """How many steps to run between two looks at the losses and at signals: some tenths of a second on a usual machine.

    Parameters
    ----------
    steps : int
        Of an epoch.
    work : int
        How long a step takes, in multiplications of matrices.

    Examples
    --------
    >>> segment_length(5000, 700_000, Device("numpy", "cpu"))
    5000
    >>> segment_length(390, 1_800_000_000, Device("numpy", "cpu"))
    30
    """
    limit = max(1, (_WORK_ON_CPU if device.name == "cpu" else _WORK_ON_ACCELERATOR) // max(work, 1))
    limit = min(limit, _STEPS)  # the smallest step takes its microseconds, too
    if limit >= steps:
        return max(steps, 1)
    divisors = (size for size in range(limit, limit // 2, -1) if steps % size == 0)
    return next(divisors, limit)  # equal segments are compiled once


_WORK_ON_CPU, _WORK_ON_ACCELERATOR, _STEPS = 60 * 10**9, 20 * 10**11, 20_000


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
    """One epoch of steps in one go, as `run_segments` has it: the carry after it and all losses."""
    ran = list(run_segments(device, engine, step, carry, columns, order, rates, batch_size))
    return ran[-1][0], np.concatenate([losses for _, losses in ran])
