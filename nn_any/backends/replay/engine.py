"""The engine that records a training step once, and replays it."""

import time
from contextlib import nullcontext

import numpy as np

from nn_any.backends.blas import ONE_BLAS_THREAD
from nn_any.backends.engine import Engine, fall_back, logger, one_line
from nn_any.backends.programs import ProgramCache, Refusal
from nn_any.backends.replay.kernels import Chooser, LibraryIsFasterError, numpys
from nn_any.backends.replay.program import Program
from nn_any.backends.replay.recorded import UnrecordableError
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Array, Batch


class ReplayEngine(Engine):
    """Replays a recorded step; what cannot be recorded runs eagerly, and a warning says why.

    Parameters
    ----------
    mode : {"auto", "compiled"}
        What happens to steps that cannot be recorded: they run eagerly, or an `EngineError`.
    programs : ProgramCache, optional
        The network's; by default a new one. No other engine may use it meanwhile.
    choose : callable
        Chooses the kernels, as `kernels.numpys` does, or raises `LibraryIsFasterError`: then the steps run eagerly.
    """

    name = "replay"

    def __init__(self, mode: str = "auto", programs: ProgramCache | None = None, choose: Chooser = numpys) -> None:
        self._mode, self._choose = mode, choose
        self.programs = ProgramCache() if programs is None else programs
        self.compile_seconds = 0.0

    def run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        """Run the steps in the program that was compiled for batches of this shape."""
        results = self._replayed(step, state, data, order, rates, start, stop)
        return super().run(step, state, data, order, rates, start, stop) if results is None else results

    def _replayed(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array] | None:
        """What `run` returns, if there is a program for such steps."""
        leaves = [(leaf.shape, leaf.dtype) for leaf in tree_leaves(state)]
        columns = [(column.shape[1:], column.dtype) for column in data]
        key = (step, order.shape[1:], order.dtype, rates.shape[1:], rates.dtype, *leaves, *columns, self.alone)
        program = self.programs.get_or_make(key, lambda: self._compiled(step, state, data, order, rates))
        if isinstance(program, Refusal):
            self._give_up(program.reason)
            return None
        losses = np.empty(rates[start:stop].shape, rates.dtype)
        data = tuple([np.ascontiguousarray(column) for column in data])  # rows of others are not taken in place
        program.load(state)
        with ONE_BLAS_THREAD if program.serial else nullcontext(), np.errstate(all="ignore"):
            program.run(data, order[start:stop], rates[start:stop], losses, start)
        return program.unload(state), losses

    def _give_up(self, reason: str) -> None:
        """Go on eagerly, and tell why once."""
        if self.name == Engine.name:
            return
        if reason in self.programs.reported and self._mode != "compiled":
            logger.debug("%s cannot run these steps, as before: %s", self.name, reason)
        elif reason:
            self.programs.reported.add(reason)
            fall_back(self, self._mode, reason)
        self.name = Engine.name

    def _compiled(self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array) -> Program | Refusal:
        """A program for batches of this shape, or why there is none."""
        began = time.perf_counter()
        try:
            with ONE_BLAS_THREAD, np.errstate(all="ignore"):  # NumPy's threads would fight with SciPy's
                return Program(step, state, data, order[0], rates[0], alone=self.alone, choose=self._choose)
        except MemoryError:
            raise
        except LibraryIsFasterError:
            return Refusal()
        except Exception as error:  # what is wrong with the step itself, the plain loop will tell better
            return Refusal(str(error) if isinstance(error, UnrecordableError) else one_line(error))
        finally:
            self.compile_seconds += time.perf_counter() - began
