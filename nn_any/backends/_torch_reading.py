"""PyTorch modules as networks."""

import math
from collections.abc import Callable, Iterator, Sequence
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
from nn_any.core import layers, losses, options
from nn_any.core.activations import LINEAR, LeakyReLU
from nn_any.core.assembly import Assembly
from nn_any.core.errors import InvalidTypeError, InvalidValueError, prefix_errors
from nn_any.core.layers import Layer
from nn_any.core.layers.base import image_shape
from nn_any.core.losses import Loss
from nn_any.core.state import HostSnapshot
from nn_any.core.typing import Shape


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
        names = [name for name, _ in module.named_modules(remove_duplicate=False) if name and "." not in name]
        for name, child in zip(names, module, strict=True):  # `named_children` leaves out what stands there twice
            yield from _flattened(f"{place}[{name}]" if name.isdecimal() else f"{place}.{name}", child)
    elif isinstance(module, nn.Module) and _reading(module) is not None:
        yield place, module
    elif isinstance(module, nn.Module) and not type(module).__module__.startswith("keras."):
        raise InvalidTypeError(
            f"{place}: expected torch.nn.Sequential or one of {', '.join(kind.__name__ for kind in _READINGS)}, got "
            f"{type(module).__name__}; put torch.nn.Sequential of such modules in its place"
        )
    else:
        raise InvalidTypeError(
            f"{place}: expected torch.nn.Sequential, got {type(module).__module__}.{type(module).__name__}; for models "
            "of other libraries there are Network.from_keras and Network.from_sklearn"
        )


def _own_shape(shape: Any) -> Shape:
    """The shape of an example as PyTorch has it, with the channels last."""
    sizes = shape if isinstance(shape, Sequence) else (shape,)
    sizes = [options.integer("input_shape", size) for size in sizes]
    return (*sizes[1:], sizes[0])


def _inferred_shape(modules: Sequence[tuple[str, nn.Module]]) -> Shape:
    """The shape of an example, where the first module with parameters tells it."""
    passing = (nn.Flatten, nn.Identity, nn.Dropout, *ACTIVATIONS)
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
                f"loss: expected a loss that nn_any has, got {loss!r}; pass the name of one, "
                f"{', '.join(losses.names())}"
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
    gives_logs : bool
        Whether a `LogSoftmax` has been read, which becomes a softmax and so must be the last.
    """

    def __init__(self, input_shape: Shape) -> None:
        self.assembly, self.pads, self.gives_logs = Assembly(input_shape), _NO_PADS, False
        self.order: np.ndarray | None = None

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
        if self.gives_logs and not isinstance(module, nn.Identity):
            raise InvalidValueError(
                f"expected LogSoftmax as the last module, since it becomes a softmax, got {type(module).__name__} "
                "behind it; train it with Softmax in its place"
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
            ordered: np.ndarray = values[self.order]
            return ordered
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
    channels = image_shape(reader.shape)[-1]
    if channels != module.in_channels:
        raise InvalidValueError(
            f"expected images of {module.in_channels} channel(s), as Conv2d takes them, got {channels}; pass "
            "input_shape=(channels, height, width), and make it fit what comes before"
        )
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
            reader.order = pytorch_order(shape)
    reader.add(layers.Flatten())


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
            _check_settings(module, beta=1, threshold=20)
    reader.gives_logs = isinstance(module, nn.LogSoftmax)
    name = next(name for kind, name in ACTIVATIONS.items() if isinstance(module, kind))
    reader.add(layers.Activation(LeakyReLU(module.negative_slope) if name == "leaky_relu" else name))


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
    **dict.fromkeys(ACTIVATIONS, _read_activation),
}


def _reading(module: nn.Module) -> Callable[[_Reader, Any], None] | None:
    """What reads a module, if it computes as PyTorch's own does."""
    kinds: Any = _READINGS.items()
    fitting = (reading for kind, reading in kinds if isinstance(module, kind) and type(module).forward is kind.forward)
    return next(fitting, None)
