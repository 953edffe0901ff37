"""Epochs of a network that an optimizer on the host trains on all examples at once.

The search runs on the host in float64; losses and gradients are computed on the device in the network's dtype.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from nn_any import evaluation
from nn_any.backends import Device, Engine, to_numpy
from nn_any.core import evaluation as pure
from nn_any.core import functional
from nn_any.core.errors import InvalidValueError, TrainingDivergedError
from nn_any.core.state import Snapshot
from nn_any.core.trees import filled, flattened, tree_leaves
from nn_any.core.typing import Params
from nn_any.training.plan import EpochRunner, Pauses, Plan


def begin(snapshot: Snapshot, device: Device, plan: Plan) -> Snapshot:
    """The snapshot with a search that begins, or goes on where an earlier run stopped, on these data.

    Raises
    ------
    ValueError
        If a layer draws at random or keeps running averages: the loss would not be one function of the parameters.
    """
    for layer, state in zip(snapshot.specification.layers, snapshot.blocks[0].layer_state, strict=True):
        if layer.random or (state and layer.trainable):
            does = "draws at random" if layer.random else "keeps running averages"
            remedy = "leave it out" if layer.random else "leave it out, freeze it"
            raise InvalidValueError(
                f"optimizer: {plan.optimizer!r} needs a loss that is one function of the weights, but {layer!r} "
                f"{does}; {remedy}, or use nn_any.Adam()"
            )
    search = _line_search(snapshot, device, plan)
    if snapshot.progress.line_search is search:  # the data may be others than those it has seen
        value, gradient = Objective(snapshot, device, plan)(search.x)
        search = search._replace(value=np.asarray(value), gradient=gradient, converged=np.asarray(False))
    return snapshot._replace(progress=replace(snapshot.progress, line_search=search))


def run_epoch(snapshot: Snapshot, device: Device, engines: list[Engine], plan: Plan) -> Pauses:
    """One iteration of the search; the record has the loss after it."""
    objective, progress, state = Objective(snapshot, device, plan), snapshot.progress, snapshot.blocks[0]
    search = plan.optimizer.iterate(_line_search(snapshot, device, plan), objective)
    if not (np.isfinite(search.value) and np.isfinite(search.x).all()):
        raise TrainingDivergedError(
            f"the loss became {search.value} in epoch {progress.epoch + 1}; the weights before it are kept"
        )
    with device.scope():
        state = state._replace(params=objective.params(search.x), step=state.step + 1)
    progress = replace(progress, epoch=progress.epoch + 1, steps=progress.steps + 1, line_search=search)
    loss = float(search.value) - objective.penalty(search.x)
    rate: Any = plan.optimizer.learning_rate
    yield Snapshot(snapshot.specification, (state,), progress), {"loss": loss, "learning_rate": float(rate)}


def is_finished(snapshot: Snapshot) -> bool:
    """Whether the search has converged."""
    return snapshot.progress.line_search is not None and bool(snapshot.progress.line_search.converged)


WHOLE_BATCH = EpochRunner(begin, run_epoch, is_finished)


def _line_search(snapshot: Snapshot, device: Device, plan: Plan) -> Any:
    """Where the search stands; a new one unless the trainable parameters are still those it ended with."""
    previous, here = snapshot.progress.line_search, _flat(device, _trainable(snapshot))
    if previous is not None and np.array_equal(previous.x.astype(snapshot.specification.dtype), here):
        return previous
    return plan.optimizer.start(here)


def _trainable(snapshot: Snapshot) -> Params:
    return functional.trainable_params(snapshot.specification.layers, snapshot.blocks[0].params)


class Objective:
    """The loss over all examples as a function of a vector of the trainable parameters, in chunks that fit the device.

    With weight decay λ it has the penalty ½ λ ‖w‖² on the weights.
    """

    def __init__(self, snapshot: Snapshot, device: Device, plan: Plan) -> None:
        specification = snapshot.specification
        self._specification, self._state, self._device = specification, snapshot.blocks[0], device
        self._examples, self._weight_decay = plan.examples, plan.optimizer.weight_decay
        differentiate = pure.differentiator(
            specification.layers, specification.loss, plan.examples.prepare, training=True
        )
        self._differentiate = device.engine.compile(differentiate)
        self._trainable, self._filled = _trainable(snapshot), device.engine.compile(filled)
        mask = tree_leaves(functional.weight_mask(specification.layers, self._trainable))
        sizes = [math.prod(leaf.shape) for leaf in tree_leaves(self._trainable)]
        self._weights = np.repeat(np.array(list(mask), dtype=np.float64), sizes)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss, with its penalty, and the gradient: float64, on the host."""
        state, n = self._state._replace(params=self.params(x)), self._examples.size
        value, gradient = 0.0, np.zeros_like(x)
        slices = evaluation.chunks(self._specification.footprint, n)
        for batch in evaluation.pieces(self._device, self._examples.arrays, slices):
            loss, tree = self._differentiate(state, batch)
            share = batch[0].shape[0] / n
            found = _flat(self._device, (loss, functional.trainable_params(self._specification.layers, tree)))
            value += share * float(found[0])
            gradient += share * found[1:]
        return value + self.penalty(x), gradient + self._weight_decay * self._weights * x

    def penalty(self, x: np.ndarray) -> float:
        """½ λ ‖w‖², over the weights."""
        return 0.5 * self._weight_decay * float(self._weights @ (x * x))

    def params(self, x: np.ndarray) -> Params:
        """The network's parameters with the numbers of the vector in place of the trainable ones."""
        placed = self._filled(self._trainable, self._device.asarray(x.astype(self._specification.dtype)))
        work = zip(self._specification.layers, self._state.params, placed, strict=True)
        return tuple([new if layer.trainable else old for layer, old, new in work])


def _flat(device: Device, tree: Any) -> np.ndarray:
    """The numbers of all arrays of a tree on the device, read at once: (numbers,), float64."""
    return to_numpy(device.engine.compile(flattened)(tree)).astype(np.float64)
