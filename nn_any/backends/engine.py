"""How an epoch of training steps is run: the protocol, and the engine that serves every library."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from array_api_compat import array_namespace

from nn_any.core.typing import Array, Batch, Carry, Namespace

Step = Callable[[Carry, Batch, Array], tuple[Carry, Array]]


class Engine(Protocol):
    """Runs pure functions of arrays on one library, as fast as that library can."""

    name: str

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
        order : array, (steps, batch_size), integer: which rows each step takes
        rates : array, (steps,): the learning rate of each step

        Returns
        -------
        carry : after the last step
        losses : array, (stop - start,), still on the device; nothing is read back
        """


def take_rows(data: Batch, rows: Array, xp: Namespace) -> Batch:
    """The given rows of every column."""
    return tuple([xp.take(column, rows, axis=0) for column in data])


class EagerEngine:
    """A plain loop over the steps: right on any library of the standard."""

    name = "eager"

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
