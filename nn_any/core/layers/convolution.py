"""Conv2D: filters that look at a small window of the image, the same everywhere."""

import math
from dataclasses import dataclass, field
from typing import Any

import array_api_extra as xpx
import numpy as np

from nn_any.core import options
from nn_any.core.layers.base import Context, WeightedLayer, image_shape, register, windows
from nn_any.core.primitives import convolve, convolve_inputs_gradient, convolve_kernels_gradient
from nn_any.core.typing import Array, LayerOutput, LayerParams, Shape


@register
@dataclass(frozen=True)
class Conv2D(WeightedLayer):
    """A convolutional layer: z = b + Σ w x over a window, for each filter and place (Nielsen, chapter 6).

    Images are channels-last, (..., n, height, width, channels); kernels are (filters, height, width, channels) and
    biases (filters,). As everywhere in the field the kernel is not flipped.

    Parameters
    ----------
    filters : int
        The number of output channels.
    kernel_size : int or pair
        Height and width of the window.
    activation : str or Activation, optional
        What follows; the network's default if not given.
    stride : int or pair
        How far the window moves.
    padding : {"valid", "same"}
        ``"valid"`` takes the places where the window lies inside the image; ``"same"`` adds zeros around it, the odd
        one below and right, for ⌈size / stride⌉ places.
    initializer : str or Initializer, optional
        How kernels and biases begin; the network's default if not given.
    trainable : bool
        False freezes kernels and biases.

    Examples
    --------
    >>> Conv2D(20, 5, activation="relu").output_shape((28, 28, 1))
    (24, 24, 20)
    >>> Conv2D(8, 3, stride=2, padding="same").output_shape((28, 28, 1))
    (14, 14, 8)
    """

    filters: int
    kernel_size: Any
    activation: Any = None
    stride: Any = field(default=1, kw_only=True)
    padding: str = field(default="valid", kw_only=True)
    initializer: Any = field(default=None, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        kind = " of a Conv2D layer"
        options.validate_fields(self, kind, filters=options.integer, kernel_size=options.pair, stride=options.pair)
        options.choice(f"padding{kind}", self.padding, "valid", "same")
        super().__post_init__()

    def pads(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Zeros above and below, left and right of images of a height and width."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        work = zip(size, self.kernel_size, self.stride, strict=True)
        down, across = (max((math.ceil(n / step) - 1) * step + window - n, 0) for n, window, step in work)
        return (down // 2, down - down // 2), (across // 2, across - across // 2)

    def _places(self, input_shape: Shape) -> tuple[int, int]:
        height, width, _ = image_shape(input_shape)
        rows, columns = self.pads((height, width))
        return windows((height + sum(rows), width + sum(columns)), self.kernel_size, self.stride)

    def output_shape(self, input_shape: Shape) -> Shape:
        """``(height, width, filters)``, for images."""
        return (*self._places(input_shape), self.filters)

    def workspace(self, input_shape: Shape) -> int:
        """The windows of one image, side by side."""
        return math.prod((*self._places(input_shape), *self.kernel_size, input_shape[2]))

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """Kernels (filters, height, width, channels) and biases (filters,)."""
        area, (kernels, biases) = math.prod(self.kernel_size), self.parameter_shapes(input_shape)
        weights = self.initializer.weights(rng, kernels, area * input_shape[2], area * self.filters)
        return weights, self.initializer.biases(rng, biases)

    def parameter_shapes(self, input_shape: Shape) -> tuple[Shape, Shape]:
        """``(filters, height, width, channels)`` and ``(filters,)``."""
        return (self.filters, *self.kernel_size, input_shape[2]), (self.filters,)

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """(..., n, height, width, channels) -> (..., n, height', width', filters); saves what the gradients need."""
        kernels, biases = params
        size = (x.shape[-3], x.shape[-2])
        if self.padding == "same":
            rows, columns = self.pads(size)
            x = xpx.pad(x, [(0, 0)] * (x.ndim - 3) + [rows, columns, (0, 0)], xp=context.xp)
        z, residual = convolve(x, kernels, stride=self.stride, xp=context.xp)
        return z + biases[..., None, None, None, :], state, (residual, size)

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """∂C/∂x: δ spread back over the windows through the kernels, without the padding."""
        _, (height, width) = saved
        (top, bottom), (left, right) = self.pads((height, width))
        padded = (top + height + bottom, left + width + right)
        x = convolve_inputs_gradient(delta, params[0], stride=self.stride, size=padded, xp=context.xp)
        return x if self.padding == "valid" else x[..., top : top + height, left : left + width, :]

    def gradients(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """∂C/∂kernels = Σ δ x over examples and places, and ∂C/∂b = Σ δ likewise."""
        xp, how = context.xp, {"kernel_size": self.kernel_size, "stride": self.stride}
        return convolve_kernels_gradient(saved[0], delta, **how, xp=xp), xp.sum(delta, axis=(-4, -3, -2))
