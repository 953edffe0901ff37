"""Flatten: from images to rows of features."""

import math
from dataclasses import dataclass
from typing import Any

from nn_any.core.layers.base import Context, ShapedLayer, register
from nn_any.core.typing import Array, LayerOutput, LayerParams, Shape


@register
@dataclass(frozen=True)
class Flatten(ShapedLayer):
    """Each example as one row: (..., n, height, width, channels) -> (..., n, height · width · channels).

    Examples
    --------
    >>> Flatten().output_shape((4, 4, 40))
    (640,)
    """

    keeps_range = True

    def output_shape(self, input_shape: Shape) -> Shape:
        """The number of elements."""
        return (math.prod(input_shape),)

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """Reshape; the shape is saved."""
        lead = x.shape[: -self.axes]
        return context.xp.reshape(x, (*lead, math.prod(x.shape[-self.axes :]))), state, tuple(x.shape)

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """Reshape back."""
        return context.xp.reshape(delta, (*delta.shape[:-1], *saved[-self.axes :]))
