"""PyTorch modules as networks, and networks as PyTorch modules.

PyTorch has the channels of an image in front, (n, channels, height, width), and this package has them last. So the axes
of kernels are moved, and the columns of the first `Dense` layer behind a `Flatten` are put into another order.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from nn_any.core import layers, losses, options
from nn_any.core.activations import LINEAR, Activation, LeakyReLU
from nn_any.core.assembly import Assembly
from nn_any.core.errors import InvalidTypeError, InvalidValueError, prefix_errors
from nn_any.core.layers import Layer
from nn_any.core.layers.base import image_shape
from nn_any.core.losses import Loss
from nn_any.core.state import HostSnapshot
from nn_any.core.typing import Shape

# what PyTorch lacks


class Standardize(nn.Module):
    """``(x - mean) / deviation``, or with `invert` the way back, ``mean + deviation * x``.

    Parameters
    ----------
    mean, deviation : tensors in the shape of an example, channels first; they are buffers
    invert : bool
    measured : tensor, ()
        Whether they have been measured, 0 or 1; a buffer too.
    """

    def __init__(self, mean: Any, deviation: Any, measured: Any, invert: bool = False) -> None:
        super().__init__()
        self.invert = invert
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.register_buffer("measured", measured)

    def forward(self, x: Any) -> Any:
        """Tensors (n, ...) of the shape of the buffers."""
        return self.mean + self.deviation * x if self.invert else (x - self.mean) / self.deviation

    def extra_repr(self) -> str:
        """What its text shows in brackets."""
        return f"{tuple(self.mean.shape)}, invert={self.invert}"


class Exponential(nn.Module):
    """``exp(x)``."""

    def forward(self, x: Any) -> Any:
        """A tensor of any shape."""
        return torch.exp(x)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each place in an image, (n, channels, ...)."""

    def forward(self, x: Any) -> Any:
        """The same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelsLastFlatten(nn.Module):
    """Images (n, channels, ...) as rows in which the channels of a place stand side by side."""

    def forward(self, x: Any) -> Any:
        """(n, numbers)."""
        return x.movedim(1, -1).flatten(1)


# from PyTorch


def read_module(
    module: Any, input_shape: Any = None, loss: Any = None, task: str | None = None, seed: int | None = None
) -> HostSnapshot:
    """The network that a `torch.nn.Sequential` is; see `nn_any.Network.from_torch`."""
    modules = list(_flattened("module", module))
    named = isinstance(loss, str | Loss)
    reader = _Reader(_own_shape(input_shape) if input_shape is not None else _inferred_shape(modules))
    for place, one in modules:
        with prefix_errors(place):
            reader.read(one)
    with prefix_errors("module"):
        reader.check_order()
        floats = {t.dtype for t in module.state_dict().values() if t.is_floating_point()}
        dtype = "float64" if torch.float64 in floats else "float32"
        own, logits = _own_loss(loss)
        return reader.assembly.finish(loss=own, task=task, named=named, logits=logits, dtype=dtype, seed=seed)


def _flattened(place: str, module: Any) -> Iterator[tuple[str, nn.Module]]:
    """The modules that are no sequence of others, each with its place."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for name, child in module.named_children():
            yield from _flattened(f"{place}[{name}]" if name.isdecimal() else f"{place}.{name}", child)
    elif isinstance(module, nn.Module) and _reading(module) is not None:
        yield place, module
    elif isinstance(module, nn.Module) and not type(module).__module__.startswith("keras."):
        raise InvalidTypeError(
            f"{place}: expected torch.nn.Sequential or one of {', '.join(kind.__name__ for kind in _READINGS)}, got "
            f"{type(module).__name__}; put torch.nn.Sequential of such modules in its place"
        )
    else:
        other = "from_keras" if type(module).__module__.startswith("keras.") else "from_sklearn"
        raise InvalidTypeError(
            f"{place}: expected torch.nn.Sequential, got {type(module).__module__}.{type(module).__name__}; for models "
            f"of another library there are from_keras and from_sklearn: use Network.{other}"
        )


def _own_shape(shape: Any) -> Shape:
    """The shape of an example as PyTorch has it, with the channels last."""
    sizes = shape if isinstance(shape, Sequence) else (shape,)
    sizes = [options.integer("input_shape", size) for size in sizes]
    return (*sizes[1:], sizes[0])


def _inferred_shape(modules: Sequence[tuple[str, nn.Module]]) -> Shape:
    """The shape of an example, where the first module with parameters tells it."""
    passing = (nn.Flatten, nn.Identity, nn.Dropout, *_ACTIVATIONS)
    first = next((module for _, module in modules if not isinstance(module, passing)), None)
    match first:
        case nn.Linear():
            return (first.in_features,)
        case nn.BatchNorm1d():
            return (first.num_features,)
        case nn.LayerNorm() if len(first.normalized_shape) == 1:
            return (first.normalized_shape[0],)
        case Standardize():
            return _own_shape(first.mean.shape)
    raise InvalidValueError(
        f"input_shape: expected the shape of one example, since {type(first).__name__} does not tell it, got None; "
        "pass input_shape=(channels, height, width)"
    )


def _own_loss(loss: Any) -> tuple[Any, bool]:
    """The loss that one of PyTorch's is, and whether it takes logits; names and losses of this package stay."""
    if getattr(loss, "weight", None) is not None or getattr(loss, "pos_weight", None) is not None:
        raise InvalidValueError(
            f"loss: expected one without weights of classes, got {type(loss).__name__}(weight=...); leave weight out "
            "here, and pass class_weight to fit"
        )
    match loss:
        case nn.CrossEntropyLoss():
            return losses.LogLikelihood(loss.label_smoothing), True
        case nn.NLLLoss():
            return losses.get("log_likelihood"), False
        case nn.BCEWithLogitsLoss() | nn.BCELoss():
            return losses.get("cross_entropy"), isinstance(loss, nn.BCEWithLogitsLoss)
        case nn.MSELoss():
            return losses.get("mean_squared_error"), False
        case nn.L1Loss():
            return losses.get("mean_absolute_error"), False
        case nn.HuberLoss():
            return losses.Huber(loss.delta), False
        case nn.SmoothL1Loss():
            return losses.Huber(loss.beta), False
        case nn.PoissonNLLLoss():
            return losses.get("poisson"), loss.log_input
        case nn.Module():
            raise InvalidTypeError(
                f"loss: expected a loss that nn_any has, got {loss!r}; pass its name, one of {', '.join(losses.names())}"
            )
    return loss, True


class _Reader:
    """Modules that are read one after the other.

    Attributes
    ----------
    assembly : Assembly
        The layers so far.
    order : array of int, or None
        For rows that were images: where in PyTorch's row each feature of ours stands.
    pads : pair of pairs of int
        Zeros that a `ZeroPad2d` has put around the images, above and below, left and right.
    """

    def __init__(self, input_shape: Shape) -> None:
        self.assembly, self.order, self.pads = Assembly(input_shape), None, _NO_PADS

    @property
    def shape(self) -> Shape:
        """The shape of an example, channels last."""
        return self.assembly.shape

    def read(self, module: nn.Module) -> None:
        """Add what a module is."""
        if self.pads != _NO_PADS and not isinstance(module, nn.Conv2d):
            raise InvalidValueError(
                f"expected Conv2d behind ZeroPad2d, got {type(module).__name__}; leave ZeroPad2d out, or use Conv2d"
            )
        if any(isinstance(parameter, nn.UninitializedParameter) for parameter in module.parameters()):
            raise InvalidValueError(
                f"expected a module with parameters, got {type(module).__name__} before its first batch; call the "
                "module on a batch first"
            )
        reading = _reading(module)
        assert reading is not None
        reading(self, module)

    def add(self, layer: Layer, *params: np.ndarray, state: Sequence[np.ndarray] = ()) -> None:
        """Put a layer behind the others."""
        self.assembly.add(layer, params, state)

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Numbers that belong to the elements of an example, or to its channels, as ours stand."""
        if self.order is not None:
            return values[self.order]
        return np.moveaxis(values, 0, -1) if values.ndim else values

    def check_order(self) -> None:
        """Rows that were images come out as PyTorch's module gives them."""
        if self.order is not None and np.any(np.diff(self.order) < 0):
            raise InvalidValueError(
                f"expected Linear behind Flatten, since images of shape {self.shape} have their channels last here, "
                "got outputs in PyTorch's order; put torch.nn.Linear behind it"
            )


_NO_PADS = ((0, 0), (0, 0))


def _array(tensor: Any) -> np.ndarray:
    """A tensor's numbers on the host, float64, which holds those of every other dtype."""
    array: np.ndarray = tensor.detach().to("cpu", torch.float64).numpy()
    return array


def _parameter(tensor: Any, size: int, default: float) -> np.ndarray:
    """The numbers of a parameter that a module may lack."""
    return np.full(size, default) if tensor is None else _array(tensor)


def _is_trainable(module: nn.Module) -> bool:
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    return any(wanted) or not wanted


def _check_settings(module: nn.Module, **only: Any) -> None:
    """The settings of a module are those that the package's layer has."""
    for name, wanted in only.items():
        got = getattr(module, name)
        if got != wanted and got != (wanted, wanted):
            raise InvalidValueError(
                f"expected {type(module).__name__} with {name}={wanted!r}, which is what nn_any has, got {got!r}; "
                f"train it with {name}={wanted!r}"
            )


def _read_linear(reader: _Reader, module: Any) -> None:
    weights = _array(module.weight)
    if reader.order is not None and weights.shape[1] == len(reader.order):
        weights, reader.order = weights[:, reader.order], None
    biases = _parameter(module.bias, module.out_features, 0.0)
    reader.add(layers.Dense(module.out_features, LINEAR, trainable=_is_trainable(module)), weights, biases)


def _read_conv(reader: _Reader, module: Any) -> None:
    _check_settings(module, dilation=1, groups=1, padding_mode="zeros")
    how = {"stride": module.stride, "trainable": _is_trainable(module)}
    same = layers.Conv2D(module.out_channels, module.kernel_size, LINEAR, padding="same", **how)
    wanted = same.pads(_image_size(reader))
    sides: Any = wanted if module.padding == "same" else [(p, p) for p in _pair(module.padding)]
    pads = tuple([(a + c, b + d) for (a, b), (c, d) in zip(sides, reader.pads, strict=True)])
    if pads not in (_NO_PADS, wanted):
        raise InvalidValueError(
            f"expected no zeros around the image, or {wanted} (above and below, left and right) as padding='same' has "
            f"them, got {pads}; train it with padding=0, or with these zeros by torch.nn.ZeroPad2d and padding=0"
        )
    valid = layers.Conv2D(module.out_channels, module.kernel_size, LINEAR, **how)
    kernels, biases = _array(module.weight), _parameter(module.bias, module.out_channels, 0.0)
    reader.pads = _NO_PADS
    reader.add(same if pads != _NO_PADS else valid, kernels.transpose(0, 2, 3, 1), biases)


def _image_size(reader: _Reader) -> tuple[int, int]:
    height, width, _ = image_shape(reader.shape)
    return height, width


def _pair(value: Any) -> tuple[int, int]:
    """An integer for both height and width, or one for each."""
    return value if isinstance(value, tuple) else (0, 0) if value == "valid" else (value, value)


def _read_padding(reader: _Reader, module: Any) -> None:
    left, right, top, bottom = module.padding
    reader.pads = ((top, bottom), (left, right))


def _read_pooling(reader: _Reader, module: Any) -> None:
    maximum = isinstance(module, nn.MaxPool2d)
    _check_settings(module, padding=0, **({"dilation": 1, "return_indices": False} if maximum else {}))
    size, stride = _pair(module.kernel_size), _pair(module.stride)
    steps = zip(_image_size(reader), size, stride, strict=True)
    if any((n - window) % step for n, window, step in steps):  # else no window is cut at the edge
        _check_settings(module, ceil_mode=False)
    if not maximum and module.divisor_override != math.prod(size):
        _check_settings(module, divisor_override=None)
    reader.add((layers.MaxPool2D if maximum else layers.AveragePool2D)(size, stride))


def _read_adaptive_pooling(reader: _Reader, module: Any) -> None:
    maximum = isinstance(module, nn.AdaptiveMaxPool2d)
    if maximum:
        _check_settings(module, return_indices=False)
    size = _image_size(reader)
    wanted = [n if out is None else out for n, out in zip(size, _pair(module.output_size), strict=True)]
    if any(n % out for n, out in zip(size, wanted, strict=True)):
        raise InvalidValueError(
            f"expected an output size that divides the images' {size[0]} × {size[1]}, got {wanted[0]} × {wanted[1]}; "
            "train it with output_size=1"
        )
    window = (size[0] // wanted[0], size[1] // wanted[1])
    reader.add((layers.MaxPool2D if maximum else layers.AveragePool2D)(window))


def _read_batch_norm(reader: _Reader, module: Any) -> None:
    _check_settings(module, track_running_stats=True)
    if module.momentum is None:
        raise InvalidValueError(
            f"expected {type(module).__name__} with a momentum, got None; set momentum=0.1, which changes no prediction"
        )
    gain, shift = (_parameter(p, module.num_features, d) for p, d in ((module.weight, 1.0), (module.bias, 0.0)))
    arrays = [gain, shift, _array(module.running_mean), _array(module.running_var)]
    gain, shift, mean, variance = map(reader.in_order, arrays)
    layer = layers.BatchNorm(momentum=module.momentum, epsilon=module.eps, trainable=_is_trainable(module))
    reader.add(layer, gain, shift, state=(mean, variance))


def _read_layer_norm(reader: _Reader, module: Any) -> None:
    channels = isinstance(module, ChannelLayerNorm)
    if len(module.normalized_shape) != 1 or (len(reader.shape) != 1 and not channels):
        raise InvalidValueError(
            f"expected LayerNorm over rows of features, got it over the last axes {tuple(module.normalized_shape)} of "
            "images; put torch.nn.Flatten and torch.nn.LayerNorm of as many features as it gives in its place"
        )
    size = module.normalized_shape[0]
    gain, shift = (_parameter(p, size, d) for p, d in ((module.weight, 1.0), (module.bias, 0.0)))
    layer = layers.LayerNorm(epsilon=module.eps, trainable=_is_trainable(module))
    reader.add(layer, reader.in_order(gain), reader.in_order(shift))


def _read_standardize(reader: _Reader, module: Any) -> None:
    mean, deviation = (reader.in_order(_array(values)) for values in (module.mean, module.deviation))
    reader.add(layers.Standardize(invert=module.invert), state=(mean, deviation, _array(module.measured)))


def _read_flatten(reader: _Reader, module: Any) -> None:
    shape = reader.shape
    if isinstance(module, nn.Flatten):
        _check_settings(module, start_dim=1)
        if module.end_dim != len(shape):
            _check_settings(module, end_dim=-1)
        if len(shape) > 1:
            reader.order = _order(shape)
    reader.add(layers.Flatten())


def _order(shape: Shape) -> np.ndarray:
    """Where each element of an example of our shape stands in the row that PyTorch makes of it."""
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape[-1], *shape[:-1]), 0, -1).reshape(-1)


def _read_dropout(reader: _Reader, module: Any) -> None:
    reader.add(layers.Dropout(module.p))


def _read_identity(reader: _Reader, module: Any) -> None:
    pass


def _read_activation(reader: _Reader, module: Any) -> None:
    axes = len(reader.shape) + 1
    match module:
        case nn.Softmax() | nn.LogSoftmax():
            dim = (1 if axes in (2, 4) else 0) if module.dim is None else module.dim
            if dim % axes != 1:
                raise InvalidValueError(
                    f"expected {type(module).__name__} over the classes or channels, got dim={module.dim}; use dim=1"
                )
        case nn.GELU():
            _check_settings(module, approximate="tanh")
        case nn.Softplus():
            _check_settings(module, beta=1)
    name = _ACTIVATIONS[_kind(module, _ACTIVATIONS)]
    reader.add(layers.Activation(LeakyReLU(module.negative_slope) if name == "leaky_relu" else name))


_ACTIVATIONS: dict[type, str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Softplus: "softplus",
    nn.Softmax: "softmax",
    nn.LogSoftmax: "softmax",
    Exponential: "exponential",
}
_READINGS: dict[type, Callable[[_Reader, Any], None]] = {
    nn.Linear: _read_linear,
    nn.Conv2d: _read_conv,
    nn.ZeroPad2d: _read_padding,
    nn.MaxPool2d: _read_pooling,
    nn.AvgPool2d: _read_pooling,
    nn.AdaptiveMaxPool2d: _read_adaptive_pooling,
    nn.AdaptiveAvgPool2d: _read_adaptive_pooling,
    nn.BatchNorm1d: _read_batch_norm,
    nn.BatchNorm2d: _read_batch_norm,
    ChannelLayerNorm: _read_layer_norm,
    nn.LayerNorm: _read_layer_norm,
    nn.Dropout: _read_dropout,
    nn.Flatten: _read_flatten,
    ChannelsLastFlatten: _read_flatten,
    nn.Identity: _read_identity,
    Standardize: _read_standardize,
    **dict.fromkeys(_ACTIVATIONS, _read_activation),
}


def _kind(module: nn.Module, table: dict[type, Any]) -> type | None:
    """Which of these kinds a module is, if it computes as they do."""
    return next((kind for kind in table if isinstance(module, kind) and type(module).forward is kind.forward), None)


def _reading(module: nn.Module) -> Callable[[_Reader, Any], None] | None:
    kind = _kind(module, _READINGS)
    return None if kind is None else _READINGS[kind]


# to PyTorch


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
        for module in writing(writer, layer, layer.unpack(params), state):
            modules.append(module.requires_grad_(layer.trainable))
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
        writer.order = _order(writer.shape)
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
    settings = {"gelu": {"approximate": "tanh"}, "softmax": {"dim": 1}}.get(activation.name, {})
    known = {name: kind for kind, name in reversed(_ACTIVATIONS.items()) if kind is not nn.LogSoftmax}
    if activation.name not in known or not type(activation).__module__.startswith("nn_any."):
        raise InvalidTypeError(
            f"to_torch: expected activations of nn_any, got {activation!r}, one of your own; use one of "
            f"{', '.join(sorted(known))}, or linear"
        )
    return [known[activation.name](**settings)]
