"""Standardize: inputs of mean 0 and deviation 1, or targets, by what was measured once on the training data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nn_any.core import options
from nn_any.core.layers.base import Context, ShapedLayer, register
from nn_any.core.typing import Array, LayerOutput, LayerParams, Namespace, Shape


@register
@dataclass(frozen=True)
class Standardize(ShapedLayer):
    """z = (x - μ) / σ, with mean and standard deviation of each feature of the training inputs.

    `fit` and `SGD` measure both on the device before the first epoch of a network that has not been measured yet, and
    later runs keep them. They are state, so they go with the network into files and to other devices. Whoever uses the
    network gives raw numbers. Until it is measured, the layer passes its inputs on; `nn_any.measure` measures it for a
    training loop of your own.

    Each element of an example is a feature of its own, of an image too. A feature that is constant gets σ = 1. Examples
    count by their weights, so those of weight 0 do not count.

    Parameters
    ----------
    invert : bool
        False: the layer stands at the front of the network, after nothing but augmentation. True: it stands at the end,
        is measured on the training targets, and gives z = μ + σ x. Then the layers before it work with numbers around
        0, and the network answers in the units of the targets. The loss is in these units too, and gradients grow with
        σ²: use an optimizer that does not mind their size, such as `Adam`, or a rate that is smaller by σ².

    Examples
    --------
    >>> import nn_any as nn
    >>> net = nn.Network([2, nn.Standardize(), 3, 1], device="numpy", seed=0)
    >>> history = net.fit(([[0, 50], [1, 90]], [0, 1]), epochs=1, batch_size=2, optimizer=nn.SGD(0.5))
    >>> mean, deviation, _ = net.state.layer_state[0]
    >>> mean, deviation
    (array([ 0.5, 70. ], dtype=float32), array([ 0.5, 20. ], dtype=float32))
    """

    invert: bool = False
    trainable = False

    def __post_init__(self) -> None:
        options.validate_fields(self, " of a Standardize layer", invert=options.flag)

    @property
    def measures(self) -> str | None:  # type: ignore[override]
        """What the layer's state is measured on."""
        return "targets" if self.invert else "inputs"

    def init_state(self, input_shape: Shape) -> tuple[np.ndarray, ...]:
        """Mean 0, deviation 1, and 0 for "not measured"."""
        return np.zeros(input_shape), np.ones(input_shape), np.zeros(())

    def state_shapes(self, input_shape: Shape) -> tuple[Shape, ...]:
        """Mean and deviation in the shape of an example, and whether they have been measured, ()."""
        return input_shape, input_shape, ()

    def is_measured(self, state: LayerParams) -> Array:
        """Whether mean and deviation have been measured: 0 or 1, ()."""
        return state[2]

    def measure(self, blocks: Iterable[tuple[Array, Array | None]], *, xp: Namespace) -> LayerParams:
        """Mean and deviation over all examples, in two passes, since Σ x² / n - μ² would lose float32's digits.

        The first pass finds the mean roughly, with every number taken relative to the first example, and how far the
        numbers lie apart. The second one corrects the mean, and sums squares of numbers that are at most 2, so that
        neither large nor small ones leave the range of the dtype.
        """
        x, _ = next(iter(blocks))
        origin, total = x[:1, ...], _count(x[:1, ...], None, xp) * 0
        zero = xp.zeros_like(origin)
        mean = spread = zero
        for x, w in blocks:
            if w is not None:  # rows that do not count may hold anything
                origin = xp.where(total > 0, origin, xp.take(x, _first(w, xp), axis=0))
            offset, count = _counted(x - origin, w, xp), _count(x, w, xp)
            total = total + count
            mean = mean + (_sum(offset, w, xp) - mean * count) / _or_one(total, xp)
            spread = xp.maximum(spread, xp.max(xp.abs(offset), axis=0, keepdims=True))
        mean, unit = origin + mean, _or_one(spread, xp)
        total, drift, square = total * 0, zero, zero
        for x, w in blocks:
            offset, count = _counted((x - mean) / unit, w, xp), _count(x, w, xp)
            total = total + count
            drift = drift + (_sum(offset, w, xp) - drift * count) / _or_one(total, xp)
            square = square + (_sum(offset * offset, w, xp) - square * count) / _or_one(total, xp)
        variance = xp.where(spread > 0, square - drift * drift, zero)
        deviation = _or_one(xp.sqrt(xp.where(variance > 0, variance, zero)) * unit, xp)
        return (mean + drift * unit)[0, ...], deviation[0, ...], xp.reshape(xp.ones_like(total), ())

    def forward(self, params: LayerParams, state: LayerParams, x: Array, context: Context) -> LayerOutput:
        """Standardise, or go back from standardised numbers; the deviation is saved."""
        mean, deviation = (values[(..., None, *(slice(None),) * self.axes)] for values in state[:2])
        return (mean + deviation * x if self.invert else (x - mean) / deviation), state, deviation

    def backward(self, params: LayerParams, saved: Any, delta: Array, context: Context) -> Array:
        """``δ / σ``, or ``δ σ``."""
        return delta * saved if self.invert else delta / saved


def _first(w: Array, xp: Namespace) -> Array:
    """The place of the first weight above 0, (1,)."""
    return xp.reshape(xp.argmax(xp.astype(w > 0, xp.int32)), (1,))


def _count(x: Array, w: Array | None, xp: Namespace) -> Array:
    """The number of examples, or the sum of their weights, in a shape that broadcasts against them: (1, …, 1)."""
    ones = xp.ones_like(xp.reshape(x, (x.shape[0], -1))[:, 0]) if w is None else w
    return xp.reshape(xp.sum(ones), (1,) * x.ndim)


def _counted(x: Array, w: Array | None, xp: Namespace) -> Array:
    """The numbers, with 0 in place of those of examples that do not count."""
    return x if w is None else xp.where(_column(w, x, xp) > 0, x, xp.zeros_like(x))


def _sum(x: Array, w: Array | None, xp: Namespace) -> Array:
    """The sum over examples, each times its weight: (1, ...)."""
    return xp.sum(x if w is None else x * _column(w, x, xp), axis=0, keepdims=True)


def _column(w: Array, x: Array, xp: Namespace) -> Array:
    """Weights (n,) in a shape that broadcasts against the examples."""
    return xp.reshape(w, (-1, *(1,) * (x.ndim - 1)))


def _or_one(x: Array, xp: Namespace) -> Array:
    """The numbers, with 1 in place of 0."""
    return xp.where(x == 0, xp.ones_like(x), x)
