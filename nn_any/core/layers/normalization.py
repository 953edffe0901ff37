"""Normalisation: inputs of mean 0 and variance 1, over the batch or over the features, then a gain and a shift."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nn_any.core import options
from nn_any.core.layers.base import Context, ShapedLayer
from nn_any.core.typing import Array, LayerParams, Shape


@dataclass(frozen=True)
class _Normalization(ShapedLayer):
    """What both kinds share: a gain that begins with ones and a shift that begins with zeros, (channels,) each."""

    trainable: bool = field(default=True, kw_only=True)
    epsilon: float = field(default=1e-5, kw_only=True)

    def __post_init__(self) -> None:
        kind = type(self).__name__
        options.flag(f"trainable of a {kind} layer", self.trainable)
        epsilon = options.number(f"epsilon of a {kind} layer", self.epsilon, above=True)
        object.__setattr__(self, "epsilon", epsilon)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """Gain 1 and shift 0."""
        return np.ones(input_shape[-1:]), np.zeros(input_shape[-1:])

    def parameter_shapes(self, input_shape: Shape) -> tuple[Shape, Shape]:
        """``(channels,)`` each."""
        return input_shape[-1:], input_shape[-1:]

    def _spread(self, values: Array) -> Array:
        """(..., channels) in a shape that broadcasts against a batch."""
        return values[(..., *(None,) * len(self.batch_axes()), slice(None))]

    def gradients(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """∂C/∂gain = Σ δ x̂ and ∂C/∂shift = Σ δ, over all axes but the last."""
        axes = self.batch_axes()
        return context.xp.sum(delta * saved[0], axis=axes), context.xp.sum(delta, axis=axes)


@dataclass(frozen=True)
class BatchNorm(_Normalization):
    """z = gain · (x - μ) / √(σ² + ε) + shift, with mean and variance of each feature or channel.

    In training they are the batch's, and a running average of them is kept; otherwise, and where the layer is frozen,
    the running ones are used. A single value has no variance: for it too the running ones are used.

    Parameters
    ----------
    momentum : float
        The share of the new batch in the running averages, 0 < momentum ≤ 1. The running variance is the unbiased one.
    epsilon : float
        ε, above 0.
    trainable : bool
        False freezes gain, shift and the running averages.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch normalization", ICML 2015, arXiv:1502.03167.

    Examples
    --------
    >>> BatchNorm().output_shape((24, 24, 20))
    (24, 24, 20)
    """

    momentum: float = 0.1

    def __post_init__(self) -> None:
        momentum = options.number("momentum of a BatchNorm layer", self.momentum, maximum=1.0, above=True)
        object.__setattr__(self, "momentum", momentum)
        super().__post_init__()

    def init_state(self, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """Running mean 0 and running variance 1."""
        return np.zeros(input_shape[-1:]), np.ones(input_shape[-1:])

    def state_shapes(self, input_shape: Shape) -> tuple[Shape, Shape]:
        """``(channels,)`` each."""
        return input_shape[-1:], input_shape[-1:]

    def forward(
        self, params: LayerParams, state: LayerParams, x: Array, context: Context
    ) -> tuple[Array, LayerParams, Any]:
        """Saves x̂, 1 / √(σ² + ε), and whether σ² depends on x."""
        xp, axes = context.xp, self.batch_axes()
        count = math.prod(x.shape[axis] for axis in axes)
        batch = context.training and self.trainable and count > 1
        if batch:
            mean = xp.mean(x, axis=axes, keepdims=True)
            centred = x - mean
            variance = xp.mean(centred * centred, axis=axes, keepdims=True)
            seen = xp.squeeze(mean, axis=axes), xp.squeeze(variance, axis=axes) * (count / (count - 1))
            state = tuple([old + self.momentum * (new - old) for old, new in zip(state, seen, strict=True)])
        else:
            centred, variance = x - self._spread(state[0]), self._spread(state[1])
        inverse = 1 / xp.sqrt(variance + self.epsilon)
        normal = centred * inverse
        gain, shift = params
        return self._spread(gain) * normal + self._spread(shift), state, (normal, inverse, batch)

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """(δ' - mean δ' - x̂ mean(δ' x̂)) / √(σ² + ε), with δ' = gain δ; without the means for running statistics."""
        normal, inverse, batch = saved
        delta = delta * self._spread(params[0])
        return _through(delta, normal, inverse, self.batch_axes(), context) if batch else delta * inverse


@dataclass(frozen=True)
class LayerNorm(_Normalization):
    """z = gain · (x - μ) / √(σ² + ε) + shift, with mean and variance over the last axis of each example.

    Parameters
    ----------
    epsilon : float
        ε, above 0.
    trainable : bool
        False freezes gain and shift.

    References
    ----------
    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016, arXiv:1607.06450.

    Examples
    --------
    >>> LayerNorm().output_shape((100,))
    (100,)
    """

    def forward(
        self, params: LayerParams, state: LayerParams, x: Array, context: Context
    ) -> tuple[Array, LayerParams, Any]:
        """Saves x̂ and 1 / √(σ² + ε)."""
        xp = context.xp
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        inverse = 1 / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + self.epsilon)
        normal = centred * inverse
        gain, shift = params
        return self._spread(gain) * normal + self._spread(shift), state, (normal, inverse)

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """(δ' - mean δ' - x̂ mean(δ' x̂)) / √(σ² + ε), with δ' = gain δ."""
        normal, inverse = saved
        return _through(delta * self._spread(params[0]), normal, inverse, (-1,), context)


def _through(delta: Array, normal: Array, inverse: Array, axes: tuple[int, ...], context: Context) -> Array:
    """From ∂C/∂x̂ to ∂C/∂x, where mean and variance over `axes` depend on x as well."""
    xp = context.xp
    mean, slope = (xp.mean(part, axis=axes, keepdims=True) for part in (delta, delta * normal))
    return (delta - mean - normal * slope) * inverse
