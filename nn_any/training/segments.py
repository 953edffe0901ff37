"""An epoch of steps, run some at a time, so that a signal or a checkpoint need not wait for its end."""

from collections.abc import Callable, Iterator

import numpy as np

from nn_any.backends import Device, Engine, to_numpy
from nn_any.core.state import Step, TrainState
from nn_any.core.typing import Array, Batch

_WORK_ON_CPU, _WORK_ON_ACCELERATOR = 60 * 10**9, 20 * 10**11
"""How many multiplications a segment may have: some tenths of a second on a usual machine."""
_STEPS = 20_000
"""How many steps a segment may have: the smallest step takes its microseconds, too."""


def run_segments(
    device: Device,
    engine: Engine,
    step: Step,
    state: TrainState,
    data: Batch,
    order: np.ndarray,
    rates: Array,
    batch_size: int,
    finite: Callable[[TrainState], Array],
    *,
    begin: int = 0,
    length: int | None = None,
) -> Iterator[tuple[TrainState, np.ndarray, np.ndarray]]:
    """Run an epoch of steps, at most `length` at a time; the short last batch is a segment of its own.

    Order and rates go to the device once; losses come back once per segment. The order, on the host, is (n,), or
    (m, n) for an ensemble of m networks; the rates, on `device`, are (steps,), or (steps, m). An epoch goes on with the
    step number `begin`. Each segment yields the state after it, its losses, (steps,), or (steps, m), and what `finite`
    says of that state, () or (m,), bool. The device is asked that before the host waits for the losses.
    """
    *lead, n = order.shape
    full = n // batch_size
    cut = full * batch_size
    dtype = device.index_dtype if n < 2**31 else device.integer_dtype
    parts = [order[..., :cut].reshape(*lead, full, batch_size), order[..., None, cut:]]
    for drawn, first in zip(parts, (0, full), strict=True):
        steps = drawn.shape[-2]
        if drawn.size == 0 or begin >= first + steps:
            continue
        moved, own = _placed(drawn, device, dtype), rates[first : first + steps, ...]
        size = length or steps
        start = max(begin - first, 0)
        while start < steps:
            stop = min((start // size + 1) * size, steps)  # an epoch that goes on has the same segments
            state, losses = engine.run(step, state, data, moved, own, start, stop)
            sound = finite(state)
            yield state, to_numpy(losses), to_numpy(sound)
            start = stop


def _placed(drawn: np.ndarray, device: Device, dtype: str) -> Array:
    """The order of the steps on the device: (steps, batch), or (m, steps, batch) as drawn -> (steps, m, batch)."""
    if drawn.ndim == 2:
        return device.asarray(drawn, dtype)
    if device.name == "cpu":  # whose loop takes rows that lie side by side
        return device.asarray(np.moveaxis(drawn, -2, 0), dtype)
    order = device.asarray(drawn, dtype)  # turning a thousand orders takes the host longer than the steps take a GPU
    with device.scope():
        return device.xp.moveaxis(order, -2, 0)


def segment_length(steps: int, work: int, device: Device) -> int:
    """How many steps to run between two pauses: some tenths of a second on a usual machine.

    Parameters
    ----------
    steps : int
        The number of steps of an epoch.
    work : int
        How long a step takes, in multiplications of matrix products.

    Examples
    --------
    >>> segment_length(5000, 700_000, Device("numpy", "cpu"))
    5000
    >>> segment_length(390, 1_800_000_000, Device("numpy", "cpu"))
    30
    """
    limit = max(1, (_WORK_ON_CPU if device.name == "cpu" else _WORK_ON_ACCELERATOR) // max(work, 1))
    limit = min(limit, _STEPS)
    if limit >= steps:
        return max(steps, 1)
    divisors = (size for size in range(limit, limit // 2, -1) if steps % size == 0)
    return next(divisors, limit)  # equal segments are compiled once


def batch_sizes(n: int, batch_size: int) -> np.ndarray:
    """The number of examples in each batch of an epoch: (batches,), the last one perhaps shorter.

    Examples
    --------
    >>> batch_sizes(25, 10)
    array([10, 10,  5])
    """
    batches = -(-n // batch_size)
    sizes = np.full(batches, batch_size)
    sizes[-1] = n - batch_size * (batches - 1)
    return sizes
