"""Training in mini-batches: a network on its device, an optimiser, and an engine that runs epochs of steps."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from nn_any.backends import Engine
from nn_any.core import functional, random
from nn_any.core.batches import Preparation
from nn_any.core.optimizers import Optimizer
from nn_any.core.typing import Batch, Carry
from nn_any.differentiation import REMEDY
from nn_any.history import Record
from nn_any.training import OutOfMemoryError, TrainingDivergedError, run_segments, segment_length

ACTIVATIONS = 3
"""How many times the activations of a batch training takes up, with what leads back through them."""


class Partial(NamedTuple):
    """What is known of an epoch that was interrupted: the losses of its batches so far, (batches,)."""

    kind: tuple[int, int, bool]
    """The number of examples, the batch size, and whether they are shuffled: another kind of epoch begins anew."""
    losses: np.ndarray


class MiniBatches:
    """Epochs of steps along the gradients of one batch each.

    Parameters
    ----------
    network : Network
        Its parameters move with every epoch that ends well.
    optimizer : Optimizer
    engine : Engine
        What runs the steps.
    columns, prepare : the data on the device, and how their rows become reals
    batch_size : int
    shuffle : bool
    """

    def __init__(
        self,
        network: Any,
        optimizer: Optimizer,
        engine: Engine,
        columns: Batch,
        prepare: Preparation,
        batch_size: int,
        shuffle: bool,
    ) -> None:
        self._network, self._optimizer, self._engine = network, optimizer, engine
        self._columns, self._prepare, self._batch_size, self._shuffle = columns, prepare, batch_size, shuffle
        self._n = int(columns[0].shape[0])
        self._steps = -(-self._n // batch_size)
        self._length = segment_length(self._n // batch_size, batch_size * network._work(), network.device)
        network._rates(self._next_rates())

    def _next_rates(self) -> np.ndarray:
        records = self._network._records
        return self._optimizer.rates(len(records), self._steps, records)

    def check_columns(self, columns: list[str]) -> None:
        """Raise if the schedule monitors what the history will not hold."""
        self._optimizer.rates(1, self._steps, [dict.fromkeys(columns, 0.0)])

    def epoch(self, pulse: Callable[[], None] = lambda: None) -> Record:
        """One epoch: its loss, averaged over the examples, each taken before its step, and the last learning rate.

        `pulse` is called between segments of steps, when the network has what was learnt so far; if it raises, the
        next call goes on with the next batch.
        """
        network = self._network
        self._renew_state()
        step = functional.train_step(network.layers, network._loss, self._optimizer.rule(), self._prepare)
        order = random.epoch_order(network.seed, network.epoch, self._n, shuffle=self._shuffle)
        rates = self._next_rates()
        kind = (self._n, self._batch_size, self._shuffle)
        losses = network._partial.losses if network._partial and network._partial.kind == kind else np.empty(0)
        segments = run_segments(
            network.device,
            self._engine,
            step,
            network._carry,
            self._columns,
            order,
            network._rates(rates),
            self._batch_size,
            begin=len(losses),
            length=self._length,
        )
        for carry, values in self._within_memory(segments):
            self._check(carry, values, rates, len(losses))
            losses = np.concatenate([losses, values])
            network._carry, network.steps = carry, network.steps + len(values)
            network._partial = Partial(kind, losses)
            if len(losses) < self._steps:
                pulse()
        network._partial, network.epoch = None, network.epoch + 1
        sizes = np.full(self._steps, self._batch_size)
        sizes[-1] = self._n - self._batch_size * (self._steps - 1)
        return {"loss": float(np.average(losses, weights=sizes)), "learning_rate": float(rates[-1])}

    def _within_memory(self, segments: Iterator[tuple[Carry, np.ndarray]]) -> Iterator[tuple[Carry, np.ndarray]]:
        """The segments; where memory does not suffice for one, an error that says how much it takes and what fits."""
        network, device = self._network, self._network.device
        try:
            yield from segments
        except Exception as error:
            if not device.is_out_of_memory(error):
                raise
            example = ACTIVATIONS * network._architecture.footprint * np.dtype(network.dtype).itemsize
            needed, free = example * self._batch_size, device.free_memory()
            remedy = "use a smaller batch_size"
            if free is not None:
                fitting = max(1, min(free // example, self._batch_size // 2))
                remedy = f"{free / 1e6:,.0f} MB are free now, so batch_size={fitting} should fit"
            raise OutOfMemoryError(
                f"{device} ran out of memory in epoch {network.epoch + 1}: a batch of {self._batch_size} takes about "
                f"{needed / 1e6:,.0f} MB beside data and weights; {remedy}. The weights are those from before"
            ) from error

    def _renew_state(self) -> None:
        """The optimiser's first state, if it is a new one, or other layers are frozen now."""
        network = self._network
        if network._stale:
            moving = functional.trained(network.layers, network.params)
            state = network.device.engine.compile(self._optimizer.init)(moving)
            network._carry, network._stale = (*network._carry[:2], state, *network._carry[3:]), False

    def _check(self, carry: Carry, losses: np.ndarray, rates: np.ndarray, before: int) -> None:
        """Raise unless the losses of a segment, which `before` batches came before, and its weights are finite."""
        epoch, finite = self._network.epoch + 1, np.isfinite(losses)
        if not finite.all():
            batch = before + int(np.argmin(finite))
            raise TrainingDivergedError(
                f"the loss became {losses[batch - before]} in epoch {epoch}, batch {batch + 1} of {self._steps}, at "
                f"learning rate {rates[batch]:g}; the weights from {_moment(before)} are kept. {REMEDY}"
            )
        if not self._network._is_finite(carry):
            raise TrainingDivergedError(
                f"weights became infinite or NaN in epoch {epoch}; those from {_moment(before)} are kept. {REMEDY}"
            )


def _moment(batches: int) -> str:
    return f"after its batch {batches}" if batches else "before that epoch"
