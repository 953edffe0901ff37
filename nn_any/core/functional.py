"""The whole of neural networks: forward, backpropagation, one training step.

Read this page first. Everything here takes arrays and returns arrays; parameters are tuples of plain arrays, one entry
a layer. A batch is a matrix, one example a row, and whatever holds for (n, features) holds for (m, n, features) too,
with parameters that carry the same leading axis.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from nn_any.core.batches import Preparation
from nn_any.core.layers import Context, Layer
from nn_any.core.losses import Loss
from nn_any.core.optimizers import Optimizer
from nn_any.core.primitives import total
from nn_any.core.state import Step, TrainState
from nn_any.core.trees import per_parameter
from nn_any.core.typing import Array, Batch, Params, Targets


class Recipe(NamedTuple):
    """What a training step was made from, for an engine that has a faster equal of the whole step."""

    layers: tuple[Layer, ...]
    loss: Loss
    optimizer: Optimizer
    prepare: Preparation


class Trace(NamedTuple):
    """What one layer leaves behind on the way forward, for the way back."""

    z: Array
    """The weighted inputs, (..., n, outputs)."""
    a: Array
    """The activations σ(z), of the same shape."""
    saved: Any
    """What the layer itself wants to find again."""


def contexts(state: TrainState, x: Array, layers: Sequence[Layer], *, training: bool) -> list[Context]:
    """What each layer may know of the step at hand."""
    xp = array_namespace(x)
    return [Context(xp, training, state.key, state.step, i) for i in range(len(layers))]


def forward(
    layers: Sequence[Layer], params: Params, layer_state: Params, x: Array, contexts: Sequence[Context]
) -> tuple[list[Trace], Params]:
    """Feed the inputs through every layer: a = σ(z), z = W x + b (Nielsen, chapter 2, equation 25).

    Parameters
    ----------
    x : array, (..., n, *input_shape)

    Returns
    -------
    traces : list of Trace, one per layer; the last one's ``a`` are the outputs
    layer_state : the layers' state after this batch
    """
    traces, new_state = [], []
    for layer, p, s, context in zip(layers, params, layer_state, contexts, strict=True):
        z, s, saved = layer.forward(p, s, x, context)
        x = layer.activation(z, xp=context.xp)
        traces.append(Trace(z, x, saved))
        new_state.append(s)
    return traces, tuple(new_state)


def deltas(
    layers: Sequence[Layer],
    loss: Loss,
    params: Params,
    traces: Sequence[Trace],
    targets: Targets,
    contexts: Sequence[Context],
    learning_rate: Array | None = None,
    first: int = 0,
) -> list[Array]:
    """The error δ = ∂C/∂z of every layer, from the last one backwards (Nielsen, chapter 2, equations BP1 and BP2).

    C is averaged over the batch, so each δ already carries its 1/n, and the learning rate, () or (m,), if one is given.
    Nothing below layer `first` wants its δ: there the list holds None.
    """
    xp, (y, weights) = contexts[-1].xp, targets
    z, a, _ = traces[-1]
    delta, n = loss.error(layers[-1].activation, z, a, y, xp=xp), y.shape[-2]
    delta = delta if weights is None else weights[..., None] * delta
    delta = delta / n if learning_rate is None else per_parameter(learning_rate / n, delta) * delta
    errors = [delta]
    for i in range(len(layers) - 1, first, -1):
        delta = layers[i].backward(params[i], traces[i].saved, delta, contexts[i])
        delta = layers[i - 1].activation.vjp(traces[i - 1].z, traces[i - 1].a, delta, xp=xp)
        errors.append(delta)
    return [None] * first + errors[::-1]


def gradients(
    layers: Sequence[Layer],
    params: Params,
    traces: Sequence[Trace],
    errors: Sequence[Array],
    contexts: Sequence[Context],
) -> Params:
    """Each layer's gradients from its δ and its inputs (Nielsen, chapter 2, BP3 and BP4), in the shapes of `params`."""
    work = zip(layers, params, traces, errors, contexts, strict=True)
    return tuple([layer.gradients(p, trace.saved, delta, c) if p else () for layer, p, trace, delta, c in work])


def example_losses(
    layers: Sequence[Layer],
    loss: Loss,
    traces: Sequence[Trace],
    targets: Targets,
    contexts: Sequence[Context],
) -> Array:
    """The loss of each example, times its weight: (..., n)."""
    (z, a, _), (y, weights) = traces[-1], targets
    losses = loss.examples(layers[-1].activation, z, a, y, xp=contexts[-1].xp)
    return losses if weights is None else weights * losses


def trainable_params(layers: Sequence[Layer], params: Params) -> Params:
    """The parameters that training changes: ``()`` in place of a frozen layer's."""
    return tuple([p if layer.trainable else () for layer, p in zip(layers, params, strict=True)])


def weight_mask(layers: Sequence[Layer], params: Params) -> tuple[tuple[bool, ...], ...]:
    """For each parameter, whether it is a weight: weight decay, L1 and max-norm act on weights only."""
    return tuple([(*layer.decayed, *(False,) * len(p))[: len(p)] for layer, p in zip(layers, params, strict=True)])


def first_with_params(params: Params) -> int:
    """The index of the first layer that has parameters."""
    return next((i for i, p in enumerate(params) if p), len(params) - 1)


@lru_cache(maxsize=256)
def train_step(layers: tuple[Layer, ...], loss: Loss, optimizer: Optimizer, prepare: Preparation) -> Step:
    """The pure function that engines run: ``step(state, batch, learning_rate) -> (state, loss)``.

    The batch is rows as the data set stores them; the learning rate is an array, () or (m,). Equal arguments return
    the same function, so it is compiled once.
    """

    descends = optimizer.plain  # then layers may do without forming the gradients

    def step(state: TrainState, batch: Batch, learning_rate: Array) -> tuple[TrainState, Array]:
        params, layer_state, optimizer_state, count, key = state
        if learning_rate.ndim < key.ndim - 1:  # one rate for all members of an ensemble
            learning_rate = array_namespace(key).broadcast_to(learning_rate, key.shape[:-1])
        context = contexts(state, batch[0], layers, training=True)
        x, targets = prepare(batch, xp=context[0].xp)
        traces, layer_state = forward(layers, params, layer_state, x, context)
        trainable = trainable_params(layers, params)
        rate = learning_rate if descends else None
        errors = deltas(layers, loss, params, traces, targets, context, rate, first_with_params(trainable))
        if descends:
            work = zip(layers, trainable, traces, errors, context, strict=True)
            updated = tuple([layer.descend(p, t.saved, delta, c) if p else () for layer, p, t, delta, c in work])
        else:
            found = gradients(layers, trainable, traces, errors, context)
            mask = weight_mask(layers, trainable)
            updated, optimizer_state = optimizer.step(found, optimizer_state, trainable, learning_rate, mask)
        params = tuple([new or old for new, old in zip(updated, params, strict=True)])
        losses = example_losses(layers, loss, traces, targets, context)
        average = total(losses, axis=-1, xp=context[0].xp) / losses.shape[-1]
        return TrainState(params, layer_state, optimizer_state, count + 1, key), average

    step.recipe = Recipe(layers, loss, optimizer, prepare)  # type: ignore[attr-defined]
    return step
