"""Pooling: a window of the image becomes one number a channel."""

import math
from dataclasses import dataclass
from typing import Any

from nn_any.core import options
from nn_any.core.layers.base import Context, Layer, image_shape, register, windows
from nn_any.core.primitives import fold, max_pool, max_pool_gradient, unfold
from nn_any.core.typing import Array, LayerOutput, LayerParams, Shape


@dataclass(frozen=True)
class _Pool2D(Layer):
    """What both kinds share: a window and how far it moves."""

    size: Any
    stride: Any = None
    keeps_range = True

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.size)
        options.validate_fields(self, f" of a {type(self).__name__} layer", size=options.pair, stride=options.pair)

    def output_shape(self, input_shape: Shape) -> Shape:
        """``(height, width, channels)``, for images; rows and columns that fill no window are left out."""
        height, width, channels = image_shape(input_shape)
        return (*windows((height, width), self.size, self.stride), channels)

    def workspace(self, input_shape: Shape) -> int:
        """The windows of one image, side by side."""
        return math.prod((*self.output_shape(input_shape), *self.size))


@register
@dataclass(frozen=True)
class MaxPool2D(_Pool2D):
    """The largest number in each window, channel by channel; of equal ones the first, row by row, has the gradient.

    Parameters
    ----------
    size : int or pair
        Height and width of the window.
    stride : int or pair, optional
        How far it moves; its own size if not given.

    Examples
    --------
    >>> MaxPool2D(2).output_shape((24, 24, 20))
    (12, 12, 20)
    """

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """Saves which element of each window is the largest."""
        largest, residual = max_pool(x, window=self.size, stride=self.stride, xp=context.xp)
        return largest, state, (residual, tuple(x.shape[-3:-1]))

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """δ where the largest elements were, and 0 elsewhere."""
        residual, size = saved
        return max_pool_gradient(residual, delta, window=self.size, stride=self.stride, size=size, xp=context.xp)


@register
@dataclass(frozen=True)
class AveragePool2D(_Pool2D):
    """The mean of each window, channel by channel.

    Parameters
    ----------
    size, stride
        As for `MaxPool2D`.

    Examples
    --------
    >>> AveragePool2D(2).output_shape((24, 24, 20))
    (12, 12, 20)
    """

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """Saves the size of the images."""
        mean = context.xp.mean(unfold(x, window=self.size, stride=self.stride, xp=context.xp), axis=-2)
        return mean, state, tuple(x.shape[-3:-1])

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """δ divided equally among the elements of its window."""
        xp, area = context.xp, math.prod(self.size)
        share = (delta / area)[..., None, :]
        shares = xp.broadcast_to(share, (*share.shape[:-2], area, share.shape[-1]))
        return fold(shares, window=self.size, stride=self.stride, size=saved, xp=xp)
