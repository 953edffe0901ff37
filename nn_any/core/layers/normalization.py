"""Normalisation: inputs of mean 0 and variance 1, over the batch or over the features, then a gain and a shift."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from nn_any.core import options
from nn_any.core.layers.base import Context, ShapedLayer, register
from nn_any.core.typing import Array, LayerOutput, LayerParams, Shape


@dataclass(frozen=True)
class _Normalization(ShapedLayer):
    """What both kinds share: a gain that begins with ones and a shift that begins with zeros, (channels,) each."""

    parameter_names = ("gain", "shift")

    trainable: bool = field(default=True, kw_only=True)
    epsilon: float = field(default=1e-5, kw_only=True)

    def __post_init__(self) -> None:
        kind = f" of a {type(self).__name__} layer"
        options.validate_fields(self, kind, trainable=options.flag, epsilon=options.positive)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """Gain 1 and shift 0."""
        return np.ones(input_shape[-1:]), np.zeros(input_shape[-1:])

    def parameter_shapes(self, input_shape: Shape) -> tuple[Shape, Shape]:
        """``(channels,)`` each."""
        return input_shape[-1:], input_shape[-1:]

    def _spread(self, values: Array) -> Array:
        """(..., channels) in a shape that broadcasts against a batch."""
        return values[(..., *(None,) * len(self.batch_axes()), slice(None))]

    def _normalized(
        self, params: LayerParams, state: LayerParams, centred: Array, variance: Array, axes: tuple[int, ...]
    ) -> LayerOutput:
        """z, the state, and x̂, 1 / √(σ² + ε) and the axes over which μ and σ² depend on x, for the way back."""
        inverse = 1 / array_namespace(variance).sqrt(variance + self.epsilon)
        normal = centred * inverse
        gain, shift = params
        return self._spread(gain) * normal + self._spread(shift), state, (normal, inverse, axes)

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """(δ' - mean δ' - x̂ mean(δ' x̂)) / √(σ² + ε), with δ' = gain δ; without the means for running statistics."""
        xp, (normal, inverse, axes) = context.xp, saved
        delta = delta * self._spread(params[0])
        if axes:
            mean, slope = (xp.mean(part, axis=axes, keepdims=True) for part in (delta, delta * normal))
            delta = delta - mean - normal * slope
        return delta * inverse

    def gradients(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> LayerParams:
        """∂C/∂gain = Σ δ x̂ and ∂C/∂shift = Σ δ, over all axes but the last."""
        axes = self.batch_axes()
        return context.xp.sum(delta * saved[0], axis=axes), context.xp.sum(delta, axis=axes)


@register
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

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """Normalise by the batch, or by the running averages."""
        xp, axes = context.xp, self.batch_axes()
        count = math.prod(x.shape[axis] for axis in axes)
        if not context.training or not self.trainable or count == 1:
            centred, variance = x - self._spread(state[0]), self._spread(state[1])
            return self._normalized(params, state, centred, variance, ())
        mean = xp.mean(x, axis=axes, keepdims=True)
        centred = x - mean
        variance = xp.mean(centred * centred, axis=axes, keepdims=True)
        seen = xp.squeeze(mean, axis=axes), xp.squeeze(variance, axis=axes) * (count / (count - 1))
        state = tuple([old + self.momentum * (new - old) for old, new in zip(state, seen, strict=True)])
        return self._normalized(params, state, centred, variance, axes)


@register
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

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """Normalise each example by itself."""
        centred = x - context.xp.mean(x, axis=-1, keepdims=True)
        variance = context.xp.mean(centred * centred, axis=-1, keepdims=True)
        return self._normalized(params, state, centred, variance, (-1,))
