"""The engine that records a training step once, and replays it."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from nn_any.backends.engine import EagerEngine, Step, fall_back, one_line
from nn_any.backends.replay.kernels import Kernels, LeftAsideError, numpys
from nn_any.backends.replay.program import Program
from nn_any.backends.replay.recorded import UnrecordableError
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Array, Batch, Carry

_logger = logging.getLogger("nn_any")
_KEPT = 2
"""How many programs a network keeps: one for whole batches, and one for the short last batch of an epoch."""
_REMEMBERED = 64
"""For how many shapes of batches it keeps that there is none, and why."""


class ReplayEngine(EagerEngine):
    """Replays a recorded step; what cannot be recorded runs eagerly, and a warning says why.

    Parameters
    ----------
    mode : {"auto", "compiled"}
        What happens to steps that cannot be recorded: they run eagerly, or an `EngineError`.
    choose : callable
        Chooses the kernels, as `kernels.numpys` does, or leaves steps aside: then they run eagerly.
    """

    name = "replay"

    def __init__(self, mode: str = "auto", choose: Callable[..., Kernels] = numpys) -> None:
        self._mode, self._choose = mode, choose
        self.compile_seconds = 0.0
        self.kept = {}

    def run(
        self, step: Step, carry: Carry, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[Carry, Array]:
        """Run the steps in the program that was compiled for batches of this shape."""
        program = self._program(step, carry, data, order, rates)
        if program is None:
            return super().run(step, carry, data, order, rates, start, stop)
        return self._replay(program, carry, data, order, rates, start, stop)

    def _replay(
        self, program: Program, carry: Carry, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[Carry, Array]:
        losses = np.empty(rates[start:stop].shape, rates.dtype)
        data = tuple([np.ascontiguousarray(column) for column in data])  # rows of others are not taken in place
        program.load(carry)
        with ONE_BLAS_THREAD if program.serial else nullcontext(), np.errstate(all="ignore"):
            program.run(data, order[start:stop], rates[start:stop], losses, start)
        return program.unload(carry), losses

    def _give_up(self, reason: str, *, known: bool = False) -> None:
        """Go on eagerly, and tell why once."""
        if self.name == "eager":
            return
        if known and self._mode != "compiled":
            _logger.debug("%s cannot run these steps, as before: %s", self.name, reason)
        else:
            fall_back(self, self._mode, reason)
        self.name = "eager"

    def _program(self, step: Step, carry: Carry, data: Batch, order: Array, rates: Array) -> Program | None:
        leaves = [(leaf.shape, leaf.dtype) for leaf in tree_leaves(carry)]
        columns = [(column.shape[1:], column.dtype) for column in data]
        key = (step, order.shape[1:], order.dtype, rates.shape[1:], rates.dtype, *leaves, *columns, self.alone)
        known = key in self.kept
        if known:
            found = self.kept.pop(key)
        else:
            programs = [other for other, kept in self.kept.items() if isinstance(kept, Program)]
            reasons = [other for other in self.kept if other not in programs]
            for old in programs[: 1 - _KEPT] + reasons[:-_REMEMBERED]:
                del self.kept[old]
            begun = time.perf_counter()
            found = self._compiled(step, carry, data, order, rates)
            self.compile_seconds += time.perf_counter() - begun
            known = found in self.kept.values()  # for another shape of batch
        self.kept[key] = found  # the one used last is the last to go
        if isinstance(found, Program):
            return found
        if found is None:
            self.name = "eager"
        else:
            self._give_up(found, known=known)
        return None

    def _compiled(self, step: Step, carry: Carry, data: Batch, order: Array, rates: Array) -> Program | str | None:
        """A program for batches of this shape, or why there is none; None if that is a choice."""
        try:
            with ONE_BLAS_THREAD, np.errstate(all="ignore"):  # NumPy's threads would fight with SciPy's
                return Program(step, carry, data, order[0], rates[0], alone=self.alone, choose=self._choose)
        except MemoryError:
            raise
        except LeftAsideError:
            return None
        except Exception as error:  # what is wrong with the step itself, the plain loop will tell better
            return str(error) if isinstance(error, UnrecordableError) else one_line(error)


class _OneThread:
    """BLAS with one thread, for as long as any program that wants it runs: the setting is the whole process's."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._pools: Any = None
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                if self._pools is None:
                    from threadpoolctl import ThreadpoolController

                    self._pools = ThreadpoolController()  # it looks through all libraries that are loaded, so once
                self._limits = self._pools.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limits.restore_original_limits()


ONE_BLAS_THREAD = _OneThread()
