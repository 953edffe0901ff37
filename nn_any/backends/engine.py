"""How an epoch of training steps is run: the protocol, and the engine that serves every library."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from array_api_compat import array_namespace

from nn_any.core.errors import NnAnyError
from nn_any.core.typing import Array, Batch, Carry, Namespace

Step = Callable[[Carry, Batch, Array], tuple[Carry, Array]]


MODES = ("auto", "eager", "compiled")
"""What a user may ask for: the fastest that works, the plain loop, or a compiled one and nothing else."""

_logger = logging.getLogger("nn_any")


class EngineError(NnAnyError, RuntimeError):
    """A compiled engine was asked for by name, and cannot run these steps; the message says why."""


class Engine(Protocol):
    """Runs pure functions of arrays on one library, as fast as that library can. Each training run makes its own.

    Attributes
    ----------
    name : str
        What runs the steps: ``"eager"``, ``"jax.lax.fori_loop"``, … It changes if the engine has to fall back.
    compile_seconds : float
        How long this engine has compiled so far.
    alone : bool
        Whether no other engine runs on another thread, as far as is known.
    kept : dict
        What has been compiled and may serve other runs of the same network; no other engine uses it meanwhile.
    """

    name: str
    compile_seconds: float
    alone: bool
    kept: dict[Any, Any]

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function with the same results as the pure `function`, perhaps faster."""

    def run(
        self, step: Step, carry: Carry, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[Carry, Array]:
        """Run the steps number `start` … `stop` - 1 of an epoch.

        Parameters
        ----------
        step : ``step(carry, batch, learning_rate) -> (carry, loss)``
        carry : ``(params, layer_state, optimizer_state, step, key)``
        data : the columns of the data set on the device, (examples, ...) each
        order : array, (steps, batch_size), integer: which rows each step takes; (steps, m, batch_size) for an ensemble
        rates : array, (steps,): the learning rate of each step; (steps, m) for an ensemble

        Returns
        -------
        carry : after the last step
        losses : array, (stop - start,) or (stop - start, m), still on the device; nothing is read back
        """


def take_rows(data: Batch, rows: Array, xp: Namespace) -> Batch:
    """The given rows of every column: rows (n,) -> (n, ...), and (m, n) for an ensemble -> (m, n, ...)."""
    if rows.ndim == 1:
        return tuple([xp.take(column, rows, axis=0) for column in data])
    flat = xp.reshape(rows, (-1,))  # the standard takes rows by 1-D indices only
    return tuple([xp.reshape(xp.take(c, flat, axis=0), (*rows.shape, *c.shape[1:])) for c in data])


def fall_back(engine: Engine, mode: str, reason: str) -> None:
    """Tell that `engine` goes on eagerly, and why; raise EngineError if `mode` is ``"compiled"``."""
    if mode == "compiled":
        raise EngineError(f"engine: 'compiled' was asked for, but {reason}; use engine='auto'")
    _logger.warning("%s cannot run these steps, they run eagerly: %s", engine.name, reason)


def one_line(error: Exception) -> str:
    """An error's kind and the first line of its message: a reason to tell."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


class EagerEngine:
    """A plain loop over the steps: right on any library of the standard."""

    name = "eager"
    compile_seconds = 0.0
    alone = True
    kept: dict[Any, Any]

    def scope(self) -> AbstractContextManager[Any]:
        """What has to be entered around work on the device."""
        return nullcontext()

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` itself, in the device's scope."""

        def call(*args: Any) -> Any:
            with self.scope():
                return function(*args)

        return call

    def run(
        self, step: Step, carry: Carry, data: Batch, order: Array, rates: Array, start: int, stop: int
    ) -> tuple[Carry, Array]:
        """Run the steps one by one, taking each batch's rows when it is due."""
        xp = array_namespace(order)
        losses = []
        with self.scope():
            for i in range(start, stop):
                carry, loss = step(carry, take_rows(data, order[i, ...], xp), rates[i, ...])
                losses.append(loss)
            return carry, xp.stack(losses)
