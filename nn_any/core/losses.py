"""Loss functions: summed over the outputs of an example, averaged over the batch by whoever asks.

A loss of your own is a subclass of `Loss` with a value and a derivative; pass an instance to `Network`, or give it a
name with ``nn_any.losses.register("mine", Mine())`` so that model files can hold it.
"""

from collections.abc import Callable
from typing import NamedTuple

from nn_any.core import activations
from nn_any.core.activations import Activation
from nn_any.core.registry import Registry
from nn_any.core.typing import Array, Namespace


class Fused(NamedTuple):
    """A loss and its output activation as one function of the logits z, where that is what keeps them stable."""

    value: Callable[..., Array]
    """``value(z, y, *, xp)``: (..., n, outputs) twice -> (..., n)."""
    delta: Callable[..., Array]
    """``delta(z, a, y, *, xp)``: ∂C/∂z, (..., n, outputs)."""


class Loss:
    """A loss C(a, y) of activations a and targets y. Instances are immutable and hashable.

    Attributes
    ----------
    name : str
        The name under which it is registered.
    needs_unit_interval : bool
        Whether the activations must lie in [0, 1].
    """

    name: str = ""
    needs_unit_interval: bool = False

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
        return f"<loss {self.name}>"


class Quadratic(Loss):
    """C = ½ ‖a - y‖² (Nielsen, chapter 1, equation 6, whose C is this averaged over the examples)."""

    name = "quadratic"

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """½ ‖a - y‖²."""
        difference = a - y
        return 0.5 * xp.vecdot(difference, difference, axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """A - y."""
        return a - y


class CrossEntropy(Loss):
    """C = -Σ [y ln a + (1 - y) ln(1 - a)] (Nielsen, chapter 3, equation 63).

    With sigmoid outputs it is computed from the logits, ``max(z, 0) - y z + ln(1 + exp(-|z|))``, and δ = a - y.
    """

    name = "cross_entropy"
    needs_unit_interval = True

    def __call__(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """-Σ [y ln a + (1 - y) ln(1 - a)]."""
        return -xp.sum(y * xp.log(a) + (1 - y) * xp.log1p(-a), axis=-1)

    def derivative(self, a: Array, y: Array, *, xp: Namespace) -> Array:
        """(a - y) / (a (1 - a))."""
        return (a - y) / (a * (1 - a))

    def fused(self, activation: Activation) -> Fused | None:
        """The form in logits, for sigmoid outputs."""
        return _SIGMOID_CROSS_ENTROPY if activation is activations.get("sigmoid") else None


def _sigmoid_cross_entropy(z: Array, y: Array, *, xp: Namespace) -> Array:
    terms = xp.maximum(z, xp.zeros_like(z)) - y * z + xp.log1p(xp.exp(-xp.abs(z)))
    return xp.sum(terms, axis=-1)


def _difference(z: Array, a: Array, y: Array, *, xp: Namespace) -> Array:
    return a - y


_SIGMOID_CROSS_ENTROPY = Fused(_sigmoid_cross_entropy, _difference)

_registry: Registry[Loss] = Registry("loss", Loss, "losses")
register, get = _registry.register, _registry.get
for _loss in (Quadratic(), CrossEntropy()):
    register(_loss.name, _loss)
