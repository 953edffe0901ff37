"""From what a user writes down to a stack of layers with known shapes: ``[784, 30, 10]``."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nn_any.core.activations import Activation
from nn_any.core.initializers import Initializer
from nn_any.core.layers import Dense, Layer
from nn_any.core.losses import Loss
from nn_any.core.random import stream
from nn_any.core.typing import Shape

HostParams = tuple[tuple[np.ndarray, ...], ...]


class Architecture(NamedTuple):
    """A stack of layers that fit each other."""

    layers: tuple[Layer, ...]
    shapes: tuple[Shape, ...]
    """The input shape, then the output shape of each layer, without the batch axis."""

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return self.shapes[-1][0]

    @property
    def widest(self) -> int:
        """The number of elements of the largest shape."""
        return max(math.prod(shape) for shape in self.shapes)

    def init(self, seed: int) -> HostParams:
        """The initial parameters: float64 on the host, layer i drawn from the stream ("weights", i)."""
        return tuple(
            tuple(layer.init(stream(seed, "weights", i), shape))
            for i, (layer, shape) in enumerate(zip(self.layers, self.shapes[:-1], strict=True))
        )

    def init_state(self) -> HostParams:
        """The initial states: float64 on the host."""
        return tuple(tuple(layer.init_state(shape)) for layer, shape in zip(self.layers, self.shapes[:-1], strict=True))


def build(spec: Sequence[Any], activation: Activation, initializer: Initializer, loss: Loss) -> Architecture:
    """The layers that `spec` lists, with the defaults in their open places and their shapes inferred.

    Parameters
    ----------
    spec : sequence
        The input shape (a number of features, or a tuple), then layers; a bare number is a `Dense` layer.

    Raises
    ------
    TypeError, ValueError
        If an entry is no layer, or a layer does not fit what comes before it, or the outputs do not suit the loss.
    """
    if isinstance(spec, str) or not isinstance(spec, Sequence | np.ndarray) or len(spec) < 2:
        raise ValueError(f"layers: expected the input size and at least one layer, such as [784, 30, 10], got {spec!r}")
    shapes = [_input_shape(spec[0])]
    layers: list[Layer] = []
    for place, entry in enumerate(spec[1:], 1):
        layer = _layer(entry, place).with_defaults(activation, initializer)
        try:
            hash(layer)
            shapes.append(tuple(layer.output_shape(shapes[-1])))
        except ValueError as error:
            raise ValueError(f"layers, entry {place}, {layer!r}: {error}") from error
        except TypeError as error:
            raise TypeError(
                f"layers, entry {place}: expected a hashable layer ({error}); make it a frozen dataclass"
            ) from error
        layers.append(layer)
    if len(shapes[-1]) != 1:
        raise ValueError(
            f"layers: expected a last layer with outputs of one axis, got {shapes[-1]}; end with a Dense layer"
        )
    output = layers[-1].activation
    if loss.needs_unit_interval and not output.unit_interval:
        raise ValueError(
            f"loss: {loss.name!r} needs outputs within 0 … 1, got a last layer with activation {output.name!r}; "
            "use nn_any.Dense(..., activation='sigmoid') as the last layer, or loss='quadratic'"
        )
    return Architecture(tuple(layers), tuple(shapes))


def _is_size(entry: Any) -> bool:
    return isinstance(entry, int | np.integer) and not isinstance(entry, bool)


def _input_shape(entry: Any) -> Shape:
    sizes = entry if isinstance(entry, tuple | list) and entry else (entry,)
    if not all(_is_size(size) and size >= 1 for size in sizes):
        raise ValueError(f"layers, entry 0: expected a positive number of inputs, or a shape of such, got {entry!r}")
    return tuple(int(size) for size in sizes)


def _layer(entry: Any, place: int) -> Layer:
    if isinstance(entry, Layer):
        return entry
    if not _is_size(entry):
        raise TypeError(f"layers, entry {place}: expected a number of units or a nn_any.layers.Layer, got {entry!r}")
    if entry < 1:
        raise ValueError(f"layers, entry {place}: expected a positive number of units, got {entry!r}")
    return Dense(int(entry))
