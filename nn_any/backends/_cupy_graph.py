"""Training steps as a captured CUDA graph: replaying it needs nothing from the host.

What has to hold, or replays go wrong without a word:

- The stream is neither the default one nor one that waits for it; every kernel has run once before it is captured.
- What the graph writes to stays allocated: the memory comes from a pool of its own, which lives as long as the graph
  and serves nobody else (cupy/cupy#9655), and the data set's arrays are held.
- Python numbers are frozen at capture: the learning rate and the batch are picked by a counter on the device.
- Matrix products are our kernel's, for CuPy refuses cuBLAS during capture.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import array_api_compat.cupy as xp
import cupy
import numpy as np

from nn_any.backends._cupy_kernels import own_products
from nn_any.backends.engine import take_rows
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.typing import Array, Batch

_STEPS_A_LAUNCH = 16  # a launch costs the host some microseconds, and copying the state back costs once a launch

_record = cupy.ElementwiseKernel(
    "T loss, raw int64 step", "raw T losses", "losses[step[0] * _ind.size() + i] = loss", "nn_any_record"
)


class CapturedSteps:
    """The graph of one step function on one data set, for orders and rates of one shape.

    It takes what `Engine.run` does, and the arithmetic of products, one of `nn_any.backends.cuda.MATHS`. It raises
    whatever CuPy or CUDA says of a step that cannot be captured.
    """

    name = "cupy graph"

    def __init__(self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, arithmetic: str) -> None:
        self._step, self._data, self._arithmetic = step, data, arithmetic
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._pool = cupy.cuda.MemoryPool()
        with self._private():
            self._state: TrainState = tree_map(lambda leaf: cupy.empty(leaf.shape, leaf.dtype), state)
            self._order, self._rates = cupy.empty(order.shape, order.dtype), cupy.empty(rates.shape, rates.dtype)
            self._at = cupy.zeros(1, np.int64)
            self._losses: Array = None
        self._done = self._stream.record()
        for _ in range(2):
            self._load(state, order, rates, 0)
            with self._private():
                self._advance(1)
            self._stream.synchronize()
        self._one = self._captured(1)
        self._many: Any = self._captured(_STEPS_A_LAUNCH) if order.shape[0] >= _STEPS_A_LAUNCH else None

    @contextmanager
    def _private(self) -> Iterator[None]:
        """Our stream, our memory and our products."""
        with self._stream, cupy.cuda.using_allocator(self._pool.malloc), own_products(self._arithmetic):
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
        """The work of the graph: some steps, and their outcome put back to where the next replay finds it."""
        state = self._state
        for _ in range(steps):
            rows = cupy.take(self._order, self._at, axis=0)[0, ...]
            rate = cupy.take(self._rates, self._at, axis=0)[0, ...]
            state, loss = self._step(state, take_rows(self._data, rows, xp), rate)
            if self._losses is None:  # while warming up: only the step itself tells the dtype and shape of its loss
                self._losses = cupy.empty((self._order.shape[0], *loss.shape), loss.dtype)
            _record(loss, self._at, self._losses)
            self._at += 1
        for own, new in zip(tree_leaves(self._state), tree_leaves(state), strict=True):
            if own.dtype != new.dtype or own.shape != new.shape:
                raise TypeError(f"a step turns {own.dtype} {own.shape} of its state into {new.dtype} {new.shape}")
            if own is not new:
                cupy.copyto(own, new)

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
        return tree_map(cupy.copy, self._state), self._losses[start:stop, ...].copy()
