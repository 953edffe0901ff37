"""Keras models as networks of this package.

Keras has its kernels the other way round, (inputs, units) and (height, width, channels, filters); its images have their
channels last, as here.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from nn_any.backends import to_numpy
from nn_any.core import layers, losses
from nn_any.core.activations import LINEAR, LeakyReLU
from nn_any.core.assembly import Assembly, measured
from nn_any.core.errors import InvalidTypeError, InvalidValueError, prefix_errors
from nn_any.core.layers.base import image_shape
from nn_any.core.losses import Loss
from nn_any.core.state import HostSnapshot
from nn_any.core.typing import Shape


def read_keras(model: Any, loss: Any = None, task: str | None = None, seed: int | None = None) -> HostSnapshot:
    """The network that a Keras model is; see `nn_any.Network.from_keras`."""
    if not _is_sequential(model):
        raise InvalidTypeError(
            f"model: expected keras.Sequential, got {type(model).__module__}.{type(model).__name__}; if its layers "
            "stand in a row, pass keras.Sequential(model.layers)"
        )
    if not model.built:
        raise InvalidValueError(
            "model: expected one that knows its input shape, got one before its first batch; call "
            "model.build((None, *input_shape)) first"
        )
    assembly = Assembly(_input_shape(model))
    for place, layer in _flattened("model", model):
        with prefix_errors(place):
            _read(assembly, layer)
    floats = {str(variable.dtype) for variable in model.weights}
    named = isinstance(loss, str | Loss)
    own, logits = (loss, True) if loss is not None or not model.compiled else _own_loss(model.loss)
    with prefix_errors("model"):
        dtype = "float64" if "float64" in floats else "float32"
        return assembly.finish(loss=own, task=task, named=named, logits=logits, dtype=dtype, seed=seed)


def _is_sequential(model: Any) -> bool:
    """Whether it is a row of layers, and computes as such."""
    kinds = type(model).__mro__
    own = next((kind for kind in kinds if kind.__module__.startswith("keras.") and kind.__name__ == "Sequential"), None)
    return own is not None and type(model).call is vars(own)["call"]


def _input_shape(model: Any) -> Shape:
    shape = tuple(model.input_shape[1:])
    if None in shape:
        raise InvalidValueError(
            f"model: expected inputs of one shape, got {shape}; make the model with keras.Input of numbers, and give "
            "it the weights of this one"
        )
    return shape


def _flattened(place: str, model: Any) -> Iterator[tuple[str, Any]]:
    """The layers that are no model of others, each with its place."""
    for i, layer in enumerate(model.layers):
        at = f"{place}.layers[{i}]"
        yield from _flattened(at, layer) if _is_sequential(layer) else [(at, layer)]


def _read(assembly: Assembly, layer: Any) -> None:
    """Add what a layer is."""
    kind = type(layer).__name__
    if kind not in _READINGS or not type(layer).__module__.startswith("keras."):
        raise InvalidTypeError(
            f"expected a layer that nn_any has, one of {', '.join(_READINGS)}, got {type(layer).__name__}; put one of "
            "these in its place"
        )
    _READINGS[kind](assembly, layer)
    activation = getattr(layer, "activation", None)
    if activation is not None and kind in ("Dense", "Conv2D", "Activation"):
        _read_activation(assembly, activation)


def _array(variable: Any) -> np.ndarray:
    """The numbers of one of Keras's variables or tensors, float64."""
    value = getattr(variable, "value", variable)
    try:
        return to_numpy(value).astype("float64")
    except InvalidTypeError:  # of a library that does not follow the standard, as TensorFlow
        from keras import ops

        return np.asarray(ops.convert_to_numpy(value)).astype("float64")


def _optional(variable: Any, size: int, default: float) -> np.ndarray:
    """The numbers of a variable that a layer may lack."""
    return np.full(size, default) if variable is None else _array(variable)


def _check_settings(layer: Any, **only: Any) -> None:
    """The settings of a layer are those that the package's layer has."""
    for name, wanted in only.items():
        got = getattr(layer, name)
        if got != wanted:
            raise InvalidValueError(
                f"expected {type(layer).__name__} with {name}={wanted!r}, which is what nn_any has, got {got!r}; train "
                f"it with {name}={wanted!r}"
            )


def _read_dense(assembly: Assembly, layer: Any) -> None:
    arrays = _array(layer.kernel).T, _optional(layer.bias, layer.units, 0.0)
    assembly.add(layers.Dense(layer.units, LINEAR, trainable=layer.trainable), arrays)


def _read_conv(assembly: Assembly, layer: Any) -> None:
    _check_settings(layer, data_format="channels_last", dilation_rate=(1, 1), groups=1)
    how = {"stride": layer.strides, "padding": layer.padding, "trainable": layer.trainable}
    arrays = _array(layer.kernel).transpose(3, 0, 1, 2), _optional(layer.bias, layer.filters, 0.0)
    assembly.add(layers.Conv2D(layer.filters, layer.kernel_size, LINEAR, **how), arrays)


def _read_pooling(assembly: Assembly, layer: Any) -> None:
    height, width, _ = image_shape(assembly.shape)
    size, stride = layer.pool_size, layer.strides
    steps = zip((height, width), size, stride, strict=True)
    if any((-(-n // step) - 1) * step + window > n for n, window, step in steps):  # then "same" adds something
        _check_settings(layer, padding="valid")
    _check_settings(layer, data_format="channels_last")
    assembly.add((layers.MaxPool2D if "Max" in type(layer).__name__ else layers.AveragePool2D)(size, stride))


def _read_global_pooling(assembly: Assembly, layer: Any) -> None:
    _check_settings(layer, data_format="channels_last")
    height, width, _ = image_shape(assembly.shape)
    assembly.add((layers.MaxPool2D if "Max" in type(layer).__name__ else layers.AveragePool2D)((height, width)))
    if not layer.keepdims:
        assembly.add(layers.Flatten())


def _read_flatten(assembly: Assembly, layer: Any) -> None:
    if len(assembly.shape) > 1:
        _check_settings(layer, data_format="channels_last")
    assembly.add(layers.Flatten())


def _read_dropout(assembly: Assembly, layer: Any) -> None:
    _check_settings(layer, noise_shape=None)
    assembly.add(layers.Dropout(float(layer.rate)))


def _last_axis(assembly: Assembly, layer: Any) -> None:
    """The layer works along the last axis."""
    axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
    if [axis % (len(assembly.shape) + 1) for axis in axes] != [len(assembly.shape)]:
        _check_settings(layer, axis=-1)


def _read_batch_norm(assembly: Assembly, layer: Any) -> None:
    _last_axis(assembly, layer)
    size = assembly.shape[-1]
    gain, shift = _optional(layer.gamma, size, 1.0), _optional(layer.beta, size, 0.0)
    state = _array(layer.moving_mean), _array(layer.moving_variance)
    how = {"epsilon": layer.epsilon, "trainable": layer.trainable}
    # Keras names the share of the old average, this package that of the new batch
    assembly.add(layers.BatchNorm(momentum=1 - layer.momentum, **how), (gain, shift), state)


def _read_layer_norm(assembly: Assembly, layer: Any) -> None:
    _last_axis(assembly, layer)
    if hasattr(layer, "rms_scaling"):
        _check_settings(layer, rms_scaling=False)
    size = assembly.shape[-1]
    arrays = _optional(layer.gamma, size, 1.0), _optional(layer.beta, size, 0.0)
    assembly.add(layers.LayerNorm(epsilon=layer.epsilon, trainable=layer.trainable), arrays)


def _read_normalization(assembly: Assembly, layer: Any) -> None:
    if layer.mean is None:
        raise InvalidValueError("expected Normalization with mean and variance, got none; call its adapt first")
    mean = np.broadcast_to(_array(layer.mean), (1, *assembly.shape))[0]
    deviation = np.broadcast_to(np.maximum(np.sqrt(_array(layer.variance)), 1e-7), (1, *assembly.shape))[0]
    assembly.add(layers.Standardize(invert=layer.invert), state=measured(mean, deviation))


def _read_rescaling(assembly: Assembly, layer: Any) -> None:
    """``scale x + offset`` is ``(x - μ) / σ`` with ``σ = 1 / scale`` and ``μ = -offset / scale``."""
    scale, offset = (np.broadcast_to(np.asarray(v, "float64"), assembly.shape) for v in (layer.scale, layer.offset))
    assembly.add(layers.Standardize(), state=measured(-offset / scale, 1 / scale))


def _read_nothing(assembly: Assembly, layer: Any) -> None:
    pass


def _read_relu(assembly: Assembly, layer: Any) -> None:
    _check_settings(layer, max_value=None, threshold=0)
    slope = float(layer.negative_slope)
    assembly.add(layers.Activation(LeakyReLU(slope) if slope else "relu"))


def _read_leaky_relu(assembly: Assembly, layer: Any) -> None:
    assembly.add(layers.Activation(LeakyReLU(float(layer.negative_slope))))


def _read_softmax(assembly: Assembly, layer: Any) -> None:
    _last_axis(assembly, layer)
    assembly.add(layers.Activation("softmax"))


_READINGS: dict[str, Callable[[Assembly, Any], None]] = {
    "InputLayer": _read_nothing,
    "Dense": _read_dense,
    "Conv2D": _read_conv,
    "MaxPooling2D": _read_pooling,
    "AveragePooling2D": _read_pooling,
    "GlobalMaxPooling2D": _read_global_pooling,
    "GlobalAveragePooling2D": _read_global_pooling,
    "Flatten": _read_flatten,
    "Dropout": _read_dropout,
    "BatchNormalization": _read_batch_norm,
    "LayerNormalization": _read_layer_norm,
    "Normalization": _read_normalization,
    "Rescaling": _read_rescaling,
    "Activation": _read_nothing,
    "ReLU": _read_relu,
    "LeakyReLU": _read_leaky_relu,
    "Softmax": _read_softmax,
}
_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "softmax", "silu", "softplus", "exponential")
"""Activations that have the same name and meaning in both."""

_APPROXIMATE = "functools.partial(keras.activations.gelu, approximate=True)"


def _read_activation(assembly: Assembly, activation: Any) -> None:
    """Add what an activation of Keras is: a function of its own, one with settings, or a layer."""
    if type(activation).__name__ in _READINGS:
        return _read(assembly, activation)
    function, settings = (activation.func, activation.keywords) if isinstance(activation, partial) else (activation, {})
    name = getattr(function, "__name__", "") if getattr(function, "__module__", "").startswith("keras.") else ""
    match name, settings:
        case "linear", {}:
            return None
        case "gelu", {"approximate": True}:
            own: Any = "gelu"
        case "gelu", _:
            raise InvalidValueError(
                f"expected the GELU by tanh, which is what nn_any has, got the exact one; set the activation of the "
                f"layer to {_APPROXIMATE}, which differs by less than 0.001"
            )
        case "leaky_relu", _:
            own = LeakyReLU(float(settings.get("negative_slope", 0.2)))
        case _ if name in _ACTIVATIONS and not settings:
            own = name
        case _:
            raise InvalidValueError(
                f"expected an activation that nn_any has, one of {', '.join(_ACTIVATIONS)}, leaky_relu and "
                f"{_APPROXIMATE}, got {name or activation!r}; train it with one of these"
            )
    return assembly.add(layers.Activation(own))


_LOSSES = {
    "categoricalcrossentropy": "log_likelihood",
    "sparsecategoricalcrossentropy": "log_likelihood",
    "binarycrossentropy": "cross_entropy",
    "meansquarederror": "mean_squared_error",
    "mse": "mean_squared_error",
    "meanabsoluteerror": "mean_absolute_error",
    "mae": "mean_absolute_error",
    "huber": "huber",
    "poisson": "poisson",
}
"""Losses of Keras, whether named, a function or a class, and what they are called here."""


def _own_loss(loss: Any) -> tuple[Any, bool]:
    """The loss that a compiled model has, and whether it takes logits."""
    theirs = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    name = _LOSSES.get(theirs.replace("_", "").lower())
    if name is None:
        raise InvalidTypeError(
            f"loss: expected a model compiled with a loss that nn_any has, got {loss!r}; pass its name as loss, one of "
            f"{', '.join(losses.names())}"
        )
    config = loss.get_config() if hasattr(loss, "get_config") else {}
    if name == "huber":
        if config:  # Keras's own get_config of this class leaves delta out, unlike that of its base
            config = super(type(loss), loss).get_config()
        return losses.Huber(float(config.get("delta", 1.0))), False
    kinds = {"log_likelihood": losses.LogLikelihood, "cross_entropy": losses.CrossEntropy}
    own = kinds[name](float(config.get("label_smoothing", 0.0))) if name in kinds else losses.get(name)
    return own, bool(config.get("from_logits", False))
