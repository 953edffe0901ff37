"""Activation functions: a = σ(z), and the way back through them.

An activation of your own is a subclass of `Activation` with a name, a value and a derivative; pass an instance to a
layer, or give it a name with ``nn_any.activations.register("mine", Mine())`` so that model files can hold it.
"""

import math
from dataclasses import dataclass

from nn_any.core import options, primitives
from nn_any.core.registry import Named, Registry
from nn_any.core.typing import Array, Namespace


class Activation(Named):
    """An elementwise function σ and its derivative. Instances are immutable and hashable.

    Attributes
    ----------
    name : str
        The name under which it is registered.
    range : {"real", "positive", "unit_interval", "distribution"}
        What its values can be: any number, numbers above 0, numbers in [0, 1], or such that sum to 1 over the outputs.
        Some losses need the one or the other.
    """

    kind = "activation"
    range: str = "real"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """σ(z): ``z`` of any shape and real floating dtype gives the same shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(z, *, xp)")

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """σ'(z), where ``a = σ(z)`` is at hand already; shapes and dtypes as those of ``z``."""
        raise NotImplementedError(f"{type(self).__name__} must define derivative(z, a, *, xp)")

    def vjp(self, z: Array, a: Array, delta: Array, *, xp: Namespace) -> Array:
        """From ∂C/∂a to ∂C/∂z: the vector-Jacobian product, ``delta * σ'(z)`` for an elementwise σ."""
        return delta * self.derivative(z, a, xp=xp)


class Linear(Activation):
    """a = z."""

    name = "linear"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """z."""
        return z

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """σ'(z) = 1."""
        return xp.ones_like(z)

    def vjp(self, z: Array, a: Array, delta: Array, *, xp: Namespace) -> Array:
        """Return delta itself."""
        return delta


class Sigmoid(Activation):
    """a = 1 / (1 + exp(-z)), with σ' = a (1 - a) (Nielsen, chapter 1, equation 3)."""

    name = "sigmoid"
    range = "unit_interval"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """1 / (1 + exp(-z)), without overflow."""
        return primitives.sigmoid(z, xp=xp)

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """σ'(z) = a (1 - a)."""
        return a * (1 - a)

    def vjp(self, z: Array, a: Array, delta: Array, *, xp: Namespace) -> Array:
        """∂C/∂a · a (1 - a)."""
        if type(self) is not Sigmoid:  # a subclass may have a slope of its own
            return super().vjp(z, a, delta, xp=xp)
        return primitives.sigmoid_gradient(a, delta, xp=xp)


class Tanh(Activation):
    """a = tanh(z), with σ' = 1 - a²."""

    name = "tanh"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """tanh(z)."""
        return xp.tanh(z)

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """σ'(z) = 1 - a²."""
        return 1 - a * a


class ReLU(Activation):
    """a = max(z, 0), with σ' = 1 where z > 0 and 0 elsewhere, 0 itself included."""

    name = "relu"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """max(z, 0)."""
        return primitives.relu(z, xp=xp)

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """1 where z > 0, else 0."""
        return xp.astype(z > 0, z.dtype)

    def vjp(self, z: Array, a: Array, delta: Array, *, xp: Namespace) -> Array:
        """∂C/∂a where z > 0, else 0."""
        if type(self) is not ReLU:
            return super().vjp(z, a, delta, xp=xp)
        return primitives.relu_gradient(a, delta, xp=xp)  # a > 0 where z > 0, so z need not be kept


@dataclass(frozen=True, repr=False)
class LeakyReLU(Activation):
    """a = z where z > 0, else slope · z, with σ' = 1 or slope; at 0 it is the slope.

    Parameters
    ----------
    slope : float
        From 0 on, below 1.

    References
    ----------
    A. L. Maas, A. Y. Hannun and A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
    """

    slope: float = 0.01
    name = "leaky_relu"

    def __post_init__(self) -> None:
        options.validate_fields(self, " of a leaky ReLU", slope=options.below_one)

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """max(z, slope · z)."""
        return xp.maximum(z, self.slope * z)

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """1 where z > 0, else the slope."""
        return xp.where(z > 0, xp.ones_like(z), xp.full_like(z, self.slope))


class GELU(Activation):
    """a = z Φ(z), with Φ(z) ≈ ½ (1 + tanh(√(2/π) (z + 0.044715 z³))), since the standard has no error function.

    Reference: D. Hendrycks and K. Gimpel, "Gaussian error linear units", 2016, arXiv:1606.08415, section 2.
    """

    name = "gelu"
    _ROOT = math.sqrt(2 / math.pi)
    _CUBE = 0.044715

    def _tanh(self, z: Array, xp: Namespace) -> Array:
        return xp.tanh(self._ROOT * z * (1 + self._CUBE * z * z))

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """½ z (1 + t), with t the tanh above."""
        return 0.5 * z * (1 + self._tanh(z, xp))

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """½ (1 + t) + ½ z (1 - t²) √(2/π) (1 + 3 · 0.044715 z²)."""
        t = self._tanh(z, xp)
        s = 0.5 * self._ROOT * z * (1 - t * t)  # 0 for large z; to multiply it by z twice, not by z², keeps it so
        return 0.5 * (1 + t) + s + 3 * self._CUBE * s * z * z


class SiLU(Activation):
    """a = z σ(z) with the sigmoid σ, and a' = σ (1 + z (1 - σ)).

    Reference: S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-weighted linear units", Neural Networks 107, 2018.
    """

    name = "silu"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """z σ(z)."""
        return z * primitives.sigmoid(z, xp=xp)

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """σ(z) (1 + z (1 - σ(z)))."""
        s = primitives.sigmoid(z, xp=xp)
        return s * (1 + z * (1 - s))


class Softplus(Activation):
    """a = ln(1 + exp z), computed as max(z, 0) + ln(1 + exp(-|z|)), with the sigmoid as its derivative."""

    name = "softplus"
    range = "positive"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """ln(1 + exp z), without overflow."""
        return xp.maximum(z, xp.zeros_like(z)) + xp.log1p(xp.exp(-xp.abs(z)))

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """σ(z)."""
        return primitives.sigmoid(z, xp=xp)


class Exponential(Activation):
    """a = exp z, its own derivative: the outputs of a Poisson regression."""

    name = "exponential"
    range = "positive"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """exp z."""
        return xp.exp(z)

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """σ'(z) = a."""
        return a


class Softmax(Activation):
    """a_j = exp z_j / Σ_k exp z_k over the last axis (Nielsen, chapter 3, equation 78): a distribution over classes."""

    name = "softmax"
    range = "distribution"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """exp(z - max z) / Σ, which cannot overflow."""
        e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """There is none elementwise: use `vjp`."""
        raise NotImplementedError("softmax has no elementwise derivative; use vjp")

    def vjp(self, z: Array, a: Array, delta: Array, *, xp: Namespace) -> Array:
        """∂C/∂z = a (δ - Σ δ a), for δ = ∂C/∂a."""
        return a * (delta - xp.sum(delta * a, axis=-1, keepdims=True))


_KINDS = (Linear, Sigmoid, Tanh, ReLU, LeakyReLU, GELU, SiLU, Softplus, Exponential, Softmax)
registry = Registry(Activation, "activations", *[kind() for kind in _KINDS])
register, get, names = registry.register, registry.get, registry.names
to_config, from_config = registry.to_config, registry.from_config
LINEAR = get("linear")
