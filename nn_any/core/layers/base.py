"""The protocol of layers, for those that come with the package and for your own.

A layer holds no arrays. It says which parameters it needs, and maps inputs to weighted inputs z and errors δ = ∂C/∂z
back; the activation that follows z is an attribute, applied by `core.functional`. Axes are counted from the end, so
that extra leading axes (an ensemble of networks) pass through.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np

from nn_any.core import activations, initializers, options
from nn_any.core.activations import LINEAR
from nn_any.core.errors import InvalidValueError
from nn_any.core.random import random_bits
from nn_any.core.registry import ClassRegistry
from nn_any.core.typing import Array, LayerOutput, LayerParams, Namespace, Shape


class Context(NamedTuple):
    """What a layer may know of the step it is part of."""

    xp: Namespace
    """The namespace of the arrays at hand."""
    training: bool
    """Whether this is training; False for evaluation and prediction."""
    key: Array
    """The draw key of the network, (1,), int32; (m, 1) for an ensemble of m networks."""
    step: Array
    """The number of steps taken so far, (), int32; (m,) for an ensemble."""
    layer: int
    """The layer's place in the stack, from 0."""

    def random_bits(self, count: int) -> Array:
        """`count` words of 32 random bits, (..., count), int32: the same for seed, layer and step on every backend.

        Another call in the same step begins with the same words: ask once, for all that is needed.
        """
        return random_bits(self.key, self.layer, self.step, count, xp=self.xp)

    def random_fractions(self, count: int, dtype: Any) -> Array:
        """`count` random numbers in [0, 1), (..., count), with 24 random bits each, which every dtype holds exactly."""
        words = (self.random_bits(count) >> 8) & 0xFFFFFF
        return self.xp.astype(words, dtype) * 2.0**-24


class Layer:
    """A layer without parameters that passes its inputs on; subclass it and override what differs.

    Instances must be hashable and compare by value (a frozen dataclass is both), since compiled steps are kept by
    their layers. What `forward` saves is handed to `backward` and `gradients`.

    Attributes
    ----------
    activation : nn_any.activations.Activation
        What is applied to z; linear unless the subclass says otherwise.
    trainable : bool
        Whether training changes the parameters.
    parameter_names : tuple of str, or None
        What users call each parameter, as `unpack` gives them. None: the first is ``"weights"``, and a second one of
        one axis ``"biases"``; where there are others, their places name them all, ``"0"``, ``"1"``, …
    decayed : tuple of bool
        For each parameter whether it is a weight, on which weight decay and its kin act; empty for none.
    passes_gradients : bool
        False for a layer without `backward`, which may stand only at the front of a network.
    random : bool
        Whether the layer draws at random in training.
    keeps_range : bool
        Whether the outputs lie in the range of the inputs, but for training: of a layer that leaves some out, averages
        or reshapes. Behind a softmax or a sigmoid its outputs are still probabilities.
    measures : str or None
        ``"inputs"`` or ``"targets"`` for a layer whose state is measured once on those of the training data, by
        `measure`; the first kind stands at the front of a network, the second at its end.
    """

    activation: Any = LINEAR
    trainable: bool = True
    parameter_names: tuple[str, ...] | None = None
    decayed: tuple[bool, ...] = ()
    passes_gradients: bool = True
    random: bool = False
    keeps_range: bool = False
    measures: str | None = None

    def with_defaults(self, activation: Any, initializer: Any, input_shape: Shape) -> "Layer":
        """This layer with what was left open filled in from the network's defaults and the shape of its inputs."""
        return self

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of one example's output; raises ValueError where the input shape does not fit."""
        return input_shape

    def workspace(self, input_shape: Shape) -> int:
        """How many numbers an example takes up while it passes through, if that is more than its inputs and outputs."""
        return 0

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """The initial parameters, float64 on the host."""
        return ()

    def init_state(self, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """The initial state that is not trained (running statistics), float64 on the host."""
        return ()

    def parameter_shapes(self, input_shape: Shape) -> tuple[Shape, ...] | None:
        """The shapes of the parameters as `unpack` gives them, told without drawing any.

        A model file must hold just these. None, for a layer of your own that does not say: whatever the file holds.
        """
        return () if type(self).init is Layer.init else None

    def state_shapes(self, input_shape: Shape) -> tuple[Shape, ...] | None:
        """The shapes of the state, likewise."""
        return () if type(self).init_state is Layer.init_state else None

    def is_measured(self, state: LayerParams) -> Array:
        """Whether the state has been measured: (), a number other than 0 if so."""
        raise NotImplementedError(f"{type(self).__name__} measures {self.measures} and must define is_measured(state)")

    def measure(self, blocks: Iterable[tuple[Array, Array | None]], *, xp: Namespace) -> LayerParams:
        """The state, from the inputs or targets of all training examples, (rows, ...), and their weights (rows,).

        They come in blocks, as reals in the network's dtype, and can be gone through more than once. Weights are None
        where all examples count alike.
        """
        raise NotImplementedError(f"{type(self).__name__} measures {self.measures} and must define measure(blocks, xp)")

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """From inputs to z: returns ``(z, state, saved)``."""
        return x, state, x

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """From δ = ∂C/∂z to ∂C/∂x, in the shape of the inputs."""
        return delta

    def gradients(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """From δ = ∂C/∂z to the gradients of the parameters, summed over the batch, packed as they are."""
        if params:
            raise NotImplementedError(f"{type(self).__name__} must define gradients(params, saved, delta, context)")
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


def name_parameters(layer: Layer, axes: Sequence[int]) -> tuple[str, ...]:
    """What users call the parameters of a layer, which have so many axes each.

    Raises
    ------
    ValueError
        If the layer does not give each a name of its own.
    """
    names = layer.parameter_names
    if names is None:
        usual = len(axes) == 1 or (len(axes) == 2 and axes[1] == 1)
        return ("weights", "biases")[: len(axes)] if usual else tuple(map(str, range(len(axes))))
    if len(names) != len(axes) or len(set(names)) != len(names):
        raise InvalidValueError(f"parameter_names: expected {len(axes)} names, one a parameter, got {names!r}")
    return tuple(names)


registry = ClassRegistry(
    "layer", Layer, "layers", {"activation": activations.registry, "initializer": initializers.registry}
)
register, names = registry.register, registry.names
to_config, from_config = registry.to_config, registry.from_config


class WeightedLayer(Layer):
    """What `Dense` and `Conv2D` share: weights and biases that begin somehow, and an activation."""

    initializer: Any = None
    parameter_names = ("weights", "biases")
    decayed = (True, False)

    def __post_init__(self) -> None:
        if self.activation is not None:
            object.__setattr__(self, "activation", activations.get(self.activation))
        if self.initializer is not None:
            object.__setattr__(self, "initializer", initializers.get(self.initializer))
        options.flag(f"trainable of a {type(self).__name__} layer", self.trainable)

    def with_defaults(self, activation: Any, initializer: Any, input_shape: Shape) -> Self:
        """This layer with the network's activation and initialiser where none was named."""
        chosen = {"activation": self.activation or activation, "initializer": self.initializer or initializer}
        return replace(self, **chosen)  # type: ignore[type-var]


@dataclass(frozen=True)
class ShapedLayer(Layer):
    """What layers share that tell the axes of an example from those in front of them."""

    axes: Any = field(default=None, kw_only=True, repr=False)
    """The number of axes of one example; filled in when the network is built."""

    def with_defaults(self, activation: Any, initializer: Any, input_shape: Shape) -> Self:
        """This layer with the number of axes of its inputs."""
        return replace(self, axes=len(input_shape))

    def batch_axes(self) -> tuple[int, ...]:
        """The axes of a batch but for the last one, which holds features or channels: (-2,), or (-4, -3, -2)."""
        return tuple(range(-self.axes - 1, -1))


def image_shape(input_shape: Shape) -> tuple[int, int, int]:
    """Height, width and channels of inputs that must be images."""
    if len(input_shape) != 3:
        raise InvalidValueError(
            f"expected images (height, width, channels), got inputs of shape {input_shape}; "
            "let layers begin with such a shape, and put Flatten and Dense layers behind this one"
        )
    height, width, channels = input_shape
    return height, width, channels


def windows(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    """How many windows fit into a height and width, along each: ⌊(size - window) / stride⌋ + 1."""
    if window[0] > size[0] or window[1] > size[1]:
        raise InvalidValueError(
            f"expected images of at least {window[0]} × {window[1]}, got {size[0]} × {size[1]}; "
            "use a smaller window, fewer layers that shrink, or Conv2D(..., padding='same')"
        )
    rows, columns = ((s - w) // step + 1 for s, w, step in zip(size, window, stride, strict=True))
    return rows, columns
