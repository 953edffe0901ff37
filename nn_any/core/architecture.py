"""From what a user writes down to a stack of layers with known shapes: ``[784, 30, 10]``."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from nn_any.core.activations import Activation
from nn_any.core.errors import InvalidTypeError, InvalidValueError
from nn_any.core.initializers import Initializer
from nn_any.core.layers import Dense, Layer
from nn_any.core.losses import Loss
from nn_any.core.random import stream
from nn_any.core.typing import Shape

HostParams = tuple[tuple[np.ndarray, ...], ...]


_RANGES = {
    "real": "real values",
    "positive": "values above 0",
    "unit_interval": "values within 0 … 1",
    "distribution": "values that sum to 1",
}


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
    def footprint(self) -> int:
        """How many numbers an example takes up on its way through all the layers."""
        spaces = [layer.workspace(shape) for layer, shape in zip(self.layers, self.shapes[:-1], strict=True)]
        return sum(math.prod(shape) for shape in self.shapes) + sum(spaces)

    def with_trainable(self, trainable: bool, places: Sequence[int]) -> "Architecture":
        """The same layers with those at `places` frozen, or no longer; ValueError for one that cannot be."""
        layers = list(self.layers)
        for place in places:
            try:
                layers[place] = replace(layers[place], trainable=trainable)  # type: ignore[type-var]
            except TypeError as error:
                message = f"places: {layers[place]!r} has no field trainable: bool = True; add one"
                raise InvalidValueError(message) from error
        return self._replace(layers=tuple(layers))

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
        raise InvalidValueError(
            f"layers: expected the input size and at least one layer, such as [784, 30, 10], got {spec!r}"
        )
    shapes = [_input_shape(spec[0])]
    layers: list[Layer] = []
    for place, entry in enumerate(spec[1:], 1):
        layer = _layer(entry, place)
        try:
            layer = layer.with_defaults(activation, initializer, shapes[-1])
            hash(layer)
            shapes.append(tuple(layer.output_shape(shapes[-1])))
        except ValueError as error:
            raise InvalidValueError(f"layers, entry {place}, {layer!r}: {error}") from error
        except TypeError as error:
            raise InvalidTypeError(
                f"layers, entry {place}: expected a hashable layer ({error}); make it a frozen dataclass"
            ) from error
        if not layer.passes_gradients and layers and layers[-1].passes_gradients:
            raise InvalidValueError(
                f"layers, entry {place}, {layer!r}: expected at the front, got it after {layers[-1]!r}; "
                "put what distorts the inputs first"
            )
        layers.append(layer)
    if len(shapes[-1]) != 1:
        raise InvalidValueError(
            f"layers: expected a last layer with outputs of one axis, got {shapes[-1]}; end with Flatten and Dense"
        )
    _check_outputs(layers[-1], shapes[-1][0], loss)
    return Architecture(tuple(layers), tuple(shapes))


def _check_outputs(last: Layer, outputs: int, loss: Loss) -> None:
    """The last activation suits the loss and the number of outputs."""
    output = last.activation
    if output.range not in loss.ranges:
        raise InvalidValueError(
            f"loss: {loss.name!r} needs outputs with {_RANGES[loss.ranges[0]]}, got a last layer with activation "
            f"{output.name!r}; use nn_any.Dense(..., activation={loss.suits!r}) as the last layer, or another loss"
        )
    if output.range == "distribution" and outputs == 1:
        raise InvalidValueError(
            f"layers: expected two or more outputs for {output.name!r}, which gives 1 for a single one, got {outputs}; "
            "for yes and no use one output with 'sigmoid' and loss='cross_entropy', or two outputs"
        )


def _is_size(entry: Any) -> bool:
    return isinstance(entry, int | np.integer) and not isinstance(entry, bool)


def _input_shape(entry: Any) -> Shape:
    sizes = entry if isinstance(entry, tuple | list) and entry else (entry,)
    if not all(_is_size(size) and size >= 1 for size in sizes):
        raise InvalidValueError(
            f"layers, entry 0: expected a positive number of inputs, or a shape of such, got {entry!r}"
        )
    return tuple(int(size) for size in sizes)


def _layer(entry: Any, place: int) -> Layer:
    if isinstance(entry, Layer):
        return entry
    if not _is_size(entry):
        raise InvalidTypeError(
            f"layers, entry {place}: expected a number of units or a nn_any.layers.Layer, got {entry!r}"
        )
    if entry < 1:
        raise InvalidValueError(f"layers, entry {place}: expected a positive number of units, got {entry!r}")
    return Dense(int(entry))
