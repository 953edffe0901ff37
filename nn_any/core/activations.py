"""Activation functions: a = σ(z), and the way back through them.

An activation of your own is a subclass of `Activation` with a name, a value and a derivative; pass an instance to a
layer, or give it a name with ``nn_any.activations.register("mine", Mine())`` so that model files can hold it.
"""

from nn_any.core import primitives
from nn_any.core.registry import Registry
from nn_any.core.typing import Array, Namespace


class Activation:
    """An elementwise function σ and its derivative. Instances are immutable and hashable.

    Attributes
    ----------
    name : str
        The name under which it is registered.
    unit_interval : bool
        Whether its values lie in [0, 1], as the cross-entropy needs them.
    """

    name: str = ""
    unit_interval: bool = False

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """σ(z): ``z`` of any shape and real floating dtype gives the same shape and dtype."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(z, *, xp)")

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """σ'(z), where ``a = σ(z)`` is at hand already; shapes and dtypes as those of ``z``."""
        raise NotImplementedError(f"{type(self).__name__} must define derivative(z, a, *, xp)")

    def vjp(self, z: Array, a: Array, delta: Array, *, xp: Namespace) -> Array:
        """From ∂C/∂a to ∂C/∂z: the vector-Jacobian product, ``delta * σ'(z)`` for an elementwise σ."""
        return delta * self.derivative(z, a, xp=xp)

    def __repr__(self) -> str:
        return f"<activation {self.name}>"


class Linear(Activation):
    """a = z."""

    name = "linear"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """Return z itself."""
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
    unit_interval = True

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """1 / (1 + exp(-z)), without overflow."""
        return primitives.sigmoid(z, xp=xp)

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """A (1 - a)."""
        return a * (1 - a)


class Tanh(Activation):
    """a = tanh(z), with σ' = 1 - a²."""

    name = "tanh"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """tanh(z)."""
        return xp.tanh(z)

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """1 - a²."""
        return 1 - a * a


class ReLU(Activation):
    """a = max(z, 0), with σ' = 1 where z > 0 and 0 elsewhere, 0 itself included."""

    name = "relu"

    def __call__(self, z: Array, *, xp: Namespace) -> Array:
        """max(z, 0)."""
        return xp.maximum(z, xp.zeros_like(z))

    def derivative(self, z: Array, a: Array, *, xp: Namespace) -> Array:
        """1 where z > 0, else 0."""
        return xp.astype(z > 0, z.dtype)


_registry: Registry[Activation] = Registry("activation", Activation, "activations")
register, get = _registry.register, _registry.get
for _activation in (LINEAR := Linear(), Sigmoid(), Tanh(), ReLU()):
    register(_activation.name, _activation)
