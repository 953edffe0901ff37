"""SciPy's L-BFGS-B on all examples at once, as scikit-learn's solver "lbfgs" has it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nn_any import evaluation
from nn_any.backends import Device, to_numpy
from nn_any.core import functional
from nn_any.core.state import Snapshot
from nn_any.core.trees import filled, flattened, tree_leaves, tree_map
from nn_any.datasets.network_input import Examples
from nn_any.estimators.steps import Measure, differentiator


class Objective:
    """The penalised loss of a network over all examples, and its gradient, as functions of one vector on the host.

    The vector holds all numbers that training changes: the weights of every layer, (inputs, units) each, and then the
    biases of every layer, as scikit-learn has them, so that its search takes the same path.
    """

    def __init__(self, snapshot: Snapshot, device: Device, examples: Examples, alpha: float, measure: Measure) -> None:
        specification, self._device, self._examples = snapshot.specification, device, examples
        self._specification, self._state, self._alpha = specification, snapshot.blocks[0], alpha
        kind = specification.layers, specification.loss, examples.prepare
        self._differentiate = device.engine.compile(differentiator(*kind, 0.0, measure, training=True))
        self._trainable = functional.trainable_params(specification.layers, self._state.params)
        self._filled, self._flattened = device.engine.compile(filled), device.engine.compile(flattened)
        mask = functional.weight_mask(specification.layers, self._trainable)
        self._order, self._is_weight = _order(self._trainable, mask)
        weights = examples.arrays[2:]
        self._total = float(to_numpy(weights[0]).sum()) if weights else float(examples.size)

    @property
    def start(self) -> np.ndarray:
        """The vector of the network as it is: float64."""
        return self._vector(self._trainable)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and the gradient."""
        state, value, gradient = self._state._replace(params=self.params(x)), 0.0, np.zeros_like(x)
        slices = evaluation.chunks(self._specification.footprint, self._examples.size)
        for batch in evaluation.pieces(self._device, self._examples.arrays, slices):
            loss, tree, _ = self._differentiate(state, batch)
            share = float(to_numpy(batch[2]).sum()) if len(batch) > 2 else batch[0].shape[0]
            value += share / self._total * float(to_numpy(loss))
            gradient += share / self._total * self._vector(tree)
        weights = x * self._is_weight
        scaled = self._alpha / self._total
        return value + 0.5 * scaled * float(weights @ weights), gradient + scaled * weights

    def params(self, x: np.ndarray) -> Any:
        """The network's parameters with the numbers of the vector."""
        own = np.empty_like(x)
        own[self._order] = x
        vector = self._device.asarray(own, self._specification.dtype)
        placed = self._filled(self._trainable, vector)
        return tuple([new or old for new, old in zip(placed, self._state.params, strict=True)])

    def _vector(self, tree: Any) -> np.ndarray:
        vector: np.ndarray = to_numpy(self._flattened(tree)).astype(np.float64)[self._order]
        return vector


def _order(trainable: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where each number of the vector stands among the numbers of the parameters, and whether it is a weight's."""
    count = iter(np.cumsum([0, *(int(np.prod(leaf.shape)) for leaf in tree_leaves(trainable))]))
    places = tree_map(lambda leaf: next(count) + np.arange(int(np.prod(leaf.shape))).reshape(leaf.shape), trainable)
    pairs = list(zip(tree_leaves(places), tree_leaves(mask), strict=True))
    weights = [leaf.T.ravel() if leaf.ndim == 2 else leaf.ravel() for leaf, is_weight in pairs if is_weight]
    others = [leaf.ravel() for leaf, is_weight in pairs if not is_weight]
    order = np.concatenate([*weights, *others])
    return order, np.arange(len(order)) < sum(map(len, weights))


def search(objective: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray, **options: Any) -> Any:
    """SciPy's result; a warning, as scikit-learn words it, if the search has not converged."""
    from scipy.optimize import minimize
    from sklearn.utils.optimize import _check_optimize_result

    result = minimize(objective, start, method="L-BFGS-B", jac=True, options=options)
    result.nit = _check_optimize_result("lbfgs", result, options["maxiter"])
    return result
