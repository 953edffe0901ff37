"""Loss functions: one number an example, averaged over the batch by whoever asks.

A loss of your own is a subclass of `Loss` with a value and a derivative; pass an instance to `Network`, or give it a
name with ``nn_any.losses.register("mine", Mine())`` so that model files can hold it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from nn_any.core import activations, options, primitives
from nn_any.core.activations import LINEAR, Activation
from nn_any.core.registry import Named, Registry
from nn_any.core.typing import Array, Namespace


class Fused(NamedTuple):
    """A loss and its output activation as one function of the logits z, where that is what keeps them stable."""

    value: Callable[..., Array]
    """``value(z, y, *, xp)``: (..., n, outputs) twice -> (..., n)."""
    delta: Callable[..., Array]
    """``delta(z, a, y, *, xp)``: ∂C/∂z, (..., n, outputs)."""


class Loss(Named):
    """A loss C(a, y) of activations a and targets y. Instances are immutable and hashable.

    Attributes
    ----------
    name : str
        The name under which it is registered.
    ranges : tuple of str
        The ranges of output activations that it accepts, as `nn_any.activations.Activation.range` has them.
    suits : str or None
        The output activation that goes with it, which a last layer that names none gets; None leaves that to the
        network's default.
    target_range : (float, float)
        The smallest and the largest target that the loss has a meaning for.
    task : {"classes", "numbers", None}
        Whether it is for classification or for regression; None leaves that to the last activation (linear is for
        regression).
    """

    kind = "loss"
    ranges: tuple[str, ...] = ("real", "positive", "unit_interval", "distribution")
    suits: str | None = None
    target_range: tuple[float, float] = (-math.inf, math.inf)
    task: str | None = None

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """The loss of each example: activations and targets (..., n, outputs) -> (..., n)."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(a, y, *, xp)")

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """∂C/∂a of each example: (..., n, outputs) twice -> (..., n, outputs)."""
        raise NotImplementedError(f"{type(self).__name__} must define derivative(a, y, *, xp)")

    def fused(self, activation: Activation) -> Fused | None:
        """The stable form in the logits of an output layer with `activation`, if there is one."""
        return None

    def error(self, activation: Activation, z: Array, a: Array, y: Array, *, xp: Namespace) -> Array:
        """δ = ∂C/∂z at the outputs (Nielsen, chapter 2, equation BP1): (..., n, outputs)."""
        fused = self.fused(activation)
        if fused is not None:
            return fused.delta(z, a, y, xp=xp)
        return activation.vjp(z, a, self.derivative(a, y, xp=xp), xp=xp)

    def examples(self, activation: Activation, z: Array, a: Array, y: Array, *, xp: Namespace) -> Array:
        """The loss of each example, in the fused form where there is one: (..., n)."""
        fused = self.fused(activation)
        return self(a, y, xp=xp) if fused is None else fused.value(z, y, xp=xp)


class Quadratic(Loss):
    """C = ½ ‖a - y‖² (Nielsen, chapter 1, equation 6, whose C is this averaged over the examples)."""

    name = "quadratic"

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """½ ‖a - y‖²."""
        difference = a - y
        return 0.5 * primitives.vecdot(difference, difference, xp=xp)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """∂C/∂a = a - y."""
        return a - y


def _y_log(y: Array, a: Array, xp: Namespace) -> Array:
    """y ln a, and 0 where y is 0, whatever a is."""
    return y * xp.log(_above_zero(a, xp))


def _ratio(y: Array, a: Array, xp: Namespace) -> Array:
    """y / a, and 0 where y is 0, whatever a is."""
    return y / _above_zero(a, xp)


def _above_zero(a: Array, xp: Namespace) -> Array:
    """a, but at least 2³⁰ times the least normal number: so its logarithm, and y / a times a slope of 0, are finite."""
    return primitives.clip(a, low=xp.finfo(a.dtype).smallest_normal * 2.0**30, xp=xp)


class _LogitLoss(Loss):
    """A loss that is computed from the logits if the outputs have the activation that suits it."""

    _value: Callable[..., Array]
    _delta: Callable[..., Array]

    def fused(self, activation: Activation) -> Fused | None:
        """The form in logits, for outputs with the activation that suits the loss."""
        return Fused(self._value, self._delta) if activation == activations.get(self.suits or LINEAR) else None


@dataclass(frozen=True, repr=False)
class _ClassLoss(_LogitLoss):
    """What the losses for classes share: targets smoothed by ε over a number of choices, (1 - ε) y + ε / choices."""

    label_smoothing: float = 0.0
    task = "classes"

    def __post_init__(self) -> None:
        options.validate_fields(self, label_smoothing=options.below_one)

    def _smooth(self, y: Array, choices: int) -> Array:
        return y if self.label_smoothing == 0 else (1 - self.label_smoothing) * y + self.label_smoothing / choices


class CrossEntropy(_ClassLoss):
    """C = -Σ [y ln a + (1 - y) ln(1 - a)], over outputs that say yes or no each (Nielsen, chapter 3, equation 63).

    With sigmoid outputs it is computed from the logits, ``max(z, 0) - y z + ln(1 + exp(-|z|))``, and δ = a - y.

    Parameters
    ----------
    label_smoothing : float
        ε in 0 … 1: targets become (1 - ε) y + ε / 2.
    """

    name = "cross_entropy"
    ranges = ("unit_interval",)
    suits = "sigmoid"
    target_range = (0.0, 1.0)

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """-Σ [y ln a + (1 - y) ln(1 - a)]."""
        y = self._smooth(y, 2)
        return -xp.sum(_y_log(y, a, xp) + _y_log(1 - y, 1 - a, xp), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """∂C/∂a = (1 - y) / (1 - a) - y / a."""
        y = self._smooth(y, 2)
        return _ratio(1 - y, 1 - a, xp) - _ratio(y, a, xp)

    def _value(self, z: Array, y: Array, *, xp: Namespace) -> Array:
        terms = xp.maximum(z, xp.zeros_like(z)) - self._smooth(y, 2) * z + xp.log1p(xp.exp(-xp.abs(z)))
        return xp.sum(terms, axis=-1)

    def _delta(self, z: Array, a: Array, y: Array, *, xp: Namespace) -> Array:
        return a - self._smooth(y, 2)


class LogLikelihood(_ClassLoss):
    """C = -Σ y ln a, over outputs that are a distribution over classes (Nielsen, chapter 3, equation 80).

    With softmax outputs it is computed from the logits, ``Σ y (ln Σ exp z - z)``, and δ = a Σ y - y. Elsewhere it is
    called categorical cross-entropy. Targets are 0 or more; a row that does not sum to 1 counts like an example of
    weight Σ y, and one of zeros adds nothing.

    Parameters
    ----------
    label_smoothing : float
        ε in 0 … 1: targets become (1 - ε) y + ε / outputs.

    References
    ----------
    C. Szegedy et al., "Rethinking the inception architecture", 2015, arXiv:1512.00567, section 7, for the smoothing.
    """

    name = "log_likelihood"
    ranges = ("distribution",)
    suits = "softmax"
    target_range = (0.0, math.inf)

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """-Σ y ln a."""
        return -xp.sum(_y_log(self._smooth(y, y.shape[-1]), a, xp), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """∂C/∂a = -y / a."""
        return -_ratio(self._smooth(y, y.shape[-1]), a, xp)

    def _value(self, z: Array, y: Array, *, xp: Namespace) -> Array:
        z = z - xp.max(z, axis=-1, keepdims=True)
        log_sum = xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True))
        return primitives.vecdot(self._smooth(y, y.shape[-1]), log_sum - z, xp=xp)

    def _delta(self, z: Array, a: Array, y: Array, *, xp: Namespace) -> Array:
        y = self._smooth(y, y.shape[-1])
        return a * xp.sum(y, axis=-1, keepdims=True) - y


class MeanSquaredError(Loss):
    """C = mean (a - y)² over the outputs."""

    name = "mean_squared_error"
    suits = "linear"
    task = "numbers"

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """mean (a - y)²."""
        difference = a - y
        return xp.mean(difference * difference, axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """∂C/∂a = 2 (a - y) / outputs."""
        return (2 / a.shape[-1]) * (a - y)


class MeanAbsoluteError(Loss):
    """C = mean |a - y| over the outputs."""

    name = "mean_absolute_error"
    suits = "linear"
    task = "numbers"

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """mean |a - y|."""
        return xp.mean(xp.abs(a - y), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """∂C/∂a = sign(a - y) / outputs, 0 where they are equal."""
        return xp.sign(a - y) / a.shape[-1]


@dataclass(frozen=True, repr=False)
class Huber(Loss):
    """C = mean h(a - y) over the outputs, with h(d) = ½ d² for |d| ≤ threshold, else threshold (|d| - threshold / 2).

    Parameters
    ----------
    threshold : float
        Where the square turns into a straight line, above 0.

    References
    ----------
    P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
    """

    threshold: float = 1.0
    name = "huber"
    suits = "linear"
    task = "numbers"

    def __post_init__(self) -> None:
        options.validate_fields(self, " of the Huber loss", threshold=options.positive)

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """mean h(a - y)."""
        # with c the difference cut to ±threshold, h = c (d - c / 2)
        difference = a - y
        cut = primitives.clip(difference, low=-self.threshold, high=self.threshold, xp=xp)
        return xp.mean(cut * (difference - 0.5 * cut), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """∂C/∂a = a - y cut to ±threshold, / outputs."""
        cut = primitives.clip(a - y, low=-self.threshold, high=self.threshold, xp=xp)
        return cut / a.shape[-1]


class Poisson(_LogitLoss):
    """C = mean (a - y ln a) over the outputs: -ln of the probability of counts y for rates a, but for a constant.

    With exponential outputs it is computed from the logits, exp z - y z.
    """

    name = "poisson"
    ranges = ("positive", "unit_interval", "distribution")
    suits = "exponential"
    target_range = (0.0, math.inf)
    task = "numbers"

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """mean (a - y ln a)."""
        return xp.mean(a - _y_log(y, a, xp), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """∂C/∂a = (1 - y / a) / outputs."""
        return (1 - _ratio(y, a, xp)) / a.shape[-1]

    def _value(self, z: Array, y: Array, *, xp: Namespace) -> Array:
        # exp z is infinite long before 1000; y z must stay finite, or the difference is NaN
        return xp.mean(xp.exp(z) - y * primitives.clip(z, high=1000.0, xp=xp), axis=-1)

    def _delta(self, z: Array, a: Array, y: Array, *, xp: Namespace) -> Array:
        return (a - y) / a.shape[-1]


_KINDS = (Quadratic, CrossEntropy, LogLikelihood, MeanSquaredError, MeanAbsoluteError, Huber, Poisson)
registry = Registry(Loss, "losses", *[kind() for kind in _KINDS])
register, get, names = registry.register, registry.get, registry.names
to_config, from_config = registry.to_config, registry.from_config
