"""An epoch of steps, run some at a time, so that a signal or a checkpoint need not wait for its end."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from array_api_compat import array_namespace

from nn_any.backends import Device, Engine, to_numpy
from nn_any.core.state import Step, TrainState
from nn_any.core.typing import Array, Batch
from nn_any.datasets.rows import Rows
from nn_any.evaluation import CHUNK_ELEMENTS

_WORK_ON_CPU, _WORK_ON_ACCELERATOR = 60 * 10**9, 20 * 10**11
"""How many multiplications a segment may have: some tenths of a second on a usual machine."""
_STEPS = 20_000
"""How many steps a segment may have: the smallest step takes its microseconds, too."""

Runner = Callable[[TrainState, int, int], tuple[TrainState, Array]]


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

    Order and rates go to the device once; losses come back once per segment. Where inputs are `Rows`, each step's go to
    the device once as well, those of some steps at a time. The order, on the host, is (n,), or
    (m, n) for an ensemble of m networks; the rates, on `device`, are (steps,), or (steps, m). An epoch goes on with the
    step number `begin`. Each segment yields the state after it, its losses, (steps,), or (steps, m), and what `finite`
    says of that state, () or (m,), bool. The device is asked that before the host waits for the losses.
    """
    *lead, n = order.shape
    full = n // batch_size
    cut = full * batch_size
    parts = [order[..., :cut].reshape(*lead, full, batch_size), order[..., None, cut:]]
    for drawn, first in zip(parts, (0, full), strict=True):
        steps = drawn.shape[-2]
        if drawn.size == 0 or begin >= first + steps:
            continue
        size = length or steps
        turned = np.moveaxis(drawn, -2, 0)
        run = runner(device, engine, step, data, turned, rates[first : first + steps, ...], size)
        start = max(begin - first, 0)
        while start < steps:
            stop = min((start // size + 1) * size, steps)  # an epoch that goes on has the same segments
            state, losses = run(state, start, stop)
            sound = finite(state)
            yield state, to_numpy(losses), to_numpy(sound)
            start = stop


def runner(
    device: Device, engine: Engine, step: Step, data: Batch, order: np.ndarray, rates: Array, size: int | None = None
) -> Runner:
    """What runs some of the steps: ``(state, start, stop) -> (state, losses)``, as `Engine.run` does.

    The order is (steps, batch) on the host, or (steps, m, batch) for an ensemble; `rates` are as `Engine.run` takes
    them. Each segment of `size` steps begins a new chunk of `Rows`.
    """
    dtype = device.index_dtype if data[0].shape[0] < 2**31 else device.integer_dtype
    if isinstance(data[0], Rows):
        return _streamed(device, engine, step, data, order, rates, size or order.shape[0], dtype)
    placed = _placed(order, device, dtype)
    return lambda state, start, stop: engine.run(step, state, data, placed, rates, start, stop)


def _streamed(
    device: Device, engine: Engine, step: Step, data: Batch, order: np.ndarray, rates: Array, size: int, dtype: str
) -> Runner:
    """The runner where inputs are `Rows`: as many steps at a time as fit into a chunk, at least one.

    All chunks have one shape, and a step's rows have their place in them, so engines compile what they compile for an
    array; a program that is given the number of a step gets the right one.
    """
    rows, *others = data
    steps, each = order.shape[0], math.prod(order.shape[1:])
    most = max(1, CHUNK_ELEMENTS // (each * math.prod(rows.shape[1:])))
    length = -(-size // -(-size // most))
    places = (np.arange(steps) % size % length)[:, None] * each + np.arange(each)
    placed = device.asarray(places.reshape(order.shape), dtype)
    take = device.engine.compile(_taken)

    def chunk(start: int, stop: int) -> Batch:
        at, index = start % size % length * each, np.zeros(length * each, order.dtype)
        numbers = order[start:stop].reshape(-1)
        index[at : at + len(numbers)] = numbers
        dense = rows.dense(numbers, at=at, size=len(index))
        return (dense, *take(tuple(others), device.asarray(index, dtype)))

    def run(state: TrainState, start: int, stop: int) -> tuple[TrainState, Array]:
        losses: list[np.ndarray] = []
        found: Array = None
        while start < stop:
            end = min(start + length - start % size % length, start + size - start % size, stop)
            given = chunk(start, end)  # while the device is at work on the chunk before
            if found is not None:
                losses.append(to_numpy(found))
            state, found = engine.run(step, state, engine.feed(given), placed, rates, start, end)
            start = end
        return state, np.concatenate([*losses, to_numpy(found)]) if losses else found

    return run


def _taken(columns: Batch, rows: Array) -> Batch:
    """The given rows (k,) of each column."""
    xp = array_namespace(rows)
    return tuple([xp.take(column, rows, axis=0) for column in columns])


def _placed(order: np.ndarray, device: Device, dtype: str) -> Array:
    """The order of the steps on the device: (steps, batch), or (steps, m, batch)."""
    if order.ndim == 2 or device.name == "cpu":  # whose loop takes rows that lie side by side
        return device.asarray(order, dtype)
    # turning a thousand orders takes the host longer than the steps take a GPU: as drawn, (m, steps, batch)
    drawn = device.asarray(np.moveaxis(order, 0, -2), dtype)
    with device.scope():
        return device.xp.moveaxis(drawn, -2, 0)


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
