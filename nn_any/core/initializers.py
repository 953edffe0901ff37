"""Initial weights and biases: drawn on the host in float64, so that every backend starts from the same numbers.

An initialiser of your own is a subclass of `Initializer`; pass an instance to `Network` or to a layer, or give it a
name with ``nn_any.initializers.register("mine", Mine())``.
"""

import math

import numpy as np

from nn_any.core.registry import Registry
from nn_any.core.typing import Shape


class Initializer:
    """How a layer's weights and biases begin. Instances are immutable and hashable.

    Attributes
    ----------
    name : str
        The name under which it is registered.
    """

    name: str = ""

    def weights(self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """Weights of the given shape, float64, for units with `fan_in` inputs and `fan_out` outputs."""
        raise NotImplementedError(f"{type(self).__name__} must define weights(rng, shape, fan_in, fan_out)")

    def biases(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """Biases of the given shape, float64."""
        raise NotImplementedError(f"{type(self).__name__} must define biases(rng, shape)")

    def __repr__(self) -> str:
        return f"<initializer {self.name}>"


class Normal(Initializer):
    """N(0, 1) for weights and biases alike: the start of the book's first network (Nielsen, chapter 1)."""

    name = "normal"

    def weights(self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """N(0, 1)."""
        return rng.standard_normal(shape)

    def biases(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """N(0, 1)."""
        return rng.standard_normal(shape)


class ScaledNormal(Normal):
    """N(0, 1/fan_in) for weights, N(0, 1) for biases: the book's second start (Nielsen, chapter 3)."""

    name = "scaled_normal"

    def weights(self, rng: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> np.ndarray:
        """N(0, 1) divided by √fan_in."""
        return rng.standard_normal(shape) / math.sqrt(fan_in)


_registry: Registry[Initializer] = Registry("initializer", Initializer, "initializers")
register, get = _registry.register, _registry.get
for _initializer in (Normal(), ScaledNormal()):
    register(_initializer.name, _initializer)
