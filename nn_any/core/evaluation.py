"""The pure functions around the training step: outputs, evaluation, gradients, and whether all is finite."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from array_api_compat import array_namespace

from nn_any.core.batches import Preparation
from nn_any.core.functional import contexts, deltas, example_losses, first_with_params, forward, gradients
from nn_any.core.layers import BatchNorm, Layer
from nn_any.core.losses import Loss
from nn_any.core.metrics import count_correct
from nn_any.core.state import TrainState
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Array, Batch, Params


@lru_cache(maxsize=256)
def predictor(layers: tuple[Layer, ...], prepare: Preparation) -> Callable[[TrainState, Array], Array]:
    """The pure function ``(state, x as stored) -> outputs``, (..., n, outputs), without training."""

    def predict(state: TrainState, x: Array) -> Array:
        context = contexts(state, x, layers, training=False)
        traces, _ = forward(layers, state.params, state.layer_state, prepare.inputs(x, xp=context[0].xp), context)
        return traces[-1].a

    return predict


@lru_cache(maxsize=256)
def evaluator(
    layers: tuple[Layer, ...], loss: Loss, prepare: Preparation, *, multilabel: bool = False
) -> Callable[[TrainState, Batch], tuple[Array, Array]]:
    """The pure function ``(state, batch) -> (sum of the examples' losses, number of right answers)``, each (...)."""

    def evaluate(state: TrainState, batch: Batch) -> tuple[Array, Array]:
        context = contexts(state, batch[0], layers, training=False)
        xp = context[0].xp
        x, targets = prepare(batch, xp=xp)
        traces, _ = forward(layers, state.params, state.layer_state, x, context)
        losses = example_losses(layers, loss, traces, targets, context)
        return xp.sum(losses, axis=-1), count_correct(traces[-1].a, targets[0], multilabel=multilabel, xp=xp)

    return evaluate


@lru_cache(maxsize=256)
def differentiator(
    layers: tuple[Layer, ...], loss: Loss, prepare: Preparation, *, training: bool
) -> Callable[[TrainState, Batch], tuple[Array, Params]]:
    """The pure function ``(state, batch) -> (loss, gradients)``, averaged over the batch, frozen layers included."""

    def differentiate(state: TrainState, batch: Batch) -> tuple[Array, Params]:
        params = state.params
        context = contexts(state, batch[0], layers, training=training)
        xp = context[0].xp
        x, targets = prepare(batch, xp=xp)
        traces, _ = forward(layers, params, state.layer_state, x, context)
        errors = deltas(layers, loss, params, traces, targets, context, first=first_with_params(params))
        losses = example_losses(layers, loss, traces, targets, context)
        return xp.mean(losses, axis=-1), gradients(layers, params, traces, errors, context)

    return differentiate


def is_finite(x: Array) -> Array:
    """Whether every number of one array is finite: (), bool.

    The largest and the smallest tell it, for either is NaN if any number is; so no array of that size is made.
    """
    xp = array_namespace(x)
    if 0 in x.shape:
        return xp.all(xp.isfinite(x))
    return xp.isfinite(xp.max(x)) & xp.isfinite(xp.min(x))


def learned(layers: Sequence[Layer], state: TrainState) -> Params:
    """The numbers of a state that must stay finite: parameters, and the running averages of `BatchNorm`."""
    averages = [s for layer, s in zip(layers, state.layer_state, strict=True) if isinstance(layer, BatchNorm)]
    return state.params + tuple(averages)


def extremes(x: Array) -> Array:
    """The smallest and the largest number of one array: (2,)."""
    xp = array_namespace(x)
    return xp.stack([xp.min(x), xp.max(x)])


def all_finite(params: Params) -> Array:
    """Whether every number is finite: (), bool."""
    leaves = list(tree_leaves(params))
    xp = array_namespace(*leaves)
    return xp.all(xp.stack([is_finite(leaf) for leaf in leaves]))
