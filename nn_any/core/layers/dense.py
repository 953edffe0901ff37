"""Dense: every output looks at every input."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nn_any.core import options
from nn_any.core.errors import InvalidValueError
from nn_any.core.layers.base import Context, WeightedLayer, register
from nn_any.core.primitives import affine, matmul, sgd_update, total
from nn_any.core.typing import Array, LayerOutput, LayerParams, Shape


@register
@dataclass(frozen=True)
class Dense(WeightedLayer):
    """A fully connected layer: z = W x + b for each example (Nielsen, chapter 2, equation 25).

    Parameters
    ----------
    units : int
        The number of outputs.
    activation : str or Activation, optional
        What follows; the network's default if not given.
    initializer : str or Initializer, optional
        How weights (units, inputs) and biases (units,) begin; the network's default if not given.
    trainable : bool
        False freezes weights and biases.

    Examples
    --------
    >>> Dense(30, activation="sigmoid").output_shape((784,))
    (30,)
    """

    units: int
    activation: Any = None
    initializer: Any = None
    trainable: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        options.validate_fields(self, " of a Dense layer", units=options.integer)
        super().__post_init__()

    def output_shape(self, input_shape: Shape) -> Shape:
        """``(units,)``, for inputs of one axis."""
        if len(input_shape) != 1:
            raise InvalidValueError(
                f"expected inputs of one axis (features,), got {input_shape}; put a Flatten layer before"
            )
        return (self.units,)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """Weights (units, inputs) and biases (units,)."""
        weights, biases = self.parameter_shapes(input_shape)
        return self.initializer.weights(rng, weights, *weights[::-1]), self.initializer.biases(rng, biases)

    def parameter_shapes(self, input_shape: Shape) -> tuple[Shape, Shape]:
        """``(units, inputs)`` and ``(units,)``."""
        return (self.units, math.prod(input_shape)), (self.units,)

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """Z = X Wᵀ + b: (..., n, inputs) -> (..., n, units)."""
        weights, biases = params
        return affine(x, weights, biases, xp=context.xp), state, x

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """∂C/∂X = δ W (Nielsen, chapter 2, equation BP2, without its σ')."""
        return matmul(delta, params[0], xp=context.xp)

    def gradients(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """∂C/∂W = δᵀ X and ∂C/∂b = Σ δ over the batch (Nielsen, chapter 2, equations BP4 and BP3)."""
        return matmul(delta.mT, saved, xp=context.xp), total(delta, axis=-2, xp=context.xp)

    def descend(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """W - δᵀ X and b - Σ δ over the batch, where δ carries the learning rate."""
        weights, biases = params
        xp = context.xp
        return sgd_update(weights, delta, saved, xp=xp), biases - total(delta, axis=-2, xp=xp)
