"""Networks as PyTorch modules."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from nn_any.backends._torch_modules import (
    ACTIVATIONS,
    ChannelLayerNorm,
    ChannelsLastFlatten,
    Standardize,
    pytorch_order,
)
from nn_any.core import layers
from nn_any.core.activations import LINEAR, Activation, LeakyReLU
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.state import HostSnapshot
from nn_any.core.typing import Shape


def write_module(host: HostSnapshot) -> nn.Sequential:
    """The module that a network is; see `nn_any.Network.to_torch`."""
    spec, modules = host.specification, []
    dtype = getattr(torch, spec.dtype)
    writer = _Writer(dtype)
    if len(spec.input_shape) > 3:
        raise InvalidValueError(
            f"to_torch: expected inputs of up to three axes, got shape {spec.input_shape}; build the network with "
            "inputs of one axis"
        )
    dense = max((i for i, layer in enumerate(spec.layers) if isinstance(layer, layers.Dense)), default=-1)
    for i, (layer, params, state) in enumerate(zip(spec.layers, host.params, host.layer_state, strict=True)):
        writing = _WRITINGS.get(type(layer))
        if writing is None:
            raise InvalidTypeError(
                f"to_torch: expected layers of nn_any, got {layer!r} in place {i}, a layer of your own; put one of "
                f"{', '.join(kind.__name__ for kind in _WRITINGS)} in its place"
            )
        writer.shape, writer.before_dense = spec.shapes[i], i < dense
        written = writing(writer, layer, layer.unpack(params), state)
        modules += [module.requires_grad_(layer.trainable) for module in written]
        modules += _activation_modules(layer.activation)
    return nn.Sequential(*modules).eval()


class _Writer:
    """What a layer's module depends on beside the layer.

    Attributes
    ----------
    shape : tuple of int
        The shape of its inputs, channels last.
    before_dense : bool
        Whether a `Dense` layer follows, which can put rows that were images in order.
    order : array of int, or None
        For such rows: where in PyTorch's row each feature of ours stands.
    """

    def __init__(self, dtype: Any) -> None:
        self.where = {"dtype": dtype, "device": "cpu"}
        self.shape: Shape = ()
        self.before_dense = False
        self.order: np.ndarray | None = None

    def make(self, kind: Any, *arguments: Any, arrays: dict[str, np.ndarray], **settings: Any) -> nn.Module:
        """A module with these numbers in the place of its parameters and buffers; none are drawn."""
        module = nn.utils.skip_init(kind, *arguments, **settings, **self.where)
        own = module.state_dict()
        for name, array in arrays.items():
            own[name].copy_(self.tensor(array))
        return module

    def tensor(self, array: np.ndarray) -> Any:
        """A tensor with a copy of an array's numbers."""
        return torch.tensor(np.array(array), **self.where)

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Numbers that belong to the elements of an example, or to its channels, as PyTorch's stand."""
        if self.order is not None:
            return values[np.argsort(self.order)]
        return np.moveaxis(values, -1, 0) if values.ndim else values


def _write_dense(writer: _Writer, layer: Any, params: Any, state: Any) -> Iterator[nn.Module]:
    weights, biases = params
    if writer.order is not None:
        weights, writer.order = weights[:, np.argsort(writer.order)], None
    arrays = {"weight": weights, "bias": biases}
    yield writer.make(nn.Linear, weights.shape[1], layer.units, arrays=arrays)


def _write_conv(writer: _Writer, layer: Any, params: Any, state: Any) -> Iterator[nn.Module]:
    kernels, biases = params
    (top, bottom), (left, right) = layer.pads(writer.shape[:2])
    even = top == bottom and left == right
    if not even:
        yield nn.ZeroPad2d((left, right, top, bottom))
    arrays = {"weight": kernels.transpose(0, 3, 1, 2), "bias": biases}
    how = {"stride": layer.stride, "padding": (top, left) if even else 0}
    yield writer.make(nn.Conv2d, writer.shape[-1], layer.filters, layer.kernel_size, arrays=arrays, **how)


def _write_pooling(writer: _Writer, layer: Any, params: Any, state: Any) -> Iterator[nn.Module]:
    yield (nn.MaxPool2d if isinstance(layer, layers.MaxPool2D) else nn.AvgPool2d)(layer.size, layer.stride)


def _write_batch_norm(writer: _Writer, layer: Any, params: Any, state: Any) -> Iterator[nn.Module]:
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = {name: writer.in_order(array) for name, array in zip(names, (*params, *state), strict=True)}
    kind = nn.BatchNorm2d if len(writer.shape) == 3 else nn.BatchNorm1d
    how = {"eps": layer.epsilon, "momentum": layer.momentum}
    module = writer.make(kind, len(params[0]), arrays=arrays, **how)
    module.num_batches_tracked.zero_()
    yield module


def _write_layer_norm(writer: _Writer, layer: Any, params: Any, state: Any) -> Iterator[nn.Module]:
    kind = nn.LayerNorm if len(writer.shape) == 1 else ChannelLayerNorm
    arrays = {name: writer.in_order(array) for name, array in zip(("weight", "bias"), params, strict=True)}
    yield writer.make(kind, len(params[0]), eps=layer.epsilon, arrays=arrays)


def _write_standardize(writer: _Writer, layer: Any, params: Any, state: Any) -> Iterator[nn.Module]:
    mean, deviation = (writer.tensor(writer.in_order(values)) for values in state[:2])
    yield Standardize(mean, deviation, writer.tensor(state[2]), layer.invert)


def _write_flatten(writer: _Writer, layer: Any, params: Any, state: Any) -> Iterator[nn.Module]:
    if len(writer.shape) > 1 and writer.before_dense:
        writer.order = pytorch_order(writer.shape)
    yield nn.Flatten() if len(writer.shape) == 1 or writer.before_dense else ChannelsLastFlatten()


def _write_dropout(writer: _Writer, layer: Any, params: Any, state: Any) -> Iterator[nn.Module]:
    yield nn.Dropout(layer.rate)


def _write_nothing(writer: _Writer, layer: Any, params: Any, state: Any) -> Iterator[nn.Module]:
    yield from ()


_WRITINGS: dict[type, Callable[[_Writer, Any, Any, Any], Iterator[nn.Module]]] = {
    layers.Dense: _write_dense,
    layers.Conv2D: _write_conv,
    layers.MaxPool2D: _write_pooling,
    layers.AveragePool2D: _write_pooling,
    layers.BatchNorm: _write_batch_norm,
    layers.LayerNorm: _write_layer_norm,
    layers.Standardize: _write_standardize,
    layers.Flatten: _write_flatten,
    layers.Dropout: _write_dropout,
    layers.Activation: _write_nothing,
    layers.RandomAffine: _write_nothing,
    layers.ElasticDistortion: _write_nothing,
}


def _activation_modules(activation: Activation) -> list[nn.Module]:
    """The module of an activation; none for the linear one."""
    if activation == LINEAR:
        return []
    if isinstance(activation, LeakyReLU):
        return [nn.LeakyReLU(activation.slope)]
    choices: dict[str, dict[str, Any]] = {"gelu": {"approximate": "tanh"}, "softmax": {"dim": 1}}
    known = {name: kind for kind, name in reversed(ACTIVATIONS.items())}
    if activation.name not in known or not type(activation).__module__.startswith("nn_any."):
        raise InvalidTypeError(
            f"to_torch: expected activations of nn_any, got {activation!r}, one of your own; use one of "
            f"{', '.join(sorted(known))}, or linear"
        )
    return [known[activation.name](**choices.get(activation.name, {}))]
