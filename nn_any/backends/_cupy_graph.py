"""Training steps as a captured CUDA graph: replaying it needs nothing from the host.

What has to hold, or replays are silently wrong:

- The stream is neither the default one nor one that waits for it; every kernel has run once before it is captured.
- What the graph writes to stays allocated, and serves nobody else (cupy/cupy#9655): the memory is the graph's own. The
  data set's arrays are held.
- Python numbers are frozen at capture: the learning rate and the batch are picked by a counter on the device.
- Matrix products go past CuPy to cuBLAS, for CuPy refuses it during capture.
- A state is overwritten after all that reads it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any

import array_api_compat.cupy as xp
import cupy
import numpy as np

from nn_any.backends._cupy_memory import GraphMemory
from nn_any.backends._cupy_products import Products, using
from nn_any.backends._cupy_program import StepProgram
from nn_any.backends.engine import logger, one_line, take_rows
from nn_any.backends.in_place import changes
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_map
from nn_any.core.typing import Array, Batch

CAPTURING = RLock()
"""Held while a graph is captured, and by what waits for a whole GPU: CUDA lets nobody do that in mid-capture."""

_STEPS_A_LAUNCH = 16  # a launch costs the host some microseconds

_record = cupy.ElementwiseKernel(
    "T loss, raw int64 at, int64 ahead",
    "raw T losses",
    "losses[(at[0] + ahead) * _ind.size() + i] = loss",
    "nn_any_record",
)


class CapturedSteps:
    """The graph of one step function on one data set, for orders and rates of one shape.

    It takes what `Engine.run` does, and the arithmetic of products, one of `nn_any.backends.cuda.MATHS`. It raises
    whatever CuPy or CUDA says of a step that cannot be captured.

    Attributes
    ----------
    uncompiled_reason : str
        Why the step is captured as it is, rather than compiled to fewer kernels, if it is.
    """

    name = "cupy graph"
    uncompiled_reason = ""

    def __init__(self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, arithmetic: str) -> None:
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._memory = GraphMemory()
        with self._stream, cupy.cuda.using_allocator(self._memory.malloc):
            self._products = Products(arithmetic)
            self._state: TrainState = tree_map(lambda leaf: cupy.empty(leaf.shape, leaf.dtype), state)
            self._order, self._rates = cupy.empty(order.shape, order.dtype), cupy.empty(rates.shape, rates.dtype)
            self._at = cupy.zeros(1, np.int64)
        self._done = self._stream.record()
        with CAPTURING:
            try:
                self._make(StepProgram, step, state, data, order, rates)
            except Exception as error:  # whatever it is, the step itself may still be captured
                self.uncompiled_reason = one_line(error)
                logger.info("the step is captured as it is, in many kernels: %s", self.uncompiled_reason)
                self._make(_AsItIs, step, state, data, order, rates)

    def _make(self, kind: Any, step: Step, state: TrainState, data: Batch, order: Array, rates: Array) -> None:
        """Make what runs a step, run it, and capture it."""
        self._stream.wait_event(cupy.cuda.get_current_stream().record())  # the data may still be on their way
        try:
            with self._private():
                self._work = kind(step, self._state, data, self._order, self._rates)
            for _ in range(2):
                self._load(state, order, rates, 0)
                with self._private():
                    self._advance(1)
                self._done = self._stream.record()
        finally:  # where a step fails, what it has begun still reads the data
            self._stream.synchronize()
        gc.collect()  # what it finds would be freed in mid-capture otherwise
        self._one = self._captured(1)
        self._many: Any = self._captured(_STEPS_A_LAUNCH) if order.shape[0] >= _STEPS_A_LAUNCH else None

    @contextmanager
    def _private(self) -> Iterator[None]:
        """Our stream, our memory and our products."""
        with self._stream, cupy.cuda.using_allocator(self._memory.malloc), using(self._products):
            yield

    def _load(self, state: TrainState, order: Array, rates: Array, start: int) -> None:
        """Copy what the steps begin with into the graph's own arrays, in the caller's stream; ours waits for it."""
        current = cupy.cuda.get_current_stream()
        current.wait_event(self._done)
        tree_map(cupy.copyto, self._state, state)
        cupy.copyto(self._order, order)
        cupy.copyto(self._rates, rates)
        self._at.fill(start)
        self._stream.wait_event(current.record())

    def _advance(self, steps: int) -> None:
        """The work of the graph: some steps, whose outcome is where the next replay finds it."""
        for ahead in range(steps):
            self._work.launch(self._at, ahead)
        self._at += steps

    def _captured(self, steps: int) -> Any:
        with self._private():
            self._stream.begin_capture()
            try:
                self._advance(steps)
            except BaseException:
                with suppress(Exception):  # the stream must leave its capture, whatever it says
                    self._stream.end_capture()
                raise
            return self._stream.end_capture()

    def run(self, state: TrainState, order: Array, rates: Array, start: int, stop: int) -> tuple[TrainState, Array]:
        """The steps number `start` … `stop` - 1, as `Engine.run` has them."""
        self._load(state, order, rates, start)
        whole, rest = divmod(stop - start, _STEPS_A_LAUNCH)
        for graph in [self._many] * whole + [self._one] * rest:
            graph.launch(self._stream)
        self._done = self._stream.record()
        cupy.cuda.get_current_stream().wait_event(self._done)
        return tree_map(cupy.copy, self._state), self._work.losses[start:stop, ...].copy()


class _AsItIs:
    """A step that cannot be written down: its own calls, and copies of what it leaves."""

    losses: Array = None

    def __init__(self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array) -> None:
        self._step, self._state, self._data, self._order, self._rates = step, state, data, order, rates

    def launch(self, at: Array, ahead: int) -> None:
        """Step number ``at[0] + ahead``, in the current stream."""
        now = at + ahead
        rows = cupy.take(self._order, now, axis=0)[0, ...]
        rate = cupy.take(self._rates, now, axis=0)[0, ...]
        state, loss = self._step(self._state, take_rows(self._data, rows, xp), rate)
        if self.losses is None:  # while warming up: only the step itself tells the dtype and shape of its loss
            self.losses = cupy.empty((self._order.shape[0], *loss.shape), loss.dtype)
        _record(loss, at, ahead, self.losses)
        for own, new in changes(self._state, state, cupy.byte_bounds, cupy.copy):
            cupy.copyto(own, new)
