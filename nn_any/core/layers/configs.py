"""Layers as JSON, for model files: only known and registered classes are built."""

from dataclasses import fields
from typing import Any, TypeVar

from nn_any.core import activations, initializers
from nn_any.core.activations import Activation
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.initializers import Initializer
from nn_any.core.layers import activation, augmentation, convolution, dense, dropout, flatten, normalization, pooling
from nn_any.core.layers.base import Layer

L = TypeVar("L", bound=Layer)
_classes: dict[str, type[Layer]] = {}
_KINDS = {"activation": (Activation, activations), "initializer": (Initializer, initializers)}


def register(layer_class: type[L]) -> type[L]:
    """Let model files hold layers of this class, a frozen dataclass, under the class's name; usable as a decorator."""
    name = layer_class.__name__
    if not (issubclass(layer_class, Layer) and "__dataclass_fields__" in vars(layer_class)):
        raise InvalidTypeError(
            f"layer_class: expected a frozen dataclass derived from nn_any.layers.Layer, got {layer_class!r}"
        )
    old = _classes.get(name, layer_class)
    _classes[name] = layer_class
    if (old.__module__, old.__qualname__) != (layer_class.__module__, layer_class.__qualname__):
        _classes[name] = old
        raise InvalidValueError(f"layer {name!r} is registered already; choose another name")
    return layer_class


def to_config(layer: Layer) -> dict[str, Any]:
    """What JSON can hold of a layer: its class's name and its fields, with activations and initialisers by name."""
    name = type(layer).__name__
    if _classes.get(name) is not type(layer):
        raise InvalidValueError(
            f"layer {layer!r}: expected one of a registered class; call nn_any.layers.register({name}) first"
        )
    config: dict[str, Any] = {"type": name}
    for f in fields(layer):  # type: ignore[arg-type]
        value = getattr(layer, f.name)
        for kind, registry in _KINDS.values():
            if isinstance(value, kind):
                value = registry.to_config(value)
        config[f.name] = value
    return config


def from_config(config: dict[str, Any]) -> Layer:
    """The layer that `to_config` described; only known and registered classes are built."""
    arguments = dict(config)
    name = arguments.pop("type", None)
    if name not in _classes:
        raise InvalidValueError(
            f"layer: expected one of {', '.join(sorted(_classes))}, got {name!r}; "
            "if it is your own, call nn_any.layers.register first"
        )
    for field, (_, registry) in _KINDS.items():
        if isinstance(arguments.get(field), dict):
            arguments[field] = registry.from_config(arguments[field])
    return _classes[name](**{name: _hashable(value) for name, value in arguments.items()})


def _hashable(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(_hashable(entry) for entry in value) if isinstance(value, list) else value


for _class in (
    dense.Dense,
    convolution.Conv2D,
    pooling.MaxPool2D,
    pooling.AveragePool2D,
    flatten.Flatten,
    dropout.Dropout,
    normalization.BatchNorm,
    normalization.LayerNorm,
    activation.Activation,
    augmentation.RandomAffine,
    augmentation.ElasticDistortion,
):
    register(_class)
