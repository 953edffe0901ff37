"""Layers and activations in operators of ONNX.

A table gives each the operators that people look for in such a graph, `Conv` or `Gemm`. What is not in the table, such
as a layer of your own, and what has no operator in double precision, goes by its own formula, call by call.

Reference: https://onnx.ai/onnx/operators.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nn_any.core import activations, layers
from nn_any.core.activations import Activation
from nn_any.core.errors import InvalidTypeError
from nn_any.core.layers import Context, Layer
from nn_any.core.random import draw_key
from nn_any.core.typing import Shape
from nn_any.files.onnx_graph import Graph


class Value(NamedTuple):
    """A batch on its way through the graph."""

    name: str
    shape: Shape
    """Of one example as this package has it, channels last."""
    channels_first: bool = False
    """Whether the graph has the channels in front, where `Conv` and its kin want them."""


@dataclass(frozen=True)
class Part:
    """A layer with its numbers."""

    layer: Any
    place: int
    """From 0."""
    params: list[np.ndarray]
    """As users see them."""
    state: list[np.ndarray]
    output_shape: Shape
    dtype: str
    seed: int
    steps: int
    """The seed of the network, and how many steps it has taken."""


def write_layer(graph: Graph, part: Part, x: Value) -> Value:
    """Write the nodes of a layer and of the activation that follows it.

    Raises
    ------
    TypeError
        If there are no operators for it; the message names it.
    """
    layer, double = part.layer, part.dtype == "float64"
    write = _LAYERS.get(type(layer), _own_formula)
    if double and type(layer) in _NOT_IN_DOUBLE:
        write = _own_formula
    x = write(graph, part, x)
    activation = layer.activation
    if type(activation) not in _ACTIVATIONS or (double and type(activation) in _NOT_IN_DOUBLE):
        return _by_formula(graph, part, x, x.shape, lambda z, tape: activation(z, xp=tape.namespace))
    return _ACTIVATIONS[type(activation)](graph, activation, x)


# where the channels are


def channels_first(graph: Graph, x: Value) -> Value:
    """The same batch with the channels in front of height and width."""
    return x if x.channels_first else _turned(graph, x, lambda axes: [0, axes, *range(1, axes)])


def channels_last(graph: Graph, x: Value) -> Value:
    """The same batch with the channels last."""
    return _turned(graph, x, lambda axes: [0, *range(2, axes + 1), 1]) if x.channels_first else x


def _turned(graph: Graph, x: Value, order: Callable[[int], list[int]]) -> Value:
    if len(x.shape) == 1:
        return x
    name = graph.add("Transpose", x.name, perm=order(len(x.shape)))
    return Value(name, x.shape, not x.channels_first)


# layers


def _dense(graph: Graph, part: Part, x: Value) -> Value:
    weights, biases = part.params
    names = graph.constant(weights, "weights"), graph.constant(biases, "biases")
    return Value(graph.add("Gemm", x.name, *names, transB=1), part.output_shape)


def _convolution(graph: Graph, part: Part, x: Value) -> Value:
    layer: layers.Conv2D = part.layer
    kernels, biases = part.params
    height, width, _ = x.shape
    (top, bottom), (left, right) = layer.pads((height, width))
    names = graph.constant(np.moveaxis(kernels, -1, 1), "weights"), graph.constant(biases, "biases")
    how = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": [top, left, bottom, right]}
    return Value(graph.add("Conv", channels_first(graph, x).name, *names, **how), part.output_shape, True)


def _pooling(operator: str) -> Callable[[Graph, Part, Value], Value]:
    def write(graph: Graph, part: Part, x: Value) -> Value:
        how = {"kernel_shape": part.layer.size, "strides": part.layer.stride}
        return Value(graph.add(operator, channels_first(graph, x).name, **how), part.output_shape, True)

    return write


def _flatten(graph: Graph, part: Part, x: Value) -> Value:
    if len(x.shape) == 1:
        return x
    if 1 in (x.shape[-1], np.prod(x.shape[:-1])):  # the numbers lie in the same order either way
        return Value(graph.add("Flatten", x.name), part.output_shape)
    return Value(graph.add("Flatten", channels_last(graph, x).name), part.output_shape)


def _batch_norm(graph: Graph, part: Part, x: Value) -> Value:
    names = ("gain", "shift", "mean", "variance")
    arrays = [graph.constant(a, name) for name, a in zip(names, part.params + part.state, strict=True)]
    x = channels_first(graph, x)
    return x._replace(name=graph.add("BatchNormalization", x.name, *arrays, epsilon=part.layer.epsilon))


def _layer_norm(graph: Graph, part: Part, x: Value) -> Value:
    names = [graph.constant(array, name) for name, array in zip(("gain", "shift"), part.params, strict=True)]
    x = channels_last(graph, x)
    return x._replace(name=graph.add("LayerNormalization", x.name, *names, axis=-1, epsilon=part.layer.epsilon))


def _standardize(graph: Graph, part: Part, x: Value) -> Value:
    if not part.layer.is_measured(part.state):
        return x
    arrays = [np.moveaxis(array, -1, 0) if x.channels_first else array for array in part.state[:2]]
    mean, deviation = (graph.constant(a, name) for name, a in zip(("mean", "deviation"), arrays, strict=True))
    if part.layer.invert:
        return x._replace(name=graph.add("Add", mean, graph.add("Mul", deviation, x.name)))
    return x._replace(name=graph.add("Div", graph.add("Sub", x.name, mean), deviation))


def _same(graph: Graph, part: Part, x: Value) -> Value:
    return x


_LAYERS: dict[type[Layer], Callable[[Graph, Part, Value], Value]] = {
    layers.Activation: _same,
    layers.AveragePool2D: _pooling("AveragePool"),
    layers.BatchNorm: _batch_norm,
    layers.Conv2D: _convolution,
    layers.Dense: _dense,
    layers.Dropout: _same,
    layers.ElasticDistortion: _same,
    layers.Flatten: _flatten,
    layers.LayerNorm: _layer_norm,
    layers.MaxPool2D: _pooling("MaxPool"),
    layers.RandomAffine: _same,
    layers.Standardize: _standardize,
}

# activations


def _operator(name: str, **attributes: Any) -> Callable[[Graph, Any, Value], Value]:
    return lambda graph, activation, z: z._replace(name=graph.add(name, z.name, **attributes))


def _leaky_relu(graph: Graph, activation: Any, z: Value) -> Value:
    return z._replace(name=graph.add("LeakyRelu", z.name, alpha=activation.slope))


def _silu(graph: Graph, activation: Any, z: Value) -> Value:
    return z._replace(name=graph.add("Mul", z.name, graph.add("Sigmoid", z.name)))


def _softmax(graph: Graph, activation: Any, z: Value) -> Value:
    return z._replace(name=graph.add("Softmax", z.name, axis=1 if z.channels_first else -1))


_ACTIVATIONS: dict[type[Activation], Callable[[Graph, Any, Value], Value]] = {
    activations.Exponential: _operator("Exp"),
    activations.GELU: _operator("Gelu", approximate="tanh"),
    activations.LeakyReLU: _leaky_relu,
    activations.Linear: lambda graph, activation, z: z,
    activations.ReLU: _operator("Relu"),
    activations.Sigmoid: _operator("Sigmoid"),
    activations.SiLU: _silu,
    activations.Softmax: _softmax,
    activations.Softplus: _operator("Softplus"),
    activations.Tanh: _operator("Tanh"),
}

_NOT_IN_DOUBLE: set[type] = {
    *(layers.AveragePool2D, layers.Conv2D, activations.LeakyReLU, activations.Softplus),  # says onnxruntime
    activations.SiLU,  # onnxruntime 1.20 joins its two nodes to one that it has in float32 only
    *(layers.BatchNorm, layers.LayerNorm, activations.GELU),  # their constants are float32
}
"""What has an operator of its own in float32 only."""

# what has no operator of its own


def _own_formula(graph: Graph, part: Part, x: Value) -> Value:
    """The layer's own forward, as it is in prediction, with its parameters as constants."""

    def forward(inputs: Any, tape: Any) -> Any:
        params, state = ([tape.constant(array) for array in arrays] for arrays in (part.params, part.state))
        key, step = (tape.constant(np.asarray(a, np.int32)) for a in (draw_key(part.seed), part.steps))
        context = Context(tape.namespace, False, key, step, part.place)
        packed = part.layer.pack(*params) if params else ()
        return part.layer.forward(packed, tuple(state), inputs, context)[0]

    return _by_formula(graph, part, x, part.output_shape, forward)


def _by_formula(graph: Graph, part: Part, x: Value, shape: Shape, formula: Callable[[Any, Any], Any]) -> Value:
    from nn_any.files.onnx_recorded import write_formula  # it takes long to import

    x = channels_last(graph, x)
    try:
        return Value(write_formula(graph, x.name, x.shape, part.dtype, formula), shape)
    except Exception as error:
        raise InvalidTypeError(
            f"layers, entry {part.place + 1}, {part.layer!r}: expected a formula that ONNX has operators for, got one "
            f"that it has none for ({error!s:.300}); write it with elementwise functions, sums and matrix products of "
            "xp, so that nothing but shapes depends on the number of examples"
        ) from error
