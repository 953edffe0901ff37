"""A trial of layers, activations and losses that are not the package's own: whether their shapes fit each other."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from nn_any.core import random
from nn_any.core.errors import InvalidValueError
from nn_any.core.layers import Context
from nn_any.core.specification import HostParams, Specification
from nn_any.core.trees import tree_leaves
from nn_any.core.typing import Array, Shape

_N = 2
"""How many examples take part."""


def try_shapes(specification: Specification, params: HostParams, layer_state: HostParams) -> None:
    """Take two examples forward and backward, if anything in the network is not the package's own.

    What fails in another way than by a shape is left for the first step to tell: it may want another library.

    Raises
    ------
    ValueError
        If a result has another shape than it should have; the message names the layer and the method.
    """
    parts = [*specification.layers, *(layer.activation for layer in specification.layers), specification.loss]
    if all(type(part).__module__.startswith("nn_any.") for part in parts):
        return
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            _try(specification, params, layer_state)
    except _ShapeError as error:
        raise InvalidValueError(str(error)) from None
    except Exception:
        pass


class _ShapeError(Exception):
    """A shape is not what it should be."""


def _expect(name: str, call: str, array: Any, shape: Shape) -> None:
    got = tuple(np.shape(array))
    if got != shape:
        raise _ShapeError(f"{name}: expected shape {shape} from {call} for {_N} examples, got {got}")


def _expect_same(name: str, call: str, arrays: Any, like: Sequence[Any]) -> None:
    got, wanted = ([tuple(np.shape(leaf)) for leaf in tree_leaves(tree)] for tree in (arrays, like))
    if got != wanted:
        raise _ShapeError(f"{name}: expected arrays of shapes {wanted} from {call}, like those given, got {got}")


def _try(specification: Specification, params: HostParams, layer_state: HostParams) -> None:
    x: Array = np.full((_N, *specification.input_shape), 0.5)
    xp, shapes = array_namespace(x), specification.shapes
    key, step = random.draw_key(specification.seed), np.zeros((), "int32")
    contexts = [Context(xp, True, key, step, i) for i in range(len(specification.layers))]
    names = [f"layers, entry {i}, {layer!r}" for i, layer in enumerate(specification.layers, 1)]
    work = list(zip(names, specification.layers, params, contexts, strict=True))
    saved, traces = [], []
    for i, (name, layer, p, context) in enumerate(work):
        z, state, kept = layer.forward(p, layer_state[i], x, context)
        _expect(name, "forward", z, (_N, *shapes[i + 1]))
        _expect_same(name, "forward for the state", state, layer_state[i])
        x = layer.activation(z, xp=xp)
        _expect(name, f"the activation {layer.activation.name!r}", x, (_N, *shapes[i + 1]))
        saved.append(kept)
        traces.append((z, x))
    loss, activation, (z, a) = specification.loss, specification.layers[-1].activation, traces[-1]
    y = np.zeros((_N, specification.outputs))
    _expect(f"loss, {loss!r}", "__call__", loss.examples(activation, z, a, y, xp=xp), (_N,))
    delta = loss.error(activation, z, a, y, xp=xp)
    _expect(f"loss, {loss!r}", "derivative", delta, (_N, *shapes[-1]))
    for i in range(len(work) - 1, -1, -1):
        name, layer, p, context = work[i]
        if p:
            _expect_same(name, "gradients", layer.gradients(p, saved[i], delta, context), p)
        if i == 0 or not layer.passes_gradients:
            return
        delta = layer.backward(p, saved[i], delta, context)
        _expect(name, "backward", delta, (_N, *shapes[i]))
        before = specification.layers[i - 1].activation
        delta = before.vjp(*traces[i - 1], delta, xp=xp)
        _expect(names[i - 1], f"the derivative of {before.name!r}", delta, (_N, *shapes[i]))
