"""The whole of neural networks: forward, backpropagation, one training step.

Read this page first. Everything here takes arrays and returns arrays; parameters are tuples of plain arrays, one entry
a layer. A batch is a matrix, one example a row, and whatever holds for (n, features) holds for (m, n, features) too,
with parameters that carry the same leading axis.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from nn_any.core.batches import Preparation
from nn_any.core.layers import Context, Layer
from nn_any.core.losses import Loss
from nn_any.core.metrics import count_correct
from nn_any.core.optimizers import Optimizer
from nn_any.core.primitives import total
from nn_any.core.trees import per_parameter, tree_leaves
from nn_any.core.typing import Array, Batch, Carry, Params

Step = Callable[[Carry, Batch, Array], tuple[Carry, Array]]


class Trace(NamedTuple):
    """What one layer leaves behind on the way forward, for the way back."""

    z: Array
    """The weighted inputs, (..., n, outputs)."""
    a: Array
    """The activations σ(z), of the same shape."""
    saved: Any
    """What the layer itself wants to find again."""


def contexts(carry: Carry, x: Array, layers: Sequence[Layer], *, training: bool) -> list[Context]:
    """What each layer may know of the step at hand."""
    xp = array_namespace(x)
    _, _, _, step, key = carry
    return [Context(xp, training, key, step, i) for i in range(len(layers))]


def forward(
    layers: Sequence[Layer], params: Params, state: Params, x: Array, contexts: Sequence[Context]
) -> tuple[list[Trace], Params]:
    """Feed the inputs through every layer: a = σ(z), z = W x + b (Nielsen, chapter 2, equation 25).

    Parameters
    ----------
    x : array, (..., n, *input_shape)

    Returns
    -------
    traces : list of Trace, one a layer; the last one's ``a`` are the outputs
    state : the layers' state after this batch
    """
    traces, new_state = [], []
    for layer, p, s, context in zip(layers, params, state, contexts, strict=True):
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
    y: Array,
    contexts: Sequence[Context],
    learning_rate: Array | None = None,
) -> list[Array]:
    """The error δ = ∂C/∂z of every layer, from the last one backwards (Nielsen, chapter 2, equations BP1 and BP2).

    C is averaged over the batch, so each δ already carries its 1/n, and the learning rate, () or (m,), if one is given.
    """
    xp, n = contexts[-1].xp, y.shape[-2]
    z, a, _ = traces[-1]
    delta = loss.error(layers[-1].activation, z, a, y, xp=xp)
    delta = delta / n if learning_rate is None else per_parameter(learning_rate / n, delta) * delta
    errors = [delta]
    for i in range(len(layers) - 1, 0, -1):
        delta = layers[i].backward(params[i], traces[i].saved, delta, contexts[i])
        delta = layers[i - 1].activation.vjp(traces[i - 1].z, traces[i - 1].a, delta, xp=xp)
        errors.append(delta)
    return errors[::-1]


def gradients(
    layers: Sequence[Layer],
    params: Params,
    traces: Sequence[Trace],
    errors: Sequence[Array],
    contexts: Sequence[Context],
) -> Params:
    """Each layer's gradients from its δ and its inputs (Nielsen, chapter 2, BP3 and BP4), in the shapes of `params`."""
    return tuple(
        layer.gradients(p, trace.saved, delta, context)
        for layer, p, trace, delta, context in zip(layers, params, traces, errors, contexts, strict=True)
    )


def example_losses(
    layers: Sequence[Layer], loss: Loss, traces: Sequence[Trace], y: Array, contexts: Sequence[Context]
) -> Array:
    """The loss of each example, (..., n)."""
    z, a, _ = traces[-1]
    return loss.examples(layers[-1].activation, z, a, y, xp=contexts[-1].xp)


@lru_cache(maxsize=256)
def train_step(layers: tuple[Layer, ...], loss: Loss, optimizer: Optimizer, prepare: Preparation) -> Step:
    """The pure function that engines run: ``step(carry, batch, learning_rate) -> (carry, loss)``.

    The carry is ``(params, layer_state, optimizer_state, step, key)``; the batch is rows as the data set stores them;
    the learning rate is an array, () or (m,). Equal arguments give the same function, so it is compiled once.
    """

    def step(carry: Carry, batch: Batch, learning_rate: Array) -> tuple[Carry, Array]:
        params, state, optimizer_state, count, key = carry
        context = contexts(carry, batch[0], layers, training=True)
        x, y = prepare(batch, xp=context[0].xp)
        traces, state = forward(layers, params, state, x, context)
        if optimizer.plain:
            errors = deltas(layers, loss, params, traces, y, context, learning_rate)
            work = zip(layers, params, traces, errors, context, strict=True)
            params = tuple([layer.descend(p, trace.saved, delta, c) for layer, p, trace, delta, c in work])
        else:
            errors = deltas(layers, loss, params, traces, y, context)
            found = gradients(layers, params, traces, errors, context)
            params, optimizer_state = optimizer.update(found, optimizer_state, params, learning_rate)
        losses = example_losses(layers, loss, traces, y, context)
        average = total(losses, axis=-1, xp=context[0].xp) / y.shape[-2]
        return (params, state, optimizer_state, count + 1, key), average

    return step


@lru_cache(maxsize=256)
def predictor(layers: tuple[Layer, ...], prepare: Preparation) -> Callable[[Carry, Array], Array]:
    """The pure function ``(carry, x as stored) -> outputs``, (..., n, outputs), without training."""

    def predict(carry: Carry, x: Array) -> Array:
        context = contexts(carry, x, layers, training=False)
        traces, _ = forward(layers, carry[0], carry[1], prepare.inputs(x, xp=context[0].xp), context)
        return traces[-1].a

    return predict


@lru_cache(maxsize=256)
def evaluator(
    layers: tuple[Layer, ...], loss: Loss, prepare: Preparation
) -> Callable[[Carry, Batch], tuple[Array, Array]]:
    """The pure function ``(carry, batch) -> (sum of the examples' losses, number of right answers)``, each (...)."""

    def evaluate(carry: Carry, batch: Batch) -> tuple[Array, Array]:
        context = contexts(carry, batch[0], layers, training=False)
        xp = context[0].xp
        x, y = prepare(batch, xp=xp)
        traces, _ = forward(layers, carry[0], carry[1], x, context)
        losses = example_losses(layers, loss, traces, y, context)
        return xp.sum(losses, axis=-1), count_correct(traces[-1].a, y, xp=xp)

    return evaluate


@lru_cache(maxsize=256)
def differentiator(
    layers: tuple[Layer, ...], loss: Loss, prepare: Preparation, *, training: bool
) -> Callable[[Carry, Batch], Params]:
    """The pure function ``(carry, batch) -> gradients``, averaged over the batch, in the shapes of the parameters."""

    def differentiate(carry: Carry, batch: Batch) -> Params:
        context = contexts(carry, batch[0], layers, training=training)
        x, y = prepare(batch, xp=context[0].xp)
        traces, _ = forward(layers, carry[0], carry[1], x, context)
        return gradients(layers, carry[0], traces, deltas(layers, loss, carry[0], traces, y, context), context)

    return differentiate


def all_finite(params: Params) -> Array:
    """Whether every parameter is a finite number: (), bool."""
    leaves = list(tree_leaves(params))
    xp = array_namespace(*leaves)
    return xp.all(xp.stack([xp.all(xp.isfinite(leaf)) for leaf in leaves]))
