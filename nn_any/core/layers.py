"""Layers: what a network is a stack of, and the protocol for adding your own.

A layer holds no arrays. It says which parameters it needs, and maps inputs to weighted inputs z and errors δ = ∂C/∂z
back; the activation that follows z is an attribute, applied by `core.functional`. Axes are counted from the end, so
that extra leading axes (an ensemble of networks) pass through.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nn_any.core import activations, initializers
from nn_any.core.activations import LINEAR, Activation
from nn_any.core.initializers import Initializer
from nn_any.core.primitives import affine, sgd_update, total
from nn_any.core.random import random_bits
from nn_any.core.typing import Array, LayerParams, Namespace, Shape


class Context(NamedTuple):
    """What a layer may know of the step it is part of."""

    xp: Namespace
    """The namespace of the arrays at hand."""
    training: bool
    """Whether this is training; False for evaluation and prediction."""
    key: Array
    """The draw key of the network, (1,), int32."""
    step: Array
    """The number of steps taken so far, (), int32."""
    layer: int
    """The layer's place in the stack, from 0."""

    def random_bits(self, count: int) -> Array:
        """`count` words of 32 random bits, (count,), int32: the same for a seed, layer and step on every backend."""
        return random_bits(self.key, self.layer, self.step, count, xp=self.xp)


class Layer:
    """A layer without parameters that passes its inputs on; subclass it and override what differs.

    Instances must be hashable and compare by value (a frozen dataclass is both), since compiled steps are kept by
    their layers. What `forward` saves is handed to `backward` and `gradients`.

    Attributes
    ----------
    activation : Activation
        What is applied to z; linear unless the subclass says otherwise.
    """

    activation: Activation = LINEAR

    def with_defaults(self, activation: str | Activation, initializer: str | Initializer) -> "Layer":
        """This layer with the network's defaults in the places that were left open."""
        return self

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of one example's output; raises ValueError where the input shape does not fit."""
        return input_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """The initial parameters, float64 on the host."""
        return ()

    def init_state(self, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """The initial state that is not trained (running statistics), float64 on the host."""
        return ()

    def forward(
        self, params: LayerParams, state: LayerParams, x: Array, context: Context
    ) -> tuple[Array, LayerParams, Any]:
        """From inputs to z: returns ``(z, state, saved)``."""
        return x, state, x

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """From δ = ∂C/∂z to ∂C/∂x, in the shape of the inputs."""
        return delta

    def gradients(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """From δ = ∂C/∂z to the gradients of the parameters, summed over the batch, packed as they are."""
        return ()

    def descend(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """A step of plain gradient descent, where δ carries the learning rate; it may do without the gradients."""
        gradients = self.gradients(params, saved, delta, context)
        return tuple(p - g for p, g in zip(params, gradients, strict=True))

    def unpack(self, params: LayerParams) -> tuple[Array, ...]:
        """The parameters as users see and files hold them: weights and biases first, ``()`` if there are none."""
        return params

    def pack(self, *arrays: Array) -> LayerParams:
        """The inverse of `unpack`."""
        return arrays


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer: z = W x + b for each example (Nielsen, chapter 2, equation 25).

    Parameters
    ----------
    units : int
        The number of outputs.
    activation : str or Activation, optional
        What follows; the network's default if not given.
    initializer : str or Initializer, optional
        How weights (units, inputs) and biases (units,) begin; the network's default if not given.

    Examples
    --------
    >>> Dense(30, activation="sigmoid").output_shape((784,))
    (30,)
    """

    units: int
    activation: Any = None
    initializer: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.units, bool) or not isinstance(self.units, int | np.integer) or self.units < 1:
            raise ValueError(f"units of a Dense layer: expected a positive integer, got {self.units!r}")
        object.__setattr__(self, "units", int(self.units))
        if self.activation is not None:
            object.__setattr__(self, "activation", activations.get(self.activation))
        if self.initializer is not None:
            object.__setattr__(self, "initializer", initializers.get(self.initializer))

    def with_defaults(self, activation: str | Activation, initializer: str | Initializer) -> "Dense":
        """This layer with the network's defaults in the places that were left open."""
        return replace(self, activation=self.activation or activation, initializer=self.initializer or initializer)

    def output_shape(self, input_shape: Shape) -> Shape:
        """``(units,)``, for inputs of one axis."""
        if len(input_shape) != 1:
            raise ValueError(f"expected inputs of one axis (features,), got {input_shape}")
        return (self.units,)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """Weights (units, inputs) and biases (units,)."""
        fan_in = math.prod(input_shape)
        weights = self.initializer.weights(rng, (self.units, fan_in), fan_in, self.units)
        return weights, self.initializer.biases(rng, (self.units,))

    def forward(
        self, params: LayerParams, state: LayerParams, x: Array, context: Context
    ) -> tuple[Array, LayerParams, Any]:
        """Z = X Wᵀ + b: (..., n, inputs) -> (..., n, units)."""
        weights, biases = params
        return affine(x, weights, biases, xp=context.xp), state, x

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """∂C/∂X = δ W (Nielsen, chapter 2, equation BP2, without its σ')."""
        return delta @ params[0]

    def gradients(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """∂C/∂W = δᵀ X and ∂C/∂b = Σ δ over the batch (Nielsen, chapter 2, equations BP4 and BP3)."""
        return delta.mT @ saved, total(delta, axis=-2, xp=context.xp)

    def descend(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """W - δᵀ X and b - Σ δ over the batch, where δ carries the learning rate."""
        weights, biases = params
        xp = context.xp
        return sgd_update(weights, delta, saved, xp=xp), biases - total(delta, axis=-2, xp=xp)


L = TypeVar("L", bound=Layer)
_classes: dict[str, type[Layer]] = {}


def register(layer_class: type[L]) -> type[L]:
    """Let model files hold layers of this class, a frozen dataclass, under the class's name; usable as a decorator."""
    name = layer_class.__name__
    if not (issubclass(layer_class, Layer) and "__dataclass_fields__" in vars(layer_class)):
        raise TypeError(
            f"layer_class: expected a frozen dataclass derived from nn_any.layers.Layer, got {layer_class!r}"
        )
    if _classes.setdefault(name, layer_class) is not layer_class:
        raise ValueError(f"layer {name!r} is registered already; choose another name")
    return layer_class


def to_config(layer: Layer) -> dict[str, Any]:
    """What JSON can hold of a layer: its class's name and its fields, with activations and initialisers by name."""
    name = type(layer).__name__
    if _classes.get(name) is not type(layer):
        raise ValueError(
            f"layer {layer!r}: expected one of a registered class; call nn_any.layers.register({name}) first"
        )
    config: dict[str, Any] = {"type": name}
    for f in fields(layer):  # type: ignore[arg-type]
        value = getattr(layer, f.name)
        for kind, registry in ((Activation, activations), (Initializer, initializers)):
            if isinstance(value, kind):
                if registry.get(value.name) is not value:
                    raise ValueError(f"{value!r} of {layer!r}: expected a registered one; register it under its name")
                value = value.name
        config[f.name] = value
    return config


def from_config(config: dict[str, Any]) -> Layer:
    """The layer that `to_config` described; only known and registered classes are built."""
    arguments = dict(config)
    name = arguments.pop("type", None)
    if name not in _classes:
        raise ValueError(
            f"layer: expected one of {', '.join(sorted(_classes))}, got {name!r}; "
            "if it is your own, call nn_any.layers.register first"
        )
    return _classes[name](**arguments)


register(Dense)
