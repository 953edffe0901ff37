"""How an epoch of training steps is run on any library, and what is common to the engines."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from nn_any.core.errors import NnAnyError
from nn_any.core.state import Step, TrainState
from nn_any.core.typing import Array, Batch, Namespace

MODES = ("auto", "eager", "compiled")
"""What a user may ask for: the fastest that works, the plain loop, or a compiled one and nothing else."""

logger = logging.getLogger("nn_any")


def quiet() -> AbstractContextManager[Any]:
    """What keeps NumPy's switches for overflow and the like, `numpy.errstate`, from reaching the work in here.

    A loss that is not finite is told of by training itself, on every library alike.
    """
    return np.errstate(all="ignore")


class EngineError(NnAnyError, RuntimeError):
    """A compiled engine was asked for by name, and cannot run these steps; the message says why."""


def take_rows(data: Batch, rows: Array, xp: Namespace) -> Batch:
    """The given rows of every column: rows (n,) -> (n, ...), and (m, n) for an ensemble -> (m, n, ...)."""
    if rows.ndim == 1:
        return tuple([xp.take(column, rows, axis=0) for column in data])
    flat = xp.reshape(rows, (-1,))  # the standard takes rows by 1-D indices only
    return tuple([xp.reshape(xp.take(c, flat, axis=0), (*rows.shape, *c.shape[1:])) for c in data])


def one_line(error: Exception) -> str:
    """An error's kind and the first line of its message: a reason to tell."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


class Engine:
    """Runs pure functions of arrays: here by a plain loop over the steps, right on any library of the standard.

    The libraries' own engines run them as fast as the library can. Each training run makes its own engine.

    Attributes
    ----------
    name : str
        What runs the steps: ``"eager"``, ``"jax.lax.fori_loop"``, … It changes if the engine has to fall back.
    compile_seconds : float
        How long this engine has compiled so far.
    alone : bool
        Whether no other engine runs on another thread, as far as is known.
    """

    name = "eager"
    compile_seconds = 0.0
    alone = True

    def scope(self) -> AbstractContextManager[Any]:
        """What has to be entered around work on the device."""
        return quiet()

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function with the same results as the pure `function`, in the device's scope, perhaps faster."""

        def call(*args: Any) -> Any:
            with self.scope():
                return function(*args)

        return call

    def feed(self, data: Batch) -> Batch:
        """Return a chunk of data, new arrays on the device, as `run` should get it.

        A program that knows where its data lie, and not which they are, is given every chunk in one place.
        """
        return data

    def run(
        self, step: Step, state: TrainState, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[TrainState, Array]:
        """Run the steps number `start` … `stop` - 1 of an epoch.

        Parameters
        ----------
        step : ``step(state, batch, learning_rate) -> (state, loss)``
        state : TrainState
        data : the columns of the data set on the device, (examples, ...) each
        order : array, (steps, batch_size), integer: which rows each step takes; (steps, m, batch_size) for an ensemble
        rates : array, (steps,): the learning rate of each step; (steps, m) for an ensemble

        Returns
        -------
        state : after the last step
        losses : array, (stop - start,) or (stop - start, m), still on the device; nothing is read back
        """
        xp = array_namespace(order)
        losses = []
        with self.scope():
            for i in range(start, stop):
                state, loss = step(state, take_rows(data, order[i, ...], xp), rates[i, ...])
                losses.append(loss)
            return state, xp.stack(losses)


def fall_back(engine: Engine, mode: str, reason: str) -> None:
    """Tell that `engine` goes on eagerly, and why; raise EngineError if `mode` is ``"compiled"``."""
    if mode == "compiled":
        raise EngineError(f"engine: 'compiled' was asked for, but {reason}; use engine='auto'")
    logger.warning("%s cannot run these steps, they run eagerly: %s", engine.name, reason)
    engine.name = Engine.name
