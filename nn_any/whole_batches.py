"""Training on all examples at once: a network on its device, and an optimiser that searches on the host."""

from typing import Any

import numpy as np

from nn_any.backends import to_numpy
from nn_any.core import evaluation, functional
from nn_any.core.batches import Preparation
from nn_any.core.errors import InvalidValueError
from nn_any.core.lbfgs import LBFGS, LBFGSState
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.typing import Batch, Params
from nn_any.differentiation import REMEDY, Differentiable
from nn_any.history import Record
from nn_any.training import TrainingDivergedError


class WholeBatches:
    """Iterations of L-BFGS on a network's loss over all examples, in chunks that fit the device.

    The search runs on the host in float64; losses and gradients are computed on the device in the network's dtype.

    Parameters
    ----------
    network : Differentiable
        Its parameters move with every iteration.
    optimizer : LBFGS
    columns, prepare : the data on the device, and how their rows become reals
    previous : LBFGSState or None
        Where an earlier call stopped; taken up if the parameters are still those.

    Raises
    ------
    ValueError
        If a layer draws at random or keeps running averages: the loss would not be one function of the parameters.
    """

    def __init__(
        self,
        network: Differentiable,
        optimizer: LBFGS,
        columns: Batch,
        prepare: Preparation,
        previous: LBFGSState | None,
    ) -> None:
        for layer, state in zip(network.layers, network._carry[1], strict=True):
            if layer.random or (state and layer.trainable):
                raise InvalidValueError(
                    f"optimizer: {optimizer!r} needs a loss that is one function of the weights, but {layer!r} draws "
                    "at random or keeps running averages; leave it out, freeze it, or use Adam"
                )
        self._network, self._optimizer, self._columns = network, optimizer, columns
        differentiate = evaluation.differentiator(network.layers, network._loss, prepare, training=True)
        self._differentiate = network.device.engine.compile(differentiate)
        moving = functional.trained(network.layers, network.params)
        decayed = functional.decayed(network.layers, moving)
        self._weights = _flat(tree_map(lambda leaf, keep: np.full(leaf.shape, float(keep)), moving, decayed))
        here = _flat(moving)
        if previous is None or not np.array_equal(previous.x.astype(network.dtype), here):
            self.state = optimizer.start(here)
        else:  # the data may be others than those it has seen
            value, gradient = self._evaluate(previous.x)
            self.state = previous._replace(value=np.asarray(value), gradient=gradient, converged=np.asarray(False))

    def epoch(self) -> Record:
        """One iteration; the loss is the one after it."""
        network = self._network
        state = self._optimizer.iterate(self.state, self._evaluate)
        if not (np.isfinite(state.value) and np.isfinite(state.x).all()):
            raise TrainingDivergedError(
                f"the loss became {state.value} in epoch {network.epoch + 1}; the weights before it are kept. {REMEDY}"
            )
        self.state = state
        params, (*others, count, key) = self._params(state.x), network._carry[1:]
        network._carry = (params, *others, count + 1, key)
        network.epoch, network.steps = network.epoch + 1, network.steps + 1
        loss = float(state.value) - self._penalty(state.x)
        return {"loss": loss, "learning_rate": float(self._optimizer.learning_rate)}

    def _penalty(self, x: np.ndarray) -> float:
        """½ λ ‖w‖², over the weights."""
        return 0.5 * self._optimizer.weight_decay * float(self._weights @ (x * x))

    def _params(self, x: np.ndarray) -> Params:
        """The network's parameters with the numbers of a flat vector in place of the trained ones."""
        network, start = self._network, 0

        def place(leaf: Any) -> Any:
            nonlocal start
            size = int(np.prod(leaf.shape))
            values = x[start : start + size].reshape(leaf.shape)
            start += size
            return network.device.asarray(values.astype(network.dtype))

        work = zip(network.layers, network.params, strict=True)
        return tuple([tree_map(place, p) if layer.trainable else p for layer, p in work])

    def _evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss over all examples, with its penalty, and the gradient: float64, on the host."""
        network = self._network
        params, n = self._params(x), int(self._columns[0].shape[0])
        carry = (params, *network._carry[1:])
        value, gradient = 0.0, np.zeros_like(x)
        for chunk in network._chunks(n):
            loss, tree = self._differentiate(carry, tuple([column[chunk, ...] for column in self._columns]))
            share = (chunk.stop - chunk.start) / n
            value += share * float(to_numpy(loss))
            gradient += share * _flat(functional.trained(network.layers, tree))
        return value + self._penalty(x), gradient + self._optimizer.weight_decay * self._weights * x


def _flat(tree: Params) -> np.ndarray:
    return np.concatenate([to_numpy(leaf).astype(np.float64).ravel() for leaf in tree_leaves(tree)])
