"""How CuPy runs training steps: the fused kernel, else a captured graph, else one by one."""

import time
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import cupy

from nn_any.backends._cupy_fused import FusedSteps
from nn_any.backends._cupy_graph import CapturedSteps
from nn_any.backends._cupy_products import Products, using
from nn_any.backends.cuda import MATHS, Unsuitable, chosen_math
from nn_any.backends.engine import Engine, fall_back, logger
from nn_any.backends.programs import ProgramCache
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Array, Batch

Runner = FusedSteps | CapturedSteps | None


class CupyEngine(Engine):
    """One GPU, made current, since CuPy creates and computes on the current one.

    Attributes
    ----------
    fused_reason : str
        Why the fused kernel does not run the steps, if it does not.
    """

    fused_reason = ""

    def __init__(self, index: int, mode: str = "auto") -> None:
        self._index, self._mode, self._math = index, mode, chosen_math()
        self.programs = ProgramCache(None)
        self.name = "eager" if mode == "eager" else "cupy"
        self._fed: dict[Any, Batch] = {}

    def scope(self) -> AbstractContextManager[Any]:
        device: AbstractContextManager[Any] = cupy.cuda.Device(self._index)
        return device

    def feed(self, data: Batch) -> Batch:
        """Copy the chunk to where the first one of its shape lies: graphs and kernels are made for arrays."""
        place = self._fed.setdefault(tuple([(column.shape, column.dtype) for column in data]), data)
        if place is not data:
            with self.scope():
                for own, new in zip(place, data, strict=True):
                    cupy.copyto(own, new)
        return place

    def run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        """Run the steps by whatever has been found, or is now found, to run such steps fastest."""
        with self.scope():
            kinds = tuple([(leaf.shape, leaf.dtype) for leaf in (order, rates, *tree_leaves(state))])
            key = step, kinds, tuple(id(column) for column in data)
            runner: Runner  # beside it the data are kept, so that no other arrays come to have their ids
            _, runner = self.programs.get_or_make(key, lambda: (data, self._runner(step, state, data, order, rates)))
            if runner is not None:
                return runner.run(state, order, rates, start, stop)
            with using(self._products):
                return super().run(step, state, data, order, rates, start, stop)

    @cached_property
    def _products(self) -> Products | None:
        """What multiplies in the plain loop: CuPy itself, unless less than float32 is asked for."""
        return None if self._math == MATHS[0] else Products(self._math)

    def _runner(self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array) -> Runner:
        """What runs these steps: None means one by one. Sets the engine's name, and adds to the time for compiling."""
        if self._mode == "eager":
            return None
        begun = time.perf_counter()
        runner: Runner = self._fused(step, data, order)
        try:
            runner = runner or CapturedSteps(step, state, data, order, rates, self._math)
        except Exception as error:
            self.name = CapturedSteps.name
            fall_back(self, self._mode, f"{type(error).__name__}: {error}")
            return None
        self.compile_seconds += time.perf_counter() - begun
        self.name = runner.name
        return runner

    def _fused(self, step: Step, data: Batch, order: Array) -> FusedSteps | None:
        """The fused kernel, if it is for these steps; where it should be and CUDA refuses it, that is told."""
        try:
            return FusedSteps(step, data, order)
        except Unsuitable as reason:
            self.fused_reason = str(reason)
        except Exception as error:
            self.fused_reason = f"{type(error).__name__}: {error}"
            logger.warning("%s cannot run these steps, a graph is tried: %s", FusedSteps.name, self.fused_reason)
        return None
