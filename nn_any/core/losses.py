"""Loss functions: one number an example, averaged over the batch by whoever asks.

A loss of your own is a subclass of `Loss` with a value and a derivative; pass an instance to `Network`, or give it a
name with ``nn_any.losses.register("mine", Mine())`` so that model files can hold it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from nn_any.core import activations, options, primitives
from nn_any.core.activations import Activation
from nn_any.core.registry import Named, Registry, named
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
    suits : str
        The output activation that goes with it, as an error message says.
    task : {"classes", "numbers", None}
        Whether it is for classification or for regression; None leaves that to the last activation (linear is for
        regression).
    """

    ranges: tuple[str, ...] = ("real", "positive", "unit_interval", "distribution")
    suits: str = "linear"
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

    def __repr__(self) -> str:
        return f"<loss {named(self)}>"


class Quadratic(Loss):
    """C = ½ ‖a - y‖² (Nielsen, chapter 1, equation 6, whose C is this averaged over the examples)."""

    name = "quadratic"

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """½ ‖a - y‖²."""
        difference = a - y
        return 0.5 * primitives.vecdot(difference, difference, xp=xp)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """A - y."""
        return a - y


def _y_log(y: Array, a: Array, xp: Namespace) -> Array:
    """Y ln a, and 0 where y is 0, whatever a is."""
    return y * xp.log(xp.where(y == 0, xp.ones_like(a), a))


def _ratio(y: Array, a: Array, xp: Namespace) -> Array:
    """Y / a, and 0 where y is 0, whatever a is."""
    return y / xp.where(y == 0, xp.ones_like(a), a)


@dataclass(frozen=True, repr=False)
class CrossEntropy(Loss):
    """C = -Σ [y ln a + (1 - y) ln(1 - a)], over outputs that say yes or no each (Nielsen, chapter 3, equation 63).

    With sigmoid outputs it is computed from the logits, ``max(z, 0) - y z + ln(1 + exp(-|z|))``, and δ = a - y.

    Parameters
    ----------
    label_smoothing : float
        ε in 0 … 1: targets become (1 - ε) y + ε / 2.
    """

    label_smoothing: float = 0.0
    name = "cross_entropy"
    ranges = ("unit_interval",)
    suits = "sigmoid"
    task = "classes"

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_smoothing", _smoothing(self.label_smoothing))

    def _smooth(self, y: Array) -> Array:
        return y if self.label_smoothing == 0 else (1 - self.label_smoothing) * y + self.label_smoothing / 2

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """-Σ [y ln a + (1 - y) ln(1 - a)]."""
        y = self._smooth(y)
        return -xp.sum(_y_log(y, a, xp) + _y_log(1 - y, 1 - a, xp), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """(1 - y) / (1 - a) - y / a."""
        y = self._smooth(y)
        return _ratio(1 - y, 1 - a, xp) - _ratio(y, a, xp)

    def fused(self, activation: Activation) -> Fused | None:
        """The form in logits, for sigmoid outputs."""
        return Fused(self._value, self._delta) if activation == activations.get("sigmoid") else None

    def _value(self, z: Array, y: Array, *, xp: Namespace) -> Array:
        terms = xp.maximum(z, xp.zeros_like(z)) - self._smooth(y) * z + xp.log1p(xp.exp(-xp.abs(z)))
        return xp.sum(terms, axis=-1)

    def _delta(self, z: Array, a: Array, y: Array, *, xp: Namespace) -> Array:
        return a - self._smooth(y)


@dataclass(frozen=True, repr=False)
class LogLikelihood(Loss):
    """C = -Σ y ln a, over outputs that are a distribution over classes (Nielsen, chapter 3, equation 80).

    With softmax outputs it is computed from the logits, ``Σ y (ln Σ exp z - z)``, and δ = a Σ y - y. Elsewhere it is
    called categorical cross-entropy.

    Parameters
    ----------
    label_smoothing : float
        ε in 0 … 1: targets become (1 - ε) y + ε / outputs.

    References
    ----------
    C. Szegedy et al., "Rethinking the inception architecture", 2015, arXiv:1512.00567, section 7, for the smoothing.
    """

    label_smoothing: float = 0.0
    name = "log_likelihood"
    ranges = ("distribution",)
    suits = "softmax"
    task = "classes"

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_smoothing", _smoothing(self.label_smoothing))

    def _smooth(self, y: Array) -> Array:
        if self.label_smoothing == 0:
            return y
        return (1 - self.label_smoothing) * y + self.label_smoothing / y.shape[-1]

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """-Σ y ln a."""
        return -xp.sum(_y_log(self._smooth(y), a, xp), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """-y / a."""
        return -_ratio(self._smooth(y), a, xp)

    def fused(self, activation: Activation) -> Fused | None:
        """The form in logits, for softmax outputs."""
        return Fused(self._value, self._delta) if activation == activations.get("softmax") else None

    def _value(self, z: Array, y: Array, *, xp: Namespace) -> Array:
        z = z - xp.max(z, axis=-1, keepdims=True)
        log_sum = xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True))
        return primitives.vecdot(self._smooth(y), log_sum - z, xp=xp)

    def _delta(self, z: Array, a: Array, y: Array, *, xp: Namespace) -> Array:
        y = self._smooth(y)
        return a * xp.sum(y, axis=-1, keepdims=True) - y


def _smoothing(value: float) -> float:
    return options.number("label_smoothing", value, maximum=1.0, below=True)


class MeanSquaredError(Loss):
    """C = mean (a - y)² over the outputs."""

    name = "mean_squared_error"
    task = "numbers"

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """Mean (a - y)²."""
        difference = a - y
        return xp.mean(difference * difference, axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """2 (a - y) / outputs."""
        return (2 / a.shape[-1]) * (a - y)


class MeanAbsoluteError(Loss):
    """C = mean |a - y| over the outputs."""

    name = "mean_absolute_error"
    task = "numbers"

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """Mean |a - y|."""
        return xp.mean(xp.abs(a - y), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """Sign(a - y) / outputs, and 0 where they are equal."""
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
    task = "numbers"

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold", options.number("threshold of the Huber loss", self.threshold, above=True))

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """Mean h(a - y): with c the difference cut to ±threshold, h = c (d - c / 2)."""
        difference = a - y
        cut = primitives.clip(difference, low=-self.threshold, high=self.threshold, xp=xp)
        return xp.mean(cut * (difference - 0.5 * cut), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """The difference, cut to ±threshold, / outputs."""
        cut = primitives.clip(a - y, low=-self.threshold, high=self.threshold, xp=xp)
        return cut / a.shape[-1]


class Poisson(Loss):
    """C = mean (a - y ln a) over the outputs: -ln of the probability of counts y for rates a, but for a constant.

    With exponential outputs it is computed from the logits, exp z - y z.
    """

    name = "poisson"
    ranges = ("positive", "unit_interval", "distribution")
    suits = "exponential"
    task = "numbers"

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """Mean (a - y ln a)."""
        return xp.mean(a - _y_log(y, a, xp), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """(1 - y / a) / outputs."""
        return (1 - _ratio(y, a, xp)) / a.shape[-1]

    def fused(self, activation: Activation) -> Fused | None:
        """The form in logits, for exponential outputs."""
        return Fused(self._value, self._delta) if activation == activations.get("exponential") else None

    def _value(self, z: Array, y: Array, *, xp: Namespace) -> Array:
        return xp.mean(xp.exp(z) - y * z, axis=-1)

    def _delta(self, z: Array, a: Array, y: Array, *, xp: Namespace) -> Array:
        return (a - y) / a.shape[-1]


_registry: Registry[Loss] = Registry("loss", Loss, "losses")
register, get, to_config, from_config = (
    _registry.register,
    _registry.get,
    _registry.to_config,
    _registry.from_config,
)
for _loss in (
    Quadratic(),
    CrossEntropy(),
    LogLikelihood(),
    MeanSquaredError(),
    MeanAbsoluteError(),
    Huber(),
    Poisson(),
):
    register(_loss.name, _loss)
