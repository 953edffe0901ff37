"""The training step of scikit-learn's multilayer perceptron, and what it reports of a batch."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from nn_any.core import functional
from nn_any.core.batches import Preparation
from nn_any.core.layers import Layer
from nn_any.core.losses import Loss
from nn_any.core.optimizers import Optimizer
from nn_any.core.options import dtype_name
from nn_any.core.primitives import clip
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import tree_leaves, tree_map
from nn_any.core.typing import Array, Batch, Namespace, Params, Targets

Measure = Callable[[Array, Array, Namespace], Array]
"""The loss of each example, (n,), from targets and outputs (n, outputs), as scikit-learn reports it."""


def _within(a: Array, xp: Namespace) -> Array:
    """Probabilities that have logarithms."""
    epsilon = float(np.finfo(dtype_name(a.dtype)).eps)
    return clip(a, low=epsilon, high=1 - epsilon, xp=xp)


def log_loss(y: Array, a: Array, xp: Namespace) -> Array:
    """- Σ y log a over the classes."""
    return -xp.sum(y * xp.log(_within(a, xp)), axis=-1)


def binary_log_loss(y: Array, a: Array, xp: Namespace) -> Array:
    """- Σ (y log a + (1 - y) log (1 - a)) over the outputs."""
    a = _within(a, xp)
    return -xp.sum(y * xp.log(a) + (1 - y) * xp.log(1 - a), axis=-1)


def squared_error(y: Array, a: Array, xp: Namespace) -> Array:
    """½ (y - a)², averaged over the outputs."""
    return 0.5 * xp.mean((y - a) ** 2, axis=-1)


def poisson(y: Array, a: Array, xp: Namespace) -> Array:
    """Σ (y log (y / a) - y + a) over the outputs."""
    logarithms = xp.log(xp.where(y > 0, y / a, xp.ones_like(y)))
    return xp.sum(y * logarithms - y + a, axis=-1)


def squares(params: Params, mask: Any) -> Array:
    """Σ w² over all weights."""
    pairs = zip(tree_leaves(params), tree_leaves(mask), strict=True)
    first, *others = [array_namespace(w).sum(w * w) for w, is_weight in pairs if is_weight]
    return sum(others, start=first)


@lru_cache(maxsize=256)
def differentiator(
    layers: tuple[Layer, ...], loss: Loss, prepare: Preparation, alpha: float, measure: Measure, *, training: bool
) -> Callable[[TrainState, Batch], tuple[Array, Params, Params]]:
    """The pure function ``(state, batch) -> (loss, gradients, layer_state)``.

    Both are averaged over the batch by the weights of its examples. They have the penalty ½ α Σ w², divided by the sum
    of these weights, or by the number of examples.
    """

    def differentiate(state: TrainState, batch: Batch) -> tuple[Array, Params, Params]:
        params = state.params
        context = functional.contexts(state, batch[0], layers, training=training)
        xp = context[0].xp
        x, (y, weights) = prepare(batch, xp=xp)
        n = y.shape[-2]
        total: Any = n if weights is None else xp.sum(weights)
        shares: Targets = (y, None if weights is None else weights * (n / total))
        traces, layer_state = functional.forward(layers, params, state.layer_state, x, context)
        trainable = functional.trainable_params(layers, params)
        mask = functional.weight_mask(layers, trainable)
        first = functional.first_with_params(trainable)
        errors = functional.deltas(layers, loss, params, traces, shares, context, first=first)
        gradients = functional.gradients(layers, trainable, traces, errors, context)
        losses = measure(y, traces[-1].a, xp)
        average = xp.mean(losses) if weights is None else xp.sum(losses * weights) / total
        if alpha:
            share = alpha / total
            gradients = tree_map(lambda g, w, is_weight: g + share * w if is_weight else g, gradients, trainable, mask)
            average = average + (0.5 * share) * squares(trainable, mask)
        return average, gradients, layer_state

    return differentiate


@lru_cache(maxsize=256)
def solver_step(
    layers: tuple[Layer, ...], loss: Loss, optimizer: Optimizer, prepare: Preparation, alpha: float, measure: Measure
) -> Step:
    """The pure function that engines run: ``step(state, batch, learning_rate) -> (state, loss)``."""
    differentiate = differentiator(layers, loss, prepare, alpha, measure, training=True)

    def step(state: TrainState, batch: Batch, learning_rate: Array) -> tuple[TrainState, Array]:
        average, gradients, layer_state = differentiate(state, batch)
        trainable = functional.trainable_params(layers, state.params)
        updated, optimizer_state = optimizer.update(gradients, state.optimizer_state, trainable, learning_rate)
        params = tuple([new or old for new, old in zip(updated, state.params, strict=True)])
        return TrainState(params, layer_state, optimizer_state, state.step + 1, state.key), average

    return step
